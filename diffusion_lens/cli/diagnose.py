"""`diffusion-lens diagnose`: where what a prompt states is lost, and whether a cheap repair helps."""

from pathlib import Path
from typing import Annotated

import tyro

from diffusion_lens.cli.console import say, warn
from diffusion_lens.cli.options import (
    BatchSize,
    Embeddings,
    Load,
    Model,
    Overwrite,
    SamplerOptions,
    Seeds,
    default,
    values,
)
from diffusion_lens.cli.verbs import Topic, verb

__all__ = ["diagnose"]


@verb(
    "diagnose",
    Topic.LOOK,
    examples=[
        'diffusion-lens diagnose "a red car to the left of a blue dog"',
        'diffusion-lens diagnose "a red car and a blue dog" --pairs 0 --held-out 100 101 102 103 104 105',
    ],
)
def diagnose(
    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT", help_behavior_hint="")],
    /,
    model: Model = "emoji",
    embedding: Embeddings = (),
    seeds: Seeds = (0, 1, 2, 3),
    held_out: Annotated[tuple[int, ...], values("SEED", "100 to 107")] = tuple(range(100, 108)),
    scorer: str = "oracle",
    checks: Annotated[Path | None, default("what the prompt's words state", "FILE")] = None,
    enough: float = 0.75,
    pairs: int = 40,
    out: Annotated[Path, default("diagnosis", "FOLDER")] = Path("diagnosis"),
    overwrite: Overwrite = False,
    batch_size: BatchSize = None,
    sampler: SamplerOptions = SamplerOptions(),
    load: Load = Load(),
) -> None:
    """Find where each thing that a prompt states is lost, and try cheap repairs on held-out seeds.

    Every layer is drawn and judged. On captions of the embedded models' scenes linear probes read each
    layer too: what a probe reads and no image shows is decodable and not drawn. For other
    prompts and models nobody knows what is decodable, and the page says so. Where something is lost, four
    repairs are drawn beside the unrepaired prompt: the layer that draws most, words without context,
    stronger words, and the prompt without its other words.

    Args:
        prompt: The prompt.
        held_out: The seeds of the repairs and of their control, none of them among --seeds.
        scorer: The scorer that answers; the oracle knows the scenes of the embedded models.
        checks: A file of checks of the prompt.
        enough: The share of right images from which on a thing counts as drawn.
        pairs: The number of pairs of captions that each probe is fitted on; 0 fits none.
        out: A folder. diagnosis.html shows all; checks.csv, layers.csv and repairs.csv have the numbers,
            and images.parquet has the images.
    """
    from diffusion_lens.files import check_outputs, write_whole

    names = ("diagnosis.html", "checks.csv", "layers.csv", "repairs.csv", "images.parquet")
    page, atoms, layers, repairs, images = check_outputs(out, names, overwrite=overwrite)
    from diffusion_lens.analysis.diagnosable import ask_diagnosis
    from diffusion_lens.checks.assign import read_given

    # before anything is loaded
    given = read_given(checks) if checks is not None else ()
    asked = ask_diagnosis(
        prompt,
        seeds,
        held_out,
        scorer=scorer,
        given=given,
        enough=enough,
        pairs=pairs,
        model=model,
        device=load.device,
    )
    from diffusion_lens.analysis.diagnose import diagnose as find
    from diffusion_lens.analysis.formats import write_csv
    from diffusion_lens.lens.result import Result
    from diffusion_lens.pages.diagnosis import diagnosis_page, summarize

    found = find(
        load.lens(model, batch_size=batch_size, embeddings=embedding),
        prompt,
        seeds,
        held_out,
        scorer=asked.judges,
        given=given,
        enough=enough,
        pairs=pairs,
        **sampler.arguments(),
    )
    text = diagnosis_page(found)
    write_whole(page, lambda file: file.write(text.encode()))
    write_csv(found.atoms, atoms)
    write_csv(found.rates, layers)
    write_csv(found.repairs, repairs)
    Result(found.images, {}).save_table(images)
    say(summarize(found))
    for row in found.atoms.to_dict("records"):
        layer = (
            "" if row["layer"] is None or row["layer"] != row["layer"] else f" (layer {row['layer']:.0f})"
        )
        say(f"  {row['question']:50}  {row['verdict']}{layer}")
    if len(found.repairs) and 0 < (units := int(found.repairs["seeds"].max())) < 6:
        seeds_drawn = "1 held-out seed" if units == 1 else f"{units} held-out seeds"
        warn(f"{seeds_drawn}: no p value can be below {2 ** (1 - units):.2g}. Give six or more.")
    say(f"page     {page}\nchecks   {atoms}\nlayers   {layers}\nrepairs  {repairs}\nimages   {images}")
