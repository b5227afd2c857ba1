"""A tiny pipeline of LTX-2, which makes sound along with its video."""

from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from diffusion_lens.testing.llm_tokenizers import gemma_tokenizer
from diffusion_lens.testing.parts import LAYERS, LONG, TEXT, WIDTH, Tiny, enlivened, token_ids

__all__ = ["FAMILIES"]

_JOINED = {f"{kind}_connector_num_attention_heads": 2 for kind in ("video", "audio")}
_JOINED |= {f"{kind}_connector_attention_head_dim": WIDTH // 2 for kind in ("video", "audio")}
_JOINED |= {f"{kind}_connector_num_layers": 1 for kind in ("video", "audio")}


def _vae() -> AutoencoderKLLTX2Video:
    """Return the autoencoder of the video, which halves each side."""
    return AutoencoderKLLTX2Video(
        latent_channels=4,
        block_out_channels=(8,),
        decoder_block_out_channels=(8,),
        layers_per_block=(1,),
        decoder_layers_per_block=(1, 1),
        spatio_temporal_scaling=(True,),
        decoder_spatio_temporal_scaling=(True,),
        decoder_inject_noise=(False, False),
        downsample_type=("spatial",),
        upsample_residual=(False,),
        upsample_factor=(1,),
        patch_size=1,
    )


def _audio_vae() -> AutoencoderKLLTX2Audio:
    """Return the autoencoder of the sound."""
    return AutoencoderKLLTX2Audio(
        base_channels=4,
        ch_mult=(1,),
        num_res_blocks=1,
        resolution=32,
        latent_channels=2,
        mel_bins=8,
    )


@enlivened
def _ltx2() -> LTX2Pipeline:
    """Build LTX-2."""
    tokenizer = gemma_tokenizer()
    tokenizer.padding_side = "left"
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Gemma3Config(
        text_config={**TEXT, **token_ids(tokenizer)},
        vision_config={**vision, "image_size": 16, "patch_size": 8},
        mm_tokens_per_image=1,
    )
    return LTX2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae(),
        audio_vae=_audio_vae(),
        text_encoder=Gemma3ForConditionalGeneration(config),
        tokenizer=tokenizer,
        connectors=LTX2TextConnectors(
            caption_channels=WIDTH,
            text_proj_in_factor=LAYERS + 1,
            video_connector_num_learnable_registers=None,
            audio_connector_num_learnable_registers=None,
            connector_rope_base_seq_len=32,
            rope_double_precision=False,
            rope_type="split",
            **_JOINED,
        ),
        transformer=LTX2VideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=8,
            cross_attention_dim=16,
            audio_in_channels=4,
            audio_out_channels=4,
            audio_num_attention_heads=2,
            audio_attention_head_dim=4,
            audio_cross_attention_dim=8,
            num_layers=1,
            caption_channels=WIDTH,
            rope_double_precision=False,
            rope_type="split",
        ),
        vocoder=LTX2Vocoder(
            in_channels=16,
            hidden_channels=8,
            upsample_kernel_sizes=[4, 4],
            upsample_factors=[2, 2],
            resnet_kernel_sizes=[3],
            resnet_dilations=[[1, 3, 5]],
        ),
    )


_GUIDED_BY_TEXT_ALONE: dict[str, object] = {
    "stg_scale": 0.0,
    "audio_stg_scale": 0.0,
    "modality_scale": 1.0,
    "audio_modality_scale": 1.0,
    "spatio_temporal_guidance_blocks": None,
}
_SMALL: dict[str, object] = {**LONG, "height": 32, "width": 32, "num_frames": 5}

FAMILIES: dict[str, Tiny] = {"ltx2": Tiny(_ltx2, _SMALL | _GUIDED_BY_TEXT_ALONE)}
