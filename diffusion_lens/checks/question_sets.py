"""Readers of published question sets: GenEval metadata, DSG and TIFA rows.

Nothing is lost: what a row says beyond a check's own fields is kept in `source`.
"""

import csv
import io
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from diffusion_lens.checks.checks import Check, CheckedPrompt, Kind
from diffusion_lens.checks.english import article, number_word, plural
from diffusion_lens.errors import CheckError
from diffusion_lens.files import read_text, why_unreadable

__all__ = ["from_dsg", "from_geneval", "from_tifa", "read_dsg", "read_geneval", "read_tifa"]

log = logging.getLogger(__name__)

# DSG's broad categories; numbers and lettering are told by the detailed one
_DSG_KINDS: dict[str, Kind] = {
    "entity": "object",
    "attribute": "attribute",
    "relation": "relation",
    "action": "relation",
    "global": "global",
    "other": "global",
}
_TIFA_KINDS: dict[str, Kind] = {
    "object": "object",
    "animal/human": "object",
    "animal": "object",
    "human": "object",
    "food": "object",
    "location": "object",
    "color": "attribute",
    "material": "attribute",
    "shape": "attribute",
    "attribute": "attribute",
    "activity": "relation",
    "spatial": "relation",
    "counting": "count",
    "other": "global",
}


def from_geneval(row: Mapping[str, Any], index: int = 0) -> CheckedPrompt:
    """Turn one line of GenEval's `evaluation_metadata.jsonl` into checks.

    As GenEval judges (Ghosh et al. 2023, `evaluate_images.py`): of each class included at least one
    (or `count`) must be there, fewer than `count` of each class excluded; colour and position are of
    the included one. A class that is included n times and excluded from n + 1 on is "exactly n".

    Args:
        row: tag, prompt, include and perhaps exclude.
        index: the line's number, which goes into the prompt_id.

    Raises:
        CheckError: the row is none of GenEval's.
    """
    try:
        include, exclude = row["include"], list(row.get("exclude", ()))
        checks: list[Check] = []
        for i, item in enumerate(include):
            name, count = item["class"], item.get("count", 1)
            there = f"object-{i}"
            checks.append(Check(there, "object", f"Is there {article(name)}?", subject=name))
            limit = {"class": name, "count": count + 1}
            if limit in exclude or count > 1:
                exactly = limit in exclude
                if exactly:
                    exclude.remove(limit)
                checks.append(
                    _count_check(f"count-{i}", name, count, "exactly" if exactly else "at least", there)
                )
            if "color" in item:
                question = f"Is the {name} {item['color']}?"
                checks.append(
                    Check(
                        f"attribute-{i}",
                        "attribute",
                        question,
                        subject=name,
                        attribute=item["color"],
                        parents=(there,),
                    )
                )
            if "position" in item:
                where, other = item["position"]
                target = include[other]["class"]
                checks.append(
                    Check(
                        f"relation-{i}",
                        "relation",
                        f"Is the {name} {where} the {target}?",
                        subject=name,
                        relation=where,
                        target=target,
                        parents=(there, f"object-{other}"),
                    )
                )
        for j, item in enumerate(exclude):
            checks.append(_count_check(f"exclude-{j}", item["class"], item["count"], "fewer than"))
        tag = row["tag"]
        return CheckedPrompt(f"geneval-{index:03d}", row["prompt"], tuple(checks), tag, dict(row))
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckError(f"GenEval row {index} can't be read ({error!r}): {row!r}.") from error


def _count_check(id: str, name: str, count: int, relation: str, parent: str | None = None) -> Check:
    many = plural(name) if count != 1 else name
    words = f"{'' if relation == 'exactly' else f'{relation} '}{number_word(count)} {many}"
    question = f"{'Is' if count == 1 else 'Are'} there {words}?"
    parents = (parent,) if parent else ()
    return Check(id, "count", question, subject=name, relation=relation, count=count, parents=parents)


def read_geneval(path: str | os.PathLike[str]) -> list[CheckedPrompt]:
    """Read GenEval's `evaluation_metadata.jsonl`.

    Raises:
        CheckError: it can't be read.
    """
    rows = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except (ValueError, RecursionError) as error:
            raise CheckError(f"{path}, line {number}, is no JSON: {error}.") from error
    return [from_geneval(row, index) for index, row in enumerate(rows)]


