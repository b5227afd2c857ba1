"""`score_result`: scores of images in memory, by the same scorers, checks and gating as those of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from diffusion_lens.checks.assign import ask
from diffusion_lens.checks.checks import CheckedPrompt, Judgement
from diffusion_lens.errors import ScorerError
from diffusion_lens.lens.result import Result
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.scoring import table as scores
from diffusion_lens.scoring.registry import check_names, make_scorers, scorers
from diffusion_lens.scoring.scorer import Reference, Scorer, ScoreRequest, Source
from diffusion_lens.text.sites import Site

__all__ = ["repeats_layer", "score_result", "scorers_named"]

# images that differ in none of these are a series: the layers of one prompt and seed
_SERIES = ("model", "revision", "encoder", "readout", "pooled", "slots", "interventions", "edits", "seed")

# said in the name of a run where a result has several of them
_OFTEN_ALIKE = ("revision", "pooled", "slots")


def score_result(
    result: Result,
    scorer: str | Scorer | Sequence[Scorer],
    checks: Sequence[CheckedPrompt] | None = None,
    *,
    settings: Any = None,
    device: str | None = None,
    images_at_once: int = 64,
) -> pd.DataFrame:
    """Let a scorer answer the checks of a result.

    Args:
        result: the images, of `lens(...)` or of `Result.load`.
        scorer: a name that is registered, a scorer, or several.
        checks: checks of prompts; if left out, those that the prompts' own words give.
        settings: the scorer's settings, where it is given by name; its defaults if left out.
        device: where its model runs; the fastest at hand if left out.
        images_at_once: images given to the scorer in one call.

    Returns:
        A validated table of scores (see `scoring.table`), gated by parents. A missing image is missing,
        with its reason. The column `native` says which images were read where the pipeline reads; where
        they repeat a layer (`repeats_layer`), so does the name of their run. `depth` is of the encoder's
        last layer, as a result of a lens knows it, and of the deepest one drawn for a result that was read
        from a file.

    Raises:
        ScorerError: there is no such scorer, or it can't be made; or it stopped.
        CheckError: checks are given and none is of these prompts.
    """
    table = result.table.reset_index(drop=True)
    prompts = list(dict.fromkeys(table["prompt"]))
    asked = ask([Prompt(text) for text in prompts], checks or ()).prompts
    readings = result.drawn_by.readings if result.drawn_by is not None else ()
    depths = {one.reading.encoder: one.depth for one in readings}
    told = ["readout", "interventions", "edits", *(name for name in _OFTEN_ALIKE if _differs(table, name))]
    made = []
    for one in scorers_named(scorer, settings, device):
        models = [_column(table, name) for name in ("model", "revision")]
        for (model, revision), part in table.groupby(models, dropna=False):
            source = Source(_text(model), _text(revision))
            by_prompt = dict(zip(prompts, one.prepare(asked, source), strict=True))
            made += _score(one, part, by_prompt, source, depths, told, images_at_once)
    if not made:
        raise ScorerError(f"{scorer} can judge none of the checks of these prompts.")
    return scores.validate(pd.DataFrame(made))


def scorers_named(
    scorer: str | Scorer | Sequence[Scorer], settings: Any = None, device: str | None = None
) -> Sequence[Scorer]:
    """The scorers that a name stands for, or those given.

    Raises:
        ScorerError: there is none of that name, or it can't be made.
    """
    if not isinstance(scorer, str):
        return [scorer] if isinstance(scorer, Scorer) else scorer
    check_names([scorer])
    if device is not None or scorers()[scorer].on_device:
        from diffusion_lens.models.load import choose_device  # imports torch, which takes seconds

        device = choose_device(device)
    made, failed = make_scorers([scorer], {} if settings is None else {scorer: settings}, device or "cpu")
    if failed:
        raise ScorerError(failed[scorer])
    return made


def repeats_layer(table: pd.DataFrame) -> pd.Series:
    """Which images were read where the pipeline reads, beside another one of that layer in their series.

    A layer that is both, as in a pipeline that reads one layer of one encoder, is there once. A part of
    the layer's block is no such image.

    Args:
        table: that of a result.
    """
    keys = [table[name] for name in ("prompt", *_SERIES, "layer") if name in table]
    keys.append(pd.Series([_part(row) for row in table.to_dict("records")], table.index))
    native = table["native"].astype(bool)
    return native & (~native).groupby(keys, dropna=False).transform("any")


def _score(
    scorer: Scorer,
    table: pd.DataFrame,
    prompts: Mapping[str, CheckedPrompt],
    source: Source,
    depths: Mapping[str, int],
    told: Sequence[str],
    images_at_once: int,
) -> list[dict[str, object]]:
    """The rows of one scorer on the images of one model."""
    facts: list[tuple[CheckedPrompt, dict[str, Any]]] = []
    requests: list[ScoreRequest | str] = []
    table = table.assign(
        _part=[_part(row) for row in table.to_dict("records")], _again=repeats_layer(table)
    )
    keys = [name for name in ("prompt", *_SERIES, "_part") if name in table]
    for _, series in table.groupby(keys, sort=False, dropna=False):
        ordered = series.sort_values(["_again", "layer"]).to_dict("records")
        rows: list[dict[str, Any]] = [{str(name): row[name] for name in row} for row in ordered]
        depth = max(depths.get(rows[0]["encoder"], 0), *(row["layer"] for row in rows))
        before: list[dict[str, Any]] = []
        plain = [row for row in rows if not row["_again"]] or rows
        for row in rows:
            prompt = prompts[row["prompt"]]
            kept = tuple(check for check in prompt.checks if check.kind in scorer.kinds)
            if not kept:
                continue
            checked = CheckedPrompt(prompt.prompt_id, prompt.prompt, kept, prompt.category)
            references: dict[Reference, Any] = {"last": plain[-1]["image"]}
            if before:
                references["before"] = before[-1]["image"]
            before.append(row)
            facts.append((checked, {**row, "depth": depth}))
            requests.append(
                ScoreRequest(row["image"], kept, references if scorer.references else {}, source)
                if row["image"] is not None
                else str(row.get("missing") or "there is no image")
            )
    there = [one for one in requests if isinstance(one, ScoreRequest)]
    answers: list[Sequence[Judgement]] = []
    for start in range(0, len(there), images_at_once):
        answers += scorer.score(there[start : start + images_at_once])
    waiting = iter(answers)
    made = []
    for (checked, row), request in zip(facts, requests, strict=True):
        judged = (
            next(waiting)
            if isinstance(request, ScoreRequest)
            else [Judgement(check.id, reason=request) for check in checked.checks]
        )
        made += [
            {**one, "native": bool(row["native"])}
            for one in scores.rows(
                checked,
                judged,
                run=_run_name(row, source, told),
                scorer=scorer.name,
                encoder=row["encoder"],
                layer=row["layer"],
                last=row["depth"],
                seed=row["seed"],
            )
        ]
    return made


def _run_name(row: Mapping[str, Any], source: Source, told: Sequence[str]) -> str:
    """What tells the readings of a result apart, as a run's name does."""
    parts = [_part(row)] if _part(row) else []
    for name in told:
        if row.get(name):
            parts.append(f"{name} {row[name]}" if name in _OFTEN_ALIKE else str(row[name]))
    name = " ".join([source.model or "result", *parts])
    return f"{name} at the native tap" if row["_again"] else name


def _differs(table: pd.DataFrame, name: str) -> bool:
    return name in table and table[name].nunique(dropna=False) > 1


def _part(row: Mapping[Any, Any]) -> str:
    """The part of a block that was drawn, such as "attn"; empty for the hidden state of a layer."""
    return Site.parse(str(row.get("site") or "native")).series


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    return table[name] if name in table else pd.Series(None, table.index, object)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
