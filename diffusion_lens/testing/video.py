"""Tiny pipelines of video families: Wan and LTX."""

from diffusers import (
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import UMT5Config, UMT5EncoderModel

from diffusion_lens.testing.parts import T5_SIZE, T5_WIDTH, Tiny, enlivened, t5_parts, t5_sizes
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


FAMILIES: dict[str, Tiny] = {
    "wan": Tiny(_wan, T5_SIZE | {"num_frames": 5}),
    "ltx": Tiny(_ltx, T5_SIZE | {"height": 32, "width": 32, "num_frames": 9}),
}
