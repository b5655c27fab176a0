// The page: one dream, the recorded episode beside it, and what drives.

import { Dream, Models } from "./dream.js";
import { Explorer } from "./explorer.js";
import { Hands } from "./hands.js";
import { load } from "./load.js";
import { drawFrame, Plot, Strip } from "./pictures.js";

const PLOTTED = 1500; // agent steps, a minute
const COMPARED = 150; // agent steps of the dreams that the exploit is compared in

// What a dream is made of: its M, its controller and the recording of that one.
const SCENES = {
  dream: { m: "dream", controller: "agent", drives: "the controller drives",
    recording: "the controller drives, your keys do not reach it" },
  exploit: { m: "naive", controller: "naive", drives: "the exploit drives, your keys are off",
    recording: "the same controller" },
};

const $ = (id) => document.getElementById(id);
const say = (id, text) => {
  if ($(id).textContent !== text) $(id).textContent = text;
};

class Page {
  constructor(loaded) {
    this.data = loaded.page;
    this.models = new Models(loaded);
    this.hands = new Hands(document.querySelectorAll(".pad button"), $("letters"));
    this.wasActive = false;
    this.plot = new Plot($("plot"));
    this.explorer = new Explorer(this.models.decoder, this.data.latents, $("decoded"), $("sliders"));
    this.strips = {}; // all of them are loaded now: the page goes on without a network
    for (const name of ["agent", "naive"]) {
      this.strips[name] = this.data.moments.map((_, k) =>
        new Strip(`${name}${String(k).padStart(2, "0")}.webp`, this.data.columns));
    }
    this.moment = 0;
    this.scene = SCENES.dream;
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
    const click = (id, action) => $(id).addEventListener("click", (event) => {
      action();
      if (event.detail) this.focus(); // by a pointer: the keys drive again
    });
    click("pause", () => this.pause(!this.paused));
    click("restart", () => this.restart());
    click("hand-back", () => this.drive(false));
    click("exploit", () => this.exploit(this.scene !== SCENES.exploit));
    click("copy", () => this.explorer.show(this.dream.state.z));
    $("temperature").addEventListener("input", () => this.readTemperature());
    addEventListener("pointerup", (event) => event.target.closest?.("input") && this.focus());
    addEventListener("keydown", (event) => {
      if (!this.hands.means(event)) return;
      const onControl = event.target.closest("button, a, summary, input");
      if (event.code === "Space" && !onControl) {
        if (!event.repeat) this.pause(!this.paused);
        event.preventDefault();
      } else if (event.code === "KeyR" && !event.repeat) this.restart();
    });
  }

  focus() {
    $("dream").focus({ preventScroll: true });
  }

  restart() {
    this.seed += 1;
    const { m, controller } = this.scene;
    this.dream = new Dream(this.models, { use: m, moment: this.moment, seed: this.seed });
    this.controller = this.models.controllers[controller];
    this.rewards = this.data.moments[this.moment][`rewards_${controller}`];
    this.showStrip(this.strips[controller][this.moment]);
    this.hand = [0, 0, 0];
    this.realPoints = 0;
    this.scores = [[0], [0]];
    this.drive(false);
    this.readTemperature();
    this.show();
  }

  async showStrip(strip) {
    if (this.strip === strip) return;
    this.strip?.close();
    this.strip = strip;
    const loaded = await strip.open();
    if (this.strip !== strip) return strip.close(); // another one was chosen meanwhile
    say("recording", loaded ? this.scene.recording : "it could not be loaded");
    this.showRecording();
  }

  readTemperature() {
    this.dream.temperature = Number($("temperature").value);
    say("temperature-value", this.dream.temperature.toFixed(2));
  }

  pause(paused) {
    this.paused = paused;
    this.showState();
  }

  /** Whether a person drives, or the controller. */
  drive(driving) {
    this.driving = driving;
    say("policy", driving ? "you drive" : this.scene.drives);
    $("hand-back").disabled = !driving;
  }

  exploit(on) {
    this.scene = on ? SCENES.exploit : SCENES.dream;
    $("exploit").setAttribute("aria-pressed", String(on));
    if (on) this.compare();
    this.begin();
  }

