"""`Plan`: every image that an experiment asks for, as cells with ids of their content.

A plan needs no model: what only the live model knows (how many layers "all" is, the settings that are
left to the pipeline) is found out once, as `Resolved`, and kept with the run.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from diffusion_lens.runs.experiment import Experiment, Prompt

__all__ = ["Cell", "Plan", "Resolved", "ResolvedView", "batches", "make_plan"]


class Cell(NamedTuple):
    """One image to make.

    Attributes:
        id: a hash of exactly model, prompt and learned words in it, encoder, layer, seed, readout, pooled
            output, slots and sampler settings: 20 hex digits.
        view: index into `Resolved.views`.
        prompt: index into the plan's prompts.
        layer: the layer's number.
        native: the encoders are read where the pipeline reads them.
        seed: the seed.
    """

    id: str
    view: int
    prompt: int
    layer: int
    native: bool
    seed: int


@dataclass(frozen=True)
class ResolvedView:
    """An encoder and a readout of the experiment, and the layers that its requests mean.

    Attributes:
        encoder: as the experiment names it.
        readout: likewise.
        columns: the columns of the table that all its rows share: encoder, readout, pooled, slots.
        rungs: number and whether native, of each layer.
        identical: its native rung is drawn exactly as the untouched pipeline draws it.
        last: the encoder's last layer, drawn or not.
    """

    encoder: str
    readout: str
    columns: Mapping[str, str]
    rungs: tuple[tuple[int, bool], ...]
    identical: bool
    last: int


@dataclass(frozen=True)
class Resolved:
    """What only the live model knows of an experiment.

    Attributes:
        views: one by encoder and readout, in the experiment's order.
        settings: the resolved sampler settings, as columns of the table.
        fingerprint: what tells the model's weights from others.
        dtype: the type that it computes in.
        batch_size: the images of a batch, which cells are cut into.
        words: learned words that prompts may hold: a hash of each file by token.
    """

    views: tuple[ResolvedView, ...]
    settings: Mapping[str, Any]
    fingerprint: str
    dtype: str
    batch_size: int
    words: Mapping[str, str] = field(default_factory=dict)

    def words_of(self, prompt: str) -> dict[str, str]:
        """The learned words that a prompt, or the negative prompt beside it, holds."""
        text = f"{prompt}\n{self.settings.get('negative_prompt') or ''}"
        return {token: self.words[token] for token in sorted(self.words) if token in text}

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` reads back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Resolved":
        """Read what `to_dict` gave, from JSON."""
        views = tuple(
            ResolvedView(**{**view, "rungs": tuple((layer, native) for layer, native in view["rungs"])})
            for view in data["views"]
        )
        return cls(**{**data, "views": views})


@dataclass(frozen=True)
class Plan:
    """The cells of an experiment, ordered by view, prompt, layer and seed.

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

    def shard(self, index: int, count: int) -> Iterator[Cell]:
        """The cells of shard `index` of `count`, from 1: whole batches, dealt in turn."""
        dealt = batches(self.cells, self.resolved.batch_size)
        for number, batch in enumerate(dealt):
            if number % count == index - 1:
                yield from batch


def make_plan(experiment: Experiment, prompts: Sequence[Prompt], resolved: Resolved) -> Plan:
    """List the cells of an experiment; about a microsecond each."""
    shared = [experiment.model, experiment.revision, resolved.settings]
    cells = []
    for number, view in enumerate(resolved.views):
        start = hashlib.sha256(_canonical([*shared, view.columns]))
        for index, prompt in enumerate(prompts):
            of_prompt = start.copy()
            of_prompt.update(_canonical(prompt.prompt))
            words = resolved.words_of(prompt.prompt)
            if words:
                of_prompt.update(_canonical(words))
            for layer, native in view.rungs:
                for seed in experiment.seeds:
                    one = of_prompt.copy()
                    one.update(b"%d %d %d" % (layer, native, seed))
                    cells.append(Cell(one.hexdigest()[:20], number, index, layer, native, seed))
    return Plan(experiment, tuple(prompts), resolved, tuple(cells))


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()


def batches(cells: Iterable[Cell], size: int) -> Iterator[list[Cell]]:
    """Cut cells into batches of one view each.

    Only the last batch of a view is short. So when whole batches are taken out of the cells, the rest is
    cut as before: a run that was stopped draws what an undisturbed one would have, in the same batches.
    """
    batch: list[Cell] = []
    for cell in cells:
        if len(batch) == size or (batch and batch[0].view != cell.view):
            yield batch
            batch = []
        batch.append(cell)
    if batch:
        yield batch
