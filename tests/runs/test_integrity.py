"""Bytes of a run that changed on the disk are seen by what reads it, and the images are named."""

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from diffusion_lens import Result
from diffusion_lens.errors import InputError, RunError
from diffusion_lens.lens.rows import grid_rows
from diffusion_lens.runs.export import export_run
from diffusion_lens.runs.images import RunImages, read_run
from diffusion_lens.runs.status import read_status
from diffusion_lens.sweep.open import run_sweep
from tests.command_line import run
from tests.scoring.made_runs import make_run
from tests.sweep.helpers import make


@pytest.fixture
def flipped(tiny_lens, tmp_path):
    """A run of two parts, one bit of an image in the second flipped."""
    experiment = make(layers=[0, "native"], seeds=[0, 1], sampler={"steps": 1, "height": 16, "width": 16})
    run_sweep(experiment, tmp_path / "run", lens=tiny_lens("sd"), progress=False, part_rows=4)
    parts = sorted((tmp_path / "run/images").glob("*.parquet"))
    assert len(parts) == 2
    content = bytearray(parts[1].read_bytes())
    content[content.index(b"IDAT") + 20] ^= 1
    parts[1].write_bytes(content)
    return tmp_path / "run", parts[1]


def test_every_reader_of_images_names_the_images_to_draw_again(flipped, tmp_path):
    folder, part = flipped
    images = RunImages(folder)
    readers = {
        "status": lambda: read_status(folder),
        "export": lambda: export_run(folder, tmp_path / "out"),
        "score": lambda: images.read([cell.id for cell in images.plan.cells]),
        "grid": lambda: read_run(folder, {}),
    }
    for reader in readers.values():
        with pytest.raises(RunError) as error:
            reader()
        assert f"images/{part.name}" in str(error.value)
        assert str(error.value).count(" seed ") == 4 and "'a " in str(error.value)
        assert "the same sweep then draws what is missing" in str(error.value)
    assert not (tmp_path / "out").exists()
    assert read_status(folder, quick=True).done == 8


def strange_part(folder, columns):
    mark = {b"diffusion_lens": b'{"format": 1}'}
    table = pa.table({name: ["x"] for name in columns}).replace_schema_metadata(mark)
    pq.write_table(table, folder / "images/part-x.parquet")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    make_run(folder, ["a red fox"], lambda cell, prompt: Image.new("RGB", (8, 8)), layers=[0], seeds=[0])
    return folder


def test_a_run_is_read_in_the_order_that_its_experiment_asks_for(tmp_path, caplog):
    """The later of two sweeps asks for other seeds and readouts than the first."""
    drawn: set[str] = set()

    def once(cell, prompt):
        return None if cell.id in drawn else Image.new("RGB", (8, 8))

    given = {"layers": [0, 1], "seeds": [5, 0], "readouts": ["native"]}
    drawn.update(cell.id for cell in make_run(tmp_path, ["a fox"], once, **given).cells)
    asked = {"layers": [0, 1], "seeds": [1, 0], "readouts": ["none", "native"]}
    make_run(tmp_path, ["a dog", "a fox"], once, **asked)
    caplog.set_level("INFO", "diffusion_lens")
    table = read_run(tmp_path, {"prompt": ["a fox"]}, ["readout", "layer", "seed"])
    expected = [(kind, layer, seed) for kind in asked["readouts"] for layer in (0, 1) for seed in (1, 0)]
    assert list(table.itertuples(index=False, name=None)) == expected
    assert "2 images of" in caplog.text and "left out" in caplog.text
    rows = [row.label(prompt=False) for row in grid_rows(Result.load(tmp_path, prompt="a fox").table)]
    assert rows == [f"readout {kind}, seed {seed}" for kind in ("none", "native") for seed in (1, 0)]
    with pytest.raises(InputError, match=r"no image of seed 5\. It holds: 1, 0\."):
        Result.load(tmp_path, seeds=5)


FOREIGN = {
    "failed/x.json": ["5", "[1]", "[{}]", "[" * 100_000, "without an end"],
    "sessions/x.json": ["5", "[]", '{"images": "many"}', "without an end"],
    "manifest.json": [
        "without an end",
        "[]",
        '{"format": 2}',
        '{"format": 2, "experiment": [], "prompts": [], "resolved": null}',
        *("prompts", "resolved", "experiment", "prompts.metadata", "resolved.settings"),
    ],
    "images/part-x.parquet": [("other",), ("cell",), "a pipe"],
}


@pytest.mark.parametrize(
    ("name", "content"), [(name, one) for name, listed in FOREIGN.items() for one in listed], ids=str
)
def test_what_no_sweep_wrote_is_one_message_of_every_reader(drawn, tmp_path, name, content):
    folder = Path(shutil.copytree(drawn, tmp_path / "run"))
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    if content == "a pipe":
        os.mkfifo(file)
    elif name.startswith("images"):
        strange_part(folder, content)
    elif content == "without an end":
        file.unlink(missing_ok=True)
        file.symlink_to("/dev/zero")
    elif content in ("prompts", "resolved", "experiment"):
        file.write_text(json.dumps({**json.loads(file.read_text()), content: None}))
    elif content == "prompts.metadata":
        file.write_text(json.dumps({**json.loads(file.read_text()), "prompts": [["a", None]]}))
    elif content == "resolved.settings":
        manifest = json.loads(file.read_text())
        file.write_text(json.dumps({**manifest, "resolved": {**manifest["resolved"], "settings": [1]}}))
    else:
        file.write_text(content)
    readers = [lambda: read_status(folder)]
    if not name.startswith("sessions"):
        readers += [lambda: RunImages(folder), lambda: export_run(folder, tmp_path / "out")]
    for reader in readers:
        with pytest.raises(RunError):
            reader()


def test_what_was_moved_out_is_drawn_again_to_the_same_bytes(flipped, tiny_lens, tmp_path):
    folder, part = flipped
    shown = run("status", str(folder))
    assert shown.returncode == 2 and "must be drawn again" in shown.stderr
    part.rename(tmp_path / "aside.parquet")
    experiment = RunImages(folder).plan.experiment
    run_sweep(experiment, folder, lens=tiny_lens("sd"), progress=False, part_rows=4)
    assert read_status(folder).done == 8
    assert (folder / "images" / part.name).is_file()
