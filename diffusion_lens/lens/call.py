"""`Call`: one call of a lens, resolved before anything is drawn, and its rows as they are drawn."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from diffusion_lens.images.denoise import Denoiser, ImageRequest
from diffusion_lens.images.sampler import Sampler, check_seeds
from diffusion_lens.lens.asked import Asked, resolve_asked
from diffusion_lens.lens.model import Model
from diffusion_lens.lens.provenance import where_drawn
from diffusion_lens.lens.settings import Settings
from diffusion_lens.models.conditioning import Conditioning
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.runs.plan import cell_ids, embeddings_in
from diffusion_lens.runs.table import Origin, make_row
from diffusion_lens.text.embedding_tokens import describe_unused
from diffusion_lens.text.encode import States, check_prompts, select
from diffusion_lens.text.reader import Reader
from diffusion_lens.text.reading import Reading, ResolvedReading

log = logging.getLogger(__name__)

__all__ = ["Call"]


@dataclass(frozen=True)
class Call:
    """Prompts, readings and seeds of one call, and all that is needed to draw them.

    Attributes:
        prompts: the prompts.
        readings: how each is read.
        seeds: the seeds that each reading is drawn with.
        settings: the resolved sampler settings.
        reader: the pipeline's text side.
        denoiser: its denoising side.
        origin: what all rows share.
        embeddings: learned embeddings that prompts may hold, a hash by token.
        states: the hidden states of the prompts, by encoder.
        given: the states were given by the caller, who may have changed them.
    """

    prompts: tuple[str, ...]
    readings: tuple[ResolvedReading, ...]
    seeds: tuple[int, ...]
    settings: Settings
    reader: Reader
    denoiser: Denoiser
    origin: Origin
    embeddings: Mapping[str, str]
    states: States
    given: bool

    @classmethod
    def resolve(
        cls,
        model: Model,
        prompts: str | Sequence[str],
        layers: Asked,
        seeds: int | Sequence[int],
        how: Reading,
        sampler: Sampler,
        upscale: Sampler | None = None,
        states: States | None = None,
    ) -> "Call":
        """Check what was asked for, and encode the prompts unless their states are given.

        Raises:
            PromptError, LayerError, EncoderError, SamplerError, InputError: something asked for can't be.
        """
        texts, numbers = check_prompts(prompts), check_seeds(seeds)
        model.conditioner.check_present()
        settings = model.settings(sampler, upscale)
        reader = model.reader(settings.sampler.options)
        readings = resolve_asked(model.conditioner, layers, how, reader.options)
        given = states is not None
        if states is None:
            states = reader.encode(texts, readings)
        else:
            states = select(model.conditioner, states, texts, readings, reader.options, reader.words)
        reader.prepare(texts, readings)
        origin = Origin(
            model.name,
            model.revision,
            settings.columns(),
            str(model.denoiser.approximations),
            model.dtype,
            where=where_drawn(model.conditioner.device),
        )
        hashes = model.embeddings.hashes
        _check_words(reader, states, readings)
        if warning := describe_unused(hashes, [*texts, settings.sampler.negative_prompt or ""]):
            log.warning(warning)
        return cls(
            texts, readings, numbers, settings, reader, model.denoiser, origin, hashes, states, given
        )

    def __len__(self) -> int:
        return len(self.prompts) * len(self.readings) * len(self.seeds)

    def draw(self, release: Callable[[], object] | None = None, *, progress: bool = False) -> pd.DataFrame:
        """The whole table; images that are missing are reported.

        Args:
            release: see `rows`.
            progress: show a progress bar.
        """
        total = len(self) * self.settings.steps
        with tqdm(total=total, unit="step", disable=not progress, desc="Drawing") as bar:
            rows = list(self.rows(bar.update, release))
        for row in rows:
            if row["missing"] is not None:
                where = (row["layer"], row["seed"], row["prompt"], row["missing"])
                log.warning("Missing: layer %s, seed %s of %r: %s", *where)
        table: pd.DataFrame = pd.DataFrame(rows)
        return table

    def rows(
        self,
        on_step: Callable[[int], object] = lambda images: None,
        release: Callable[[], object] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The rows of the table, in order, each as soon as its batch is drawn.

        Args:
            on_step: called after each denoising step with the number of images in the batch.
            release: called once the text encoders are no longer needed, before the first image.
        """
        negative = Conditioning()
        if self.settings.guided:
            negative = self.reader.negative(self.settings.sampler.negative_prompt, self.prompts[0])
        positive: Iterable[ImageRequest] = self._requests(negative)
        if release is not None:
            positive = list(positive)
            release()
        requests = (replace(one, seed=seed) for one in positive for seed in self.seeds)
        two_stages = self.denoiser.upscaler is not None
        images = self.settings.draw(requests, on_step)
        for key, image in zip(self._keys(), images, strict=True):
            cell, prompt, reading, seed, embeddings, edits = key
            outcome: dict[str, Any] = {"missing": image.missing, "image": image.image}
            outcome |= {"upscaled": image.upscaled} if two_stages else {}
            outcome |= {"batch": image.batch, "seconds": image.seconds}
            yield make_row(
                cell,
                Prompt(prompt),
                reading,
                seed,
                self.origin,
                embeddings=embeddings,
                edits=edits,
                **outcome,
            )

    def _requests(self, negative: Conditioning) -> Iterator[ImageRequest]:
        """One request by prompt and reading, whose seed is still to be set."""
        for index in range(len(self.prompts)):
            one = {name: states[index] for name, states in self.states.items()}
            for reading in self.readings:
                positive, inside = self.reader.conditions(one, reading)
                yield ImageRequest(positive, negative, 0, inside, reading.only)

    def _keys(self) -> Iterator[tuple[str, str, ResolvedReading, int, dict[str, str], str]]:
        """Cell, prompt, reading, seed, embeddings and edits of each row."""
        settings = dict(self.origin.settings)
        if self.origin.approximations:
            settings["approximations"] = self.origin.approximations
        shared = [self.origin.model, self.origin.revision, settings]
        for index, prompt in enumerate(self.prompts):
            held = embeddings_in(self.embeddings, prompt, settings.get("negative_prompt"))
            edits = self._edits(index)
            ids = cell_ids(shared, prompt, held, self.readings, self.seeds, edits)
            pairs = ((reading, seed) for reading in self.readings for seed in self.seeds)
            for cell, (reading, seed) in zip(ids, pairs, strict=True):
                yield cell, prompt, reading, seed, held, edits

    def _edits(self, index: int) -> str:
        if not self.given:
            return ""
        found: Sequence[str] = [states.edits(index) for states in self.states.values()]
        return " + ".join(one for one in found if one)


def _check_words(reader: Reader, states: States, readings: Sequence[ResolvedReading]) -> None:
    """Make each change of hidden states once for each prompt, so that a word that it lacks is said at once.

    Raises:
        PromptError: a prompt lacks a word that an intervention names.
    """
    once: dict[tuple[str, ...], ResolvedReading] = {}
    for one in readings:
        changes = one.reading.interventions
        if not all(change.in_encoder for change in changes):  # those in the encoder have been made by now
            once.setdefault((one.reading.encoder, *(change.id for change in changes)), one)
    for index in range(len(next(iter(states.values())).prompts)):
        prompt = {name: batch[index] for name, batch in states.items()}
        for reading in once.values():
            reader.conditions(prompt, reading)
