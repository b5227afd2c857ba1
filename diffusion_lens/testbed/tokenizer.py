"""The tokenizer of the CLIP trained here: byte-level BPE, learned from captions.

Its alphabet holds every byte, so that no text is unknown. It learns few merges: frequent words are
one token, rare words and invented names are several, which the encoder has to put together.
"""

import json
from functools import cache
from typing import Any

from tokenizers import Tokenizer, models, trainers
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from diffusion_lens.testbed import captions, scenes

__all__ = ["TOKENS", "train_tokenizer"]

TOKENS = 24  # captions are padded and cut to this length
MERGES = 320
CAPTIONS = 20_000  # that the merges are learned from
SEED = 60_001  # their stream
START, END = "<|startoftext|>", "<|endoftext|>"


@cache
def train_tokenizer() -> CLIPTokenizer:
    """Learn the merges; the same tokenizer every time."""
    letters = sorted(bytes_to_unicode().values())
    alphabet = letters + [f"{letter}</w>" for letter in letters]
    empty: Any = CLIPTokenizer()  # splits and normalises text as CLIP does
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = empty.backend_tokenizer.normalizer
    learner.pre_tokenizer = empty.backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + MERGES,
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    texts = [captions.caption(scenes.sample(SEED, i), SEED, i) for i in range(CAPTIONS)]
    learner.train_from_iterator(texts, trainer)
    pairs = json.loads(learner.to_str())["model"]["merges"]
    merges = [(a, b) for a, b in pairs[:MERGES]]
    pieces = [*alphabet, *("".join(pair) for pair in merges), START, END]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    learned: Any = merges
    return CLIPTokenizer(vocab=vocabulary, merges=learned, model_max_length=TOKENS)
