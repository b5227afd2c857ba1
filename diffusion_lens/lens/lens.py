"""`DiffusionLens`: see what a text encoder knows at each of its layers, as the pipeline draws it."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from diffusion_lens.choices import Pooled
from diffusion_lens.errors import InputError, UnsupportedPipelineError
from diffusion_lens.images.denoise import Denoiser, Drawing, Row
from diffusion_lens.images.sampler import Sampler, check_seeds
from diffusion_lens.lens.result import Result
from diffusion_lens.lens.view import View
from diffusion_lens.models.conditioner import Conditioner, Conditioning
from diffusion_lens.models.embedded import EMBEDDED
from diffusion_lens.models.encoders import EncoderFamily
from diffusion_lens.models.load import load_pipeline
from diffusion_lens.models.memory import default_batch, free_memory
from diffusion_lens.models.pipelines import PipelineFamily, find_family
from diffusion_lens.text.encode import States, check_prompts, select
from diffusion_lens.text.layers import ALL_ENCODERS, LayerPlan, LayerRequest, Slots
from diffusion_lens.text.readouts import Readout, check_policies

__all__ = ["DiffusionLens"]

log = logging.getLogger(__name__)


class DiffusionLens:
    """A lens on a live text-to-image pipeline.

    Args:
        pipe: a diffusers pipeline; it is used through its own `encode_prompt` and `__call__`, and is the
            same after as before.
        family: how the pipeline takes its text, for one of no known class: a family, the name of a known
            class, or "package.module:NAME".
        encoders: how its encoders are built, by the pipeline's name, for those of no known class.
        upscaler: DeepFloyd IF's second stage, a live `IFSuperResolutionPipeline`.
        defaults: sampler settings for calls that give none.
        batch_size: images denoised together; by default 16 on an accelerator, and on the CPU 8, or 32 of
            small models.
        name: what the table calls the model.

    Raises:
        UnsupportedPipelineError: the pipeline is of no known family or has no text encoder.
        EncoderError: an encoder is of no known family.

    Example:
        ```python
        lens = DiffusionLens.from_pretrained("emoji")
        result = lens("a red fox to the left of a pizza", layers="all", seeds=[0, 1])
        result.grid()
        ```
    """

    def __init__(
        self,
        pipe: Any,
        *,
        family: PipelineFamily | str | None = None,
        encoders: Mapping[str, EncoderFamily | str] | None = None,
        upscaler: Any = None,
        defaults: Sampler | None = None,
        batch_size: int | None = None,
        name: str | None = None,
    ) -> None:
        self.conditioner = Conditioner(pipe, family, encoders)
        device = self.conditioner.device
        if batch_size is None:
            batch_size = default_batch(pipe, device)
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
        if upscaler is not None and "SuperResolution" not in type(upscaler).__name__:
            raise UnsupportedPipelineError(
                f"{type(upscaler).__name__} is no second stage; give DeepFloyd's IFSuperResolutionPipeline."
            )
        self.denoiser = Denoiser(pipe, self.conditioner.family, device, batch_size, upscaler)
        self.defaults = defaults or Sampler()
        self.name = name or getattr(pipe, "name_or_path", None) or type(pipe).__name__

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str],
        *,
        family: PipelineFamily | str | None = None,
        encoders: Mapping[str, EncoderFamily | str] | None = None,
        upscaler: str | os.PathLike[str] | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> "DiffusionLens":
        """A lens on an embedded model ("emoji"), a folder, or a hub id.

        Args:
            model: which model.
            family: as for a live pipeline.
            encoders: as for a live pipeline.
            upscaler: DeepFloyd IF's second stage, which shares the first one's encoder.
            batch_size: images denoised together.
            options: `device`, `dtype`, `offload`, `revision`, `variant`, `allow_pickle`,
                `trust_remote_code` and the options of `DiffusionPipeline.from_pretrained`; see
                `diffusion_lens.models.load.load_pipeline`, which also says what it raises.
        """
        pipe = load_pipeline(model, family=family, **options)
        second = None
        if upscaler is not None:
            family = family or find_family(type(pipe))
            second = load_pipeline(upscaler, family=family, text_encoder=None, **options)
        embedded = EMBEDDED.get(str(model))
        defaults = Sampler(steps=embedded.steps, guidance=embedded.guidance) if embedded else None
        return cls(
            pipe,
            family=family,
            encoders=encoders,
            upscaler=second,
            defaults=defaults,
            batch_size=batch_size,
            name=str(model),
        )

    @property
    def pipeline(self) -> Any:
        """The live pipeline."""
        return self.conditioner.pipe

    def plan(self, encoder: str = ALL_ENCODERS, slots: Slots = "all", **options: Any) -> LayerPlan:
        """The layers that can be drawn: their number, the native one, and what moves with them."""
        self.conditioner.check_present()
        return LayerPlan(self.conditioner, encoder, slots, self.conditioner.encode_options(options))

    def __call__(
        self,
        prompts: str | Sequence[str],
        layers: LayerRequest | Sequence[LayerRequest] = "all",
        seeds: int | Sequence[int] = 0,
        *,
        encoder: str = ALL_ENCODERS,
        readout: Readout = "native",
        pooled: Pooled = "hold",
        slots: Slots = "all",
        steps: int | None = None,
        guidance: float | None = None,
        height: int | None = None,
        width: int | None = None,
        negative_prompt: str | None = None,
        scheduler: str | None = None,
        upscale: Sampler | None = None,
        states: States | None = None,
        release_encoders: bool = False,
        progress: bool = True,
        **options: Any,
    ) -> Result:
        """Draw layers of one or more prompts, from the same noise for every layer of a seed.

        Args:
            prompts: one prompt or several.
            layers: "all", "native", an index, a negative index, a range "0:24:4" with both ends, or a
                list of these.
            seeds: one seed or several.
            encoder: the encoder whose layers are drawn while the others stay native; "all" moves all in
                step by relative depth.
            readout: "native", "final" or "none"; see `diffusion_lens.text.readouts`.
            pooled: what a pipeline with a pooled output gets: "hold" (that of the full encoder), "layer"
                (made from the layer drawn) or "empty" (that of the empty prompt). An encoder of which only
                the pooled output is read is always drawn with "layer" when it is named by `encoder`.
            slots: what a layer replaces where several taps are read; see `diffusion_lens.text.layers`.
            steps: denoising steps.
            guidance: guidance scale.
            height: image height in pixels.
            width: image width in pixels.
            negative_prompt: what not to draw; natively encoded at every layer.
            scheduler: a diffusers scheduler by class name, for this call.
            upscale: settings of DeepFloyd IF's second stage.
            states: draw from these, of `encode` or an earlier result, in place of running the encoders.
            release_encoders: free the encoders' memory once all prompts are read.
            progress: show a progress bar.
            options: any other argument of the pipeline's `__call__`.

        Raises:
            PromptError, LayerError, EncoderError, SamplerError, InputError: something asked for can't be.
            OutOfMemoryError: not even one image fits.
        """
        texts, numbers = check_prompts(prompts), check_seeds(seeds)
        sampler = Sampler(steps, guidance, height, width, negative_prompt, scheduler, options)
        view = self.view(encoder, readout, pooled, slots, sampler, upscale)
        rungs = view.plan.rungs(layers)
        if states is None:
            states = view.encode(texts, rungs)
        else:
            states = select(self.conditioner, states, texts, rungs)
        negative = view.negative(texts[0])

        def conditionings() -> Iterator[Conditioning]:
            for index in range(len(texts)):
                one = {name: kept[index] for name, kept in states.items()}
                for rung in rungs:
                    yield view.condition(one, rung)

        positive: Iterable[Conditioning] = conditionings()
        if release_encoders:
            positive = list(positive)
            self.release_encoders()
        rows = (Row(one, negative, seed) for one in positive for seed in numbers)
        keys = [(text, rung, seed) for text in texts for rung in rungs for seed in numbers]
        with tqdm(total=len(keys) * view.steps, unit="step", disable=not progress, desc="Drawing") as bar:
            drawings = list(view.draw(rows, bar.update))
        table = pd.DataFrame(
            {
                "prompt": text,
                **view.record(rung),
                "seed": seed,
                "model": self.name,
                **view.settings(),
                **_cells(drawing, two_stages=self.denoiser.upscaler is not None),
            }
            for (text, rung, seed), drawing in zip(keys, drawings, strict=True)
        )
        for row in table[table["missing"].notna()].itertuples():
            log.warning(
                "Missing: layer %s, seed %s of %r: %s", row.layer, row.seed, row.prompt, row.missing
            )
        return Result(table, states)

    def view(
        self,
        encoder: str = ALL_ENCODERS,
        readout: str = "native",
        pooled: str = "hold",
        slots: Slots = "all",
        sampler: Sampler | None = None,
        upscale: Sampler | None = None,
    ) -> View:
        """One way of looking, resolved on this pipeline; the arguments are those of a call."""
        given = (sampler or Sampler()).over(self.defaults)
        check_policies(readout, pooled)
        plan = self.plan(encoder, slots, **given.resolve(self.pipeline, self.denoiser.family).options)
        return View(
            self.conditioner,
            self.denoiser,
            plan,
            readout=readout,
            pooled=pooled,
            sampler=given,
            upscale=upscale,
        )

    def encode(
        self,
        prompts: str | Sequence[str],
        layers: LayerRequest | Sequence[LayerRequest] = "all",
        **options: Any,
    ) -> States:
        """Read prompts once and keep the states, by encoder, to be saved or drawn from (`states=`).

        Args:
            prompts: one prompt or several.
            layers: as for a call; the layers that can be drawn later.
            options: arguments of the pipeline's `__call__` that its encoders see.

        Raises:
            PromptError, LayerError, SamplerError: something asked for can't be.
        """
        view = self.view(sampler=Sampler(options=options))
        return view.encode(check_prompts(prompts), view.plan.rungs(layers))

    def release_encoders(self) -> None:
        """Free the memory of the text encoders; no further prompt can be read after that."""
        self.conditioner.release()
        free_memory()


def _cells(drawing: Drawing, *, two_stages: bool) -> dict[str, Any]:
    images = {"missing": drawing.missing, "image": drawing.image}
    return {**images, "upscaled": drawing.upscaled} if two_stages else images
