"""What an experiment means for a live model: loaded and asked once, before anything is drawn."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.lens.settings import Settings
from diffusion_lens.models.digest import digest_pipeline
from diffusion_lens.models.embedded import EMBEDDED
from diffusion_lens.models.stub_encoders import load_stubs
from diffusion_lens.runs.experiment import Experiment
from diffusion_lens.runs.plan import Resolved
from diffusion_lens.runs.store import Store
from diffusion_lens.sweep.conditionings import Conditionings
from diffusion_lens.sweep.states_cache import read_stubs
from diffusion_lens.text.embedding_files import EmbeddingFile
from diffusion_lens.text.interventions import parse_interventions
from diffusion_lens.text.readouts import parse_readout
from diffusion_lens.text.resolve import resolve_readings

__all__ = ["identify", "load_lens", "resolve"]


def load_lens(
    experiment: Experiment,
    store: Store | None = None,
    embeddings: Sequence[EmbeddingFile] = (),
    conditionings: Conditionings | None = None,
) -> DiffusionLens:
    """The experiment's model; see `DiffusionLens.from_pretrained`, also for what it raises.

    Args:
        experiment: what is drawn.
        store: the run, where stubs of the encoders are if they are to be left unloaded.
        embeddings: learned embeddings that prompts may hold.
        conditionings: what is drawn from; no text encoder is loaded beside it, but an embedded model's.
    """
    machine = experiment.machine
    stubs: dict[str, Any] = {}
    if conditionings is not None and experiment.model not in EMBEDDED:
        stubs = load_stubs(experiment.model, read_stubs(conditionings.store), experiment.revision)
    elif conditionings is None and machine.encoders == "leave" and store is not None:
        stubs = load_stubs(experiment.model, read_stubs(store), experiment.revision)
    return DiffusionLens.from_pretrained(
        experiment.model,
        batch_size=machine.batch_size,
        embeddings=embeddings,
        device=machine.device,
        dtype=machine.dtype,
        offload=machine.offload,
        revision=experiment.revision,
        variant=machine.variant,
        config=machine.config,
        family=experiment.family,
        encoders=experiment.encoder_families,
        # the stubs are of what stood there when the prompts were encoded
        text_encoders=None if stubs else experiment.text_encoders,
        **stubs,
    )


def resolve(lens: DiffusionLens, experiment: Experiment) -> Resolved:
    """Ask a live model, once, what an experiment means for it.

    Raises:
        EncoderError, LayerError, SamplerError: the experiment asks for something that it does not have.
    """
    settings, identity = identify(lens, experiment)
    options = lens.conditioner.encode_options(settings.sampler.options)
    readings = [
        reading
        for encoder in experiment.encoders
        for readout in experiment.readouts
        for slots in experiment.slot_choices
        for changes in experiment.interventions
        for reading in resolve_readings(
            lens.conditioner,
            experiment.layers,
            encoder=encoder,
            readout=parse_readout(readout),
            pooled=experiment.pooled,
            slots=slots,
            interventions=parse_interventions(changes),
            options=options,
        )
    ]
    return Resolved(
        # "all" and the only encoder of a pipeline give the same readings
        readings=tuple({reading.reading: reading for reading in readings}.values()),
        **identity,
        batch_size=experiment.machine.batch_size or lens.denoiser.batch_size,
        embeddings=dict(lens.embeddings.hashes),
    )


def identify(lens: DiffusionLens, experiment: Experiment) -> tuple[Settings, dict[str, Any]]:
    """What a live model makes of an experiment's sampler settings, and what must stay as it is in a run.

    Returns:
        The settings; and `settings` (with the approximations, as columns of the table), `fingerprint` and
        `dtype` of `Resolved`.
    """
    steps = experiment.approximations.steps or experiment.sampler.steps
    settings = lens.settings(replace(experiment.sampler, steps=steps))
    columns = settings.columns()
    if approximations := str(experiment.approximations):
        columns = {**columns, "approximations": approximations}
    fingerprint = str(digest_pipeline(lens.pipeline))
    return settings, {"settings": columns, "fingerprint": fingerprint, "dtype": lens.dtype}
