"""`StatesCache`: hidden states of prompts, kept in the run, so that resuming it does not encode again.

    states/<encoder>-<fingerprint>-<hash of prompt, embeddings and edits>.safetensors  states of one prompt
    states/negative-<hash of the fingerprints and embeddings>.safetensors            negative conditioning
    stubs/<encoder>-<fingerprint>.safetensors                       what a stub of the encoder needs

A run holds one set of sampler settings, so that options of the encoders need no place in a name.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from safetensors import SafetensorError
from safetensors.torch import load, save

from diffusion_lens.errors import InputError, RunError
from diffusion_lens.files import read_from
from diffusion_lens.models.conditioning import Conditioning
from diffusion_lens.models.stub_encoders import stub_bytes
from diffusion_lens.runs.store import Store
from diffusion_lens.text.encode import States, select
from diffusion_lens.text.reader import Reader
from diffusion_lens.text.reading import EncoderEdits, ResolvedReading
from diffusion_lens.text.states import LayerStates

__all__ = ["StatesCache", "read_stubs"]

log = logging.getLogger(__name__)


class StatesCache:
    """States of one run: read where they are kept, and else encoded and kept.

    Args:
        store: where they are kept; None keeps none.
        gigabytes: what the states of all prompts may take on disk.
        embeddings_of: the learned embeddings of a prompt and their hashes.
    """

    def __init__(
        self,
        store: Store | None,
        gigabytes: float,
        embeddings_of: Callable[[str], Mapping[str, str]],
    ) -> None:
        self.embeddings_of = embeddings_of
        self._memory: dict[str, States] | None = None
        self.store = store if gigabytes > 0 else None
        self.room = gigabytes * 1e9
        if self.store is not None and self.store.fs.exists(self.store.path("states")):
            listed = self.store.fs.ls(self.store.path("states"), detail=True)
            self.room -= sum(one["size"] for one in listed)

    def keep_in_memory(self) -> None:
        """From now on keep states in memory where nothing is kept on disk: the encoders will be gone."""
        self._memory = {}

    def states(
        self,
        reader: Reader,
        prompt: str,
        readings: Sequence[ResolvedReading],
        edits: EncoderEdits | None = None,
    ) -> States:
        """The states of one prompt at what `readings` need, under what is changed in the forward pass."""
        store = self.store
        key = prompt if edits is None else f"{prompt}\n{edits.id}"
        if store is None:
            if self._memory is None:
                return reader.encode([prompt], readings, edits)
            if key not in self._memory:
                self._memory[key] = reader.encode([prompt], readings, edits)
            return self._memory[key]
        names = {
            name: f"states/{name}-{encoder.fingerprint}-{self._hash(key)}.safetensors"
            for name, encoder in reader.conditioner.encoders.items()
        }
        try:
            kept = {
                name: LayerStates.from_bytes(content, file)
                for name, file in names.items()
                if (content := _read(store, file)) is not None
            }
            found = select(reader.conditioner, kept, [prompt], readings, reader.options, reader.words)
            if not any(one.edits(0) for one in found.values()):  # a file may be damaged
                return found
        except InputError:  # not kept, not with these layers, or cut short
            pass
        encoded = reader.encode([prompt], readings, edits)
        for name, states in encoded.items():
            self._write(store, names[name], states.to_bytes())
        return encoded

    def negative(self, reader: Reader, make: Callable[[], Conditioning]) -> Conditioning:
        """The negative conditioning."""
        store = self.store
        if store is None:
            return make()
        encoders = "".join(one.fingerprint for one in reader.conditioner.encoders.values())
        name = f"states/negative-{self._hash(encoders)}.safetensors"
        if (content := _read(store, name)) is not None:
            with suppress(SafetensorError):  # cut short
                return Conditioning.from_flat(load(content))
        made = make()
        self._write(store, name, save(made.to_flat()))
        return made

    def keep_stubs(self, reader: Reader) -> None:
        """Keep what is needed to resume without the encoders."""
        if self.store is None:
            return
        for name, encoder in reader.conditioner.encoders.items():
            file = f"stubs/{name}-{encoder.fingerprint}.safetensors"
            if not self.store.fs.exists(self.store.path(file)):
                self.store.write(file, stub_bytes(encoder))

    def _hash(self, text: str) -> str:
        """Of a text, and the learned embeddings in it."""
        whole = "\n".join([text, *map("=".join, self.embeddings_of(text).items())])
        return hashlib.sha256(whole.encode()).hexdigest()[:20]

    def _write(self, store: Store, name: str, content: bytes) -> None:
        before, self.room = self.room, self.room - len(content)
        if self.room >= 0:
            store.write(name, content)
        elif before >= 0:
            log.warning(
                "The states of no more prompts are kept in %s: machine.states is reached. Raise it to "
                "keep all.",
                store.url,
            )


def read_stubs(store: Store) -> dict[str, tuple[str, bytes]]:
    """Fingerprint and bytes of the stub encoders that a run keeps, by encoder.

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
        stubs[encoder] = fingerprint, read_from(store.fs, store.path(name))
    return stubs


def _read(store: Store, name: str) -> bytes | None:
    path = store.path(name)
    return read_from(store.fs, path) if store.fs.exists(path) else None
