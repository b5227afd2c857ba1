"""Parts of blocks: what attention, a head and the feed-forward part add, drawn, added and ablated."""

import pytest
import torch

from diffusion_lens.errors import EncoderError, InputError, LayerError
from diffusion_lens.models.encoders import EncoderFamily
from diffusion_lens.models.parts import count_heads
from diffusion_lens.text.interventions import Ablate, Average, Keep, Patch
from diffusion_lens.text.readouts import parse_readout
from diffusion_lens.text.resolve import resolve_readings
from tests.conftest import CLIP_KEYS, clip_body
from tests.tiny import BY_ENCODER

PROMPT = "a red fox and a blue car"
DRAW = {"steps": 1, "guidance": 1.0, "progress": False}


def read(lens, sites, prompt=PROMPT):
    """The states of each encoder at some sites, in the order asked."""
    reader = lens.reader(lens.settings().sampler.options)
    readings = resolve_readings(
        lens.conditioner, sites, readout=parse_readout("none"), options=reader.options
    )
    states = reader.encode([prompt], readings)
    return {name: [states[name].layer(one.sources[name][-1])[0] for one in readings] for name in states}


@pytest.mark.parametrize("family", BY_ENCODER)
def test_the_heads_of_every_family_add_up_to_its_attention(tiny_lens, family):
    lens = tiny_lens(family)
    encoders = lens.conditioner.encoders
    if not all(one.family.heads for one in encoders.values()):
        with pytest.raises(EncoderError, match="no heads that can be told from the rest"):
            lens(PROMPT, "1.head.0", **DRAW)
        return
    for name, encoder in encoders.items():
        heads = count_heads(encoder)
        layers = {name: ["2.attn", *(f"2.head.{head}" for head in range(heads))]}
        options = lens.reader(lens.settings().sampler.options).options
        states = lens.conditioner.capture(PROMPT, layers, options)[name].states
        bias = torch.zeros(())
        (projection,) = [encoder.blocks[1].get_submodule(encoder.family.heads)]
        if getattr(projection, "bias", None) is not None:
            bias = projection.bias
        total = sum(states[f"2.head.{head}"] for head in range(heads)) + bias
        torch.testing.assert_close(total, states["2.attn"], atol=1e-5, rtol=1e-4)


def test_the_pooled_output_is_of_the_last_layer_whatever_part_is_read_besides(tiny_lens):
    lens = tiny_lens("kolors")
    depth = lens.plan("text_encoder").depth
    alone = lens.encode(PROMPT, "native")["text_encoder"]
    beside = lens.encode(PROMPT, ["native", f"{depth}.mlp"])["text_encoder"]
    assert torch.equal(alone.pooled, beside.pooled)


def conditionings(lens, sites, changes=()):
    """What the denoiser is given for each site, under changes."""
    reader = lens.reader(lens.settings().sampler.options)
    how = {"readout": parse_readout("native"), "interventions": changes, "options": reader.options}
    readings = resolve_readings(lens.conditioner, sites, **how)
    reader.prepare([PROMPT], readings)
    states = reader.encode([PROMPT], readings)
    return [reader.condition(states, one).to_flat() for one in readings]


