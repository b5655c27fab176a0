// V's decoder, M and C: the parts of wmlib/models that a dream needs, in plain JavaScript and, for
// the decoder, a little WebAssembly. Arrays are flat Float32Arrays.

/** y = W x + b. weight: (outputs, inputs), row by row. */
export function linear({ weight, bias }, x, y = new Float32Array(bias.length)) {
  const inputs = x.length;
  for (let row = 0, k = 0; row < y.length; row++) {
    let sum = bias[row];
    for (let i = 0; i < inputs; i++, k++) sum += weight[k] * x[i];
    y[row] = sum;
  }
  return y;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/** M: an LSTM cell and what is read from its h. See wmlib/models/mdn_rnn.py. */
export class MDNRNN {
  constructor(config, tensors) {
    this.config = config;
    this.variables = config.z_size + (config.reward_input ? 1 : 0);
    this.ih = { weight: tensors["lstm.weight_ih_l0"], bias: tensors["lstm.bias_ih_l0"] };
    this.hh = { weight: tensors["lstm.weight_hh_l0"], bias: tensors["lstm.bias_hh_l0"] };
    for (const name of ["mixture", "reward", "done"]) {
      this[name] = { weight: tensors[`${name}.weight`], bias: tensors[`${name}.bias`] };
    }
  }

  /** One step: (z, previous reward in tiles, action) and {h, c} -> the next {h, c}. */
  remember(z, reward, action, { h, c }) {
    const known = this.config.reward_input ? [...z, reward] : z;
    const inputs = Float32Array.from([...known, ...action]);
    const gates = linear(this.ih, inputs);
    const recurrent = linear(this.hh, h);
    const size = h.length;
    const next = { h: new Float32Array(size), c: new Float32Array(size) };
    const gate = (k) => gates[k] + recurrent[k]; // in torch's order: input, forget, cell, output
    for (let k = 0; k < size; k++) {
      next.c[k] = sigmoid(gate(size + k)) * c[k] +
        sigmoid(gate(k)) * Math.tanh(gate(2 * size + k));
      next.h[k] = sigmoid(gate(3 * size + k)) * Math.tanh(next.c[k]);
    }
    return next;
  }

  /** What h foretells: the mixtures' parameters, the expected reward (points), P(the end). */
  predict(h) {
    return {
      mixture: linear(this.mixture, h),
      reward: linear(this.reward, h)[0],
      end: sigmoid(linear(this.done, h)[0]),
    };
  }

  /** Draw the next z and reward (tiles). noise: {pick, normal}, one number per variable each. */
  sample({ mixture }, temperature, noise) {
    const count = this.config.mixtures;
    const block = this.variables * count; // logits, then means, then log sigmas
    const drawn = new Float32Array(this.variables);
    for (let d = 0; d < this.variables; d++) {
      const first = d * count;
      const chosen = temperature > 0
        ? pickGaussian(mixture, first, count, temperature, noise.pick[d])
        : likeliest(mixture, first, count);
      const sigma = Math.exp(mixture[2 * block + first + chosen]);
      drawn[d] = mixture[block + first + chosen] +
        (temperature > 0 ? sigma * Math.sqrt(temperature) * noise.normal[d] : 0);
    }
    const { z_size: size } = this.config;
    return { z: drawn.subarray(0, size), reward: this.config.reward_input ? drawn[size] : 0 };
  }
}

function likeliest(logits, first, count) {
  let best = 0;
  for (let k = 1; k < count; k++) if (logits[first + k] > logits[first + best]) best = k;
  return best;
}

// Inverse transform sampling from softmax(logits / temperature).
function pickGaussian(logits, first, count, temperature, pick) {
  const highest = logits[first + likeliest(logits, first, count)];
  const cumulated = [];
  let total = 0;
  for (let k = 0; k < count; k++) {
    total += Math.exp((logits[first + k] - highest) / temperature);
    cumulated.push(total);
  }
  let chosen = 0;
  while (chosen < count - 1 && cumulated[chosen] < pick * total) chosen++;
  return chosen;
}

/** C: [z, h] -> [steering, gas, brake]. See wmlib/models/controller.py. */
export function act(controller, z, h) {
  const [steering, gas, brake] = linear(controller, Float32Array.from([...z, ...h])).map(Math.tanh);
  return [steering, (gas + 1) / 2, Math.max(0, brake)];
}

/**
 * V's decoder: z -> a frame of 64 x 64 RGB pixels, 0..1, row by row.
 *
 * Between its linear layer and the first transposed convolution, whose input is a single pixel,
 * there is no nonlinearity: both are one linear layer here, 102,400 weights in place of 3.3 million.
 * The export makes it (wmlib/tools/export_web.py).
 *
 * kernel: the compiled transposed.wat. The same in plain JavaScript takes ten times as long.
 */
export class Decoder {
  static layers = [
    { name: "second", size: 5, kernel: 5, inputs: 128, outputs: 64 },
    { name: "third", size: 13, kernel: 6, inputs: 64, outputs: 32 },
    { name: "fourth", size: 30, kernel: 6, inputs: 32, outputs: 3 },
  ];

  constructor(tensors, kernel) {
    this.first = { weight: tensors["first.weight"], bias: tensors["first.bias"] };
    const memory = new WebAssembly.Memory({ initial: PAGES });
    const { transposed } = new WebAssembly.Instance(kernel, { js: { memory } }).exports;
    let used = 0;
    const take = (length) => {
      const array = new Float32Array(memory.buffer, used, length);
      used += 16 * Math.ceil(array.byteLength / 16);
      return array;
    };
    this.input = take(tensors["first.bias"].length);
    let x = this.input;
    this.layers = Decoder.layers.map((layer) => {
      const run = new TransposedConvolution(layer, tensors, x, take, transposed);
      x = run.y;
      return run;
    });
  }

  decode(z) {
    linear(this.first, z, this.input);
    let x = this.input;
    for (const layer of this.layers) {
      relu(x);
      x = layer.run();
    }
    return x.subarray(0, 64 * 64 * 3).map(sigmoid);
  }
}

const PAGES = 24; // of 64 KiB: weights, inputs and outputs of all layers are 1.3 MiB
const BLOCK = 16; // floats that transposed.wat adds at once

function relu(x) {
  for (let k = 0; k < x.length; k++) if (x[k] < 0) x[k] = 0;
}

/** Of stride 2: x (size, size, inputs) -> y (width, width, outputs), width = 2 size + kernel - 2. */
class TransposedConvolution {
  constructor({ name, size, kernel, inputs, outputs }, tensors, x, take, transposed) {
    const [weight, bias] = [tensors[`${name}.weight`], tensors[`${name}.bias`]];
    const width = 2 * size + kernel - 2;
    const blocks = Math.ceil((kernel * outputs) / BLOCK);
    const sorted = take(kernel * blocks * inputs * BLOCK);
    for (let k = 0; k < weight.length; k++) { // torch's order: (inputs, outputs, kernel, kernel)
      const [kx, ky] = [k % kernel, Math.floor(k / kernel) % kernel];
      const rest = Math.floor(k / kernel ** 2);
      const [output, input] = [rest % outputs, Math.floor(rest / outputs)];
      const n = kx * outputs + output;
      const block = ky * blocks + Math.floor(n / BLOCK);
      sorted[(block * inputs + input) * BLOCK + (n % BLOCK)] = weight[k];
    }
    const length = width * width * outputs;
    // The last block may reach beyond the last pixel, with weights of 0.
    this.y = take(length + BLOCK);
    this.bias = Float32Array.from({ length }, (_, k) => bias[k % outputs]);
    const bytes = 4 * outputs;
    this.run = () => {
      this.y.set(this.bias);
      transposed(x.byteOffset, sorted.byteOffset, this.y.byteOffset, size, inputs, kernel, blocks,
        width * bytes, 2 * bytes);
      return this.y;
    };
  }
}
