"""What to ask of the images of each prompt: found in a file, in the prompt's metadata, or in its words."""

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from diffusion_lens.checks.check_files import (
    NEEDED,
    parse_json,
    read_json,
    read_jsonl,
    read_table,
    read_text,
    text_of,
)
from diffusion_lens.checks.checks import WHOLE, Check, CheckedPrompt
from diffusion_lens.checks.question_sets import (
    from_dsg,
    from_geneval,
    from_tifa,
    read_dsg,
    read_geneval,
    read_tifa,
)
from diffusion_lens.checks.scenes import from_description, parse_caption
from diffusion_lens.checks.templates import Template
from diffusion_lens.errors import CheckError
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.testbed.captions import Description, describe
from diffusion_lens.testbed.scenes import Scene

__all__ = ["Asked", "ask", "read_given", "whole"]

log = logging.getLogger(__name__)

_NOTHING = "no rule for their words: only the prompt as a whole can be scored"


@dataclass(frozen=True)
class Asked:
    """What is asked of each prompt of a run, and where it comes from.

    Attributes:
        prompts: one for each prompt, in order; every one is also asked for as a whole.
        sources: how many prompts have their checks from where, in words.
    """

    prompts: tuple[CheckedPrompt, ...]
    sources: Mapping[str, int]


def whole(prompt: str) -> Check:
    """The check of the whole image, in the words of VQAScore (Lin et al. 2024, arXiv 2404.01291)."""
    return Check(WHOLE, "global", f'Does this figure show "{prompt}"?', subject=prompt)


def ask(prompts: Sequence[Prompt], given: Sequence[CheckedPrompt] = ()) -> Asked:
    """Find the checks of the prompts of a run.

    The first that there is: what is given; the prompt's metadata, as GenEval has them (`include`,
    `exclude`, `tag`), as DSG or TIFA rows (a list in `questions`, or the columns of one row), or as a
    `template` and what fills its slots; its words, or those of the column `means` (what a prompt with
    learned words stands for), if the testbed's grammar reads them; else none but the whole prompt.

    Args:
        prompts: the prompts and their metadata.
        given: prompts with checks, such as those of a file.

    Raises:
        CheckError: metadata look like a question set and can't be read; or none of the prompts given is
            among the prompts.
    """
    by_text = {one.prompt.strip(): one for one in given}
    _compare_prompts(prompts, by_text)
    again = [text for text, count in Counter(one.prompt.strip() for one in given).items() if count > 1]
    if again:
        log.warning(
            "%d of the prompts with checks stand there more than once, such as %r. The last checks of each "
            "are asked; put them together to ask all.",
            len(again),
            again[0],
        )
    made, sources = [], Counter[str]()
    for prompt in prompts:
        found, source = _find(prompt, by_text)
        sources[source] += 1
        made.append(_finish(prompt, found))
    ids = Counter(one.prompt_id for one in made)
    twice = [name for name, count in ids.items() if count > 1]
    if twice:
        raise CheckError(
            f"Several prompts have the prompt_id {twice[0]!r}; prompts are the unit of statistics, so give "
            "each an id of its own, or leave the column prompt_id out."
        )
    return Asked(tuple(made), dict(sources))


def _compare_prompts(prompts: Sequence[Prompt], given: Mapping[str, CheckedPrompt]) -> None:
    """Say which given checks are of prompts that are not there."""
    texts = dict.fromkeys(one.prompt.strip() for one in prompts)
    absent = [text for text in given if text not in texts]
    if not absent:
        return
    near = get_close_matches(absent[0], texts, 1)
    hint = f" The nearest prompt that is drawn is {near[0]!r}." if near else ""
    if len(absent) == len(given):
        raise CheckError(
            f"All checks are of prompts that are not drawn, such as {absent[0]!r}.{hint} Write prompts "
            "exactly as they are drawn."
        )
    log.warning(
        "%d of %d prompts with checks are not drawn, such as %r.%s Their checks are not asked.",
        len(absent),
        len(given),
        absent[0],
        hint,
    )


def _finish(prompt: Prompt, found: CheckedPrompt) -> CheckedPrompt:
    """With the check of the whole, the run's own prompt id, and its category."""
    checks = found.checks
    if all(check.id != WHOLE for check in checks):
        checks = (*checks, whole(text_of(prompt.metadata, "means", prompt.prompt)))
    category = text_of(prompt.metadata, "category", found.category)
    name = text_of(prompt.metadata, "prompt_id", prompt.prompt)
    return replace(found, prompt_id=name, prompt=prompt.prompt, checks=checks, category=category)


def _find(prompt: Prompt, given: Mapping[str, CheckedPrompt]) -> tuple[CheckedPrompt, str]:
    text, metadata = prompt.prompt, prompt.metadata
    if text.strip() in given:
        return given[text.strip()], "the checks given"
    for columns, read, source in _READERS:
        if columns <= metadata.keys():
            return read(prompt), source
    stated = parse_caption(text_of(metadata, "means", text))
    if stated is None and "scene" in metadata:
        stated = describe(Scene.from_json(str(metadata["scene"])))
    if stated is not None:
        kind = _kind(stated)
        return from_description(text, text, stated, kind), "their words, by the testbed's grammar"
    return CheckedPrompt(text, text, ()), _NOTHING


