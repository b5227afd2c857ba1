"""`diffusion-lens status`: how far a run is."""

from typing import Annotated

from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import Run, default
from diffusion_lens.cli.verbs import Topic, verb

__all__ = ["status"]


@verb("status", Topic.STUDY, examples=["diffusion-lens status runs/relations"])
def status(run: Run, /, quick: Annotated[bool, default("read and check them")] = False) -> None:
    """Report how far a run is, what failed and why, and how fast it was drawn.

    Args:
        quick: Do not read the images. Otherwise images whose bytes changed on the disk are named, to be
            drawn again.
    """
    from diffusion_lens.runs.status import read_status

    found = read_status(run, quick=quick)
    if found.claim:
        say(f"claim    {found.claim}")
    say(f"planned  {found.planned}")
    say(f"done     {found.done} ({found.size / 1e6:.1f} MB)")
    for reason, count in found.missing.items():
        say(f"         {count} without an image: {reason}")
    say(f"failed   {sum(found.failed.values())}")
    for reason, count in found.failed.items():
        say(f"         {count}: {reason}")
    say(f"to do    {found.to_do}")
    if found.left_alone:
        say(f"other    {found.left_alone} images that are not of the experiment any more")
    for device, rate in found.rate.items():
        share = f", {found.share[device]:.0%} of its matrix products" if device in found.share else ""
        say(f"speed    {rate:.2f} images a second and worker on {device}{share}")
