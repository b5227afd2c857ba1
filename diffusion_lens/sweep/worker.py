"""`Worker`: one live model that draws batches of cells; what every engine runs, one a device."""

import logging
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import diffusers
import torch

import diffusion_lens
from diffusion_lens.errors import DiffusionLensError, RunError
from diffusion_lens.images.approximations import approximate
from diffusion_lens.images.denoise import Row
from diffusion_lens.images.optimizations import Optimizations, choose_optimizations, optimize
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.lens.view import View
from diffusion_lens.models.conditioner import Conditioning
from diffusion_lens.models.digest import digest_pipeline
from diffusion_lens.models.hardware import count_flops, measure_matmul
from diffusion_lens.models.stub_encoders import load_stubs
from diffusion_lens.runs.experiment import Experiment, Prompt
from diffusion_lens.runs.manifest import check_model
from diffusion_lens.runs.plan import Cell, Resolved, ResolvedView
from diffusion_lens.runs.provenance import find_commit
from diffusion_lens.runs.store import Store
from diffusion_lens.runs.table import Made
from diffusion_lens.sweep.states_cache import StatesCache, read_stubs
from diffusion_lens.text.embedding_files import EmbeddingFile
from diffusion_lens.text.embeddings import encoder_slots, use_embeddings
from diffusion_lens.text.encode import States

__all__ = ["Worker", "load_lens", "resolve", "speak"]

log = logging.getLogger(__name__)


def load_lens(experiment: Experiment, store: Store | None = None) -> DiffusionLens:
    """The experiment's model; see `DiffusionLens.from_pretrained`, also for what it raises.

    Args:
        experiment: what is drawn.
        store: the run, where stubs of the encoders are if they are to be left unloaded.
    """
    machine = experiment.machine
    stubs: dict[str, Any] = {}
    if machine.encoders == "leave" and store is not None:
        stubs = load_stubs(experiment.model, read_stubs(store), experiment.revision)
    return DiffusionLens.from_pretrained(
        experiment.model,
        batch_size=machine.batch_size,
        device=machine.device,
        dtype=machine.dtype,
        offload=machine.offload,
        revision=experiment.revision,
        variant=machine.variant,
        **stubs,
    )


@contextmanager
def speak(pipe: Any, words: Sequence[EmbeddingFile]) -> Iterator[None]:
    """Let a pipeline understand the learned words of a run; one with stubs for encoders needs none.

    Raises:
        InputError: a word is for another kind of model.
    """
    encoders = [getattr(pipe, name) for name in encoder_slots(pipe)] if words else []
    if any(hasattr(encoder, "stub_of") for encoder in encoders):
        words = ()
    with use_embeddings(pipe, [word.word(pipe) for word in words]) if words else nullcontext():
        yield


def resolve(lens: DiffusionLens, experiment: Experiment) -> Resolved:
    """Ask a live model what an experiment means for it.

    Raises:
        EncoderError, LayerError, SamplerError: the experiment asks for something that it does not have.
    """
    views: dict[tuple[tuple[str, str], ...], ResolvedView] = {}
    settings: dict[str, Any] = {}
    for encoder in experiment.encoders:
        for readout in experiment.readouts:
            view = _view(lens, experiment, encoder, readout)
            rungs = view.plan.rungs(experiment.layers)
            columns = view.record(rungs[0])
            identical = view.identical and not str(experiment.approximations)
            for varying in ("layer", "native", "identical"):
                del columns[varying]
            # "all" and the only encoder of a pipeline are one view
            views.setdefault(
                tuple(columns.items()),
                ResolvedView(
                    encoder,
                    readout,
                    columns,
                    tuple((rung.layer, rung.native) for rung in rungs),
                    identical,
                    view.plan.depth,
                ),
            )
            settings = view.settings()
    guidance, approximations = settings["guidance"], str(experiment.approximations)
    settings["guidance"] = None if guidance is None else float(guidance)
    if approximations:
        settings["approximations"] = approximations
    return Resolved(
        views=tuple(views.values()),
        settings=settings,
        fingerprint=str(digest_pipeline(lens.pipeline)),
        dtype=str(lens.pipeline.dtype).removeprefix("torch."),
        batch_size=experiment.machine.batch_size or lens.denoiser.batch_size,
    )


def _view(lens: DiffusionLens, experiment: Experiment, encoder: str, readout: str) -> View:
    steps = experiment.approximations.steps or experiment.sampler.steps
    sampler = replace(experiment.sampler, steps=steps)
    return lens.view(encoder, readout, experiment.pooled, experiment.slots, sampler)


