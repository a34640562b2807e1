// What the input gradient adds to conv2d.wgsl: weights as a matrix of (tap, output channel) by input channel. Of a strided
// convolution every stride phase has taps of its own.
//
// Expects conv2d.wgsl; p.wFirst, p.wStepY, p.wStepX: i32: element of the first tap, elements from tap to tap;
//   p.wLine: elements from input channel to input channel; fn eachB(elements: vec4<u32>) -> vec4<f32>.

alias ColumnsB = u32;
fn columnsB(group: u32, column: u32) -> ColumnsB {
  return u32(p.wFirst) + column * p.wLine + group * p.groupChannels;
}
alias StepB = vec4<u32>;
fn stepB(group: u32, k: u32) -> StepB {
  let taps = tapsFrom(k);
  return taps.y * u32(p.wStepY) + taps.x * u32(p.wStepX) + taps.channel;
}
fn blockB(first: ColumnsB, step: StepB) -> mat4x4<f32> {
  let at = first + step;
  return transpose(mat4x4<f32>(eachB(at), eachB(at + p.wLine), eachB(at + 2u * p.wLine), eachB(at + 3u * p.wLine)));
}
