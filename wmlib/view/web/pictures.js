// Frames, strips of recorded frames, and the plot of scores, on canvases.

const SIZE = 64; // pixels of a frame
const bytes = new ImageData(SIZE, SIZE);

/** Draw RGB pixels, 0..1, row by row. */
export function drawFrame(canvas, pixels) {
  for (let k = 0; k < SIZE * SIZE; k++) {
    for (let c = 0; c < 3; c++) bytes.data[4 * k + c] = Math.round(255 * pixels[3 * k + c]);
    bytes.data[4 * k + 3] = 255;
  }
  canvas.getContext("2d").putImageData(bytes, 0, 0);
}

/** Recorded frames in one picture, `columns` per row. It is loaded, but decoded only when shown. */
export class Strip {
  constructor(address, columns) {
    this.columns = columns;
    this.file = fetch(address).then((response) => (response.ok ? response.blob() : null))
      .catch(() => null);
  }

  /** Decode the picture; false if it could not be loaded. */
  async open() {
    const file = await this.file;
    this.image = file && await createImageBitmap(file).catch(() => null);
    return Boolean(this.image);
  }

  close() {
    this.image?.close();
    this.image = null;
  }

  draw(canvas, frame) {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, SIZE, SIZE);
    if (!this.image) return;
    const [x, y] = [frame % this.columns, Math.floor(frame / this.columns)];
    context.drawImage(this.image, x * SIZE, y * SIZE, SIZE, SIZE, 0, 0, SIZE, SIZE);
  }
}

/** Two lines over time, the first orange, the second blue and dashed. */
export class Plot {
  constructor(canvas) {
    this.canvas = canvas;
  }

  draw(lines, stepSeconds) {
    const { canvas } = this;
    const context = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const scale = (canvas.clientWidth * devicePixelRatio) / 480 || 1;
    if (Math.round(480 * scale) !== canvas.width) {
      [canvas.width, canvas.height] = [Math.round(480 * scale), Math.round(160 * scale)];
    }
    context.setTransform(scale, 0, 0, scale, 0, 0);
    const [width, height, left, bottom] = [480, 160, 44, 24];
    const longest = Math.max(...lines.map((line) => line.length), 10 / stepSeconds);
    const values = lines.flat();
    const [low, high] = [Math.min(0, ...values), Math.max(20, ...values)];
    const x = (k) => left + ((width - left - 8) * k) / longest;
    const y = (v) => 8 + (height - bottom - 8) * (1 - (v - low) / (high - low));
    context.clearRect(0, 0, width, height);
    context.font = "13px system-ui, sans-serif";
    context.fillStyle = context.strokeStyle = style.color;
    context.lineWidth = 1;
    context.setLineDash([]);
    context.textAlign = "right";
    for (const v of new Set([low, 0, high].map(Math.round))) {
      if (v === 0 || Math.abs(y(v) - y(0)) > 14) context.fillText(v || 0, left - 6, y(v) + 4);
    }
    context.fillText(`${(longest * stepSeconds).toFixed(0)} s`, width - 8, height - 6);
    context.textAlign = "left";
    context.fillText("0 s", left, height - 6);
    context.beginPath();
    context.moveTo(left, y(0));
    context.lineTo(width - 8, y(0));
    context.stroke();
    context.lineWidth = 3;
    lines.forEach((line, k) => {
      context.strokeStyle = style.getPropertyValue(k ? "--blue" : "--orange");
      context.setLineDash(k ? [6, 4] : []);
      context.beginPath();
      line.forEach((v, t) => context.lineTo(x(t), y(v)));
      context.stroke();
    });
  }
}
