"""`DiffusionLens`: see what a text encoder knows at each of its layers, as the pipeline draws it."""

import copy
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diffusion_lens.choices import Pooled
from diffusion_lens.images.denoise import Denoiser
from diffusion_lens.images.sampler import Sampler
from diffusion_lens.lens.call import Asked, Call, make_reading, resolve_asked
from diffusion_lens.lens.result import Result
from diffusion_lens.lens.settings import Settings
from diffusion_lens.lens.stages import check_second_stage, default_sampler, load_stages
from diffusion_lens.lens.words import Spoken
from diffusion_lens.models.conditioner import Conditioner
from diffusion_lens.models.encoder_variants import model_name
from diffusion_lens.models.encoders import EncoderFamily
from diffusion_lens.models.memory import choose_batch, free_memory
from diffusion_lens.models.pipelines import PipelineFamily
from diffusion_lens.text.embedding_files import GivenEmbedding, KnownEmbeddings
from diffusion_lens.text.encode import States, check_prompts
from diffusion_lens.text.interventions import Intervention
from diffusion_lens.text.layers import LayerPlan
from diffusion_lens.text.reader import Reader
from diffusion_lens.text.reading import ALL_ENCODERS, Reading, ResolvedReading, Slots
from diffusion_lens.text.readouts import Readout

if TYPE_CHECKING:
    from diffusion_lens.lens.widget import LensWidget

