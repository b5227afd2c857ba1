"""Whether scorers can answer checks at all: known before an image is drawn."""

from collections.abc import Collection, Sequence

from diffusion_lens.checks.checks import CheckedPrompt
from diffusion_lens.scoring.scorer import Scorer, Source

__all__ = ["why_unanswered"]


def why_unanswered(
    scorers: Sequence[Scorer], asked: CheckedPrompt, ids: Collection[str], source: Source
) -> str:
    """Why no scorer can answer any of some checks, whatever the images show; empty if one may answer one.

    Args:
        scorers: the scorers.
        asked: a prompt and its checks.
        ids: of the checks that count.
        source: where the images will come from.

    Raises:
        ScorerError: a scorer can't judge the prompt.
    """
    reasons = []
    for one in scorers:
        prepared = {check.id: check for check in one.prepare([asked], source)[0].checks}
        for name in ids:
            check = prepared.get(name)
            if check is None:
                why: str | None = "it asks questions of its own"
            elif check.kind not in one.kinds:
                why = f"it judges {', '.join(sorted(one.kinds))}, and {name} is of the kind {check.kind}"
            else:
                why = one.why_not(check)
            if why is None:
                return ""
            reasons.append(why)
    return "; ".join(dict.fromkeys(reasons)) or "it has no check to answer"
