"""The denoiser as the place: a layer is read only in some denoising steps, or only by some blocks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffusion_lens.errors import InputError
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.text.interventions.base import Context, Intervention

if TYPE_CHECKING:
    import torch

    from diffusion_lens.text.states import LayerStates

__all__ = ["Only"]

_STEPS = re.compile(r"(\d{0,4})(:?)(\d{0,4})")
_BLOCK = re.compile(r"[\w.]+")


@dataclass(frozen=True)
class Only(Intervention):
    """Let the denoiser read the layer, and what is changed in it, only in some steps or blocks.

    Everywhere else it reads another layer of the same prompt, by default the native one, without any
    change. So `only(10:, otherwise=2)` at layer 5 conditions on layer 2 before step 10 and on layer 5 from
    there on.

    Attributes:
        steps: the denoising steps, from 0, with both ends: `0:9`, `10:`, `:4`, `3`; empty for all. A step
            is one round of the pipeline's loop; solvers of second order make more than are asked for.
        blocks: the modules of the denoiser whose cross-attention reads the layer, by name or beginning of
            the name: `mid_block`, `down_blocks;up_blocks.1`; empty for the whole denoiser. A pooled output
            is read elsewhere, and a transformer that mixes text and image in one attention has no such
            place.
        otherwise: the layer that is read elsewhere: `native` or a number.
    """

    steps: str | int = ""
    blocks: str | Sequence[str] = ""
    otherwise: str | int = "native"

    name: ClassVar[str] = "only"

    def __post_init__(self) -> None:
        steps, otherwise = str(self.steps).strip(), str(self.otherwise).strip()
        found = _STEPS.fullmatch(steps)
        if found is None or (found[1] and found[3] and int(found[3]) < int(found[1])) or steps == ":":
            raise InputError(
                f"{steps!r} is no range of denoising steps. Write 0:9 (both ends, from 0), 10:, :4 or 3."
            )
        blocks = self.blocks.split(";") if isinstance(self.blocks, str) else list(self.blocks)
        names = [str(one).strip() for one in blocks if str(one).strip()]
        bad = [one for one in names if _BLOCK.fullmatch(one) is None]
        if bad:
            raise InputError(
                f"{bad[0]!r} is no name of a block. Write mid_block, or up_blocks.1;mid_block."
            )
        if not steps and not names:
            raise InputError(
                "only() names neither steps nor blocks. Write only(0:9) or only(blocks=mid_block)."
            )
        if otherwise != "native" and not otherwise.isdecimal():
            raise InputError(
                f"otherwise of only is {otherwise!r}. Allowed: native, or the number of a layer."
            )
        self._set("steps", int(steps) if steps.isdecimal() else steps)
        self._set("blocks", ";".join(dict.fromkeys(names)))
        self._set("otherwise", int(otherwise) if otherwise.isdecimal() else otherwise)

    def holds_step(self, step: int) -> bool:
        """Whether the layer is read in a step, which counts from 0."""
        found = _STEPS.fullmatch(str(self.steps))
        assert found is not None  # so was it made
        first = int(found[1] or 0)
        last = int(found[3]) if found[3] else first if found[1] and not found[2] else 10**4
        return self.steps == "" or first <= step <= last

    @property
    def block_names(self) -> tuple[str, ...]:
        """The names of blocks."""
        return tuple(str(self.blocks).split(";")) if self.blocks else ()

    def apply(self, states: LayerStates, context: Context) -> LayerStates:
        """The states as they are: nothing changes before the denoiser."""
        return states

    def change(self, state: torch.Tensor, layer: SiteKey, context: Context) -> torch.Tensor:
        """The state as it is."""
        return state
