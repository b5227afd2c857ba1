"""The published labels of the Diffusion Lens paper, read from a user's own copy of its repository.

The authors' repository (https://github.com/tokeron/DiffusionLens) has no licence, so nothing of it is
here. What is read becomes a table of scores, on which every analysis and figure runs as on one's own.

`seed` is the index of an image in its batch of four, and images of two layers share no noise: "seed 2 at
layer 8" and "seed 2 at layer 12" are not one image seen twice. Human and GPT labels cover different
prompts; compare them through `agreement`, which takes only what both answered.
"""

import csv
import hashlib
import io
import logging
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from diffusion_lens.analysis.label_cells import HEADERS, FileName, parse_gpt, parse_human, parse_name
from diffusion_lens.checks.label_questions import label_check
from diffusion_lens.errors import ScoresError
from diffusion_lens.files import read_file, read_text
from diffusion_lens.scoring import table as scores

__all__ = ["Labels", "load", "read"]

FOLDERS = {"human": "human_annotations", "gpt": "gpt_annotations"}
# the prompt files, and the experiments that they are of
_PROMPT_FILES: dict[str, tuple[str, ...]] = {
    "simple_objects": ("classes",),
    "single_color": ("positional_single_color",),
    "two_colors": ("positional_two_colors",),
    "relations": ("positional_in", "positional_on"),
    "Prompts_familiar_animals": ("positional_common_animals",),
    "unfamiliar_animals": ("positional_uncommon_animals",),
    "famous": ("famous",),
    "syntactic_ralations_coco": ("syntax_head", "syntax_head_first"),
}
_ROWS_BY_PROMPT = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labels:
    """Labels and how they were read.

    Attributes:
        table: the labels as a table of scores, with the further columns `experiment` (also the category),
            `question` (also the check), `model` (also the run: "df" is Deep Floyd's T5, "sd" the CLIP of
            Stable Diffusion 2.1), `raw` (the cell as it was), `occurrence` (of a prompt that is in a file
            twice) and whatever the prompt files say. `p` is GPT's score / 10.
        report: what was found, by `scorer`, `what`, `count` and `detail`.
    """

    table: pd.DataFrame
    report: pd.DataFrame


def read(folder: str | os.PathLike[str], *, cut: int | float = 5) -> pd.DataFrame:
    """The table of `load`; what could not be read is logged.

    Raises:
        ScoresError: as `load`.
    """
    found = load(folder, cut=cut)
    refused = found.report[found.report["what"].isin(["file not read", "file ignored"])]
    for line in refused.itertuples():
        log.warning("%s: %s", line.what, line.detail)
    return found.table


def load(folder: str | os.PathLike[str], *, cut: int | float = 5) -> Labels:
    """Read `human_annotations/`, `gpt_annotations/` and `prompts/`, as many of them as there are.

    Args:
        folder: the copy of the authors' repository.
        cut: a GPT score above it is right.

    Raises:
        ScoresError: no label file can be read, or two files give one cell different answers.
    """
    path = Path(folder)
    found = {name: path / sub for name, sub in FOLDERS.items() if (path / sub).is_dir()}
    if not found:
        raise ScoresError(
            f"{path} has neither {' nor '.join(FOLDERS.values())}. Name your copy of the authors' "
            "repository (https://github.com/tokeron/DiffusionLens)."
        )
    report = _Report()
    parts = [_read_folder(name, sub, report, cut) for name, sub in found.items()]
    rows = [row for part in parts for row in part]
    if not rows:
        refused = "; ".join(str(line["detail"]) for line in report.lines if line["what"] == "file not read")
        raise ScoresError(f"No label file in {path} could be read. {refused}")
    table = scores.validate(pd.DataFrame(rows))
    table = _with_prompt_files(table, path / "prompts", report)
    for name, part in table.groupby("scorer"):
        images = part[["model", "prompt_id", "layer", "seed"]].drop_duplicates()
        report.add(str(name), "images", len(images))
        report.add(str(name), "cells", len(part))
        report.add(str(name), "cells with a label", int(part["label"].notna().sum()))
        for reason, count in part["reason"].value_counts().items():
            report.add(str(name), f"cells without: {reason}", int(count))
        answers = part.drop_duplicates(["experiment", "question", "model", "prompt_id"])
        twice = answers[answers["occurrence"] > 0]
        for prompt in sorted(set(twice["prompt"])):
            report.add(str(name), "prompt in a file twice", 1, prompt)
    if "gpt" in found:
        report.add("gpt", "a label is a score above", cut)
    return Labels(table, pd.DataFrame(report.lines, columns=["scorer", "what", "count", "detail"]))


class _Report:
    def __init__(self) -> None:
        self.lines: list[dict[str, object]] = []

    def add(self, scorer: str, what: str, count: int | float = 1, detail: str = "") -> None:
        self.lines.append({"scorer": scorer, "what": what, "count": count, "detail": detail})


