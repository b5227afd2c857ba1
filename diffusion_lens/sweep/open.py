"""`open_run`: one experiment in one folder; the call that begins a run also resumes it."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion_lens.errors import InputError, RunError
from diffusion_lens.garbage import without_collection
from diffusion_lens.runs.experiment import Experiment, Prompt
from diffusion_lens.runs.lock import use_lock
from diffusion_lens.runs.manifest import (
    check_model,
    check_same,
    describe_plan,
    load_plan,
    name_cells,
    still_resolved,
)
from diffusion_lens.runs.plan import Plan, Resolved, make_plan
from diffusion_lens.runs.prompts import read_prompts
from diffusion_lens.runs.store import Store
from diffusion_lens.runs.table import schema_of
from diffusion_lens.sweep.draw import Run, Summary
from diffusion_lens.text.embedding_tokens import describe_unused

if TYPE_CHECKING:
    from diffusion_lens.lens.lens import DiffusionLens
    from diffusion_lens.sweep.conditionings import Conditionings
    from diffusion_lens.text.embedding_files import EmbeddingFile

__all__ = ["look_at_run", "open_run", "run_sweep"]

log = logging.getLogger(__name__)


@contextmanager
def open_run(
    experiment: Experiment,
    out: str | os.PathLike[str],
    *,
    base: Path = Path(),
    shard: tuple[int, int] = (1, 1),
    lens: "DiffusionLens | None" = None,
    conditionings: "str | os.PathLike[str] | None" = None,
    prompts: Sequence[Prompt] | None = None,
) -> Iterator[Run]:
    """Hold the run of an experiment in a folder, new or to be resumed, while the body runs.

    Args:
        experiment: what to draw.
        out: the folder, or a URL of fsspec.
        base: where relative paths of the experiment start.
        shard: which of how many, from 1.
        lens: a live model to draw with; the experiment's `model` is then only its name. Its batch size and
            its approximations are its own again when the body ends.
        conditionings: a folder of `encode_experiment` to draw from, in place of encoding the prompts.
        prompts: the experiment's prompts, where `read_prompts` has read them already.

    Raises:
        ExperimentError: prompts can't be read, or have a column of the name of one that every run has.
        InputError: a learned embedding can't be read, or does not fit the model where that is loaded.
        RunError: another process holds the run; it is damaged; it was made with other settings; or the
            conditionings are not of what is to be drawn.
        OutputError: the folder can't be written.
    """
    asked = _Asked.read(experiment, out, base, shard, lens, conditionings, prompts)
    store = asked.store
    # planned before its folder is made, so that a new run that is refused leaves nothing behind
    new = None if store.exists() else asked.prepare()
    with use_lock(store, shard) as check_held:
        if shard[1] == 1:
            store.tidy()
        if new is not None and store.exists():  # another shard was faster
            asked, new = replace(asked, lens=new.lens), None
        run = new or asked.prepare()
        run.check_held = check_held
        borrowed = nullcontext() if lens is None else _borrow(lens)
        del asked, lens, new  # the lens is the run's alone, which may let go of it
        described = describe_plan(run.plan)
        if not store.exists() or store.read_json("manifest.json") != described:
            store.write_json("manifest.json", described)
            store.write_card()
        if run.orphaned:
            log.warning(
                "%d images in %s are not of this experiment any more; they are kept as they are: %s.",
                len(run.orphaned),
                store.url,
                name_cells(store, run.scan, run.orphaned, run.plan),
            )
        with borrowed:
            yield run


def look_at_run(
    experiment: Experiment,
    out: str | os.PathLike[str],
    *,
    base: Path = Path(),
    shard: tuple[int, int] = (1, 1),
    lens: "DiffusionLens | None" = None,
    conditionings: "str | os.PathLike[str] | None" = None,
    prompts: Sequence[Prompt] | None = None,
    anew: bool = False,
) -> Run:
    """What `open_run` would hold, with nothing written and no lock taken; for plans and estimates.

    With `anew` it is planned as if its folder were empty, for whoever replaces what is there.

    Raises:
        DiffusionLensError: as `open_run`, but for what only writing shows.
    """
    return _Asked.read(experiment, out, base, shard, lens, conditionings, prompts).prepare(anew=anew)


@dataclass(frozen=True)
class _Asked:
    """A run as it was asked for: all that can be read before its folder is held."""

    experiment: Experiment
    store: Store
    shard: tuple[int, int]
    prompts: Sequence[Prompt]
    embeddings: "tuple[EmbeddingFile, ...]"
    conditionings: "Conditionings | None"
    lens: "DiffusionLens | None"

    @classmethod
    def read(
        cls,
        experiment: Experiment,
        out: str | os.PathLike[str],
        base: Path,
        shard: tuple[int, int],
        lens: "DiffusionLens | None",
        conditionings: "str | os.PathLike[str] | None",
        prompts: Sequence[Prompt] | None,
    ) -> "_Asked":
        """Read prompts, embeddings and conditionings; for arguments see `open_run`."""
        index, count = shard
        if not 1 <= index <= count:
            raise InputError(
                f"Shard {index} of {count} does not exist; shards count from 1, as in 1/{count}."
            )
        if prompts is None:
            prompts = read_prompts(experiment.prompts, base)
        schema_of(prompts)  # columns that a run has for something else are refused
        embeddings = _read_embeddings(experiment, base)
        return cls(
            experiment,
            Store(out),
            shard,
            prompts,
            embeddings,
            _read_conditionings(conditionings),
            None if lens is None else lens.with_embeddings(embeddings),
        )

    def prepare(self, *, anew: bool = False) -> Run:
        """The plan, and what there is of it; asks the model what it does not know from the folder."""
        before, resolved = (None, None) if anew else self._before()
        scan = self.store.scan()
        lens = self.lens
        if resolved is None:
            with without_collection():
                from diffusion_lens.sweep.resolve import load_lens, resolve

                if lens is None:
                    lens = load_lens(self.experiment, self.store, self.embeddings, self.conditionings)
            resolved = resolve(lens, self.experiment)
            if before is not None:
                now = {name: getattr(resolved, name) for name in ("fingerprint", "settings", "dtype")}
                check_model(before.resolved, now)
        texts = [one.prompt for one in self.prompts] + [resolved.settings.get("negative_prompt") or ""]
        if warning := describe_unused([one.token for one in self.embeddings], texts):
            log.warning(warning)
        resolved = replace(resolved, embeddings={one.token: one.hash for one in self.embeddings})
        plan = make_plan(self.experiment, self.prompts, resolved)
        orphaned = scan.done - {cell.id for cell in plan.cells}
        run = Run(self.store, plan, scan, self.shard, orphaned, lens, self.embeddings, self.conditionings)
        if self.conditionings is not None:
            self.conditionings.check(plan, run.todo(retry_failed=True))
        return run

    def _before(self) -> tuple[Plan | None, Resolved | None]:
        """The plan of the run that is in the folder, and what of it need not be asked again."""
        if not self.store.exists():
            return None, None
        before = load_plan(self.store.read_json("manifest.json"))
        check_same(self.store.url, before, self.experiment)
        if schema_of(before.prompts) != schema_of(self.prompts):
            raise RunError(
                f"The prompts' metadata have other columns than those in {self.store.url}. Keep the "
                "columns, or choose another --out."
            )
        return before, still_resolved(before, self.experiment)


def _read_embeddings(experiment: Experiment, base: Path) -> "tuple[EmbeddingFile, ...]":
    if not experiment.embeddings:
        return ()
    from diffusion_lens.text.embedding_files import read_embedding_files

    return tuple(read_embedding_files(experiment.embeddings, base))


def _read_conditionings(folder: "str | os.PathLike[str] | None") -> "Conditionings | None":
    if folder is None:
        return None
    from diffusion_lens.sweep.conditionings import Conditionings

    return Conditionings(folder)


def _borrow(lens: "DiffusionLens") -> AbstractContextManager[None]:
    from diffusion_lens.images.apply_approximations import restore_afterwards

    return restore_afterwards(lens.denoiser)


def run_sweep(
    experiment: Experiment,
    out: str | os.PathLike[str],
    *,
    base: Path = Path(),
    shard: tuple[int, int] = (1, 1),
    lens: "DiffusionLens | None" = None,
    conditionings: "str | os.PathLike[str] | None" = None,
    **options: Any,
) -> Summary:
    """Draw an experiment into a folder, or resume it; see `open_run` and `Run.draw`."""
    with open_run(experiment, out, base=base, shard=shard, lens=lens, conditionings=conditionings) as run:
        return run.draw(**options)
