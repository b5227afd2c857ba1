"""LEGO: learn concepts beyond a subject's looks (adjectives, states, relations) from a few images.

After Motamed, Paudel and Van Gool 2023 (arXiv 2311.13833, ECCV 2024): Textual Inversion of "melting" from
images of a melting cube learns the cube as well. Subject Separation gives the subject an embedding of its
own, learned together with the concept's from images of the subject alone; a Context Loss draws the
concept's embedding towards words that describe it and away from others.

The abstract says what the parts are for, and the authors' repository holds no code. The following is
our reading:

- Subject Separation: images of the concept are described by sentences that hold both tokens, "a <concept>
  <subject>", those of the subject alone by the usual ones, and both embeddings are trained in one step.
  The subject's looks are explained by its own embedding in both, and none of them is left for the
  concept's.
- Context Loss: InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) over cosines in the space of token
  embeddings, in the form of ReVersion's steering loss (Huang et al. 2023, arXiv 2303.13495),
  -log(sum over positives exp(cos / t) / sum over positives and negatives exp(cos / t)).
  A word of several tokens, and an embedding of several vectors, is the mean of its vectors. The subject's
  embedding, as it is and without a gradient to it, is one of the negatives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from diffusion_lens.errors import InputError
from diffusion_lens.learning.concepts import Concept
from diffusion_lens.learning.training import Learner
from diffusion_lens.text.embeddings import Embedding, initial_embedding

__all__ = ["SENTENCES", "Context", "LegoLearner", "context_loss", "mean_embedding", "separated"]

SENTENCES = (
    "a {} {subject}",
    "a photo of a {} {subject}",
    "a picture of a {} {subject}",
    "an image of a {} {subject}",
    "a drawing of a {} {subject}",
)
"""Sentences for an adjective: {} is the concept's token and {subject} the subject's."""


@dataclass(frozen=True)
class Context:
    """Which words a concept's embedding should be near to, and which not.

    Attributes:
        token: the concept's token.
        subject: the token of the subject that its images show; its embedding is one of the negatives.
        positive: words that describe the concept.
        negative: words that do not describe it, such as antonyms and the subject's name.
        weight: the weight of the context loss, where the denoiser's has 1.
        temperature: the temperature of the context loss.
    """

    token: str
    subject: str
    positive: tuple[str, ...]
    negative: tuple[str, ...] = ()
    weight: float = 0.01
    temperature: float = 0.07

    def __post_init__(self) -> None:
        if not self.positive:
            raise InputError(
                f"{self.token} has no positive words. Give some that describe the concept, such as melted "
                "and liquid for melting."
            )
        both = sorted(set(self.positive) & set(self.negative))
        if both:
            raise InputError(f"{', '.join(both)} can't be positive and negative for {self.token}; choose.")
        if not self.weight >= 0 or not self.temperature > 0:
            raise InputError(
                f"The context loss of {self.token} has weight {self.weight} and temperature "
                f"{self.temperature}; the weight must be at least 0 and the temperature above 0."
            )


def separated(concept: Concept, subject: Concept, sentences: Sequence[str] = SENTENCES) -> list[Concept]:
    """The concept with sentences that also hold the subject's token, and the subject.

    Args:
        concept: images of the concept on the subject; its sentences are replaced.
        subject: images of the subject alone.
        sentences: sentences with {} for the concept's token and {subject} for the subject's.

    Raises:
        InputError: both have the same token, or a sentence lacks one of the two.
    """
    if concept.token == subject.token:
        raise InputError(f"Concept and subject are both {concept.token!r}; give two different tokens.")
    for sentence in sentences:
        if "{subject}" not in sentence or sentence.count("{}") != 1:
            raise InputError(
                f"The sentence {sentence!r} must hold {{}} once for the concept, and {{subject}}: without "
                "the subject's word, its looks go into the concept's."
            )
    described = tuple(sentence.replace("{subject}", subject.token) for sentence in sentences)
    return [replace(concept, captions=(described,) * len(concept.images)), subject]


def context_loss(
    rows: Float[Tensor, "vector width"],
    positive: Float[Tensor, "positive width"],
    negative: Float[Tensor, "negative width"],
    temperature: float,
) -> Float[Tensor, ""]:
    """InfoNCE of an embedding's mean vector with any of the positive words, against all words."""
    mean = rows.mean(0)
    near = cosine_similarity(positive, mean, dim=-1) / temperature
    far = cosine_similarity(negative, mean, dim=-1) / temperature
    return torch.cat([near, far]).logsumexp(0) - near.logsumexp(0)


@dataclass
class LegoLearner(Learner):
    """Embeddings in training, some of which have a context loss.

    Args:
        pipe: as for `Learner`.
        concepts: concepts and their subjects, such as `separated` gives them.
        settings: as for `Learner`.
        contexts: the contexts of concepts.

    Raises:
        InputError: a context is of a token that is not learned, or a tokenizer doesn't know a word of it.
    """

    contexts: Sequence[Context] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        learned = [embedding.token for embedding in self.embeddings]
        for one in self.contexts:
            missing = [token for token in (one.token, one.subject) if token not in learned]
            if missing:
                raise InputError(
                    f"The context of {one.token} names {', '.join(missing)}, which is not learned here. "
                    f"Learned: {', '.join(learned)}."
                )
        self._anchors = [
            (_rows(self.pipe, one.positive), _rows(self.pipe, one.negative)) for one in self.contexts
        ]

    def describe(self) -> dict[str, Any]:
        """What the outcome follows from, with the contexts."""
        return super().describe() | {"contexts": [asdict(one) for one in self.contexts]}

    def losses(self, step: int) -> Float[Tensor, " concept"]:
        """The denoiser's loss of each concept, with the context loss added to those that have one."""
        losses = super().losses(step)
        learned = {embedding.token: (index, embedding) for index, embedding in enumerate(self.embeddings)}
        added = torch.zeros_like(losses)
        for one, (positive, negative) in zip(self.contexts, self._anchors, strict=True):
            index, embedding = learned[one.token]
            subject = learned[one.subject][1]
            each = [
                context_loss(
                    rows,
                    positive[name],
                    torch.cat([negative[name], subject.vectors[name].detach().mean(0, keepdim=True)]),
                    one.temperature,
                )
                for name, rows in embedding.vectors.items()
            ]
            where = torch.arange(len(losses), device=losses.device) == index
            added = added + where * (one.weight * torch.stack(each).mean()).to(losses.device)
        return losses + added


def mean_embedding(pipe: Any, token: str, words: Sequence[str]) -> Embedding:
    """An embedding that is the mean of those of some words, with nothing learned."""
    rows = _rows(pipe, words)
    return Embedding(token, {name: each.mean(0, keepdim=True) for name, each in rows.items()})


def _rows(pipe: Any, words: Sequence[str]) -> Mapping[str, Float[Tensor, "word width"]]:
    """The mean vector of each word, by encoder."""
    found = [initial_embedding(pipe, word, word).vectors for word in words]
    if not found:
        some = initial_embedding(pipe, "none", None).vectors
        return {name: rows[:0] for name, rows in some.items()}
    return {name: torch.cat([rows[name] for rows in found]) for name in found[0]}
