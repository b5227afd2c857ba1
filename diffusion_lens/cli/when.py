"""`diffusion-lens when`: the layer at which something appears in the images of a prompt."""

from typing import Annotated

import tyro

from diffusion_lens.cli.console import out, say
from diffusion_lens.cli.options import Model, Seeds
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import ScorerError

__all__ = ["when"]

_FULL, _EMPTY = "\N{FULL BLOCK}", "\N{LIGHT SHADE}"


@verb(
    "when",
    Topic.LOOK,
    examples=[
        'diffusion-lens when "a purple cat" purple',
        'diffusion-lens when "a purple cat" cat --seeds 0 1 2 3',
    ],
)
def when(
    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="The prompt.")],
    word: Annotated[
        str,
        tyro.conf.Positional,
        tyro.conf.arg(
            help="What to look for: a colour, a thing, a relation of the prompt, or a check's id."
        ),
    ],
    /,
    model: Model = "emoji",
    seeds: Seeds = (0, 1, 2, 3),
    scorer: str = "oracle",
) -> None:
    """Report from which layer on something is right in the images of a prompt.

    The images of all layers are drawn from the same noise for each seed, and a scorer answers for each
    whether it is there.

    Args:
        scorer: Who answers; the oracle knows the scenes of the embedded models.
    """
    import pandas as pd
    from rich.table import Table

    from diffusion_lens.analysis.emergence_of import checks_about, emergence_of
    from diffusion_lens.checks.assign import ask
    from diffusion_lens.lens.lens import DiffusionLens
    from diffusion_lens.runs.experiment import Prompt
    from diffusion_lens.scoring import table as scores
    from diffusion_lens.scoring.registry import make_scorers
    from diffusion_lens.scoring.scorer import ScoreRequest

    asked = ask([Prompt(prompt)]).prompts[0]
    checks_about(asked, word)
    scorers, refused = make_scorers([scorer])
    if not scorers:
        raise ScorerError(next(iter(refused.values()), f"There is no scorer {scorer!r}."))
    result = DiffusionLens.from_pretrained(model)(prompt, layers="all", seeds=list(seeds))
    rows = []
    last = int(result.table["layer"].max())
    for line in result.table.to_dict("records"):
        image = result.image(line["layer"], line["seed"], prompt)
        answers = scorers[0].score([ScoreRequest(image, asked.checks)])[0]
        rows += scores.rows(
            asked,
            answers,
            run=model,
            scorer=scorer,
            encoder="all",
            layer=line["layer"],
            last=last,
            seed=line["seed"],
        )
    for found in emergence_of(scores.validate(pd.DataFrame(rows)), asked, word):
        say(str(found))
        view = Table("layer", "right", "", box=None)
        for layer, rate, cells in found.rates.itertuples(index=False):
            full = round(10 * rate) if rate == rate else 0
            view.add_row(str(layer), f"{rate:.0%} of {cells}", _FULL * full + _EMPTY * (10 - full))
        out.print(view)
