"""The digest of a model: a hash for each part of a pipeline that takes part in an image.

Needs no torch to be read and compared; `models.digest_parts` computes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ModelDigest", "digest_pipeline"]


@dataclass(frozen=True)
class ModelDigest:
    """What tells a model from all others: one hash by part.

    Attributes:
        parts: 16 hex digits by the pipeline's name for the part; "pipeline" is its class and settings.
    """

    parts: Mapping[str, str]

    def __str__(self) -> str:
        """One line that `parse` reads: `scheduler=1f... text_encoder=07...`."""
        return " ".join(f"{name}={value}" for name, value in sorted(self.parts.items()))

    def __hash__(self) -> int:
        return hash(str(self))

    @classmethod
    def parse(cls, text: str) -> "ModelDigest":
        """The digest that was written as text.

        Raises:
            ValueError: it is no digest.
        """
        pairs = [part.partition("=") for part in text.split()]
        if not all(name and value for name, _, value in pairs):
            raise ValueError(f"{text!r} is no digest of a model: it must read `part=hash part=hash`.")
        return cls({name: value for name, _, value in pairs})

    def differences(self, other: "ModelDigest") -> tuple[str, ...]:
        """The names of the parts that differ, or that one of the two lacks; empty if the models agree."""
        names = sorted({*self.parts, *other.parts})
        return tuple(name for name in names if self.parts.get(name) != other.parts.get(name))


def digest_pipeline(pipe: Any) -> ModelDigest:
    """The digest of a live pipeline.

    Args:
        pipe: a diffusers pipeline. Weights (adapters, buffers, quantised and offloaded weights included),
            configs, numbers and names that modules hold, tokenizers, the scheduler's config and the
            pipeline's own settings count; where weights lie, and whether code is compiled, does not.
    """
    from diffusion_lens.models.digest_parts import digest_part, digest_settings

    parts = {name: digest_part(part) for name, part in pipe.components.items() if part is not None}
    return ModelDigest({"pipeline": digest_settings(pipe), **parts})
