"""People as a scorer: a blinded, shuffled sheet of images and questions, as one web page; and its answers.

The page holds nothing of where an image is from: neither layer, seed, encoder nor run, under ids that say
nothing and in an order of its own. What the ids stand for is in a key file beside it, which raters do not
get. Answers are saved as csv by the page itself, and `read_answers` makes scores of them.
"""

import base64
import csv
import html
import io
import json
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
from PIL.Image import Image

from diffusion_lens.checks.assign import ask
from diffusion_lens.checks.checks import KINDS, WHOLE, Check, CheckedPrompt, join_parents
from diffusion_lens.errors import CheckError, ScoresError
from diffusion_lens.files import check_output, write_whole
from diffusion_lens.runs.images import RunImages
from diffusion_lens.scoring import table as scores

__all__ = ["SheetQuestion", "read_answers", "sample_questions", "write_sheet"]

_ANSWERS = {"yes": True, "no": False, "unsure": None}
_KEY = (
    *("run", "prompt_id", "prompt", "category", "encoder", "layer", "depth", "seed"),
    *("check", "kind", "parents"),
)


@dataclass(frozen=True)
class SheetQuestion:
    """One check on one image, and where the image is from.

    Attributes:
        image: the image; only its pixels are shown.
        check: what to ask.
        prompt_id: as in the table of scores, like all that follows.
        prompt: the words, for the key; raters see them only if the sheet is told to show prompts.
        layer: the layer drawn.
        depth: layer / last layer.
        seed: the seed.
        encoder: the text encoder.
        run: the run.
        category: the kind of prompt.
        cell: the image's cell in its run, for the key.
    """

    image: Image
    check: Check
    prompt_id: str
    prompt: str
    layer: int
    depth: float
    seed: int
    encoder: str = "text_encoder"
    run: str = ""
    category: str = ""
    cell: str = ""


def sample_questions(
    url: str | os.PathLike[str],
    *,
    images: int = 140,
    kinds: Sequence[str] = (),
    given: Sequence[CheckedPrompt] = (),
    seed: int = 0,
) -> list[SheetQuestion]:
    """Questions on a sample of a run's images, stratified by layer: what a judge is corrected by.

    From each layer, as many images are drawn at random; of each, all checks are asked.

    Args:
        url: the run's folder, or a URL of fsspec.
        images: how many images in all; all there are, if fewer.
        kinds: only checks of these kinds, and those that they depend on; all but that of the whole prompt
            if left out.
        given: checks of prompts, as for `score_run`.
        seed: of the draw.

    Raises:
        CheckError: no prompt has a check of these kinds, or a kind is unknown.
        RunError: there is no run, or it is damaged.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown or images < 1:
        raise CheckError(
            f"A sheet takes one image or more, and kinds of {list(KINDS)}; not {images} and {unknown}."
        )
    run = RunImages(url)
    asked = ask(run.plan.prompts, given).prompts
    checks = [_chosen(prompt.checks, kinds) for prompt in asked]
    by_layer: dict[int, list[tuple[int, int]]] = {}
    series = run.series()
    for number, line in enumerate(series):
        if checks[line.prompt]:
            for place, cell in enumerate(line.cells):
                by_layer.setdefault(cell.layer, []).append((number, place))
    if not by_layer:
        raise CheckError(
            f"No drawn prompt of {url} has a check {f'of {list(kinds)}' if kinds else 'to ask'}."
        )
    rng = np.random.default_rng(seed)
    shuffled = [[cells[place] for place in rng.permutation(len(cells))] for cells in by_layer.values()]
    chosen: list[tuple[int, int]] = []
    for turn in range(max(map(len, shuffled))):
        chosen += [cells[turn] for cells in shuffled if turn < len(cells)]
    pictures = run.read([series[number].cells[place].id for number, place in chosen[:images]])
    questions = []
    for number, place in chosen[:images]:
        line = series[number]
        cell, prompt = line.cells[place], asked[line.prompt]
        picture = pictures[cell.id].image
        if picture is None:
            continue
        for check in checks[line.prompt]:
            questions.append(
                SheetQuestion(
                    picture,
                    check,
                    prompt.prompt_id,
                    prompt.prompt,
                    layer=cell.layer,
                    depth=cell.layer / line.last if line.last else 1.0,
                    seed=cell.seed,
                    encoder=line.encoder,
                    run=line.run,
                    category=prompt.category,
                    cell=cell.id,
                )
            )
    return questions


def _chosen(checks: Sequence[Check], kinds: Sequence[str]) -> list[Check]:
    """The checks of these kinds and all that they depend on, without which they could not be gated."""
    by_id = {check.id: check for check in checks}
    wanted = [check.id for check in checks if (check.kind in kinds if kinds else check.id != WHOLE)]
    for name in wanted:  # grows while it is read, until all ancestors are there
        wanted += [parent for parent in by_id[name].parents if parent not in wanted]
    return [check for check in checks if check.id in wanted]


def write_sheet(
    path: str | os.PathLike[str],
    questions: Iterable[SheetQuestion],
    *,
    title: str = "Labelling",
    show_prompt: bool = False,
    seed: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a sheet and its key.

    Images are told apart by random ids, and shuffled over prompts, layers and seeds. Keys: 1 or y yes, 2
    or n no, 3 or u unsure, arrows to move, s to save. Answers are kept in the browser until they are
    saved as csv.

    Args:
        path: where the page goes, ending in .html; the key goes beside it as .key.csv.
        questions: what to ask.
        title: of the page.
        show_prompt: show the prompt above the question. A rater who knows it may see what it says.
        seed: of the order; another order each time if left out.
        overwrite: replace files that exist.

    Returns:
        The path of the key. Keep it from raters.

    Raises:
        CheckError: there are no questions.
        OutputError: a file can't be written.
    """
    page, asked = Path(path), list(questions)
    if not asked:
        raise CheckError("There are no questions to write a sheet of.")
    key = page.with_suffix(".key.csv")
    for file in (page, key):
        check_output(file, overwrite=overwrite)
    order = np.random.default_rng(seed).permutation(len(asked))
    # a letter first: a spreadsheet, or pandas, would take digits alone, or 12e3, for a number
    sheet = f"s{secrets.token_hex(6)}"
    pictures: dict[int, str] = {}
    items, lines = [], []
    for place in order:
        question = asked[place]
        name = f"i{secrets.token_hex(6)}"
        picture = pictures.setdefault(id(question.image), f"i{len(pictures)}")
        item = {"id": name, "image": picture, "question": question.check.question}
        if question.check.choices or question.check.answer != "yes":
            item["answer"] = question.check.answer
        items.append(item | ({"prompt": question.prompt} if show_prompt else {}))
        row = {part: getattr(question, part) for part in _KEY[:-3]}
        check = question.check
        row |= {"check": check.id, "kind": check.kind, "parents": join_parents(check.parents)}
        lines.append({"id": name, **row, "cell": question.cell})
    # in the order of the sheet too: the order they came in would tell layers apart
    shown = {id(asked[place].image): asked[place].image for place in order}
    images = {pictures[key]: _png(image) for key, image in shown.items()}
    data = {"sheet": sheet, "items": items, "images": images}
    template = resources.files("diffusion_lens.scoring").joinpath("pages/sheet.html").read_text("utf-8")
    # text of prompts can close no tag: "<" does not occur in the data
    filled = {
        "TITLE": html.escape(title),
        "DATA": json.dumps(data, ensure_ascii=True).replace("<", "\\u003c"),
    }
    # in one pass, so that a title can't be mistaken for a place
    content = re.sub("@@(TITLE|DATA)@@", lambda found: filled[found[1]], template)
    write_whole(page, lambda file: file.write(content.encode("utf-8")))
    write_whole(key, lambda file: pd.DataFrame(lines).assign(sheet=sheet).to_csv(file, index=False))
    return key