@pytest.mark.parametrize("family", BY_ENCODER)
def test_doing_nothing_to_a_part_is_exact_in_every_family(tiny_lens, family):
    lens = tiny_lens(family)
    sites = ["2.mlp", "native+2.mlp", "2"]
    plain, same = (conditionings(lens, sites, changes) for changes in ([], [Keep("all"), Patch(PROMPT)]))
    resampled = conditionings(lens, ["2"], [Ablate("2.attn", by="resample", prompts=PROMPT)])
    for one, other in zip([*plain, plain[2]], [*same, *resampled], strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert not all(torch.equal(plain[0][name], plain[1][name]) for name in plain[0])


def test_a_part_is_drawn_as_such_and_recorded(tiny_lens):
    asked = ["2.mlp", "native+2.head.1", "2"]
    result = tiny_lens("sd")(PROMPT, asked, **DRAW)
    table = result.table
    assert table["site"].tolist() == asked and table["layer"].tolist() == [2, 2, 2]
    assert table["cell"].is_unique and not table["identical"].any()
    for site, image in zip(asked, table["image"], strict=True):
        assert result.image(site) is image
    assert result.image(2) is table["image"][2]


def test_native_and_a_part_is_the_sum(emoji):
    (states,) = read(emoji, [6, "3.mlp", "native+3.mlp", "-1.head.0"]).values()
    assert torch.equal(states[2], states[0] + states[1])


def test_the_parts_of_all_blocks_are_asked_for_at_once(emoji):
    sites = [one.reading.site.id for one in emoji.readings(["all.attn", "native+2:3.head.11", "-1.mlp"])]
    heads = ["native+2.head.11", "native+3.head.11"]
    assert sites == [f"{layer}.attn" for layer in range(1, 7)] + heads + ["6.mlp"]


def test_a_part_is_one_pass_that_ends_at_its_block(new_lens):
    lens = new_lens("sd")
    ran = []
    for block in clip_body(lens.pipeline.text_encoder).encoder.layers:
        block.register_forward_pre_hook(lambda *_: ran.append(1))
    lens(PROMPT, ["1.attn", "1.head.1", "native+1.mlp"], **DRAW)
    assert len(ran) == len(clip_body(lens.pipeline.text_encoder).encoder.layers)
    ran.clear()
    lens.encode(PROMPT, ["1.attn", "2.head.1"])
    assert len(ran) == 2
    modules = lens.pipeline.text_encoder.modules()
    assert not any(one._forward_hooks for one in modules)


def test_a_head_is_ablated_by_zero_and_by_the_mean_of_prompts(emoji):
    (plain,) = read(emoji, ["2.head.3", "2.attn", 2]).values()
    others = ["a dog", "two green cars"]
    means = torch.stack([read(emoji, ["2.head.3"], one)["text_encoder"][0] for one in others]).mean(0)
    reader = emoji.reader()
    for change, expected in (
        (Ablate("2.head.3"), plain[1] - plain[0]),
        (Ablate("2.head.3", by="mean", prompts=others), plain[1] - plain[0] + means),
    ):
        seen = []
        watch = {"attn": lambda state, layer, _, seen=seen: seen.append((layer, state)) or state}
        readings = resolve_readings(
            emoji.conditioner, 2, readout=parse_readout("none"), interventions=[change]
        )
        reader.prepare([PROMPT], readings)
        hooks = {"text_encoder": reader._hooks(PROMPT, readings[0].encoder_edits)["text_encoder"] | watch}
        emoji.conditioner.capture(PROMPT, {"text_encoder": [2]}, reader.options, edits=hooks)
        torch.testing.assert_close(dict(seen)[2][0], expected, atol=1e-5, rtol=1e-4)


def test_a_set_of_prompts_may_stand_in_a_file(tmp_path):
    file = tmp_path / "set.txt"
    file.write_text("a dog\n\ntwo cars\n")
    change = Ablate("6.attn", by="mean", prompts=str(file))
    assert change == Ablate("6.attn", by="mean", prompts=["a dog", "two cars"])
    assert change.id == 'ablate(6.attn, by=mean, prompts="a dog; two cars")' or "a dog" in change.id
    drawn = {Ablate("6", by="resample", prompts="a; b; c", seed=seed).sources("")[0] for seed in range(9)}
    assert drawn == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("site", "changes", "error", "words"),
    [
        ("9.attn", [], LayerError, "out of range"),
        ("0.attn", [], LayerError, "from 1 on"),
        ("native.attn", [], LayerError, "6.attn"),
        ("2.head.12", [], LayerError, "head.0 to head.11"),
        ("2.nose", [], LayerError, "no layer"),
        ("2.attn", [Average()], LayerError, "reads whole layers"),
        ("2.head.1", [Ablate("2.attn")], LayerError, "Draw a layer from 2 on"),
        ("2", [Ablate("2.head.12")], LayerError, "head.0 to head.11"),
        ("2", [Ablate(2, by="mean", prompts="a; b", tokens="#30")], InputError, "no token #30"),
    ],
)
def test_what_can_not_be_is_refused(emoji, site, changes, error, words):
    with pytest.raises(error, match=words):
        emoji(PROMPT, site, interventions=changes, **DRAW)


def test_an_encoder_of_fused_attention_is_refused_by_name(new_lens):
    pipe = new_lens("sd").pipeline
    from diffusion_lens import DiffusionLens

    known = EncoderFamily(*CLIP_KEYS)
    lens = DiffusionLens(pipe, encoders={"text_encoder": known})
    for site in ("1.attn", "1.head.0"):
        with pytest.raises(EncoderError, match=r"text_encoder \(CLIPTextModel\) has no (attn|heads)"):
            lens(PROMPT, site, **DRAW)


def test_a_curve_is_of_one_kind_of_site(emoji):
    from diffusion_lens.scoring.score_result import _run_name
    from diffusion_lens.scoring.scorer import Source

    names = {
        _run_name({"site": site, "_again": False}, Source(model="emoji"), ())
        for site in ("6", "6.attn", "5.attn", "native+6.attn")
    }
    assert names == {"emoji", "emoji attn", "emoji native+attn"}
