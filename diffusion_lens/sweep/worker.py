"""`Worker`: one live model that draws batches of cells; what every engine runs, one a device."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from diffusion_lens.errors import DiffusionLensError, RunError
from diffusion_lens.images.apply_approximations import approximate
from diffusion_lens.images.denoise import ImageRequest
from diffusion_lens.images.optimizations import Optimizations, choose_optimizations, optimize
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.lens.provenance import where_drawn
from diffusion_lens.models.conditioning import Conditioning
from diffusion_lens.models.hardware import count_flops, measure_matmul
from diffusion_lens.runs.manifest import check_model
from diffusion_lens.runs.plan import Cell
from diffusion_lens.runs.store import Store
from diffusion_lens.runs.table import DrawnCell
from diffusion_lens.sweep.conditionings import Conditionings
from diffusion_lens.sweep.failures import FailureStreak
from diffusion_lens.sweep.job import Job
from diffusion_lens.sweep.resolve import identify
from diffusion_lens.sweep.states_cache import StatesCache
from diffusion_lens.text.encode import States
from diffusion_lens.text.reading import all_edits, source_prompts

__all__ = ["Worker"]

log = logging.getLogger(__name__)

_GIVE_UP = 5  # batches of nothing but failures


class Worker:
    """Draws cells of one plan with one live model.

    Args:
        lens: the model.
        job: what is drawn.
        optimizations: what is done for speed; the experiment's choice if None.
        store: the run, where states are kept if the experiment says so.
        conditionings: what the cells are drawn from; encoded here if None.

    Raises:
        RunError: the model is not the one that the run began with.
        SamplerError: it can't be approximated as the experiment says.
    """

    def __init__(
        self,
        lens: DiffusionLens,
        job: Job,
        *,
        optimizations: Optimizations | None = None,
        store: Store | None = None,
        conditionings: Conditionings | None = None,
    ) -> None:
        self.lens, self.job, self.conditionings = lens, job, conditionings
        machine = job.experiment.machine
        self.settings, now = identify(lens, job.experiment)
        check_model(job.resolved, now)
        device = lens.conditioner.device
        if optimizations is None:
            optimizations = choose_optimizations(machine.compile, device.type, job.images)
        optimize(lens.pipeline, optimizations)
        approximate(lens.denoiser, job.experiment.approximations)
        lens.denoiser.fill = optimizations.compile is not None
        self.optimizations = str(optimizations)
        self.where = where_drawn(device)
        self.reader = lens.reader(self.settings.sampler.options)
        self.cache = StatesCache(store, machine.states, job.resolved.embeddings_of)
        self.cache.keep_stubs(self.reader)
        self.drawn = 0
        self.failures = FailureStreak(_GIVE_UP * job.resolved.batch_size)
        self._prepared: set[str] = set()
        self._states: tuple[int, States] | None = None
        self._positive: tuple[tuple[int, int], ImageRequest] | None = None
        self._negative: Conditioning | None = None

    @property
    def batch_size(self) -> int:
        """Images denoised together, as far as memory has allowed."""
        return self.lens.denoiser.batch_size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self.lens.denoiser.batch_size = size

    def release_encoders(self, cells: Sequence[Cell]) -> None:
        """Encode the prompts of all `cells` into the states cache, and free the text encoders.

        Raises:
            RunError: the cache has no room for the states of every prompt.
        """
        self.cache.keep_in_memory()
        for index in dict.fromkeys(cell.prompt for cell in cells):
            self._encode(index)
        self._negative_conditioning(self.job.prompts[cells[0].prompt].prompt)
        if self.cache.room < 0:
            raise RunError(
                'encoders = "release" needs room for the states of every prompt: raise machine.states '
                f"above {self.job.experiment.machine.states}."
            )
        self.lens.conditioner.stub_encoders()

    def measure_limit(self, cell: Cell) -> dict[str, float]:
        """How much work an image of this plan is, and how much the device could do, in operations.

        A compiled denoiser hides its operations, and is not measured.
        """
        if "compile" in self.optimizations:
            return {}
        sampler = self.settings.sampler

        def draw(steps: int) -> None:
            requests = [self.request(cell)]
            list(self.lens.denoiser.draw(requests, replace(sampler, steps=steps), self.settings.second))

        try:
            return {
                "flops_per_image": count_flops(draw, sampler.steps or 1),
                "matmul_flops": measure_matmul(self.lens.conditioner.device, self.lens.pipeline.dtype),
            }
        except Exception as error:  # of this cell; it will be drawn, and reported, in its turn
            log.warning("The limit of the hardware was not measured: %s", error)
            return {}

    def draw(
        self, cells: Sequence[Cell], on_step: Callable[[int], object] = lambda images: None
    ) -> list[DrawnCell]:
        """Draw one batch of cells.

        A cell that can't be drawn is reported as failed and does not harm the others.

        Raises:
            DiffusionLensError: nothing has been drawn yet, and it is the settings or the memory that do
                not allow it.
            RunError: the last batches held nothing but failures; see `FailureStreak`.
        """
        self.failures.check()
        requests: list[ImageRequest] = []
        ready: list[Cell] = []
        drawn: dict[str, DrawnCell] = {}
        for cell in cells:
            failed = None if self.conditionings is None else self.conditionings.failed(cell.id)
            if failed is not None:
                drawn[cell.id] = DrawnCell(cell, failed=failed)
                continue
            try:
                requests.append(self.request(cell))
                ready.append(cell)
            except RunError:  # of a stub: no other prompt will fare better
                raise
            except Exception as error:  # a prompt that breaks an encoder, in whatever way
                drawn[cell.id] = self._failure(cell, error)
        drawn.update(self._draw(ready, requests, on_step) if requests else {})
        return [drawn[cell.id] for cell in cells]

    def _draw(
        self, cells: Sequence[Cell], requests: Sequence[ImageRequest], on_step: Callable[[int], object]
    ) -> dict[str, DrawnCell]:
        try:
            images = list(self.settings.draw(requests, on_step))
        except Exception as error:  # whatever a pipeline can raise
            expected = isinstance(error, DiffusionLensError) and not self.drawn
            if len(requests) > 1 and not expected:
                log.warning(
                    "A batch of %d failed (%s); drawing its images one by one.", len(requests), error
                )
                alone = [
                    self._draw([cell], [one], on_step) for cell, one in zip(cells, requests, strict=True)
                ]
                return {name: one for part in alone for name, one in part.items()}
            if expected:
                raise
            return {cell.id: self._failure(cell, error) for cell in cells}
        self.drawn += len(images)
        self.failures.end(cells)
        return {
            cell.id: DrawnCell(
                cell,
                image.image,
                image.missing,
                batch=image.batch,
                seconds=image.seconds,
                optimizations=self.optimizations,
                where=self.where,
            )
            for cell, image in zip(cells, images, strict=True)
        }

    def _failure(self, cell: Cell, error: Exception) -> DrawnCell:
        reason = self.reason(error)
        self.failures.add(cell, error, reason)
        return DrawnCell(cell, failed=reason)

    @staticmethod
    def reason(error: Exception) -> str:
        """Why a cell can't be drawn, as it is recorded."""
        first = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {first[0]}"

    def request(self, cell: Cell) -> ImageRequest:
        """What a cell's image is made from; cells come ordered, so that only the last is kept."""
        if self.conditionings is not None:
            return self.conditionings.request(cell, self.job.resolved.readings[cell.reading].only)
        key = (cell.prompt, cell.reading)
        if self._positive is None or self._positive[0] != key:
            if self._states is None or self._states[0] != cell.prompt:
                self._states = cell.prompt, self._encode(cell.prompt)
            reading = self.job.resolved.readings[cell.reading]
            positive, inside = self.reader.conditions(self._states[1], reading)
            self._positive = key, ImageRequest(positive, Conditioning(), 0, inside, reading.only)
        negative = self._negative_conditioning(self.job.prompts[cell.prompt].prompt)
        return replace(self._positive[1], negative=negative, seed=cell.seed)

    def _encode(self, prompt: int) -> States:
        """The states of one prompt, for all readings of the plan."""
        readings = self.job.resolved.readings
        text = self.job.prompts[prompt].prompt
        for source in source_prompts(readings, text):
            if source not in self._prepared:
                self.reader.keep_source(source, self.cache.states(self.reader, source, readings))
                self._prepared.add(source)
        self.reader.forget_edited()
        for edits in all_edits(readings):
            self.reader.keep_edited(text, edits, self.cache.states(self.reader, text, readings, edits))
        return self.cache.states(self.reader, text, readings)

    def _negative_conditioning(self, prompt: str) -> Conditioning:
        if self._negative is None:
            text = self.settings.sampler.negative_prompt
            guided = self.settings.guided
            self._negative = self.cache.negative(
                self.reader, lambda: self.reader.negative(text, prompt) if guided else Conditioning()
            )
        return self._negative
