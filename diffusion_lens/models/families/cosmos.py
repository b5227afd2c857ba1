"""Families of NVIDIA Cosmos, whose safety checker looks at prompts and images as in the pipeline."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any
from weakref import WeakKeyDictionary

from diffusion_lens.errors import PromptError, UnsupportedPipelineError
from diffusion_lens.models.families.common import EMBEDS, LAST, ONE
from diffusion_lens.models.family import PipelineFamily, Slot, Tap

__all__ = ["FAMILIES"]

_ACCEPTED: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
"""The prompts that a checker, which is a language model, has accepted; a prompt is encoded many times."""


def _encode(pipe: Any, arguments: dict[str, Any]) -> Any:
    """`encode_prompt` after the safety checker, which `__call__` asks about prompts, not embeddings."""
    if pipe.transformer.config.concat_padding_mask and find_spec("torchvision") is None:
        raise UnsupportedPipelineError(
            f"The denoiser of this {type(pipe).__name__} needs torchvision, which is not installed: it "
            "sizes its mask of padding with it. Install the torchvision that belongs to your torch."
        )
    given = arguments["prompt"]
    prompts = [given] if isinstance(given, str) else list(given)
    checker = pipe.safety_checker
    if checker is not None:  # without it `__call__` draws nothing
        accepted = _ACCEPTED.setdefault(checker, set())
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in accepted]
        if new:
            checker.to(pipe._execution_device)
        for prompt in new:
            if not checker.check_text_safety(prompt):
                raise PromptError(
                    f"The safety checker of this {type(pipe).__name__} refuses the prompt {prompt!r}, as "
                    "it does in the plain pipeline. Use another prompt."
                )
            accepted.add(prompt)
    return pipe.encode_prompt(**arguments)


FAMILIES: Mapping[str, PipelineFamily] = {
    "Cosmos2_5_PredictBasePipeline": PipelineFamily(
        "Cosmos-Predict 2.5",
        (Slot(ONE, Tap("all", normed=False)),),
        EMBEDS,
        example="nvidia/Cosmos-Predict2.5-2B --revision diffusers/base/post-trained",
        encode=_encode,
    ),
    "Cosmos2TextToImagePipeline": PipelineFamily(
        "Cosmos-Predict 1, 2",
        (Slot(ONE, LAST),),
        EMBEDS,
        example="nvidia/Cosmos-Predict2-2B-Text2Image",
        encode=_encode,
    ),
}
