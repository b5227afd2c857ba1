"""`diffusion-lens patch`: which token at which layer carries what two prompts differ in."""

import csv
import io
from pathlib import Path
from typing import Annotated, Literal

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
    WholeLayers,
    default,
    values,
)
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import InputError
from diffusion_lens.files import read_text, why_unreadable

__all__ = ["patch", "read_pairs"]


@verb(
    "patch",
    Topic.LOOK,
    examples=[
        'diffusion-lens patch "a red car" "a blue car"',
        'diffusion-lens patch "a red car" "a red fox" --tokens car last --layers 0 3 6 --seeds 0 1 2 3 4 5',
        "diffusion-lens patch --pairs pairs.csv --correction holm",
    ],
)
def patch(
    prompts: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[CLEAN CORRUPTED]", help_behavior_hint=""),
    ] = (),
    /,
    pairs: Annotated[Path | None, default("the two prompts", "FILE")] = None,
    model: Model = "emoji",
    embedding: Embeddings = (),
    layers: WholeLayers = ("all",),
    seeds: Seeds = (0,),
    tokens: Annotated[tuple[str, ...], values("TOKENS", "each token, and the padding together")] = (),
    encoder: Annotated[str | None, default("the first one", "NAME")] = None,
    scorer: str = "oracle",
    checks: Annotated[Path | None, default("what the clean prompt's words state", "FILE")] = None,
    about: Annotated[
        tuple[str, ...], values("CHECK", "all that the clean prompt states and the corrupted one does not")
    ] = (),
    by: Annotated[
        Literal["place", "role"] | None, default("place where all pairs have the same number of tokens")
    ] = None,
    correction: Literal["bh", "holm"] = "bh",
    out: Annotated[Path, default("patched", "FOLDER")] = Path("patched"),
    overwrite: Overwrite = False,
    batch_size: BatchSize = None,
    sampler: SamplerOptions = SamplerOptions(),
    load: Load = Load(),
) -> None:
    """Put each hidden state of a clean prompt into the encoder's pass over a corrupted one, draw and judge.

    The later blocks run on from the patched state. The effect of a token and layer is the rate of right
    images under the patch less the rate of the corrupted prompt. Beside it stands its share of the
    difference between the clean and the corrupted prompt. Intervals and p values are over pairs, or over
    the seeds of one pair.

    Args:
        prompts: The clean prompt, whose checks are judged, and the corrupted one, of as many tokens.
        pairs: A CSV file with the columns clean and corrupted, in place of the two prompts.
        tokens: What is patched, each by itself: words that both prompts have, content, last, special, pads,
            or positions such as #3.
        encoder: The text encoder that is patched, such as text_encoder_2; the others read the corrupted
            prompt.
        scorer: The scorer that answers; the oracle knows the scenes of the embedded models.
        checks: A file of checks of the clean prompts.
        about: The ids of the checks that count, such as attribute-0.
        by: place has a row for each position; role joins the tokens before, of and after the words that
            differ.
        correction: The correction of p values over the whole grid: bh limits the share of false findings
            (Benjamini-Hochberg), holm the chance of any.
        out: A folder. effects.csv has the effects with their intervals, and heatmap.png shows them;
            cells.csv has each image's numbers; images.parquet has the images, and grid.png shows those of
            the first pair and seed.
    """
    from diffusion_lens.files import check_outputs, write_whole

    listed = read_pairs(prompts, pairs)
    names = ("effects.csv", "heatmap.png", "cells.csv", "images.parquet", "grid.png")
    effects, figure, cells, images, grid = check_outputs(out, names, overwrite=overwrite)
    from diffusion_lens.checks.assign import read_given
    from diffusion_lens.scoring.judge_images import checks_of_pairs
    from diffusion_lens.scoring.registry import check_names

    # before anything is loaded
    check_names([scorer])
    given = read_given(checks) if checks is not None else ()
    checks_of_pairs(listed, given, about)
    import numpy as np

    from diffusion_lens.analysis.formats import write_csv
    from diffusion_lens.analysis.patch_effects import effect_grid, patch_effects
    from diffusion_lens.figures.heatmap import draw_tokens
    from diffusion_lens.scoring.patching import patch_prompts

    patched = patch_prompts(
        load.lens(model, batch_size=batch_size, embeddings=embedding),
        listed,
        layers,
        seeds,
        tokens=tokens,
        encoder=encoder,
        scorer=scorer,
        given=given,
        checks=about,
        device=load.device,
        **sampler.arguments(),
    )
    found = patch_effects(patched.table, by, correction)
    write_csv(found, effects)
    write_csv(patched.table, cells)
    patched.result.save_table(images)
    sheet = patched.grid()
    write_whole(grid, lambda file: sheet.save(file, "png"))
    shown, label = effect_grid(found)
    numbers = shown.to_numpy(dtype=float)
    limits = (min(0.0, float(np.nanmin(numbers))), max(1.0, float(np.nanmax(numbers))))
    what = f"{len(listed)} pairs" if len(listed) > 1 else f"from {listed[0][0]!r} into {listed[0][1]!r}"
    drawn = draw_tokens(shown, label=label, limits=limits, title=f"patched {what}")
    write_whole(figure, lambda file: drawn.savefig(file, format="png", dpi=200))
    if patched.table["right"].isna().all():
        reasons = (
            "; ".join(patched.answers["reason"].dropna().unique()[:2])
            or "it does not answer all of the checks"
        )
        warn(f"{scorer} judged nothing ({reasons}): the heat map shows how far the image is restored.")
    units = int(found["units"].max())
    if units < 6:
        what = ("pair" if len(listed) > 1 else "seed") + ("" if units == 1 else "s")
        warn(f"{units} {what}: no p value can be below {2 ** (1 - units):.2g}. Give six or more.")
    say(f"effects  {effects}\nfigure   {figure}\ncells    {cells}\nimages   {images}\ngrid     {grid}")


def read_pairs(prompts: tuple[str, ...], path: Path | None) -> list[tuple[str, str]]:
    """The pairs of clean and corrupted prompts: two prompts, or those of a file.

    Raises:
        InputError: neither or both, a file that can't be read, or a row without one of the prompts.
    """
    if path is None:
        if len(prompts) != 2:
            raise InputError(
                f"Patching takes a clean and a corrupted prompt; given: {len(prompts)}. For example: "
                'diffusion-lens patch "a red car" "a blue car". Several pairs stand in a file: --pairs.'
            )
        return [(prompts[0], prompts[1])]
    if prompts:
        raise InputError("Prompts and --pairs were both given. Give one of them.")
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"The pairs can't be read from {path} ({why_unreadable(error)}). Give a CSV file."
        ) from error
    found = []
    for number, row in enumerate(rows, start=1):
        pair = [(row.get(name) or "").strip() for name in ("clean", "corrupted")]
        if not all(pair):
            raise InputError(
                f"Row {number} of {path} lacks a clean or a corrupted prompt. The file needs the columns "
                f"clean and corrupted; it has {', '.join(name for name in row if name)}."
            )
        found.append((pair[0], pair[1]))
    if not found:
        raise InputError(f"{path} holds no pair. It needs the columns clean and corrupted, and rows.")
    return list(dict.fromkeys(found))
