"""Tiny pipelines of FIBO (Bria)."""

from diffusers import (
    AutoencoderKLWan,
    BriaFibo2Pipeline,
    BriaFibo2Transformer2DModel,
    BriaFiboPipeline,
    BriaFiboTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
)
from transformers import Qwen3VLForConditionalGeneration, SmolLM3Config, SmolLM3ForCausalLM

from diffusion_lens.testing.llm_tokenizers import TextProcessor, fibo_tokenizer, qwen_tokenizer
from diffusion_lens.testing.newer import flux2_vae, qwen3_vl_config
from diffusion_lens.testing.parts import LAYERS, LONG, SIZE, TEXT, WIDTH, Tiny, enlivened

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


@enlivened
def _fibo2() -> BriaFibo2Pipeline:
    """Build FIBO 2, with two groups of layers and not six."""
    tokenizer = qwen_tokenizer()
    pipe = BriaFibo2Pipeline(
        transformer=BriaFibo2Transformer2DModel(
            in_channels=4,
            dim=24,  # fewer, and its feed-forward layers would be of no width
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            cap_feat_dim=2 * WIDTH,
            injection_layer_ids=(1,),
            perceiver_num_layers=1,
            min_num_gist_tokens=2,
            max_num_gist_tokens=4,
            gist_step=2,
            axes_dims=(4, 4, 4),
            axes_lens=(16, 32, 32),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=flux2_vae(),
        text_encoder=Qwen3VLForConditionalGeneration(qwen3_vl_config(tokenizer, blocks=LAYERS)),
        processor=TextProcessor(tokenizer),
    )
    pipe.text_encoder_out_layers = ((2, 3), (1, 3))
    return pipe


FAMILIES: dict[str, Tiny] = {
    "fibo": Tiny(_fibo, LONG | {"height": 32, "width": 32}),
    "fibo2": Tiny(_fibo2, SIZE | {"render_text_images": False}),
}
