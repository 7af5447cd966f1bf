// The planes on the screen, and what mouse, fingers and keys do to them.

const NOTCH = 40; // px of scrolling that make a slice; more than that at once, as a wheel's notch, make one too
const views = CASE.planes.map(createView);

function createView(key) {
  const plane = PLANES[key];
  const canvas = element("canvas");
  canvas.setAttribute("role", "img");
  const title = element("span", { className: "where" });
  const slider = element("input", { type: "range", min: 1, max: CASE.shape[plane.axis], step: 1 });
  slider.setAttribute("aria-label", `${plane.title} slice`);
  const ends = plane.ends.map((end, n) => element("span", { className: `end ${["left", "right", "top", "bottom"][n]}`, textContent: end }));
  const picture = element("div", { className: "picture", tabIndex: 0 }, canvas, title, ...ends);
  picture.setAttribute("role", "group");
  picture.setAttribute("aria-label", plane.title);
  const box = element("section", { className: "view" }, picture, slider);
  box.dataset.plane = key;
  slider.hidden = CASE.shape[plane.axis] === 1;
  const view = { key, plane, canvas, title, slider, picture, box, centre: null, scrolled: 0 };
  slider.oninput = () => moveTo(view, Number(slider.value) - 1);
  listen(view);
  return view;
}

function listen(view) {
  const { canvas, picture } = view;
  canvas.addEventListener("wheel", (event) => onWheel(view, event), { passive: false });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => onPress(view, event));
  canvas.addEventListener("pointermove", (event) => onMove(view, event));
  canvas.addEventListener("pointerleave", () => showReadout(state.at));
  picture.addEventListener("focus", () => change({ active: view.key }));
  view.slider.addEventListener("focus", () => change({ active: view.key }));
  new ResizeObserver(redraw).observe(picture);
}

function moveTo(view, slice) {
  const at = [...state.at];
  at[view.plane.axis] = clamp(slice, 0, CASE.shape[view.plane.axis] - 1);
  change({ at, active: view.key });
}

function goTo(at) {
  for (const view of views) view.centre = cellOf(view.plane, at).map((n) => n + 0.5);
  change({ at: [...at] });
}

function zoomTo(zoom) {
  for (const view of views) view.centre ??= cellOf(view.plane, state.at).map((n) => n + 0.5);
  change({ zoom: clamp(zoom, 1, 8) });
  if (state.zoom === 1) for (const view of views) view.centre = null;
}

// Column and row under the pointer, with fractions; none outside of the image.
function cellUnder(view, event) {
  const box = view.canvas.getBoundingClientRect();
  const ratio = view.canvas.width / box.width;
  const column = ((event.clientX - box.left) * ratio - view.frame.left) / view.frame.sx;
  const row = ((event.clientY - box.top) * ratio - view.frame.top) / view.frame.sy;
  return [column, row];
}

function voxelUnder(view, event) {
  const [column, row] = cellUnder(view, event).map(Math.floor);
  return voxelAt(view.plane, state.at[view.plane.axis], column, row);
}

function onWheel(view, event) {
  event.preventDefault();
  if (event.ctrlKey || event.metaKey) return zoomTo(state.zoom * (event.deltaY < 0 ? 1.15 : 1 / 1.15));
  view.scrolled += event.deltaMode !== 0 || Math.abs(event.deltaY) > NOTCH ? Math.sign(event.deltaY) * NOTCH : event.deltaY;
  const steps = Math.trunc(view.scrolled / NOTCH);
  view.scrolled -= steps * NOTCH;
  if (steps) moveTo(view, state.at[view.plane.axis] - steps);
}

function onPress(view, event) {
  view.picture.focus({ preventScroll: true });
  view.canvas.setPointerCapture(event.pointerId);
  view.drag = { x: event.clientX, y: event.clientY, low: state.low, high: state.high, kind: "cross" };
  if (event.button === 2) view.drag.kind = "window";
  if (event.button === 1 || event.shiftKey) view.drag.kind = "pan";
  onMove(view, event);
}

function onMove(view, event) {
  showReadout(voxelUnder(view, event));
  if (!event.buttons || !view.drag) return;
  const { kind, x, y, low, high } = view.drag;
  const [right, down] = [event.clientX - x, event.clientY - y];
  if (kind === "cross") change({ at: voxelUnder(view, event), active: view.key });
  if (kind === "window") {
    const grain = (GREY.high - GREY.low) / 800;
    setWindow((low + high) / 2 + down * grain, high - low + right * grain);
  }
  if (kind === "pan") {
    const { frame, canvas } = view;
    const middle = [(canvas.width / 2 - frame.left) / frame.sx, (canvas.height / 2 - frame.top) / frame.sy];
    const ratio = canvas.width / canvas.clientWidth;
    view.centre = [middle[0] - (right * ratio) / frame.sx, middle[1] - (down * ratio) / frame.sy];
    Object.assign(view.drag, { x: event.clientX, y: event.clientY });
    redraw();
  }
}

function showReadout(at) {
  const voxel = fileVoxel(at);
  const index = indexOf(at);
  const parts = [FLAT ? `row ${voxel[0]}, column ${voxel[1]}` : `voxel ${voxel.join(", ")}`];
  if (CASE.affine) parts.push(`${millimetres(voxel).map((mm) => mm.toFixed(1)).join(", ")} mm RAS`);
  const values = greys.map((codes) => CASE.low + codes[index] * CASE.step);
  if (unpacked[at[2]]) parts.push(`value ${values.map((value) => shownNumber(value, 4)).join(", ")}`);
  for (const role of ["prediction", "reference"]) {
    const found = maps[role]?.[index];
    if (found) parts.push(CASE.reference ? `${role}: ${CASE.classes[found - 1].name}` : CASE.classes[found - 1].name);
  }
  byId("readout").textContent = parts.join("  ·  ");
}

function showViews() {
  for (const view of views) {
    const { plane, key } = view;
    view.box.hidden = state.plane !== "all" && state.plane !== key;
    view.box.classList.toggle("active", key === state.active);
    const text = CASE.shape[plane.axis] > 1 ? `${plane.title} ${state.at[plane.axis] + 1} / ${CASE.shape[plane.axis]}` : plane.title;
    view.title.textContent = text;
    view.canvas.setAttribute("aria-label", text);
    view.slider.value = state.at[plane.axis] + 1;
  }
  byId("views").classList.toggle("single", state.plane !== "all");
}

