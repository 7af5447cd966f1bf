// The settings beside the views. Names come from files: they are put in place as text only.

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function byId(id) {
  return document.getElementById(id);
}

function shownNumber(value, digits = 3) {
  if (value === 0) return "0";
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(digits));
}

function sizeText(ml, voxels) {
  return ml === null ? voxels.toLocaleString("en") : shownNumber(ml);
}

// A row of buttons of which one is pressed.
function makeSwitch(box, choices, choose) {
  for (const [key, title] of choices) {
    const button = element("button", { type: "button", textContent: title, onclick: () => choose(key) });
    button.dataset.key = key;
    box.append(button);
  }
}

function press(box, pressed) {
  for (const button of box.children) {
    button.setAttribute("aria-pressed", String(pressed(button.dataset.key)));
  }
}

function makeClasses() {
  const unit = CASE.affine ? "ml" : "pixels";
  const titles = CASE.reference ? ["", "Class", unit, `Ref. ${unit}`, "Dice"] : ["", "Class", unit];
  byId("classes").tHead.rows[0].append(
    ...titles.map((title) => element("th", { scope: "col", textContent: title })),
  );
  byId("classes").tBodies[0].append(...CASE.classes.map(classRow));
  byId("all").onclick = () => change({ off: new Set() });
  byId("none").onclick = () => change({ off: new Set(CASE.classes.map((shown) => shown.value)) });
  if (!CASE.classes.length) byId("classes").replaceWith(element("p", { textContent: "The label map is empty." }));
}

function classRow(shown) {
  const box = element("input", { type: "checkbox", id: `class-${shown.value}` });
  box.setAttribute("aria-label", `Show ${shown.name}`);
  box.style.accentColor = shown.colour;
  box.onchange = () => toggleClass(shown.value);
  const swatch = element("span", { className: "swatch" });
  swatch.style.background = shown.colour;
  const name = element("button", { type: "button", className: "name" }, swatch, element("span", { textContent: shown.name }));
  name.title = shown.best ? `${shown.name} (${shown.value}): go to most of it` : `${shown.name} (${shown.value}): none`;
  name.disabled = !shown.best;
  name.onclick = () => goTo(shown.best);
  const cells = [sizeText(shown.ml, shown.voxels)];
  if (CASE.reference) {
    cells.push(sizeText(shown.referenceMl, shown.referenceVoxels));
    cells.push(shown.dice === null ? "–" : shown.dice.toFixed(3));
  }
  const row = element("tr", {}, element("td", {}, box), element("th", { scope: "row" }, name));
  row.append(...cells.map((text) => element("td", { className: "number", textContent: text })));
  row.classList.toggle("absent", !shown.voxels);
  return row;
}

function toggleClass(value) {
  const off = new Set(state.off);
  if (!off.delete(value)) off.add(value);
  change({ off });
}

function makeOverlay() {
  makeSwitch(byId("draw"), Object.entries(DRAWINGS), (draw) => change({ draw }));
  byId("opacity").oninput = (event) => change({ opacity: Number(event.target.value) });
  for (const role of CASE.reference ? ["prediction", "reference"] : ["prediction"]) {
    const title = { prediction: "Prediction", reference: "Reference (dashed)" }[role];
    const box = element("input", { type: "checkbox", id: `show-${role}` });
    box.onchange = () => change({ [role]: box.checked });
    byId("maps").append(element("label", { className: "tick" }, box, ` ${title}`));
  }
}

// Sliders reach from the lowest to the highest grey value that occurs, and to the windows on offer.
const GREY = {
  low: Math.min(...CASE.windows.map((choice) => choice.low)),
  high: Math.max(...CASE.windows.map((choice) => choice.high)),
};

function makeWindows() {
  if (CASE.colour) byId("window-title").textContent = "Brightness";
  const choices = CASE.windows.map((choice, n) => [n, choice.name]);
  makeSwitch(byId("windows"), choices, (n) => change({ low: CASE.windows[n].low, high: CASE.windows[n].high }));
  const step = (GREY.high - GREY.low) / 1000;
  const fine = CASE.step === 1 && step < 1 ? 1 : step;
  Object.assign(byId("level"), { min: GREY.low, max: GREY.high, step: fine });
  Object.assign(byId("width"), { min: fine, max: GREY.high - GREY.low, step: fine });
  byId("level").oninput = (event) => setWindow(Number(event.target.value), state.high - state.low);
  byId("width").oninput = (event) => setWindow((state.low + state.high) / 2, Number(event.target.value));
}

function setWindow(level, width) {
  const wide = Math.max(width, (GREY.high - GREY.low) / 2000);
  change({ low: level - wide / 2, high: level + wide / 2 });
}

function makeView() {
  byId("zoom").oninput = (event) => zoomTo(Number(event.target.value));
  for (const name of ["cross", "smooth"]) byId(name).onchange = (event) => change({ [name]: event.target.checked });
}

function makeFiles() {
  const facts = { Image: CASE.files.image, Prediction: CASE.files.prediction };
  if (CASE.reference) facts.Reference = CASE.files.reference;
  if (FLAT) facts.Pixels = `${NX} × ${NY}`;
  else facts.Voxels = CASE.fileShape.join(" × ");
  if (CASE.affine) {
    const mm = [0, 0, 0];
    CASE.fileAxes.forEach((axis, n) => (mm[axis] = CASE.spacing[n] / CASE.factors[n]));
    facts["Voxel size"] = `${mm.map((size) => shownNumber(size)).join(" × ")} mm`;
  }
  for (const [name, value] of Object.entries(facts)) {
    byId("files").append(element("dt", { textContent: name }), element("dd", { textContent: value }));
  }
  byId("notes").append(...CASE.notes.map((note) => element("li", { textContent: note })));
}

function showPanel() {
  for (const shown of CASE.classes) byId(`class-${shown.value}`).checked = !state.off.has(shown.value);
  press(byId("planes"), (key) => key === state.plane);
  press(byId("draw"), (key) => key === state.draw);
  press(byId("windows"), (n) => CASE.windows[n].low === state.low && CASE.windows[n].high === state.high);
  const values = {
    opacity: [state.opacity, `${Math.round(100 * state.opacity)} %`],
    level: [(state.low + state.high) / 2, shownNumber((state.low + state.high) / 2)],
    width: [state.high - state.low, shownNumber(state.high - state.low)],
    zoom: [state.zoom, `${+state.zoom.toFixed(2)} ×`],
  };
  for (const [id, [value, text]] of Object.entries(values)) {
    byId(id).value = value;
    byId(id).setAttribute("aria-valuetext", text);
    byId(id).nextElementSibling.textContent = text;
  }
  for (const name of ["cross", "smooth"]) byId(name).checked = state[name];
  byId("show-prediction").checked = state.prediction;
  if (CASE.reference) byId("show-reference").checked = state.reference;
}

