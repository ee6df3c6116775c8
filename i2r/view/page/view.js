"use strict";
// Everything that is shown is in the address, so a view can be kept and sent. Names are anybody's
// text: they are only ever set as text, never as markup.
const KEYS = ["plate", "measure", "screen", "filter", "kind", "sort", "condition", "key", "field",
  "index", "crop", "channel", "black", "white", "space", "page"];
const $ = (id) => document.getElementById(id);
const state = {};
let about = { version: 0, plates: [], channels: [], crops: [], segments: [], spaces: [], screens: [], measures: [], colours: [] };
let hits = { columns: [], rows: [] };
let contrast = [];
let fieldContrast = [];
// Without a chosen channel: the one in which the condition moved most.
let movedChannel = "";
const channelNow = () => state.channel || movedChannel || (about.channels[0] ?? "");
const showChannel = (moved) => { movedChannel = moved || movedChannel; $("channel").value = channelNow(); };
let shownHits = 200;
const COLUMNS = 12, PER_PAGE = 96;

const readAddress = () => {
  const given = new URLSearchParams(location.search);
  for (const name of KEYS) state[name] = given.get(name) ?? "";
};
const writeAddress = (keep) => {
  const given = new URLSearchParams();
  for (const name of KEYS) if (state[name] !== "" && state[name] != null) given.set(name, state[name]);
  const address = `${location.pathname}${given.size ? "?" + given : ""}`;
  if (address === location.pathname + location.search) return;
  history[keep ? "replaceState" : "pushState"](null, "", address);
};
const link = (name, given) => {
  const asked = new URLSearchParams();
  for (const [key, value] of Object.entries(given)) if (value !== "" && value != null) asked.set(key, value);
  return `ask/${name}?${asked}`;
};
const complain = (words) => { $("problem").textContent = words; $("problem").hidden = !words; };
const ask = async (name, given = {}) => {
  const response = await fetch(link(name, given));
  const found = await response.json();
  if (found.error) throw new Error(found.error);
  return found;
};
const make = (tag, values = {}, ...inside) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "role") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...inside);
  return element;
};
const draw = (tag, values = {}, ...inside) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
  element.append(...inside);
  return element;
};
const write = (value) => {
  if (value === null || value === undefined) return "–";
  if (value === true) return "yes";
  if (value === false) return "";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return Math.abs(value) < 1e-3 ? value.toExponential(1) : value.toPrecision(3);
};
const fill = (select, choices, chosen) => {
  const groups = new Map();
  select.replaceChildren();
  for (const [value, text, group] of choices) {
    let place = select;
    if (group) {
      if (!groups.has(group)) groups.set(group, select.appendChild(make("optgroup", { label: group })));
      place = groups.get(group);
    }
    place.append(make("option", { value, textContent: text, selected: value === chosen }));
  }
};

// ---------------------------------------------------------------- contrast
const windowOf = (list) => {
  const found = list[about.channels.indexOf(channelNow())] ?? { black: 0, white: 65535, most: 65535 };
  return { black: state.black !== "" ? +state.black : found.black, white: state.white !== "" ? +state.white : found.white, most: found.most };
};
const showContrast = () => {
  const { black, white, most } = windowOf(contrast.length ? contrast : fieldContrast);
  for (const [id, value] of [["black", black], ["white", white]]) { $(id).max = most; $(id).value = value; $(id).title = write(value); }
};

