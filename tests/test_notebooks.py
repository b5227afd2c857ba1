"""The notebooks as they are committed: each cell runs, and the outputs are of these cells, and small."""

import ast
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import nbformat
import pytest
from IPython.core.formatters import DisplayFormatter

from tests.few_steps import few_steps

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 150_000  # bytes, outputs included; four times that for the notebook that takes a model apart
# smaller numbers for what is only to be run: what a cell says, and what is run in its place
SMALLER = {
    "diagnose": {"(0, 1, 2, 3), held_out=range(100, 108)": "(0, 1), held_out=range(100, 102), pairs=10"},
    "draw_and_say": {
        '["fox", "pizza", "car", "balloon", "cat", "guitar"]': '["fox", "pizza"]',
        "[0, 1, 2, 3, 5, 8, 11, 15]": "[0, 3, 15]",
        'by="nearest"': 'by="nearest", words=[*nouns, "car", "cat", "dog"]',
    },
    "latent_diffusion": {
        "range(64)": "range(16)",
        "range(60, 1000, 125)": "(60, 500)",
        "guidance=1)": "guidance=1, steps=2)",
        "seeds, guidance=4)": "seeds, guidance=4, steps=2)",
        "seed=1) for text": "seed=1, steps=2) for text",
        "steps=20": "steps=4",
        "steps=8": "steps=1",
        "range(6)": "range(2)",
        "] * 6": "] * 2",
    },
    "learned_words": {"steps=80": "steps=4", "validate_every=20": "validate_every=2"},
}


@pytest.fixture(scope="module")
def refresh() -> ModuleType:
    """The script behind `make notebooks-refresh`."""
    spec = importlib.util.spec_from_file_location("refresh", FOLDER / "refresh.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_of_the_cells_and_small(path: Path, refresh: ModuleType) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.get("sources") == refresh.digest(notebook), "run `make notebooks-refresh`"
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs and not any(output.output_type == "error" for output in outputs)
    assert not any("<iframe" in json.dumps(output) for output in outputs)
    assert path.stat().st_size < LARGEST * (4 if path.stem == "latent_diffusion" else 1)


@pytest.mark.filterwarnings("default")  # a notebook shows them
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_cell_runs_and_what_it_gives_can_be_shown(
    path: Path, untyped: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, with smaller numbers; `make notebooks` runs them as they are, in kernels."""
    monkeypatch.chdir(FOLDER)
    before = plt.get_backend()
    plt.switch_backend("module://matplotlib_inline.backend_inline")
    names: dict[str, object] = {"__name__": "notebook"}
    left = dict(SMALLER.get(path.stem, {}))
    try:
        with few_steps(1):
            for cell in nbformat.read(path, as_version=4).cells:
                if cell.cell_type == "code":
                    show(smaller(cell.source, left), names)
    finally:
        plt.close("all")
        plt.switch_backend(before)
    assert not left, "no cell says this any more"


def smaller(source: str, left: dict[str, str]) -> str:
    """A cell with smaller numbers; those that it holds are taken out of what is left to be replaced."""
    for text in [text for text in left if text in source]:
        source = source.replace(text, left.pop(text))
    return source


def show(source: str, names: dict[str, object]) -> None:
    """Run a cell, and make all forms in which a notebook shows the value of its last line."""
    lines = [line for line in source.splitlines() if not line.startswith("%")]
    parsed = ast.parse("\n".join(lines))
    last = parsed.body.pop() if parsed.body and isinstance(parsed.body[-1], ast.Expr) else None
    exec(compile(parsed, "<cell>", "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
        DisplayFormatter().format(value)


def test_a_changed_cell_is_noticed(refresh: ModuleType) -> None:
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    before = refresh.digest(notebook)
    notebook.cells[-1].source += " "
    assert refresh.digest(notebook) != before


def test_pictures_get_smaller_and_viewers_and_progress_go(refresh: ModuleType) -> None:
    png = nbformat.v4.new_output("display_data", {"image/png": _noise(), "text/plain": "image"})
    viewer = nbformat.v4.new_output("display_data", {"text/html": "<iframe srcdoc=''></iframe>"})
    bar = nbformat.v4.new_output("stream", name="stderr", text="100%")
    cell = nbformat.v4.new_code_cell("1", outputs=[png, viewer, bar])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    refresh.shrink(notebook)
    (kept,) = notebook.cells[0].outputs
    (kind,) = set(kept.data) - {"text/plain"}
    assert len(kept.data[kind]) < len(_noise())
    assert notebook.metadata["sources"] == refresh.digest(notebook)


def _noise() -> str:
    import base64
    import io

    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (400, 1200, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
