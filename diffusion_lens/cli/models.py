"""`diffusion-lens models`: what the lens can be used with."""

from importlib import resources

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

    say("Embedded models, which need no download:\n")
    for name, model in EMBEDDED.items():
        say(f"  {name}  (text encoder {model.encoder}, weights {_size(name) / 1e6:.0f} MB, {_LICENCE})")
        say(f"      {model.title}")
    say("\nPipeline families: the class in diffusers, a model of it on the hub, and the layers it reads:\n")
    for kind, family in known_families().items():
        say(f"  {family.title}")
        say(f"      {', '.join(filter(None, (kind, family.example)))}")
        say(f"      {'; '.join(slot.describe() for slot in family.slots)}")
    say(
        "\nNext:\n"
        '  diffusion-lens show "a purple cat"                  draws every layer of an embedded model\n'
        '  diffusion-lens show "a purple cat" --model HUB_ID   does so for a model of the hub\n'
        "  diffusion-lens doctor HUB_ID                        checks that the lens fits a model"
    )


def _size(name: str) -> int:
    """The bytes of a model's weights in the package, its autoencoder's included."""
    with resources.as_file(resources.files("diffusion_lens").joinpath("testbed/weights")) as weights:
        files = [*(weights / name).rglob("*.safetensors"), *(weights / "vae").glob("*.safetensors")]
        return sum(path.stat().st_size for path in files)
