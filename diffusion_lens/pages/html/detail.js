// The dialog of one image: its layers, what scorers said, and how to make it again.

/** An element with attributes and children; text is always text. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function copyable(text, what) {
  const button = make("button", { type: "button", class: "plain", "aria-label": `Copy ${what}` }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy";
    }
    setTimeout(() => (button.textContent = "Copy"), 1600);
  });
  return make("div", { class: "copy" }, make("pre", {}, make("code", {}, text)), button);
}

/**
 * Show one image.
 * @param {HTMLDialogElement} dialog
 * @param {object} one prompt, title, source, missing, pixels, strip [{column, source, open, current}],
 *   answers [{check, answer, reason}], said [[token, words]] if there are any, command, python, link, row [[name, value]]
 */
export function show(dialog, one) {
  const open = dialog.open;
  const close = make("button", { type: "button", class: "plain close", on: { click: () => dialog.close() } }, "Close");
  const strip = make("nav", { class: "ministrip", "aria-label": "Layers" });
  for (const each of one.strip) {
    strip.append(make("button", { type: "button", "aria-current": each.current ? "true" : null, "aria-label": `layer ${each.column}`, on: { click: each.open } },
      each.source ? make("img", { src: each.source, alt: "" }) : null, make("span", {}, each.column)));
  }
  const image = one.source
    ? make("img", { src: one.source, alt: `${one.prompt}, ${one.title}`, class: one.pixels ? "pixels" : null })
    : make("p", { class: "notes" }, one.missing || "There is no image.");
  const answers = one.answers.length
    ? make("table", {}, make("tbody", {}, ...one.answers.map((each) => make("tr", {}, make("td", {}, each.check), make("td", { class: each.answer }, each.answer), make("td", { class: "soft" }, each.reason || "")))))
    : null;
  const said = one.said?.length ? make("dl", { class: "row" }, ...one.said.flatMap(([token, words]) => [make("dt", {}, token), make("dd", {}, words)])) : null;
  const settings = make("dl", { class: "row" });
  for (const [name, value] of one.row) settings.append(make("dt", {}, name), make("dd", {}, String(value)));
  dialog.replaceChildren(make("div", { class: "inside" },
    make("header", {}, make("h2", { id: "detail-title" }, one.prompt, " ", make("span", { class: "soft" }, one.title)), close),
    strip,
    make("div", { class: "detailbody" }, make("div", { class: "big" }, image), make("div", {},
      answers ? make("h3", {}, "Answers") : null, answers,
      said ? make("h3", {}, "Its states in words") : null, said,
      make("h3", {}, "This image again"), copyable(one.command, "the command"), copyable(one.python, "the Python lines"),
      make("h3", {}, "Link"), copyable(one.link, "the link"),
      make("h3", {}, "Settings"), settings))));
  if (!open) dialog.showModal();
  dialog.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const here = one.strip.findIndex((each) => each.current);
    const next = one.strip[here + step];
    if (next && next.open) { event.preventDefault(); next.open(); }
  };
  dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
  strip.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}
