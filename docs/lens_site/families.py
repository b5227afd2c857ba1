"""A page for each pipeline family: what it reads, and what `doctor` finds on its real class, tiny."""

from collections.abc import Iterator, Mapping, Sequence

from diffusion_lens import DiffusionLens, Sampler, examine
from diffusion_lens.models import PipelineFamily, find_family, known_families
from diffusion_lens.models.families.siblings import SIBLINGS
from diffusion_lens.testing import FAMILIES, LENSED, Tiny

__all__ = ["family_pages"]


def family_pages(examined: str) -> Iterator[tuple[str, str]]:
    """Name and text of each page, in Markdown.

    Args:
        examined: "all", or the tiny pipelines on which `doctor` is run, separated by commas.
    """
    tiny = _tiny_by_class(LENSED if examined == "all" else tuple(examined.split(",")))
    known = known_families()
    rows = "\n".join(
        f"| [{one.title}]({kind}.md) | `{kind}` | {'; '.join(slot.describe() for slot in one.slots)} |"
        for kind, one in known.items()
    )
    listed = "\n".join(known)
    yield (
        "families/index",
        "# Pipeline families\n\nA family is a class of pipelines that take their text alike. Each page "
        "says what the pipeline reads of its encoders, and what `diffusion-lens doctor` finds on the real "
        "class at a tiny size with random weights, on a CPU. Let `doctor` say it of your checkpoint.\n\n"
        f"| models | class | reads |\n|---|---|---|\n{rows}\n\n"
        f"```{{toctree}}\n:hidden:\n\n{listed}\n```\n",
    )
    for kind, family in known.items():
        yield f"families/{kind}", _page(kind, family, tiny.get(kind, {}))


def _tiny_by_class(names: Sequence[str]) -> dict[str, dict[str, Tiny]]:
    """Tiny pipelines by the family of their class."""
    families = {id(one): kind for kind, one in known_families().items()}
    found: dict[str, dict[str, Tiny]] = {}
    for name in names:
        kind = families[id(find_family(type(FAMILIES[name].build())))]
        found.setdefault(kind, {})[name] = FAMILIES[name]
    return found


def _page(kind: str, family: PipelineFamily, tiny: Mapping[str, Tiny]) -> str:
    parts = [f"# {family.title}\n", f"The class of diffusers is `{kind}`."]
    if family.example:
        parts.append(
            f"\n```\ndiffusion-lens doctor {family.example}\n"
            f'diffusion-lens show "a purple cat" --model {family.example}\n```\n'
        )
    parts.append(
        "\n| text encoder | read by the pipeline | tokenizer | may be left out |\n|---|---|---|---|"
    )
    parts += [
        f"| `{slot.name}` | {slot.describe().partition(': ')[2]} | `{slot.tokenizer}` | "
        f"{'yes' if slot.optional else 'no'} |"
        for slot in family.slots
    ]
    returned = ", ".join(f"`{name}`" if name else "(worked out again)" for name in family.returns)
    parts.append(
        f"\n`encode_prompt` returns {returned}. Guidance is `{family.guidance}`. On a GPU its checkpoints "
        f"are loaded in {family.half}. Words can {'' if family.predict else 'not '}be learned on it."
    )
    same = sorted(name for name, other in SIBLINGS.items() if other == kind)
    if same:
        parts.append("\nThese classes read their text in the same way: " + _code(same) + ".")
    parts += [_examined(name, one) for name, one in tiny.items()]
    return "\n".join(parts) + "\n"


def _examined(name: str, tiny: Tiny) -> str:
    """What `doctor` finds on a tiny pipeline."""
    call = dict(tiny.call)
    sampler = Sampler(
        steps=call.pop("num_inference_steps", 2),
        guidance=call.pop("guidance_scale", None),
        height=call.pop("height", None),
        width=call.pop("width", None),
        options=call,
    )
    checks = examine(DiffusionLens(tiny.build(), defaults=sampler, name=name))
    failed = [check.name for check in checks if not check.passed]
    if failed:
        raise RuntimeError(f"doctor finds faults on the tiny pipeline {name}: {failed}")
    rows = "\n".join(f"| {check.name} | {check.found:.2g} | {check.allowed:.2g} |" for check in checks)
    return f"\n## What doctor finds on a tiny one\n\n| check | found | allowed |\n|---|---|---|\n{rows}\n"


def _code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
