// The live page: sends a prompt, and shows each image as it arrives.
import { make, show } from "./detail.js";

const $ = (id) => document.getElementById(id);
const form = $("ask"), stage = $("stage"), status = $("status"), problem = $("problem"), dialog = $("detail");
let drawing = null; // the request under way
let state = null; // what is on the stage

const key = (prompt, seed, column) => `${prompt}|${seed}|${column}`;
const letter = (prompt) => "AB"[prompt];

function asked() {
  const data = { prompts: [$("prompt-0").value], seeds: $("seeds").value };
  if (!document.querySelector(".second").hidden && $("prompt-1").value.trim()) data.prompts.push($("prompt-1").value);
  for (const control of form.querySelectorAll("[data-control]")) {
    const value = control.value.trim();
    if (value && !(control.tagName === "SELECT" && control.selectedIndex === 0)) data[control.name] = value;
  }
  return data;
}

/** The address that asks for the same again. */
function address(data, cell) {
  const query = new URLSearchParams();
  for (const one of data.prompts) query.append("prompt", one);
  for (const [name, value] of Object.entries(data)) if (name !== "prompts") query.set(name, value);
  if (cell) query.set("cell", cell);
  return `${location.origin}/?${query}`;
}

function tell(message) {
  problem.hidden = !message;
  problem.replaceChildren(...(message ? [make("p", {}, message)] : []));
}

function busy(on) {
  document.body.classList.toggle("busy", on);
  $("stop").hidden = !on;
  stage.setAttribute("aria-busy", String(on));
}

async function draw(data, wanted = null) {
  drawing?.abort();
  const mine = (drawing = new AbortController());
  tell("");
  status.textContent = "Reading the prompt";
  busy(true);
  delete document.body.dataset.done;
  const started = performance.now();
  let first = null, finished = false;
  try {
    const answer = await fetch("/draw", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(data), signal: mine.signal });
    if (!answer.ok) {
      const told = await answer.json().catch(() => ({}));
      throw new Error(told.problem || `The server answered ${answer.status}.`);
    }
    history.replaceState(null, "", address(data, wanted));
    for await (const [name, value] of events(answer.body)) {
      if (mine !== drawing) return;
      if (name === "plan") begin(value, data);
      else if (name === "image") {
        first ??= performance.now() - started;
        arrive(value, wanted);
        const total = state.columns.length * state.seeds.length * state.prompts.length;
        status.textContent = `${state.images.size} of ${total} images, the first after ${(first / 1000).toFixed(1)} s`;
      } else if (name === "change" || name === "difference") measure(name, value);
      else if (name === "said") say(value);
      else if (name === "begin" && value.visitors > 1) status.textContent = `Sharing the model with ${value.visitors - 1} other${value.visitors > 2 ? "s" : ""}`;
      else if (name === "problem") throw new Error(value.message);
      else if (name === "done") finished = true;
    }
    if (!finished) throw new Error("lost");
    status.textContent = `${state.images.size} images in ${((performance.now() - started) / 1000).toFixed(1)} s, the first after ${((first ?? 0) / 1000).toFixed(1)} s`;
    document.body.dataset.done = "";
  } catch (error) {
    if (mine !== drawing || error.name === "AbortError") return;
    const lost = error.message === "lost" || error instanceof TypeError;
    tell(lost ? "The connection to the server was lost. What arrived stays here; start the server again and press Draw for the rest." : error.message);
    status.textContent = state ? `Stopped at ${state.images.size} images` : "";
  } finally {
    if (mine === drawing) { busy(false); drawing = null; }
  }
}

