"""`Site`: a place in a text encoder that can be read, such as `6`, `native` or `6.attn`."""

import re
from dataclasses import dataclass

from diffusion_lens.errors import LayerError

__all__ = ["NATIVE", "Site"]

_WRITTEN = re.compile(
    r"(?P<added>native\+)?(?P<layer>-?[0-9]{1,6})(?:\.(?P<part>[a-z]+(?:\.[0-9]{1,6})?))?"
)
_PARTS = re.compile(r"attn|mlp|head\.[0-9]+")


@dataclass(frozen=True, order=True)
class Site:
    """A place in a text encoder.

    Attributes:
        layer: the hidden state after this block, 0 for the embedding output; None for `native`, where the
            pipeline itself reads.
        part: what the block of this layer adds to its hidden state: "attn", "mlp" or "head.3"; empty for
            the hidden state itself.
        added: the part is added to the native hidden state, in place of standing alone.

    Raises:
        LayerError: no such part, or a part of the embedding output.
    """

    layer: int | None = None
    part: str = ""
    added: bool = False

    def __post_init__(self) -> None:
        if self.part and not _PARTS.fullmatch(self.part):
            raise LayerError(
                f"{self.part!r} is no part of a block. Allowed: attn, mlp, and head.N such as head.3."
            )
        if self.part and not self.layer:
            raise LayerError(
                f"The site {self.id!r} does not exist: only a block, from 1 on, has parts. Write 6.attn."
            )
        if self.added and not self.part:
            raise LayerError(
                f"The site {self.id!r} does not exist: only a part of a block is added, as in "
                "native+6.attn."
            )

    @property
    def id(self) -> str:
        """How the site is written, in tables, files and flags."""
        if self.layer is None:
            return "native"
        written = f"{self.layer}.{self.part}" if self.part else str(self.layer)
        return f"native+{written}" if self.added else written

    @property
    def series(self) -> str:
        """What tells it from the hidden state of its layer: `attn`, `native+mlp`; empty for that itself.

        Sites of one series are one curve over the layers.
        """
        return f"native+{self.part}" if self.added else self.part

    @property
    def layer_request(self) -> int | str:
        """The site as a request for a layer."""
        if self.part:
            return self.id
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
            raise LayerError(
                f"{text!r} is no site. Sites are written 6, native, 6.attn, 6.mlp, 6.head.3, native+6.attn."
            )
        return cls(int(found["layer"]), found["part"] or "", found["added"] is not None)

    def __str__(self) -> str:
        return self.id


NATIVE = Site()
"""Where the pipeline itself reads."""
