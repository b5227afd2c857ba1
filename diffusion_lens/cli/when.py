"""`diffusion-lens when`: the layer at which something appears in the images of a prompt."""

from pathlib import Path
from typing import Annotated

import tyro

from diffusion_lens.cli.console import out, say
from diffusion_lens.cli.options import BatchSize, Embeddings, Load, Model, SamplerOptions, Seeds, default
from diffusion_lens.cli.verbs import Topic, verb

__all__ = ["when"]

_BAR, _PLAIN_BAR = ("\N{FULL BLOCK}", "\N{LIGHT SHADE}"), ("#", ".")


@verb(
    "when",
    Topic.LOOK,
    examples=[
        'diffusion-lens when "a purple cat" purple',
        'diffusion-lens when "a purple cat" cat --seeds 0 1 2 3',
        'diffusion-lens when "a cat that sleeps" lying --checks checks.csv',
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
    embedding: Embeddings = (),
    seeds: Seeds = (0, 1, 2, 3),
    scorer: str = "oracle",
    checks: Annotated[Path | None, default("what the prompt's words state", "FILE")] = None,
    batch_size: BatchSize = None,
    sampler: SamplerOptions = SamplerOptions(),
    load: Load = Load(),
) -> None:
    """Report from which layer on something is right in the images of a prompt.

    The images of all layers are drawn from the same noise for each seed, and a scorer answers for each
    whether it is there.

    Args:
        scorer: The scorer that answers; the oracle knows the scenes of the embedded models.
        checks: A file of checks of the prompt.
    """
    from rich.table import Table

    from diffusion_lens.analysis.emergence_of import judges_of
    from diffusion_lens.checks.assign import ask, read_given
    from diffusion_lens.runs.experiment import Prompt

    # before anything is drawn
    given = read_given(checks) if checks is not None else ()
    asked = ask([Prompt(prompt)], given).prompts[0]
    judges = judges_of(asked, word, scorer, model=model, device=load.device)
    lens = load.lens(model, batch_size=batch_size, embeddings=embedding)
    result = lens(prompt, layers="all", seeds=list(seeds), **sampler.arguments())
    full_part, empty_part = _PLAIN_BAR if out.options.ascii_only else _BAR
    for found in result.emergence(word, judges, checks=given):
        say(str(found))
        view = Table("layer", "right", "", box=None)
        for layer, rate, cells in found.rates.itertuples(index=False):
            full = round(10 * rate) if rate == rate else 0
            view.add_row(str(layer), f"{rate:.0%} of {cells}", full_part * full + empty_part * (10 - full))
        out.print(view)
