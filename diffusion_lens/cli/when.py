"""`diffusion-lens when`: the layer at which something appears in the images of a prompt."""

from typing import Annotated

import tyro

from diffusion_lens.cli.console import out, say
from diffusion_lens.cli.options import BatchSize, Load, Model, Seeds
from diffusion_lens.cli.verbs import Topic, verb

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
            help="What to look for: a colour, thing, number or relation of the prompt, or a check's id."
        ),
    ],
    /,
    model: Model = "emoji",
    seeds: Seeds = (0, 1, 2, 3),
    scorer: str = "oracle",
    batch_size: BatchSize = None,
    load: Load = Load(),
) -> None:
    """Report from which layer on something is right in the images of a prompt.

    The images of all layers are drawn from the same noise for each seed, and a scorer answers for each
    whether it is there.

    Args:
        scorer: The scorer that answers; the oracle knows the scenes of the embedded models.
    """
    from rich.table import Table

    from diffusion_lens.analysis.emergence_of import judges_of
    from diffusion_lens.checks.assign import ask
    from diffusion_lens.runs.experiment import Prompt

    # before anything is drawn
    judges = judges_of(ask([Prompt(prompt)]).prompts[0], word, scorer, model=model, device=load.device)
    result = load.lens(model, batch_size=batch_size)(prompt, layers="all", seeds=list(seeds))
    for found in result.emergence(word, judges):
        say(str(found))
        view = Table("layer", "right", "", box=None)
        for layer, rate, cells in found.rates.itertuples(index=False):
            full = round(10 * rate) if rate == rate else 0
            view.add_row(str(layer), f"{rate:.0%} of {cells}", _FULL * full + _EMPTY * (10 - full))
        out.print(view)
