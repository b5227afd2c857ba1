"""Tiny pipelines of NVIDIA Cosmos."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    Cosmos2_5_PredictBasePipeline,
    Cosmos2TextToImagePipeline,
    CosmosTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from diffusion_lens.testing.llm_tokenizers import qwen_tokenizer
from diffusion_lens.testing.newer import PARTS
from diffusion_lens.testing.parts import (
    LAYERS,
    SIZE,
    T5_SIZE,
    T5_WIDTH,
    WIDTH,
    Tiny,
    enlivened,
    qwen_vl,
    t5_parts,
)

__all__ = ["FAMILIES"]

REFUSED = "weapon"


class SafetyChecker(torch.nn.Module):
    """In the place of the checker of the package `cosmos_guardrail`: it refuses prompts with one word."""

    device = torch.device("cpu")
    dtype = torch.float32

    def check_text_safety(self, prompt: str) -> bool:
        """Whether a prompt may be drawn."""
        return REFUSED not in prompt

    def check_video_safety(self, frames: Any) -> Any:
        """The frames of a video, which are left as they are."""
        return frames


def _transformer(text_width: int, **settings: Any) -> CosmosTransformer3DModel:
    """Return a denoiser without the mask of padding, which needs torchvision."""
    return CosmosTransformer3DModel(
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=1,
        mlp_ratio=2,
        text_embed_dim=text_width,
        adaln_lora_dim=4,
        max_size=(4, 32, 32),
        concat_padding_mask=False,
        extra_pos_embed_type=None,
        **settings,
    )


def _vae() -> AutoencoderKLWan:
    """Return the autoencoder of Wan."""
    return AutoencoderKLWan(
        base_dim=3,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )


@enlivened
def _cosmos25() -> Cosmos2_5_PredictBasePipeline:
    """Build Cosmos-Predict 2.5."""
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = PARTS
    return Cosmos2_5_PredictBasePipeline(
        text_encoder=qwen_vl(tokenizer),
        tokenizer=tokenizer,
        transformer=_transformer(
            32,
            in_channels=17,
            use_crossattn_projection=True,
            crossattn_proj_in_channels=LAYERS * WIDTH,
            encoder_hidden_states_channels=32,
        ),
        vae=_vae(),
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
        safety_checker=SafetyChecker(),
    )


@enlivened
def _cosmos2() -> Cosmos2TextToImagePipeline:
    """Build Cosmos-Predict 2."""
    return Cosmos2TextToImagePipeline(
        **t5_parts(blocks=4),
        transformer=_transformer(T5_WIDTH, in_channels=16),
        vae=_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True),
        safety_checker=SafetyChecker(),
    )


FAMILIES: dict[str, Tiny] = {
    "cosmos2.5": Tiny(_cosmos25, SIZE | {"num_frames": 5, "max_sequence_length": 160}),
    "cosmos2": Tiny(_cosmos2, T5_SIZE),
}
