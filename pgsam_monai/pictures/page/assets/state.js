// What is shown now, and the same as the link's end: #plane=axial&slice=12&off=2,5&opacity=0.6

const DRAWINGS = { both: "Both", fill: "Fill", outline: "Outline" };
const NARROW = 760; // px, below which one plane is shown at first

const state = {};

function startState() {
  const alone = CASE.planes.length === 1 || window.innerWidth < NARROW;
  return {
    plane: alone ? CASE.plane : "all",
    active: CASE.plane,
    at: [...CASE.start],
    off: new Set(),
    opacity: 0.4,
    draw: "both",
    prediction: true,
    reference: true,
    low: CASE.windows[0].low,
    high: CASE.windows[0].high,
    cross: CASE.planes.length > 1,
    smooth: true,
    zoom: 1,
  };
}

function numbersOf(text, count) {
  const numbers = (text ?? "").split(",").map(Number);
  return text && numbers.length === count && numbers.every(Number.isFinite) ? numbers : null;
}

function readLink() {
  const given = new URLSearchParams(location.hash.slice(1));
  const fresh = startState();
  const plane = given.get("plane");
  if (plane === "all" || CASE.planes.includes(plane)) fresh.plane = plane;
  if (fresh.plane !== "all") fresh.active = fresh.plane;
  const voxel = numbersOf(given.get("at"), 3);
  if (voxel) fresh.at = shownVoxel(voxel.map(Math.round));
  const slice = numbersOf(given.get("slice"), 1);
  const axis = PLANES[fresh.active].axis;
  if (slice) fresh.at[axis] = clamp(Math.round(slice[0]) - 1, 0, CASE.shape[axis] - 1);
  const off = given.get("off");
  if (off) fresh.off = new Set(off === "all" ? CASE.classes.map((shown) => shown.value) : off.split(",").map(Number));
  const opacity = numbersOf(given.get("opacity"), 1);
  if (opacity) fresh.opacity = clamp(opacity[0], 0, 1);
  const zoom = numbersOf(given.get("zoom"), 1);
  if (zoom) fresh.zoom = clamp(zoom[0], 1, 8);
  const grey = numbersOf(given.get("window"), 2);
  if (grey && grey[1] > grey[0]) [fresh.low, fresh.high] = grey;
  if (given.get("draw") in DRAWINGS) fresh.draw = given.get("draw");
  for (const name of ["prediction", "reference", "cross", "smooth"]) {
    if (given.has(name)) fresh[name] = given.get(name) !== "0";
  }
  Object.assign(state, fresh);
}

// Only what differs from a page just opened, but always the place.
function linkOf() {
  const fresh = startState();
  const parts = { at: fileVoxel(state.at).join(",") };
  if (state.plane !== fresh.plane) parts.plane = state.plane;
  if (state.off.size) parts.off = state.off.size === CASE.classes.length ? "all" : [...state.off].join(",");
  for (const name of ["opacity", "draw", "zoom"]) if (state[name] !== fresh[name]) parts[name] = state[name];
  if (state.low !== fresh.low || state.high !== fresh.high) {
    parts.window = [state.low, state.high].map((grey) => +grey.toPrecision(6)).join(",");
  }
  for (const name of ["prediction", "reference", "cross", "smooth"]) {
    if (state[name] !== fresh[name]) parts[name] = state[name] ? 1 : 0;
  }
  return "#" + Object.entries(parts).map(([name, value]) => `${name}=${value}`).join("&");
}

let linkTimer = 0;

// Browsers allow few changes of the address in a second.
function keepLink() {
  clearTimeout(linkTimer);
  linkTimer = setTimeout(() => history.replaceState(null, "", linkOf()), 400);
}

