"""What a request for layers means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion_lens.errors import EncoderError, LayerError
from tests.conftest import shared_lens


@pytest.fixture
def plan(tiny_lens):
    return tiny_lens("sd").plan()  # one CLIP of 4 blocks


def numbers(plan, request):
    return [layer.number for layer in plan.layers(request)]


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("all", [0, 1, 2, 3, 4]),
        ("native", [4]),
        (0, [0]),
        (-1, [4]),
        (-5, [0]),
        ("2", [2]),
        ("-2", [3]),
        ("0:4:2", [0, 2, 4]),  # both ends, as a person means it
        ("1:3", [1, 2, 3]),
        ("0:-1:4", [0, 4]),
        ("4:0:-2", [4, 2, 0]),
        ([3, 1, "native", 4, -1], [3, 1, 4]),  # in the order asked, each once
        (["0:1", 1], [0, 1]),
    ],
)
def test_requests(plan, asked, meant):
    assert numbers(plan, asked) == meant


@pytest.mark.parametrize("asked", [5, -6, "0:9", "x", "1:2:0", "1:2:3:4", "3:1", 1.5, None, True, "", []])
def test_what_is_no_layer_is_refused_with_what_is_allowed(plan, asked, untyped):
    with pytest.raises(LayerError, match=r"layers 0 to 4 \(text_encoder; native: 4\)"):
        plan.layers([asked] if asked != [] else [])


@given(first=st.integers(0, 4), last=st.integers(0, 4), step=st.integers(-5, 5).filter(bool))
def test_a_range_is_its_ends_and_steps(first, last, step):
    plan = shared_lens("sd").plan()
    ends = sorted((first, last))
    expected = [layer for layer in range(5) if ends[0] <= layer <= ends[1] and (layer - first) % step == 0]
    expected = [] if (last - first) * step < 0 else sorted(expected, reverse=step < 0)
    if expected:
        assert numbers(plan, f"{first}:{last}:{step}") == expected
    else:
        with pytest.raises(LayerError):
            plan.layers(f"{first}:{last}:{step}")


def test_encoders_move_in_step_by_relative_depth(tiny_lens):
    plan = tiny_lens("sdxl").plan()  # CLIPs of 3 and 5 blocks, both read at the penultimate
    assert (plan.reference, plan.depth, plan.native_layer) == ("text_encoder_2", 5, 4)
    sources = [dict(layer.sources) for layer in plan.layers("all")]
    assert [one["text_encoder_2"] for one in sources] == [(0,), (1,), (2,), (3,), (4,), (5,)]
    assert [one["text_encoder"] for one in sources] == [(0,), (0,), (1,), (2,), (2,), (3,)]
    assert [layer.native for layer in plan.layers("all")] == [False] * 4 + [True, False]


def test_one_encoder_moves_while_the_others_stay(tiny_lens):
    plan = tiny_lens("sdxl").plan("text_encoder")
    (layer,) = plan.layers(0)
    assert layer.sources == {"text_encoder": (0,), "text_encoder_2": (4,)}
    assert plan.native_layer == 2


def test_several_taps(tiny_lens):
    lens = tiny_lens("flux2")
    options = lens.defaults.options
    (layer,) = lens.plan(**options).layers(2)
    assert layer.sources == {"text_encoder": (2, 2, 2)}
    (layer,) = lens.plan(slots="cap", **options).layers(2)
    assert layer.sources == {"text_encoder": (1, 2, 2)}
    (layer,) = lens.plan(slots=0, **options).layers(2)
    assert layer.sources == {"text_encoder": (2, 2, 3)}
    (native,) = lens.plan(**options).layers("native")
    assert native.sources == {"text_encoder": (1, 2, 3)}


def test_a_pipeline_that_reads_the_embedding_output(tiny_lens):
    lens = tiny_lens("flux2")
    plan = lens.plan(**{**lens.defaults.options, "text_encoder_out_layers": (0,)})
    assert plan.native_layer == 0
    found = [(layer.sources["text_encoder"], layer.native) for layer in plan.layers([0, 1, "native", -1])]
    assert found == [((0,), True), ((1,), False), ((4,), False)]


def test_taps_and_encoders_that_do_not_exist(tiny_lens, untyped):
    with pytest.raises(LayerError, match="'wide' is no value of slots"):
        tiny_lens("flux2").plan(slots="wide", **tiny_lens("flux2").defaults.options)
    with pytest.raises(EncoderError, match="It has: text_encoder, text_encoder_2; or 'all'"):
        tiny_lens("sdxl").plan("text_encoder_7")
    with pytest.raises(LayerError, match="Slot 3 does not exist: the encoder is read at 3 layers"):
        tiny_lens("flux2").plan(slots=3, **tiny_lens("flux2").defaults.options)
    with pytest.raises(LayerError, match=r"layers \(10, 20, 30\) of text_encoder, which has 4 blocks"):
        tiny_lens("flux2").plan()