// ---------------------------------------------------------------- plates
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const moveFocus = (from, to) => {
  from.setAttribute("tabindex", -1);
  to.setAttribute("tabindex", 0);
  to.focus();
};
let plateTurn = 0, plateFound = null;
const showPlate = async () => {
  const turn = ++plateTurn;
  let found;
  try { found = await ask("plate", { plate: state.plate, measure: state.measure }); }
  catch (error) {
    complain(error.message);
    found = await ask("plate", { plate: state.plate });
  }
  if (turn !== plateTurn) return;
  plateFound = found;
  drawPlate();
};
// Also where only the marks change: nothing is asked for then, so nuclei come sooner.
const drawPlate = () => {
  const found = plateFound;
  if (!found) return;
  const { rows, columns, wells } = found;
  const every = columns <= 12 ? 1 : columns <= 24 ? 2 : 4;
  const svg = draw("svg", { viewBox: `-1.4 -1.1 ${columns + 1.6} ${rows + 1.3}`, role: "group", "aria-label": `Plate ${found.plate}`, "font-size": columns <= 12 ? 0.5 : columns <= 24 ? 0.75 : 1.3 });
  for (let c = 1; c <= columns; c += every) svg.append(draw("text", { x: c - 0.5, y: -0.25, "text-anchor": "middle" }, String(c)));
  for (let r = 1; r <= rows; r += every) svg.append(draw("text", { x: -0.2, y: r - 0.25, "text-anchor": "end" }, found.row_names[r - 1]));
  // One stop for the Tab key: arrows go from well to well, and a redrawn map keeps the focus.
  const focused = document.activeElement?.closest?.("#map rect")?.dataset.key ?? "";
  const stop = wells.find((well) => well.key === (focused || state.key)) ?? wells.find((well) => well.condition === state.condition) ?? wells[0];
  const squares = new Map();
  for (const well of wells) {
    const marks = [well.role, well.share === null ? "none" : "", well.condition === state.condition ? "same" : "", well.key === state.key ? "chosen" : ""];
    const square = draw("rect", { x: well.column - 0.94, y: well.row - 0.94, width: 0.88, height: 0.88, class: marks.filter(Boolean).join(" "), tabindex: well === stop ? 0 : -1, role: "button", "data-key": well.key },
      draw("title", {}, `${well.well} ${well.given || "no perturbation"} (${well.role.replace("_", " ")}): ${write(well.value)}`));
    if (well.share !== null) square.setAttribute("fill", about.colours[Math.round(well.share * (about.colours.length - 1))]);
    const choose = () => go({ key: well.key, condition: well.role === "empty" ? "" : well.condition, field: "", index: "", page: "" });
    square.addEventListener("click", choose);
    square.addEventListener("keydown", (event) => {
      const step = ARROWS[event.key];
      if (!step && event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      if (!step) { choose(); return; }
      for (let [r, c] = [well.row + step[0], well.column + step[1]]; r >= 1 && r <= rows && c >= 1 && c <= columns; r += step[0], c += step[1]) {
        const next = squares.get(`${r} ${c}`);
        if (next) { moveFocus(square, next); break; }
      }
    });
    squares.set(`${well.row} ${well.column}`, square);
    svg.append(square);
  }
  $("map").replaceChildren(svg);
  if (focused && stop) squares.get(`${stop.row} ${stop.column}`).focus({ preventScroll: true });
  const known = wells.some((well) => well.share !== null);
  $("ramp").hidden = !known;
  $("low").textContent = write(found.low);
  $("high").textContent = write(found.high);
  const pen = $("scale").getContext("2d");
  about.colours.forEach((colour, i) => { pen.fillStyle = colour; pen.fillRect(i * 160 / about.colours.length, 0, 11, 10); });
  $("map-words").textContent = [found.words, known ? "Scale: 1st to 99th percentile of this plate." : "", "Outlines: black negative, magenta positive controls, orange the condition, blue the well."].filter(Boolean).join(" ");
};

// ---------------------------------------------------------------- hits
const showHits = () => {
  const wanted = state.filter.trim().toLowerCase();
  const [column, falling] = [state.sort.replace(/^-/, ""), state.sort.startsWith("-")];
  let rows = hits.rows.filter((row) => (!state.kind || row.kind === state.kind) &&
    (!wanted || hits.columns.some((name) => String(row[name] ?? "").toLowerCase().includes(wanted))));
  if (column) rows = [...rows].sort((a, b) => {
    const [x, y] = [a[column], b[column]];
    if (x == null || y == null) return (x == null) - (y == null);
    const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
    return falling ? -order : order;
  });
  const [heldRow, heldHead] = ["tbody tr", "thead th"].map((what) => document.activeElement?.closest?.(`#hits ${what}`)?.dataset.name);
  const head = make("tr");
  for (const name of hits.columns) {
    const sort = () => go({ sort: state.sort === name ? `-${name}` : name }, true);
    const button = make("button", { type: "button", textContent: name.replaceAll("_", " "), onclick: sort });
    head.append(make("th", { scope: "col", ...(column === name ? { "aria-sort": falling ? "descending" : "ascending" } : {}) }, button));
    head.lastChild.dataset.name = name;
  }
  $("hits").tHead.replaceChildren(head);
  const body = $("hits").tBodies[0];
  body.replaceChildren(...rows.slice(0, shownHits).map((row) => {
    const choose = () => go({ condition: row.condition, key: "", field: "", index: "", page: "" });
    const step = (event) => {
      const next = event.key === "ArrowDown" ? line.nextElementSibling : event.key === "ArrowUp" ? line.previousElementSibling : null;
      if (event.key === "Enter") choose();
      else if (next) { event.preventDefault(); moveFocus(line, next); }
    };
    const line = make("tr", { tabIndex: -1, "aria-selected": String(row.condition === state.condition), onclick: choose, onkeydown: step },
      ...hits.columns.map((name) => make("td", { textContent: write(row[name]), title: String(row[name] ?? ""), className: typeof row[name] === "number" ? "number" : "" })));
    line.dataset.name = row.condition;
    return line;
  }));
  // One stop for the Tab key: arrows go from row to row, and a table drawn anew keeps the focus.
  const lines = [...body.rows];
  const kept = lines.find((line) => line.dataset.name === heldRow);
  const stop = kept ?? lines.find((line) => line.dataset.name === state.condition) ?? lines[0];
  if (stop) stop.tabIndex = 0;
  if (kept) kept.focus({ preventScroll: true });
  else [...head.cells].find((cell) => cell.dataset.name === heldHead)?.firstChild.focus({ preventScroll: true });
  $("more-hits").hidden = rows.length <= shownHits;
  $("hits-words").textContent = `${Math.min(rows.length, shownHits)} of ${hits.rows.length} conditions. ${(hits.cautions ?? []).join(" ")}`;
  $("hits-how").hidden = !hits.words;
  $("hits-method").textContent = hits.words ?? "";
};

// ---------------------------------------------------------------- nuclei
// Crops come on sheets, twelve in a row, one request for all of a strip.
const showSheet = (place, nuclei, { caption } = {}) => {
  const { black, white } = windowOf(contrast);
  const asked = nuclei.map((n) => `${encodeURIComponent(n.key)}~${n.crop}`).join(" ");
  const address = link("crops", { crop: state.crop, nuclei: asked, channel: channelNow(), black, white, v: about.version });
  const columns = Math.min(COLUMNS, nuclei.length);
  place.className = "nuclei";
  place.replaceChildren(...nuclei.map((n, i) => {
    const button = make("button", { type: "button", "aria-label": `nucleus ${n.label}, field ${n.field}, ${n.key}`, title: `${n.key} field ${n.field} nucleus ${n.label}`,
      "aria-pressed": String(n.key === state.key && String(n.crop) === state.index),
      onclick: () => go({ key: n.key, field: n.field, index: String(n.crop), ...(n.condition ? { condition: n.condition } : {}) }) });
    button.style.backgroundImage = `url("${address}")`;
    button.style.backgroundSize = `${columns * 62}px auto`;
    button.style.backgroundPosition = `${-(i % columns) * 62}px ${-Math.floor(i / columns) * 62}px`;
    return caption ? make("figure", {}, button, make("span", { textContent: caption(n), title: caption(n) })) : button;
  }));
  place.dataset.sheet = address;
};
const strip = (title) => {
  const place = make("div");
  return [place, make("h3", { textContent: title }), place];
};
const fact = (list) => {
  const shown = make("dl");
  for (const [name, value] of list) shown.append(make("dt", { textContent: name.replaceAll("_", " ") }), make("dd", { textContent: write(value) }));
  return shown;
};

let turn = 0;
// Whether something of the detail was not there yet, and may be after the run's next step.
let waiting = false;
const showDetail = async () => {
  const mine = ++turn;
  waiting = false;
  const fresh = () => mine === turn;
  $("hint").hidden = Boolean(state.condition || state.key);
  const held = document.activeElement, label = held?.getAttribute("aria-label") || held?.textContent;
  const part = ["condition", "well", "nucleus"].map($).find((place) => place.contains(held));
  await Promise.all([showCondition(fresh), showWell(fresh), showNucleus(fresh)].map((shown) => shown.catch((error) => { if (fresh()) complain(error.message); })));
  if (fresh()) showContrast();
  if (fresh() && part && document.activeElement === document.body) {
    [...part.querySelectorAll("button")].find((button) => (button.getAttribute("aria-label") || button.textContent) === label)?.focus({ preventScroll: true });
  }
};
const showCondition = async (fresh) => {
  const place = $("condition");
  if (!state.condition) { place.replaceChildren(); return; }
  const [own, ownTitle, ownPlace] = strip("Nuclei, evenly over its wells");
  const [controls, controlTitle, controlPlace] = strip("Negative controls of the same plates");
  const wanted = { crop: state.crop, condition: state.condition, screen: state.screen, count: 24 };
  const described = ask("condition", { condition: state.condition, screen: state.screen });
  let problem = "";
  const none = { nuclei: [], total: 0 };
  const mine = state.crop ? ask("nuclei", wanted).catch((error) => { problem = error.message; return none; }) : none;
  const found = await mine;
  if (!fresh()) return;
  const others = state.crop ? ask("nuclei", { ...wanted, controls: 1 }).catch(() => none) : none;
  showChannel(found.moved_channel);
  if (found.nuclei.length) { contrast = found.contrast; showContrast(); showSheet(own, found.nuclei); }
  else {
    waiting = true;
    own.replaceChildren(make("p", { className: "muted", textContent: problem || "No crops (yet)." }));
  }
  const heading = make("h2", { textContent: state.condition });
  place.replaceChildren(heading, ownTitle, ownPlace);
  const told = await described;
  if (!fresh()) return;
  const facts = ["gene", "dose", "p_value", "fdr", "impactful", "score", "explained", "count_change", "note"];
  const list = facts.filter((name) => told.facts[name] != null).map((name) => [name === "explained" ? "owed to" : name, told.facts[name]]);
  if (told.moved.length) list.push(["moved most (SD of control wells)", told.moved.slice(0, 5).map((m) => `${m.feature} ${m.change > 0 ? "+" : ""}${m.change.toFixed(1)}`).join(", ")]);
  const chips = make("div", { className: "chips" }, ...told.wells.slice(0, 60).map((well) => make("button", { type: "button", textContent: `${well.key}${well.nuclei == null ? "" : ` (${well.nuclei})`}`,
    "aria-pressed": String(well.key === state.key), onclick: () => go({ key: well.key, field: "", index: "", page: "" }) })));
  const count = make("p", { className: "muted", textContent: `${told.wells.length} wells (nuclei)${told.wells.length > 60 ? ", the first 60 are listed" : ""}` });
  heading.after(fact(list), count, chips);
  const beside = await others;
  if (!fresh()) return;
  if (beside.nuclei.length && !told.wells.some((well) => well.role === "negative_control")) {
    showSheet(controls, beside.nuclei);
    place.append(controlTitle, controlPlace);
  }
};
const showWell = async (fresh) => {
  const place = $("well");
  if (!state.key) { place.replaceChildren(); return; }
  const found = await ask("well", { key: state.key, screen: state.screen });
  if (!fresh()) return;
  showChannel(found.moved_channel);
  fieldContrast = found.contrast;
  if (!found.converted || !found.segment) waiting = true;
  const usable = found.fields.filter((field) => !field.reason);
  const field = state.field || (usable[0] ?? found.fields[0])?.field || "";
  const chips = make("div", { className: "chips" }, ...found.fields.map((f) => make("button", { type: "button", disabled: Boolean(f.reason), title: f.reason || "", textContent: `field ${f.field}${f.reason ? `: ${f.reason}` : f.nuclei == null ? "" : ` (${f.nuclei})`}`,
    "aria-pressed": String(f.field === field), onclick: () => go({ field: f.field, index: "" }) })));
  const parts = [make("h2", { textContent: `${found.plate} ${found.well}: ${found.given || "no perturbation"}` }), chips];
  if (found.converted && usable.some((f) => f.field === field)) parts.push(...showField(found, field));
  else parts.push(make("p", { className: "muted", textContent: found.converted ? "This field was left out." : "Not converted yet." }));
  if (state.crop) {
    const page = +state.page || 0;
    const nuclei = await ask("nuclei", { crop: state.crop, key: state.key, count: PER_PAGE, offset: page * PER_PAGE }).catch(() => ({ nuclei: [], total: 0 }));
    if (!fresh()) return;
    if (nuclei.nuclei.length) {
      if (!contrast.length) contrast = nuclei.contrast;
      const [sheet, title, sheetPlace] = strip(`Nuclei ${page * PER_PAGE + 1} to ${page * PER_PAGE + nuclei.nuclei.length} of ${nuclei.total}`);
      showSheet(sheet, nuclei.nuclei);
      const pages = make("p", {}, ...[["before", page - 1, page > 0], ["next", page + 1, (page + 1) * PER_PAGE < nuclei.total]].filter((p) => p[2]).map(([text, to]) => make("button", { type: "button", textContent: text, onclick: () => go({ page: to ? String(to) : "" }) })));
      parts.push(title, sheetPlace, pages);
    }
  }
  place.replaceChildren(...parts);
};
const showField = (found, field) => {
  const { black, white } = windowOf(fieldContrast);
  const given = { key: found.key, field, channel: channelNow(), black, white, v: about.version };
  const frame = make("div", { className: "field" });
  const inner = make("div", {}, make("img", { src: link("field", given), alt: `field ${field}, channel ${channelNow()}` }));
  frame.append(inner);
  const tools = make("p", { className: "row" }, make("button", { type: "button", textContent: "larger / smaller", onclick: () => frame.classList.toggle("whole") }));
  if (found.segment) {
    const outlines = make("img", { src: link("outlines", { key: found.key, field, segment: found.segment, crop: state.crop, index: state.index, v: about.version }), alt: "outlines of nuclei" });
    inner.append(outlines);
    const box = make("input", { type: "checkbox", checked: true, onchange: () => { outlines.hidden = !box.checked; } });
    tools.append(make("label", {}, box, " outlines"), make("span", { className: "muted", textContent: "Click a nucleus to read it." }));
    frame.addEventListener("click", async (event) => {
      const area = inner.getBoundingClientRect();
      try {
        const hit = await ask("at", { key: found.key, field, crop: state.crop, segment: found.segment, y: (event.clientY - area.top) / area.height, x: (event.clientX - area.left) / area.width });
        if (hit.crop != null) go({ key: found.key, field, index: String(hit.crop) });
        else complain(hit.label ? `Nucleus ${hit.label} has no crop (see the table of crops for the reason).` : "");
      } catch (error) { complain(error.message); }
    });
  }
  return [tools, frame];
};
const showNucleus = async (fresh) => {
  const place = $("nucleus");
  if (!state.key || state.index === "" || !state.crop) { place.replaceChildren(); return; }
  const found = await ask("nucleus", { key: state.key, index: state.index, crop: state.crop, space: state.space });
  if (!fresh()) return;
  const n = found.nucleus;
  const planes = make("div", { className: "planes" }, ...about.channels.map((channel, i) => {
    const range = contrast[i] ?? { black: 0, white: 65535 };
    const picture = make("div");
    picture.style.backgroundImage = `url("${link("crops", { crop: state.crop, nuclei: `${encodeURIComponent(n.key)}~${n.crop}`, channel, black: channel === channelNow() && state.black !== "" ? state.black : range.black, white: channel === channelNow() && state.white !== "" ? state.white : range.white, v: about.version })}")`;
    picture.style.backgroundSize = "150px 150px";
    return make("figure", {}, picture, channel);
  }));
  const parts = [make("h2", { textContent: `Nucleus ${n.label}, field ${n.field}, ${n.key}` }), planes];
  const hidden = new Set(["plate", "well", "field", "label"]);
  const measured = Object.entries(found.measured).filter(([name]) => !hidden.has(name) && !name.startsWith("bbox"));
  if (measured.length) parts.push(fact(measured));
  if (found.features.length) {
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...["feature", "value", "SD of control nuclei"].map((t) => make("th", { textContent: t })))),
      make("tbody", {}, ...found.features.slice(0, 12).map(([name, value, z]) => make("tr", {}, make("td", { textContent: name }), make("td", { textContent: write(value), className: "number" }), make("td", { textContent: write(z), className: "number" })))));
    parts.push(make("h3", { textContent: "What is unusual about it" }), table);
  }
  if (found.problem) parts.push(make("p", { className: "muted", textContent: found.problem }));
  const near = make("div");
  if (about.spaces.length) {
    const select = make("select", { onchange: () => go({ space: select.value }) });
    fill(select, about.spaces.map((s) => [s, s]), state.space);
    parts.push(make("h3", { textContent: "Nuclei most like it" }), make("label", {}, "by ", select), near);
  }
  place.replaceChildren(...parts);
  if (!about.spaces.length) return;
  near.textContent = "looking …";
  try {
    const nearest = await ask("nearest", { key: state.key, index: state.index, space: state.space, count: 24 });
    if (!fresh()) return;
    const sheet = make("div");
    showSheet(sheet, nearest.nuclei, { caption: (item) => item.condition });
    near.replaceChildren(sheet, make("p", { className: "muted", textContent: `of ${write(nearest.n_nuclei)} nuclei of ${nearest.n_plates} plates${nearest.n_left_out ? `; ${nearest.n_left_out} plates were not searched` : ""}, nearest first` }));
  } catch (error) { near.textContent = error.message; }
};

