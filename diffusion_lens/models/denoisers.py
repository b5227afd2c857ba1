"""A pipeline's denoiser: where it is, and one call of it by family.

Each `predict_...` takes noisy latents `[batch, channel, y, x]`, times in 0..1000 `[batch]`, and the text
arguments of the pipeline's `__call__`, and returns the prediction in the shape of the latents.
"""

from typing import TYPE_CHECKING, Any

from diffusion_lens.errors import UnsupportedPipelineError

if TYPE_CHECKING:  # the families name these functions, and are listed without torch
    from torch import Tensor, nn

    from diffusion_lens.models.conditioning import Conditioning

__all__ = [
    "find_denoiser",
    "predict_flux",
    "predict_stable_diffusion",
    "predict_stable_diffusion_3",
    "predict_stable_diffusion_xl",
]


def find_denoiser(pipe: Any) -> "nn.Module":
    """The network that a pipeline runs at each step, compiled or not.

    Raises:
        UnsupportedPipelineError: the pipeline has none under a known name.
    """
    for name in ("transformer", "unet", "prior", "decoder"):
        found: nn.Module | None = getattr(pipe, name, None)
        if found is not None:  # a compiled module has no truth value
            return found
    raise UnsupportedPipelineError(
        f"{type(pipe).__name__} has no denoiser: neither transformer nor unet is one of its parts "
        f"({', '.join(pipe.components)})."
    )


def predict_stable_diffusion(pipe: Any, noisy: "Tensor", times: "Tensor", text: "Conditioning") -> "Tensor":
    """Stable Diffusion 1 and 2: noise, the image or v."""
    predicted: Tensor = pipe.unet(noisy, times, encoder_hidden_states=text["prompt_embeds"]).sample
    return predicted


def predict_stable_diffusion_xl(
    pipe: Any, noisy: "Tensor", times: "Tensor", text: "Conditioning"
) -> "Tensor":
    """Stable Diffusion XL, told that the image is neither scaled nor cut."""
    import torch

    height, width = (size * pipe.vae_scale_factor for size in noisy.shape[-2:])
    # original size, cut-off at the top left, size aimed at
    sizes = torch.tensor([height, width, 0, 0, height, width], device=noisy.device, dtype=noisy.dtype)
    added = {"text_embeds": text["pooled_prompt_embeds"], "time_ids": sizes.expand(len(noisy), -1)}
    embeds = text["prompt_embeds"]
    output = pipe.unet(noisy, times, encoder_hidden_states=embeds, added_cond_kwargs=added)
    predicted: Tensor = output.sample
    return predicted


def predict_stable_diffusion_3(
    pipe: Any, noisy: "Tensor", times: "Tensor", text: "Conditioning"
) -> "Tensor":
    """Stable Diffusion 3: the velocity."""
    predicted: Tensor = pipe.transformer(
        hidden_states=noisy,
        timestep=times,
        encoder_hidden_states=text["prompt_embeds"],
        pooled_projections=text["pooled_prompt_embeds"],
    ).sample
    return predicted


def predict_flux(pipe: Any, noisy: "Tensor", times: "Tensor", text: "Conditioning") -> "Tensor":
    """FLUX.1: the velocity, of patches of 2 x 2 latents."""
    import torch

    batch, channels, height, width = noisy.shape
    y, x = height // 2, width // 2
    # patches of 2 x 2 latents are the transformer's tokens
    patches = noisy.view(batch, channels, y, 2, x, 2).permute(0, 2, 4, 1, 3, 5)
    places = torch.zeros(y, x, 3, device=noisy.device, dtype=noisy.dtype)
    places[..., 1] += torch.arange(y, device=noisy.device)[:, None]
    places[..., 2] += torch.arange(x, device=noisy.device)
    embeds = text.tensor("prompt_embeds")
    guidance = None
    if pipe.transformer.config.guidance_embeds:
        guidance = torch.ones(batch, device=noisy.device)  # none: the distilled model's own prediction
    predicted: Tensor = pipe.transformer(
        hidden_states=patches.reshape(batch, y * x, channels * 4),
        timestep=times / 1000,
        guidance=guidance,
        pooled_projections=text["pooled_prompt_embeds"],
        encoder_hidden_states=embeds,
        txt_ids=torch.zeros(embeds.shape[1], 3, device=noisy.device, dtype=noisy.dtype),
        img_ids=places.view(y * x, 3),
    ).sample
    return predicted.view(batch, y, x, channels, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(noisy.shape)
