"""Tiny pipelines of video families around a T5 encoder: Wan, LTX, CogVideoX, Mochi, Latte."""

from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLLTXVideo,
    AutoencoderKLMochi,
    AutoencoderKLWan,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    LattePipeline,
    LatteTransformer3DModel,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    MochiPipeline,
    MochiTransformer3DModel,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import UMT5Config, UMT5EncoderModel

from diffusion_lens.testing.autoencoders import small_vae
from diffusion_lens.testing.parts import (
    SIZE,
    T5_SIZE,
    T5_WIDTH,
    Tiny,
    enlivened,
    t5_parts,
    t5_sizes,
)
from diffusion_lens.testing.tokenizers import t5_tokenizer

__all__ = ["FAMILIES"]


@enlivened
def _wan() -> WanPipeline:
    """Build Wan."""
    tokenizer = t5_tokenizer()
    return WanPipeline(
        tokenizer=tokenizer,
        text_encoder=UMT5EncoderModel(UMT5Config(**t5_sizes(tokenizer, blocks=4))),
        vae=AutoencoderKLWan(
            base_dim=3,
            z_dim=16,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        transformer=WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            text_dim=T5_WIDTH,
            freq_dim=32,
            ffn_dim=32,
            num_layers=1,
            rope_max_seq_len=32,
        ),
    )


@enlivened
def _ltx() -> LTXPipeline:
    """Build LTX-Video."""
    return LTXPipeline(
        **t5_parts(blocks=4),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKLLTXVideo(
            latent_channels=8,
            block_out_channels=(8,) * 4,
            decoder_block_out_channels=(8,) * 4,
            layers_per_block=(1,) * 5,
            decoder_layers_per_block=(1,) * 5,
            spatio_temporal_scaling=(True, True, False, False),
            decoder_spatio_temporal_scaling=(True, True, False, False),
            patch_size=1,
        ),
        transformer=LTXVideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=4,
            attention_head_dim=8,
            cross_attention_dim=32,
            num_layers=1,
            caption_channels=T5_WIDTH,
        ),
    )


@enlivened
def _cogvideox() -> CogVideoXPipeline:
    """Build CogVideoX."""
    return CogVideoXPipeline(
        **t5_parts(blocks=4),
        vae=AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=2,
        ),
        transformer=CogVideoXTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=4,
            out_channels=4,
            time_embed_dim=2,
            text_embed_dim=T5_WIDTH,
            num_layers=1,
            sample_width=2,
            sample_height=2,
            sample_frames=9,
            max_text_seq_length=16,
        ),
        scheduler=DDIMScheduler(),
    )


@enlivened
def _mochi() -> MochiPipeline:
    """Build Mochi 1."""
    return MochiPipeline(
        **t5_parts(blocks=4),
        vae=AutoencoderKLMochi(
            latent_channels=12,
            out_channels=3,
            encoder_block_out_channels=(32,) * 4,
            decoder_block_out_channels=(32,) * 4,
            layers_per_block=(1,) * 5,
        ),
        transformer=MochiTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=2,
            pooled_projection_dim=16,
            in_channels=12,
            text_embed_dim=T5_WIDTH,
            time_embed_dim=4,
            max_sequence_length=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
    )


@enlivened
def _latte() -> LattePipeline:
    """Build Latte."""
    return LattePipeline(
        **t5_parts(blocks=4),
        vae=small_vae(channels=4, shift=None),
        transformer=LatteTransformer3DModel(
            sample_size=8,
            num_layers=1,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=2,
            caption_channels=T5_WIDTH,
            in_channels=4,
            cross_attention_dim=16,
            out_channels=8,
            attention_bias=True,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
        ),
        scheduler=DDIMScheduler(clip_sample=False),
    )


FAMILIES: dict[str, Tiny] = {
    "wan": Tiny(_wan, T5_SIZE | {"num_frames": 5}),
    "ltx": Tiny(_ltx, T5_SIZE | {"height": 32, "width": 32, "num_frames": 9}),
    "cogvideox": Tiny(_cogvideox, T5_SIZE | {"num_frames": 9}),
    "mochi": Tiny(_mochi, T5_SIZE | {"num_frames": 7}),
    "latte": Tiny(_latte, SIZE | {"video_length": 1, "clean_caption": False}),
}
