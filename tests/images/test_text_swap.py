"""The denoiser as a place: a layer that is read only in some steps, or only by some blocks."""

import numpy as np
import pytest

from diffusion_lens import Only
from diffusion_lens.errors import InputError, LayerError, SamplerError, UnsupportedPipelineError
from diffusion_lens.images import Approximations, approximate
from diffusion_lens.models import find_denoiser
from diffusion_lens.sweep import encode_experiment, run_sweep
from tests.sweep.helpers import make, read, same

PROMPT = "a red fox"
# guidance in one batch, none, in two calls, by lists, and a transformer with cross-attention
KINDS = ("sd", "flux", "qwen-image", "z-image", "sana")


def draw(lens, layer, *changes, steps=3, **options):
    result = lens(PROMPT, layer, 0, interventions=changes, steps=steps, progress=False, **options)
    (image,) = result.table["image"]
    return np.asarray(image)


def equal(one, other):
    return np.array_equal(one, other)


@pytest.mark.parametrize("family", KINDS)
def test_a_layer_is_read_in_some_steps_only(tiny_lens, family):
    lens = tiny_lens(family)
    native, zero = draw(lens, "native"), draw(lens, 0)
    assert equal(draw(lens, "native", "only(0:0)"), native)  # it changes nothing
    assert equal(draw(lens, 0, "only(0:)"), zero)
    late, early = draw(lens, 0, "only(1:)"), draw(lens, 0, "only(0)")
    assert not any(equal(one, other) for one in (late, early) for other in (native, zero))
    # layer 0 until a step and layer 2 from there on, said from either side
    assert equal(draw(lens, 1, "only(1:, otherwise=0)"), draw(lens, 0, "only(0, otherwise=1)"))


@pytest.mark.parametrize(("family", "top"), [("sd", "mid_block"), ("sana", "transformer_blocks.0")])
def test_a_layer_is_read_by_some_blocks_only(tiny_lens, family, top):
    lens = tiny_lens(family)
    native, zero = draw(lens, "native"), draw(lens, 0)
    every = [name for name, _ in find_denoiser(lens.pipeline).named_children()]
    every = [name for name in every if "block" in name]
    found = [name for name in every if any("attn2" in one for one in named(lens, name))]
    assert equal(draw(lens, 0, Only(blocks=found)), zero)
    some = draw(lens, 0, Only(blocks=top))
    assert not equal(some, native) and not equal(some, zero)
    both = draw(lens, 0, Only("1:", top))
    assert not equal(both, some) and not equal(both, native)
    assert equal(draw(lens, "native", Only(blocks=top)), native)


def named(lens, block):
    return [name for name, _ in getattr(find_denoiser(lens.pipeline), block).named_modules()]


def test_it_is_drawn_without_further_passes_and_recorded(tiny_lens):
    lens = tiny_lens("sd")
    calls = []
    handle = find_denoiser(lens.pipeline).register_forward_hook(lambda *_: calls.append(1))
    result = lens(PROMPT, 0, 0, interventions=["keep(fox)", "only(:1)"], steps=3, progress=False)
    handle.remove()
    assert len(calls) == 3
    (row,) = result.table.to_dict("records")
    assert row["interventions"] == "keep(fox) + only(:1)" and not row["identical"]
    plain = lens(PROMPT, 0, 0, interventions=["keep(fox)"], steps=3, progress=False)
    assert row["cell"] != plain.table["cell"].iloc[0]
    (native,) = lens(PROMPT, "native", 0, interventions=["only(0)"], progress=False).table["identical"]
    assert not native  # what it says is what was asked for


def test_a_run_holds_it_like_any_other(tmp_path, tiny_lens):
    changes = [[], ["only(0)"], ["drop(fox)", "only(1:, mid_block, otherwise=1)"]]
    experiment = make(prompts=[PROMPT], layers=[0, "native"], seeds=[0, 1], interventions=changes)
    options = {"lens": tiny_lens("sd"), "progress": False}
    run_sweep(experiment, tmp_path / "whole", **options)
    run_sweep(make(**{**experiment.to_dict(), "seeds": [0]}), tmp_path / "resumed", **options)
    run_sweep(experiment, tmp_path / "resumed", **options)
    whole, resumed = read(tmp_path / "whole"), read(tmp_path / "resumed")
    assert whole["cell"].tolist() == resumed["cell"].tolist() and whole["cell"].is_unique
    encode_experiment(experiment, tmp_path / "made", lens=tiny_lens("sd"))
    run_sweep(experiment, tmp_path / "files", conditionings=tmp_path / "made", **options)
    same(read(tmp_path / "files"), whole)


def test_what_can_not_be_limited_is_refused(tiny_lens, new_lens):
    def refused(error, message, lens, *changes, **options):
        with pytest.raises(error, match=message):
            draw(lens, 0, *changes, **options)

    sd = tiny_lens("sd")
    refused(SamplerError, r"only\(5:\) names no step that is made: there are steps 0 to 2", sd, "only(5:)")
    refused(
        UnsupportedPipelineError, "no cross-attention in 'up'. It has some in: down_", sd, "only(blocks=up)"
    )
    refused(UnsupportedPipelineError, "mixed in one attention", tiny_lens("flux"), "only(blocks=x)")
    refused(LayerError, "Layer 9 is out of range", sd, "only(0, otherwise=9)")
    refused(InputError, "contradict each other", sd, "only(0)", "only(1)")
    refused(InputError, "keep.fox. is made before only.0.", sd, "only(0)", "keep(fox)")
    for written in ("only()", "only(3:1)", "only(:)", "only(a)", "only(0, otherwise=all)", "only(0, a b)"):
        refused(InputError, "only|no range|no name", sd, written)
    refused(
        UnsupportedPipelineError, "LongCat.* does not report its steps", tiny_lens("longcat"), "only(0)"
    )
    own = new_lens("sd")
    approximate(own.denoiser, Approximations(guided=0.4))
    refused(UnsupportedPipelineError, "in step 2 .* another text than in the first step", own, "only(0:)")
