"""From prompts to `LayerStates`: one pass of the encoders by prompt, or states that were kept."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from diffusion_lens.errors import InputError, PromptError
from diffusion_lens.models.conditioner import Conditioner
from diffusion_lens.models.hooks import Change, Recording
from diffusion_lens.models.site_keys import SiteKey, deepest_layer, layer_of
from diffusion_lens.models.tokens import align_prompt, find_tokenizer
from diffusion_lens.text.embedding_tokens import tokens_in
from diffusion_lens.text.reading import ResolvedReading
from diffusion_lens.text.states import LayerStates

__all__ = ["States", "check_prompts", "encode", "needed_layers", "select"]

log = logging.getLogger(__name__)
_SHOWN = 200  # letters of what was cut off a prompt

States = Mapping[str, LayerStates]
"""The states of one or more prompts, by encoder."""


def check_prompts(prompts: Any) -> tuple[str, ...]:
    """The prompts as a tuple, each once.

    Raises:
        PromptError: none, or one that is not text.
    """
    texts = list(prompts) if isinstance(prompts, Iterable) and not isinstance(prompts, str) else [prompts]
    if not texts:
        raise PromptError("The list of prompts is empty; give at least one prompt.")
    for text in texts:
        if not isinstance(text, str):
            raise PromptError(f"A prompt is text; found {text!r} ({type(text).__name__}).")
    return tuple(dict.fromkeys(texts))


def encode(
    conditioner: Conditioner,
    prompts: Sequence[str],
    readings: Sequence[ResolvedReading],
    options: Mapping[str, Any],
    words: Mapping[str, str],
    edits: Mapping[str, Mapping[str, Change]] | None = None,
    expand: Callable[[str], str] = str,
) -> dict[str, LayerStates]:
    """Read what `readings` need of each encoder, in one pass of the encoder by prompt.

    Prompts are encoded one at a time, as the pipeline encodes one prompt, so that no prompt's states
    depend on its neighbours; encoding is a small part of drawing.

    Args:
        conditioner: the pipeline's text side.
        prompts: the prompts.
        readings: how they will be read.
        options: see `Conditioner.encode_options`.
        words: the learned words that the prompts may hold, a hash by token.
        edits: what changes an encoder in its forward pass, by part; see `TextEncoder.edit`.
        expand: makes of a prompt what the tokenizer sees, with the pieces of learned words.

    Returns:
        The states by encoder, on the CPU.
    """
    needed = needed_layers(conditioner, readings)
    stop = {
        name
        for name, slot in conditioner.slots.items()
        if slot.pooled is None and max(map(deepest_layer, needed[name])) < conditioner.encoders[name].depth
    }
    fingerprints = {name: conditioner.encoders[name].fingerprint for name in needed}
    parts: dict[str, list[LayerStates]] = {name: [] for name in needed}
    for prompt in prompts:
        _warn_of_unknown_words(conditioner, prompt, words)
        recordings = conditioner.capture(prompt, needed, options, frozenset(stop), edits)
        for name, recording in recordings.items():
            made_with = _made_with(prompt, options, words)
            states = _states(conditioner, name, fingerprints[name], prompt, recording, made_with)
            _warn_of_cut_words(conditioner, name, prompt, states, expand)
            parts[name].append(states)
    return {name: LayerStates.join(rows) for name, rows in parts.items()}


def needed_layers(
    conditioner: Conditioner, readings: Sequence[ResolvedReading]
) -> dict[str, list[SiteKey]]:
    """What of each encoder `readings` are drawn from, or their interventions read."""
    needed = {}
    readings = [*readings, *(one.otherwise for one in readings if one.otherwise is not None)]
    changes = {change for one in readings for change in one.reading.interventions}
    all_layers = any(change.needs_all_layers for change in changes)
    for name, slot in conditioner.slots.items():
        layers: set[SiteKey] = {source for one in readings for source in one.sources[name]}
        layers.update(part for change in changes for part in change.reads_parts)
        if all_layers:
            layers.update(range(conditioner.encoders[name].depth + 1))
        if slot.pooled == "last_state":
            layers.add(conditioner.encoders[name].depth)
        needed[name] = sorted(layers, key=lambda key: (layer_of(key), str(key)))
    return needed


def select(
    conditioner: Conditioner,
    states: States,
    prompts: Sequence[str],
    readings: Sequence[ResolvedReading],
    options: Mapping[str, Any],
    words: Mapping[str, str],
) -> dict[str, LayerStates]:
    """Kept states of `prompts`, in order, for a pipeline that they must fit; for arguments see `encode`.

    Raises:
        InputError: they are no states, or of another encoder, other options or other learned words, or a
            prompt is not among them.
        LayerError: a layer that `readings` need was not kept.
    """
    if not isinstance(states, Mapping):
        raise InputError(f"{states!r} are no states. Give those of a result: result.states.")
    chosen = {}
    for name, layers in needed_layers(conditioner, readings).items():
        if name not in states:
            raise InputError(f"No states of {name} were given; there are states of {list(states)}.")
        kept, own = states[name], conditioner.encoders[name].fingerprint
        if kept.fingerprint != own:
            raise InputError(
                f"The states given for {name} are of another encoder (fingerprint {kept.fingerprint}; "
                f"this one's is {own}). Encode the prompts with this model."
            )
        absent = [prompt for prompt in prompts if prompt not in kept.prompts]
        if absent:
            raise InputError(f"The states given for {name} hold no prompt {absent[0]!r}; encode it first.")
        for prompt, made_with in zip(kept.prompts, kept.made_with, strict=False):  # older files lack it
            if prompt in prompts and made_with != _made_with(prompt, options, words):
                raise InputError(
                    f"The states given for {name} of {prompt!r} were made with other options of the "
                    "pipeline, or with another learned word of this name. Encode the prompt as it is drawn."
                )
        for layer in layers:
            kept.layer(layer)
        chosen[name] = LayerStates.join([kept[kept.prompts.index(prompt)] for prompt in prompts])
    return chosen


def _made_with(prompt: str, options: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """A hash of what the states of a prompt hang on besides the encoder."""
    held = {token: words[token] for token in tokens_in(prompt, words)}
    whole = json.dumps([dict(options), held], sort_keys=True, default=str)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def _states(
    conditioner: Conditioner,
    name: str,
    fingerprint: str,
    prompt: str,
    recording: Recording,
    made_with: str,
) -> LayerStates:
    """One recording as `LayerStates`."""
    encoder, slot = conditioner.encoders[name], conditioner.slots[name]
    layers = tuple(recording.states)
    stacked = torch.stack([encoder.batch_first(recording.states[layer]).cpu() for layer in layers])
    ids = recording.input_ids.cpu()
    mask = torch.ones_like(ids) if recording.attention_mask is None else recording.attention_mask.cpu()
    pooled = None
    if slot.pooled == "last_state":
        pooled = stacked[layers.index(encoder.depth)]  # parts of the last block may stand after it
    elif slot.pooled is not None:
        pooled = getattr(recording.output, slot.pooled).detach().cpu()
    return LayerStates.encoded(
        encoder=name,
        fingerprint=fingerprint,
        prompts=(prompt,),
        layers=layers,
        states=stacked,
        input_ids=ids,
        mask=mask.bool(),
        tokens=(tuple(find_tokenizer(conditioner.pipe, slot).convert_ids_to_tokens(ids[0].tolist())),),
        pooled=pooled,
        made_with=(made_with,),
    )


def _warn_of_unknown_words(conditioner: Conditioner, prompt: str, words: Mapping[str, str]) -> None:
    """Say what is written as learned words are and is none, such as one whose file was forgotten."""
    for word in dict.fromkeys(re.findall(r"<[\w-]+>", prompt)):
        tokenizers = (find_tokenizer(conditioner.pipe, slot) for slot in conditioner.slots.values())
        if word not in words and not any(_is_token(tokenizer, word) for tokenizer in tokenizers):
            log.warning(
                "%r in %r is read as plain text: no learned word of this name is loaded. If it is one, "
                "give its file: --embedding FILE, or embeddings=[FILE].",
                *(word, prompt),
            )


def _is_token(tokenizer: Any, word: str) -> bool:
    """Whether a tokenizer knows a word as a whole."""
    pieces = tokenizer.tokenize(word)
    return len(pieces) == 1 and pieces[0] != tokenizer.unk_token


def _warn_of_cut_words(
    conditioner: Conditioner, name: str, prompt: str, states: LayerStates, expand: Callable[[str], str]
) -> None:
    """Say which words of a prompt the encoder never saw."""
    tokenizer = find_tokenizer(conditioner.pipe, conditioner.slots[name])
    read = align_prompt(tokenizer, expand(prompt), states.input_ids[0].tolist())
    cut = read.cut_words(prompt, expand)
    if cut:
        length, words = states.input_ids.shape[1], " ".join(cut)
        shown = words if len(words) <= _SHOWN else f"{words[:_SHOWN]}... ({len(cut):,} words)"
        log.warning("The prompt is longer than %s reads (%d tokens); cut off: %r", name, length, shown)
