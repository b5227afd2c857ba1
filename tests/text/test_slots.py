"""A layer in the place of one slot, of all but one, of the deeper ones, of all."""

import pytest

from diffusion_lens.errors import LayerError
from diffusion_lens.text.slots import check_slots, fill_slots


@pytest.mark.parametrize(
    ("slots", "filled"),
    [
        ("all", (5, 5, 5)),
        ("cap", (2, 5, 5)),
        (0, (5, 6, 9)),
        (2, (2, 6, 5)),
        ("without:0", (2, 5, 5)),
        ("without:1", (5, 6, 5)),
    ],
)
def test_what_stands_in_at_each_slot(slots, filled):
    check_slots(slots, 3)
    assert fill_slots(slots, (2, 6, 9), 5) == filled


@pytest.mark.parametrize("slots", ["all", "cap", 0, "without:0"])
def test_an_encoder_that_is_read_once_moves_whole(slots):
    check_slots(slots, 1)
    assert fill_slots(slots, (6,), 5) == (5,)


@pytest.mark.parametrize("slots", ["some", "without:", "without:x", "without:²", "without:-1", True])
def test_what_is_no_choice_is_refused_with_those_there_are(slots):
    with pytest.raises(LayerError, match='Allowed: "all", "cap", the index of one, or "without:INDEX"'):
        check_slots(slots, 3)


@pytest.mark.parametrize("slots", [3, -1, "without:3"])
def test_a_slot_that_does_not_exist(slots):
    with pytest.raises(LayerError, match=r"Slot -?\d does not exist: the encoder is read at 3 layers"):
        check_slots(slots, 3)