/** The events of a stream, as pairs of name and value. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const lines = Object.fromEntries(text.slice(0, end).split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
      yield [lines.event, JSON.parse(lines.data)];
    }
  }
}

const lineOf = (lead, across, name = "row") => make("div", { class: `line ${name}` }, make("div", { class: "lead-cell" }, ...[lead].flat()), across);

function begin(plan, data) {
  $("empty").hidden = true;
  stage.hidden = false;
  state = { ...plan, data, images: new Map(), shots: new Map(), numbers: new Map(), focus: [], tables: [], said: new Map(), changes: new Map(), at: plan.columns.length - 1, moved: false };
  const n = plan.columns.length;
  stage.style.setProperty("--n", n);
  const range = make("input", { type: "range", id: "layer", min: 0, max: n - 1, value: state.at, "aria-label": "Layer shown large in every row", on: { input: (event) => { state.moved = true; move(Number(event.target.value)); } } });
  const names = make("div", { class: "across names" }, ...plan.columns.map((name, i) => make("button", { type: "button", tabindex: "-1", "aria-hidden": "true", on: { click: () => { state.moved = true; move(i); } } }, name)));
  state.range = range; state.names = [...names.children];
  state.now = make("div", { class: "now" });
  const parts = [lineOf(state.now, make("div", {}, names, range), "slider")];
  plan.prompts.forEach((prompt, p) => {
    const group = make("section", { class: "group", "aria-label": prompt });
    if (plan.prompts.length > 1) group.append(make("h2", {}, make("span", { class: "letter" }, letter(p)), prompt));
    for (const seed of plan.seeds) group.append(rowOf(p, seed, prompt));
    if (plan.say) {
      const table = make("div", { class: "said", role: "table", "aria-label": `What the states of "${prompt}" say` }, make("p", { class: "soft small" }, "The words of the states follow the images."));
      state.tables.push(table);
      group.append(table);
    }
    parts.push(group);
  });
  if (plan.prompts.length > 1) {
    const group = make("section", { class: "group", "aria-label": "Difference of the two prompts" }, make("h2", {}, "Difference of A and B"));
    for (const seed of plan.seeds) group.append(differenceRow(seed));
    parts.push(group);
  }
  parts.push(plots(plan));
  stage.replaceChildren(...parts);
  move(state.at);
}

function rowOf(p, seed, prompt) {
  const large = make("button", { type: "button", class: "shot focus waiting", "aria-label": `${prompt}, seed ${seed}, the layer chosen` }, make("span", { class: "seed" }, `seed ${seed}`));
  state.focus.push({ element: large, p, seed });
  const across = make("div", { class: "across" });
  state.columns.forEach((name, c) => {
    const shot = make("button", { type: "button", class: "shot waiting", "aria-label": `layer ${name}, seed ${seed}: not drawn yet`, on: { click: () => open(p, seed, c), focus: () => {} } });
    state.shots.set(key(p, seed, c), shot);
    across.append(shot);
  });
  large.addEventListener("click", () => open(p, seed, state.at));
  return lineOf(large, across);
}

function differenceRow(seed) {
  const large = make("div", { class: "shot focus delta waiting", role: "img", "aria-label": `Difference, seed ${seed}, the layer chosen` }, make("span", { class: "seed" }, `seed ${seed}`));
  state.focus.push({ element: large, p: "d", seed });
  const across = make("div", { class: "across" });
  state.columns.forEach((name, c) => {
    const shot = make("div", { class: "shot delta waiting", role: "img", "aria-label": `Difference, layer ${name}, seed ${seed}: not drawn yet` });
    state.shots.set(key("d", seed, c), shot);
    const number = make("div", { class: "number" });
    state.numbers.set(key("d", seed, c), number);
    across.append(make("div", {}, shot, number));
  });
  return lineOf(large, across);
}

function put(element, ...images) {
  element.classList.remove("waiting");
  element.querySelectorAll("img, .why").forEach((old) => old.remove());
  element.prepend(...images);
}

const picture = (one) => one.missing ? make("span", { class: "why" }, one.missing) : make("img", { src: `/image/${one.cell}.png`, alt: "" });

function arrive(one, wanted) {
  const { prompt, seed, column } = one;
  state.images.set(key(prompt, seed, column), one);
  const shot = state.shots.get(key(prompt, seed, column));
  const image = picture(one);
  if (state.images.size === 1 && !one.missing) image.addEventListener("load", () => stage.classList.toggle("small-pixels", image.naturalWidth <= 128), { once: true });
  put(shot, image);
  const right = Object.values(one.verdicts);
  const said = right.length ? `, ${right.filter((each) => each === "right").length} of ${right.length} checks right` : "";
  shot.setAttribute("aria-label", `${state.prompts[prompt]}, layer ${state.columns[column]}, seed ${seed}${said}`);
  const other = state.images.get(key(1 - prompt, seed, column));
  if (other && !other.missing && !one.missing) put(state.shots.get(key("d", seed, column)), picture(other), picture(one));
  if (!state.moved) move(Math.max(column, state.at === state.columns.length - 1 && state.images.size === 1 ? 0 : column));
  else if (column === state.at) move(state.at);
  judge(prompt, column);
  if (wanted && one.cell === wanted) open(prompt, seed, column);
}

/** What the state of each word says, one line a word, one column a layer. */
function say({ prompt, column, said }) {
  state.said.set(`${prompt}|${column}`, said);
  if (column < state.columns.length - 1) return;
  const all = state.columns.map((_, c) => state.said.get(`${prompt}|${c}`) ?? []);
  const several = new Set(all.flat().map((one) => one.of)).size > 1;
  const name = (one) => (several ? `${one.token} (${one.of})` : one.token);
  const rows = [...new Set(all.flat().map(name))].map((token) => {
    const cells = all.map((listed, c) => make("div", { role: "cell", "data-column": String(c), "aria-label": `layer ${state.columns[c]}` }, ...(listed.find((one) => name(one) === token)?.words ?? "").split(", ").map((word) => make("span", {}, word))));
    const line = lineOf(make("div", { role: "rowheader", class: "question" }, token), make("div", { class: "across", role: "presentation" }, ...cells), "saying");
    line.setAttribute("role", "row");
    return line;
  });
  const none = make("p", { class: "soft small" }, "No word of this prompt has a state that can be said.");
  state.tables[prompt].replaceChildren(...(rows.length ? rows : [none]));
  mark();
}

