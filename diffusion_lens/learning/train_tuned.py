"""`train_tuned`: the maps of a tuned readout, trained on through the loss of the frozen denoiser.

Ridge regression (`text.fit_tuned`) brings a layer's state as near to the native one as an affine map can,
whatever the denoiser makes of what is missed. Here the maps go on from there: they alone are trained, by
Adam, so that the denoiser reconstructs images from their captions as read at each layer. Encoder and
denoiser stay as they are, and so does the file's format.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image

from diffusion_lens.errors import InputError
from diffusion_lens.learning.objective import DenoisingLoss, Latents, frozen
from diffusion_lens.models.conditioning import Conditioning
from diffusion_lens.runs.experiment import Captions, Prompts
from diffusion_lens.runs.prompts import read_prompts
from diffusion_lens.testbed.captions import FITTING_SEED
from diffusion_lens.testbed.scenes import Scene, render_batch
from diffusion_lens.text.fit_tuned import HELD_OUT, map_errors, read_states
from diffusion_lens.text.layers import LayerPlan
from diffusion_lens.text.norm_readout import NATIVE_READOUT
from diffusion_lens.text.reader import Reader
from diffusion_lens.text.tuned import EncoderMaps, TunedFile

__all__ = ["CaptionedImages", "captioned_scenes", "denoising_losses", "read_captioned", "train_tuned"]

_AT_ONCE = 32  # images in a pass of the denoiser without gradients


@dataclass(frozen=True, eq=False)
class CaptionedImages:
    """Images as the denoiser sees them, and what the encoder says of their captions.

    Attributes:
        reader: the text side of the model.
        loss: the denoiser's loss.
        encoder: the name of the encoder.
        position: the layer that the pipeline reads.
        latents: of the images.
        states: of the captions, float32, on the CPU.
    """

    reader: Reader
    loss: DenoisingLoss
    encoder: str
    position: int
    latents: Latents
    states: Float[torch.Tensor, "layer caption token width"]

    @property
    def held_out(self) -> torch.Tensor:
        """Which captions are not trained on: every fifth, as `fit_tuned` holds them out."""
        places = torch.arange(self.states.shape[1])
        return places[places % HELD_OUT == HELD_OUT - 1]

    @property
    def trained(self) -> torch.Tensor:
        """Which captions are trained on."""
        places = torch.arange(self.states.shape[1])
        return places[places % HELD_OUT != HELD_OUT - 1]

    def errors(
        self,
        mapped: Float[torch.Tensor, "sample token width"],
        chosen: torch.Tensor,
        generator: torch.Generator,
    ) -> Float[torch.Tensor, " sample"]:
        """The denoiser's error on some of the images, given states that stand at the native layer.

        Args:
            mapped: the states.
            chosen: the images, one for each.
            generator: where noise and times come from.
        """
        conditioner = self.reader.conditioner
        encoder, slot = conditioner.encoders[self.encoder], conditioner.slots[self.encoder]
        state = mapped.to(conditioner.device, self.loss.module.dtype)
        read = NATIVE_READOUT.read(state, self.position, encoder, slot, self.position)
        latents = self.latents.sample(chosen, generator)
        return self.loss.errors(latents, Conditioning({"prompt_embeds": read}), generator)


def captioned_scenes(count: int, seed: int = FITTING_SEED) -> tuple[tuple[str, ...], list[Image.Image]]:
    """Captions of the embedded models' scenes, and the scenes as images.

    Args:
        count: how many.
        seed: the stream of scenes; by default one that is for fitting, and no experiment's.
    """
    prompts = read_prompts(Prompts(captions=Captions(count=count, seed=seed)), Path())
    drawn = render_batch([Scene.from_json(str(one.metadata["scene"])) for one in prompts])
    return tuple(one.prompt for one in prompts), [Image.fromarray(one) for one in drawn]


def read_captioned(
    reader: Reader, images: Sequence[Image.Image], captions: Sequence[str]
) -> CaptionedImages:
    """Encode images and their captions, each once.

    Args:
        reader: the text side of a model, `lens.reader()`.
        images: at least ten, of any size.
        captions: one for each image.

    Raises:
        InputError: too few, not one caption an image, or a model that reads more than one layer of one
            encoder.
        UnsupportedPipelineError: the loss of the model's family is not known.
    """
    if len(images) != len(captions) or len(images) < 10:
        raise InputError(
            f"Maps are trained on at least 10 images with a caption each; given were {len(images)} images "
            f"and {len(captions)} captions."
        )
    conditioner = reader.conditioner
    loss = DenoisingLoss(conditioner.pipe)
    taps = LayerPlan(conditioner, options=reader.options).taps
    name, positions = next(iter(taps.items()))
    if len(taps) > 1 or len(set(positions)) > 1 or conditioner.slots[name].pooled is not None:
        raise InputError(
            f"{type(conditioner.pipe).__name__} reads more than one layer of one text encoder. Maps are "
            "trained through the denoiser's loss where a model reads that alone, as Stable Diffusion 1 and "
            "2 and the embedded ones. Leave the training out: the maps of the fit serve every model."
        )
    layers = {name: [*range(conditioner.encoders[name].depth + 1)]}
    read = [read_states(reader, text, layers)[name] for text in captions]
    if len({len(one[0]) for one in read}) > 1:
        raise InputError("The captions are read at different lengths, and can't be trained on together.")
    states = torch.stack([torch.stack([one[layer] for one in read]) for layer in layers[name]])
    return CaptionedImages(reader, loss, name, positions[0], loss.encode(images), states)


def train_tuned(
    fitted: TunedFile,
    seen: CaptionedImages,
    *,
    steps: int = 400,
    batch: int = 16,
    lr: float = 2e-4,
    seed: int = 0,
    on_step: Callable[[int], object] = lambda done: None,
) -> TunedFile:
    """Train the maps on, all layers side by side; every fifth caption and image is held out.

    Args:
        fitted: the maps to begin with, of `fit_tuned`.
        seen: images and captions.
        steps: optimisation steps.
        batch: images in a step, which the layers share.
        lr: the learning rate of Adam, which falls to zero over the steps.
        seed: of what is drawn at random.
        on_step: called after each step, with 1.

    Returns:
        The trained maps. Their `errors` are of the held-out captions and have, besides, `loss` and
        `loss_fitted`: the denoiser's mean squared error on the held-out images, with the maps and with
        those that were fitted.

    Raises:
        InputError: the maps are of another encoder, or a number is not above 0.
    """
    for name, value in (("steps", steps), ("batch", batch), ("lr", lr)):
        if not value > 0:
            raise InputError(f"{name} is {value}; it must be above 0.")
    encoder = seen.reader.conditioner.encoders[seen.encoder]
    maps = fitted.encoders.get(seen.encoder)
    if maps is None or maps.fingerprint != encoder.fingerprint:
        raise InputError(
            f"The maps are of another encoder than {seen.encoder} of this model. Fit them anew."
        )
    rows = torch.tensor([row for row, layer in enumerate(maps.layers) if layer != seen.position])
    weight = torch.nn.Parameter(maps.weight[seen.position][rows].clone())
    bias = torch.nn.Parameter(maps.bias[seen.position][rows].clone())
    layers = torch.tensor([maps.layers[row] for row in rows])
    optimizer = torch.optim.Adam([weight, bias], lr=lr)
    trained = seen.trained
    with frozen(seen.reader.conditioner.pipe):
        for step in range(steps):
            generator = torch.Generator().manual_seed(1_000_003 * seed + step)
            chosen = trained[torch.randint(len(trained), (batch,), generator=generator)]
            which = torch.randperm(batch, generator=generator) % len(rows)
            state = seen.states[layers[which], chosen]
            mapped = torch.bmm(state, weight[which].transpose(1, 2)) + bias[which][:, None]
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 - step / steps)
            optimizer.zero_grad()
            seen.errors(mapped, chosen, generator).mean().backward()
            optimizer.step()
            on_step(1)
    whole = [maps.weight[seen.position].clone(), maps.bias[seen.position].clone()]
    whole[0][rows], whole[1][rows] = weight.detach(), bias.detach()
    changed = replace(maps, weight={seen.position: whole[0]}, bias={seen.position: whole[1]})
    return replace(fitted, steps=steps, encoders={seen.encoder: _measured(changed, maps, seen)})


def _measured(changed: EncoderMaps, fitted: EncoderMaps, seen: CaptionedImages) -> EncoderMaps:
    """The trained maps with their errors on what was held out."""
    encoder, held_out = seen.reader.conditioner.encoders[seen.encoder], seen.held_out
    losses = denoising_losses(seen, {"loss": changed, "loss_fitted": fitted})
    rows = []
    for row, layer in enumerate(changed.layers):
        solved = changed.weight[seen.position][row], changed.bias[seen.position][row]
        pairs = [(seen.states[layer, one], seen.states[seen.position, one]) for one in held_out]
        means = {name: float(found[row].mean()) for name, found in losses.items()}
        rows.append(
            {"layer": layer, "position": seen.position, **map_errors(encoder, solved, pairs), **means}
        )
    return replace(changed, errors=rows)


@torch.no_grad()
def denoising_losses(
    seen: CaptionedImages, maps: Mapping[str, EncoderMaps | None], seed: int = 0
) -> dict[str, Float[torch.Tensor, "layer caption"]]:
    """The denoiser's error on the held-out images by layer, with the same noise and times for all.

    Args:
        seen: images and captions.
        maps: by name; None for no map, so that each layer is read as the native one is.
        seed: of noise and times.

    Returns:
        For each of the maps, float32 on the CPU.
    """
    found = {}
    for name, one in maps.items():
        layers = range(len(seen.states)) if one is None else one.layers
        by_layer = [list(_errors_of(seen, one, row, layer, seed)) for row, layer in enumerate(layers)]
        found[name] = torch.stack([torch.cat(parts) for parts in by_layer])
    return found


def _errors_of(
    seen: CaptionedImages, maps: EncoderMaps | None, row: int, layer: int, seed: int
) -> Iterator[torch.Tensor]:
    for number, chosen in enumerate(seen.held_out.split(_AT_ONCE)):
        state = seen.states[layer, chosen]
        if maps is not None:
            state = state @ maps.weight[seen.position][row].T + maps.bias[seen.position][row]
        generator = torch.Generator().manual_seed(1_000_003 * seed + number)
        yield seen.errors(state, chosen, generator).float().cpu()
