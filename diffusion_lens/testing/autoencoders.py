"""Tiny autoencoders of the real classes."""

from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderKLFlux2

__all__ = ["dc_vae", "flux2_vae", "latent_vae", "small_vae"]


def latent_vae() -> AutoencoderKL:
    """Return an autoencoder with 4 latent channels that halves each side."""
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
        shift_factor=0.1,
    )


def small_vae(channels: int, blocks: int = 2, shift: float | None = 0.1) -> AutoencoderKL:
    """Return an image autoencoder that shrinks by two per block after the first."""
    return AutoencoderKL(
        block_out_channels=(4,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        latent_channels=channels,
        norm_num_groups=1,
        sample_size=16,
        scaling_factor=0.5,
        shift_factor=shift,
    )


def flux2_vae() -> AutoencoderKLFlux2:
    """Return the autoencoder of FLUX.2, which several families took over."""
    return AutoencoderKLFlux2(
        block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        sample_size=16,
    )


def dc_vae(blocks: int) -> AutoencoderDC:
    """Return the autoencoder of Sana, which shrinks by two per block after the first."""
    kinds = ("ResBlock",) * (blocks - 1) + ("EfficientViTBlock",)
    scales: tuple[tuple[int, ...], ...] = ((),) * (blocks - 1) + ((5,),)
    return AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_types=kinds,
        decoder_block_types=kinds,
        encoder_block_out_channels=(8,) * blocks,
        decoder_block_out_channels=(8,) * blocks,
        encoder_layers_per_block=(1,) * blocks,
        decoder_layers_per_block=(1,) * blocks,
        encoder_qkv_multiscales=scales,
        decoder_qkv_multiscales=scales,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        scaling_factor=0.5,
    )
