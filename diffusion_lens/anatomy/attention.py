"""Cross-attention: which words each place of an image reads while it is made.

In each cross-attention layer of the U-Net every place of the latent asks a query of all tokens, and
`softmax(Q K^T / sqrt(d))` says how much it reads of each (Rombach et al. 2022, section 3.3). The maps
are the mean over heads, layers and steps, as in DAAM (Tang et al. 2023, arXiv 2210.04885).
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from diffusers.models.attention_processor import Attention
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from diffusion_lens.anatomy.sampling import sample
from diffusion_lens.errors import InputError, PromptError, UnsupportedPipelineError
from diffusion_lens.figures.panels import Picture, as_text, draw_images
from diffusion_lens.lens.attention import overlay
from diffusion_lens.models.tokens import align_prompt

__all__ = ["AttentionMaps", "AttentionRecord", "attend", "draw_attention", "overlay", "record_attention"]


@dataclass
class AttentionRecord:
    """What cross-attention layers did; filled while the U-Net runs.

    Attributes:
        maps: attention by the layer's path, one tensor a call: `[row, token, y, x]`, the mean over heads.
            At each place it sums to 1 over tokens.
    """

    maps: dict[str, list[Float[Tensor, "row token y x"]]] = field(default_factory=dict)


@dataclass(frozen=True)
class AttentionMaps:
    """How much each place of an image read of each token.

    Attributes:
        image: the image.
        words: the words of the prompt, each with the positions of its tokens.
        tokens: attention by step and token, at the latent's size; sums to 1 over tokens.
    """

    image: Image.Image
    words: tuple[tuple[str, tuple[int, ...]], ...]
    tokens: Float[Tensor, "step token y x"]

    def of_words(self) -> Float[Tensor, "word y x"]:
        """The mean over steps, summed over each word's tokens."""
        mean = self.tokens.mean(0)
        return torch.stack([mean[list(positions)].sum(0) for _, positions in self.words])

    @property
    def table(self) -> pd.DataFrame:
        """One row a word: `word`, `share` of all attention, and `peak` over mean of its map."""
        maps = self.of_words()
        return pd.DataFrame(
            {
                "word": [word for word, _ in self.words],
                "share": maps.mean((1, 2)).tolist(),
                "peak": (maps.amax((1, 2)) / maps.mean((1, 2))).tolist(),
            }
        )


@contextmanager
def record_attention(unet: Any) -> Iterator[AttentionRecord]:
    """Record the cross-attention of a U-Net while the body runs it.

    The layers compute as ever; a hook works the attention out a second time from what they were given,
    with their own `to_q`, `to_k` and `get_attention_scores`. So the images do not change, and when the
    hooks are gone nothing is left behind.

    Args:
        unet: a diffusers U-Net whose cross-attention layers are `Attention` modules.

    Raises:
        UnsupportedPipelineError: it has no cross-attention layer.
    """
    layers = {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, Attention) and module.is_cross_attention
    }
    if not layers:
        raise UnsupportedPipelineError(f"{type(unet).__name__} has no cross-attention layer to record.")
    record = AttentionRecord({name: [] for name in layers})
    side: list[tuple[int, int]] = [(0, 0)]

    def on_call(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sample: Any = args[0] if args else kwargs["sample"]
        side[0] = (sample.shape[-2], sample.shape[-1])

    def on_layer(name: str) -> Any:
        def keep(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], _output: Any) -> None:
            places: Any = args[0] if args else kwargs["hidden_states"]
            with torch.no_grad():
                weights = _attention(layer, places, kwargs["encoder_hidden_states"], kwargs)
            ratio = (side[0][0] * side[0][1] / weights.shape[1]) ** 0.5
            shape = (round(side[0][0] / ratio), round(side[0][1] / ratio))
            record.maps[name].append(weights.transpose(1, 2).unflatten(2, shape).float().cpu())

        return keep

    with ExitStack() as stack:
        stack.callback(unet.register_forward_pre_hook(on_call, with_kwargs=True).remove)
        for name, layer in layers.items():
            handle = layer.register_forward_hook(on_layer(name), with_kwargs=True)
            stack.callback(handle.remove)
        yield record


