"""The lens from end to end, on the embedded model and on tiny pipelines."""

import gc
import logging
import signal
import weakref
from pathlib import Path

import accelerate
import diffusers
import numpy as np
import pandas as pd
import pytest
import torch

from diffusion_lens import DiffusionLens, Sampler
from diffusion_lens.errors import (
    EncoderError,
    InputError,
    LayerError,
    PromptError,
    SamplerError,
    UnsupportedPipelineError,
)
from diffusion_lens.models.stub_encoders import stub_bytes
from diffusion_lens.testing import FAMILIES
from tests.conftest import clip_body, tiny_sampler

PROMPT = "a red fox to the left of a pizza"


def pixels(result, column="image"):
    return [np.asarray(image) for image in result.table[column]]


def test_the_embedded_model_at_its_native_tap_is_the_plain_pipeline(emoji):
    plain = emoji.pipeline(
        PROMPT,
        num_inference_steps=4,
        guidance_scale=4.0,
        generator=torch.Generator("cpu").manual_seed(3),
        output_type="np",
    ).images[0]
    result = emoji(PROMPT, "native", 3, steps=4, progress=False)
    assert np.array_equal(pixels(result)[0], (plain * 255).round().astype("uint8"))


def test_the_table_has_one_row_an_image_and_says_how_it_was_made(emoji):
    result = emoji(["a fox", "a car"], [0, -1], [5, 6], steps=2, negative_prompt="red", progress=False)
    table = result.table
    assert table[["prompt", "layer", "seed"]].to_numpy().tolist() == [
        [prompt, layer, seed] for prompt in ("a fox", "a car") for layer in (0, 6) for seed in (5, 6)
    ]
    assert table["native"].tolist() == [False, False, True, True] * 2
    made_here = ("image", "cell", "native", "identical", "seconds", "version", "commit", "device")
    assert {name: table[name].unique().tolist() for name in table if name not in made_here} == {
        "prompt": ["a fox", "a car"],
        "encoder": ["text_encoder"],
        "layer": [0, 6],
        "site": ["0", "6"],
        "readout": ["native"],
        "pooled": ["hold"],
        "slots": ["all"],
        "interventions": [""],
        "edits": [""],
        "seed": [5, 6],
        "model": ["emoji"],
        "revision": [None],
        "steps": [2],
        "guidance": [4.0],
        "height": [None],
        "width": [None],
        "negative_prompt": ["red"],
        "scheduler": ["DPMSolverMultistepScheduler"],
        "options": ["{}"],
        "upscale": [None],
        "approximations": [""],
        "embeddings": [""],
        "missing": [None],
        "batch": [8],
        "dtype": ["float32"],
        "optimizations": [""],
        "torch": [torch.__version__],
        "diffusers": [diffusers.__version__],
    }
    assert table["cell"].is_unique


def test_a_seeds_image_does_not_depend_on_what_else_was_asked_for(new_lens):
    lens = new_lens("sd")
    lens.denoiser.batch_size = 2
    one = lens(PROMPT, [1, 4], [0], progress=False)
    other = lens(["a blue car", PROMPT], [4, 3], [9, 0], progress=False)
    assert np.array_equal(one.image(4, 0), other.image(4, 0, PROMPT))


def test_two_layers_of_one_seed_start_from_the_same_noise(new_lens):
    lens = new_lens("sd")
    seen = []
    lens.pipeline.unet.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    lens(PROMPT, [0, 2], [0, 1], guidance=1.0, progress=False)
    layer0_seed0, layer0_seed1, layer2_seed0, layer2_seed1 = seen[0]
    assert torch.equal(layer0_seed0, layer2_seed0)
    assert torch.equal(layer0_seed1, layer2_seed1)
    assert not torch.equal(layer0_seed0, layer0_seed1)


def test_one_encoder_pass_gives_all_layers(new_lens):
    lens = new_lens("sd")
    ran = []
    for block in clip_body(lens.pipeline.text_encoder).encoder.layers:
        block.register_forward_hook(lambda *_: ran.append(1))
    lens(PROMPT, "all", [0, 1], guidance=1.0, progress=False)
    assert len(ran) == 4
    ran.clear()
    lens(PROMPT, [0, 2], [0], guidance=1.0, progress=False)
    assert len(ran) == 2  # no block above the highest layer asked for


