"""A layer in the place of one slot, of all but one, of the deeper ones, of all."""

import pytest

from diffusion_lens.errors import LayerError
from diffusion_lens.text.slots import check_slots, replaced_slots


@pytest.mark.parametrize(
    ("slots", "replaced"),
    [
        ("all", (True, True, True)),
        ("cap", (False, True, True)),
        (0, (True, False, False)),
        (2, (False, False, True)),
        ("without:0", (False, True, True)),
        ("without:1", (True, False, True)),
    ],
)
def test_where_a_layer_stands_in(slots, replaced):
    check_slots(slots, 3)
    assert replaced_slots(slots, (2, 6, 9), 5) == replaced


@pytest.mark.parametrize("slots", ["all", "cap", 0, "without:0"])
def test_an_encoder_that_is_read_once_moves_whole(slots):
    check_slots(slots, 1)
    assert replaced_slots(slots, (6,), 5) == (True,)


@pytest.mark.parametrize("slots", ["some", "without:", "without:x", "without:²", "without:-1", True])
def test_what_is_no_choice_is_refused_with_those_there_are(slots):
    with pytest.raises(LayerError, match='Allowed: "all", "cap", the index of one, or "without:INDEX"'):
        check_slots(slots, 3)


@pytest.mark.parametrize("slots", [3, -1, "without:3"])
def test_a_slot_that_does_not_exist(slots):
    with pytest.raises(LayerError, match=r"Slot -?\d does not exist: the encoder is read at 3 layers"):
        check_slots(slots, 3)
