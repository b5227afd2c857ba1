"""Files of words: what others write is read, what is written others read, and nothing is executed."""

import logging
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion_lens.errors import InputError, UnsafeCheckpointError
from diffusion_lens.text.embedding_files import read_embedding, read_embedding_files, write_embedding
from diffusion_lens.text.embeddings import Embedding, encoder_slots, initial_embedding

ROWS = torch.linspace(-1, 1, 64).view(2, 32)


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])
def test_what_is_written_is_read_back(tiny_lens, family, tmp_path):
    pipe = tiny_lens(family).pipeline
    word = initial_embedding(pipe, "<it>", "red fox", 3)
    write_embedding(tmp_path / "it.safetensors", word, pipe)
    again = read_embedding(tmp_path / "it.safetensors", pipe)
    assert again.token == "<it>"
    assert all(torch.equal(again.vectors[name], word.vectors[name]) for name in encoder_slots(pipe))
    (file,) = read_embedding_files([f"<that>={tmp_path / 'it.safetensors'}"])
    renamed = file.embedding(pipe)
    assert renamed.token == "<that>"


@pytest.mark.parametrize("vectors", [1, 2])
def test_diffusers_loads_what_is_written(new_lens, vectors, tmp_path):
    path = tmp_path / "it.safetensors"
    pipe = new_lens("sd").pipeline
    word = initial_embedding(pipe, "<it>", "red fox", vectors)
    write_embedding(path, word, pipe)
    pipe.load_textual_inversion(str(path))
    expected = pipe.encode_prompt(f"a {'red fox' if vectors == 2 else '<it>'}", "cpu", 1, False)[0]
    assert torch.equal(pipe.encode_prompt("a <it>", "cpu", 1, False)[0], expected)
    matrix = pipe.text_encoder.get_input_embeddings().weight
    assert torch.equal(
        matrix[pipe.tokenizer.convert_tokens_to_ids("<it>")], word.vectors["text_encoder"][0]
    )

    pipe = new_lens("sdxl").pipeline
    word = initial_embedding(pipe, "<it>", "red fox", vectors)
    write_embedding(path, word, pipe)
    content = load_file(path)
    assert set(content) == {"clip_l", "clip_g"}
    pipe.load_textual_inversion(
        content["clip_l"], token="<it>", text_encoder=pipe.text_encoder, tokenizer=pipe.tokenizer
    )
    pipe.load_textual_inversion(
        content["clip_g"], token="<it>", text_encoder=pipe.text_encoder_2, tokenizer=pipe.tokenizer_2
    )


