// V by hand: a slider for each latent dimension that varies, and the frame that z decodes to.

import { drawFrame } from "./pictures.js";

export class Explorer {
  constructor(decoder, latents, canvas, panel) {
    Object.assign(this, { decoder, canvas, sliders: new Map() });
    for (const { index, low, high } of latents) {
      const label = document.createElement("label");
      const slider = document.createElement("input");
      slider.type = "range";
      [slider.min, slider.max, slider.step] = [low - 1, high + 1, 0.05];
      slider.setAttribute("aria-label", `Latent number ${index}`);
      slider.addEventListener("input", () => {
        this.z[index] = Number(slider.value);
        this.draw();
      });
      label.append(`z${index}`, slider);
      panel.append(label);
      this.sliders.set(index, slider);
    }
  }

  /** Begin at this z. */
  show(z) {
    this.z = Float32Array.from(z);
    for (const [index, slider] of this.sliders) slider.value = z[index];
    this.draw();
  }

  draw() {
    drawFrame(this.canvas, this.decoder.decode(this.z));
  }
}