__all__ = ["DiffusionLens"]


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
        batch_size: images denoised together; by default what `models.memory.choose_batch` finds.
        name: what the table calls the model.
        revision: branch, tag or commit on the hub, for the table.
        embeddings: learned embeddings that prompts may hold: embeddings, files, or folders of files.

    Raises:
        UnsupportedPipelineError: the pipeline is of no known family or has no text encoder.
        EncoderError: an encoder is of no known family.
        InputError: an embedding can't be read or does not fit the encoders.

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
        revision: str | None = None,
        embeddings: Sequence[GivenEmbedding] = (),
    ) -> None:
        self.conditioner = Conditioner(pipe, family, encoders)
        device = self.conditioner.device
        batch = choose_batch(pipe, device, batch_size)
        check_second_stage(upscaler)
        self.denoiser = Denoiser(pipe, self.conditioner.family, device, batch, upscaler)
        self.defaults = defaults or Sampler()
        self.revision = revision
        self.embeddings = KnownEmbeddings().add(self.conditioner, embeddings)
        self.name = name or getattr(pipe, "name_or_path", None) or type(pipe).__name__

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str],
        *,
        family: PipelineFamily | str | None = None,
        encoders: Mapping[str, EncoderFamily | str] | None = None,
        text_encoders: Mapping[str, str] | None = None,
        upscaler: str | os.PathLike[str] | None = None,
        batch_size: int | None = None,
        embeddings: Sequence[GivenEmbedding] = (),
        **options: Any,
    ) -> "DiffusionLens":
        """A lens on an embedded model ("emoji"), a folder, or a hub id.

        Args:
            model: which model.
            family: as for a live pipeline.
            encoders: as for a live pipeline.
            text_encoders: what stands in the place of the model's own text encoders, by the pipeline's name
                for them, as `diffusion_lens.models.encoder_variants` writes it: "own+int8", a folder, ...
            upscaler: DeepFloyd IF's second stage, which shares the first one's encoder.
            batch_size: images denoised together.
            embeddings: as for a live pipeline.
            options: those of `diffusion_lens.models.load.load_pipeline`, such as `device`, `dtype` and
                `offload`; it also says what is raised.
        """
        pipe, second = load_stages(model, upscaler, family, text_encoders or {}, options)
        return cls(
            pipe,
            family=family,
            encoders=encoders,
            upscaler=second,
            defaults=default_sampler(str(model)),
            batch_size=batch_size,
            name=model_name(str(model), text_encoders or {}),
            revision=options.get("revision"),
            embeddings=embeddings,
        )

    @property
    def pipeline(self) -> Any:
        """The live pipeline."""
        return self.conditioner.pipe

    @property
    def dtype(self) -> str:
        """The type that the pipeline computes in, such as "float32"."""
        return str(self.pipeline.dtype).removeprefix("torch.")

    def __repr__(self) -> str:
        encoders = [f"{name} of {one.depth} layers" for name, one in self.conditioner.encoders.items()]
        described = ", ".join(encoders) or "encoders released"
        return f"DiffusionLens({self.name}: {type(self.pipeline).__name__}, {described})"

    def with_embeddings(self, embeddings: Sequence[GivenEmbedding]) -> "DiffusionLens":
        """Another lens on the same pipeline, whose prompts may hold further learned embeddings.

        Raises:
            InputError: one can't be read or does not fit the encoders.
        """
        other = copy.copy(self)
        other.embeddings = self.embeddings.add(self.conditioner, embeddings)
        return other

    def plan(self, encoder: str = ALL_ENCODERS, slots: Slots = "all", **options: Any) -> LayerPlan:
        """The layers that can be drawn: their number, the native one, and what moves with them."""
        self.conditioner.check_present()
        return LayerPlan(self.conditioner, encoder, slots, self.conditioner.encode_options(options))

    def settings(self, sampler: Sampler | None = None, upscale: Sampler | None = None) -> Settings:
        """Sampler settings over the lens's defaults, resolved on this pipeline."""
        return Settings(
            self.conditioner, self.denoiser, (sampler or Sampler()).over(self.defaults), upscale
        )

    def reader(self, options: Mapping[str, Any] | None = None) -> Reader:
        """The pipeline's text side, under options of `__call__` that its encoders see."""
        encoded = self.conditioner.encode_options(options or {})
        return Reader(self.conditioner, encoded, self.embeddings.fitted)

    def __call__(
        self,
        prompts: str | Sequence[str],
        layers: Asked = "all",
        seeds: int | Sequence[int] = 0,
        *,
        encoder: str = ALL_ENCODERS,
        readout: str | Readout = "native",
        pooled: Pooled = "hold",
        slots: Slots = "all",
        interventions: Sequence[str | Intervention] = (),
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
            layers: "all", "native", an index, a negative index, a range "0:24:4" with both ends, a
                part of blocks such as "6.attn" or "all.mlp" (see `LayerPlan.layers`), a `Reading`, or a
                list of these. A `Reading` says by itself how its layer is read.
            seeds: one seed or several.
            encoder: the encoder whose layers are drawn while the others stay native; "all" moves all in
                step by relative depth.
            readout: "native", "final", "none" or "tuned:FILE"; see `diffusion_lens.text.readouts`.
            pooled: what a pipeline with a pooled output gets: "hold" (that of the full encoder), "layer"
                (made from the layer drawn) or "empty" (that of the empty prompt). An encoder of which only
                the pooled output is read is always drawn with "layer" when it is named by `encoder`.
            slots: what is replaced where a pipeline reads many layers; see `diffusion_lens.text.reading`.
            interventions: what is changed in the hidden states, such as `Keep("fox")` or "keep(fox)"; see
                `diffusion_lens.text.interventions`.
            steps: denoising steps.
            guidance: guidance scale.
            height: image height in pixels.
            width: image width in pixels.
            negative_prompt: what not to draw; natively encoded at every layer.
            scheduler: a diffusers scheduler by class name, for this call.
            upscale: settings of DeepFloyd IF's second stage.
            states: draw from these, of `encode` or an earlier result, in place of running the encoders;
                states that were changed since are recorded in the column `edits`.
            release_encoders: free the encoders' memory once all prompts are read.
            progress: show a progress bar.
            options: any other argument of the pipeline's `__call__`.

        Raises:
            PromptError, LayerError, EncoderError, SamplerError, InputError: something asked for can't be.
            OutOfMemoryError: not even one image fits.
        """
        how = make_reading(encoder, readout, pooled, slots, interventions)
        sampler = Sampler(steps, guidance, height, width, negative_prompt, scheduler, options)
        call = Call.resolve(self, prompts, layers, seeds, how, sampler, upscale, states)
        release = self.release_encoders if release_encoders else None
        drawn_by = Spoken(weakref.ref(self), call.readings, call.settings.sampler.options)
        return Result(call.draw(release, progress=progress), call.states, drawn_by)

    def stream(
        self,
        prompts: str | Sequence[str],
        layers: Asked = "all",
        seeds: int | Sequence[int] = 0,
        *,
        sampler: Sampler | None = None,
        **how: Any,
    ) -> Iterator[dict[str, Any]]:
        """Draw as a call does, and give each row of the table as soon as its image is there.

        Args:
            prompts: see the call.
            layers: likewise.
            seeds: likewise.
            sampler: steps, guidance, size, negative prompt and options.
            how: `encoder`, `readout`, `pooled`, `slots` and `interventions`; see the call.

        Raises:
            PromptError, LayerError, EncoderError, SamplerError, InputError: something asked for can't be;
                raised before the first row.
        """
        call = Call.resolve(self, prompts, layers, seeds, make_reading(**how), sampler or Sampler())
        yield from call.rows()

    def readings(
        self, layers: Asked = "all", how: Reading | None = None, reader: Reader | None = None
    ) -> tuple[ResolvedReading, ...]:
        """What readings of some layers mean for this model, each once, in the order asked.

        Args:
            layers: as for a call.
            how: how those are read that are not a `Reading` themselves; natively if None.
            reader: with options of `encode_prompt`, which in FLUX.2 name the layers that it reads.

        Raises:
            EncoderError, LayerError, InputError: something asked for does not exist.
        """
        return resolve_asked(self.conditioner, layers, how or Reading(), (reader or self.reader()).options)

    def encode(self, prompts: str | Sequence[str], layers: Asked = "all", **options: Any) -> States:
        """Read prompts once and keep the states, by encoder, to be saved or drawn from (`states=`).

        Args:
            prompts: one prompt or several.
            layers: as for a call; the layers that can be drawn later.
            options: arguments of the pipeline's `__call__` that its encoders see.

        Raises:
            PromptError, LayerError, SamplerError: something asked for can't be.
        """
        settings = self.settings(Sampler(options=options))
        self.conditioner.check_present()
        reader = self.reader(settings.sampler.options)
        return reader.encode(check_prompts(prompts), self.readings(layers, reader=reader))

    def explore(self, prompt: str = "", *, layers: str = "all", seeds: str = "0") -> "LensWidget":
        """A prompt field in a notebook, drawn by its kernel; see `diffusion_lens.lens.widget`."""
        from diffusion_lens.lens.widget import LensWidget

        return LensWidget(self, prompt, layers, seeds)

    def release_encoders(self) -> None:
        """Free the memory of the text encoders; no further prompt can be read after that."""
        self.conditioner.release()
        free_memory()
