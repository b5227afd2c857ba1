"""`diffusion-lens sets`: set-level scores of the layers of a run."""

from pathlib import Path
from typing import Annotated, Literal

from diffusion_lens.cli.console import out, say
from diffusion_lens.cli.options import Device, Run, default
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import InputError

__all__ = ["sets"]


@verb(
    "sets",
    Topic.SCORE,
    examples=[
        "diffusion-lens sets runs/relations",
        "diffusion-lens sets runs/mine --features dinov2 --reference photographs",
    ],
)
def sets(
    run: Run,
    /,
    reference: Annotated[Path | None, default("the images of the last layer", "FOLDER")] = None,
    features: Literal["clip", "dinov2"] = "clip",
    model: Annotated[str | None, default("emoji-clip, or facebook/dinov2-small", "MODEL")] = None,
    device: Device = None,
) -> None:
    """Compare the images of each layer, as a set, with reference images: KID and FID.

    The numbers go to RUN/set_scores.csv, beside those of other networks and references, and `analyze` shows
    them with the other scores. Those of different networks do not compare.

    Args:
        reference: A folder of images to compare with.
        features: What makes a vector of an image.
        model: An embedded model with a CLIP, a folder, or a hub id.
    """
    from rich.table import Table

    from diffusion_lens.models.load import choose_device
    from diffusion_lens.scoring.measures import clip_measure, load_dinov2
    from diffusion_lens.scoring.set_score_files import SET_SCORES, read_set_scores, write_set_scores
    from diffusion_lens.scoring.set_scores import score_sets

    if reference is not None and not reference.is_dir():
        raise InputError(f"--reference {reference} is no folder. Give a folder of images to compare with.")
    read_set_scores([run])  # those that are there can be read, and are kept
    place = choose_device(device)
    if features == "clip":
        measure = clip_measure(model or "emoji-clip", place)
    else:
        measure = load_dinov2(model or "facebook/dinov2-small", place)
    found = score_sets(run, measure, reference)
    replaced = write_set_scores(found, run)
    view = Table("run", "encoder", "layer", "images", "KID", "FID", box=None)
    for line in found.itertuples():
        kid = f"{line.kid:.4f} [{line.kid_low:.4f}, {line.kid_high:.4f}]"
        view.add_row(
            str(line.run), str(line.encoder), str(line.layer), str(line.images), kid, f"{line.fid:.4f}"
        )
    out.print(view)
    for note in dict.fromkeys(found["note"]):
        if note:
            say(f"note    {note}")
    again = f"  ({replaced} rows of the same comparison were replaced)" if replaced else ""
    say(f"sets    {Path(run) / SET_SCORES}{again}")
