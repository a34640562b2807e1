// Windows of NHWC images as blocks of a matrix that nobody stores: four pixels of the output by four taps, a tap being a
// place of the kernel and a channel of the group.
//
// Expects: const WIDE: bool (four taps are four channels of one place);
//   p.inRows, p.inColumns, p.inChannels, p.imageSize: the image that is read, its size in elements;
//   p.outRows, p.outColumns: places of the window; p.strideY, p.strideX; p.stepY, p.stepX: inputs from tap to tap;
//   p.offsetY, p.offsetX: i32: input of the first tap of the first window;
//   p.tapsAcross, p.groupChannels; fn eachA(elements: vec4<u32>) -> vec4<f32>.

/** Elements where the images of four pixels begin, and the input place of their first tap, modulo 2^32. */
struct Pixels { image: vec4<u32>, y: vec4<u32>, x: vec4<u32> }
/** Place in the kernel, and channel of the group. */
struct Taps { y: vec4<u32>, x: vec4<u32>, channel: vec4<u32> }

/** What four neighbours carry over, at most three where the axis is that short. */
fn carries(at: vec4<u32>, size: u32) -> vec4<u32> {
  return vec4<u32>(at >= vec4<u32>(size)) + vec4<u32>(at >= vec4<u32>(2u * size)) + vec4<u32>(at >= vec4<u32>(3u * size));
}
fn pixelsFrom(group: u32, i: u32) -> Pixels {
  let row = i / p.outColumns;
  let image = row / p.outRows;
  var x = i - row * p.outColumns + vec4<u32>(0u, 1u, 2u, 3u);
  let rows = carries(x, p.outColumns);
  x -= rows * p.outColumns;
  var y = row - image * p.outRows + rows;
  let images = carries(y, p.outRows);
  y -= images * p.outRows;
  return Pixels(
    (image + images) * p.imageSize + group * p.groupChannels,
    y * p.strideY + u32(p.offsetY),
    x * p.strideX + u32(p.offsetX));
}
fn tapsFrom(i: u32) -> Taps {
  if (WIDE) {
    let place = i / p.groupChannels;
    let y = place / p.tapsAcross;
    return Taps(vec4<u32>(y), vec4<u32>(place - y * p.tapsAcross), vec4<u32>(i - place * p.groupChannels));
  }
  let at = i + vec4<u32>(0u, 1u, 2u, 3u);
  let place = at / p.groupChannels;
  let y = place / p.tapsAcross;
  return Taps(y, place - y * p.tapsAcross, at - place * p.groupChannels);
}
fn windowLine(image: u32, y: vec4<u32>, x: vec4<u32>, channel: vec4<u32>) -> vec4<f32> {
  if (WIDE) {
    let at = image + (y.x * p.inColumns + x.x) * p.inChannels + channel.x;
    return select(vec4<f32>(), eachA(vec4<u32>(at)), y.x < p.inRows && x.x < p.inColumns);
  }
  let inside = (y < vec4<u32>(p.inRows)) & (x < vec4<u32>(p.inColumns));
  return select(vec4<f32>(), eachA(image + (y * p.inColumns + x) * p.inChannels + channel), inside);
}
/** Column r: pixel r at four taps. */
fn window(pixels: Pixels, taps: Taps) -> mat4x4<f32> {
  let y = taps.y * p.stepY;
  let x = taps.x * p.stepX;
  return mat4x4<f32>(
    windowLine(pixels.image.x, pixels.y.x + y, pixels.x.x + x, taps.channel),
    windowLine(pixels.image.y, pixels.y.y + y, pixels.x.y + x, taps.channel),
    windowLine(pixels.image.z, pixels.y.z + y, pixels.x.z + x, taps.channel),
    windowLine(pixels.image.w, pixels.y.w + y, pixels.x.w + x, taps.channel));
}
