// Reports which of the arrow keys, or of their buttons, are held down: those that have a meaning.
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };
const SIGNS = { left: "←", up: "↑", down: "↓", right: "→" };

function render({ model, el }) {
  const held = new Set();
  const pad = document.createElement("div");
  pad.className = "wmlib-keypad";
  pad.tabIndex = 0;
  pad.dataset.lmSuppressShortcuts = "true"; // otherwise JupyterLab moves to the next cell
  pad.setAttribute("role", "group");
  pad.setAttribute("aria-label", model.get("label"));

  const report = (name, down) => {
    if (down === held.has(name)) return;
    down ? held.add(name) : held.delete(name);
    buttons[name].setAttribute("aria-pressed", down);
    model.set("held", [...held]);
    model.save_changes();
  };
  const releaseAll = () => [...held].forEach((name) => report(name, false));

  const buttons = {};
  for (const [name, sign] of Object.entries(SIGNS)) {
    if (!(name in model.get("meanings"))) continue;
    const button = document.createElement("button");
    button.textContent = sign;
    button.type = "button";
    button.setAttribute("aria-label", model.get("meanings")[name]);
    button.setAttribute("aria-pressed", false);
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      report(name, true);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"])
      button.addEventListener(end, () => report(name, false));
    // On a button that has the focus, the space bar and Enter hold it down.
    button.addEventListener("keydown", (event) => {
      if (event.key === " " || event.key === "Enter") { event.preventDefault(); report(name, true); }
    });
    button.addEventListener("keyup", (event) => {
      if (event.key === " " || event.key === "Enter") report(name, false);
    });
    buttons[name] = button;
    pad.append(button);
  }
  const hint = document.createElement("span");
  hint.textContent = model.get("label");
  pad.append(hint);

  const listen = (down) => (event) => {
    if (!(KEYS[event.key] in buttons)) return;
    event.preventDefault(); // the page would scroll
    event.stopPropagation();
    report(KEYS[event.key], down);
  };
  pad.addEventListener("keydown", listen(true));
  pad.addEventListener("keyup", listen(false));
  pad.addEventListener("focusout", (event) => {
    if (!pad.contains(event.relatedTarget)) releaseAll(); // keyup events are lost then
  });
  el.append(pad);
}

export default { render };
