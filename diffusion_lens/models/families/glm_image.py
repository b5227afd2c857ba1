"""GLM-Image, whose text encoder reads what a prompt quotes; a language model sketches from all of it.

The sketch is made of tokens, which are drawn by chance. It is made as in the pipeline, for each image by
its own seed, and is the same for all layers of a seed: a layer of the text encoder changes the quoted text
alone.
"""

from collections.abc import Mapping
from typing import Any

from diffusion_lens.errors import PromptError, SamplerError
from diffusion_lens.models.families.adapters import encoding
from diffusion_lens.models.families.common import LAST, ONE
from diffusion_lens.models.family import PipelineFamily, Slot

__all__ = ["FAMILIES"]


def _encode(pipe: Any, arguments: dict[str, Any]) -> tuple[Any, list[Any]]:
    """What is quoted, encoded; and the prompt itself, as bytes, for the sketch."""
    import torch  # families are listed without it

    given = arguments["prompt"]
    prompts = [given] if isinstance(given, str) else list(given)
    for prompt in prompts:
        quoted = pipe.get_glyph_texts(prompt)[0]
        if len(quoted) > 1:
            raise PromptError(
                f"The prompt {prompt!r} quotes {len(quoted)} texts, which GLM-Image encodes one by one; "
                "the lens reads one of them. Quote one text, or none."
            )
    embeds, _ = pipe.encode_prompt(**arguments | {"dtype": pipe.dtype})
    return embeds, [torch.tensor(list(prompt.encode()), dtype=torch.uint8) for prompt in prompts]


def _draw(pipe: Any, arguments: dict[str, Any]) -> Any:
    """`__call__` with embeddings, and with a sketch of each prompt by the seed of its image."""
    import torch

    call = dict(arguments)
    if call.get("height") is None:
        raise SamplerError("GLM-Image has no default size: give height and width.")
    embeds, negative = call.pop("prompt_embeds"), call.pop("negative_prompt_embeds", None)
    prompts = [bytes(one.tolist()).decode() for one in call.pop("prompt_bytes")]
    call.pop("negative_prompt_bytes", None)
    size, device = {"height": call["height"], "width": call["width"]}, pipe._execution_device
    sketches: dict[tuple[str, int], Any] = {}
    # the pipeline seeds the global generators, and leaves them so
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for prompt, generator in zip(prompts, call["generator"], strict=True):
            key = prompt, generator.initial_seed()
            if key not in sketches:
                sketches[key], _, _ = pipe.generate_prior_tokens(
                    [prompt], device=device, generator=generator, **size
                )
    seeds = [generator.initial_seed() for generator in call["generator"]]
    tokens = torch.cat([sketches[key] for key in zip(prompts, seeds, strict=True)])
    with encoding(pipe, lambda *_prompt, **_options: (embeds, negative)):
        return pipe(prompt=prompts, prior_token_ids=tokens, **call)


FAMILIES: Mapping[str, PipelineFamily] = {
    "GlmImagePipeline": PipelineFamily(
        "GLM-Image",
        (Slot(ONE, LAST, reads_quotes=True),),
        ("prompt_embeds", "prompt_bytes"),
        example="zai-org/GLM-Image",
        not_options=("image", "prior_token_ids", "prior_token_image_ids", "source_image_grid_thw"),
        encode=_encode,
        draw=_draw,
    ),
}
