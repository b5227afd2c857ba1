"""`diffusion-lens models`: what the lens can be used with."""

from importlib import resources
from importlib.resources.abc import Traversable

from diffusion_lens.cli.console import say
from diffusion_lens.cli.verbs import Topic, verb

__all__ = ["models"]

# of the package, and so of the weights in it
_LICENCE = "Apache-2.0"


@verb("models", Topic.MODELS, examples=["diffusion-lens models"])
def models() -> None:
    """List the embedded models and the pipeline families, and which layers each pipeline reads itself."""
    from diffusion_lens.models.embedded import EMBEDDED
    from diffusion_lens.models.pipelines import known_families

    weights = resources.files("diffusion_lens").joinpath("testbed/weights")
    say("Embedded models, which need no download:\n")
    for name, model in EMBEDDED.items():
        size = _size(weights.joinpath(name)) + _size(weights.joinpath("vae"))
        say(f"  {name}  (text encoder {model.encoder}, weights {size / 1e6:.0f} MB, {_LICENCE})")
        say(f"      {model.title}")
    say("\nPipeline families: the class in diffusers, a model of it on the hub, and the layers it reads:\n")
    for kind, family in known_families().items():
        say(f"  {family.title}")
        say(f"      {kind}, {family.example}")
        say(f"      {'; '.join(slot.describe() for slot in family.slots)}")
    say(
        "\nNext:\n"
        '  diffusion-lens show "a purple cat"                  draws every layer of an embedded model\n'
        '  diffusion-lens show "a purple cat" --model HUB_ID   does so for a model of the hub\n'
        "  diffusion-lens doctor HUB_ID                        checks that the lens fits a model"
    )


def _size(folder: Traversable) -> int:
    """The bytes of the weights in a folder of the package."""
    total = 0
    for one in folder.iterdir():
        if one.is_dir():
            total += _size(one)
        elif one.name.endswith(".safetensors"):
            with resources.as_file(one) as path:
                total += path.stat().st_size
    return total