def _read_folder(scorer: str, folder: Path, report: _Report, cut: int | float) -> list[dict[str, object]]:
    seen: dict[tuple[FileName, str], str] = {}
    sources: dict[FileName, dict[tuple[object, ...], tuple[str, str]]] = {}
    rows = []
    for file in sorted(folder.iterdir()):
        if file.suffix != ".csv":
            report.add(scorer, "file ignored", 1, f"{file.name} is no .csv")
            continue
        try:
            content = read_file(file)
            name = parse_name(file.name, scorer)
            digest = hashlib.sha256(content).hexdigest()
            if (name, digest) in seen:
                report.add(scorer, "file is a copy", 1, f"{file.name} is {seen[name, digest]} again")
                continue
            lines = _lines(content, name)
        except (OSError, ScoresError) as error:
            report.add(scorer, "file not read", 1, f"{file.name}: {error}")
            continue
        seen[name, digest] = file.name
        report.add(scorer, "file read", 1, file.name)
        for row in _rows(lines, name, file.name, report, cut):
            key = tuple(row[part] for part in ("prompt_id", "layer", "seed"))
            other = sources.setdefault(name, {}).setdefault(key, (str(row["raw"]), file.name))
            if other[0] != row["raw"]:
                raise ScoresError(
                    f"{file.name} and {other[1]} differ in {key}: {row['raw']!r} and {other[0]!r}. Remove "
                    "the one that is wrong."
                )
            if other[1] == file.name:
                rows.append(row)
    return rows


def _lines(content: bytes, name: FileName) -> list[dict[str, str]]:
    """The rows of a file as text; the reader guesses no types, for "NA" may be a name.

    Raises:
        ScoresError: it is no text, or its columns are others.
    """
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        lines = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ScoresError(f"it can't be read as csv ({error})") from error
    expected = ["prompt", *HEADERS[name.model], "seed"]
    if list(reader.fieldnames or []) != expected:
        raise ScoresError(f"its columns are {reader.fieldnames}, not {expected}")
    if any(None in line or None in line.values() for line in lines):
        raise ScoresError("a line has more or fewer cells than the header")
    return lines


def _rows(
    lines: list[dict[str, str]], name: FileName, file: str, report: _Report, cut: int | float
) -> list[dict[str, object]]:
    layers = [int(layer) for layer in HEADERS[name.model]]
    kind = label_check(name.question).kind
    times: Counter[tuple[str, int]] = Counter()
    by_prompt: Counter[str] = Counter()
    rows = []
    for line in lines:
        prompt = line["prompt"].strip()
        try:
            index = int(float(line["seed"]))
        except ValueError:
            report.add(name.scorer, "row not read", 1, f"{file}: seed {line['seed']!r} of {prompt!r}")
            continue
        occurrence = times[prompt, index]
        times[prompt, index] += 1
        by_prompt[prompt] += 1
        again = f" ({occurrence + 1})" if occurrence else ""
        for layer in layers:
            raw = line[str(layer)]
            cell = parse_human(raw) if name.scorer == "human" else parse_gpt(raw, cut)
            rows.append(
                {
                    "run": name.model,
                    "prompt_id": f"{name.experiment}: {prompt}{again}",
                    "prompt": prompt,
                    "category": name.experiment,
                    "encoder": "text_encoder",
                    "layer": layer,
                    "depth": layer / layers[-1],
                    "seed": index,
                    "check": name.question,
                    "kind": kind,
                    "scorer": name.scorer,
                    "p": None if cell.score is None else cell.score / 10,
                    "label": cell.label,
                    "reason": cell.reason,
                    "experiment": name.experiment,
                    "question": name.question,
                    "model": name.model,
                    "raw": raw,
                    "occurrence": occurrence,
                }
            )
    for prompt, count in by_prompt.items():
        if count != _ROWS_BY_PROMPT:
            report.add(name.scorer, "rows of a prompt are not 4", count, f"{file}: {prompt!r}")
    return rows


def _with_prompt_files(table: pd.DataFrame, folder: Path, report: _Report) -> pd.DataFrame:
    """Add what the prompt files say of each prompt."""
    facts: dict[tuple[str, str], dict[str, str]] = {}
    for stem, experiments in _PROMPT_FILES.items():
        file = folder / f"{stem} - Sheet1.csv"
        try:
            lines = list(csv.DictReader(io.StringIO(read_text(file), newline="")))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            report.add("", "prompt file not read", 1, f"{file.name}: {error}")
            continue
        for line in lines:
            said = {key: value.strip() for key, value in line.items() if key and isinstance(value, str)}
            prompt = said.pop("prompt", "")
            facts |= {(experiment, prompt): said for experiment in experiments}
    keys = list(zip(table["experiment"], table["prompt"], strict=True))
    names = sorted({name for said in facts.values() for name in said} - set(table.columns))
    columns = {name: pd.Series([facts.get(key, {}).get(name) for key in keys]) for name in names}
    absent = {key for key in keys if key not in facts}
    if facts and absent:
        report.add("", "prompts in no prompt file", len(absent))
    return table.assign(**columns, in_prompt_file=pd.Series([key in facts for key in keys]))
