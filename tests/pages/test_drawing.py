"""What the explorer asks of the lens: fields that fit the model, and prompts encoded once."""

from collections.abc import Callable

import numpy as np
import pytest

from diffusion_lens import DiffusionLens
from diffusion_lens.errors import InputError
from diffusion_lens.pages.asked import Limits, controls_of, read_request
from diffusion_lens.pages.drawing import DrawRequest, draw
from diffusion_lens.pages.live import Live
from diffusion_lens.testbed import oracle
from diffusion_lens.testbed.scenes import render, sample
from diffusion_lens.text import Reader

New = Callable[[str], DiffusionLens]


def fields(lens: DiffusionLens) -> dict[str, tuple[str, ...]]:
    return {one.name: one.choices for one in controls_of(lens) if one.kind == "choice"}


def test_encoders_slots_and_pooled_are_fields_where_there_is_a_choice(tiny_lens: New) -> None:
    assert set(fields(tiny_lens("sd"))) == {"readout", "say"}
    assert fields(tiny_lens("sd"))["say"] == ("no", "nearest")  # a CLIP has no vocabulary head
    assert fields(tiny_lens("sdxl"))["encoder"] == ("all", "text_encoder", "text_encoder_2")
    assert "slots" not in fields(tiny_lens("sdxl")) and fields(tiny_lens("sdxl"))["pooled"]
    slots = fields(tiny_lens("krea2"))["slots"]
    assert slots[:3] == ("all", "cap", "0") and "without:0" in slots
    with pytest.raises(InputError, match=r"encoder.*Allowed"):
        read_request({"prompts": ["a"], "encoder": "x"}, Limits(), controls_of(tiny_lens("sd")))
    with pytest.raises(InputError, match="text_encoder_2"):
        read_request({"prompts": ["a"], "encoder": "x"}, Limits(), controls_of(tiny_lens("sdxl")))


@pytest.mark.parametrize(
    ("family", "how"),
    [("sdxl", {"encoder": "text_encoder_2", "pooled": "layer"}), ("krea2", {"slots": "1"})],
)
def test_images_are_those_of_a_call_and_prompts_are_encoded_once(
    tiny_lens: New, family: str, how: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lens, encoded = tiny_lens(family), []
    plain = Reader.encode
    monkeypatch.setattr(
        Reader,
        "encode",
        lambda self, prompts, *rest: encoded.append(prompts) or plain(self, prompts, *rest),
    )
    prompts = ("a red fox", "a blue car")
    drawn = [
        one for step in draw(lens, DrawRequest(prompts, (0, 3), ("0:1", "native"), how)) for one in step
    ]
    assert encoded == [prompts]
    options = {**how, "slots": int(how["slots"])} if "slots" in how else how
    result = lens(list(prompts), ["0:1", "native"], [0, 3], progress=False, **options).table
    expected = dict(zip(result["cell"], result["image"], strict=True))
    assert len(drawn) == len(expected) == 12
    for one in drawn:
        assert one.image is not None
        assert np.abs(np.asarray(one.image, int) - np.asarray(expected[one.cell], int)).max() <= 1


def test_a_warm_up_leaves_nothing_behind(new_lens: New) -> None:
    live = Live(new_lens("sd"), Limits())
    live.warm_up()
    assert len(live.turns) == 0


def test_a_warm_up_prepares_the_oracle(emoji: DiffusionLens) -> None:
    Live(emoji, Limits()).warm_up()
    before = oracle._sprites.cache_info().misses
    oracle.read(render(sample(0, 0))[None])
    assert oracle._sprites.cache_info().misses == before > 0
