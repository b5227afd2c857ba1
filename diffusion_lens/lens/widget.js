// A prompt field, and the images that the kernel sends for it: a row a seed, a column a layer.
function make(tag, attributes = {}, ...children) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, run] of Object.entries(value)) found.addEventListener(event, run);
    else found.setAttribute(name, value);
  }
  found.append(...children);
  return found;
}

function render({ model, el }) {
  const field = (name, label, size) => make("input", { value: model.get(name), "aria-label": label, placeholder: label, size });
  const prompt = field("prompt", "Prompt", 36), layers = field("layers", "Layers", 12), seeds = field("seeds", "Seeds", 6);
  const status = make("span", { class: "status", role: "status" });
  const range = make("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Layer shown large" });
  const rows = make("div", { class: "rows" });
  const form = make("form", {}, prompt, layers, seeds, make("button", {}, "Draw"), status);
  el.append(make("div", { class: "diffusion-lens" }, form, range, rows));
  let plan = null, shown = 0, addresses = [];

  function move(column) {
    range.value = column;
    for (const row of rows.children) {
      const small = row.querySelectorAll("figure img")[column];
      row.querySelector(".large").src = small?.src || "";
      row.querySelector(".large").alt = `layer ${plan.columns[column]}, seed ${row.dataset.seed}`;
      row.querySelectorAll("figure").forEach((one, i) => one.classList.toggle("on", i === column));
    }
  }

  function begin(message) {
    addresses.forEach((one) => URL.revokeObjectURL(one));
    plan = message; shown = 0; addresses = [];
    range.max = plan.columns.length - 1;
    rows.replaceChildren(...plan.seeds.map((seed) => make("div", { class: "row", "data-seed": seed },
      make("img", { class: "large", alt: "" }),
      ...plan.columns.map((name, column) => make("figure", { on: { click: () => move(column) } }, make("img", { alt: `layer ${name}, seed ${seed}` }), make("figcaption", {}, name))))));
  }

  function put(message, buffers) {
    const cell = rows.querySelector(`[data-seed="${message.seed}"]`).querySelectorAll("figure")[message.column];
    if (message.missing) cell.title = message.missing;
    else {
      const address = URL.createObjectURL(new Blob([buffers[0]], { type: "image/png" }));
      addresses.push(address);
      cell.querySelector("img").src = address;
    }
    shown += 1;
    status.textContent = `${shown} of ${plan.columns.length * plan.seeds.length}`;
    move(message.column);
  }

  const receive = (message, buffers) => {
    if (message.kind === "plan") begin(message);
    else if (message.kind === "image") put(message, buffers);
    else if (message.kind === "problem") status.textContent = message.message;
    else if (message.kind === "done") form.removeAttribute("aria-busy");
  };
  model.on("msg:custom", receive);
  range.addEventListener("input", () => plan && move(Number(range.value)));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    status.textContent = "Drawing";
    form.setAttribute("aria-busy", "true");
    for (const [name, input] of [["prompt", prompt], ["layers", layers], ["seeds", seeds]]) model.set(name, input.value);
    model.save_changes();
    model.send({ prompt: prompt.value, layers: layers.value, seeds: seeds.value });
  });
  return () => {
    model.off("msg:custom", receive);
    addresses.forEach((one) => URL.revokeObjectURL(one));
  };
}

export default { render };
