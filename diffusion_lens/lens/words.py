"""Draw and say: beside each drawn state, the words that the same state says."""

import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from diffusion_lens.errors import InputError
from diffusion_lens.lens.asked import Asked
from diffusion_lens.lens.model import Model
from diffusion_lens.text.encode import States, check_prompts
from diffusion_lens.text.interventions.tokens import Tokens
from diffusion_lens.text.reading import Reading, ResolvedReading
from diffusion_lens.text.vocabulary import SaidBy, Saying, Vocabulary

__all__ = ["DrawnBy", "add_words", "say_layers"]

_READING = ("prompt", *Reading().columns())


@dataclass(frozen=True)
class DrawnBy:
    """What drew the images of a result, and how: to draw them again, or to say their states in words.

    Attributes:
        model: what drew it; a result does not keep its model in memory.
        readings: how each layer was read.
        options: the arguments of the pipeline's `__call__` that its encoders see.
    """

    model: "weakref.ref[Model]"
    readings: tuple[ResolvedReading, ...]
    options: Mapping[str, Any]

    def words(
        self,
        states: States,
        k: int,
        tokens: Tokens,
        by: SaidBy | None,
        words: Sequence[str] | None,
        through: str | os.PathLike[str] | None,
    ) -> pd.DataFrame:
        """See `Result.words`."""
        model = self.model()
        if model is None:
            raise InputError(
                "The lens that drew this result is gone, and with it its encoders. Keep it in a variable: "
                "lens = DiffusionLens.from_pretrained(...)."
            )
        model.conditioner.check_present()
        reader = model.reader(self.options)
        return _table(Vocabulary(reader, words, through), states, self.readings, k, tokens, by)


def say_layers(
    lens: Model,
    prompts: str | Sequence[str],
    layers: Asked = "all",
    *,
    k: int = 5,
    tokens: Tokens = "content",
    by: SaidBy | None = None,
    words: Sequence[str] | None = None,
    through: str | os.PathLike[str] | None = None,
    how: Reading | None = None,
    tidy: bool = False,
) -> pd.DataFrame:
    """What the layers of prompts say in words, without drawing them.

    Args:
        lens: the model.
        prompts: one prompt or several.
        layers: as for a call of the lens.
        k: how many words for each token.
        tokens: whose states; see `diffusion_lens.text.interventions.tokens`.
        by: "head" or "nearest"; see `diffusion_lens.text.vocabulary`. None takes the head where an encoder
            has one and no words are given.
        words: those that "nearest" compares with; a list of everyday words if None.
        through: a file of maps that states go through before the head reads them; see
            `diffusion_lens.text.state_maps`.
        how: how layers are read that are not a `Reading` themselves.
        tidy: one row for each word that is said.

    Returns:
        The table of `Result.words`; or, tidy, `position` (of the token's first piece, from 0), `rank` (1 is
        the most likely), `word` and `score` in the place of `said` and `scores`.

    Raises:
        PromptError, LayerError, EncoderError, InputError: something asked for can't be.

    Example:
        ```python
        table = say_layers(lens, "a puppy on a beach", by="nearest", tokens="puppy")
        table[["layer", "said"]]
        ```
    """
    lens.conditioner.check_present()
    reader = lens.reader()
    readings = lens.readings(layers, how, reader)
    states = reader.encode(check_prompts(prompts), readings)
    return _table(Vocabulary(reader, words, through), states, readings, k, tokens, by, tidy)


def add_words(table: pd.DataFrame, words: pd.DataFrame) -> pd.DataFrame:
    """A table of images with what each drawn state says.

    Args:
        table: the table of a result.
        words: what `Result.words` gave for it.

    Returns:
        The table with the columns `said` ("fox: fox, wolf | car: car") and `said_by`.
    """
    keys = list(_READING)
    lines = words.assign(said=words["token"] + ": " + words["said"])
    several = lines.groupby(keys, sort=False)["state_of"].transform("nunique") > 1
    lines.loc[several, "said"] = lines["state_of"] + " " + lines["said"]
    grouped = lines.groupby(keys, sort=False)
    joined = pd.DataFrame({"said": grouped["said"].agg(" | ".join), "said_by": grouped["by"].first()})
    plain = table.drop(columns=["said", "said_by"], errors="ignore")
    merged: pd.DataFrame = plain.merge(joined.reset_index(), on=keys, how="left", validate="many_to_one")
    return merged


def _table(
    vocabulary: Vocabulary,
    states: States,
    readings: Sequence[ResolvedReading],
    k: int,
    tokens: Tokens,
    by: SaidBy | None,
    tidy: bool = False,
) -> pd.DataFrame:
    reader = vocabulary.reader
    prompts = next(iter(states.values())).prompts
    reader.prepare(prompts, readings)
    rows: list[dict[str, Any]] = []
    for index, prompt in enumerate(prompts):
        one = {name: batch[index] for name, batch in states.items()}
        for reading in readings:
            drawn = reader.drawn_states(one, reading)
            for name in reading.moving:
                for source in dict.fromkeys(reading.sources[name]):
                    for said in vocabulary.say(drawn[name], source, k, tokens, by):
                        of = {"prompt": prompt, **reading.columns(), "state_of": f"{name} {source}"}
                        rows += [{**of, **row} for row in (_ranked(said) if tidy else [_joined(said)])]
    own = (
        ["position", "token", "by", "rank", "word", "score"] if tidy else ["token", "by", "said", "scores"]
    )
    table: pd.DataFrame = pd.DataFrame(rows, columns=[*_READING, "layer", "native", "state_of", *own])
    return table


def _joined(said: Saying) -> dict[str, Any]:
    """What one state says as one row."""
    return {"token": said.token, "by": said.by, "said": ", ".join(said.words), "scores": said.scores}


def _ranked(said: Saying) -> list[dict[str, Any]]:
    """What one state says, a row for each word."""
    of = {"position": said.position, "token": said.token, "by": said.by}
    found = zip(said.words, said.scores, strict=True)
    return [
        {**of, "rank": rank, "word": word, "score": score} for rank, (word, score) in enumerate(found, 1)
    ]
