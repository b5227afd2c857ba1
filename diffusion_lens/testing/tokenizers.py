"""Tiny tokenizers built in code: nothing is downloaded, and no text makes them fail."""

import string
from itertools import pairwise
from typing import Any

from transformers import CLIPTokenizer, T5Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

CLIP_LENGTH = 16
T5_LENGTH = 512  # as shipped: pipelines pass their own, smaller maximum

# Each of these words is one token (for T5 in lower case only); others are cut into shorter pieces.
_WORDS = """
a an the of in on at by to and or with without for under over behind near next between above
is are has its this that no not one two three four five six ten many red blue green yellow black
white orange purple pink brown grey golden bright dark small big old new young happy sad angry
fox dog cat bird horse cow sheep fish bear lion mouse man woman child boy girl king queen astronaut
robot car bus train boat house tree flower apple banana cup table chair ball book hat moon sun star
sky sea snow rain fire grass city street forest mountain river beach night day photo painting
drawing picture portrait sitting standing running riding eating left right
"""
WORDS = _WORDS.split()


def clip_tokenizer(pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    """Return a byte-level BPE tokenizer laid out like CLIP's; `!` is the other pad in use."""
    letters = list(bytes_to_unicode().values())
    merges: Any = _merges()  # pairs, which the annotation of CLIPTokenizer does not name
    pieces = letters + [letter + "</w>" for letter in letters] + [a + b for a, b in merges]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={piece: i for i, piece in enumerate(dict.fromkeys(pieces))},
        merges=merges,
        pad_token=pad_token,
        model_max_length=CLIP_LENGTH,
    )


def bert_words() -> list[str]:
    """Return a WordPiece vocabulary laid out like BERT's, with every letter, alone and inside of a word."""
    letters = [character for character in string.printable if not character.isspace()]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return list(dict.fromkeys([*special, *WORDS, *letters, *("##" + letter for letter in letters)]))


def t5_tokenizer() -> T5Tokenizer:
    """Return a Unigram tokenizer with T5's special tokens: pad 0, eos 1, unknown 2."""
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocab += [("▁" + word, -3.0) for word in WORDS]
    vocab += [(character, -10.0) for character in string.printable if not character.isspace()]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=T5_LENGTH)


def _merges() -> list[tuple[str, str]]:
    """Return merges in order of rank that make each word one token: BPE, one word at a time."""
    ranks: dict[tuple[str, str], int] = {}
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            pairs = list(pairwise(pieces))
            pair = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
            ranks.setdefault(pair, len(ranks))
            i = pairs.index(pair)
            pieces[i : i + 2] = ["".join(pair)]
    return list(ranks)
