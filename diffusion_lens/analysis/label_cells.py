"""File names, headers and cells of the published Diffusion Lens labels, each quirk by its name."""

import re
from dataclasses import dataclass

from diffusion_lens.errors import ScoresError

__all__ = ["EXPERIMENTS", "HEADERS", "Cell", "FileName", "parse_gpt", "parse_human", "parse_name"]

EXPERIMENTS: frozenset[str] = frozenset(
    {
        "classes",
        "famous",
        "positional_single_color",
        "positional_two_colors",
        "positional_in",
        "positional_on",
        "positional_common_animals",
        "positional_uncommon_animals",
        "syntax_head",
        "syntax_head_first",
        "syntax_compound",
    }
)
# Deep Floyd's T5 has 24 blocks, Stable Diffusion 2.1's CLIP text encoder 23
HEADERS: dict[str, tuple[str, ...]] = {
    "df": ("0", "4", "8", "12", "16", "20", "24"),
    "sd": ("3", "7", "11", "15", "19", "23"),
}
# the question and model anchor the name; one experiment's name may begin another's
_NAME = re.compile(
    r"(?P<gpt>auto_prompts_)?(?P<experiment>.+?)"
    r"_(?P<question>Is[A-Za-z]+|FirstThingExists|SecondThingExists|RelationCorrect)"
    r"_(?P<model>df|sd)(?:_(?P<tail>.+)_(?P<time>\d+(?:\.\d+)?))?\.csv"
)


@dataclass(frozen=True)
class FileName:
    """What a label file's name says: who answered, and which question on which experiment and model."""

    scorer: str
    experiment: str
    question: str
    model: str


@dataclass(frozen=True)
class Cell:
    """What a cell says: a label and a score of 0 to 10, or the reason why there is none."""

    label: bool | None = None
    score: float | None = None
    reason: str | None = None


def parse_name(name: str, scorer: str) -> FileName:
    """Read a label file's name.

    Raises:
        ScoresError: it is not built as the published ones are.
    """
    found = _NAME.fullmatch(name)
    if found is None or bool(found["gpt"]) != (scorer == "gpt"):
        raise ScoresError("the name is not <experiment>_<question>_<df or sd>[_<experiment>_<time>].csv")
    if found["experiment"] not in EXPERIMENTS:
        raise ScoresError(f"there is no experiment {found['experiment']!r}")
    if found["tail"] not in (None, found["experiment"]):
        raise ScoresError(f"the name says both {found['experiment']!r} and {found['tail']!r}")
    return FileName(scorer, found["experiment"], found["question"], found["model"])


def parse_human(text: str) -> Cell:
    """A human answer: 0, 1 or blank, which is not answered and never wrong."""
    text = text.strip()
    if text in ("0", "1", "0.0", "1.0"):
        return Cell(text[0] == "1")
    return Cell(reason="other" if text else "blank")


def parse_gpt(text: str, cut: int | float) -> Cell:
    """A GPT answer: a score of 0 to 10, right above `cut`; or one of several kinds of no answer.

    "llf" stands in all earlier layers of images that were judged wrong at the last; "multi" is left over
    from calls with several questions, and which number belongs to this one is not guessed.
    """
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d*)?", text) and float(text) <= 10:
        return Cell(float(text) > cut, float(text))
    if not text:
        return Cell(reason="blank")
    if text.lower() in ("llf", "error"):
        return Cell(reason=text.lower())
    if re.fullmatch(r"[\d\s.]*,[\d\s.,]*", text):
        return Cell(reason="multi")
    if re.search(
        r"\b(sorry|apologi[sz]e|unable to|(can(no|')t) (assist|help|provide|identify))", text, re.I
    ):
        return Cell(reason="refusal")
    return Cell(reason="other")
