"""`Reader`: a live pipeline's text side, from prompts over hidden states to conditioning."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from diffusion_lens.errors import InputError
from diffusion_lens.models.conditioner import Conditioner
from diffusion_lens.models.conditioning import Conditioning
from diffusion_lens.models.memory import explain_memory
from diffusion_lens.models.stub_encoders import is_stub
from diffusion_lens.models.tokens import align_prompt, find_tokenizer
from diffusion_lens.text.embeddings import Embedding, expand, use_embeddings
from diffusion_lens.text.encode import States, encode
from diffusion_lens.text.encoder_output import encoder_output, pooled_output
from diffusion_lens.text.interventions import Context
from diffusion_lens.text.reading import ResolvedReading
from diffusion_lens.text.readouts import parse_readout
from diffusion_lens.text.states import LayerStates

__all__ = ["Reader", "source_prompts"]

_OFFLOAD = 'loading with offload="model"'
_NATIVE = parse_readout("native")


def source_prompts(readings: Sequence[ResolvedReading]) -> tuple[str, ...]:
    """The prompts beside the user's own whose states some readings need, each once."""
    found = [
        source for one in readings for change in one.reading.interventions for source in change.sources
    ]
    found += ["" for one in readings if one.reading.pooled == "empty"]
    return tuple(dict.fromkeys(found))


class Reader:
    """Reads prompts with the encoders of a pipeline, and makes conditioning of what was read.

    Args:
        conditioner: the pipeline's text side.
        options: the options of `encode_prompt`; see `Conditioner.encode_options`.
        embeddings: learned embeddings that prompts may hold.
    """

    def __init__(
        self, conditioner: Conditioner, options: Mapping[str, Any], embeddings: Sequence[Embedding] = ()
    ) -> None:
        self.conditioner, self.options, self.embeddings = conditioner, options, tuple(embeddings)
        self._sources: dict[str, States] = {}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The pipeline understands the learned embeddings while the body runs."""
        stubs = any(is_stub(encoder.module) for encoder in self.conditioner.encoders.values())
        if not self.embeddings or stubs:
            yield
            return
        with use_embeddings(self.conditioner.pipe, self.embeddings):
            yield

    def encode(self, prompts: Sequence[str], readings: Sequence[ResolvedReading]) -> States:
        """What `readings` need of each encoder, in one pass by prompt.

        Raises:
            EncoderError: the encoders were released.
            OutOfMemoryError: an encoder does not fit.
        """
        self.conditioner.check_present()
        with explain_memory("The prompts can't be encoded", _OFFLOAD), self.in_use():
            return encode(self.conditioner, prompts, readings, self.options)

    def prepare(self, readings: Sequence[ResolvedReading]) -> None:
        """Encode what `readings` need beside the prompts themselves, each prompt once."""
        for prompt in source_prompts(readings):
            if prompt not in self._sources:
                self.keep_source(prompt, self.encode([prompt], readings))

    def keep_source(self, prompt: str, states: States) -> None:
        """Use these states of a prompt that readings need beside the prompts themselves."""
        self._sources[prompt] = states

    def condition(self, states: States, reading: ResolvedReading) -> Conditioning:
        """The pipeline's text arguments of one prompt under one reading, on the CPU.

        Args:
            states: the states of one prompt, by encoder.
            reading: the reading; what it needs besides must have been prepared.

        Raises:
            PromptError: an intervention names a word that the prompt lacks.
        """
        given = reading.reading
        outputs = {}
        for name, slot in self.conditioner.slots.items():
            encoder, moves = self.conditioner.encoders[name], name in reading.moving
            changed = self._intervene(name, states[name], reading) if moves else states[name]
            empty = self._source("")[name] if given.pooled == "empty" else None
            outputs[name] = encoder_output(
                slot,
                encoder,
                changed,
                reading.positions[name],
                reading.sources[name],
                given.readout if moves else _NATIVE,
                pooled=pooled_output(
                    given.pooled if moves or given.pooled == "empty" else "hold",
                    slot,
                    encoder,
                    changed,
                    empty,
                    max(reading.sources[name]),
                ),
                device=self.conditioner.device,
            )
        prompt = next(iter(states.values())).prompts[0]
        with self.in_use():
            return self.conditioner.replay(prompt, outputs, self.options).to("cpu")

    def negative(self, negative_prompt: str | None, prompt: str) -> Conditioning:
        """The negative text arguments, natively encoded, on the CPU.

        Args:
            negative_prompt: what not to draw; None for what the pipeline does by default.
            prompt: any prompt; pipelines want one beside a negative prompt.
        """
        with explain_memory("The negative prompt can't be encoded", _OFFLOAD), self.in_use():
            return self.conditioner.negative(negative_prompt, prompt, self.options).to("cpu")

    def _source(self, prompt: str) -> States:
        if prompt not in self._sources:
            raise InputError(f"The states of the prompt {prompt!r} are needed and were not prepared.")
        return self._sources[prompt]

    def _intervene(self, name: str, states: LayerStates, reading: ResolvedReading) -> LayerStates:
        changes = reading.reading.interventions
        if not changes:
            return states
        tokenizer = find_tokenizer(self.conditioner.pipe, self.conditioner.slots[name])
        with self.in_use():
            text = expand(states.prompts[0], self.embeddings)
            tokens = align_prompt(tokenizer, text, states.input_ids[0].tolist())
        for change in changes:
            sources = {prompt: self._source(prompt)[name] for prompt in change.sources}
            states = change.apply(states, Context(tokens, sources))
        return states