/** Mark the words of the layer that is shown large. */
function mark() {
  for (const cell of stage.querySelectorAll(".saying [data-column]")) cell.classList.toggle("on", Number(cell.dataset.column) === state.at);
}

/** Show one layer large in every row. */
function move(column) {
  state.at = column;
  state.range.value = column;
  state.range.setAttribute("aria-valuetext", `layer ${state.columns[column]}`);
  state.now.textContent = `layer ${state.columns[column]}`;
  state.names.forEach((name, i) => name.classList.toggle("on", i === column));
  for (const [name, shot] of state.shots) shot.classList.toggle("on", name.endsWith(`|${column}`));
  mark();
  for (const { element, p, seed } of state.focus) {
    const small = state.shots.get(key(p, seed, column));
    const images = [...small.querySelectorAll("img, .why")].map((each) => each.cloneNode(true));
    if (images.length) put(element, ...images);
    else { element.querySelectorAll("img, .why").forEach((old) => old.remove()); element.classList.add("waiting"); }
  }
}

const place = (column) => ((column + 0.5) / state.columns.length) * 100;

function plots(plan) {
  const found = make("div", { class: "plots" });
  state.plots = new Map();
  const add = (id, lead, low, high) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 100 100");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const plot = make("div", { class: "plot", role: "img" }, svg);
    state.plots.set(id, { plot, svg, lines: new Map() });
    found.append(lineOf(make("div", { class: "lead-plot" }, ...lead, make("div", { class: "ends", "aria-hidden": "true" }, make("span", {}, high), make("span", {}, low))), plot, ""));
    line(id, "base", "base", [[0, 0], [100, 0]], "");
  };
  found.append(make("h2", {}, "Change from the layer before"));
  add("change", [make("div", { class: "question" }, "mean of all pixels")], "0", "");
  if (plan.checks.some((listed) => listed.length)) {
    found.append(make("h2", {}, "Is it there?"));
    plan.checks.forEach((listed, p) => {
      for (const check of listed) {
        const mark = plan.prompts.length > 1 ? [make("span", { class: "letter" }, `${letter(p)} `)] : [];
        add(`${p}|${check.id}`, [make("div", { class: `question s${p}` }, ...mark, check.question)], "0 %", "100 %");
      }
    });
  }
  return found;
}

/** Draw one line of a plot: points are [percent across, share of the height]. */
function line(id, name, style, points, label, unknown = []) {
  const { plot, svg, lines } = state.plots.get(id);
  lines.get(name)?.forEach((old) => old.remove());
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("class", style);
  if (points.length) path.setAttribute("d", "M" + points.map(([x, y]) => `${x},${100 - y * 100}`).join("L"));
  svg.append(path);
  const dots = style === "base" ? [] : points.map(([x, y]) => dot(style, x, y)).concat(unknown.map((x) => dot(`${style} unknown`, x, 0)));
  plot.append(...dots);
  lines.set(name, [path, ...dots]);
  if (label) plot.setAttribute("aria-label", label);
}

function dot(style, x, y) {
  const found = make("span", { class: `point ${style}` });
  found.style.left = `${x}%`;
  found.style.top = `${100 - y * 100}%`;
  return found;
}

