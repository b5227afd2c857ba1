"""Files of checks that people write by hand: a table (.csv), or short JSON (.json, .jsonl).

A table has one row a check. The columns prompt, question and kind are needed; the others may be left out:

    prompt,question,kind,id,parents,answer
    a red fox,Is there a fox?,object,fox,,
    a red fox,Is the fox red?,attribute,red,fox,

JSON has one object a prompt, in a list (.json) or one a line (.jsonl):

    {"prompt": "a red fox", "checks": [{"question": "Is there a fox?", "kind": "object"}]}

| field | default | what |
|---|---|---|
| prompt | | the prompt, written as in the run |
| question | | what a scorer that reads is asked |
| kind | | object, attribute, relation, axis, order, count, identity or global |
| id | kind and number: object-0, object-1 | a name, the same in all prompts for checks of the same role |
| answer | yes | what is right |
| parents | none | ids of the checks that this one depends on, separated by ; in a table |
| choices | none | answers to choose from, the right one among them, separated by ; in a table |
| subject, attribute, relation, target, count | none | what is asked about, for scorers that do not read |
| prompt_id, category | the prompt; none | of the prompt |
"""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from diffusion_lens import files
from diffusion_lens.checks.checks import WHOLE, Check, CheckedPrompt, join_parents, split_parents
from diffusion_lens.errors import CheckError
from diffusion_lens.files import write_whole

__all__ = ["NEEDED", "read_json", "read_jsonl", "read_table", "text_of", "write_jsonl", "write_table"]

NEEDED = ("prompt", "question", "kind")
_CHECK_FIELDS = tuple(one.name for one in fields(Check))
_PROMPT_FIELDS = ("prompt", "prompt_id", "category")
_COLUMNS = (*NEEDED, *(one for one in _CHECK_FIELDS if one not in (*NEEDED, "source")), *_PROMPT_FIELDS[1:])


