// Threefry-2x32 with 20 rounds (Salmon et al. 2011), four counters at a time, to the bit as src/core/random.ts.
//
// Expects: p.stream: u32; element i is made of counter (i, stream).

fn mixed(x: array<vec4<u32>, 2>, r: vec4<u32>) -> array<vec4<u32>, 2> {
  var a = x[0];
  var b = x[1];
  for (var i = 0u; i < 4u; i++) {
    a += b;
    b = ((b << vec4<u32>(r[i])) | (b >> vec4<u32>(32u - r[i]))) ^ a;
  }
  return array<vec4<u32>, 2>(a, b);
}

// The first words of counters 4i … 4i + 3.
fn threefry(i: u32) -> vec4<u32> {
  let even = vec4<u32>(13u, 15u, 26u, 6u);
  let odd = vec4<u32>(17u, 29u, 16u, 24u);
  let k0 = vec4<u32>(loadKey(0u));
  let k1 = vec4<u32>(loadKey(1u));
  let k2 = vec4<u32>(0x1bd11bdau) ^ k0 ^ k1;
  var x = array<vec4<u32>, 2>(vec4<u32>(4u * i) + vec4<u32>(0u, 1u, 2u, 3u) + k0, vec4<u32>(p.stream) + k1);
  x = mixed(x, even);
  x = mixed(array<vec4<u32>, 2>(x[0] + k1, x[1] + k2 + 1u), odd);
  x = mixed(array<vec4<u32>, 2>(x[0] + k2, x[1] + k0 + 2u), even);
  x = mixed(array<vec4<u32>, 2>(x[0] + k0, x[1] + k1 + 3u), odd);
  x = mixed(array<vec4<u32>, 2>(x[0] + k1, x[1] + k2 + 4u), even);
  return x[0] + k2;
}

fn make(i: u32) { storeY(i, vec4<f32>(threefry(i) >> vec4<u32>(8u)) * 0x1p-24f); }
