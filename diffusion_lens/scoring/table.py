"""The table of scores: one row by image, check and scorer; what every scorer writes and analysis reads.

| column | type | what |
|---|---|---|
| run | text | the run, or the model, that the image is of |
| prompt_id | text | the prompt, within and across runs: the unit of statistics |
| prompt | text | its words |
| category | text | what kind of prompt it is |
| encoder | text | the text encoder whose layer was drawn |
| layer | integer | 0 is the embedding output, i the output of block i |
| depth | number | layer / last layer, 0 to 1 |
| seed | integer | the seed of the image |
| check | text | id of the check |
| kind | text | kind of the check, one of `checks.KINDS` |
| parents | text | ids of the checks that it depends on, separated by semicolons; empty if there are none |
| scorer | text | who answered |
| p | number or missing | probability or score that the check is met, 0 to 1 |
| label | true, false or missing | met or not; missing is missing, never wrong |
| reason | text or missing | why it is so, or why it is missing |
| p_ungated | number or missing | p as the scorer gave it, whatever became of the parents |
| label_ungated | true, false or missing | likewise the label |

`p` and `label` are gated by the parents, see `scoring.gating`: a check with a wrong parent is wrong.

No two rows have the same run, prompt_id, encoder, layer, seed, check and scorer. Further columns are
kept as they are.
"""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from diffusion_lens.checks.checks import KINDS, CheckedPrompt, Judgement, join_parents
from diffusion_lens.errors import ScoresError
from diffusion_lens.files import check_within, write_whole
from diffusion_lens.runs.store import Store
from diffusion_lens.scoring.cells import fractions, labels, whole_numbers
from diffusion_lens.scoring.gating import gate
from diffusion_lens.scoring.of_run import with_names_of_now

__all__ = ["COLUMNS", "KEY", "read", "rows", "validate", "write"]

COLUMNS: tuple[str, ...] = (
    *("run", "prompt_id", "prompt", "category", "encoder", "layer", "depth", "seed"),
    *("check", "kind", "parents", "scorer", "p", "label", "reason", "p_ungated", "label_ungated"),
)
KEY: tuple[str, ...] = ("run", "prompt_id", "encoder", "layer", "seed", "check", "scorer")
_IMAGE = tuple(name for name in KEY if name != "check")
_UNGATED = ("p_ungated", "label_ungated")
_NEEDED = ("prompt_id", "layer", "seed", "check", "scorer")
_DEFAULTS = {
    "run": "",
    "category": "",
    "encoder": "text_encoder",
    "kind": "global",
    "parents": "",
    "p": None,
    "label": None,
    "reason": None,
}

log = logging.getLogger(__name__)


def validate(table: pd.DataFrame) -> pd.DataFrame:
    """Bring a table of scores to the types above.

    Columns other than prompt_id, layer, seed, check, scorer and one of p and label may be left out:
    `prompt` is then the prompt_id, `depth` is layer / the deepest layer of that run and encoder,
    `kind` is "global", `encoder` "text_encoder", all else empty or missing. A table without the columns
    p_ungated and label_ungated is gated by its column `parents`.

    Args:
        table: rows with at least the columns named; labels as booleans, 0/1 or words.

    Returns:
        A new table with the columns of `COLUMNS` first.

    Raises:
        ScoresError: a column is missing, holds what it may not, or two rows are of the same key.
    """
    lacking = [name for name in _NEEDED if name not in table]
    if "p" not in table and "label" not in table:
        lacking.append("label (or p)")
    if lacking:
        raise ScoresError(
            f"A table of scores needs the columns {lacking}; there are {sorted(map(str, table.columns))}."
        )
    table = table.assign(**{name: value for name, value in _DEFAULTS.items() if name not in table})
    if "prompt" not in table:
        table["prompt"] = table["prompt_id"]
    for name in ("run", "prompt_id", "prompt", "category", "encoder", "check", "kind", "parents", "scorer"):
        if name in _NEEDED and table[name].isna().any():
            raise ScoresError(f"The column {name} of a table of scores has empty cells; fill them in.")
        table[name] = table[name].fillna("").astype(str).astype("str")
    for name in ("layer", "seed"):
        table[name] = whole_numbers(table[name])
    if (table["layer"] < 0).any():
        raise ScoresError(
            "The column layer of a table of scores has negative layers; layer 0 is the first."
        )
    if "depth" not in table:
        last = table.groupby(["run", "encoder"])["layer"].transform("max")
        table["depth"] = np.where(last > 0, table["layer"] / last.clip(lower=1), 1.0)
    table["depth"] = fractions(table["depth"]).astype(float)
    if table["depth"].isna().any():
        raise ScoresError(
            "The column depth of a table of scores has empty cells; it is layer / last layer."
        )
    given = [name for name in _UNGATED if name in table]
    if len(given) == 1:
        raise ScoresError(
            f"A table of scores has {given[0]} alone; give both of {list(_UNGATED)}, or none."
        )
    for name in ("p", *given[:1]):
        table[name] = fractions(table[name])
    for name in ("label", *given[1:]):
        table[name] = labels(table[name])
    table["reason"] = table["reason"].where(table["reason"].notna(), None).astype("str")
    unknown = sorted(set(table["kind"]) - set(KINDS))
    if unknown:
        raise ScoresError(f"The column kind of a table of scores has {unknown}; kinds are {list(KINDS)}.")
    twice = table.duplicated(list(KEY))
    if twice.any():
        first = table.loc[twice, list(KEY)].iloc[0].to_dict()
        raise ScoresError(
            f"{int(twice.sum())} rows of a table of scores repeat another's key, such as {first}. One "
            "scorer gives one answer to one check on one image; call a second rater by another name."
        )
    if not given:
        table = gate(table.reset_index(drop=True), _IMAGE)
    others = [name for name in table.columns if name not in COLUMNS]
    return table[[*COLUMNS, *others]].reset_index(drop=True)


