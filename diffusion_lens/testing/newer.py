"""Tiny pipelines of newer families: Krea 2, ERNIE-Image, Nucleus, Ovis, CogView3+, Kandinsky 3."""

from typing import Any

from diffusers import (
    AutoencoderKLQwenImage,
    CogVideoXDDIMScheduler,
    CogView3PlusPipeline,
    CogView3PlusTransformer2DModel,
    DDPMScheduler,
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    Kandinsky3Pipeline,
    Kandinsky3UNet,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    NucleusMoEImagePipeline,
    NucleusMoEImageTransformer2DModel,
    OvisImagePipeline,
    OvisImageTransformer2DModel,
    VQModel,
)
from transformers import (
    Ministral3Config,
    Ministral3Model,
    Qwen3Config,
    Qwen3Model,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLModel,
)

from diffusion_lens.testing.autoencoders import flux2_vae, small_vae
from diffusion_lens.testing.llm_tokenizers import (
    TextProcessor,
    llama_tokenizer,
    qwen_tokenizer,
)
from diffusion_lens.testing.parts import (
    LONG,
    SIZE,
    T5_SIZE,
    T5_WIDTH,
    TEXT,
    WIDTH,
    Tiny,
    enlivened,
    t5_parts,
    token_ids,
)

__all__ = ["FAMILIES", "PARTS", "qwen3_vl_config"]


# Qwen's chat template for content that is text, or a list of parts of which the first is text
PARTS = """
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\n' }}
{{- message.content if message.content is string else message.content[0].text }}
{{- '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}
"""


def qwen3_vl_config(tokenizer: Any, blocks: int) -> Qwen3VLConfig:
    """Return the config of a Qwen3-VL whose vision tower nobody runs."""
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]}
    return Qwen3VLConfig(
        text_config={
            **TEXT,
            **token_ids(tokenizer),
            "num_hidden_layers": blocks,
            "rope_parameters": rope,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "deepstack_visual_indexes": [0],
            "num_position_embeddings": 16,
        },
    )


def _qwen_vae() -> AutoencoderKLQwenImage:
    """Return the autoencoder of Qwen-Image, which several families took over."""
    return AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


@enlivened
def _krea2() -> Krea2Pipeline:
    """Build Krea 2, which reads three layers here and twelve as shipped."""
    tokenizer, layers = qwen_tokenizer(), (1, 2, 4)
    return Krea2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_qwen_vae(),
        text_encoder=Qwen3VLModel(qwen3_vl_config(tokenizer, blocks=4)),
        tokenizer=tokenizer,
        transformer=Krea2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=32,
            timestep_embed_dim=16,
            text_hidden_dim=WIDTH,
            num_text_layers=len(layers),
            text_num_attention_heads=2,
            text_num_key_value_heads=2,
            text_intermediate_size=32,
            num_layerwise_text_blocks=1,
            num_refiner_text_blocks=1,
            axes_dims_rope=(8, 4, 4),
        ),
        text_encoder_select_layers=layers,
    )


@enlivened
def _nucleus() -> NucleusMoEImagePipeline:
    """Build Nucleus-MoE without its mixture of experts, which the text side does not see."""
    tokenizer = qwen_tokenizer()
    return NucleusMoEImagePipeline(
        transformer=NucleusMoEImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=4,  # fewer, and its feed-forward layers would be of no width
            joint_attention_dim=WIDTH,
            axes_dims_rope=(8, 4, 4),
            moe_enabled=False,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_qwen_vae(),
        # the eighth state from the end is read
        text_encoder=Qwen3VLForConditionalGeneration(qwen3_vl_config(tokenizer, blocks=9)),
        processor=TextProcessor(tokenizer, chat_template=PARTS),
    )


@enlivened
def _ernie() -> ErnieImagePipeline:
    """Build ERNIE-Image without its model that rewrites prompts."""
    tokenizer = llama_tokenizer()
    return ErnieImagePipeline(
        transformer=ErnieImageTransformer2DModel(
            hidden_size=32,
            num_attention_heads=2,
            num_layers=1,
            ffn_hidden_size=32,
            in_channels=16,
            out_channels=16,
            text_in_dim=WIDTH,
            rope_axes_dim=(8, 4, 4),
        ),
        vae=flux2_vae(),
        text_encoder=Ministral3Model(Ministral3Config(**TEXT, **token_ids(tokenizer))),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


@enlivened
def _ovis() -> OvisImagePipeline:
    """Build Ovis-Image."""
    tokenizer = qwen_tokenizer()
    return OvisImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=small_vae(channels=4),
        text_encoder=Qwen3Model(Qwen3Config(**TEXT, **token_ids(tokenizer))),
        tokenizer=tokenizer,
        transformer=OvisImageTransformer2DModel(
            in_channels=16,
            out_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
        ),
    )


@enlivened
def _cogview3plus() -> CogView3PlusPipeline:
    """Build CogView3+."""
    return CogView3PlusPipeline(
        **t5_parts(blocks=4),
        vae=small_vae(channels=4, shift=None),
        transformer=CogView3PlusTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            text_embed_dim=T5_WIDTH,
            time_embed_dim=8,
            condition_dim=2,
            pos_embed_max_size=8,
            sample_size=8,
        ),
        scheduler=CogVideoXDDIMScheduler(),
    )


@enlivened
def _kandinsky3() -> Kandinsky3Pipeline:
    """Build Kandinsky 3."""
    return Kandinsky3Pipeline(
        **t5_parts(blocks=4),
        unet=Kandinsky3UNet(
            time_embedding_dim=4,
            groups=2,
            attention_head_dim=4,
            layers_per_block=3,
            block_out_channels=(32, 64),
            cross_attention_dim=4,
            encoder_hid_dim=T5_WIDTH,
        ),
        scheduler=DDPMScheduler(beta_start=0.00085, beta_end=0.02, beta_schedule="squaredcos_cap_v2"),
        movq=VQModel(
            block_out_channels=(32, 64),
            down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
            latent_channels=4,
            norm_num_groups=4,
            norm_type="spatial",
            num_vq_embeddings=12,
            vq_embed_dim=4,
        ),
    )


FAMILIES: dict[str, Tiny] = {
    "krea2": Tiny(_krea2, LONG),
    "nucleus": Tiny(_nucleus, SIZE | {"max_sequence_length": 512}),
    "ernie": Tiny(_ernie, SIZE),
    "ovis": Tiny(_ovis, SIZE | {"max_sequence_length": 256}),
    "cogview3plus": Tiny(_cogview3plus, T5_SIZE),
    "kandinsky3": Tiny(_kandinsky3, SIZE),
}
