"""`DiffusionLens`: see what a text encoder knows at each of its layers, as the pipeline draws it."""

import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diffusion_lens.choices import Pooled
from diffusion_lens.images.sampler import Sampler
from diffusion_lens.lens.asked import Asked, make_reading
from diffusion_lens.lens.call import Call
from diffusion_lens.lens.model import Model
from diffusion_lens.lens.result import Result
from diffusion_lens.lens.stages import default_sampler, load_stages
from diffusion_lens.lens.words import DrawnBy
from diffusion_lens.models.encoder_variants import model_name
from diffusion_lens.models.encoders import EncoderFamily
from diffusion_lens.models.pipelines import PipelineFamily
from diffusion_lens.text.embedding_files import GivenEmbedding
from diffusion_lens.text.encode import States
from diffusion_lens.text.interventions import Interventions
from diffusion_lens.text.reading import ALL_ENCODERS, Slots
from diffusion_lens.text.readouts import Readout

if TYPE_CHECKING:
    from diffusion_lens.lens.widget import LensWidget

__all__ = ["DiffusionLens"]


class DiffusionLens(Model):
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

    def __repr__(self) -> str:
        encoders = [f"{name} of {one.depth} layers" for name, one in self.conditioner.encoders.items()]
        described = ", ".join(encoders) or "encoders released"
        return f"DiffusionLens({self.name}: {type(self.pipeline).__name__}, {described})"

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
        interventions: Interventions = (),
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
            interventions: what is changed in the hidden states, such as `Keep("fox")` or "keep(fox)", one
                or several; see `diffusion_lens.text.interventions`.
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
        drawn_by = DrawnBy(weakref.ref(self), call.readings, call.settings.sampler.options)
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

    def explore(self, prompt: str = "", *, layers: str = "all", seeds: str = "0") -> "LensWidget":
        """A prompt field in a notebook, drawn by its kernel; see `diffusion_lens.lens.widget`."""
        from diffusion_lens.lens.widget import LensWidget

        return LensWidget(self, prompt, layers, seeds)
