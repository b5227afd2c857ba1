"""Latent inversion: a network R that maps an image back into the text-latent space of its model.

A public plain-English description of LEGO (Motamed, Paudel and Van Gool 2023, arXiv 2311.13833) mentions
a latent inversion module, trained to minimise the reconstruction loss between the original text latent
and the inverted one. The paper's own abstract describes a frozen model and learned embeddings, which is
`lego`. This is the module as we read that description, and not the published method. Our choices are:

- what a text latent is: the conditioning c that the denoiser gets, all positions of it;
- the loss, ||R(x) - c||^2, on images x of known scenes whose caption is c; the denoiser stays frozen;
- R reads the autoencoder's latents of the image (see `testbed.inverter`, also for how it treats what
  is ambiguous: phrasings, word order, pads and synonyms);
- its uses: conditioning to draw again, captions (`captioning`), editing and personalisation in the space
  of R (`editing`), a start for optimisation (`refining`), and a cycle-consistency loss and measure
  (`cycle`).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diffusion_lens.errors import InputError, UnknownModelError
from diffusion_lens.images.denoise import ImageRequest
from diffusion_lens.images.sampler import Sampler
from diffusion_lens.learning.image_files import as_rgb
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.conditioning import Conditioning
from diffusion_lens.models.embedded import weights_of
from diffusion_lens.testbed.autoencoder import to_tensor
from diffusion_lens.testbed.inverter import LatentInverter
from diffusion_lens.text.encode import check_prompts

__all__ = ["LatentInversion", "relative_error"]

States = Float[Tensor, "image token width"]


class LatentInversion:
    """A model together with R, the network that maps its images back to conditioning.

    Args:
        lens: a lens on the model, a Stable Diffusion pipeline.
        inverter: R, trained for that model's autoencoder and text encoder.

    Raises:
        InputError: the inverter is of other sizes than the model.
    """

    def __init__(self, lens: DiffusionLens, inverter: LatentInverter) -> None:
        self.lens, self.pipe = lens, lens.pipeline
        pipe = self.pipe
        if type(pipe).__name__ != "StableDiffusionPipeline":
            raise InputError(
                f"Latent inversion needs a Stable Diffusion pipeline; this is a {type(pipe).__name__}."
            )
        own = (
            pipe.vae.config.latent_channels,
            pipe.unet.config.sample_size,
            pipe.tokenizer.model_max_length,
            pipe.unet.config.cross_attention_dim,
        )
        config = inverter.config
        known = (config.channels, config.side, config.tokens, config.states)
        if own != known:
            raise InputError(
                "The inverter is of another model: it maps latents of {} x {} cells to {} tokens of {}, "
                "and this model has {} x {} and {} of {}. ".format(*known, *own)
                + "Train one beside it: diffusion-lens testbed train --stage inversion."
            )
        self._known: dict[str, Tensor] = {}
        self.inverter = inverter.float().eval().requires_grad_(False).to(lens.conditioner.device)

    @classmethod
    def from_pretrained(
        cls, model: str | os.PathLike[str] = "emoji", inverter: str | Path | None = None, **options: Any
    ) -> "LatentInversion":
        """Load an embedded model or a folder, with its inverter.

        Args:
            model: "emoji", or a folder in diffusers format.
            inverter: a folder with an exported inverter; the folder `inverter` of the model if None.
            options: arguments of `DiffusionLens.from_pretrained`.

        Raises:
            UnknownModelError: there is no inverter, or it can't be read.
            InputError: it is of another model.
        """
        with weights_of(str(model)) as folder:
            where = Path(inverter) if inverter is not None else folder / "inverter"
            if not (where / "config.json").is_file():
                raise UnknownModelError(
                    f"There is no inverter in {where}. The model emoji has one; for another, train it with "
                    "diffusion-lens testbed train --stage inversion, and give its folder."
                )
            try:
                network = LatentInverter.from_pretrained(where, use_safetensors=True)
            except (OSError, ValueError, RuntimeError, TypeError) as error:
                raise UnknownModelError(f"The inverter in {where} can't be read: {error}") from error
        return cls(DiffusionLens.from_pretrained(model, **options), network)

    @torch.no_grad()
    def latents(self, images: Sequence[Image.Image]) -> Float[Tensor, "image channel y x"]:
        """What the autoencoder makes of images, times its scale; scaled to the model's size first.

        Raises:
            InputError: no image was given.
        """
        if not images:
            raise InputError("No image was given; give one or more.")
        vae = self.pipe.vae
        side = (int(vae.config.sample_size),) * 2
        same = [as_rgb(one) for one in images]
        same = [one if one.size == side else one.resize(side, Image.Resampling.BOX) for one in same]
        pixels = to_tensor(np.stack([np.asarray(one) for one in same]))
        parts = [vae.encode(part.to(vae.device, vae.dtype)).latent_dist.mean for part in pixels.split(64)]
        return torch.cat(parts).float() * vae.config.scaling_factor

    @torch.no_grad()
    def invert(self, images: Sequence[Image.Image]) -> States:
        """R(x): the conditioning that each image would be drawn from, in one pass; float32."""
        return self.inverter(self.latents(images))

    @torch.no_grad()
    def encode(self, prompts: str | Sequence[str]) -> States:
        """c: the conditioning of prompts, as the pipeline's own `encode_prompt` makes it; float32.

        Raises:
            PromptError: no prompt, or something that is not text.
        """
        given = [prompts] if isinstance(prompts, str) else list(prompts)
        texts = check_prompts(given)  # each once
        device = self.lens.conditioner.device
        parts = [
            self.pipe.encode_prompt(list(texts[i : i + 128]), device, 1, False)[0]
            for i in range(0, len(texts), 128)
        ]
        places = {text: i for i, text in enumerate(texts)}
        return torch.cat(parts).float()[[places[text] for text in given]]

    def recall(self, prompts: Sequence[str]) -> States:
        """As `encode`, rounded to float16: the conditioning of each prompt is kept once it is encoded."""
        new = [text for text in dict.fromkeys(prompts) if text not in self._known]
        if new:
            self._known |= dict(zip(new, self.encode(new).half(), strict=True))
        return torch.stack([self._known[text] for text in prompts]).float()

    @property
    def mean(self) -> Float[Tensor, "token width"]:
        """The mean conditioning of the scenes that R was trained on: a prediction without any image."""
        return self.inverter.mean

    def draw(
        self,
        states: States,
        seeds: Sequence[int] = (0,),
        *,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> list[list[Image.Image | None]]:
        """Draw conditionings, each with every seed: `[state][seed]`; None where the image overflowed.

        Args:
            states: conditionings, such as of `invert` or `encode`.
            seeds: one or more; a seed's noise is that of the plain pipeline.
            steps: denoising steps; the model's own if None.
            guidance: guidance scale; the model's own if None.

        Raises:
            SamplerError: a setting that can't be.
        """
        settings = self.lens.settings(Sampler(steps, guidance))
        negative = self.lens.reader().negative(None, "") if settings.guided else Conditioning()
        kind = self.pipe.unet.dtype
        positive = [Conditioning({"prompt_embeds": one[None].to(kind)}) for one in states]
        requests = [ImageRequest(one, negative, seed) for one in positive for seed in seeds]
        drawn = [made.image for made in settings.draw(requests)]
        return [drawn[i : i + len(seeds)] for i in range(0, len(drawn), len(seeds))]


def relative_error(
    found: Float[Tensor, "#image token width"],
    true: Float[Tensor, "#image token width"],
    mean: Float[Tensor, "token width"],
) -> Float[Tensor, " _"]:
    """||R(x) - c||^2 over ||mean - c||^2: 0 is exact, and 1 as far off as the mean conditioning."""
    error = (found - true).square().mean((1, 2))
    return error / (mean - true).square().mean((1, 2)).clamp_min(1e-12)
