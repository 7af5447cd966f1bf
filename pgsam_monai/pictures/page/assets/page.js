// Puts the page together: keys, drawing when something has changed, unpacking.

const KEYS = [
  ["Wheel, ↑ ↓", "next or previous slice", { ArrowUp: () => step(1), ArrowDown: () => step(-1), ArrowRight: () => step(1), ArrowLeft: () => step(-1) }],
  ["Page ↑ ↓", "ten slices", { PageUp: () => step(10), PageDown: () => step(-10) }],
  ["Home, End", "first, last slice", { Home: () => step(-Infinity), End: () => step(Infinity) }],
  ["1 2 3, 0", "one plane, all planes", { 1: () => showPlane(0), 2: () => showPlane(1), 3: () => showPlane(2), 0: () => showPlane(-1) }],
  ["Space", "prediction on, off", { " ": () => change({ prediction: !state.prediction }) }],
  ["R", "reference on, off", { r: () => change({ reference: !state.reference }) }],
  ["F", "fill, outline, both", { f: nextDrawing }],
  ["[ ]", "opacity", { "[": () => changeOpacity(-0.1), "]": () => changeOpacity(0.1) }],
  ["+ −, Ctrl wheel", "zoom", { "+": () => zoomTo(state.zoom * 1.25), "=": () => zoomTo(state.zoom * 1.25), "-": () => zoomTo(state.zoom / 1.25) }],
  ["C", "crosshair on, off", { c: () => change({ cross: !state.cross }) }],
  ["Drag", "crosshair", {}],
  ["Right drag", "level and width of grey values", {}],
  ["Shift drag", "move the zoomed image", {}],
  ["Click on a class", "go to most of it", {}],
  ["?", "this help", { "?": () => byId("keys").showModal() }],
];
const ACTIONS = Object.assign({}, ...KEYS.map(([, , actions]) => actions));

function activeView() {
  return views.find((view) => view.key === state.active) ?? views[0];
}

function step(slices) {
  const view = activeView();
  moveTo(view, state.at[view.plane.axis] + slices);
}

function showPlane(n) {
  const key = n < 0 ? "all" : CASE.planes[n];
  if (CASE.planes.length > 1 && key) change(n < 0 ? { plane: "all" } : { plane: key, active: key });
}

function nextDrawing() {
  const names = Object.keys(DRAWINGS);
  change({ draw: names[(names.indexOf(state.draw) + 1) % names.length] });
}

function changeOpacity(by) {
  change({ opacity: clamp(+(state.opacity + by).toFixed(2), 0, 1) });
}

// Space belongs to the button or box that has the focus, arrows to a slider.
function onKey(event) {
  const action = ACTIONS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  const owner = event.key === " " ? "button, input" : event.key.length > 1 ? "input[type=range]" : "dialog";
  if (!action || event.ctrlKey || event.metaKey || event.altKey || byId("keys").open || event.target.closest(owner)) return;
  event.preventDefault();
  action();
}

let drawing = 0;
let drawnWindow = "";

function redraw() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    const key = `${state.low} ${state.high}`;
    if (key !== drawnWindow) fillLookup(state.low, state.high);
    drawnWindow = key;
    for (const view of views) if (!view.box.hidden) drawView(view);
  });
}

function show() {
  showPanel();
  showViews();
  showReadout(state.at);
  redraw();
}

function change(changes) {
  Object.assign(state, changes);
  show();
  keepLink();
}

function setUp() {
  const choices = CASE.planes.map((key) => [key, PLANES[key].title]);
  if (choices.length > 1) makeSwitch(byId("planes"), [["all", "All"], ...choices], (key) => showPlane(CASE.planes.indexOf(key)));
  byId("views").append(...views.map((view) => view.box));
  byId("views").classList.toggle("three", views.length > 1);
  makeClasses();
  makeOverlay();
  makeWindows();
  makeView();
  makeFiles();
  byId("keys").querySelector("tbody").append(
    ...KEYS.filter(([key]) => key !== "R" || CASE.reference).map(([keys, text]) =>
      element("tr", {}, element("th", { scope: "row", textContent: keys }), element("td", { textContent: text })),
    ),
  );
  byId("help").onclick = () => byId("keys").showModal();
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", () => {
    readLink();
    show();
  });
}

function tell(stage, text) {
  document.documentElement.dataset.state = stage;
  byId("progress").textContent = text;
}

async function start() {
  readLink();
  setUp();
  show();
  await unpackMap("prediction");
  if (CASE.reference) await unpackMap("reference");
  const slabs = slabsFrom(state.at[2]);
  for (const [n, slab] of slabs.entries()) {
    await unpackSlab(slab);
    show();
    tell("unpacking", `${Math.round((100 * (n + 1)) / slabs.length)} %`);
    performance.mark(n ? "slab" : "first-slab");
  }
  tell("ready", "");
  performance.mark("ready");
}

if (!window.DecompressionStream) {
  tell("failed", "This browser is too old: Chrome 80, Firefox 113, Safari 16.4 or later can show this page.");
} else {
  start().catch((fault) => tell("failed", `The page could not be shown: ${fault}`));
}
