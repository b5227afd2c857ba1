from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusion_lens.analysis.curves import curves
from diffusion_lens.analysis.probes import features, probe
from diffusion_lens.errors import InputError
from diffusion_lens.text.states import LayerStates
from tests.analysis.simulate import FAST

COLOURS = ["red", "blue", "green"]


def states(
    prompts: int = 60, strength: tuple[float, ...] = (0.0, 0.6, 3.0)
) -> tuple[LayerStates, list[str]]:
    """Made states in which the colour of the prompt shows more and more clearly by layer."""
    rng = np.random.default_rng(0)
    colours = [COLOURS[i] for i in rng.integers(0, 3, prompts)]
    direction = rng.standard_normal((3, 16))
    values = rng.standard_normal((len(strength), prompts, 4, 16))
    for layer, much in enumerate(strength):
        for row, colour in enumerate(colours):
            values[layer, row, 2] += much * direction[COLOURS.index(colour)]
    made = LayerStates(
        encoder="text_encoder",
        fingerprint="made",
        prompts=tuple(f"a {colour} thing {row}" for row, colour in enumerate(colours)),
        layers=(0, 3, 6),
        states=torch.tensor(values, dtype=torch.float32),
        input_ids=torch.zeros(prompts, 4, dtype=torch.int64),
        mask=torch.tensor([[True, True, True, False]]).repeat(prompts, 1),
        tokens=tuple(("[CLS]", "a", "▁fox", "[PAD]") for _ in range(prompts)),
    )
    return made, colours


def test_a_probe_reads_what_is_there_and_nothing_else():
    made, colours = states()
    table = probe(made, colours, check="colour", token="fox")
    rates = curves(table, ["scorer"], resampling=FAST).pivot(index="layer", columns="scorer", values="rate")
    assert rates.loc[6, "probe"] > 0.95
    assert rates.loc[0, "probe"] < 0.55 and (rates["probe-shuffled"] < 0.6).all()
    assert rates["probe"].is_monotonic_increasing
    assert (rates["probe-majority"] < 0.5).all()
    assert set(table["depth"]) == {0, 0.5, 1}


def test_the_mean_over_tokens_leaves_pads_out():
    made, _ = states(5)
    expected = made.states[:, :, :3].mean(dim=2).numpy()
    assert features(made) == pytest.approx(expected, abs=1e-6)
    assert features(made, "fox") == pytest.approx(made.states[:, :, 2].numpy())


def test_no_prompt_is_read_by_a_probe_that_saw_its_group():
    """Each carrier has a colour of its own: within groups it could be learned by heart, across it can't."""
    rng = np.random.default_rng(1)
    made, _ = states()
    carriers = [f"noun {row // 6}" for row in range(60)]
    answers = [COLOURS[(row // 6) % 3] for row in range(60)]
    values = rng.standard_normal((3, 60, 4, 16)) * 0.1
    values += rng.standard_normal((10, 16))[np.arange(60) // 6][None, :, None] * 3
    known = replace(made, states=torch.tensor(values, dtype=torch.float32))
    by_prompt = probe(known, answers, check="c").query("scorer == 'probe'")["label"].mean()
    by_noun = probe(known, answers, check="c", groups=carriers).query("scorer == 'probe'")["label"].mean()
    assert by_prompt > 0.95 and by_noun < 0.7


def test_facts_may_be_yes_and_no_and_prompts_may_repeat():
    made, colours = states(40)
    facts = [colour == "red" for colour in colours]
    table = probe(made, facts, check="red", prompt_ids=["same"] * 40, groups=list(range(40)))
    assert table["seed"].max() == 39 and len(table) == 3 * 3 * 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"facts": ["red"]}, "60 prompts, 1 facts"),
        ({"facts": ["red"] * 60}, "at least two facts"),
        ({"facts": ["blue", *["red"] * 59]}, "held by 1"),
        ({"token": "dog"}, "has no token 'dog'"),
    ],
)
def test_what_can_not_be_probed_is_said(change, message):
    made, colours = states()
    asked = {"facts": colours, "check": "colour", **change}
    with pytest.raises(InputError, match=message):
        probe(made, **asked)


def test_a_real_encoder_is_probed(emoji):
    """The embedded model: the noun of a prompt can be read at every layer, above chance."""
    nouns = ["dog", "car", "pizza"]
    places = ["on grass", "at night", "in the snow", "at sunset", "under water"]
    prompts = [f"a {noun} {place}" for noun in nouns for place in places]
    made = emoji.encode(prompts)["text_encoder"]
    table = probe(made, [prompt.split()[1] for prompt in prompts], check="object-0", kind="object")
    rates = table.groupby(["scorer", "layer"])["label"].mean()
    assert (rates["probe"] > 0.9).all() and (rates["probe-majority"] < 0.4).all()