def test_all_calls_to_encode_are_one_a_prompt_and_one_for_the_negative(new_lens):
    lens = new_lens("sd")
    calls = []
    clip_body(lens.pipeline.text_encoder).encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    lens([PROMPT, "a car", "a hat"], "all", [0, 1], guidance=5.0, progress=False)
    assert len(calls) == 3 + 2  # a pipeline encodes a positive beside the negative


@pytest.mark.parametrize("when", ["encoding", "denoising"])
def test_the_pipeline_is_untouched_after_an_interruption(new_lens, when):
    lens = new_lens("sd")
    pipe = lens.pipeline
    arguments = tiny_sampler("sd").arguments(lens.conditioner.family)

    def plain():
        seed = torch.Generator("cpu").manual_seed(0)
        return pipe(prompt=PROMPT, generator=seed, output_type="np", **arguments).images

    before = plain()
    mine = clip_body(pipe.text_encoder).encoder.layers[0].register_forward_hook(lambda *_: None)
    module = clip_body(pipe.text_encoder).encoder.layers[2] if when == "encoding" else pipe.unet

    def press_ctrl_c(*_):
        signal.raise_signal(signal.SIGINT)

    interrupting = module.register_forward_hook(press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        lens(PROMPT, scheduler="EulerDiscreteScheduler", progress=False)
    interrupting.remove()
    assert "forward" not in pipe.text_encoder.__dict__
    assert type(pipe.scheduler).__name__ == "DDIMScheduler"
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pipe.text_encoder.modules()]
    assert sum(hooks) == 1
    mine.remove()
    assert np.array_equal(plain(), before)


def test_a_user_hook_that_edits_a_block_is_seen_by_the_lens(new_lens):
    lens = new_lens("sd")
    before = lens(PROMPT, [0, "native"], guidance=1.0, progress=False)
    clip_body(lens.pipeline.text_encoder).encoder.layers[1].register_forward_hook(
        lambda _m, _a, out: out * 2
    )
    after = lens(PROMPT, [0, "native"], guidance=1.0, progress=False)
    assert np.array_equal(before.image(0), after.image(0))
    assert not np.array_equal(before.image("native"), after.image("native"))


def test_encoders_can_be_released_before_denoising(new_lens):
    lens = new_lens("sd3")
    names = ("text_encoder", "text_encoder_2", "text_encoder_3")
    encoders = [weakref.ref(getattr(lens.pipeline, name)) for name in names]
    expected = lens(PROMPT, [0, "native"], progress=False)
    result = lens(PROMPT, [0, "native"], release_encoders=True, progress=False)
    assert all(np.array_equal(*pair) for pair in zip(pixels(expected), pixels(result), strict=True))
    gc.collect()
    assert all(reference() is None for reference in encoders)
    with pytest.raises(EncoderError, match="were released to save memory"):
        lens("another prompt", progress=False)


@pytest.mark.parametrize("family", ["sd", "sdxl", "flux"])
def test_weights_offloaded_one_layer_at_a_time_draw_the_same(tiny_lens, new_lens, family):
    lens = new_lens(family)
    for part in lens.pipeline.components.values():
        if isinstance(part, torch.nn.Module):  # what sequential offload does, on a machine without GPU
            accelerate.cpu_offload(part, torch.device("cpu"))
    assert next(lens.pipeline.text_encoder.parameters()).is_meta
    for arguments in ({}, {"readout": "final"}, {"pooled": "layer"}):
        expected = tiny_lens(family)(PROMPT, [0, "native"], progress=False, **arguments)
        result = lens(PROMPT, [0, "native"], progress=False, **arguments)
        assert all(np.array_equal(*pair) for pair in zip(pixels(expected), pixels(result), strict=True))
    for name, encoder in lens.conditioner.encoders.items():
        assert stub_bytes(encoder) == stub_bytes(tiny_lens(family).conditioner.encoders[name])


def test_deepfloyd_draws_both_stages(new_lens):
    first, second = FAMILIES["if"].build(), FAMILIES["if-upscaler"].build()
    call = dict(FAMILIES["if-upscaler"].call)
    call.pop("image")
    steps = call.pop("num_inference_steps")
    lens = DiffusionLens(first, upscaler=second, defaults=tiny_sampler("if"))
    result = lens(PROMPT, [0, "native"], [4], upscale=Sampler(steps, options=call), progress=False)

    def generator():
        return torch.Generator("cpu").manual_seed(4)

    arguments = tiny_sampler("if").arguments(lens.conditioner.family)
    small = first(PROMPT, generator=generator(), output_type="pt", **arguments).images
    large = second(
        PROMPT, image=small, generator=generator(), output_type="np", num_inference_steps=steps, **call
    ).images[0]
    native = result.image("native", 4, upscaled=True)
    assert np.array_equal(native, (large * 255).round().astype("uint8"))
    assert not np.array_equal(native, result.image(0, 4, upscaled=True))
    assert result.grid().width > 0


