"""A made copy of the published labels' format: files as the authors' repository has, made answers.

The authors' repository has no licence, so nothing of it is here. What is made has its folders, names of
files, headers, sizes and quirks, and made rates: common animals come earlier than uncommon ones, and the
second noun is seen earlier than the first but goes again more often.
"""

import os
from pathlib import Path

import numpy as np

from diffusion_lens.analysis.label_cells import HEADERS

__all__ = ["write_made_labels"]

# experiment: questions, prompts labelled by people, prompts scored by GPT
_NOUNS = ("IsFirstClass", "IsSecondClass", "IsCorrect")
_THINGS = ("FirstThingExists", "SecondThingExists", "RelationCorrect")
_COLOURS = tuple(
    f"Is{which}{what}"
    for what in ("ObjectPresent", "ColorPresent", "ColorCorrect")
    for which in ("First", "Second")
)
_FILES: dict[str, tuple[tuple[str, ...], int, int]] = {
    "classes": (("IsCorrect",), 44, 80),
    "positional_single_color": (("IsCorrect",), 38, 79),
    "positional_two_colors": (_COLOURS, 37, 79),
    "positional_in": (_THINGS, 18, 79),
    "positional_on": (_THINGS, 20, 80),
    "positional_common_animals": (("IsCorrectAnimal", "IsAnimal", "IsClass"), 18, 20),
    "positional_uncommon_animals": (("IsCorrectAnimal", "IsAnimal", "IsClass"), 26, 29),
    "famous": (("IsHuman", "IsSameGender", "IsSameStyle", "IsCorrect"), 31, 0),
    "syntax_head": (_NOUNS, 36, 40),
    "syntax_head_first": (_NOUNS, 39, 40),
    "syntax_compound": (_NOUNS, 0, 36),
}
# the layer, as a share of the depth, by which half of the prompts have it, and how often it goes again
_HALF = {"First": (0.6, 0.05), "Second": (0.35, 0.25), "Relation": (0.75, 0.05)}
_SEEDS = 4


def write_made_labels(folder: str | os.PathLike[str], share: float = 1.0, *, seed: int = 0) -> Path:
    """Write a made copy.

    Args:
        folder: where; it gets `human_annotations/`, `gpt_annotations/` and `prompts/`.
        share: of the prompts of the real files; at least 5 an experiment.
        seed: of the answers.

    Returns:
        The folder.
    """
    path = Path(folder)
    rng = np.random.default_rng(seed)
    for name in ("human_annotations", "gpt_annotations", "prompts"):
        (path / name).mkdir(parents=True, exist_ok=True)
    for experiment, (questions, human, gpt) in _FILES.items():
        count = round(max(human, gpt) * share)
        ease = rng.normal(0, 0.12, max(count, 5))
        for model in HEADERS:
            for question in questions:
                answers = _answers(rng, experiment, question, model, ease)
                for scorer, prompts in (("human", human), ("gpt", gpt)):
                    if prompts:
                        shown = answers[: max(5, round(prompts * share))]
                        _write(path, scorer, experiment, question, model, shown, rng)
    sheet = "".join(f"{_prompt('classes', number)},made\n" for number in range(5))
    (path / "prompts" / "simple_objects - Sheet1.csv").write_text(
        f"prompt,class\n{sheet}", encoding="utf-8"
    )
    return path


def _prompt(experiment: str, number: int) -> str:
    return f"a made prompt {number} of {experiment}"


def _answers(
    rng: np.random.Generator, experiment: str, question: str, model: str, ease: np.ndarray
) -> np.ndarray:
    """Right or wrong by prompt, image and layer."""
    layers = np.array([int(layer) for layer in HEADERS[model]])
    half, goes = next((numbers for word, numbers in _HALF.items() if word in question), (0.5, 0.1))
    if question == "IsCorrectAnimal":
        half = 0.35 if "uncommon" not in experiment else 0.6
    depth = layers / layers[-1]
    start = half + ease[:, None] + rng.normal(0, 0.2, (len(ease), _SEEDS))
    right = depth >= start[:, :, None]
    gone = rng.random(right.shape) < goes
    gone[:, :, -1] &= rng.random(gone.shape[:2]) < 0.5
    return np.asarray(right & ~gone)


def _write(
    path: Path,
    scorer: str,
    experiment: str,
    question: str,
    model: str,
    answers: np.ndarray,
    rng: np.random.Generator,
) -> None:
    name = f"{experiment}_{question}_{model}.csv"
    name = name if scorer == "human" else f"auto_prompts_{name}"
    lines = [",".join(["prompt", *HEADERS[model], "seed"])]
    failed = answers[:, :, -1].sum(axis=1) == 0
    for number, of_prompt in enumerate(answers):
        for image, of_image in enumerate(of_prompt):
            cells = [str(int(right)) for right in of_image]
            if scorer == "gpt":
                cells = [
                    str(int(rng.integers(7, 11) if right else rng.integers(0, 5))) for right in of_image
                ]
                if failed[number]:  # the release marks earlier layers as not scored
                    cells[:-1] = ["llf"] * (len(cells) - 1)
            lines.append(",".join([_prompt(experiment, number), *cells, str(image)]))
    target = path / f"{scorer}_annotations" / name
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
