"""`Reader`: a live pipeline's text side, from prompts over hidden states to conditioning."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers.modeling_outputs import ModelOutput

from diffusion_lens.errors import InputError
from diffusion_lens.models.conditioner import Conditioner
from diffusion_lens.models.conditioning import Conditioning
from diffusion_lens.models.family import Slot
from diffusion_lens.models.hooks import Change, Recording
from diffusion_lens.models.memory import explain_memory
from diffusion_lens.models.site_keys import SiteKey, deepest_layer
from diffusion_lens.models.tokens import find_tokenizer
from diffusion_lens.text.embedding_tokens import check_cleaned
from diffusion_lens.text.embeddings import Embedding, expand, use_embeddings
from diffusion_lens.text.encode import States, encode, needed_layers
from diffusion_lens.text.encoder_output import encoder_output, pooled_output
from diffusion_lens.text.interventions import Context, Intervention, Source, TokenPlaces, find_places
from diffusion_lens.text.reading import EncoderEdits, ResolvedReading, all_edits, source_prompts
from diffusion_lens.text.readouts import parse_readout
from diffusion_lens.text.states import LayerStates

__all__ = ["Reader"]

_OFFLOAD = 'loading with offload="model"'
_NATIVE = parse_readout("native")
_Read = tuple[str, list[int], list[bool]]  # a prompt, its token ids and its mask


class Reader:
    """Reads prompts with the encoders of a pipeline, and makes conditioning of what was read.

    Args:
        conditioner: the pipeline's text side.
        options: the options of `encode_prompt`; see `Conditioner.encode_options`.
        embeddings: learned embeddings that prompts may hold.
        words: the hash of each by its token, also of those that stub encoders know by name alone.
    """

    def __init__(
        self,
        conditioner: Conditioner,
        options: Mapping[str, Any],
        embeddings: Sequence[Embedding] = (),
        words: Mapping[str, str] | None = None,
    ) -> None:
        self.conditioner, self.options, self.embeddings = conditioner, options, tuple(embeddings)
        self._sources: dict[str, States] = {}
        self._edited: dict[tuple[str, str], States] = {}
        self._places: dict[tuple[Any, ...], TokenPlaces] = {}
        self.words = {word.token: word.hash for word in self.embeddings} if words is None else words
        self._copies: dict[str, tuple[Any, Any]] = {}
        self._using = False

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The pipeline understands the learned embeddings while the body runs, which may enter it again."""
        if not self.embeddings or self._using:
            yield
            return
        with use_embeddings(self.conditioner.pipe, self.embeddings, self._copies):
            self._using = True
            try:
                yield
            finally:
                self._using = False

    def encode(
        self,
        prompts: Sequence[str],
        readings: Sequence[ResolvedReading],
        edits: EncoderEdits | None = None,
    ) -> States:
        """What `readings` need of each encoder, in one pass by prompt.

        Args:
            prompts: the prompts.
            readings: how they will be read.
            edits: what is changed in the forward pass; what it reads besides must have been prepared.

        Raises:
            EncoderError: the encoders were released.
            OutOfMemoryError: an encoder does not fit.
            PromptError: the pipeline takes a learned word out of a prompt.
        """
        self.conditioner.check_present()
        with explain_memory("The prompts can't be encoded", _OFFLOAD), self.in_use():
            asked = self.options, self.words
            if edits is None:
                found = encode(self.conditioner, prompts, readings, *asked, None, self._expand)
                pieces = {word.token: word.placeholder_tokens for word in self.embeddings}
                for read in found.values() if self.options.get("clean_caption") else ():
                    check_cleaned(read.prompts, read.tokens, pieces)
                return found
            parts = []
            for one in prompts:
                hooks = self._hooks(one, edits)
                parts.append(encode(self.conditioner, [one], readings, *asked, hooks, self._expand))
        return {name: LayerStates.join([part[name] for part in parts]) for name in parts[0]}

    def prepare(self, prompts: Sequence[str], readings: Sequence[ResolvedReading]) -> None:
        """Encode what `readings` of some prompts need beside the prompts themselves, each prompt once."""
        for prompt in prompts:
            for source in source_prompts(readings, prompt):
                if source not in self._sources:
                    self.keep_source(source, self.encode([source], readings))
            for edits in all_edits(readings):
                if (prompt, edits.id) not in self._edited:
                    self.keep_edited(prompt, edits, self.encode([prompt], readings, edits))

    def keep_source(self, prompt: str, states: States) -> None:
        """Use these states of a prompt that readings need beside the prompts themselves."""
        self._sources[prompt] = states

    def keep_edited(self, prompt: str, edits: EncoderEdits, states: States) -> None:
        """Use these states of a prompt for readings that change the forward pass of its encoders."""
        self._edited[prompt, edits.id] = states

    def forget_edited(self) -> None:
        """Free the memory of the states of `keep_edited`."""
        self._edited.clear()

    def condition(self, states: States, reading: ResolvedReading) -> Conditioning:
        """The pipeline's text arguments of one prompt under one reading, on the CPU.

        Args:
            states: the states of one prompt, by encoder.
            reading: the reading; what it needs besides must have been prepared.

        Raises:
            PromptError: an intervention names a word that the prompt lacks.
        """
        prompt = next(iter(states.values())).prompts[0]
        drawn = self.drawn_states(states, reading)
        with self.in_use():  # a CLIP finds its end among learned words only so
            outputs = {
                name: self._output(name, slot, drawn[name], reading)
                for name, slot in self.conditioner.slots.items()
            }
            return self.conditioner.replay(prompt, outputs, self.options).to("cpu")

    def _output(self, name: str, slot: Slot, states: LayerStates, reading: ResolvedReading) -> ModelOutput:
        """What one encoder is taken to have returned."""
        given, moves = reading.reading, name in reading.moving
        encoder, sources = self.conditioner.encoders[name], reading.sources[name]
        empty = given.pooled == "empty"
        pooled = pooled_output(
            given.pooled if moves or empty else "hold",
            slot,
            encoder,
            states,
            self.source("")[name] if empty else None,
            max(sources, key=deepest_layer),
        )
        return encoder_output(
            slot,
            encoder,
            states,
            reading.positions[name],
            sources,
            given.readout if moves else _NATIVE,
            pooled=pooled,
            device=self.conditioner.device,
            after=self._after_norm(name, states, reading) if moves else None,
        )

    def conditions(
        self, states: States, reading: ResolvedReading
    ) -> tuple[Conditioning, Conditioning | None]:
        """What the pipeline is called with, and what is read in the places of `only(...)` instead, if any.

        The arguments, and what is raised, are those of `condition`.
        """
        own = self.condition(states, reading)
        return (
            (own, None) if reading.otherwise is None else (self.condition(states, reading.otherwise), own)
        )

    def drawn_states(self, states: States, reading: ResolvedReading) -> States:
        """The states of one prompt that a reading draws: under all that changes them, before any norm.

        Args:
            states: see `condition`.
            reading: likewise.

        Raises:
            PromptError: an intervention names a word that the prompt lacks.
            InputError: what an intervention in the encoder needs was not prepared.
        """
        prompt = next(iter(states.values())).prompts[0]
        edits = reading.encoder_edits
        if edits is not None:
            if (prompt, edits.id) not in self._edited:
                raise InputError(f"The states of {prompt!r} under {edits.id} were not prepared.")
            states = self._edited[prompt, edits.id]
        return {
            name: self._intervene(name, one, reading) if name in reading.moving else one
            for name, one in states.items()
        }

    def negative(self, negative_prompt: str | None, prompt: str) -> Conditioning:
        """The negative text arguments, natively encoded, on the CPU.

        Args:
            negative_prompt: what not to draw; None for what the pipeline does by default.
            prompt: any prompt; pipelines want one beside a negative prompt.
        """
        with explain_memory("The negative prompt can't be encoded", _OFFLOAD), self.in_use():
            return self.conditioner.negative(negative_prompt, prompt, self.options).to("cpu")

    def source(self, prompt: str) -> States:
        """The states of `keep_source`.

        Raises:
            InputError: there are none.
        """
        if prompt not in self._sources:
            raise InputError(f"The states of the prompt {prompt!r} are needed and were not prepared.")
        return self._sources[prompt]

    def _intervene(self, name: str, states: LayerStates, reading: ResolvedReading) -> LayerStates:
        """The states under what changes them before any norm; given ones may hold more than is needed."""
        states = states.of_layers(needed_layers(self.conditioner, [reading])[name])
        for change in reading.reading.interventions:
            if not change.in_encoder and not change.after_norm:
                states = change.apply(states, self.context_of(name, states, change))
        return states

    def _after_norm(
        self, name: str, states: LayerStates, reading: ResolvedReading
    ) -> Callable[[torch.Tensor, SiteKey], torch.Tensor]:
        """What changes the state that the pipeline is given, after any norm."""
        changes = [
            change
            for change in reading.reading.interventions
            if change.after_norm and not change.in_encoder
        ]

        def apply(state: torch.Tensor, layer: SiteKey) -> torch.Tensor:
            for change in changes:
                state = change.change(state, layer, self.context_of(name, states, change))
            return state

        return apply

    def _hooks(self, prompt: str, edits: EncoderEdits) -> dict[str, dict[str, Change]]:
        """What changes the states of each encoder as they pass by, by part of a block."""

        def hook(name: str, part: str) -> Change:
            own = self.conditioner.encoders[name].fingerprint

            def apply(state: torch.Tensor, layer: int, seen: Recording) -> torch.Tensor:
                mask = (
                    torch.ones_like(seen.input_ids) if seen.attention_mask is None else seen.attention_mask
                )
                read = prompt, seen.input_ids[0].tolist(), mask[0].bool().tolist()
                for change in (one for one in edits.changes if one.part == part):
                    state = change.change(state, layer, self._context(name, own, read, change))
                return state

            return apply

        parts = dict.fromkeys(change.part for change in edits.changes)
        return {name: {part: hook(name, part) for part in parts} for name in edits.encoders}

    def context_of(self, name: str, states: LayerStates, change: Intervention) -> Context:
        """What an intervention knows of one prompt, as the encoder read it."""
        return self._context(name, states.fingerprint, _read(states), change)

    def _context(self, name: str, fingerprint: str, read: _Read, change: Intervention) -> Context:
        sources = {}
        for source in change.sources(read[0]):
            states = self.source(source)[name]
            sources[source] = Source(states, self.find_places(name, *_read(states)))
        return Context(read[0], name, fingerprint, self.find_places(name, *read), sources)

    def places_of(self, states: LayerStates) -> TokenPlaces:
        """Where the words and the pads of one prompt are."""
        return self.find_places(states.encoder, *_read(states))

    def find_places(self, name: str, prompt: str, ids: list[int], mask: list[bool]) -> TokenPlaces:
        """Where the words and the pads of a prompt are, by the token ids and the mask that were read."""
        key = name, prompt, tuple(ids), tuple(mask)  # a batch may pad a prompt in front of it
        if key not in self._places:
            with self.in_use():
                tokenizer = find_tokenizer(self.conditioner.pipe, self.conditioner.slots[name])
                self._places[key] = find_places(tokenizer, prompt, ids, mask, self._expand)
        return self._places[key]

    def _expand(self, text: str) -> str:
        return expand(text, self.embeddings)


def _read(states: LayerStates) -> _Read:
    return states.prompts[0], states.input_ids[0].tolist(), states.mask[0].tolist()