def _png(image: Image) -> str:
    """The pixels alone: a file's notes may name the layer."""
    bare = image.convert("RGB")
    bare.info.clear()
    file = io.BytesIO()
    bare.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def read_answers(
    answers: str | os.PathLike[str], key: str | os.PathLike[str], *, scorer: str = "human"
) -> pd.DataFrame:
    """Make scores of the csv file that a sheet saved.

    Args:
        answers: the csv file of one rater.
        key: the sheet's key file.
        scorer: what to call the rater in the table; name several apart ("human:ann").

    Returns:
        A validated table of scores, one row by question, with the cell of its image as the key names it:
        "unsure" and no answer are missing, with the reason; a note becomes the reason too.

    Raises:
        ScoresError: a file can't be read, or the answers are of another sheet.
    """
    given = _read(answers, ("sheet", "id", "answer"))
    meant = _read(key, ("sheet", "id", *_KEY))
    if set(given["sheet"]) != set(meant["sheet"]):
        raise ScoresError(f"{answers} holds answers to another sheet than the one of {key}.")
    strange = sorted(set(given["id"]) - set(meant["id"]))
    wrong = sorted(set(given["answer"]) - {*_ANSWERS, ""})
    if strange or wrong or given["id"].duplicated().any():
        what = f"unknown ids {strange[:3]}" if strange else f"answers {wrong}" if wrong else "an id twice"
        raise ScoresError(f"{answers} holds {what}; answers are {list(_ANSWERS)} or empty, once by id.")
    both = meant.merge(given.drop(columns="sheet"), on="id", how="left")
    answer = both["answer"].fillna("")
    note = both["note"].fillna("") if "note" in both else pd.Series("", index=both.index)
    why = answer.map({"yes": None, "no": None, "unsure": "unsure"}).where(answer != "", "not answered")
    both["label"] = answer.map(_ANSWERS).astype("boolean")
    both["reason"] = [said or reason for said, reason in zip(note, why, strict=True)]
    cell = ["cell"] if "cell" in both else []
    return scores.validate(both[[*_KEY, *cell, "label", "reason"]].assign(scorer=scorer))


def _read(path: str | os.PathLike[str], columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError, csv.Error) as error:
        raise ScoresError(f"{path} can't be read: {error}.") from error
    lacking = [name for name in columns if name not in table]
    if lacking:
        raise ScoresError(f"{path} lacks the columns {lacking}; there are {list(table.columns)}.")
    return table
