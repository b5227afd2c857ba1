"""What a pipeline class must offer to be looked into, and the check of a live one before it is used.

The contract of a pipeline with a `PipelineFamily`, of diffusers or of one's own:

- **`encode_prompt`** takes `prompt` (text, or a list of texts) and whatever else it needs by name. Of these
  it is given, where it has them: `device`, `num_images_per_prompt` (1), `do_classifier_free_guidance`,
  `negative_prompt`, `prompt_2`, `prompt_3` (None), and each argument that `__call__` has as well, as it was
  given or at its default. It runs each text encoder of the family's `slots` once for a prompt, as a module
  that is an attribute of the pipeline, and returns the values that `returns` names, in order: tensors with
  the prompts along the first dimension (or `batch_dims`), or lists of one tensor a prompt. A pipeline of
  several stages may leave it to its first one, `prior_pipe`.
- **`__call__`** takes each of these by its name in `returns`, in place of a prompt, and
  `num_inference_steps`, `generator` (a list of `torch.Generator`, one an image, that all noise comes from),
  `output_type` ("np") and, where they can be chosen, `height`, `width` and the family's `guidance`. It may
  take `callback_on_step_end`, by which progress is shown.
- **The output** has `images`, floats of 0 to 1 `[image, y, x, 3]`, or `frames`, whose first is drawn.
- The pipeline has `components`, `config`, `device`, `dtype`, `scheduler`, `set_progress_bar_config` and
  `maybe_free_model_hooks`, as every `DiffusionPipeline` does.

`diffusion_lens.examine(lens)` then tells whether the native image is the pipeline's own, bit for bit.
"""

import inspect
from typing import Any

from diffusion_lens.errors import UnsupportedPipelineError
from diffusion_lens.models.family import PipelineFamily
from diffusion_lens.models.stages import text_stage

__all__ = ["check_contract"]

_CALL = ("num_inference_steps", "generator", "output_type")
_ATTRIBUTES = ("components", "config", "scheduler", "set_progress_bar_config", "maybe_free_model_hooks")


def check_contract(pipe: Any, family: PipelineFamily) -> None:
    """Refuse a live pipeline that can't be used as its family says.

    Raises:
        UnsupportedPipelineError: something is missing; all of it is named, with what was found.
    """
    kind = type(pipe).__name__
    encode = getattr(text_stage(pipe), "encode_prompt", None)
    wrong = [f"it has no {name}" for name in _ATTRIBUTES if not hasattr(pipe, name)]
    if not callable(encode):
        wrong.append("it has no encode_prompt")
    elif "prompt" not in inspect.signature(encode).parameters:
        wrong.append(f"encode_prompt takes no prompt; it takes {_names(encode)}")
    if not callable(pipe):
        wrong.append("it can't be called")
    elif not _takes_anything(pipe.__call__):
        taken = inspect.signature(pipe.__call__).parameters
        given = () if family.draw else family.returns
        wanted = [name for name in (*_CALL, *given) if name and name not in taken]
        if wanted:
            wrong.append(f"__call__ takes no {', '.join(wanted)}; it takes {_names(pipe.__call__)}")
    if wrong:
        raise UnsupportedPipelineError(
            f"{kind} can't be used as {family.title!r} describes: {'; '.join(wrong)}. What a pipeline must "
            "offer is written in diffusion_lens.models.contract; or describe it with another "
            "PipelineFamily (family=, --family)."
        )


def _takes_anything(function: Any) -> bool:
    return any(one.kind is one.VAR_KEYWORD for one in inspect.signature(function).parameters.values())


def _names(function: Any) -> str:
    return ", ".join(name for name in inspect.signature(function).parameters if name != "self")
