"""`StatesCache`: what text encoders said, kept in the run, so that going on with it does not ask again.

    states/<encoder>-<fingerprint>-<hash of the prompt and words>.safetensors    the states of one prompt
    states/negative-<hash of the fingerprints and words>.safetensors             the negative conditioning
    stubs/<encoder>-<fingerprint>.safetensors                         what a stub of it needs

A run holds one set of sampler settings, so that options of the encoders need no place in a name.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence

from safetensors import SafetensorError
from safetensors.torch import load, save

from diffusion_lens.errors import InputError, RunError
from diffusion_lens.lens.view import View
from diffusion_lens.models.conditioner import Conditioner, Conditioning
from diffusion_lens.models.stub_encoders import stub_bytes
from diffusion_lens.runs.store import Store
from diffusion_lens.text.encode import States, select
from diffusion_lens.text.layers import Rung
from diffusion_lens.text.states import LayerStates

__all__ = ["StatesCache", "read_stubs"]

log = logging.getLogger(__name__)


class StatesCache:
    """States of one run, read where they are there, and else made and kept.

    Args:
        store: the run; None keeps nothing.
        gigabytes: what the states of all prompts may take on disk.
        words_of: the learned words of a prompt and their hashes.
    """

    def __init__(
        self, store: Store | None, gigabytes: float, words_of: Callable[[str], Mapping[str, str]]
    ) -> None:
        self.words_of = words_of
        self.store = store if gigabytes > 0 else None
        self.room = gigabytes * 1e9
        if self.store is not None and self.store.fs.exists(self.store.path("states")):
            listed = self.store.fs.ls(self.store.path("states"), detail=True)
            self.room -= sum(one["size"] for one in listed)

    def states(self, view: View, prompt: str, rungs: Sequence[Rung]) -> States:
        """The states of one prompt at what `rungs` need."""
        if self.store is None:
            return view.encode([prompt], rungs)
        names = {
            name: f"states/{name}-{encoder.fingerprint}-{self._hash(prompt)}.safetensors"
            for name, encoder in view.conditioner.encoders.items()
        }
        kept = {
            name: LayerStates.from_bytes(content, file)
            for name, file in names.items()
            if (content := self._read(file)) is not None
        }
        try:
            return select(view.conditioner, kept, [prompt], rungs)
        except InputError:  # not kept, or not with these layers
            made = view.encode([prompt], rungs)
        for name, states in made.items():
            self._write(names[name], states.to_bytes())
        return made

    def negative(self, conditioner: Conditioner, make: Callable[[], Conditioning]) -> Conditioning:
        """The negative conditioning."""
        if self.store is None:
            return make()
        encoders = "".join(one.fingerprint for one in conditioner.encoders.values())
        name = f"states/negative-{self._hash(encoders)}.safetensors"
        content = self._read(name)
        if content is not None:
            try:
                return Conditioning.from_flat(load(content))
            except SafetensorError as error:
                raise _damaged(self.store, name) from error
        made = make()
        self._write(name, save(made.to_flat()))
        return made

    def keep_stubs(self, conditioner: Conditioner) -> None:
        """Keep what is needed to go on without the encoders."""
        if self.store is None:
            return
        for name, encoder in conditioner.encoders.items():
            file = f"stubs/{name}-{encoder.fingerprint}.safetensors"
            if not self.store.fs.exists(self.store.path(file)):
                self.store.write(file, stub_bytes(encoder))

    def _hash(self, text: str) -> str:
        """Of a text, and the learned words beside it."""
        whole = "\n".join([text, *map("=".join, self.words_of(text).items())])
        return hashlib.sha256(whole.encode()).hexdigest()[:20]

    def _read(self, name: str) -> bytes | None:
        assert self.store is not None
        path = self.store.path(name)
        return bytes(self.store.fs.cat_file(path)) if self.store.fs.exists(path) else None

    def _write(self, name: str, content: bytes) -> None:
        assert self.store is not None
        before, self.room = self.room, self.room - len(content)
        if self.room >= 0:
            self.store.write(name, content)
        elif before >= 0:
            log.warning(
                "The states of no more prompts are kept in %s: machine.states is reached. Raise it to "
                "keep all.",
                self.store.url,
            )


def read_stubs(store: Store) -> dict[str, tuple[str, bytes]]:
    """Fingerprint and bytes of the stubs that a run keeps, by encoder.

    Raises:
        RunError: it keeps none.
    """
    names = store.names("stubs", ".safetensors")
    if not names:
        raise RunError(
            f'{store.url} keeps no states to draw from. Draw with encoders = "load" and machine.states '
            "above 0 first."
        )
    stubs = {}
    for name in names:
        encoder, _, fingerprint = name.removeprefix("stubs/").removesuffix(".safetensors").rpartition("-")
        stubs[encoder] = fingerprint, bytes(store.fs.cat_file(store.path(name)))
    return stubs


def _damaged(store: Store, name: str) -> InputError:
    return InputError(f"{store.url}/{name} is cut short or damaged. Delete it; it is made again.")
