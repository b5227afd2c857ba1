"""Tiny pipelines of FIBO 2 (Bria), which diffusers has since 0.42."""

from diffusers import BriaFibo2Pipeline, BriaFibo2Transformer2DModel, FlowMatchEulerDiscreteScheduler
from transformers import Qwen3VLForConditionalGeneration

from diffusion_lens.testing.autoencoders import flux2_vae
from diffusion_lens.testing.llm_tokenizers import TextProcessor, qwen_tokenizer
from diffusion_lens.testing.newer import qwen3_vl_config
from diffusion_lens.testing.parts import LAYERS, SIZE, WIDTH, Tiny, enlivened

__all__ = ["FAMILIES"]


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


FAMILIES: dict[str, Tiny] = {"fibo2": Tiny(_fibo2, SIZE | {"render_text_images": False})}