def _attention(
    layer: Any, places: Tensor, states: Tensor, kwargs: dict[str, Any]
) -> Float[Tensor, "row place token"]:
    """A layer's attention, the mean over its heads."""
    if layer.norm_cross:
        states = layer.norm_encoder_hidden_states(states)
    mask = layer.prepare_attention_mask(kwargs.get("attention_mask"), states.shape[1], len(states))
    query, key = layer.head_to_batch_dim(layer.to_q(places)), layer.head_to_batch_dim(layer.to_k(states))
    scores = layer.get_attention_scores(query, key, mask)
    return scores.unflatten(0, (len(states), -1)).mean(1)


def attend(
    pipe: Any, prompt: str, seed: int = 0, *, steps: int = 20, guidance: float = 4.0
) -> AttentionMaps:
    """Make an image and see where it read each word of its prompt.

    Maps of smaller layers are enlarged linearly to the latent's size. Only the pass with the
    caption counts, not that with the empty one.

    Args:
        pipe: a pipeline with a `unet` and a `tokenizer`.
        prompt: the caption.
        seed: of the noise.
        steps: denoising steps.
        guidance: guidance scale.

    Raises:
        UnsupportedPipelineError: no cross-attention layer.
        PromptError: the prompt is longer than the encoder reads.
    """
    ids = pipe.tokenizer(prompt, padding="max_length", truncation=True).input_ids
    read = align_prompt(pipe.tokenizer, prompt, ids)
    if read.cut_words():
        raise PromptError(f"{' '.join(read.cut_words())!r} was cut off: the prompt {prompt!r} is too long.")
    words = read.words()
    with record_attention(pipe.unet) as record:
        image = sample(pipe, [prompt], [seed], steps=steps, guidance=guidance)[0]
    layers = list(record.maps.values())
    height = max(layer[0].shape[-2] for layer in layers)
    width = max(layer[0].shape[-1] for layer in layers)
    by_layer = [
        torch.nn.functional.interpolate(
            torch.stack([step[-1] for step in layer]), (height, width), mode="bilinear"
        )
        for layer in layers
    ]
    return AttentionMaps(image, tuple(words), torch.stack(by_layer).mean(0))


def draw_attention(maps: Sequence[AttentionMaps] | AttentionMaps) -> Figure:
    """Draw the image and, for each word, where it was read.

    Red is where a word was read more than its own mean; all words share one scale, so that words which are
    read alike everywhere stay pale. The number below a word is its share of all attention; pads and special
    tokens have the rest.

    Args:
        maps: one or more; prompts of fewer words leave cells empty.

    Raises:
        InputError: there are no maps.
    """
    several = [maps] if isinstance(maps, AttentionMaps) else list(maps)
    if not several:
        raise InputError("There are no attention maps to draw.")
    ratios = [one.of_words() / one.of_words().mean((1, 2), keepdim=True) for one in several]
    # the highest places of all, but for outliers
    most = max(float(torch.cat([ratio.flatten() for ratio in ratios]).quantile(0.98)), 1.01)
    longest = max((len(one.words) for one in several), default=0)
    rows: list[list[Picture | None]] = []
    labels = []
    for one in several:
        tiles: list[Picture | None] = [overlay(one.image, heat, most) for heat in one.of_words()]
        empty = longest - len(tiles)
        rows.append([one.image, *tiles, *[None] * empty])
        words = [f"{as_text(row.word)}\n{row.share:.0%}" for row in one.table.itertuples()]
        labels.append(["image", *words, *[""] * empty])
    return draw_images(
        rows,
        cell_labels=labels,
        title=f"attention to each word: pale at its mean or less, red at {most:.1f} times and more",
    )
