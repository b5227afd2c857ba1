"""Tiny pipelines of families that read several layers of a language model."""

from typing import Any

from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    LlamaConfig,
    LlamaForCausalLM,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
)

from diffusion_lens.testing.autoencoders import flux2_vae, small_vae
from diffusion_lens.testing.llm_tokenizers import (
    llama_tokenizer,
    mistral_processor,
    qwen_tokenizer,
)
from diffusion_lens.testing.parts import (
    LAYERS,
    LENGTH,
    LONG,
    TEXT,
    WIDTH,
    Tiny,
    enlivened,
    token_ids,
)
from diffusion_lens.testing.tokenizers import clip_tokenizer, t5_tokenizer

__all__ = ["FAMILIES"]

TAPS = {"text_encoder_out_layers": (1, 2, 3)}


@enlivened
def _hidream() -> HiDreamImagePipeline:
    """Build HiDream."""
    clip, clip_2, t5, llama = clip_tokenizer(), clip_tokenizer(), t5_tokenizer(), llama_tokenizer()
    clip.model_max_length = clip_2.model_max_length = LENGTH  # not CLIP's own: the position table
    clip_config = CLIPTextConfig(
        hidden_size=WIDTH,
        intermediate_size=32,
        projection_dim=8,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        **token_ids(clip),
    )
    t5_config = T5Config(
        vocab_size=len(t5),
        d_model=WIDTH,
        d_kv=8,
        d_ff=32,
        num_layers=LAYERS,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    # The pipeline asks Llama for its attention maps, which only the eager code gives.
    llama_config = LlamaConfig(**TEXT, **token_ids(llama), attn_implementation="eager")
    pipe = HiDreamImagePipeline(
        tokenizer=clip,
        text_encoder=CLIPTextModelWithProjection(clip_config),
        tokenizer_2=clip_2,
        text_encoder_2=CLIPTextModelWithProjection(clip_config),
        tokenizer_3=t5,
        text_encoder_3=T5EncoderModel(t5_config),
        tokenizer_4=llama,
        text_encoder_4=LlamaForCausalLM(llama_config),
        vae=small_vae(channels=4),
        transformer=HiDreamImageTransformer2DModel(
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            num_single_layers=3,
            attention_head_dim=8,
            num_attention_heads=2,
            caption_channels=[WIDTH, WIDTH],
            text_emb_dim=16,
            axes_dims_rope=(4, 2, 2),
            max_resolution=(8, 8),
            llama_layers=[0, 1, 2, 3, 3],  # one per block of the denoiser, the last repeated
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    pipe.default_sample_size = 8  # every image is scaled to the area of this size
    return pipe


def _flux2_parts(guidance: bool) -> dict[str, Any]:
    """Return what FLUX.2 and FLUX.2 klein share: the autoencoder, denoiser and scheduler."""
    return {
        "vae": flux2_vae(),
        "transformer": Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=len(TAPS["text_encoder_out_layers"]) * WIDTH,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=guidance,
        ),
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    }


@enlivened
def _flux2() -> Flux2Pipeline:
    """Build FLUX.2."""
    processor = mistral_processor()
    config = Mistral3Config(
        text_config={"model_type": "mistral", **TEXT, **token_ids(processor.tokenizer)},
        vision_config={
            "model_type": "pixtral",
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        image_token_index=processor.tokenizer.convert_tokens_to_ids("[IMG]"),
    )
    return Flux2Pipeline(
        tokenizer=processor,
        text_encoder=Mistral3ForConditionalGeneration(config),
        **_flux2_parts(guidance=True),
    )


@enlivened
def _flux2_klein() -> Flux2KleinPipeline:
    """Build FLUX.2 klein."""
    tokenizer = qwen_tokenizer()
    return Flux2KleinPipeline(
        tokenizer=tokenizer,
        text_encoder=Qwen3ForCausalLM(Qwen3Config(**TEXT, **token_ids(tokenizer))),
        **_flux2_parts(guidance=False),
    )


FAMILIES: dict[str, Tiny] = {
    "hidream": Tiny(_hidream, LONG),
    "flux2": Tiny(_flux2, {**LONG, **TAPS}),
    "flux2-klein": Tiny(_flux2_klein, {**LONG, **TAPS}),
}