def rinongal():
    holder = torch.nn.ParameterDict({"*": torch.nn.Parameter(ROWS)})
    return {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": holder}


@pytest.mark.parametrize(
    ("content", "token"),
    [
        ({"<it>": ROWS}, "<it>"),
        (ROWS, "<kept>"),
        (
            {"string_to_token": {"*": 265}, "string_to_param": {"*": ROWS}, "name": "mycat", "step": 9},
            "mycat",
        ),
        (rinongal(), "<kept>"),
    ],
    ids=["diffusers .bin", "bare tensor", "A1111", "rinongal"],
)
def test_pickles_of_others_are_read(tiny_lens, content, token, tmp_path):
    torch.save(content, tmp_path / "kept.pt")
    word = read_embedding(tmp_path / "kept.pt", tiny_lens("sd").pipeline)
    assert word.token == token
    assert torch.equal(word.vectors["text_encoder"], ROWS)


@pytest.mark.parametrize("key", ["emb_params", "emp_params", "clip_l"])
def test_a_word_whose_file_names_none_is_written_by_the_files_name(tiny_lens, key, tmp_path):
    save_file({key: ROWS}, tmp_path / "EasyNegative.safetensors")
    word = read_embedding(tmp_path / "EasyNegative.safetensors", tiny_lens("sd").pipeline)
    assert word.token == "<EasyNegative>" and torch.equal(word.vectors["text_encoder"], ROWS)


def test_parts_of_a_file_that_are_not_used_are_said(tiny_lens, caplog, tmp_path):
    save_file(
        {key: ROWS.clone() for key in ("clip_l", "clip_g", "clip_l_out")}, tmp_path / "it.safetensors"
    )
    with caplog.at_level(logging.WARNING, "diffusion_lens"):
        read_embedding(tmp_path / "it.safetensors", tiny_lens("sd").pipeline)
    assert "clip_g, clip_l_out is not used. The pipeline reads clip_l (text_encoder)." in caplog.text


def test_one_token_for_two_files_is_refused(new_lens, tmp_path):
    lens = new_lens("sd")
    for folder, rows in (("a", ROWS), ("b", -ROWS)):
        (tmp_path / folder).mkdir()
        save_file({"emb_params": rows}, tmp_path / folder / "it.safetensors")
    with pytest.raises(InputError, match="'<it>' was given twice, with different vectors"):
        lens.with_embeddings([tmp_path / "a", tmp_path / "b"])


CRAFTED = {
    "a number for words": {"string_to_param": 5},
    "a list for words": {"string_to_param": [1, 2]},
    "names that are numbers": {5: ROWS},
    "names that are tuples": {(1, 2): ROWS},
    "complex": {"<it>": torch.zeros(1, 32, dtype=torch.complex64)},
    "integers": {"<it>": torch.zeros(1, 32, dtype=torch.int64)},
    "sparse": {"<it>": ROWS.to_sparse()},
    "on no device": {"<it>": ROWS.to("meta")},
    "one number a billion times": {"<it>": torch.zeros(1).expand(10**9, 32)},
    "a set": {1, 2},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("content", CRAFTED.values(), ids=CRAFTED)
def test_crafted_files_are_refused_in_one_line(tiny_lens, content, tmp_path):
    torch.save(content, tmp_path / "it.pt")
    with pytest.raises(InputError, match=r"it\.pt") as error:
        read_embedding(tmp_path / "it.pt", tiny_lens("sd").pipeline)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    "content",
    [b"<!DOCTYPE html><html>", b"version https://git-lfs.github.com/spec/v1", b"root:x:0:0:", b""],
)
def test_what_is_no_file_of_torch_is_said(tiny_lens, content, tmp_path):
    (tmp_path / "it.bin").write_bytes(content)
    with pytest.raises(InputError, match="is no file of torch: it begins with"):
        read_embedding(tmp_path / "it.bin", tiny_lens("sd").pipeline)


def test_the_keys_of_a_lora_are_not_all_listed(tiny_lens, tmp_path):
    save_file({f"lora_te_{i}.weight": ROWS.clone() for i in range(300)}, tmp_path / "it.safetensors")
    with pytest.raises(InputError, match=r"and 294 more, and no word") as error:
        read_embedding(tmp_path / "it.safetensors", tiny_lens("sd").pipeline)
    assert len(str(error.value)) < 400


def test_the_two_files_of_diffusers_sdxl_script_are_read_together(tiny_lens, tmp_path):
    save_file({"<it>": torch.zeros(1, 16)}, tmp_path / "learned_embeds.safetensors")
    save_file({"<it>": torch.ones(1, 32)}, tmp_path / "learned_embeds_2.safetensors")
    word = read_embedding(tmp_path / "learned_embeds.safetensors", tiny_lens("sdxl").pipeline)
    assert word.token == "<it>" and word.vectors["text_encoder_2"].all()


class Malice:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_a_pickle_that_wants_to_execute_does_not(tiny_lens, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"string_to_param": {"*": Malice()}}, "bad.pt")
    with pytest.raises(UnsafeCheckpointError, match="was not run"):
        read_embedding(tmp_path / "bad.pt", tiny_lens("sd").pipeline)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"<it>": torch.zeros(1, 768)}, r"\(1, 768\) .* vectors of 32"),
        ({"clip_g": torch.zeros(1, 32), "x": torch.zeros(1)}, "no word"),
        ({"<it>": torch.full((1, 32), torch.nan)}, "not finite"),
        ({"<it>": torch.zeros(1, 1, 32)}, "no vectors"),
        ({"clip_l": torch.tensor(1.0)}, "no vectors"),
        ({"<it>": torch.zeros(0, 32)}, "as many"),
    ],
)
def test_a_file_for_another_model_is_refused(tiny_lens, content, message, tmp_path):
    save_file(content, tmp_path / "it.safetensors")
    with pytest.raises(InputError, match=message):
        read_embedding(tmp_path / "it.safetensors", tiny_lens("sd").pipeline)


def test_files_that_cannot_be_read_are_named(tiny_lens, tmp_path):
    pipe = tiny_lens("sd").pipeline
    (tmp_path / "cut.safetensors").write_bytes(b"12345")
    (tmp_path / "it.gguf").touch()
    (tmp_path / "cut.pt").write_bytes(b"PK")
    for name, message in [
        ("none.pt", "no embedding"),
        ("cut.safetensors", "whole"),
        ("it.gguf", "no kind"),
    ]:
        with pytest.raises(InputError, match=message):
            read_embedding(tmp_path / name, pipe)
    with pytest.raises(InputError):
        read_embedding(tmp_path / "cut.pt", pipe)
    with pytest.raises(InputError, match="safetensors"):
        write_embedding(tmp_path / "it.pt", Embedding("<it>", {"text_encoder": ROWS}), pipe)


def test_a_folder_is_all_words_in_it(tiny_lens, tmp_path):
    pipe = tiny_lens("sd").pipeline
    with pytest.raises(InputError, match="holds no embeddings"):
        read_embedding_files([tmp_path])
    (tmp_path / "notes.txt").write_text("of two cats and a dog")
    for name in ("cat_2", "dog", "dog_2"):  # three words, none of them for a second encoder
        write_embedding(tmp_path / f"{name}.safetensors", initial_embedding(pipe, f"<{name}>"), pipe)
    assert [one.token for one in read_embedding_files([tmp_path])] == ["<cat_2>", "<dog>", "<dog_2>"]
    for name in ("bird", "bird_2"):  # as diffusers' SDXL script writes one word
        save_file({"<bird>": ROWS}, tmp_path / f"{name}.safetensors")
    tokens = [one.token for one in read_embedding_files([tmp_path])]
    assert tokens == ["<bird>", "<cat_2>", "<dog>", "<dog_2>"]
