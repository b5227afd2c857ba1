"""Run the notebooks and keep their outputs small enough to be committed: `make notebooks-refresh`.

Pictures are made smaller, viewers (which hold every picture again) and progress bars are left out. What the
outputs were made from is kept as a digest of the cells; a test compares it with the cells as they are.
"""

import base64
import hashlib
import io
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parent
WIDTH = 640  # pixels of a picture: near the width of a page


def digest(notebook: Any) -> str:
    """A digest of the sources of a notebook's cells."""
    text = "\x00".join(f"{cell.cell_type}\x01{cell.source}" for cell in notebook.cells)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def small_picture(png: bytes) -> tuple[str, bytes]:
    """A drawing as a PNG of few colours, images of a model as a JPEG; with its type."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, image.height * WIDTH // image.width), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    if image.getcolors(8192) is None:
        image.save(file, "JPEG", quality=74)
        return "image/jpeg", file.getvalue()
    image.quantize(48, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return "image/png", file.getvalue()


def shrink(notebook: Any) -> None:
    """Keep of the outputs what is small and says something."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            data = output.get("data", {})
            if output.output_type == "stream" and output.name == "stderr":
                continue
            if "<iframe" in data.get("text/html", "") or any("widget" in kind for kind in data):
                continue
            if "image/png" in data:
                data.pop("image/jpeg", None)  # the same picture again
                kind, content = small_picture(base64.b64decode(data.pop("image/png")))
                data[kind] = base64.b64encode(content).decode()
            kept.append(output)
        cell.outputs = kept
    notebook.metadata["sources"] = digest(notebook)
    notebook.metadata.pop("widgets", None)


def refresh(path: Path) -> None:
    """Run one notebook and write it back with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(path.parent)}}).execute()
    shrink(notebook)
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb")):
        refresh(FOLDER / f"{name}.ipynb")
