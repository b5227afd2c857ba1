"""Prompts of an experiment, with their metadata: inline, of a file, of a public set, of the testbed."""

import csv
import io
import json
import logging
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from diffusion_lens.errors import ExperimentError, nearest
from diffusion_lens.files import read_text, why_unreadable
from diffusion_lens.runs.experiment import Captions, Prompt, Prompts
from diffusion_lens.runs.values import check_prompt

__all__ = ["read_prompts"]

log = logging.getLogger(__name__)

_SETS = {
    "geneval": ("sets/geneval/evaluation_metadata.jsonl", "prompt"),
    "partiprompts": ("sets/partiprompts/PartiPrompts.tsv", "Prompt"),
}
_MOST_CAPTIONS = 1_000_000  # they are all in memory


def read_prompts(source: Prompts, base: Path) -> tuple[Prompt, ...]:
    """The prompts of a source, each text once, in order.

    Blanks at the ends of prompts and of their columns' texts are no part of them: "a fox " is "a fox".

    Args:
        source: where they come from.
        base: the folder that relative paths start at.

    Raises:
        ExperimentError: a file can't be read, has no such column, or nothing is left.
    """
    given = [_stripped(prompt) for prompt in _read(source, base)]
    found = [prompt for prompt in given if _matches(prompt, source.where)]
    for prompt in found:
        if not prompt.prompt:
            number = given.index(prompt) + 1
            raise ExperimentError(f"Prompt {number} of {len(given)} is empty. Leave it out.")
        check_prompt(prompt)
    unique: dict[str, Prompt] = {}
    for prompt in found:
        if unique.setdefault(prompt.prompt, prompt) != prompt:
            log.warning("%r was given twice, with different columns; the first counts.", prompt.prompt)
    if len(unique) < len(found):
        log.warning("Prompts that stand more than once count once: %d left out.", len(found) - len(unique))
    kept = tuple(unique.values())[: source.limit]
    if not kept and not source.where and source.limit is None:
        raise ExperimentError(
            f"{source.file or 'The experiment'} holds no prompt. Write one, such as 'a red fox'."
        )
    if not kept:
        raise ExperimentError(
            f"No prompt is left (where = {dict(source.where)}, limit = {source.limit}); ask for fewer "
            "restrictions."
        )
    return kept


def _stripped(prompt: Prompt) -> Prompt:
    metadata = {
        name: value.strip() if isinstance(value, str) else value for name, value in prompt.metadata.items()
    }
    return Prompt(prompt.prompt.strip(), metadata)


def _read(source: Prompts, base: Path) -> Iterator[Prompt]:
    if source.inline:
        yield from source.inline
    elif source.captions:
        yield from _captions(source.captions)
    elif source.set:
        name, column = _SETS[source.set]
        text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
        yield from _parse(text, name, column, quoted=False)
    elif source.file:
        path = base / source.file
        try:
            text = read_text(path)
        except (OSError, UnicodeDecodeError) as error:
            raise ExperimentError(f"The prompts {path} can't be read: {why_unreadable(error)}.") from error
        yield from _parse(text, str(path), source.column)


def _parse(text: str, name: str, column: str, *, quoted: bool = True) -> Iterator[Prompt]:
    """The rows of a file, by the end of its name.

    `quoted` is whether quotation marks of a table hold a field together; in PartiPrompts they are text.
    """
    ending = Path(name).suffix
    if ending == ".txt":
        yield from (Prompt(line) for line in _lines(text) if line.strip())
        return
    rows: Iterator[dict[str, Any]]
    if ending in (".csv", ".tsv"):
        lines = io.StringIO(text, newline="")
        delimiter = "," if ending == ".csv" else "\t"
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        reader = csv.DictReader(lines, delimiter=delimiter, quoting=quoting)
        _check_columns(reader, name)
        rows = reader
    elif ending == ".jsonl":
        rows = _json_lines(text, name)
    else:
        raise ExperimentError(f"{name} is of no known kind; allowed are .txt, .csv, .tsv and .jsonl.")
    for number, row in enumerate(_whole(rows, name), start=1):
        if None in row or None in row.values():
            raise ExperimentError(f"Row {number} of {name} has not as many fields as the first line.")
        if not isinstance(row.get(column), str):
            raise ExperimentError(
                f"Row {number} of {name} has no text in column {column!r}.{nearest(column, row)} There "
                f"are columns {', '.join(row)}; name the right one with column."
            )
        metadata = {key.lower(): _scalar(value) for key, value in row.items() if key != column}
        if len(metadata) < len(row) - 1:
            raise ExperimentError(
                f"Row {number} of {name} has columns that differ in capital letters alone: "
                f"{', '.join(row)}. Rename one of them."
            )
        yield Prompt(row[column], metadata)


