"""A trained denoiser taught to read another text encoder, without training: its keys and values are mapped.

The cross-attention of a denoiser reads text states by linear maps (keys and values) alone. If `A` maps the
states of a new encoder to those of the old one, `W A` reads the new states as `W` reads the old ones, and
everything else of the denoiser stays. `A` is found by ridge regression over the tokens of many captions:

    A = argmin sum_t w_t |A s_t - m_t|^2 + ridge * |A|^2

with `s_t` the new encoder's state of a token and `m_t` the old encoder's state at the same word. Training
that starts from there needs a fraction of the samples of training from fresh projections.
"""

from collections.abc import Sequence

import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor

from diffusion_lens.testbed import captions, scenes
from diffusion_lens.testbed.encoders import CaptionEncoder

__all__ = ["CAPTIONS", "align", "graft", "map_states", "match_states"]

CAPTIONS, SEED = 1800, 77_001  # that the map is fitted on, and their stream
RIDGE = 1e-3  # of the mean variance of a state's component
WEIGHTS = {"word": 1.0, "after": 0.3, "before": 0.1}  # of a token by its kind; pads are many
Span = tuple[int, int]


def align(new: Sequence[Span], old: Sequence[Span]) -> list[tuple[int, int, str]]:
    """Match the tokens of one text under two tokenizers.

    Args:
        new: first and last character of each token, pads included; (0, 0) where it stands for none.
        old: those of the other tokenizer.

    Returns:
        new position, old position, and a key of `WEIGHTS`. A token of a word goes to the one that holds its
        last character; what stands before the first word to the first; what follows the last word to what
        follows it there, in order.
    """
    new_words = [i for i, (start, end) in enumerate(new) if end > start]
    old_words = [i for i, (start, end) in enumerate(old) if end > start]
    first = new_words[0] if new_words else len(new)
    last_new = new_words[-1] if new_words else 0
    last_old = old_words[-1] if old_words else 0
    pairs = []
    for position, (start, end) in enumerate(new):
        if end > start:
            match = next((i for i in old_words if old[i][0] < end <= old[i][1]), None)
            if match is not None:
                pairs.append((position, match, "word"))
        elif position < first:
            pairs.append((position, 0, "before"))
        else:
            pairs.append((position, min(last_old + position - last_new, len(old) - 1), "after"))
    return pairs


def match_states(
    new: CaptionEncoder, old: CaptionEncoder, texts: Sequence[str]
) -> tuple[Float[Tensor, "text token wide"], Float[Tensor, "text token"]]:
    """What each token of a new encoder should be read as: an old encoder's state at the same word.

    Returns:
        the old states, in half precision, and the weight of each token: 0 where it matches none.
    """
    states = old(list(texts))
    where = torch.zeros(len(texts), new.tokenizer.model_max_length, dtype=torch.long)
    weights = torch.zeros(where.shape)
    for index, text in enumerate(texts):
        for position, match, kind in align(_spans(new, text), _spans(old, text)):
            where[index, position] = match
            weights[index, position] = WEIGHTS[kind]
    return states[torch.arange(len(texts))[:, None], where], weights


def map_states(new: CaptionEncoder, old: CaptionEncoder, texts: Sequence[str]) -> Float[Tensor, "old new"]:
    """The ridge map from a new encoder's states to an old one's, fitted on captions."""
    targets, weights = match_states(new, old, texts)
    chosen = weights > 0
    x, y = new(list(texts))[chosen].double(), targets[chosen].double()
    weighted = x * weights[chosen].double()[:, None]
    gram = weighted.T @ x
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.double)
    return torch.linalg.solve(gram, weighted.T @ y).T.float()


def graft(
    denoiser: UNet2DConditionModel, new: CaptionEncoder, old: CaptionEncoder, count: int = CAPTIONS
) -> UNet2DConditionModel:
    """The same denoiser, reading the states of `new` as it reads those of `old`.

    Args:
        denoiser: trained on the states of `old`, in float32.
        new: the encoder to read.
        old: the encoder that it was trained with.
        count: captions that the map is fitted on.
    """
    texts = [captions.caption(scenes.sample(SEED, i), SEED, i) for i in range(count)]
    mapped = map_states(new, old, texts)
    weights = denoiser.state_dict()
    for name in weights:
        if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight")):
            weights[name] = weights[name] @ mapped.to(weights[name].device)
    grafted = UNet2DConditionModel.from_config({**denoiser.config, "cross_attention_dim": new.width})
    grafted.load_state_dict(weights)
    return grafted


def _spans(encoder: CaptionEncoder, text: str) -> list[Span]:
    tokens = encoder.tokenizer(text, padding="max_length", truncation=True, return_offsets_mapping=True)
    return [(int(a), int(b)) for a, b in tokens.offset_mapping]
