"""The questions of the published Diffusion Lens labels, as checks."""

from diffusion_lens.checks.checks import Check, Kind

__all__ = ["label_check"]

_LABEL_QUESTIONS: dict[str, tuple[Kind, str]] = {
    "IsCorrect": ("global", "Is the picture right as a whole?"),
    "IsCorrectAnimal": ("identity", "Is it the animal of the prompt?"),
    "IsAnimal": ("identity", "Is there an animal?"),
    "IsClass": ("identity", "Is it of the right class of animals?"),
    "IsHuman": ("identity", "Is there a human?"),
    "IsSameGender": ("identity", "Is it someone of the same gender?"),
    "IsSameStyle": ("identity", "Is it in the same style?"),
    "IsFirstClass": ("object", "Is the first noun there?"),
    "IsSecondClass": ("object", "Is the second noun there?"),
    "IsFirstObjectPresent": ("object", "Is the first object there?"),
    "IsSecondObjectPresent": ("object", "Is the second object there?"),
    "FirstThingExists": ("object", "Is the first thing there?"),
    "SecondThingExists": ("object", "Is the second thing there?"),
    "RelationCorrect": ("relation", "Does the relation hold?"),
    "IsFirstColorPresent": ("attribute", "Is the first colour there?"),
    "IsSecondColorPresent": ("attribute", "Is the second colour there?"),
    "IsFirstColorCorrect": ("attribute", "Has the first object its colour?"),
    "IsSecondColorCorrect": ("attribute", "Has the second object its colour?"),
}


def label_check(question: str) -> Check:
    """The check behind a question of the published Diffusion Lens labels, told by its column name.

    The exact words that annotators were asked are not published; these are ours. A name that is not
    among the published ones becomes a check of the whole image.
    """
    kind, words = _LABEL_QUESTIONS.get(question, ("global", question))
    return Check(question, kind, words)