def rows(
    asked: CheckedPrompt,
    judgements: Iterable[Judgement],
    *,
    run: str,
    scorer: str,
    encoder: str,
    layer: int,
    last: int,
    seed: int,
) -> list[dict[str, object]]:
    """The rows of one image: what a scorer answered to the checks of its prompt.

    Args:
        asked: the prompt and its checks.
        judgements: the answers, in any order; a check without one is missing, "not judged".
        run: the run.
        scorer: who answered.
        encoder: whose layer was drawn.
        layer: which.
        last: the encoder's last layer.
        seed: of the image.

    Raises:
        ScoresError: an answer to a check that was not asked.
    """
    answers = {judgement.check_id: judgement for judgement in judgements}
    strange = sorted(set(answers) - {check.id for check in asked.checks})
    if strange:
        raise ScoresError(f"{scorer} answered {strange}, which were not asked of {asked.prompt_id!r}.")
    made = []
    for check in asked.checks:
        given = answers.get(check.id, Judgement(check.id, reason="not judged"))
        made.append(
            {
                "run": run,
                "prompt_id": asked.prompt_id,
                "prompt": asked.prompt,
                "category": asked.category,
                "encoder": encoder,
                "layer": layer,
                "depth": layer / last if last else 1.0,
                "seed": seed,
                "check": check.id,
                "kind": check.kind,
                "parents": join_parents(check.parents),
                "scorer": scorer,
                "p": given.p,
                "label": given.label,
                "reason": given.reason,
            }
        )
    return made


def read(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read scores from a parquet or csv file, or all that lie beside a run (`RUN/scores/*.parquet`).

    Args:
        path: the file, the run's folder, or its folder of scores.

    Returns:
        The validated table; of a folder, all its files in one, and of a run one that calls it what it is
        called now. A file that can't be read is logged as a
        warning, and the others are read.

    Raises:
        ScoresError: there is nothing to read, or what is there are no scores.
    """
    path = Path(path)
    if not path.exists():
        raise ScoresError(f"There is no file or folder {path}. Name a run or a table of scores.")
    if path.is_file():
        return _read_file(path)
    folder = path / "scores" if (path / "scores").is_dir() else path
    files = sorted(folder.glob("*.parquet"))
    parts, refused = [], []
    for file in files:
        try:
            parts.append(_read_file(file))
        except ScoresError as error:
            refused.append(str(error))
    if not parts:
        why = f": {' '.join(refused)}" if refused else ""
        raise ScoresError(
            f"{path} holds no scores{why or '.'} Score the run first, or name a table of scores."
        )
    for message in refused:
        log.warning("%s The others were read.", message)
    table = with_names_of_now(pd.concat(parts, ignore_index=True), Store(folder.parent))
    return validate(table) if len(parts) > 1 else table


def write(table: pd.DataFrame, path: str | os.PathLike[str]) -> list[Path]:
    """Write a table of scores.

    Args:
        table: the scores.
        path: a file ending in .parquet or .csv, or the folder of a run: then each scorer gets its
            `scores/<scorer>.parquet`.

    Returns:
        The files written.

    Raises:
        ScoresError: the table is none of scores, or the file is of another type.
        OutputError: it can't be written.
    """
    table, path = validate(table), Path(path)
    if path.suffix == ".csv":
        write_whole(path, lambda file: table.to_csv(file, index=False))
        return [path]
    if path.suffix == ".parquet":
        write_whole(path, lambda file: table.to_parquet(file, index=False))
        return [path]
    if path.suffix and not path.is_dir():
        raise ScoresError(
            f"{path} names no table of scores; end it in .parquet or .csv, or name a run's folder."
        )
    check_within(path, "scores/table")
    (path / "scores").mkdir(parents=True, exist_ok=True)
    written = []
    for scorer, part in table.groupby("scorer"):
        # a scorer's name is data: "vqa/qwen" must not become a folder
        written += write(part, path / "scores" / f"{quote(str(scorer), safe='@:+ ')}.parquet")
    return written


def _read_file(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".csv":
            # nothing is guessed: "NA" may be the name of a prompt
            table = pd.read_csv(path, dtype=str, keep_default_na=False).replace("", None)
        else:
            table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ScoresError(f"{path} can't be read as a table of scores: {error}.") from error
    try:
        return validate(table)
    except ScoresError as error:
        raise ScoresError(f"{path}: {error}") from error
