"""`RunIndex`: a run, or any table of images, opened for looking.

A sweep refuses a damaged run, because going on with it would make it worse. Looking at one does no harm,
so everything readable is shown, and what is not becomes a note.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from diffusion_lens.errors import RunError, ScoresError
from diffusion_lens.files import read_from
from diffusion_lens.pages.run_parts import NEEDED, find_parts, read_images_of, read_rows
from diffusion_lens.runs.manifest import load_plan
from diffusion_lens.runs.table import VARIANT_COLUMNS
from diffusion_lens.scoring.baselines import is_baseline
from diffusion_lens.scoring.cells import fractions, labels

__all__ = ["RunIndex", "Strip"]

log = logging.getLogger(__name__)

ANSWERS = ("cell", "scorer", "check", "kind", "p", "label", "reason")
# what the package itself writes; everything else is a column of the user's
_OTHERS = """cell native site identical revision steps guidance height width negative_prompt scheduler
options upscale upscaled missing batch seconds dtype device optimizations version torch diffusers commit
digest column order"""
# a run has one value of each; a table that was put together of several may have more
_SAMPLER = (
    "steps",
    "guidance",
    "height",
    "width",
    "negative_prompt",
    "scheduler",
    "options",
    "upscale",
)
OWN = frozenset((*NEEDED, *VARIANT_COLUMNS, *_OTHERS.split()))


@dataclass(frozen=True)
class Strip:
    """The images of one prompt and seed, one by layer.

    Attributes:
        key: the values that its images share, by column.
        cells: the id of the image, by column label ("4", "6, native").
    """

    key: Mapping[str, Any]
    cells: Mapping[str, str]

    @property
    def detail(self) -> str:
        """What tells it from other strips of its prompt, as words; an empty value as "no" and its name."""
        values = ((name, value) for name, value in self.key.items() if name != "prompt")
        return ", ".join(f"no {name}" if value == "" else f"{name} {value}" for name, value in values)


@dataclass(frozen=True)
class RunIndex:
    """What a run holds, without its images in memory.

    Attributes:
        name: the name of its folder or file.
        url: where it is.
        manifest: the content of manifest.json; empty where there is none.
        table: one row by image with all its columns but the image, in the order of prompts, seeds and
            layers; `column` is the label of its layer.
        answers: what scorers said: `cell`, `scorer`, `check`, `kind`, `p`, `label`, `reason`.
        notes: what could not be read, or is not there yet.
    """

    name: str
    url: str
    manifest: Mapping[str, Any]
    table: pd.DataFrame
    answers: pd.DataFrame
    notes: tuple[str, ...]
    _fs: Any = field(repr=False)
    _where: Mapping[str, tuple[str, int]] = field(repr=False)

    @classmethod
    def open(cls, url: str | os.PathLike[str]) -> "RunIndex":
        """Open the folder of a run or of `Result.save`, or a parquet file of images.

        Args:
            url: a path, or a URL of fsspec.

        Raises:
            RunError: nothing of it is a table of images; what was found is said.
        """
        text = os.fspath(url).rstrip("/")
        try:
            fs, root = url_to_fs(text)
        except (ValueError, ImportError) as error:
            raise RunError(f"{text} can't be opened: {error}.") from error
        if not fs.exists(root):
            raise RunError(f"There is no {text}. Name the folder of a run, or a parquet file of images.")
        notes: list[str] = []
        parts = find_parts(fs, root, text)
        table, where = read_rows(fs, root, parts, notes)
        manifest = _read_manifest(fs, root, text, notes) if fs.isdir(root) else {}
        left_out = _not_planned(table, manifest, notes)
        gone, table = set(table["cell"][left_out]) if len(table) else set(), table[~left_out]
        if table.empty:
            raise RunError(" ".join([f"{text} has no image to show.", *notes]))
        table = _in_order(table, manifest)
        answers = _read_answers(fs, root, notes) if fs.isdir(root) else _no_answers()
        answers = answers[~answers["cell"].isin(gone)]
        planned = manifest.get("cells")
        if isinstance(planned, int) and planned > len(table):
            notes.insert(0, f"Unfinished: {len(table)} of {planned} images are drawn.")
        name = root.rstrip("/").rpartition("/")[2]
        return cls(name.removesuffix(".parquet"), text, manifest, table, answers, tuple(notes), fs, where)

    @property
    def claim(self) -> str:
        """What the experiment is to answer; empty where nothing is written down."""
        return str(self.manifest.get("experiment", {}).get("claim", ""))

    @cached_property
    def columns(self) -> list[str]:
        """The labels of its layers, in order."""
        known = self.table.drop_duplicates("column").sort_values("order")
        return [str(name) for name in known["column"]]

    @property
    def user_columns(self) -> list[str]:
        """The columns that came with the prompts."""
        listed = self.manifest.get("prompts")
        if listed:
            return list(dict.fromkeys(name for _, metadata in listed for name in metadata))
        return [str(name) for name in self.table.columns if name not in OWN]

    @property
    def failed(self) -> dict[str, str]:
        """Why images are missing, by cell."""
        missing = self.table[self.table["missing"].notna()]
        return dict(zip(missing["cell"], missing["missing"].astype(str), strict=True))

    @cached_property
    def _damage(self) -> dict[str, str | None]:
        """What is wrong with each part that was read."""
        return {}

    def strips(self) -> list[Strip]:
        """The rows of a grid: one by prompt, reading, sampler settings and seed."""
        rows = self.table
        several = [
            name
            for name in (*VARIANT_COLUMNS, *_SAMPLER)
            if name in rows and rows[name].nunique(dropna=False) > 1
        ]
        keys = ["prompt", *several, "seed"]
        found = []
        for values, group in rows.groupby(keys, sort=False, dropna=False):
            cells = dict(zip(group["column"].astype(str), group["cell"].astype(str), strict=True))
            found.append(Strip(dict(zip(keys, values, strict=True)), cells))
        return found

    def row(self, cell: str) -> dict[str, Any]:
        """Every column of one image.

        Raises:
            RunError: there is no such image.
        """
        found = self.table[self.table["cell"] == cell]
        if found.empty:
            raise RunError(f"{self.name} has no image {cell!r}.")
        values = found.iloc[0].drop(["column", "order"]).to_dict()
        return {str(name): None if pd.isna(value) else value for name, value in values.items()}

    def image(self, cell: str) -> bytes | None:
        """The encoded image of a cell, as it lies in the run; None where it is missing, empty bytes where
        what holds it is damaged.
        """
        if cell not in self._where:
            return None
        part, index = self._where[cell]
        found = read_images_of(self._fs, part)
        return b"" if isinstance(found, str) else found[index]

    def damage(self, cell: str) -> str | None:
        """What is wrong with the part of a run that holds an image, and what to do.

        None where all its bytes are what was written.
        """
        if cell not in self._where:
            return None
        part = self._where[cell][0]
        if part not in self._damage:
            found, said = read_images_of(self._fs, part), None
            if isinstance(found, str):
                count = sum(path == part for path, _ in self._where.values())
                name = part.rpartition("/")[2]
                said = (
                    f"{name} is not what was written ({found}): its {count} images must be drawn again. "
                    "Move it out of the folder; the same sweep then draws what is missing."
                )
            self._damage[part] = said  # at once: pages are made in several threads
        return self._damage[part]

    def read_images(self, cells: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Images, each part of the run read once."""
        wanted = sorted(cells, key=lambda cell: self._where.get(cell, ("", 0)))
        for cell in wanted:
            yield cell, self.image(cell)


