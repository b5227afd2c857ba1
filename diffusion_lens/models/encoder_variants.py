"""Text encoders that stand in the place of a model's own, in words: fine-tuned, quantised, with a LoRA.

Written `SOURCE+CHANGE+CHANGE`, as in "own", "own+int8", "folder+bfloat16" or "own+lora=a.safetensors*0.5".
`models.replace_encoders` makes them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffusion_lens.errors import InputError

__all__ = ["ALLOWED", "OWN", "EncoderVariant", "base_model", "model_name"]

OWN = "own"
ALLOWED = (
    'Allowed: SOURCE+CHANGE+..., where SOURCE is "own", a folder or a hub id, and CHANGE is int8, '
    "bfloat16, float16, lora=PATH or lora=PATH*STRENGTH."
)


@dataclass(frozen=True)
class EncoderVariant:
    """A text encoder, described by where it comes from and what is changed in it.

    Attributes:
        source: "own" for the model's own; a folder that `save_pretrained` wrote, of an encoder or of a
            whole pipeline; or a hub id of either.
        changes: in this order: "int8" (each matrix rounded to eight bits, see `models.int8`), "bfloat16"
            or "float16" (each weight rounded to that type), "lora=PATH*STRENGTH" (a file of diffusers, or a
            folder of PEFT). Rounded weights are computed with in the type that the pipeline has.
    """

    source: str = OWN
    changes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "EncoderVariant":
        """Read what `str` gives.

        Raises:
            InputError: it is not written as one.
        """
        source, *changes = re.split(r"\+(?=(?:int8|bfloat16|float16)(?:\+|$)|lora=)", text)
        unknown = "+" in source and not Path(source).exists()
        if not source or unknown or "lora=" in changes:
            raise InputError(f"{text!r} describes no text encoder. {ALLOWED}")
        return cls(source, tuple(changes))

    def __str__(self) -> str:
        return "+".join((self.source, *self.changes))


def model_name(model: str, text_encoders: Mapping[str, str]) -> str:
    """What tables call a model some of whose text encoders are not its own."""
    changed = [f"{name} {one}" for name, one in sorted(text_encoders.items()) if one != OWN]
    return ", ".join([model, *changed])


def base_model(name: str) -> str:
    """The model without what stands in the place of its text encoders, of a name of `model_name`."""
    return name.partition(", ")[0]
