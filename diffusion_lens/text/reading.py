"""`Reading`: how a layer is read, as one frozen value; the axis of an experiment and part of a cell.

`ResolvedReading` is what a live model says that a reading means: which layers stand where the pipeline
reads. It is plain data, so that a plan can be made, stored and drawn without asking the model again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffusion_lens.choices import Pooled
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.text.interventions import Intervention, Only, parse_interventions
from diffusion_lens.text.readouts import Readout, parse_readout
from diffusion_lens.text.sites import NATIVE, Site
from diffusion_lens.text.slots import Slots

__all__ = [
    "ALL_ENCODERS",
    "EncoderEdits",
    "Reading",
    "ResolvedReading",
    "Slots",
    "all_edits",
    "source_prompts",
]

ALL_ENCODERS = "all"


@dataclass(frozen=True)
class Reading:
    """How a layer is read.

    Attributes:
        encoder: the encoder whose layer is drawn while the others stay native; "all" moves all in step.
        site: the layer, or `NATIVE`.
        readout: what is done to its hidden state.
        pooled: what a pipeline with a pooled output gets.
        slots: what the layer replaces where several layers are read.
        interventions: what is changed, in this order.
    """

    encoder: str = ALL_ENCODERS
    site: Site = NATIVE
    readout: Readout = field(default_factory=lambda: parse_readout("native"))
    pooled: Pooled = "hold"
    slots: Slots = "all"
    interventions: tuple[Intervention, ...] = ()

    def columns(self) -> dict[str, str]:
        """The reading as columns of a table."""
        return {
            "encoder": self.encoder,
            "site": self.site.id,
            "readout": self.readout.id,
            "pooled": self.pooled,
            "slots": str(self.slots),
            "interventions": " + ".join(one.id for one in self.interventions),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**self.columns(), "interventions": [one.id for one in self.interventions]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Reading":
        """Read what `to_dict` gave.

        Raises:
            LayerError, InputError: a value that can't be.
        """
        slots = str(data["slots"])
        return cls(
            encoder=data["encoder"],
            site=Site.parse(data["site"]),
            readout=parse_readout(data["readout"]),
            pooled=data["pooled"],
            slots=int(slots) if slots.isdecimal() else slots,
            interventions=parse_interventions(data["interventions"]),
        )


@dataclass(frozen=True)
class EncoderEdits:
    """What is changed in the forward pass of some encoders; prompts are encoded once for each set of them.

    Attributes:
        encoders: the encoders.
        changes: the interventions, in this order.
    """

    encoders: tuple[str, ...]
    changes: tuple[Intervention, ...]

    @property
    def id(self) -> str:
        """What tells the states that they give from others of the same prompt."""
        return f"{', '.join(self.encoders)}: {' + '.join(one.id for one in self.changes)}"


@dataclass(frozen=True)
class ResolvedReading:
    """What a reading means for a live model.

    Attributes:
        reading: the reading.
        layer: the number of its layer; of the native reading, the deepest that the pipeline reads.
        native: the encoders are read where the pipeline reads them.
        identical: the image is the untouched pipeline's, as far as reading goes.
        depth: the last layer of the encoder that numbers the layers.
        moving: the encoders that are read at another layer than natively.
        positions: for each encoder, the layers that the pipeline reads.
        sources: for each encoder, the layer, or the part of a block, that stands in at each of these
            positions.
        otherwise: what is read outside of the steps and blocks of `only(...)`, where there is one.
    """

    reading: Reading
    layer: int
    native: bool
    identical: bool
    depth: int
    moving: tuple[str, ...]
    positions: Mapping[str, tuple[int, ...]]
    sources: Mapping[str, tuple[SiteKey, ...]]
    otherwise: "ResolvedReading | None" = None

    @property
    def only(self) -> Only | None:
        """The steps and blocks of the denoiser that it is limited to."""
        return next((one for one in self.reading.interventions if isinstance(one, Only)), None)

    @property
    def encoder_edits(self) -> EncoderEdits | None:
        """What is changed in the forward pass of the encoders; None if nothing is."""
        changes = tuple(one for one in self.reading.interventions if one.in_encoder)
        return EncoderEdits(self.moving, changes) if changes else None

    def columns(self) -> dict[str, Any]:
        """Its columns of a table; `identical` is not one, as it rests on more than the reading."""
        return {**self.reading.columns(), "layer": self.layer, "native": self.native}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain = {**vars(self), "reading": self.reading.to_dict()}
        other = plain.pop("otherwise")
        return plain if other is None else {**plain, "otherwise": other.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ResolvedReading":
        """Read what `to_dict` gave."""
        layers = {
            name: {encoder: tuple(numbers) for encoder, numbers in data[name].items()}
            for name in ("positions", "sources")
        }
        given = {**data, **layers, "moving": tuple(data["moving"])}
        if "otherwise" in data:
            given["otherwise"] = cls.from_dict(data["otherwise"])
        return cls(**{**given, "reading": Reading.from_dict(data["reading"])})


def source_prompts(readings: Sequence[ResolvedReading], prompt: str) -> tuple[str, ...]:
    """The prompts beside the user's own whose states some readings of it need, each once."""
    changes = [change for one in readings for change in one.reading.interventions]
    found = [source for change in dict.fromkeys(changes) for source in change.sources(prompt)]
    found += ["" for one in readings if one.reading.pooled == "empty"]
    return tuple(dict.fromkeys(found))


def all_edits(readings: Sequence[ResolvedReading]) -> tuple[EncoderEdits, ...]:
    """The sets of changes in the forward pass that some readings ask for, each once."""
    found = {edits.id: edits for one in readings if (edits := one.encoder_edits) is not None}
    return tuple(found.values())