// ---------------------------------------------------------------- the page
const complete = () => {
  const known = (name, list) => { if (!list.includes(state[name])) state[name] = list[0] ?? ""; };
  known("plate", about.plates);
  if (!about.channels.includes(state.channel)) state.channel = "";
  known("crop", about.crops);
  known("space", about.spaces);
  known("screen", about.screens);
  known("measure", about.measures.map((m) => m.id));
  fill($("plate"), about.plates.map((p) => [p, p]), state.plate);
  fill($("channel"), about.channels.map((c) => [c, c]), channelNow());
  fill($("crop"), about.crops.map((c) => [c, c]), state.crop);
  $("crop-label").hidden = about.crops.length < 2;
  fill($("screen"), about.screens.length ? about.screens.map((s) => [s, s]) : [["", "none yet"]], state.screen);
  fill($("measure"), about.measures.map((m) => [m.id, m.name, m.group]), state.measure);
  $("name").textContent = about.name;
  document.title = `${about.name} – i2r view`;
  $("filter").value = state.filter;
  $("kind").value = state.kind;
};
const PLATE = ["plate", "measure"], HITS = ["screen"];
const DETAIL = ["condition", "key", "field", "index", "crop", "channel", "black", "white", "space", "page", "screen"];
const go = async (changes, keep = false) => {
  const before = { ...state };
  if (changes.key && about.plates.length && !("plate" in changes)) {
    const plate = about.plates.find((p) => changes.key.startsWith(`${p}/`) && !changes.key.slice(p.length + 1).includes("/"));
    if (plate) changes = { ...changes, plate };
  }
  Object.assign(state, changes);
  writeAddress(keep);
  await update(before);
};
// After a run's next step: plate and table anew, the detail only where it waits for something.
const refresh = async () => {
  try {
    complete();
    const jobs = [showPlate(), ask("hits", { screen: state.screen }).then((found) => { hits = found; showHits(); })];
    if (waiting) jobs.push(showDetail());
    await Promise.all(jobs);
  } catch (error) { complain(error.message); }
};
const update = async (before = null) => {
  complain("");
  const changed = (names) => !before || names.some((name) => before[name] !== state[name]);
  try {
    complete();
    const jobs = [];
    // Nuclei first: they are what was asked for.
    if (changed(DETAIL)) jobs.push(showDetail());
    if (changed(HITS)) jobs.push(ask("hits", { screen: state.screen }).then((found) => { hits = found; showHits(); }));
    else if (changed(["filter", "kind", "sort", "condition"])) showHits();
    if (changed(PLATE)) jobs.push(showPlate());
    else drawPlate();
    await Promise.all(jobs);
  } catch (error) { complain(error.message); }
};
for (const id of ["plate", "measure", "screen", "channel", "crop", "kind"]) {
  $(id).addEventListener("change", () => go({ [id]: $(id).value, ...(id === "channel" ? { black: "", white: "" } : {}) }));
}
$("filter").addEventListener("input", () => { shownHits = 200; go({ filter: $("filter").value }, true); });
for (const id of ["black", "white"]) $(id).addEventListener("change", () => go({ [id]: String(Math.round($(id).value)) }, true));
$("reset").addEventListener("click", () => go({ black: "", white: "" }, true));
$("more-hits").addEventListener("click", () => { shownHits += 500; showHits(); });
window.addEventListener("popstate", () => { readAddress(); update(); });
// While a run writes, what is done shows by itself; the view stays where it is.
const watch = async () => {
  try {
    const { version } = await ask("version");
    if (version !== about.version) {
      const screens = about.screens.length;
      about = await ask("about");
      if (about.screens.length !== screens) waiting = true;
      $("news").textContent = `updated ${new Date().toLocaleTimeString()}`; await refresh();
    }
  } catch { $("news").textContent = "The server has ended: start 'i2r view' again."; }
  setTimeout(watch, 4000);
};
(async () => {
  readAddress();
  try {
    about = await ask("about");
    await update();
    writeAddress(true);
  } catch (error) { complain(error.message); }
  document.documentElement.dataset.ready = "yes";
  setTimeout(watch, 4000);
})();
