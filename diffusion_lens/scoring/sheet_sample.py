"""Which images of a run people are asked about: so many, spread evenly over its layers."""

import os
from collections.abc import Sequence

import numpy as np

from diffusion_lens.checks.assign import ask
from diffusion_lens.checks.checks import KINDS, WHOLE, CheckedPrompt
from diffusion_lens.errors import CheckError
from diffusion_lens.runs.images import RunImages
from diffusion_lens.scoring.sheet import Question

__all__ = ["sample_questions"]


def sample_questions(
    url: str | os.PathLike[str],
    *,
    images: int = 140,
    kinds: Sequence[str] = (),
    given: Sequence[CheckedPrompt] = (),
    seed: int = 0,
) -> list[Question]:
    """Questions on a sample of a run's images, stratified by layer: what a judge is corrected by.

    From each layer, as many images are drawn at random; of each, all checks are asked.

    Args:
        url: the run's folder, or a URL of fsspec.
        images: how many images in all; all there are, if fewer.
        kinds: only checks of these kinds; all but that of the whole prompt if left out.
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
    checks = [
        [one for one in prompt.checks if (one.kind in kinds if kinds else one.id != WHOLE)]
        for prompt in asked
    ]
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
                Question(picture, check, prompt.prompt_id, prompt.prompt, cell.layer,
                         cell.layer / line.last if line.last else 1.0, cell.seed, line.encoder, line.run,
                         prompt.category)
            )  # fmt: skip
    return questions