  choose(moment) {
    this.moment = moment;
    [...$("moments").children].forEach((button, k) =>
      button.setAttribute("aria-pressed", String(k === moment)));
    this.begin();
  }

  // What somebody asked to see: it runs, and is on the screen.
  begin() {
    this.restart();
    this.pause(false);
    $("stage").scrollIntoView({ block: "nearest" });
  }

  // What each controller scores in the dream that is exploited, from this moment.
  compare() {
    const score = (controller) => {
      const dream = new Dream(this.models, { use: "naive", moment: this.moment });
      for (let t = 0; t < COMPARED && !dream.over; t++) {
        dream.step(dream.action(this.models.controllers[controller]));
      }
      return dream.points.toFixed(0);
    };
    const seconds = COMPARED * this.data.step_seconds;
    say("comparison", `In ${seconds} seconds of that dream it scores ${score("naive")}; the ` +
      `controller that drives well in the real environment scores ${score("agent")} there.`);
  }

  showMoments() {
    this.data.moments.forEach((moment, k) => {
      const button = document.createElement("button");
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 64;
      canvas.setAttribute("aria-hidden", "true");
      button.append(canvas, `${k + 1}: ${moment.road}`);
      const seconds = (moment.step * this.data.step_seconds).toFixed(1);
      button.title = `track ${moment.track}, after ${seconds} seconds`;
      button.setAttribute("aria-pressed", String(k === 0));
      button.addEventListener("click", (event) => {
        this.choose(k);
        if (event.detail) this.focus();
      });
      $("moments").append(button);
      drawFrame(canvas, this.models.decoder.decode(this.models.start("dream", k).z));
    });
  }

  // Agent steps in real time; one that comes late is not made up for.
  tick(now) {
    requestAnimationFrame((later) => this.tick(later));
    if (now < this.due) return;
    this.due = Math.max(this.due + 1000 * this.data.step_seconds, now);
    const hands = this.hands.read();
    const pressed = hands.active && !this.wasActive;
    this.wasActive = hands.active;
    if (pressed && !this.dream.over && this.scene === SCENES.dream) {
      this.drive(true);
      this.pause(false);
    }
    if (!this.paused && !this.dream.over) this.step(hands);
  }

  step(hands) {
    // Each action goes a third of the way to its target per step: a key is either up or down.
    const target = [hands.steer, hands.gas, hands.brake];
    this.hand = this.hand.map((value, k) => value + (target[k] - value) / 3);
    this.dream.step(this.driving ? this.hand : this.dream.action(this.controller));
    const { steps, points } = this.dream;
    const recorded = steps <= this.rewards.length;
    if (recorded) this.realPoints += this.rewards[steps - 1];
    if (steps <= PLOTTED) this.scores[0].push(points);
    if (recorded) this.scores[1].push(this.realPoints);
    this.show();
  }

  show() {
    const { steps, points } = this.dream;
    drawFrame($("dream"), this.dream.frame());
    say("dream-score", points.toFixed(0));
    say("real-score", this.realPoints.toFixed(0));
    if (steps > this.rewards.length) say("recording", "over");
    this.showRecording();
    this.plot.draw(this.scores, this.data.step_seconds);
    this.showState();
  }

  showRecording() {
    this.strip.draw($("real"), Math.min(this.dream.steps, this.rewards.length));
  }

  showState() {
    say("pause", this.paused ? "Play" : "Pause");
    if (this.dream.over) say("status", "The network ended this dream. R or “New dream” begins another.");
    else say("status", this.paused ? "Paused: press Play, or steer." : "");
  }

  showCard({ score, sha256 }) {
    const { mean, ci95, tracks } = score;
    say("card", `This controller was trained in dreams alone. In the real CarRacing-v3, where a ` +
      `complete lap is worth about 900 points, it scores ${mean} (mean of ${tracks} tracks that it had not ` +
      `seen, 95% CI ${ci95[0]} to ${ci95[1]}; one training run).`);
    say("checksums", Object.entries(sha256).map((entry) => entry.join(" ")).join(", "));
  }
}

try {
  const loaded = await load();
  window.page = new Page(loaded);
  window.page.showCard(loaded.page.cards);
} catch (error) {
  say("status", `This page could not be loaded: ${error.message}`);
  throw error;
}
