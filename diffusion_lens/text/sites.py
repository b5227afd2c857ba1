"""`Site`: a place in a text encoder whose hidden state can be read, such as `6` or `native`."""

import re
from dataclasses import dataclass

from diffusion_lens.errors import LayerError

__all__ = ["NATIVE", "Site"]

_WRITTEN = re.compile(r"(?P<layer>-?[0-9]{1,6})(?:\.(?P<part>[a-z]+(?:\.[0-9]{1,6})?))?")
_PARTS = re.compile(r"attn|mlp|head\.[0-9]+")


@dataclass(frozen=True, order=True)
class Site:
    """A place in a text encoder.

    Attributes:
        layer: the hidden state after this block, 0 for the embedding output; None for `native`, where the
            pipeline itself reads.
        part: what the block of this layer adds to its hidden state: "attn", "mlp" or "head.3"; empty for
            the hidden state itself.

    Raises:
        LayerError: no such part, or a part of the embedding output.
    """

    layer: int | None = None
    part: str = ""

    def __post_init__(self) -> None:
        if self.part and not _PARTS.fullmatch(self.part):
            raise LayerError(
                f"{self.part!r} is no part of a block. Allowed: attn, mlp, and head.N such as head.3."
            )
        if self.part and not self.layer:
            raise LayerError(
                f"The site {self.id!r} does not exist: only a block, from 1 on, has parts. Write 6.attn."
            )

    @property
    def id(self) -> str:
        """How the site is written, in tables, files and flags."""
        if self.layer is None:
            return "native"
        return f"{self.layer}.{self.part}" if self.part else str(self.layer)

    @property
    def layer_request(self) -> int | str:
        """The site as a request for a layer."""
        return "native" if self.layer is None else self.layer

    @classmethod
    def parse(cls, text: str) -> "Site":
        """Read what `id` gives.

        Raises:
            LayerError: it is written in no known way.
        """
        if text == "native":
            return NATIVE
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise LayerError(f"{text!r} is no site. Sites are written 6, native, 6.attn, 6.mlp, 6.head.3.")
        return cls(int(found["layer"]), found["part"] or "")

    def __str__(self) -> str:
        return self.id


NATIVE = Site()
"""Where the pipeline itself reads."""
