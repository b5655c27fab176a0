// Keys, touch and gamepad, as one steering wheel and two pedals.

const KEYS = {
  ArrowLeft: "left", a: "left", ArrowRight: "right", d: "right",
  ArrowUp: "gas", w: "gas", ArrowDown: "brake", s: "brake",
};
const BRAKE = 0.8; // wheels lock from 0.9 on
const DEAD_ZONE = 0.1; // of a gamepad's stick

export class Hands {
  constructor(buttons) {
    this.held = new Set();
    const name = (event) => KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    addEventListener("keydown", (event) => {
      const inControl = event.target.closest("input"); // there, arrows move the slider
      if (!name(event) || inControl || event.ctrlKey || event.metaKey || event.altKey) return;
      this.held.add(name(event));
      event.preventDefault(); // or the page would scroll
    });
    addEventListener("keyup", (event) => this.held.delete(name(event)));
    addEventListener("blur", () => this.held.clear());
    for (const button of buttons) {
      const key = KEYS[button.dataset.key];
      button.addEventListener("pointerdown", (event) => {
        button.setPointerCapture(event.pointerId);
        this.held.add(key);
      });
      for (const end of ["pointerup", "pointercancel"]) {
        button.addEventListener(end, () => this.held.delete(key));
      }
      button.addEventListener("contextmenu", (event) => event.preventDefault());
    }
  }

  /** {steer: -1..1, gas: 0..1, brake: 0..1, active}: whether anything is held at all. */
  read() {
    const held = (key) => Number(this.held.has(key));
    const hands = {
      steer: held("right") - held("left"),
      gas: held("gas"),
      brake: BRAKE * held("brake"),
    };
    const pad = [...(navigator.getGamepads?.() ?? [])].find((one) => one?.mapping === "standard");
    if (pad) {
      const stick = Math.abs(pad.axes[0]) > DEAD_ZONE ? pad.axes[0] : 0;
      hands.steer = hands.steer || stick;
      hands.gas = hands.gas || pad.buttons[7].value;
      hands.brake = hands.brake || BRAKE * pad.buttons[6].value;
    }
    return { ...hands, active: Boolean(hands.steer || hands.gas || hands.brake) };
  }
}
