"""What `diagnose` can't be asked for: refused before a model is loaded or an image drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffusion_lens.checks.checks import Check, CheckedPrompt
from diffusion_lens.errors import CheckError, InputError

if TYPE_CHECKING:
    from diffusion_lens.scoring.scorer import Scorer

__all__ = ["Question", "ask_diagnosis"]


@dataclass(frozen=True)
class Question:
    """What a diagnosis is to answer, once it is known that it can be asked.

    Attributes:
        prompt: the prompt.
        seeds: those that every layer is drawn with.
        held_out: those of the repairs.
        given: checks of the prompt; empty for what its words state.
        checks: the checks that count.
        judges: who answers.
        enough: the share of right images from which on a check counts as drawn.
        pairs: pairs of captions that each probe is fitted on.
    """

    prompt: str
    seeds: tuple[int, ...]
    held_out: tuple[int, ...]
    given: Sequence[CheckedPrompt]
    checks: tuple[Check, ...]
    judges: "Sequence[Scorer]"
    enough: float
    pairs: int


def ask_diagnosis(
    prompt: str,
    seeds: Sequence[int],
    held_out: Sequence[int],
    *,
    scorer: "str | Scorer | Sequence[Scorer]" = "oracle",
    given: Sequence[CheckedPrompt] = (),
    enough: float = 0.75,
    pairs: int = 40,
    model: str | None = None,
    device: str | None = None,
) -> Question:
    """Check what a diagnosis is asked, as far as no image has to tell.

    Args:
        prompt: see `diagnose`, as for all of these.
        seeds: likewise.
        held_out: likewise.
        scorer: likewise.
        given: likewise.
        enough: likewise.
        pairs: likewise.
        model: the model that will draw the images.
        device: where the scorer's model runs.

    Raises:
        InputError: the prompt is empty, a seed is among both, or the shares or numbers can't be.
        SamplerError: no seeds, or one that is none.
        ScorerError: there is no such scorer.
        CheckError: the scorer can answer none of the checks, whatever the images show.
    """
    from diffusion_lens.images.sampler import check_seeds
    from diffusion_lens.scoring.answerable import why_unanswered
    from diffusion_lens.scoring.judge_images import asked_of, checks_of
    from diffusion_lens.scoring.registry import check_names
    from diffusion_lens.scoring.score_result import scorers_named
    from diffusion_lens.scoring.scorer import Source

    if not prompt.strip():
        raise InputError("The prompt is empty and states nothing. Give one, such as 'a red car'.")
    seeds, held_out = check_seeds(seeds), check_seeds(held_out)
    both = sorted(set(seeds) & set(held_out))
    if both:
        raise InputError(f"Seed {both[0]} is drawn with and held out too. Give other held-out seeds.")
    if not 0 < enough <= 1 or (pairs and pairs < 10):
        raise InputError(
            f"enough is {enough} and pairs is {pairs}: enough is a share above 0, pairs 0 or at least 10."
        )
    checks = checks_of(prompt, given)
    if isinstance(scorer, str):
        check_names([scorer])  # before a library that computes is imported
    judges = scorers_named(scorer, device=device)
    why = why_unanswered(judges, asked_of(prompt, given), [check.id for check in checks], Source(model))
    if why:
        name = scorer if isinstance(scorer, str) else ", ".join(one.name for one in judges)
        raise CheckError(
            f"{name} can judge nothing of {prompt!r}: {why}. Give checks that it can judge (a file of "
            "checks), or another scorer."
        )
    return Question(prompt, seeds, held_out, given, checks, judges, enough, pairs)
