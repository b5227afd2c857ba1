"""`Conditioning` is a read-only mapping that survives storage."""

import pytest
import torch

from diffusion_lens.models.conditioning import Conditioning

RAGGED = [torch.arange(6.0).reshape(2, 3) + index for index in range(11)]


def test_it_reads_as_a_mapping_without_what_is_none():
    made = Conditioning({"prompt_embeds": torch.zeros(1, 77, 768), "mask": None, "ragged": RAGGED[:2]})
    assert list(made) == ["prompt_embeds", "ragged"] and len(made) == 2
    assert "mask" not in made
    assert repr(made) == "Conditioning(prompt_embeds [1 x 77 x 768], ragged [[2 x 3], [2 x 3]])"
    with pytest.raises(TypeError):
        made["mask"] = torch.zeros(1)


def test_only_a_tensor_is_given_out_as_one():
    made = Conditioning({"prompt_embeds": torch.ones(1, 2), "ragged": RAGGED})
    assert torch.equal(made.tensor("prompt_embeds"), torch.ones(1, 2))
    with pytest.raises(TypeError, match="ragged is a list of 11 tensors"):
        made.tensor("ragged")


def test_a_list_of_more_than_ten_comes_back_in_its_order():
    made = Conditioning({"prompt_embeds": torch.ones(1, 2).T.expand(2, 2).T, "ragged": RAGGED})
    flat = made.to_flat()
    assert flat["ragged 10"][0, 0] == 10
    assert all(tensor.is_contiguous() for tensor in flat.values())
    back = Conditioning.from_flat(dict(sorted(flat.items())))  # "ragged 10" sorts before "ragged 2"
    assert [item[0, 0] for item in back["ragged"]] == list(range(11))
    assert torch.equal(back["prompt_embeds"], made["prompt_embeds"])


def test_map_and_to_reach_every_tensor():
    made = Conditioning({"one": torch.ones(2), "many": RAGGED}).map(lambda tensor: tensor * 2)
    assert made["one"].tolist() == [2, 2] and made["many"][1][0, 0] == 2
    assert {made.to("meta")["one"].device.type, made.to("meta")["many"][0].device.type} == {"meta"}
