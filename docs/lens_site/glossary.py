"""The glossary: every word that the pages explain, some with a picture that is drawn for it."""

from collections.abc import Iterator, Mapping

from diffusion_lens.pages.glossary import GLOSSARY

__all__ = ["glossary_pages"]

# word -> Python whose last line is the picture, and what the picture shows
_PICTURES: Mapping[str, tuple[str, str]] = {
    "layer": (
        "from diffusion_lens import DiffusionLens\n"
        'lens = DiffusionLens.from_pretrained("emoji")\n'
        'lens("a red fox to the left of a pizza", layers=[0, 2, 4, 6], progress=False)',
        "One prompt drawn from layers 0, 2, 4 and 6 of the encoder.",
    ),
    "readout": (
        "from diffusion_lens.lens import contact_sheet\n"
        'clip = DiffusionLens.from_pretrained("emoji-clip")\n'
        'ways = ("native", "none")\n'
        'drawn = [clip("a purple cat", [4, 8, 12], readout=way, progress=False) for way in ways]\n'
        'rows = [list(result.table["image"]) for result in drawn]\n'
        "contact_sheet(rows, ways, ['4', '8', '12'])",
        "Layers of a CLIP, read as its pipeline reads (native), and without its final norm (none).",
    ),
    "pooled": (
        "from lens_site.diagrams import draw_pooled\ndraw_pooled()",
        "A pipeline that reads the hidden states of a layer and one pooled vector.",
    ),
    "slot": (
        "from lens_site.diagrams import draw_slots\ndraw_slots()",
        "A pipeline that reads three layers, in three slots, and what is replaced in them.",
    ),
    "identical": (
        "import torch\n"
        "from diffusion_lens.lens.rows import difference_image\n"
        'plain = lens.pipeline("a purple cat", num_inference_steps=20, guidance_scale=4.0,\n'
        '                      generator=torch.Generator("cpu").manual_seed(0)).images[0]\n'
        'ours = lens("a purple cat", "native", seeds=0, progress=False).image("native")\n'
        "contact_sheet([[plain, ours, difference_image(plain, ours)]], [''],\n"
        '              ["the plain pipeline", "the lens, native", "difference"])',
        "The untouched pipeline's image, that of the lens at the native layer, and a black difference.",
    ),
}


def glossary_pages() -> Iterator[tuple[str, str]]:
    """Name and text of the page, in Markdown."""
    parts = ["# Glossary\n"]
    for word, text in GLOSSARY.items():
        parts.append(f"## {word}\n\n{text}\n")
        if word in _PICTURES:
            code, shows = _PICTURES[word]
            parts.append(f"```{{run}}\n:hide:\n:alt: {shows}\n{code}\n```\n\n*{shows}*\n")
    lacking = set(_PICTURES) - set(GLOSSARY)
    if lacking:
        raise RuntimeError(f"pictures of words that the glossary does not explain: {lacking}")
    yield "glossary", "\n".join(parts)
