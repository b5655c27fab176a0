// The exported files: page.json, and all weights in the safetensors format.

/** page.json, all networks as {network: {tensor: Float32Array}}, and the compiled transposed.wat. */
export async function load(folder = ".") {
  const page = await get(`${folder}/page.json`).then((response) => response.json());
  const [bytes, code] = await Promise.all([
    get(`${folder}/weights.safetensors?${page.sha256.slice(0, 12)}`).then((response) => response.arrayBuffer()),
    get(`${folder}/transposed.wasm`).then((response) => response.arrayBuffer()),
  ]);
  return { page, networks: parse(bytes), kernel: await WebAssembly.compile(code) };
}

/** A safetensors file with tensors network/name -> {network: {name: Float32Array}}. */
export function parse(bytes) {
  // The length of the header, the header as JSON, and then the data.
  const begin = 8 + Number(new DataView(bytes).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, begin - 8)));
  const networks = {};
  for (const [name, { dtype, data_offsets: [from, to] }] of Object.entries(header)) {
    const [network, tensor] = name.split("/");
    networks[network] ??= {};
    networks[network][tensor] = dtype === "F32"
      ? new Float32Array(bytes, begin + from, (to - from) / 4)
      : fromHalf(new Uint16Array(bytes, begin + from, (to - from) / 2));
  }
  return networks;
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