def _kind(stated: Description) -> str:
    if stated.entity is not None:
        return "entity"
    if len(stated.items) == 2:
        return "pair"
    return "count" if stated.count > 1 else "single"


# Metadata of a run's table hold lists and tables as JSON


def _from_geneval(prompt: Prompt) -> CheckedPrompt:
    row: dict[str, Any] = {"prompt": prompt.prompt, **prompt.metadata}
    for name in ("include", "exclude"):
        if name in row:
            row[name] = _json(row[name], name, prompt) if row[name] != "" else []
    if not row.get("exclude"):
        row.pop("exclude", None)
    return from_geneval(row)


def _from_dsg_row(prompt: Prompt) -> CheckedPrompt:
    log.warning(
        "The prompt %r carries one row of DSG, of which the run has one a prompt. Give the whole file, "
        "--checks dsg-1k-anns.csv, to ask all its questions.",
        prompt.prompt,
    )
    row = {"text": prompt.prompt, "item_id": "dsg", **{k: str(v) for k, v in prompt.metadata.items()}}
    return from_dsg([{**row, "dependency": "0"}])[0]


def _from_tifa_row(prompt: Prompt) -> CheckedPrompt:
    row = {"id": "tifa", "caption": prompt.prompt, **prompt.metadata}
    return from_tifa([{**row, "choices": _json(row["choices"], "choices", prompt)}])[0]


def _from_questions(prompt: Prompt) -> CheckedPrompt:
    rows = _json(prompt.metadata["questions"], "questions", prompt)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise CheckError(
            f"The column questions of prompt {prompt.prompt!r} is no list of rows of DSG or TIFA in JSON."
        )
    if "question_natural_language" in rows[0]:
        plain = [{key: str(value) for key, value in row.items()} for row in rows]
        return from_dsg({**row, "item_id": "dsg", "text": prompt.prompt} for row in plain)[0]
    return from_tifa({**row, "id": "tifa", "caption": prompt.prompt} for row in rows)[0]


def _from_template(prompt: Prompt) -> CheckedPrompt:
    template = Template(str(prompt.metadata["template"]), str(prompt.metadata.get("category", "")))
    lacking = [slot for slot in template.slots if slot not in prompt.metadata]
    if lacking:
        raise CheckError(
            f"The template {template.text!r} of prompt {prompt.prompt!r} has slots that no column fills: "
            f"{lacking}. Add these columns to the prompts."
        )
    filling: dict[str, Any] = {slot: prompt.metadata[slot] for slot in template.slots}
    return template.fill(prompt.prompt, **filling)


def _json(value: Any, column: str, prompt: Prompt) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise CheckError(
            f"The column {column} of prompt {prompt.prompt!r} is no JSON: {error}. Write lists as JSON, "
            "or leave the column out."
        ) from error


_READERS: tuple[tuple[frozenset[str], Callable[[Prompt], CheckedPrompt], str], ...] = (
    (frozenset({"include", "tag"}), _from_geneval, "their GenEval metadata"),
    (frozenset({"questions"}), _from_questions, "the questions in their metadata"),
    (frozenset({"proposition_id", "question_natural_language", "tuple"}), _from_dsg_row, "a DSG row each"),
    (
        frozenset({"question", "choices", "answer", "element_type", "element"}),
        _from_tifa_row,
        "a TIFA row each",
    ),
    (frozenset({"template"}), _from_template, "their template, by rule"),
)


def read_given(path: str | os.PathLike[str]) -> list[CheckedPrompt]:
    """Read checks from a file.

    A .csv is DSG's if it has a column proposition_id, else a table of the user's own; a .json is TIFA's if
    its entries have a caption, else the user's own list; a .jsonl is GenEval's if its lines have `include`.
    `check_files` describes the user's own.

    Raises:
        CheckError: it can't be read, or is none of these.
    """
    path = Path(path)
    if path.suffix == ".csv":
        header = read_text(path).partition("\n")[0]
        return read_dsg(path) if "proposition_id" in header else read_table(path)
    if path.suffix == ".json":
        rows = parse_json(read_text(path), f"{path}")
        is_tifa = isinstance(rows, list) and rows and isinstance(rows[0], dict) and "caption" in rows[0]
        return read_tifa(path) if is_tifa else read_json(path)
    if path.suffix == ".jsonl":
        first = read_text(path).partition("\n")[0]
        return read_geneval(path) if '"include"' in first else read_jsonl(path)
    raise CheckError(
        f"{path} is no file of checks. Give .csv (a table with the columns {', '.join(NEEDED)}, or DSG's), "
        ".json (a list of prompts with checks, or TIFA's) or .jsonl (the same, or GenEval's)."
    )
