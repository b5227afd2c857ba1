"""What a training is named by: recipes, stages and text encoders. Needs no torch, so that help has them."""

from typing import Literal

__all__ = ["EncoderName", "RecipeName", "StageName"]

RecipeName = Literal["all", "emoji", "emoji-clip", "emoji-llm", "control"]
"""The keys of `recipe.RECIPES`."""
StageName = Literal["autoencoder", "clip", "distil", "diffusion", "joint", "inversion"]
"""The keys of `train.STAGES`."""
EncoderName = Literal["minilm", "clip", "random", "smollm2"]
"""The text encoders that a denoiser can read; see `encoders`."""
