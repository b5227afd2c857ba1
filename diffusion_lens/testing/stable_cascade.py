"""A tiny pipeline of Stable Cascade, both stages."""

from diffusers import DDPMWuerstchenScheduler, StableCascadeCombinedPipeline, StableCascadeUNet
from diffusers.pipelines.deprecated.wuerstchen import PaellaVQModel
from transformers import CLIPTextModelWithProjection

from diffusion_lens.testing.parts import Tiny, clip_config, enlivened
from diffusion_lens.testing.tokenizers import clip_tokenizer

__all__ = ["FAMILIES"]

_RES, _ATTN = ("SDCascadeResBlock", "SDCascadeTimestepBlock"), ("SDCascadeAttnBlock",)


@enlivened
def _stable_cascade() -> StableCascadeCombinedPipeline:
    """Build Stable Cascade, with one text encoder for each stage, as shipped."""
    tokenizer = clip_tokenizer()
    config = clip_config(tokenizer, blocks=4, width=16)
    blocks = {
        "conditioning_dim": 16,
        "block_out_channels": (16, 16),
        "num_attention_heads": (2, 2),
        "down_num_layers_per_block": (1, 1),
        "up_num_layers_per_block": (1, 1),
        "clip_text_pooled_in_channels": config.projection_dim,
        "timestep_ratio_embedding_dim": 8,
    }
    return StableCascadeCombinedPipeline(
        tokenizer=tokenizer,
        text_encoder=CLIPTextModelWithProjection(config),
        decoder=StableCascadeUNet(
            in_channels=4,
            out_channels=4,
            block_types_per_layer=(_RES, _RES + _ATTN),
            effnet_in_channels=16,
            **blocks,
        ),
        scheduler=DDPMWuerstchenScheduler(),
        vqgan=PaellaVQModel(bottleneck_blocks=1, embed_dim=8, num_vq_embeddings=2),
        prior_prior=StableCascadeUNet(
            clip_image_in_channels=8,
            clip_text_in_channels=config.hidden_size,
            switch_level=(False,),
            **blocks,
        ),
        prior_text_encoder=CLIPTextModelWithProjection(config),
        prior_tokenizer=tokenizer,
        prior_scheduler=DDPMWuerstchenScheduler(),
    )


FAMILIES: dict[str, Tiny] = {
    "stable-cascade": Tiny(
        _stable_cascade,
        {"height": 32, "width": 32, "num_inference_steps": 2, "prior_num_inference_steps": 2},
    ),
}