def test_the_scheduler_can_be_chosen_by_name_and_is_put_back(new_lens):
    lens = new_lens("sd")
    own = lens.pipeline.scheduler
    table = lens(PROMPT, "native", scheduler="DDPMScheduler", progress=False).table
    assert table["scheduler"].tolist() == ["DDPMScheduler"]
    assert lens.pipeline.scheduler is own
    assert not np.array_equal(table["image"][0], lens(PROMPT, "native", progress=False).table["image"][0])


def test_words_that_the_encoder_never_sees_are_named(tiny_lens, caplog):
    lens = tiny_lens("sd")  # 14 words and two special tokens
    with caplog.at_level(logging.WARNING, "diffusion_lens"):
        lens("a red fox and a blue pizza", "native", progress=False)
        assert caplog.messages == []
        lens(" ".join(["a red fox"] * 4 + ["a blue hat on grass"]), "native", progress=False)
    (message,) = [one for one in caplog.messages if "cut off" in one]
    assert message == "The prompt is longer than text_encoder reads (16 tokens); cut off: 'hat on grass'"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"prompts": []}, PromptError, "The list of prompts is empty"),
        ({"prompts": [3]}, PromptError, r"A prompt is text; found 3 \(int\)"),
        ({"seeds": []}, SamplerError, "No seed was given"),
        ({"seeds": [0.5]}, SamplerError, "0.5 is no seed; a seed is a whole number"),
        ({"seeds": "x"}, SamplerError, "'x' is no seed"),
        ({"seeds": [-1]}, SamplerError, "-1 is no seed"),
        ({"seeds": [True]}, SamplerError, "True is no seed"),
        ({"steps": 0}, SamplerError, "steps is 0; it must be a whole number from 1 to 10000"),
        ({"steps": 10**9}, SamplerError, "steps is 1000000000; it must be a whole number from 1 to 10000"),
        ({"steps": 1.5}, SamplerError, "steps is 1.5"),
        ({"guidance": "high"}, SamplerError, "guidance is 'high'; it must be a number"),
        ({"guidance": float("nan")}, SamplerError, "guidance is nan; it must be a number"),
        ({"height": 2}, SamplerError, "height is 2; it must be from 8 to 16384 pixels"),
        ({"negative_prompt": 3}, SamplerError, "negative_prompt is 3; it must be text"),
        ({"guidance_scale": 1.0}, SamplerError, "'guidance_scale' is the lens's own to set; use guidance="),
        ({"callback": print}, SamplerError, "use progress="),
        ({"upscale": Sampler(2)}, SamplerError, "upscale= was given without a second stage"),
        ({"prompts": None}, PromptError, r"A prompt is text; found None"),
        ({"seeds": None}, SamplerError, "None is no seed"),
        ({"layers": None}, LayerError, "None is no layer"),
        ({"scheduler": "Magic"}, SamplerError, "'Magic' is no scheduler for StableDiffusionPipeline"),
        ({"encoder": "brain"}, EncoderError, "no encoder 'brain'. It has: text_encoder"),
        ({"encoder": ["text_encoder"]}, InputError, r"\['text_encoder'\] is no encoder. Give the name"),
        (
            {"readout": ["final", "none"]},
            InputError,
            "is no readout. Give one, such as 'final'; for several",
        ),
        ({"readout": None}, InputError, "None is no readout"),
        ({"interventions": None}, InputError, "None is no intervention. Give one"),
        ({"interventions": 5}, InputError, "5 is no intervention"),
        ({"states": 5}, InputError, r"5 are no states. Give those of a result: result\.states"),
        ({"stepz": 4}, SamplerError, "StableDiffusionPipeline takes no option 'stepz'. It takes: height"),
        ({"clip_skip": 1}, SamplerError, "'clip_skip' is the lens's own to set; use layers="),
        ({"generator": None}, SamplerError, "use seeds="),
        ({"prompt_embeds": None}, SamplerError, "use the prompt and the layers"),
    ],
)
def test_bad_input_is_one_clear_message(tiny_lens, untyped, arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        tiny_lens("sd")(**{"prompts": PROMPT, "progress": False, **arguments})
    assert isinstance(caught.value, InputError)


def test_a_word_that_a_prompt_lacks_is_said_before_the_progress_bar(tiny_lens, capsys):
    with pytest.raises(PromptError, match="'a red fox' does not hold 'zebra'"):
        tiny_lens("sd")(["a zebra", "a red fox"], 1, interventions=["drop(zebra)"])
    assert "Drawing" not in capsys.readouterr().err


def test_sizes_that_the_pipeline_would_ignore_or_refuse(emoji):
    with pytest.raises(SamplerError, match="Give height and width together"):
        emoji(PROMPT, height=64, progress=False)
    with pytest.raises(SamplerError, match="StableDiffusionPipeline refuses these settings: "):
        emoji(PROMPT, height=65, width=64, progress=False)


def test_numbers_may_come_from_numpy(tiny_lens, untyped):
    result = tiny_lens("sd")(PROMPT, np.arange(2), np.arange(2), steps=np.int64(2), progress=False)
    assert result.table[["layer", "seed"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", ["emoji", Path("emoji")])
def test_the_name_of_a_model_is_told_from_a_pipeline(name):
    with pytest.raises(InputError, match=r"'emoji' is no pipeline .*from_pretrained\('emoji'\)\."):
        DiffusionLens(name)


def test_what_a_lens_can_not_be_made_with_is_refused(tiny_lens, new_lens):
    with pytest.raises(InputError, match="batch_size is -1; it must be at least 1"):
        DiffusionLens(tiny_lens("sd").pipeline, batch_size=-1)
    with pytest.raises(UnsupportedPipelineError, match="StableDiffusionPipeline is no second stage"):
        DiffusionLens(tiny_lens("if").pipeline, upscaler=tiny_lens("sd").pipeline)
    pipe = new_lens("flux").pipeline
    pipe.text_encoder_2 = None
    with pytest.raises(UnsupportedPipelineError, match=r"without its text encoder \(text_encoder_2\)"):
        DiffusionLens(pipe)


def test_a_misspelled_scheduler_is_found_before_the_encoders_are_released(new_lens):
    lens = new_lens("sd")
    with pytest.raises(SamplerError, match="'Typo' is no scheduler"):
        lens(PROMPT, scheduler="Typo", release_encoders=True, progress=False)
    assert lens.pipeline.text_encoder is not None
    short = lens(PROMPT, "native", scheduler="DDPM", progress=False).table
    assert short["scheduler"].tolist() == ["DDPMScheduler"]


def test_the_empty_pooled_output_holds_for_encoders_that_stay(tiny_lens):
    # as the authors' notebook has it for FLUX: T5 moves, and CLIP gives that of the empty prompt
    lens = tiny_lens("flux")
    held, emptied = (
        lens(PROMPT, "native", encoder="text_encoder_2", pooled=policy, progress=False).table
        for policy in ("hold", "empty")
    )
    assert not np.array_equal(held["image"][0], emptied["image"][0])
    assert held["identical"].tolist() == [True] and emptied["identical"].tolist() == [False]


def test_the_native_tap_has_a_name_under_any_readout(tiny_lens):
    result = tiny_lens("flux2")(PROMPT, ["all", "native"], readout="final", progress=False)
    assert result.table["native"].sum() == 1
    assert not np.array_equal(result.image("native"), result.image(3))


def test_a_prompt_with_accents_is_not_called_cut(emoji, caplog):
    long = "a café with a red fox to the left of a blue pizza and a small green hat at night"
    with caplog.at_level(logging.WARNING, "diffusion_lens"):
        emoji(long, "native", steps=1, progress=False)
    (message,) = [one for one in caplog.messages if "cut off" in one]
    assert message.endswith("cut off: 'at night'")


def test_a_negative_prompt_is_refused_where_the_pipeline_takes_none(tiny_lens):
    with pytest.raises(SamplerError, match="Flux2Pipeline takes no negative prompt"):
        tiny_lens("flux2")(PROMPT, negative_prompt="red", progress=False)


def test_a_prompt_is_data_and_may_be_empty(tiny_lens):
    strange = ["", "../../etc/passwd", "<b>bold</b> [red]markup[/]", "100% {x} \\n \x00 é 狐"]
    result = tiny_lens("sd")(strange, ["native"], progress=False)
    assert result.table["prompt"].tolist() == strange
    assert isinstance(result.table, pd.DataFrame) and result.grid().height > 0
