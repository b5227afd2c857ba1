"""A live pipeline's text side: run its own `encode_prompt`, and read or stand in for its encoders."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from diffusion_lens.errors import EncoderError, UnsupportedPipelineError
from diffusion_lens.models.conditioning import Conditioning
from diffusion_lens.models.contract import check_contract
from diffusion_lens.models.encoders import EncoderFamily, TextEncoder, resolve_encoder
from diffusion_lens.models.hooks import Change, Recording, copy_output, replace_forward, uncompiled
from diffusion_lens.models.memory import free_memory
from diffusion_lens.models.noise import evaluating
from diffusion_lens.models.parts import capture_sites, edit_states
from diffusion_lens.models.pipelines import PipelineFamily, Slot, find_family, resolve_family
from diffusion_lens.models.placement import computing_device
from diffusion_lens.models.quiet import quiet_libraries
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.models.stages import holders, set_component, text_stage
from diffusion_lens.models.stub_encoders import make_stub

__all__ = ["Conditioner", "Conditioning"]

_TEXT = ("prompt", "negative_", "pooled_")  # how the names of text arguments begin
# what `__call__` names the options of attention processors, in one class or another
_ATTENTION = ("cross_attention_kwargs", "joint_attention_kwargs", "attention_kwargs")


class Conditioner:
    """The text encoders of a pipeline and the arguments that they feed.

    Args:
        pipe: a live diffusers pipeline; it is used, never changed.
        family: how it takes its text; looked up by class if None. A family, the name of a known class, or
            "package.module:NAME" for one of your own.
        encoders: families of encoders whose class is not known, by the pipeline's name for them; written
            likewise.

    Raises:
        UnsupportedPipelineError: no family fits, or the pipeline lacks text encoders, methods or arguments;
            see `diffusion_lens.models.contract`.
        EncoderError: an encoder is of no known family.
        InputError: a family is named that can't be found.
    """

    def __init__(
        self,
        pipe: Any,
        family: PipelineFamily | str | None = None,
        encoders: Mapping[str, EncoderFamily | str] | None = None,
    ) -> None:
        self.pipe = pipe
        self.family = (
            resolve_family(family) if isinstance(family, str) else family or find_family(type(pipe))
        )
        described = {
            name: resolve_encoder(one) if isinstance(one, str) else one
            for name, one in (encoders or {}).items()
        }
        present = [slot for slot in self.family.slots if getattr(pipe, slot.name, None) is not None]
        absent = [slot.name for slot in self.family.slots if slot not in present and not slot.optional]
        if absent:
            raise UnsupportedPipelineError(
                f"This {type(pipe).__name__} was loaded without its text encoder ({', '.join(absent)}); "
                "load it with one."
            )
        check_contract(pipe, self.family)
        self.slots: dict[str, Slot] = {slot.name: slot for slot in present}
        self.encoders: dict[str, TextEncoder] = {
            name: TextEncoder(
                name, getattr(pipe, name), described.get(name), getattr(pipe, slot.tokenizer, None)
            )
            for name, slot in self.slots.items()
        }
        self._encode = inspect.signature(text_stage(pipe).encode_prompt).parameters
        self._call = inspect.signature(pipe.__call__).parameters

    @property
    def device(self) -> torch.device:
        """Where the pipeline computes, which with offloading is not where its weights lie."""
        return computing_device(self.pipe)

    def check_present(self) -> None:
        """Refuse to go on without encoders.

        Raises:
            EncoderError: they were released.
        """
        if not self.encoders:
            raise EncoderError(
                f"{', '.join(self.slots)} were released to save memory and can't read another prompt; "
                "load the model again, or give all prompts in one call."
            )

    def encode_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options that `__call__` hands on to `encode_prompt`, at its own defaults or as given.

        `lora_scale`, which `encode_prompt` alone names, is taken out of the attention options, as every
        `__call__` that has it does.
        """
        skipped = {"num_images_per_prompt", "num_videos_per_prompt", "clip_skip", *self.family.not_encoded}
        options = {
            name: given.get(name, parameter.default)
            for name, parameter in self._call.items()
            if name in self._encode and name not in skipped and not name.startswith(_TEXT)
        }
        options |= self.family.encode_with
        for slot in self.slots.values():
            named = None if slot.tap is None else slot.tap.read
            if isinstance(named, str) and named in self.pipe.config:
                options[named] = self.pipe.config[named]
            elif isinstance(named, str) and named not in self._call and hasattr(self.pipe, named):
                options[named] = getattr(self.pipe, named)
        if "lora_scale" in self._encode:
            attention = [given[name] for name in _ATTENTION if given.get(name) is not None]
            options["lora_scale"] = attention[0].get("scale") if attention else None
        return options

    def _run(
        self, prompt: str | list[str], options: Mapping[str, Any], gradient: bool = False, **more: Any
    ) -> dict[str, Any]:
        """Call `encode_prompt` and name what it returns."""
        given = {
            "prompt": prompt,
            "device": self.device,
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": False,
            **options,
            **more,
        }
        arguments = {name: value for name, value in given.items() if name in self._encode}
        for name, parameter in self._encode.items():
            if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
                arguments.setdefault(name, None)  # prompt_2, prompt_3: the same as prompt
        with torch.set_grad_enabled(gradient), quiet_libraries(), self._plain():
            if self.family.encode is None:
                returned = text_stage(self.pipe).encode_prompt(**arguments)
            else:
                returned = self.family.encode(self.pipe, arguments)
        if len(self.family.returns) == 1 and not isinstance(returned, tuple):
            returned = (returned,)
        if len(returned) != len(self.family.returns):
            raise UnsupportedPipelineError(
                f"{type(self.pipe).__name__}.encode_prompt returned {len(returned)} values "
                f"({', '.join(map(_describe, returned))}) where its family names "
                f"{len(self.family.returns)} ({self.family.returns}). Name what it returns; the installed "
                "diffusers may be newer than this family's description."
            )
        named = {name: value for name, value in zip(self.family.returns, returned, strict=True) if name}
        for name, value in named.items():
            if value is None and name == "prompt_embeds_mask":
                # Qwen-Image drops a mask of ones and then takes its absence for a missing prompt
                shape = named["prompt_embeds"].shape[:2]
                named[name] = torch.ones(shape, dtype=torch.long, device=self.device)
        return named

    @contextmanager
    def _plain(self) -> Iterator[None]:
        """The text encoders in evaluation mode and not compiled, as hooks need them."""
        with ExitStack() as stack:
            stack.enter_context(evaluating(self.pipe))
            for name, encoder in self.encoders.items():
                compiled = getattr(self.pipe, name)
                if compiled is not encoder.module:
                    for holder, own in holders(self.pipe, name):
                        stack.callback(setattr, holder, own, compiled)
                        setattr(holder, own, encoder.module)
                stack.enter_context(uncompiled(encoder.module))
            yield

    def capture(
        self,
        prompt: str | list[str],
        layers: Mapping[str, Sequence[SiteKey]],
        options: Mapping[str, Any],
        stop: frozenset[str] = frozenset(),
        edits: Mapping[str, Mapping[str, Change]] | None = None,
    ) -> dict[str, Recording]:
        """Encode `prompt` once and read the states of `layers` of each encoder named.

        Args:
            prompt: one prompt, or a batch of them, which the pipeline pads as it does.
            layers: the layers, and parts of blocks, to keep, by encoder.
            options: see `encode_options`.
            stop: the encoders whose pass may end after the deepest layer asked for.
            edits: by encoder and part, what changes states as they pass by; the changed ones are read.

        Returns:
            One recording by encoder.
        """
        with ExitStack() as stack:
            for name, parts in (edits or {}).items():  # hooks run in the order that they were set in
                for part, change in parts.items():
                    stack.enter_context(edit_states(self.encoders[name], change, part))
            recordings = {
                name: stack.enter_context(capture_sites(self.encoders[name], wanted, stop=name in stop))
                for name, wanted in layers.items()
            }
            self._run(prompt, options)
        for name, recording in recordings.items():
            if recording.calls != 1 or len(recording.states) != len(set(layers[name])):
                raise EncoderError(
                    f"{type(self.pipe).__name__} ran {name} {recording.calls} times for one prompt and "
                    f"showed {len(recording.states)} of {len(set(layers[name]))} layers; this lens "
                    "needs one whole run. Is the encoder compiled or wrapped?"
                )
        return recordings

    def replay(self, prompt: str, answers: Mapping[str, Any], options: Mapping[str, Any]) -> Conditioning:
        """What `encode_prompt` makes of `prompt` if each encoder named returns its answer.

        Args:
            prompt: one prompt; it must be the one that the answers belong to.
            answers: a `ModelOutput` by encoder.
            options: see `encode_options`.

        Returns:
            The positive text arguments of `__call__`.
        """
        with ExitStack() as stack:
            for name, output in answers.items():
                stack.enter_context(replace_forward(self.encoders[name].module, _always(output)))
            named = self._run(prompt, options)
        return Conditioning({name: named[name] for name in self.family.positive})

    def stub_encoders(self) -> None:
        """Free the memory of the text encoders but for what drawing from kept states needs of them.

        A stub has the fingerprint of its encoder: states, readouts and directions of the one fit the other.
        """
        for name, encoder in self.encoders.items():
            stub = make_stub(encoder)
            set_component(self.pipe, name, stub)
            self.encoders[name] = TextEncoder(name, stub, encoder.family, encoder.tokenizer)
        self.pipe.maybe_free_model_hooks()  # accelerate's hooks hold what they offload
        free_memory()

    def release(self) -> None:
        """Take the text encoders out of the pipeline; nobody else holding them, their memory is free."""
        for name in self.slots:
            set_component(self.pipe, name, None)
        self.pipe.maybe_free_model_hooks()  # accelerate's hooks hold what they offload
        self.encoders = {}

    def differentiable(self, prompts: Sequence[str], options: Mapping[str, Any]) -> Conditioning:
        """The positive text arguments of a batch of prompts, with gradients to what the encoders read."""
        named = self._run(list(prompts), options, gradient=True)
        return Conditioning({name: named[name] for name in self.family.positive})

    def native(self, prompt: str, options: Mapping[str, Any]) -> Conditioning:
        """The positive text arguments as the untouched pipeline makes them."""
        return self.replay(prompt, {}, options)

    def negative(
        self, negative_prompt: str | None, prompt: str, options: Mapping[str, Any]
    ) -> Conditioning:
        """The negative text arguments, natively encoded, as the pipeline's own `__call__` makes them.

        Args:
            negative_prompt: what not to draw; None for what the pipeline does by default, which in
                FLUX.1 and Qwen-Image is no guidance at all.
            prompt: any prompt; pipelines want one beside a negative prompt.
            options: see `encode_options`.

        Raises:
            UnsupportedPipelineError: a negative prompt for a pipeline that would not use it.
        """
        if negative_prompt is not None and not self.family.takes_negative:
            raise UnsupportedPipelineError(
                f"{type(self.pipe).__name__} ignores the embeddings of a negative prompt; leave it out."
            )
        taken = {*self._call, *filter(None, self.family.returns)}
        if not any(name.startswith("negative_prompt_embeds") for name in taken):
            return Conditioning()
        absent = self.family.absent_negative
        if "negative_prompt" in self._encode:
            default = self._call["negative_prompt"].default
            default = absent if default is None and self.family.empty_negative else default
            text = default if negative_prompt is None else negative_prompt
            named = self._run(prompt, options, negative_prompt=text, do_classifier_free_guidance=True)
            return Conditioning(
                {name: value for name, value in named.items() if name.startswith("negative_")}
            )
        if "negative_prompt" in self._call and negative_prompt is None and not self.family.empty_negative:
            return Conditioning()
        named = self._run(absent if negative_prompt is None else negative_prompt, options)
        return Conditioning({f"negative_{name}": value for name, value in named.items()})


def _describe(value: Any) -> str:
    """A value by its type, and of a tensor its shape."""
    shape = f" {tuple(value.shape)}" if isinstance(value, torch.Tensor) else ""
    return f"{type(value).__name__}{shape}"


def _always(output: Any) -> Callable[..., Any]:
    return lambda *_args, **_kwargs: copy_output(output)