def from_dsg(rows: Iterable[Mapping[str, str]]) -> list[CheckedPrompt]:
    """Turn DSG rows (item_id, text, proposition_id, dependency, ...) into prompts with checks.

    A dependency is a list of proposition ids, 0 for none. A few published cells hold words as well
    ("5, background"): the numbers count. A few name a proposition that is not there or run in a circle:
    these are left out with a warning. The cell itself stays in `source`.

    Raises:
        CheckError: a column is missing, or a row can't be read.
    """
    prompts: dict[str, tuple[str, list[Check]]] = {}
    for row in rows:
        try:
            broad, detailed = row["category_broad"].strip(), row["category_detailed"].strip()
            kind: Kind = "count" if "count" in detailed else _DSG_KINDS[broad]
            if detailed == "text rendering":
                kind = "attribute"
            words = _dsg_arguments(row["tuple"])
            parents = tuple(n for n in re.findall(r"(?<!\w)\d+(?!\w)", row["dependency"]) if n != "0")
            check = Check(
                row["proposition_id"].strip(),
                kind,
                row["question_natural_language"],
                subject=words[0] if words else None,
                attribute=words[1] if kind == "attribute" and len(words) > 1 else None,
                relation=words[-1] if kind == "relation" and len(words) > 1 else None,
                target=words[1] if kind == "relation" and len(words) > 2 else None,
                count=_dsg_count(words) if kind == "count" else None,
                parents=parents,
                source=dict(row),
            )
            prompts.setdefault(row["item_id"], (row["text"], []))[1].append(check)
        except (KeyError, AttributeError) as error:
            raise CheckError(f"A DSG row can't be read ({error!r}): {dict(row)!r}.") from error
    left_out: list[str] = []
    made = [
        CheckedPrompt(item, text, _hung_together(item, checks, left_out), re.split(r"[_\d]", item)[0])
        for item, (text, checks) in prompts.items()
    ]
    if left_out:
        log.warning("%d impossible dependencies were left out: %s.", len(left_out), ", ".join(left_out[:8]))
    return made


def _hung_together(item: str, checks: Sequence[Check], left_out: list[str]) -> tuple[Check, ...]:
    """The checks under ids of their own, without parents that are not there or would close a circle.

    `left_out` gets the name of each dependency dropped.
    """
    ids = [check.id for check in checks]
    again = [ids[:index].count(name) + 1 for index, name in enumerate(ids)]
    checks = [
        replace(check, id=check.id if number == 1 else f"{check.id} ({number})")
        for check, number in zip(checks, again, strict=True)
    ]
    kept: dict[str, tuple[str, ...]] = {check.id: () for check in checks}

    def leads_to(start: str, goal: str) -> bool:
        return start == goal or any(leads_to(parent, goal) for parent in kept[start])

    for check in checks:
        for parent in check.parents:
            if parent in kept and not leads_to(parent, check.id):
                kept[check.id] += (parent,)
            else:
                left_out.append(f"{item}: {check.id} on {parent}")
    return tuple(replace(check, parents=kept[check.id]) for check in checks)


def _dsg_arguments(words: str) -> list[str]:
    """What stands in the brackets of "relation - spatial (cat, mat, on)"."""
    inside = re.search(r"\((.*)\)\s*$", words, re.DOTALL)
    return [part.strip() for part in inside[1].split(", ")] if inside else []


def _dsg_count(words: Sequence[str]) -> int | None:
    found = re.search(r"==\s*(\d+)", words[-1]) if words else None
    return int(found[1]) if found else None


def read_dsg(path: str | os.PathLike[str]) -> list[CheckedPrompt]:
    """Read a DSG csv file such as `dsg-1k-anns.csv`.

    Raises:
        CheckError: it can't be read.
    """
    return from_dsg(csv.DictReader(io.StringIO(_text(path), newline="")))


def from_tifa(rows: Iterable[Mapping[str, Any]]) -> list[CheckedPrompt]:
    """Turn TIFA questions (id, caption, question, choices, answer, element_type, element) into checks.

    Raises:
        CheckError: a row lacks a field.
    """
    prompts: dict[str, tuple[str, list[Check]]] = {}
    for row in rows:
        try:
            checks = prompts.setdefault(row["id"], (row["caption"], []))[1]
            choices = tuple(map(str, row["choices"]))
            kind = _TIFA_KINDS.get(row["element_type"], "global")
            answer = str(row["answer"])
            checks.append(
                Check(
                    f"q{len(checks)}",
                    kind,
                    row["question"],
                    answer,
                    subject=row["element"] if kind == "object" else None,
                    attribute=row["element"] if kind == "attribute" else None,
                    relation=row["element"] if kind == "relation" else None,
                    count=int(answer) if kind == "count" and answer.isdigit() else None,
                    choices=() if set(choices) == {"yes", "no"} else choices,
                    source=dict(row),
                )
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckError(f"A TIFA row can't be read ({error!r}): {row!r}.") from error
    return [
        CheckedPrompt(item, text, tuple(checks), item.rsplit("_", 1)[0])
        for item, (text, checks) in prompts.items()
    ]


def read_tifa(path: str | os.PathLike[str]) -> list[CheckedPrompt]:
    """Read a TIFA json file such as `tifa_v1.0_question_answers.json`.

    Raises:
        CheckError: it can't be read.
    """
    try:
        rows = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise CheckError(f"{path} is no JSON: {error}.") from error
    if not isinstance(rows, list):
        raise CheckError(f"{path} holds no list of questions.")
    return from_tifa(rows)


def _text(path: str | os.PathLike[str]) -> str:
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise CheckError(f"{path} can't be read: {why_unreadable(error)}.") from error