function measure(name, { prompt, seed, column, value }) {
  if (value === null) return;
  if (name === "difference") {
    state.numbers.get(key("d", seed, column)).textContent = `${(value * 100).toFixed(1)} %`;
    state.shots.get(key("d", seed, column)).setAttribute("aria-label", `Difference, layer ${state.columns[column]}, seed ${seed}: ${(value * 100).toFixed(1)} % of the pixels' range`);
    return;
  }
  state.changes.set(key(prompt, seed, column), value);
  const most = Math.max(...state.changes.values(), 1e-9);
  const labels = [];
  state.prompts.forEach((_, p) => {
    const points = [];
    state.columns.forEach((label, c) => {
      const found = state.seeds.map((one) => state.changes.get(key(p, one, c))).filter((one) => one !== undefined);
      if (found.length) { const mean = found.reduce((a, b) => a + b) / found.length; points.push([place(c), mean / most]); labels.push(`${label}: ${(mean * 100).toFixed(1)} %`); }
    });
    line("change", String(p), `s${p}`, points, `Change from the layer before, by layer: ${labels.join(", ")}`);
  });
  state.plots.get("change").plot.parentElement.querySelector(".ends span").textContent = `${(most * 100).toFixed(0)} %`;
}

function judge(prompt) {
  for (const check of state.checks[prompt]) {
    const points = [], unknown = [], labels = [];
    state.columns.forEach((label, c) => {
      const said = state.seeds.map((seed) => state.images.get(key(prompt, seed, c))?.verdicts[check.id]).filter((one) => one);
      const known = said.filter((one) => one !== "missing");
      if (known.length) {
        const rate = known.filter((one) => one === "right").length / known.length;
        points.push([place(c), rate]);
        labels.push(`layer ${label} ${known.filter((one) => one === "right").length} of ${known.length}`);
      } else if (said.length) unknown.push(place(c));
    });
    line(`${prompt}|${check.id}`, "line", `s${prompt}`, points, `${check.question} ${labels.join(", ")}`, unknown);
  }
}

function open(p, seed, column) {
  const one = state.images.get(key(p, seed, column));
  if (!one) return;
  state.moved = true;
  move(column);
  const questions = Object.fromEntries(state.checks[p].map((check) => [check.id, check.question]));
  show(dialog, {
    prompt: state.prompts[p], title: `layer ${state.columns[column]}, seed ${seed}`, pixels: stage.classList.contains("small-pixels"),
    source: one.missing ? null : `/image/${one.cell}.png`, missing: one.missing,
    strip: state.columns.map((name, c) => {
      const other = state.images.get(key(p, seed, c));
      return { column: name, source: other && !other.missing ? `/image/${other.cell}.png` : null, current: c === column, open: other ? () => open(p, seed, c) : null };
    }),
    answers: Object.entries(one.verdicts).map(([id, answer]) => ({ check: questions[id], answer, reason: "" })),
    command: one.command, python: one.python, link: address(state.data, one.cell),
    said: (state.said.get(`${p}|${column}`) ?? []).map((each) => [each.token, each.words]),
    row: Object.entries(one.row).filter(([, value]) => value !== null && value !== ""),
  });
}

function second(on) {
  document.querySelector(".second").hidden = !on;
  $("compare").setAttribute("aria-expanded", String(on));
  $("compare").textContent = on ? "One prompt only" : "Compare two prompts";
  if (!on) $("prompt-1").value = "";
  else if (state) $("prompt-1").focus();
}

form.addEventListener("submit", (event) => { event.preventDefault(); draw(asked()); });
$("stop").addEventListener("click", () => { drawing?.abort(); drawing = null; busy(false); status.textContent = `Stopped${state ? ` at ${state.images.size} images` : ""}`; });
$("compare").addEventListener("click", () => second(document.querySelector(".second").hidden));
document.querySelectorAll(".example").forEach((button) => button.addEventListener("click", () => {
  const both = button.dataset["prompt-1"] !== undefined;
  second(both);
  $("prompt-0").value = button.dataset["prompt-0"];
  if (both) $("prompt-1").value = button.dataset["prompt-1"];
  draw(asked());
}));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && drawing && !dialog.open) $("stop").click();
  if (!state || dialog.open || event.target.matches("input, select, textarea")) return;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  state.moved = true;
  move(Math.min(Math.max(state.at + step, 0), state.columns.length - 1));
});

const query = new URLSearchParams(location.search);
if (query.has("prompt")) {
  const prompts = query.getAll("prompt");
  $("prompt-0").value = prompts[0];
  if (prompts[1]) { second(true); $("prompt-1").value = prompts[1]; }
  if (query.has("seeds")) $("seeds").value = query.get("seeds");
  for (const control of form.querySelectorAll("[data-control]")) if (query.has(control.name)) control.value = query.get(control.name);
  draw(asked(), query.get("cell"));
}
document.body.dataset.ready = "";