def read_table(path: str | os.PathLike[str]) -> list[CheckedPrompt]:
    """Read a table of checks; see the module for its columns.

    Raises:
        CheckError: it can't be read, has no rows, lacks a column, or a row says what it may not.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        rows = list(reader)
    except csv.Error as error:
        raise CheckError(f"{path} can't be read as a table of checks: {error}.") from error
    _refuse_unknown(reader.fieldnames or (), _COLUMNS, f"{path}")
    double = {name for name in reader.fieldnames or () if (reader.fieldnames or []).count(name) > 1}
    if double:
        raise CheckError(f"{path} has the columns {sorted(double)} twice. Remove or rename one of each.")
    lacking = [name for name in NEEDED if name not in (reader.fieldnames or ())]
    if lacking:
        raise CheckError(f"{path} lacks the columns {lacking}; a table of checks needs {list(NEEDED)}.")
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, 2):
        cells = {name: cell.strip() if isinstance(cell, str) else cell for name, cell in row.items()}
        cells = {name: cell for name, cell in cells.items() if cell}
        if not cells.get("prompt"):
            raise CheckError(f"{path}, line {number}, has no prompt.")
        of_prompt = {name: cells[name] for name in _PROMPT_FIELDS if name in cells}
        entry = found.setdefault(cells["prompt"], {**of_prompt, "checks": []})
        check = {name: cell for name, cell in cells.items() if name in _CHECK_FIELDS}
        for name in ("parents", "choices"):
            if name in check:
                check[name] = split_parents(check[name])
        entry["checks"].append(check)
    return _finish([make_prompt(entry, f"{path}") for entry in found.values()], path)


def read_json(path: str | os.PathLike[str]) -> list[CheckedPrompt]:
    """Read a JSON list of prompts with checks.

    Raises:
        CheckError: it can't be read, or an entry says what it may not.
    """
    rows = parse_json(read_text(path), f"{path}")
    if not isinstance(rows, list):
        raise CheckError(f"{path} holds no list of prompts with checks.")
    return _finish([make_prompt(row, f"{path}, entry {n}") for n, row in enumerate(rows, 1)], path)


def read_jsonl(path: str | os.PathLike[str]) -> list[CheckedPrompt]:
    """Read prompts with checks, one a line.

    Raises:
        CheckError: it can't be read, or a line says what it may not.
    """
    # splitlines would also cut inside a prompt, at characters that few editors show
    lines = [(number, line) for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]
    found = []
    for number, line in lines:
        where = f"{path}, line {number}"
        found.append(make_prompt(parse_json(line, where), where))
    return _finish(found, path)


def make_prompt(row: Any, where: str) -> CheckedPrompt:
    """One prompt and its checks, with defaults filled in.

    Args:
        row: as in JSON.
        where: where it stands, for messages.

    Raises:
        CheckError: something is missing, unknown or of a wrong type.
    """
    if not isinstance(row, Mapping) or not isinstance(row.get("prompt"), str):
        raise CheckError(f"{where}, is no object with a prompt and its checks: {str(row)[:80]}.")
    _refuse_unknown(row, (*_PROMPT_FIELDS, "checks", "source"), where)
    listed = row.get("checks")
    if not isinstance(listed, list) or not listed:
        raise CheckError(f"{where}: the prompt {row['prompt']!r} has no list of checks, or an empty one.")
    text = row["prompt"].strip()
    numbers = Counter[str]()
    checks = []
    for entry in listed:
        if not isinstance(entry, Mapping):
            raise CheckError(f"{where}: a check is an object with a question and a kind, not {entry!r}.")
        _refuse_unknown(entry, _CHECK_FIELDS, where)
        kind = str(entry.get("kind"))
        checks.append(_make_check({"id": f"{kind}-{numbers[kind]}", **entry}, where))
        numbers[kind] += 1
    try:
        return CheckedPrompt(
            text_of(row, "prompt_id", text),
            text,
            tuple(checks),
            text_of(row, "category", ""),
            dict(row.get("source") or {}),
        )
    except CheckError as error:
        raise CheckError(f"{where}: {error}") from error


def text_of(row: Mapping[str, Any], name: str, otherwise: str) -> str:
    """What a field of a prompt says, as text; an empty one says nothing, and 0 is a name as 1 is."""
    value = row.get(name)
    return otherwise if value is None or value == "" else str(value)


def _make_check(entry: Mapping[str, Any], where: str) -> Check:
    values = {name: value for name, value in entry.items() if value not in (None, "")}
    lacking = [name for name in ("question", "kind") if name not in values]
    if lacking:
        raise CheckError(f"{where}: the check {entry['id']!r} has no {' and no '.join(lacking)}.")
    for name in ("parents", "choices"):
        if name in values:
            values[name] = tuple(map(str, values[name]))
    try:
        if "count" in values:
            values["count"] = int(values["count"])
        texts = ("id", "question", "answer", "subject", "attribute", "relation", "target")
        values |= {name: str(values[name]) for name in texts if name in values}
        return Check(**values)
    except (TypeError, ValueError) as error:
        raise CheckError(f"{where}: the check {entry['id']!r} can't be read: {error}.") from error


def _finish(found: Sequence[CheckedPrompt], path: str | os.PathLike[str]) -> list[CheckedPrompt]:
    if not found:
        raise CheckError(f"{path} holds no checks.")
    twice = [text for text, count in Counter(one.prompt for one in found).items() if count > 1]
    if twice:
        raise CheckError(f"{path} has the prompt {twice[0]!r} more than once; put its checks together.")
    return list(found)


def _refuse_unknown(names: Iterable[str | None], known: Sequence[str], where: str) -> None:
    for name in names:
        if name not in known:
            near = get_close_matches(str(name), known, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise CheckError(f"{where}: there is no field {name!r}.{hint} Fields are {', '.join(known)}.")


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file.

    Raises:
        CheckError: it can't be read.
    """
    try:
        return files.read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise CheckError(f"{path} can't be read as checks: {files.why_unreadable(error)}.") from error


def parse_json(text: str, where: str) -> Any:
    """The JSON in a text.

    Raises:
        CheckError: it is none, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckError(f"{where}, is no JSON: {error}.") from error


def write_table(path: str | os.PathLike[str], prompts: Iterable[CheckedPrompt]) -> int:
    """Write checks as a table to be edited, without those of prompts as wholes, which are always asked.

    Returns:
        The number of checks.

    Raises:
        OutputError: the file can't be written.
    """
    names = [name for name in _COLUMNS if name not in ("prompt_id", "category")]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    count = 0
    for prompt in prompts:
        for check in prompt.checks:
            if check.id == WHOLE:
                continue
            row = {name: getattr(check, name) for name in names if name != "prompt"}
            row |= {name: join_parents(row[name]) for name in ("parents", "choices")}
            writer.writerow({"prompt": prompt.prompt, **row})
            count += 1
    write_whole(Path(path), lambda file: file.write(stream.getvalue().encode()))
    return count


def write_jsonl(path: str | os.PathLike[str], prompts: Iterable[CheckedPrompt]) -> None:
    """Write prompts and their checks as JSON lines, one prompt a line.

    Raises:
        OutputError: the file can't be written.
    """
    content = "".join(json.dumps(asdict(prompt), ensure_ascii=False) + "\n" for prompt in prompts)
    write_whole(Path(path), lambda file: file.write(content.encode()))
