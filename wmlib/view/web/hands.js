// Keys, touch and gamepad, as one steering wheel and two pedals.

// By the key's place, so that W A S D lie together on every layout.
const KEYS = {
  ArrowLeft: "left", KeyA: "left", ArrowRight: "right", KeyD: "right",
  ArrowUp: "gas", KeyW: "gas", ArrowDown: "brake", KeyS: "brake",
};
const BRAKE = 0.8; // wheels lock from 0.9 on
const DEAD_ZONE = 0.2; // of a gamepad's stick and triggers: worn ones do not rest at 0
const TAP = 200; // milliseconds that a click by keyboard or a screen reader holds a button

export class Hands {
  constructor(buttons, letters) {
    this.letters = letters; // a checkbox: whether letters are keys
    this.held = new Set(); // what is pressed: key codes, and pointers on buttons
    this.pressed = new Set(); // what was pressed since the last reading, however shortly
    addEventListener("keydown", (event) => {
      if (!KEYS[event.code] || !this.means(event)) return;
      if (event.target.closest('input[type="range"]')) return; // there, arrows move the slider
      event.preventDefault(); // or the page would scroll
      this.press(event.code, KEYS[event.code]);
    });
    addEventListener("keyup", (event) => {
      // macOS does not say which keys were let go while Cmd was down.
      if (event.key === "Meta") this.release();
      this.release(event.code);
    });
    addEventListener("blur", () => this.release());
    document.addEventListener("visibilitychange", () => this.release());
    for (const button of buttons) this.watch(button);
  }

  /** Whether a pressed key is for the page, and not a shortcut, or a letter that is switched off. */
  means(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    return this.letters.checked || !event.code.startsWith("Key");
  }

  watch(button) {
    const { key } = button.dataset;
    const name = (event) => `${key} ${event.pointerId ?? "tap"}`;
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      this.press(name(event), key);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      button.addEventListener(end, (event) => this.release(name(event)));
    }
    button.addEventListener("click", (event) => {
      if (event.detail) return; // by a pointer: seen above
      this.press(`${key} tap`, key);
      setTimeout(() => this.release(`${key} tap`), TAP);
    });
    button.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  press(source, name) {
    this.held.add(`${name}:${source}`);
    this.pressed.add(name);
  }

  release(source) {
    for (const entry of [...this.held]) {
      if (source === undefined || entry.endsWith(`:${source}`)) this.held.delete(entry);
    }
  }

  /** {steer: -1..1, gas: 0..1, brake: 0..1, active}: whether anything is held at all. */
  read() {
    const held = (name) => Number(
      this.pressed.has(name) || [...this.held].some((entry) => entry.startsWith(`${name}:`)));
    const hands = {
      steer: held("right") - held("left"),
      gas: held("gas"),
      brake: BRAKE * held("brake"),
    };
    this.pressed.clear();
    const pad = gamepad();
    if (pad) {
      hands.steer = hands.steer || beyond(pad.axes[0]);
      hands.gas = hands.gas || beyond(pad.buttons[7].value);
      hands.brake = hands.brake || BRAKE * beyond(pad.buttons[6].value);
    }
    return { ...hands, active: Boolean(hands.steer || hands.gas || hands.brake) };
  }
}

const beyond = (value) => (Math.abs(value) > DEAD_ZONE ? value : 0);

function gamepad() {
  try {
    return [...navigator.getGamepads()].find((one) => one?.mapping === "standard");
  } catch { // forbidden where the page is embedded
    return undefined;
  }
}
