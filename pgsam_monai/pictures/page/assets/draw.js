// Drawing of one slice: grey values or colours, classes filled and outlined, crosshair.

const OUTLINE_PX = 1.5;
const lookup = new Uint8ClampedArray(65536); // code -> brightness in the present window

function fillLookup(low, high) {
  const span = Math.max(high - low, 1e-6);
  for (let code = 0; code < lookup.length; code++) {
    lookup[code] = (255 * (CASE.low + code * CASE.step - low)) / span;
  }
}

function colourOf(code) {
  return [1, 3, 5].map((at) => parseInt(code.slice(at, at + 2), 16));
}

// Red, green, blue and opacity as the pixels of an ImageData; 0 for background and hidden classes.
function tints() {
  const bytes = new Uint8ClampedArray(4 * (CASE.classes.length + 1));
  CASE.classes.forEach((shown, n) => {
    if (!state.off.has(shown.value)) bytes.set([...colourOf(shown.colour), 255 * state.opacity], 4 * (n + 1));
  });
  return new Uint32Array(bytes.buffer);
}

// A layer is a canvas of one pixel a voxel, kept from drawing to drawing.
function layerOf(view, name, layout) {
  const layers = (view.layers ??= {});
  let layer = layers[name];
  if (!layer) {
    const canvas = document.createElement("canvas");
    canvas.width = layout.width;
    canvas.height = layout.height;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(layout.width, layout.height);
    layer = layers[name] = { canvas, context, pixels, words: new Uint32Array(pixels.data.buffer) };
  }
  return layer;
}

function paintGrey(view, layout) {
  const layer = layerOf(view, "grey", layout);
  const [red, green, blue] = greys.length === 3 ? greys : [greys[0], greys[0], greys[0]];
  let pixel = 0;
  for (let row = 0; row < layout.height; row++) {
    let at = layout.base + row * layout.below;
    for (let column = 0; column < layout.width; column++, at += layout.right) {
      layer.words[pixel++] =
        0xff000000 | (lookup[blue[at]] << 16) | (lookup[green[at]] << 8) | lookup[red[at]];
    }
  }
  layer.context.putImageData(layer.pixels, 0, 0);
  return layer.canvas;
}

function paintClasses(view, layout, map) {
  const layer = layerOf(view, "classes", layout);
  const colours = tints();
  let pixel = 0;
  for (let row = 0; row < layout.height; row++) {
    let at = layout.base + row * layout.below;
    for (let column = 0; column < layout.width; column++, at += layout.right) {
      layer.words[pixel++] = colours[map[at]];
    }
  }
  layer.context.putImageData(layer.pixels, 0, 0);
  return layer.canvas;
}

// A slice of a map with a margin of background, and its rows and columns [first, end] that hold classes.
function bordered(layout, map) {
  const wide = layout.width + 2;
  const cells = new Uint16Array(wide * (layout.height + 2));
  const [rows, columns] = [[layout.height, 0], [layout.width, 0]];
  for (let row = 0; row < layout.height; row++) {
    let at = layout.base + row * layout.below;
    let cell = (row + 1) * wide + 1;
    for (let column = 0; column < layout.width; column++, at += layout.right, cell++) {
      if (!map[at]) continue;
      cells[cell] = map[at];
      rows[0] = Math.min(rows[0], row);
      rows[1] = row + 1;
      columns[0] = Math.min(columns[0], column);
      columns[1] = Math.max(columns[1], column + 1);
    }
  }
  return { cells, wide, rows, columns };
}

