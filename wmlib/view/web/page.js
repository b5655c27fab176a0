// The page: one dream, the recorded episode beside it, and what drives.

import { Dream, Models } from "./dream.js";
import { Explorer } from "./explorer.js";
import { Hands } from "./hands.js";
import { load } from "./load.js";
import { drawFrame, Plot, Strip } from "./pictures.js";

const PLOTTED = 1500; // agent steps, a minute

const $ = (id) => document.getElementById(id);

class Page {
  constructor(loaded) {
    this.page = loaded.page;
    this.models = new Models(loaded);
    this.hands = new Hands(document.querySelectorAll(".pad button"));
    this.plot = new Plot($("plot"));
    this.explorer = new Explorer(this.models.decoder, this.page.latents, $("decoded"), $("sliders"));
    // All of them now: the page goes on without a network.
    this.strips = {};
    for (const name of ["agent", "naive"]) {
      this.strips[name] = this.page.moments.map((_, k) =>
        new Strip(`${name}${String(k).padStart(2, "0")}.webp`, this.page.columns));
    }
    this.moment = 0;
    this.exploiting = false;
    this.seed = 0;
    this.paused = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.showMoments();
    this.listen();
    this.restart();
    this.explorer.show(this.dream.state.z);
    this.due = performance.now();
    requestAnimationFrame((now) => this.tick(now));
  }

  listen() {
    $("pause").addEventListener("click", () => this.pause(!this.paused));
    $("restart").addEventListener("click", () => this.restart());
    $("hand-back").addEventListener("click", () => this.take(false));
    $("exploit").addEventListener("click", () => this.exploit(!this.exploiting));
    $("take").addEventListener("click", () => this.explorer.show(this.dream.state.z));
    $("temperature").addEventListener("input", () => this.warm());
    addEventListener("keydown", (event) => {
      if (event.target.closest("input, button, a") || event.ctrlKey || event.metaKey) return;
      if (event.key === " ") this.pause(!this.paused);
      else if (event.key.toLowerCase() === "r") this.restart();
      else return;
      event.preventDefault();
    });
  }

  restart() {
    this.seed += 1;
    const [use, name] = this.exploiting ? ["naive", "naive"] : ["dream", "agent"];
    this.dream = new Dream(this.models, { use, moment: this.moment, seed: this.seed });
    this.controller = this.models.controllers[name];
    this.strip = this.strips[name][this.moment];
    this.rewards = this.page.moments[this.moment][`rewards_${name}`];
    this.hand = [0, 0, 0];
    this.realPoints = 0;
    this.returns = [[0], [0]];
    this.take(false);
    this.warm();
    this.pause(this.paused);
    this.show();
  }

  warm() {
    this.dream.temperature = Number($("temperature").value);
    $("temperature-value").textContent = this.dream.temperature.toFixed(2);
  }

  pause(paused) {
    this.paused = paused;
    $("pause").textContent = paused ? "Play" : "Pause";
    $("pause").setAttribute("aria-pressed", String(paused));
  }

  /** Whether a person drives, or the controller. */
  take(driving) {
    this.driving = driving;
    const controller = this.exploiting ? "the exploit drives" : "the controller drives";
    $("policy").textContent = driving ? "you drive" : controller;
    $("hand-back").disabled = !driving;
  }

  exploit(exploiting) {
    this.exploiting = exploiting;
    $("exploit").textContent = exploiting ? "Back to the trained agent" : "Watch the exploit";
    $("exploit").setAttribute("aria-pressed", String(exploiting));
    this.restart();
    if (exploiting) $("stage").scrollIntoView({ block: "nearest" });
  }

  choose(moment) {
    this.moment = moment;
    [...$("moments").children].forEach((button, k) =>
      button.setAttribute("aria-pressed", String(k === moment)));
    this.restart();
  }

  showMoments() {
    const seconds = (moment) => (moment.step * this.page.step_seconds).toFixed(1);
    this.page.moments.forEach((moment, k) => {
      const button = document.createElement("button");
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 64;
      button.append(canvas);
      const where = `${moment.road} (track ${moment.track}, after ${seconds(moment)} seconds)`;
      button.setAttribute("aria-label", `Moment ${k + 1}: ${where}`);
      button.title = where;
      button.setAttribute("aria-pressed", String(k === 0));
      button.addEventListener("click", () => this.choose(k));
      $("moments").append(button);
      drawFrame(canvas, this.models.decoder.decode(this.models.start("dream", k).z));
    });
  }

  // Agent steps in real time; one that comes late is not made up for.
  tick(now) {
    requestAnimationFrame((later) => this.tick(later));
    const steering = this.hands.read();
    if (steering.active && !this.driving && !this.exploiting) {
      this.take(true);
      this.pause(false);
    }
    if (now < this.due) return;
    this.due = Math.max(this.due + 1000 * this.page.step_seconds, now);
    if (!this.paused && !this.dream.over) this.step(steering);
  }

  step(steering) {
    // Keys are either up or down: each action goes a third of the way to its target per step.
    const target = [steering.steer, steering.gas, steering.brake];
    this.hand = this.hand.map((value, k) => value + (target[k] - value) / 3);
    this.dream.step(this.driving ? this.hand : this.dream.action(this.controller));
    const { steps, points } = this.dream;
    if (steps <= this.rewards.length) this.realPoints += this.rewards[steps - 1];
    if (steps <= PLOTTED) this.returns[0].push(points);
    if (steps <= this.rewards.length) this.returns[1].push(this.realPoints);
    this.show();
  }

  show() {
    const { steps, points, over } = this.dream;
    drawFrame($("dream"), this.dream.frame());
    this.strip.draw($("real"), Math.min(steps, this.rewards.length));
    $("dream-return").textContent = points.toFixed(0);
    $("real-return").textContent = this.realPoints.toFixed(0);
    const ended = steps > this.rewards.length;
    $("real-policy").textContent = ended ? "the recording is over" : "recorded, same moment";
    $("over").hidden = !over;
    $("over").textContent = over ? "The network ended this dream. R or “New dream” begins another." : "";
    this.plot.draw(this.returns, this.page.step_seconds);
  }

  card({ score, sha256 }) {
    const { mean, ci95, tracks } = score;
    $("card").textContent = `The controller scores ${mean} on the real CarRacing-v3 (mean of ` +
      `${tracks} held-out tracks, 95% CI ${ci95[0]} to ${ci95[1]}, one training run) and was ` +
      `evolved in dreams alone. SHA-256 of the weights: V ${sha256.vae.slice(0, 12)}, the dream's ` +
      `M ${sha256.dream.slice(0, 12)}, C ${sha256.controller.slice(0, 12)}.`;
  }
}

try {
  const loaded = await load();
  window.page = new Page(loaded);
  window.page.card(loaded.page.cards);
} catch (error) {
  document.querySelector(".lead").textContent = location.protocol === "file:"
    ? "Browsers load modules from a server only: python -m http.server in this folder, then http://localhost:8000."
    : `This page could not be loaded: ${error.message}`;
  throw error;
}
