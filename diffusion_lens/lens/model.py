"""`Model`: a live pipeline as a lens uses it, before anything is drawn."""

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from diffusion_lens.errors import InputError
from diffusion_lens.images.denoise import Denoiser
from diffusion_lens.images.sampler import Sampler
from diffusion_lens.lens.asked import Asked, resolve_asked
from diffusion_lens.lens.settings import Settings
from diffusion_lens.lens.stages import check_second_stage
from diffusion_lens.models.conditioner import Conditioner
from diffusion_lens.models.encoders import EncoderFamily
from diffusion_lens.models.memory import choose_batch, free_memory
from diffusion_lens.models.pipelines import PipelineFamily
from diffusion_lens.text.embedding_files import GivenEmbedding, KnownEmbeddings
from diffusion_lens.text.encode import States, check_prompts
from diffusion_lens.text.layers import LayerPlan
from diffusion_lens.text.reader import Reader
from diffusion_lens.text.reading import ALL_ENCODERS, Reading, ResolvedReading, Slots

__all__ = ["Model"]

_Same = TypeVar("_Same", bound="Model")


class Model:
    """A live text-to-image pipeline: its text side, its denoising side, and the embeddings that it knows.

    For the arguments and what is raised see `DiffusionLens`, which draws with it.
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
        if isinstance(pipe, (str, os.PathLike)):
            raise InputError(
                f"{str(pipe)!r} is no pipeline but the name of one. Load it: "
                f"DiffusionLens.from_pretrained({str(pipe)!r})."
            )
        self.conditioner = Conditioner(pipe, family, encoders)
        device = self.conditioner.device
        batch = choose_batch(pipe, device, batch_size)
        check_second_stage(upscaler)
        self.denoiser = Denoiser(pipe, self.conditioner.family, device, batch, upscaler)
        self.defaults = defaults or Sampler()
        self.revision = revision
        self.embeddings = KnownEmbeddings().add(self.conditioner, embeddings)
        self.name = name or getattr(pipe, "name_or_path", None) or type(pipe).__name__

    @property
    def pipeline(self) -> Any:
        """The live pipeline."""
        return self.conditioner.pipe

    @property
    def dtype(self) -> str:
        """The type that the pipeline computes in, such as "float32"."""
        return str(self.pipeline.dtype).removeprefix("torch.")

    def with_embeddings(self: _Same, embeddings: Sequence[GivenEmbedding]) -> _Same:
        """Another one on the same pipeline, whose prompts may hold further learned embeddings.

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
        """Sampler settings over the model's defaults, resolved on this pipeline."""
        return Settings(
            self.conditioner, self.denoiser, (sampler or Sampler()).over(self.defaults), upscale
        )

    def reader(self, options: Mapping[str, Any] | None = None) -> Reader:
        """The pipeline's text side, under options of `__call__` that its encoders see."""
        encoded = self.conditioner.encode_options(options or {})
        return Reader(self.conditioner, encoded, self.embeddings.fitted, self.embeddings.hashes)

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

    def release_encoders(self) -> None:
        """Free the memory of the text encoders; no further prompt can be read after that."""
        self.conditioner.release()
        free_memory()