// Runs of voxels whose neighbour on one side is of another class, as lines just inside that side.
function traceSide({ cells, wide, rows, columns }, side, frame, inset, lines) {
  const upright = side === "left" || side === "right";
  const after = side === "right" || side === "bottom";
  const neighbour = (after ? 1 : -1) * (upright ? 1 : wide);
  const [[start, count], [begin, length]] = upright ? [columns, rows] : [rows, columns];
  const [across, along] = upright ? [1, wide] : [wide, 1];
  const [crossStart, crossStep] = upright ? [frame.left, frame.sx] : [frame.top, frame.sy];
  const [alongStart, alongStep] = upright ? [frame.top, frame.sy] : [frame.left, frame.sx];
  for (let line = start; line < count; line++) {
    const cross = crossStart + (line + (after ? 1 : 0)) * crossStep + (after ? -inset : inset);
    let run = 0; // class of the run under way, which began at `first`
    let first = 0;
    for (let n = begin; n <= length; n++) {
      const cell = (line + 1) * across + (n + 1) * along;
      const edge = n < length && cells[cell] && cells[cell + neighbour] !== cells[cell] ? cells[cell] : 0;
      if (edge === run) continue;
      if (run) {
        const [from, to] = [alongStart + first * alongStep + inset, alongStart + n * alongStep - inset];
        const path = (lines[run] ??= new Path2D());
        path.moveTo(...(upright ? [cross, from] : [from, cross]));
        path.lineTo(...(upright ? [cross, to] : [to, cross]));
      }
      [run, first] = [edge, n];
    }
  }
}

function drawOutlines(context, layout, frame, map, { dashed, ratio }) {
  const slice = bordered(layout, map);
  const lines = [];
  const width = OUTLINE_PX * ratio;
  for (const side of ["left", "right", "top", "bottom"]) traceSide(slice, side, frame, width / 2, lines);
  context.save();
  context.lineWidth = width;
  context.lineCap = dashed ? "butt" : "square";
  lines.forEach((path, index) => {
    const shown = CASE.classes[index - 1];
    if (state.off.has(shown.value)) return;
    if (dashed) {
      context.setLineDash([]);
      context.strokeStyle = "#000";
      context.stroke(path);
      context.setLineDash([4 * ratio, 3 * ratio]);
    }
    context.strokeStyle = shown.colour;
    context.stroke(path);
  });
  context.restore();
}

function drawCrosshair(context, plane, frame, ratio) {
  const [column, row] = cellOf(plane, state.at);
  const x = frame.left + (column + 0.5) * frame.sx;
  const y = frame.top + (row + 0.5) * frame.sy;
  const gap = 10 * ratio + Math.max(frame.sx, frame.sy) / 2;
  const { width, height } = context.canvas;
  context.lineWidth = ratio;
  context.strokeStyle = "rgba(255, 255, 255, 0.45)";
  context.beginPath();
  for (const [from, to] of [[0, x - gap], [x + gap, width]]) {
    context.moveTo(from, y);
    context.lineTo(Math.max(from, to), y);
  }
  for (const [from, to] of [[0, y - gap], [y + gap, height]]) {
    context.moveTo(x, from);
    context.lineTo(x, Math.max(from, to));
  }
  context.stroke();
}

function drawView(view) {
  const { canvas, plane } = view;
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio].map(Math.round);
  if (!width || !height) return;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  const layout = layoutOf(plane, state.at[plane.axis]);
  const frame = (view.frame = frameOf(plane, canvas, state.zoom, view.centre));
  const place = [frame.left, frame.top, frame.width * frame.sx, frame.height * frame.sy];
  context.imageSmoothingEnabled = state.smooth;
  context.imageSmoothingQuality = "high";
  context.drawImage(paintGrey(view, layout), ...place);
  if (maps.prediction && state.prediction) {
    context.imageSmoothingEnabled = false;
    if (state.draw !== "outline") context.drawImage(paintClasses(view, layout, maps.prediction), ...place);
    if (state.draw !== "fill") drawOutlines(context, layout, frame, maps.prediction, { dashed: false, ratio });
  }
  if (maps.reference && state.reference) {
    drawOutlines(context, layout, frame, maps.reference, { dashed: true, ratio });
  }
  if (state.cross) drawCrosshair(context, plane, frame, ratio);
}

