"""`Experiment`: what a study draws, as a TOML file and as frozen dataclasses.

    claim = "relations emerge after objects"
    model = "emoji"
    prompts = ["a fox to the left of a car", "a cat above a tree"]
    layers = ["all"]
    seeds = [0, 1, 2, 3]

    [sampler]
    steps = 20

A key that is left out has the default of its dataclass.
"""

import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import tomli_w

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from diffusion_lens.choices import Pooled
from diffusion_lens.errors import ExperimentError, InputError
from diffusion_lens.images.approximations import Approximations
from diffusion_lens.images.sampler import Sampler
from diffusion_lens.models.encoder_variants import EncoderVariant, model_name
from diffusion_lens.runs.experiment_parts import Captions, Machine, Prompt, Prompts
from diffusion_lens.runs.toml import plain_dataclass, read_dataclass
from diffusion_lens.runs.values import check_values
from diffusion_lens.text.interventions import parse_interventions
from diffusion_lens.text.readouts import parse_readout

__all__ = ["Captions", "Experiment", "Machine", "Prompt", "Prompts"]

# seeds below it are told apart in every prompt
_SEEDS_OF_A_PROMPT = 1000


@dataclass(frozen=True)
class Experiment:
    """Everything that one run draws: the product of prompts, encoders, readouts, layers and seeds.

    Attributes:
        model: an embedded model, a folder, or a hub id.
        prompts: the prompts.
        layers: layer requests, as for `DiffusionLens`.
        seeds: the seeds.
        noise: "shared": a seed is the same noise for all prompts. "own": each prompt has noise of its own,
            the same at all its layers, so that a study rests on more than a few draws of noise.
        embeddings: files of learned words that prompts may hold, folders of them, or "<token>=file" to
            write a word in another way than its file says; paths start where those of the prompts do.
        encoders: the encoders that move, one after the other; "all" moves all in step.
        readouts: the readouts, as `diffusion_lens.text.readouts` writes them.
        interventions: sets of interventions, one after the other, as `diffusion_lens.text.interventions`
            writes them; the empty set draws without any, such as [[], ["keep(fox)"]].
        pooled: what a pipeline with a pooled output gets.
        slots: what a layer replaces where a pipeline reads several layers; or several choices, one after
            the other, such as ["all", 0, 1, "without:0"].
        revision: branch, tag or commit on the hub.
        family: how the pipeline takes its text, for one of no known class: the name of a known class, or
            "package.module:NAME" for a `PipelineFamily` of one's own.
        encoder_families: how its text encoders are built, by the pipeline's name for them, written likewise
            (an `EncoderFamily`).
        text_encoders: what stands in the place of the model's own text encoders, by the pipeline's name for
            them, such as "own+int8" or a folder; see `diffusion_lens.models.encoder_variants`.
        claim: what the study is to answer, in a sentence.
        contrasts: what is to be compared, such as "kind=object,relation", decided on before anything is
            drawn; `analyze` tests these apart from all other comparisons.
        scorers: names of the scorers that judge the images once they are drawn. `scoring.registry` has
            them; `sweep` refuses unknown ones before anything is drawn.
        scorer: settings of scorers, a table by name, such as `[scorer.clip]`.
        checks: a file of checks for the scorers to ask, where those of the prompts' own words are not
            meant; its path starts where that of the prompts does.
        sampler: sampler settings; the model's own where nothing is set.
        approximations: what is given up for speed; nothing by default.
        machine: how images are computed and kept.
    """

    model: str
    prompts: Prompts
    layers: tuple[int | str, ...] = ("all",)
    seeds: tuple[int, ...] = (0,)
    noise: Literal["shared", "own"] = "shared"
    embeddings: tuple[str, ...] = ()
    encoders: tuple[str, ...] = ("all",)
    readouts: tuple[str, ...] = ("native",)
    interventions: tuple[tuple[str, ...], ...] = ((),)
    pooled: Pooled = "hold"
    slots: int | str | tuple[int | str, ...] = "all"
    revision: str | None = None
    family: str | None = None
    encoder_families: Mapping[str, str] = field(default_factory=dict)
    text_encoders: Mapping[str, str] = field(default_factory=dict)
    claim: str = ""
    contrasts: tuple[str, ...] = ()
    scorers: tuple[str, ...] = ()
    scorer: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    checks: str | None = None
    sampler: Sampler = field(default_factory=Sampler)
    approximations: Approximations = field(default_factory=Approximations)
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        for name in ("layers", "seeds", "encoders", "readouts", "interventions", "slots"):
            values = self.slot_choices if name == "slots" else getattr(self, name)
            if not values:
                raise ExperimentError(f"{name} is empty; give at least one.")
            if len(set(map(str, values))) < len(values):
                raise ExperimentError(f"{name} holds {values!r}, one of them twice; give each once.")
        try:
            for readout in self.readouts:
                parse_readout(readout)
            for changes in self.interventions:
                parse_interventions(changes)
            for encoder in self.text_encoders.values():
                EncoderVariant.parse(encoder)
        except InputError as error:
            raise ExperimentError(f"The experiment can't be read: {error}") from error
        check_values(self.seeds, self.prompts, self.machine)
        sources = ("inline", "file", "set", "captions")
        given = [name for name in sources if getattr(self.prompts, name)]
        if len(given) != 1:
            raise ExperimentError(
                f"prompts must come from one source and come from {given or 'none'}. Give a list, or one "
                "of file, set and captions."
            )

    @property
    def slot_choices(self) -> tuple[int | str, ...]:
        """`slots`, one or several, as a tuple."""
        return self.slots if isinstance(self.slots, tuple) else (self.slots,)

    @property
    def model_name(self) -> str:
        """What tables call the model: its name, and what stands in the place of its text encoders."""
        return model_name(self.model, self.text_encoders)

    def seeds_of(self, prompt: str) -> tuple[int, ...]:
        """The seeds of the images of a prompt: those of the experiment, or its own, made from its text."""
        if self.noise == "shared":
            return self.seeds
        return tuple(zlib.crc32(prompt.encode()) * _SEEDS_OF_A_PROMPT + seed for seed in self.seeds)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Experiment":
        """Read what `to_dict` or a TOML file gives.

        Raises:
            ExperimentError: an unknown key, a wrong type, or a missing one; the nearest name is said.
        """
        prepared = dict(data)
        if isinstance(prepared.get("prompts"), list):
            prepared["prompts"] = {"inline": prepared["prompts"]}
        if isinstance(prepared.get("prompts"), str):
            prepared["prompts"] = {"file": prepared["prompts"]}
        if isinstance(prepared.get("prompts"), dict):
            inline = prepared["prompts"].get("inline", [])
            if isinstance(inline, list):
                listed = [_as_table(item) for item in inline]
                prepared["prompts"] = {**prepared["prompts"], "inline": listed}
        return read_dataclass(cls, prepared)

    def to_dict(self) -> dict[str, Any]:
        """Plain data without what is at its default: what a TOML file holds."""
        plain: dict[str, Any] = plain_dataclass(self)
        if set(plain["prompts"]) == {"inline"}:
            plain["prompts"] = [_from_table(item) for item in plain["prompts"]["inline"]]
        return plain

    @classmethod
    def from_toml(cls, text: str) -> "Experiment":
        """Read TOML.

        Raises:
            ExperimentError: it is no TOML, or not of an experiment.
        """
        try:
            data = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise ExperimentError(f"The experiment is no valid TOML: {error}.") from error
        return cls.from_dict(data)

    def to_toml(self) -> str:
        """The TOML that `from_toml` reads back."""
        return tomli_w.dumps(self.to_dict())


def _as_table(item: Any) -> Any:
    """A prompt of the file, text or a table of text and metadata, as fields of `Prompt`."""
    if isinstance(item, str):
        return {"prompt": item}
    if isinstance(item, dict) and "metadata" not in item:
        metadata = {name: value for name, value in item.items() if name != "prompt"}
        return {**({"prompt": item["prompt"]} if "prompt" in item else {}), "metadata": metadata}
    return item


def _from_table(item: dict[str, Any]) -> Any:
    metadata = item.get("metadata", {})
    if "metadata" in metadata or "prompt" in metadata:
        return item
    return {"prompt": item["prompt"], **metadata} if metadata else item["prompt"]
