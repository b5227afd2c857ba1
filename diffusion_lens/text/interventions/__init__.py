"""Interventions: frozen values that change hidden states, written alike in Python, flags and files.

`Keep("fox")` is written `keep(fox)`. The written form is the intervention's id: it is a column of every
row that was drawn with it and a part of its cell, and it is read back by `parse_intervention`. Tokens are
named as `diffusion_lens.text.interventions.tokens` says.

An intervention on the readout changes only the state that is drawn; one with `place="encoder"` changes a
block's output in the forward pass, and the later blocks run on from it; `Only` limits all of them to some
steps or blocks of the denoiser. They are made in the order given: those in the encoder, those on the hidden
state, then `Scale` on what the pipeline is given, then `Only`.

A new intervention is a frozen dataclass in a module here, and a name in `INTERVENTIONS`.
"""

from diffusion_lens.text.interventions.ablate import Ablate, Skip
from diffusion_lens.text.interventions.base import Context, Intervention, Place, Source
from diffusion_lens.text.interventions.keep import Drop, Keep, Pads
from diffusion_lens.text.interventions.only import Only
from diffusion_lens.text.interventions.patch import Patch, Swap
from diffusion_lens.text.interventions.scale import Average, Scale
from diffusion_lens.text.interventions.steer import Steer, direction
from diffusion_lens.text.interventions.tokens import TokenPlaces, find_places
from diffusion_lens.text.interventions.words import Contextless, Shuffle
from diffusion_lens.text.interventions.written import (
    INTERVENTIONS,
    Interventions,
    parse_intervention,
    parse_interventions,
    split_interventions,
)

__all__ = [
    "INTERVENTIONS",
    "Ablate",
    "Average",
    "Context",
    "Contextless",
    "Drop",
    "Intervention",
    "Interventions",
    "Keep",
    "Only",
    "Pads",
    "Patch",
    "Place",
    "Scale",
    "Shuffle",
    "Skip",
    "Source",
    "Steer",
    "Swap",
    "TokenPlaces",
    "direction",
    "find_places",
    "parse_intervention",
    "parse_interventions",
    "split_interventions",
]