def _not_planned(table: pd.DataFrame, manifest: Mapping[str, Any], notes: list[str]) -> pd.Series:
    """Which images are not of the experiment any more, as `runs.images.read_run` has it."""
    try:
        planned = {cell.id for cell in load_plan(manifest).cells}
    except RunError:  # damaged, of another version, or there is none: all images are shown
        return pd.Series(False, index=table.index)
    left_out = ~table["cell"].isin(planned) if len(table) else pd.Series(False, index=table.index)
    if left_out.any():
        notes.append(f"{left_out.sum()} images are not of its experiment any more; they are left out.")
    return left_out


def _in_order(table: pd.DataFrame, manifest: Mapping[str, Any]) -> pd.DataFrame:
    """Rows by prompt, reading, seed and layer; with the label and the place of each layer."""
    if "missing" not in table:
        table["missing"] = None
    native = table["native"].fillna(False).astype(bool) if "native" in table else False
    site = table["site"].astype(str) if "site" in table else table["layer"].astype(str)
    site = site.where(site != "native", table["layer"].astype(str))
    table = table.assign(native=native)
    table["column"] = site + table["native"].map({True: ", native", False: ""})
    names = sorted(set(zip(table["layer"], table["native"], table["column"], strict=True)))
    table["order"] = table["column"].map({name: place for place, (_, _, name) in enumerate(names)})
    planned = {prompt[0]: place for place, prompt in enumerate(manifest.get("prompts", ()))}
    place = {
        prompt: planned.get(prompt, len(planned) + i) for i, prompt in enumerate(table["prompt"].unique())
    }
    by = ["_prompt", *(name for name in VARIANT_COLUMNS if name in table), "seed", "order"]
    table["_prompt"] = table["prompt"].map(place)
    return table.sort_values(by, kind="stable").drop(columns="_prompt").reset_index(drop=True)


def _read_manifest(fs: Any, root: str, url: str, notes: list[str]) -> Mapping[str, Any]:
    path = f"{root}/manifest.json"
    if not fs.exists(path):
        notes.append(f"{url} has no manifest.json: claim, plan and contrasts are unknown.")
        return {}
    try:
        found = json.loads(read_from(fs, path))
    except (OSError, ValueError) as error:
        notes.append(f"manifest.json is damaged ({error}): claim, plan and contrasts are unknown.")
        return {}
    if not isinstance(found, dict):
        notes.append("manifest.json is no manifest of a run: claim, plan and contrasts are unknown.")
        return {}
    return found


def _no_answers() -> pd.DataFrame:
    return pd.DataFrame(columns=list(ANSWERS))


def _read_answers(fs: Any, root: str, notes: list[str]) -> pd.DataFrame:
    """The answers of all scorers, without those on baselines."""
    frames = []
    for path in sorted(fs.glob(f"{root}/scores/*.parquet")):
        try:
            with fs.open(path, "rb") as file:
                frame = pq.read_table(file, columns=list(ANSWERS)).to_pandas()
            # as `scoring.table` reads them: a table that was edited may hold words
            frame = frame.assign(p=fractions(frame["p"]), label=labels(frame["label"]))
        except (OSError, pa.ArrowException, ScoresError) as error:
            name = path.removeprefix(root).lstrip("/")
            notes.append(f"{name} holds no scores of this run ({str(error).splitlines()[0]}).")
            continue
        frames.append(frame[~is_baseline(frame["scorer"])])
    if not frames:
        return _no_answers()
    answers = pd.concat(frames, ignore_index=True)
    return answers.astype({"p": "Float64", "label": "boolean"})
