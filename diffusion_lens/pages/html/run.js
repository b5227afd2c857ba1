// A run's page works without this; with it, images open in a dialog and filters apply at once.
import { show } from "./detail.js";

const dialog = document.getElementById("detail");

async function open(address) {
  let found;
  try {
    const answer = await fetch(`${address}.json`);
    if (!answer.ok) throw new Error(answer.statusText);
    found = await answer.json();
  } catch {
    location.href = address;
    return;
  }
  const root = address.slice(0, address.indexOf("/cell/"));
  show(dialog, {
    prompt: found.row.find((each) => each.name === "prompt").value,
    title: `layer ${found.column}, seed ${found.row.find((each) => each.name === "seed").value}`,
    source: found.missing ? null : found.source,
    missing: found.missing,
    pixels: Boolean(document.querySelector(".pixels")),
    strip: found.strip.map((each) => ({ column: each.column, source: `${root}/image/${each.cell}.webp`, current: each.cell === found.cell, open: () => open(`${root}/cell/${each.cell}`) })),
    answers: found.answers.map((each) => ({ check: `${each.check} (${each.scorer})`, answer: each.answer, reason: each.reason })),
    command: found.command,
    python: found.python,
    link: new URL(address, location.href).href,
    row: found.row.map((each) => [each.name, each.value]),
  });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest(".film figure a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  open(link.getAttribute("href"));
});
document.querySelector(".filters")?.addEventListener("change", (event) => {
  if (event.target.matches("select")) event.currentTarget.requestSubmit();
});
document.querySelector(".filters")?.addEventListener("formdata", (event) => {
  for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
});
document.body.dataset.ready = "";
