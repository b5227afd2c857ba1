"""Tiny pipelines of FIBO (Bria)."""

from diffusers import (
    AutoencoderKLWan,
    BriaFiboPipeline,
    BriaFiboTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
)
from transformers import SmolLM3Config, SmolLM3ForCausalLM

from diffusion_lens.testing.llm_tokenizers import fibo_tokenizer
from diffusion_lens.testing.parts import LAYERS, LONG, TEXT, WIDTH, Tiny, enlivened

__all__ = ["FAMILIES"]


@enlivened
def _fibo() -> BriaFiboPipeline:
    """Build FIBO: more blocks of the denoiser than layers of the encoder, as shipped."""
    tokenizer = fibo_tokenizer()
    sizes = TEXT | {
        "vocab_size": tokenizer.bos_token_id + 2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return BriaFiboPipeline(
        transformer=BriaFiboTransformer2DModel(
            in_channels=16,
            num_layers=2,
            num_single_layers=LAYERS,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=2 * WIDTH,
            axes_dims_rope=[0, 4, 4],
            text_encoder_dim=WIDTH,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKLWan(
            base_dim=3,
            z_dim=16,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
        ),
        text_encoder=SmolLM3ForCausalLM(SmolLM3Config(**sizes, tie_word_embeddings=True)),
        tokenizer=tokenizer,
    )


FAMILIES: dict[str, Tiny] = {"fibo": Tiny(_fibo, LONG | {"height": 32, "width": 32})}