def _check_columns(reader: "csv.DictReader[str]", name: str) -> None:
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
    except csv.Error:
        return  # which the first row says again
    reader.fieldnames = columns
    if double := next((one for one in columns if columns.count(one) > 1), None):
        raise ExperimentError(f"{name} has two columns {double!r}. Rename or remove one of them.")


def _lines(text: str) -> list[str]:
    """The lines of a file; `str.splitlines` would also break at letters that a prompt may hold."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _whole(rows: Iterator[dict[str, Any]], name: str) -> Iterator[dict[str, Any]]:
    try:
        yield from rows
    except csv.Error as error:
        raise ExperimentError(
            f"{name} is no table ({error}). Is a quotation mark of a field never closed?"
        ) from error


def _json_lines(text: str, name: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_lines(text), start=1):
        try:
            row = json.loads(line, object_pairs_hook=_each_once) if line.strip() else None
        except (ValueError, RecursionError) as error:
            raise ExperimentError(f"Line {number} of {name} is no JSON: {error}.") from error
        if isinstance(row, dict):
            yield {key: "" if value is None else value for key, value in row.items()}
        elif row is not None:
            raise ExperimentError(f"Line {number} of {name} is no JSON object.")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, which would keep the last of two values of one key."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key stands twice among {', '.join(key for key, _ in pairs)}")
    return found


def _scalar(value: Any) -> Any:
    """A value for a column; lists and tables as JSON."""
    return value if isinstance(value, (str, int, float)) else json.dumps(value)


def _matches(prompt: Prompt, where: Mapping[str, Any]) -> bool:
    for name, wanted in where.items():
        if name not in prompt.metadata:
            raise ExperimentError(
                f"Prompt {prompt.prompt!r} has no {name!r} to choose by.{nearest(name, prompt.metadata)} "
                f"It has: {', '.join(prompt.metadata) or 'none'}."
            )
        allowed = wanted if isinstance(wanted, (list, tuple)) else [wanted]
        value = prompt.metadata[name]
        # numbers of a .csv or .tsv file are text
        if value not in allowed and not (isinstance(value, str) and value in map(str, allowed)):
            return False
    return True


def _captions(wanted: Captions) -> Iterator[Prompt]:
    """Captions that state all of their scene, with the scene as JSON."""
    import numpy as np

    from diffusion_lens.testbed import captions, scenes

    for kind in wanted.kinds:
        if kind not in scenes.KINDS:
            raise ExperimentError(
                f"{kind!r} is no kind of scene.{nearest(kind, scenes.KINDS)} Allowed: "
                f"{', '.join(scenes.KINDS)}."
            )
    if not 0 < wanted.count <= _MOST_CAPTIONS:
        raise ExperimentError(
            f"The count of captions is {wanted.count}; it must be from 1 to {_MOST_CAPTIONS:,}."
        )
    seen: set[str] = set()
    index = newest = 0
    while len(seen) < wanted.count:
        if wanted.held_out:
            scene = scenes.sample_held_out(wanted.seed, index, wanted.held_out)
        else:
            scene = scenes.sample(wanted.seed, index, wanted.kinds or scenes.KINDS)
        rng = np.random.default_rng((wanted.seed, index, 4))
        text = captions.phrase(captions.describe(scene), rng)
        index += 1
        if index - newest > 10 * wanted.count + 1000:
            raise ExperimentError(
                f"There are not {wanted.count} different captions of this kind; {len(seen)} were found. "
                "Ask for fewer."
            )
        if text not in seen:
            seen.add(text)
            newest = index
            yield Prompt(text, {"scene": scene.to_json(), "scene_index": index - 1})
