"""Tiny pipelines of Tencent Hunyuan: HunyuanDiT, HunyuanImage 2.1, HunyuanVideo."""

from diffusers import (
    AdaptiveProjectedMixGuidance,
    AutoencoderKLHunyuanImage,
    AutoencoderKLHunyuanVideo,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
    HunyuanImagePipeline,
    HunyuanImageTransformer2DModel,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    ByT5Tokenizer,
    CLIPTextModel,
    LlamaConfig,
    LlamaModel,
    T5Config,
    T5EncoderModel,
)

from diffusion_lens.testing.autoencoders import small_vae
from diffusion_lens.testing.llm_tokenizers import llama_tokenizer, qwen_tokenizer
from diffusion_lens.testing.parts import (
    LAYERS,
    LENGTH,
    SIZE,
    T5_WIDTH,
    TEXT,
    WIDTH,
    Tiny,
    clip_config,
    enlivened,
    qwen_vl,
    t5_parts,
    token_ids,
)
from diffusion_lens.testing.tokenizers import bert_words, clip_tokenizer

__all__ = ["FAMILIES"]


@enlivened
def _hunyuan_dit() -> HunyuanDiTPipeline:
    """Build HunyuanDiT."""
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(bert_words())}, model_max_length=77)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        max_position_embeddings=77,
    )
    t5 = t5_parts(blocks=3)
    return HunyuanDiTPipeline(
        text_encoder=BertModel(config),
        tokenizer=tokenizer,
        text_encoder_2=t5["text_encoder"],
        tokenizer_2=t5["tokenizer"],
        transformer=HunyuanDiT2DModel(
            sample_size=8,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=2,
            hidden_size=16,
            in_channels=4,
            cross_attention_dim=WIDTH,
            cross_attention_dim_t5=T5_WIDTH,
            pooled_projection_dim=16,
        ),
        vae=small_vae(channels=4, shift=None),
        scheduler=DDPMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@enlivened
def _hunyuan_image() -> HunyuanImagePipeline:
    """Build HunyuanImage 2.1, with the guidance that it is shipped with."""
    tokenizer = qwen_tokenizer()
    glyphs = T5Config(vocab_size=384, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    pipe = HunyuanImagePipeline(
        text_encoder=qwen_vl(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(glyphs),
        tokenizer_2=ByT5Tokenizer(),
        transformer=HunyuanImageTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            text_embed_dim=WIDTH,
            text_embed_2_dim=WIDTH,
            rope_axes_dim=(4, 4),
        ),
        vae=AutoencoderKLHunyuanImage(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(32, 32),
            layers_per_block=1,
            scaling_factor=0.5,
            spatial_compression_ratio=2,
            sample_size=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        guider=AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=1),
        ocr_guider=AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=1),
    )
    pipe.tokenizer_max_length = LENGTH  # every prompt is padded to it
    return pipe


@enlivened
def _hunyuan_video() -> HunyuanVideoPipeline:
    """Build HunyuanVideo."""
    tokenizer, clip = llama_tokenizer(), clip_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    config = clip_config(clip, blocks=3, width=16, length=77)
    return HunyuanVideoPipeline(
        text_encoder=LlamaModel(LlamaConfig(**TEXT, **token_ids(tokenizer))),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModel(config),
        tokenizer_2=clip,
        transformer=HunyuanVideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=10,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            text_embed_dim=WIDTH,
            pooled_projection_dim=16,
            rope_axes_dim=(2, 4, 4),
        ),
        vae=AutoencoderKLHunyuanVideo(
            latent_channels=4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            norm_num_groups=4,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
    )


FAMILIES: dict[str, Tiny] = {
    "hunyuan-dit": Tiny(_hunyuan_dit, SIZE | {"use_resolution_binning": False}),
    "hunyuan-image": Tiny(_hunyuan_image, SIZE),
    # its template alone has 230 of the tiny tokenizer's tokens, of which it cuts 95
    "hunyuan-video": Tiny(_hunyuan_video, SIZE | {"num_frames": 5, "max_sequence_length": 160}),
}
