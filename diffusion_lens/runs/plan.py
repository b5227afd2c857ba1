"""`Plan`: every image that an experiment asks for, as cells with ids of their content.

A plan needs no model: what only the live model knows (which layers "all" is, the settings that are left
to the pipeline) is asked of it once, as `Resolved`, and travels with the plan and the run.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from diffusion_lens.runs.experiment import Experiment, Prompt
from diffusion_lens.text.embedding_tokens import tokens_in
from diffusion_lens.text.reading import ResolvedReading

__all__ = ["Cell", "Plan", "Resolved", "batches", "cell_ids", "embeddings_in", "make_plan"]


class Cell(NamedTuple):
    """One image to make.

    Attributes:
        id: a hash of exactly model, prompt and learned embeddings in it, reading, seed, sampler settings
            and approximations: 20 hex digits.
        prompt: index into the plan's prompts.
        reading: index into `Resolved.readings`.
        layer: the number of its layer.
        native: the encoders are read where the pipeline reads them.
        seed: the seed.
    """

    id: str
    prompt: int
    reading: int
    layer: int
    native: bool
    seed: int


@dataclass(frozen=True)
class Resolved:
    """What only the live model knows of an experiment.

    Attributes:
        readings: what the experiment's encoders, readouts, interventions and layers mean, in its order.
        settings: the resolved sampler settings, as columns of the table; approximations among them.
        fingerprint: what tells the model's weights from others.
        dtype: the type that it computes in.
        batch_size: the images of a batch, which cells are cut into.
        embeddings: learned embeddings that prompts may hold: a hash of each file by token.
    """

    readings: tuple[ResolvedReading, ...]
    settings: Mapping[str, Any]
    fingerprint: str
    dtype: str
    batch_size: int
    embeddings: Mapping[str, str] = field(default_factory=dict)

    def embeddings_of(self, prompt: str) -> dict[str, str]:
        """The learned embeddings that a prompt, or the negative prompt beside it, holds."""
        return embeddings_in(self.embeddings, prompt, self.settings.get("negative_prompt"))

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` reads back."""
        return {**vars(self), "readings": [one.to_dict() for one in self.readings]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Resolved":
        """Read what `to_dict` gave, from JSON."""
        readings = tuple(ResolvedReading.from_dict(one) for one in data["readings"])
        return cls(**{**data, "readings": readings})


@dataclass(frozen=True)
class Plan:
    """The cells of an experiment, ordered by prompt, reading and seed.

    Attributes:
        experiment: what was asked for.
        prompts: the prompts themselves.
        resolved: what the model says.
        cells: the cells.
    """

    experiment: Experiment
    prompts: tuple[Prompt, ...]
    resolved: Resolved
    cells: tuple[Cell, ...]

    def __len__(self) -> int:
        return len(self.cells)

    def reading(self, cell: Cell) -> ResolvedReading:
        """How a cell is read."""
        return self.resolved.readings[cell.reading]

    def draw_once(self, cells: Iterable[Cell]) -> tuple[list[Cell], dict[str, list[Cell]]]:
        """Which of some cells to draw, and which others are the same image as one of these, by its id.

        Identical readings give the image of the untouched pipeline, whichever encoder, readout or slots
        they name: one image by prompt and seed.
        """
        drawn: list[Cell] = []
        first: dict[tuple[int, int], str] = {}
        copies: dict[str, list[Cell]] = {}
        for cell in cells:
            if self.reading(cell).identical:
                name = first.setdefault((cell.prompt, cell.seed), cell.id)
                if name != cell.id:
                    copies.setdefault(name, []).append(cell)
                    continue
            drawn.append(cell)
        return drawn, copies

    def shard(self, index: int, count: int) -> Iterator[Cell]:
        """The cells of shard `index` of `count`, from 1.

        A prompt is of one shard, but for the last prompts, fewer than `count`: these are dealt by seed, so
        that shards differ by the layers of one seed at most. All layers of a prompt and seed stay together.
        The batch size has no part in it, for shards may draw in batches of different sizes.
        """
        whole = len(self.prompts) - len(self.prompts) % count
        by_seed: dict[tuple[int, int], int] = {}
        for cell in self.cells:
            if cell.prompt < whole:
                number = cell.prompt
            else:
                number = by_seed.setdefault((cell.prompt, cell.seed), len(by_seed))
            if number % count == index - 1:
                yield cell


def embeddings_in(
    embeddings: Mapping[str, str], prompt: str, negative_prompt: str | None
) -> dict[str, str]:
    """Those of some learned embeddings that a prompt, or the negative prompt beside it, holds."""
    held = tokens_in(f"{prompt}\n{negative_prompt or ''}", embeddings)
    return {token: embeddings[token] for token in sorted(held)}


def make_plan(experiment: Experiment, prompts: Sequence[Prompt], resolved: Resolved) -> Plan:
    """List the cells of an experiment; about a microsecond each."""
    cells = []
    shared = [experiment.model_name, experiment.revision, resolved.settings]
    for index, prompt in enumerate(prompts):
        embeddings = resolved.embeddings_of(prompt.prompt)
        seeds = experiment.seeds_of(prompt.prompt)
        ids = cell_ids(shared, prompt.prompt, embeddings, resolved.readings, seeds)
        for number, reading in enumerate(resolved.readings):
            for seed in seeds:
                cells.append(Cell(next(ids), index, number, reading.layer, reading.native, seed))
    return Plan(experiment, tuple(prompts), resolved, tuple(cells))


def cell_ids(
    shared: Sequence[Any],
    prompt: str,
    embeddings: Mapping[str, str],
    readings: Sequence[ResolvedReading],
    seeds: Sequence[int],
    edits: str = "",
) -> Iterator[str]:
    """The ids of the cells of one prompt, by reading and seed.

    Args:
        shared: model, revision and sampler settings.
        prompt: the prompt.
        embeddings: the learned embeddings in it, a hash by token.
        readings: how it is read.
        seeds: the seeds.
        edits: what says that its states were changed by hand.
    """
    of_prompt = hashlib.sha256(_canonical([*shared, prompt, embeddings, edits]))
    for reading in readings:
        of_reading = of_prompt.copy()
        of_reading.update(_canonical(reading.reading.to_dict()))
        for seed in seeds:
            one = of_reading.copy()
            one.update(b"%d" % seed)
            yield one.hexdigest()[:20]


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()


def batches(cells: Iterable[Cell], size: int) -> Iterator[list[Cell]]:
    """Cut cells into batches.

    When whole batches are taken out of the cells, the rest is cut as before: a run that was stopped draws
    what an undisturbed one would have, in the same batches.
    """
    batch: list[Cell] = []
    for cell in cells:
        batch.append(cell)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
