"""A learned embedding's file tells its text encoders: others are refused, and fine-tunes of them said."""

import json

import pytest
import torch
from safetensors.torch import save_file

from diffusion_lens.errors import InputError
from diffusion_lens.text.embedding_files import read_embedding, write_embedding
from diffusion_lens.text.embeddings import initial_embedding


def matrix_of(pipe, encoder="text_encoder"):
    return getattr(pipe, encoder).get_input_embeddings().weight.data


@pytest.fixture
def learned(tiny_lens, tmp_path):
    """The file of a word that was learned on the tiny SD."""
    pipe = tiny_lens("sd").pipeline
    write_embedding(tmp_path / "it.safetensors", initial_embedding(pipe, "<it>"), pipe)
    return tmp_path / "it.safetensors"


def test_its_own_encoder_is_taken_without_a_word(new_lens, learned, caplog):
    pipe = new_lens("sd").pipeline
    read_embedding(learned, pipe)
    pipe.text_encoder.to(torch.bfloat16)
    read_embedding(learned, pipe)
    pipe.text_encoder.to(torch.float32).resize_token_embeddings(len(matrix_of(pipe)) + 2, None, False)
    read_embedding(learned, pipe)
    assert not caplog.messages


def test_a_fine_tune_is_said(new_lens, learned, caplog):
    pipe = new_lens("sd").pipeline
    matrix = matrix_of(pipe)
    matrix += 0.2 * matrix.std() * torch.randn(matrix.shape, generator=torch.Generator().manual_seed(0))
    read_embedding(learned, pipe)
    (message,) = caplog.messages
    assert "it.safetensors was learned with another fine-tune of text_encoder (correlation" in message


@pytest.mark.parametrize("rows", [1, 0.5], ids=["trained apart", "a smaller vocabulary"])
def test_another_encoder_of_the_same_width_is_refused(new_lens, learned, rows):
    pipe = new_lens("sd").pipeline
    matrix = matrix_of(pipe)
    other = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(1))
    pipe.text_encoder.get_input_embeddings().weight.data = other[: int(len(other) * rows)]
    with pytest.raises(
        InputError, match=r"it\.safetensors was learned with another text encoder than this"
    ):
        read_embedding(learned, pipe)


def test_each_encoder_is_compared(new_lens, tmp_path):
    pipe = new_lens("sdxl").pipeline
    write_embedding(tmp_path / "it.safetensors", initial_embedding(pipe, "<it>"), pipe)
    torch.nn.init.normal_(matrix_of(pipe, "text_encoder_2"), generator=torch.Generator().manual_seed(1))
    with pytest.raises(InputError, match="than this text_encoder_2 "):
        read_embedding(tmp_path / "it.safetensors", pipe)


def test_foreign_files_and_those_of_0_1_say_nothing(tiny_lens, tmp_path, caplog):
    pipe = tiny_lens("sd").pipeline
    word = {"any": torch.ones(1, 32)}
    save_file(word, tmp_path / "foreign.safetensors", {"format": "pt"})
    save_file(word, tmp_path / "old.safetensors", {"token": "<old>"})
    tokens = [read_embedding(tmp_path / f"{name}.safetensors", pipe).token for name in ("foreign", "old")]
    assert tokens == ["any", "<old>"] and not caplog.messages


SAMPLE = {"rows": 99, "numbers": [0.5] * 64}


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[" * 100_000,
        "5",
        json.dumps({"token": "<it>"}),
        json.dumps({"token": "<it>", "encoders": [1]}),
        *(
            json.dumps({"token": "<it>", "encoders": {"clip_l": SAMPLE | wrong}})
            for wrong in (
                {"rows": 10**30},
                {"rows": 0},
                {"rows": None},
                {"numbers": [1.0]},
                {"numbers": [float("nan")] * 64},
                {"numbers": [10**400] * 64},
            )
        ),
    ],
)
def test_damaged_metadata_are_refused_in_one_line(tiny_lens, said, tmp_path):
    save_file({"<it>": torch.ones(1, 32)}, tmp_path / "it.safetensors", {"diffusion_lens": said})
    with pytest.raises(InputError, match=r"it\.safetensors: its metadata .* are damaged") as error:
        read_embedding(tmp_path / "it.safetensors", tiny_lens("sd").pipeline)
    assert "\n" not in str(error.value)
