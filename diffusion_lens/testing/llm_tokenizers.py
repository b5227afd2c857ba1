"""Tiny tokenizers of the LLM text encoders, trained in code on the words of the tests.

Each has the class, special tokens, padding side and template of the shipped one; nothing is
downloaded, and no text makes them fail: what no word covers is cut into bytes.
"""

import atexit
import inspect
import json
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
from diffusers import SanaPipeline
from diffusers.pipelines.flux2.system_messages import SYSTEM_MESSAGE
from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer
from transformers import GemmaTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.processing_utils import ProcessorMixin

from diffusion_lens.testing.tokenizers import WORDS

SANA_CALL = inspect.signature(SanaPipeline.__call__).parameters

# Words that stand here are one token each, with and without a space before them. The templates
# of the pipelines are among them, so that they are as long as with the shipped tokenizers.
CORPUS = [
    " ".join(WORDS),
    *WORDS,
    "\n".join(SANA_CALL["complex_human_instruction"].default),
    SYSTEM_MESSAGE,
    "system\nDescribe the image by detailing the color, shape, size, texture, quantity, text,"
    " spatial relationships of the objects and background:\nuser\nassistant\n",
    "You are an assistant designed to generate superior images with the superior degree of"
    " image-text alignment based on textual prompts or user prompts. <Prompt Start> ",
]

CHATML = """
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and not enable_thinking -%}
{{ '<think>\n\n</think>\n\n' }}
{%- endif -%}
{%- endif -%}
"""

MISTRAL = """
{{- bos_token -}}
{%- for message in messages -%}
{%- set mark = 'SYSTEM_PROMPT' if message.role == 'system' else 'INST' -%}
{{ '[' + mark + ']' }}
{%- for part in message.content -%}
{{ part.text if part.type == 'text' else '[IMG]' }}
{%- endfor -%}
{{ '[/' + mark + ']' }}
{%- endfor -%}
"""


class TextProcessor(ProcessorMixin):
    """A processor of text alone: PixtralProcessor, which FLUX.2 ships, needs torchvision."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, chat_template: str | None = None):
        """Wrap the tokenizer."""
        super().__init__(tokenizer, chat_template=chat_template)


def gemma_tokenizer() -> GemmaTokenizer:
    """Return the tokenizer of Sana and Lumina2: BPE over `▁`, unknown letters as bytes, bos."""
    vocab, merges = _gemma_bpe()
    return GemmaTokenizer(
        vocab=vocab, merges=merges, padding_side="right", add_bos_token=True, model_max_length=512
    )


def qwen_tokenizer() -> Qwen2Tokenizer:
    """Return the tokenizer of Qwen-Image, Z-Image and FLUX.2 klein, with Qwen's chat template."""
    vocab, merges = _byte_bpe()
    return Qwen2Tokenizer(
        vocab=vocab,
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>", "<think>", "</think>"],
        chat_template=CHATML,
        model_max_length=2048,
    )


def glm_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer of CogView4: `[gMASK]<sop>` first, pads on the left."""
    return _byte_level(
        ("[gMASK]", "<sop>"),
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=512,
    )


def glm_image_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer of the model that sketches for GLM-Image."""
    tokenizer = _byte_level(
        (),
        bos_token="<|start|>",
        eos_token="<|end|>",
        pad_token="<pad>",
        extra_special_tokens=["<|image|>", "<sop>", "<eop>", "<|im_start|>", "<|im_end|>"],
        padding_side="left",
        model_max_length=512,
    )
    tokenizer.image_token, tokenizer.grid_bos_token, tokenizer.grid_eos_token = (
        "<|image|>",
        "<sop>",
        "<eop>",
    )
    return tokenizer


def llama_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer of HiDream's Llama: bos first, no pad (the pipeline takes eos)."""
    return _byte_level(
        ("<|begin_of_text|>",),
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        model_max_length=128,
    )


def fibo_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer of FIBO, whose pipeline writes the id 128000 for an empty prompt."""
    return _byte_level(
        ("<|begin_of_text|>",),
        bos_token="<|begin_of_text|>",
        eos_token="<|end_of_text|>",
        pad_token="<|end_of_text|>",
        first_special=128_000,
        model_max_length=512,
    )


def mistral_processor() -> TextProcessor:
    """Return the processor of FLUX.2: a chat template that begins with bos, pads on the left."""
    tokenizer = _byte_level(
        ("<s>",),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=["[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]"],
        padding_side="left",
        model_max_length=512,
    )
    return TextProcessor(tokenizer, chat_template=MISTRAL)


def chatglm_tokenizer() -> ChatGLMTokenizer:
    """Return the tokenizer of Kolors: sentencepiece, `[gMASK]sop` first, pads on the left."""
    return ChatGLMTokenizer(str(_chatglm_file()))


def _byte_level(
    prefix: Sequence[str], first_special: int | None = None, **kwargs: Any
) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer that puts the prefix before every text.

    Args:
        prefix: special tokens.
        first_special: the id of the first of them; the next free one if None.
        kwargs: see `PreTrainedTokenizerFast`.
    """
    vocab, merges = _byte_bpe()
    if first_special is not None:
        vocab = vocab | {token: first_special + i for i, token in enumerate(prefix)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(prefix))
    backend.post_processor = processors.TemplateProcessing(
        single=[*prefix, "$A"],
        special_tokens=[(token, backend.token_to_id(token)) for token in prefix],
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **kwargs)


@cache
def _byte_bpe() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Train a byte-level vocabulary and its merges."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    return _trained(backend, [], pre_tokenizers.ByteLevel.alphabet())


@cache
def _gemma_bpe() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Train Gemma's vocabulary and merges: its special tokens first, then the bytes."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split("▁", behavior="merged_with_next")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    return _trained(backend, special + [f"<0x{byte:02X}>" for byte in range(256)], [])


def _trained(
    backend: Tokenizer, first: list[str], alphabet: list[str]
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Train a BPE until every word of the corpus is one token."""
    trainer = BpeTrainer(
        vocab_size=10_000, special_tokens=first, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    model = json.loads(backend.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


@cache
def _chatglm_file() -> Path:
    """Train a sentencepiece model into a folder that is gone when Python ends."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=1000,
        byte_fallback=True,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    return folder / "tokenizer.model"
