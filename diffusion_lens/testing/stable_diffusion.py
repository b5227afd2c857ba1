"""Tiny pipelines of Stable Diffusion 1 to 3, SDXL and Kolors."""

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    KolorsPipeline,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel, RMSNorm
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
)

from diffusion_lens.testing.autoencoders import latent_vae, small_vae
from diffusion_lens.testing.llm_tokenizers import (
    chatglm_tokenizer,
)
from diffusion_lens.testing.parts import (
    LAYERS,
    SIZE,
    T5_SIZE,
    T5_WIDTH,
    WIDTH,
    Tiny,
    amplified,
    clip_config,
    ddim,
    enlivened,
    latent_unet,
    t5_parts,
)
from diffusion_lens.testing.tokenizers import clip_tokenizer

__all__ = ["FAMILIES"]


def _sd() -> DiffusionPipeline:
    """Return a Stable Diffusion 1.x pipeline: CLIP with 4 blocks."""
    tokenizer = clip_tokenizer()
    return StableDiffusionPipeline(
        text_encoder=CLIPTextModel(clip_config(tokenizer, blocks=4, width=32)),
        tokenizer=tokenizer,
        unet=latent_unet(cross_attention_dim=32),
        vae=latent_vae(),
        scheduler=ddim(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> DiffusionPipeline:
    """Return an SDXL pipeline: CLIP with 3 blocks, and a wider projected one with 5."""
    tokenizer, tokenizer_2 = clip_tokenizer(), clip_tokenizer(pad_token="!")
    config = clip_config(tokenizer, blocks=3, width=16)
    config_2 = clip_config(tokenizer_2, blocks=5, width=32)
    return StableDiffusionXLPipeline(
        text_encoder=CLIPTextModel(config),
        text_encoder_2=CLIPTextModelWithProjection(config_2),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=latent_unet(
            cross_attention_dim=config.hidden_size + config_2.hidden_size,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + config_2.projection_dim,
        ),
        vae=latent_vae(),
        scheduler=ddim(),
        add_watermarker=False,
    )


def _sd3() -> DiffusionPipeline:
    """Return a Stable Diffusion 3 pipeline: projected CLIPs with 3 and 4 blocks, T5 with 5."""
    tokenizer, tokenizer_2 = clip_tokenizer(), clip_tokenizer(pad_token="!")
    config = clip_config(tokenizer, blocks=3, width=16)
    config_2 = clip_config(tokenizer_2, blocks=4, width=24)
    t5 = t5_parts(blocks=5)
    return StableDiffusion3Pipeline(
        text_encoder=CLIPTextModelWithProjection(config),
        text_encoder_2=CLIPTextModelWithProjection(config_2),
        text_encoder_3=t5["text_encoder"],
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        tokenizer_3=t5["tokenizer"],
        transformer=SD3Transformer2DModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=8,
            caption_projection_dim=16,
            joint_attention_dim=T5_WIDTH,
            pooled_projection_dim=config.projection_dim + config_2.projection_dim,
        ),
        vae=latent_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


@enlivened
def _kolors() -> KolorsPipeline:
    """Build Kolors."""
    tokenizer = chatglm_tokenizer()
    return KolorsPipeline(
        tokenizer=tokenizer,
        text_encoder=_chatglm(tokenizer.vocab_size),
        vae=small_vae(channels=4, shift=None),
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 2),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + WIDTH,
            cross_attention_dim=8,
            encoder_hid_dim=WIDTH,
            encoder_hid_dim_type="text_proj",
            norm_num_groups=4,
        ),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False),
    )


def _chatglm(vocab_size: int) -> ChatGLMModel:
    """Return Kolors' text encoder, whose own code leaves the weights of its norms unset."""
    config = ChatGLMConfig(
        num_layers=LAYERS,
        padded_vocab_size=vocab_size,
        hidden_size=WIDTH,
        ffn_hidden_size=32,
        kv_channels=8,
        num_attention_heads=2,
        seq_length=256,
        add_qkv_bias=True,
        multi_query_attention=True,
        original_rope=True,
    )
    model = ChatGLMModel(config, empty_init=False)
    for module in model.modules():
        if isinstance(module, RMSNorm):
            torch.nn.init.ones_(module.weight)
    return model


FAMILIES: dict[str, Tiny] = {
    "sd": Tiny(amplified(_sd), SIZE),
    "sdxl": Tiny(amplified(_sdxl), SIZE),
    "sd3": Tiny(amplified(_sd3), T5_SIZE),
    "kolors": Tiny(_kolors, SIZE),  # its call takes max_sequence_length but encodes to 256
}
