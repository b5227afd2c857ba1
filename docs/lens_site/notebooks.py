"""The notebooks as pages: copied as they are committed, with their outputs."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["NOTEBOOKS", "notebook_pages"]

# in the order in which they are read
NOTEBOOKS = (
    "quickstart",
    "compositional",
    "knowledge",
    "draw_and_say",
    "what_if",
    "diagnose",
    "your_own_model",
    "learned_words",
    "paper_figures",
    "published_labels",
    "latent_diffusion",
)


def notebook_pages(root: Path, out: Path) -> Iterator[tuple[str, str]]:
    """Name and text of the page that lists the notebooks, which are copied beside it.

    Args:
        root: the repository.
        out: where the pages will be.

    Raises:
        RuntimeError: a notebook is in no list, or a list names one that is not there.
    """
    there = {path.stem: path for path in (root / "notebooks").glob("*.ipynb")}
    if set(there) != set(NOTEBOOKS):
        raise RuntimeError(f"notebooks listed and there differ: {set(there) ^ set(NOTEBOOKS)}")
    folder = out / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in NOTEBOOKS:
        shutil.copyfile(there[name], folder / f"{name}.ipynb")
        cells = json.loads(there[name].read_text(encoding="utf-8"))["cells"]
        title, _, rest = "".join(cells[0]["source"]).partition("\n")
        rows.append(f"- [{title.lstrip('# ')}]({name}.ipynb): {_sentence(rest)}")
    listed = "\n".join(NOTEBOOKS)
    yield (
        "notebooks/index",
        "# Notebooks\n\nEach runs in under two minutes on two cores, on the embedded models.\n\n"
        + "\n".join(rows)
        + f"\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n",
    )


def _sentence(text: str) -> str:
    """The first sentence of a text."""
    words = " ".join(text.split())
    for mark in (". ", "? "):
        words = words.partition(mark)[0] + mark.strip() if mark in words else words
    return words
