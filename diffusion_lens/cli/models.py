"""`diffusion-lens models`: what the lens can be used with."""

from rich.table import Table

from diffusion_lens.cli.console import out, say
from diffusion_lens.cli.verbs import Topic, verb

__all__ = ["models"]


@verb("models", Topic.MODELS, examples=["diffusion-lens models"])
def models() -> None:
    """List the embedded models and the pipeline families, and which layers each pipeline reads itself."""
    from diffusion_lens.models.embedded import EMBEDDED
    from diffusion_lens.models.pipelines import known_families

    embedded = Table("embedded", "what it is", "native layer", box=None)
    for name, model in EMBEDDED.items():
        embedded.add_row(name, model.title, "text_encoder: last")
    families = Table("family", "native layer", "example", box=None)
    for family in known_families().values():
        families.add_row(family.title, "\n".join(slot.describe() for slot in family.slots), family.example)
    out.print(embedded, "", families)
    say("")
    say('Next: diffusion-lens show "a purple cat" --model emoji')
