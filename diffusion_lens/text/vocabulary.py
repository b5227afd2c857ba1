"""`Vocabulary`: hidden states in words, by the encoder's own vocabulary head or by the nearest words."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float

from diffusion_lens.errors import EncoderError, InputError
from diffusion_lens.models.encoders import TextEncoder
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.models.tokens import find_tokenizer
from diffusion_lens.text.interventions.tokens import TokenPlaces, Tokens
from diffusion_lens.text.reader import Reader
from diffusion_lens.text.state_maps import StateMaps
from diffusion_lens.text.states import LayerStates

__all__ = ["SaidBy", "Saying", "Vocabulary", "everyday_words", "find_head"]

SaidBy = Literal["head", "nearest"]
"""Where words come from: "head", the encoder's own vocabulary head after its final norm, as if the state
were the last one (nostalgebraist, 2020, "Interpreting GPT: the logit lens"); it names the next token.
"nearest", the words of a list whose own states at the same layer are nearest."""

_TEMPLATE = "a {}"
_BATCH = 32


def everyday_words() -> tuple[str, ...]:
    """The words that a state is compared with unless others are given."""
    text = resources.files("diffusion_lens.text").joinpath("everyday_words.txt").read_text("utf-8")
    return tuple(dict.fromkeys(text.split()))


@dataclass(frozen=True)
class Saying:
    """What a hidden state says.

    Attributes:
        token: the word of the prompt, or the token, whose state it is.
        position: of its first token, from 0.
        by: where the words come from, with the file of the maps that it went through, if any.
        words: the words, the most likely first.
        scores: of each, its probability (head) or cosine similarity (nearest).
    """

    token: str
    position: int
    by: str
    words: tuple[str, ...]
    scores: tuple[float, ...]


def find_head(encoder: TextEncoder) -> Float[torch.Tensor, "word width"] | None:
    """The weights from a normed state to the vocabulary; None where an encoder has no such head."""
    module: Any = encoder.module
    if not encoder.family.decoder:
        return None
    head = module.get_output_embeddings() if hasattr(module, "get_output_embeddings") else None
    if head is None and getattr(module.config.get_text_config(), "tie_word_embeddings", False):
        head = module.get_input_embeddings()
    weight: torch.Tensor | None = getattr(head, "weight", None)
    return None if weight is None or weight.is_meta else weight.detach()


class Vocabulary:
    """Says hidden states of a pipeline's encoders in words.

    Args:
        reader: the pipeline's text side.
        words: the words that are compared with, for "nearest"; `everyday_words()` if None. Each is read
            once, as "a fox", by each encoder that is asked.
        through: a file of maps that a state goes through before the head reads it: a Jacobian lens (Gurnee
            et al., 2026), published or of `fit_jacobian`, or a tuned one; see `text.state_maps`.
    """

    def __init__(
        self,
        reader: Reader,
        words: Sequence[str] | None = None,
        through: str | os.PathLike[str] | None = None,
    ) -> None:
        self.reader = reader
        self.through = through
        self.listed = words is not None
        self.words = everyday_words() if words is None else tuple(dict.fromkeys(words))
        if len(self.words) < 2:
            raise InputError("Nearest words need a list of at least two words to choose from.")
        self._known: dict[tuple[str, SiteKey], torch.Tensor] = {}

    def choose(self, name: str, by: SaidBy | None) -> SaidBy:
        """Where the words of an encoder come from: as asked, the list given, or the head where it has one.

        Raises:
            EncoderError: it is asked for a head that it lacks.
            InputError: no such way, a head of another vocabulary than the tokenizer's, or a list of words
                for a head, which has its own.
        """
        if by not in (None, "head", "nearest"):
            raise InputError(f"{by!r} is no way to say a state. Allowed: head, nearest.")
        if self.listed and by is None and self.through is None:
            by = "nearest"
        if self.listed and by != "nearest":
            raise InputError(
                "A list of words is for the nearest words to choose from, and a vocabulary head chooses "
                "from all that it has. Leave the list out, or say the states by the nearest words, without "
                "maps: --by nearest (by='nearest')."
            )
        encoder = self.reader.conditioner.encoders[name]
        if self.through is not None and by == "nearest":
            raise InputError(
                f"Maps such as {self.through} lead to what the vocabulary head reads, and nearest words "
                "are of the layer itself. Leave the maps out, or say the states by the head."
            )
        head = find_head(encoder) if by != "nearest" else None
        if (by == "head" or self.through is not None) and head is None:
            raise EncoderError(
                f"{name} ({type(encoder.module).__name__}) has no vocabulary head at hand. Say its states "
                "by the nearest words: --by nearest (by='nearest')."
            )
        if head is None:
            return "nearest"
        known = len(self._tokenizer(name))
        if head.shape[0] < known:
            raise InputError(
                f"The vocabulary head of {name} has {head.shape[0]} words, and its tokenizer {known}: they "
                "do not belong together. Say its states by the nearest words: --by nearest (by='nearest')."
            )
        return "head"

    @torch.no_grad()
    def say(
        self,
        states: LayerStates,
        site: SiteKey,
        k: int = 5,
        tokens: Tokens = "content",
        by: SaidBy | None = None,
    ) -> list[Saying]:
        """What the states of one prompt say at one site.

        The state of a word of several tokens is that of its last one for "head", which predicts what comes
        next, and the mean of all for "nearest".

        Args:
            states: of one prompt.
            site: a layer, or a part of a block.
            k: how many words.
            tokens: whose states; see `diffusion_lens.text.interventions.tokens`.
            by: see `SaidBy`; if None, "nearest" of a list that was given, else "head" where there is one.

        Raises:
            EncoderError, InputError: see `choose`; or k is no number of words.
            LayerError: the maps have none from the site.
            PromptError: the prompt lacks one of the tokens.
        """
        name = states.encoder
        chosen = self.choose(name, by)
        most = len(self.words) if chosen == "nearest" else len(self._tokenizer(name))
        if not 1 <= k <= most:
            raise InputError(f"{k} words were asked for of each token; there are 1 to {most}.")
        places = self.reader.places_of(states)
        groups = _groups(places, tokens, states.tokens[0])
        if not groups:  # an empty prompt has no word
            return []
        state = states.layer(site)[0].float()
        if chosen == "head":
            read = torch.stack([state[group[-1]] for _, group in groups])
            if self.through is not None:
                read = StateMaps.load(self.through, self.reader.conditioner.encoders[name])(read, site)
            scores = self._head_scores(name, read)
        else:
            read = torch.stack([state[list(group)].mean(0) for _, group in groups])
            scores = self._similarities(name, site, read)
        found = []
        for (token, group), row in zip(groups, scores, strict=True):
            top = row.topk(k)
            words = tuple(self._word(name, index, chosen) for index in top.indices.tolist())
            said_by = chosen if self.through is None else f"{chosen} through {Path(self.through).name}"
            found.append(Saying(token, group[0], said_by, words, tuple(top.values.tolist())))
        return found

    def _tokenizer(self, name: str) -> Any:
        conditioner = self.reader.conditioner
        return find_tokenizer(conditioner.pipe, conditioner.slots[name])

    def _word(self, name: str, index: int, by: SaidBy) -> str:
        return self.words[index] if by == "nearest" else str(self._tokenizer(name).decode([index])).strip()

    def _head_scores(self, name: str, read: torch.Tensor) -> torch.Tensor:
        encoder = self.reader.conditioner.encoders[name]
        head = find_head(encoder)
        if head is None:
            raise EncoderError(f"{name} has no vocabulary head at hand.")
        normed = encoder.final_norm(read.to(head.device, head.dtype))
        words = head[: len(self._tokenizer(name))]  # some heads are longer than the vocabulary
        logits = (normed @ words.T).float()
        config: Any = encoder.module.config
        cap = getattr(config.get_text_config(), "final_logit_softcapping", None)
        if cap is not None:  # of Gemma 2 (arXiv 2408.00118, section 2)
            logits = cap * torch.tanh(logits / cap)
        return logits.softmax(-1).cpu()

    def _similarities(self, name: str, site: SiteKey, read: torch.Tensor) -> torch.Tensor:
        """Cosine similarity to each word of the list, after the mean of the list was taken away."""
        if (name, site) not in self._known:
            self._read_words(name, site)
        known = self._known[name, site]
        mean = known.mean(0)
        one, other = (torch.nn.functional.normalize(each - mean, dim=-1) for each in (read, known))
        return one @ other.T

    def _read_words(self, name: str, site: SiteKey) -> None:
        """Read each word of the list once, at every layer, so that further layers cost nothing."""
        conditioner = self.reader.conditioner
        encoder = conditioner.encoders[name]
        layers: list[SiteKey] = [*range(encoder.depth + 1)]
        wanted = layers if site in layers else [site]
        vectors: dict[SiteKey, list[torch.Tensor]] = {one: [] for one in wanted}
        texts = [_TEMPLATE.format(word) for word in self.words]
        with self.reader.in_use():
            for start in range(0, len(texts), _BATCH):
                batch = texts[start : start + _BATCH]
                seen = conditioner.capture(batch, {name: wanted}, self.reader.options)[name]
                read = {one: encoder.batch_first(seen.states[one]).float() for one in wanted}
                ids = seen.input_ids
                mask = torch.ones_like(ids) if seen.attention_mask is None else seen.attention_mask
                for row, text in enumerate(batch):
                    known = ids[row].tolist(), mask[row].bool().tolist()
                    places = self.reader.find_places(name, text, *known)
                    # found by its letters: the "a" before it is two tokens of T5
                    own = list(places.prompt.find(places.expand(self.words[start + row]))[-1])
                    for one in wanted:
                        vectors[one].append(read[one][row, own].mean(0).cpu())
        for one, found in vectors.items():
            self._known[name, one] = torch.stack(found)


def _groups(
    places: TokenPlaces, tokens: Tokens, written: Sequence[str]
) -> list[tuple[str, tuple[int, ...]]]:
    """The chosen positions: the pieces of a word together, each other token by itself."""
    chosen = set(places.select(tokens))
    found: list[tuple[str, tuple[int, ...]]] = []
    for word, own in places.words():
        group = tuple(place for place in own if place in chosen)
        if group:
            found.append((word, group))
            chosen -= set(group)
    found += [(written[place], (place,)) for place in chosen]
    return sorted(found, key=lambda one: one[1])