class Worker:
    """Draws cells of one plan with one live model.

    Args:
        lens: the model.
        experiment: what is drawn.
        prompts: its prompts.
        resolved: what the model was when the run began.
        images: the images of the whole plan; see `choose_optimizations`.
        optimizations: what is done for speed; the experiment's choice if None.
        store: the run, where states are kept if the experiment says so.

    Raises:
        RunError: the model is not the one that the run began with.
        SamplerError: it can't be approximated as the experiment says.
    """

    def __init__(
        self,
        lens: DiffusionLens,
        experiment: Experiment,
        prompts: Sequence[Prompt],
        resolved: Resolved,
        images: int,
        optimizations: Optimizations | None = None,
        store: Store | None = None,
    ) -> None:
        check_model(resolved, resolve(lens, experiment), also=("views",))
        self.lens, self.experiment, self.prompts, self.resolved = lens, experiment, prompts, resolved
        device = lens.conditioner.device
        if optimizations is None:
            optimizations = choose_optimizations(experiment.machine.compile, device.type, images)
        optimize(lens.pipeline, optimizations)
        approximate(lens.denoiser, experiment.approximations)
        lens.denoiser.fill = optimizations.compile is not None
        self.optimizations = str(optimizations)
        # on the CPU the last bit of an image depends on the number of threads
        name = f"{platform.machine()}, {torch.get_num_threads()} threads"
        if device.type == "cuda":
            name = torch.cuda.get_device_name(device)
        self.where = {
            "device": f"{device.type} ({name})",
            "version": diffusion_lens.__version__,
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "commit": find_commit(),
        }
        self.kept = StatesCache(store, experiment.machine.states, resolved.words_of)
        self.kept.keep_stubs(lens.conditioner)
        self.drawn = 0
        self._views: dict[int, View] = {}
        self._states: tuple[tuple[int, int], States] | None = None
        self._positive: tuple[tuple[int, int, int, bool], Conditioning] | None = None
        self._negative: Conditioning | None = None

    @property
    def batch_size(self) -> int:
        """Images denoised together, as far as memory has allowed."""
        return self.lens.denoiser.batch_size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self.lens.denoiser.batch_size = size

    def measure_limit(self, cell: Cell) -> dict[str, float]:
        """How much work an image of this plan is, and how much the device could do, in operations.

        A compiled denoiser hides its operations, and is not measured.
        """
        if "compile" in self.optimizations:
            return {}
        view, pipe = self._view(cell.view), self.lens.pipeline

        def draw(steps: int) -> None:
            sampler = replace(view.sampler, steps=steps)
            list(self.lens.denoiser.draw([self._row(cell)], sampler, view.second))

        try:
            return {
                "flops_per_image": count_flops(draw, view.sampler.steps or 1),
                "matmul_flops": measure_matmul(self.lens.conditioner.device, pipe.dtype),
            }
        except Exception as error:  # of this cell; it will be drawn, and told of, in its turn
            log.warning("The limit of the hardware was not measured: %s", error)
            return {}

    def draw(
        self, cells: Sequence[Cell], on_step: Callable[[int], object] = lambda images: None
    ) -> list[Made]:
        """Draw one batch: cells of one view.

        A cell that can't be drawn is told as failed and does not harm the others.

        Raises:
            DiffusionLensError: nothing has been drawn yet, and it is the settings or the memory that do
                not allow it.
        """
        rows: list[Row] = []
        ready: list[Cell] = []
        made: dict[str, Made] = {}
        for cell in cells:
            try:
                rows.append(self._row(cell))
                ready.append(cell)
            except RunError:  # of a stub: no other prompt will fare better
                raise
            except Exception as error:  # a prompt that breaks an encoder, in whatever way
                made[cell.id] = self._failure(cell, error)
        made.update(self._draw(ready, rows, on_step) if rows else {})
        return [made[cell.id] for cell in cells]

    def _draw(
        self, cells: Sequence[Cell], rows: Sequence[Row], on_step: Callable[[int], object]
    ) -> dict[str, Made]:
        try:
            drawings = list(self._view(cells[0].view).draw(rows, on_step))
        except Exception as error:  # whatever a pipeline can raise
            if len(rows) > 1 and not (isinstance(error, DiffusionLensError) and not self.drawn):
                log.warning("A batch of %d failed (%s); drawing its images one by one.", len(rows), error)
                alone = [self._draw([cell], [row], on_step) for cell, row in zip(cells, rows, strict=True)]
                return {name: made for one in alone for name, made in one.items()}
            if isinstance(error, DiffusionLensError) and not self.drawn:
                raise
            return {cell.id: self._failure(cell, error) for cell in cells}
        self.drawn += len(drawings)
        return {
            cell.id: Made(
                cell,
                drawing.image,
                drawing.missing,
                batch=drawing.batch,
                seconds=drawing.seconds,
                optimizations=self.optimizations,
                where=self.where,
            )
            for cell, drawing in zip(cells, drawings, strict=True)
        }

    def _failure(self, cell: Cell, error: Exception) -> Made:
        first = str(error).strip().splitlines() or [""]
        return Made(cell, failed=f"{type(error).__name__}: {first[0]}")

    def _view(self, index: int) -> View:
        if index not in self._views:
            asked = self.resolved.views[index]
            self._views[index] = _view(self.lens, self.experiment, asked.encoder, asked.readout)
        return self._views[index]

    def _row(self, cell: Cell) -> Row:
        """What a cell's image is made from; cells come ordered, so that only the last is kept."""
        view, text = self._view(cell.view), self.prompts[cell.prompt].prompt
        key = (cell.view, cell.prompt, cell.layer, cell.native)
        if self._positive is None or self._positive[0] != key:
            if self._states is None or self._states[0] != (cell.view, cell.prompt):
                self._states = (cell.view, cell.prompt), self._encode(view, text)
            rungs = view.plan.rungs(self.experiment.layers)
            rung = next(one for one in rungs if (one.layer, one.native) == (cell.layer, cell.native))
            self._positive = key, view.condition(self._states[1], rung)
        if self._negative is None:
            self._negative = self.kept.negative(self.lens.conditioner, lambda: view.negative(text))
        return Row(self._positive[1], self._negative, cell.seed)

    def _encode(self, view: View, text: str) -> States:
        """The states of one prompt; those that are kept serve all views."""
        every = range(len(self.resolved.views))
        views = [view] if self.kept.store is None else [self._view(index) for index in every]
        rungs = [rung for one in views for rung in one.plan.rungs(self.experiment.layers)]
        if view.pooled == "empty" and view.empty is None:
            view.empty = self.kept.states(view, "", rungs)
        return {name: one[0] for name, one in self.kept.states(view, text, rungs).items()}
