// The exported files: page.json says what is where in weights.bin.

/** page.json, all networks as {network: {tensor: Float32Array}}, and the compiled transposed.wat. */
export async function load(folder = ".") {
  const page = await get(`${folder}/page.json`).then((response) => response.json());
  const [bytes, code] = await Promise.all([
    get(`${folder}/weights.bin?${page.sha256.slice(0, 12)}`).then((response) => response.arrayBuffer()),
    get(`${folder}/transposed.wasm`).then((response) => response.arrayBuffer()),
  ]);
  const networks = {};
  for (const [network, tensors] of Object.entries(page.networks)) {
    networks[network] = {};
    for (const [name, [type, offset, shape]] of Object.entries(tensors)) {
      const length = shape.reduce((product, size) => product * size, 1);
      networks[network][name] = type === "float32"
        ? new Float32Array(bytes, offset, length)
        : fromHalf(new Uint16Array(bytes, offset, length));
    }
  }
  return { page, networks, kernel: await WebAssembly.compile(code) };
}

async function get(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: ${response.status} ${response.statusText}`);
  return response;
}

/** IEEE 754 half precision, as 16-bit integers -> Float32Array. */
export function fromHalf(halves) {
  return Float32Array.from(halves, (bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const [exponent, fraction] = [(bits >> 10) & 0x1f, bits & 0x3ff];
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
}
