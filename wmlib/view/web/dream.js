// The dream as an environment: wmlib/envs/dream.py for one episode, without early termination, a
// limit of steps, dropout and a temperature of its own for the reward, and with other random numbers.

import { act, Decoder, MDNRNN } from "./networks.js";

/** What all dreams share: V's decoder, the Ms and the controllers. See `load.js`. */
export class Models {
  constructor({ page, networks, kernel }) {
    this.decoder = new Decoder(networks.decoder, kernel);
    this.ms = {};
    for (const [use, config] of Object.entries(page.ms)) {
      this.ms[use] = new MDNRNN(config, networks[`m_${use}`]);
    }
    this.controllers = { agent: networks.c_agent, naive: networks.c_naive };
    this.moments = {};
    for (const use of Object.keys(page.ms)) this.moments[use] = networks[`moments_${use}`];
  }

  /** The state {z, h, c, reward} of an M ("agent", "dream" or "naive") at a moment. */
  start(use, moment) {
    const { z, h, c, reward } = this.moments[use];
    const row = (values, size) => values.slice(moment * size, (moment + 1) * size);
    const hidden = h.length / reward.length;
    return {
      z: row(z, z.length / reward.length),
      h: row(h, hidden),
      c: row(c, hidden),
      reward: reward[moment],
    };
  }
}

/**
 * A dream that M `use` makes, from a moment on. The agent's own M computes the h that C reads.
 *
 * temperature may be changed between steps.
 */
export class Dream {
  constructor(models, { use = "dream", moment = 0, temperature = 1, seed = 0 } = {}) {
    Object.assign(this, { models, use, temperature });
    this.state = models.start(use, moment);
    this.agent = models.start("agent", moment);
    this.noise = new NoiseSource(models.ms[use].variables, seed);
    this.steps = 0;
    this.points = 0; // the return
    this.over = false;
  }

  /** What the controller (one of `models.controllers`) does now: [steering, gas, brake]. */
  action(controller) {
    return act(controller, this.state.z, this.agent.h);
  }

  /** One agent step. Returns its reward, in points; noise: see `NoiseSource.next`. */
  step(action, noise = this.noise.next()) {
    const m = this.models.ms[this.use];
    const { z, reward } = this.state;
    const memory = m.remember(z, reward, action, this.state);
    const prediction = m.predict(memory.h);
    this.agent = this.models.ms.agent.remember(z, reward, action, this.agent);
    this.state = { ...memory, ...m.sample(prediction, this.temperature, noise) };
    this.steps += 1;
    this.points += prediction.reward;
    this.endProbability = prediction.end;
    this.over = noise.end < prediction.end;
    return prediction.reward;
  }

  /** The present frame: 64 x 64 RGB pixels, 0..1. */
  frame() {
    return this.models.decoder.decode(this.state.z);
  }
}

/** Random numbers for M's steps; the same seed gives the same ones. */
export class NoiseSource {
  constructor(variables, seed) {
    this.variables = variables;
    this.bits = seed >>> 0;
  }

  /** Uniform in 0..1 (mulberry32). */
  uniform() {
    this.bits = (this.bits + 0x6d2b79f5) >>> 0;
    let t = Math.imul(this.bits ^ (this.bits >>> 15), 1 | this.bits);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** Standard normal (Box & Muller). */
  normal() {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** For one step: pick and normal, a number per variable of M each, and one for the end. */
  next() {
    const draw = (one) => Array.from({ length: this.variables }, one);
    return {
      pick: draw(() => this.uniform()),
      normal: draw(() => this.normal()),
      end: this.uniform(),
    };
  }
}
