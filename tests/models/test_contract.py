"""Classes of one's own: named in commands and experiments, and refused with what was found."""

import pytest

from diffusion_lens import DiffusionLens, Experiment, PipelineFamily, Slot, Tap
from diffusion_lens.errors import UnsupportedPipelineError
from diffusion_lens.models.family import images_of
from diffusion_lens.sweep.resolve import load_lens
from tests.command_line import run

FAMILY = PipelineFamily("Mine", (Slot("text_encoder", Tap(-2, normed=True)),), ("prompt_embeds", None))
MODULE = """
from dataclasses import replace
from diffusion_lens.models.encoders import ENCODERS
from diffusion_lens.models.pipelines import PIPELINES
FAMILY = replace(PIPELINES["StableDiffusionPipeline"], title="Mine")
ENCODER = ENCODERS["CLIPTextModel"]
"""


@pytest.fixture
def mine(tmp_path, monkeypatch, new_lens):
    """A folder with a model, and a module on the path that describes it."""
    (tmp_path / "my_lens.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    new_lens("sd").pipeline.save_pretrained(tmp_path / "model")
    return tmp_path


def test_a_family_and_an_encoder_are_named_in_an_experiment_and_on_the_command_line(mine):
    model, how = str(mine / "model"), {"family": "my_lens:FAMILY"}
    how |= {"encoder_families": {"text_encoder": "my_lens:ENCODER"}}
    experiment = Experiment.from_dict({"model": model, "prompts": ["a fox"], **how})
    assert load_lens(experiment).conditioner.family.title == "Mine"
    drawn = ("show", "a fox", "--model", model, "--steps", "1", "--height", "16", "--width", "16")
    named = ("--family", "my_lens:FAMILY", "--encoder-family", "my_lens:ENCODER")
    assert run(*drawn, *named, "--layers", "native", "--out", "x.png", cwd=mine).returncode == 0
    twice = run(*drawn, "--encoder-family", "my_lens:ENCODER", "text_encoder=my_lens:ENCODER", cwd=mine)
    assert twice.returncode == 2 and "text_encoder was given twice" in twice.stderr


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("no_lens:FAMILY", "can't be imported"),
        ("my_lens:ENCODER", "is a EncoderFamily; a PipelineFamily is needed"),
        ("StableDiffusion", "is no PipelineFamily. Known:"),
    ],
)
def test_a_family_that_is_not_there_is_refused_in_one_message(mine, module, message):
    refused = run("show", "a fox", "--model", str(mine / "model"), "--family", module, cwd=mine)
    assert refused.returncode == 2 and message in refused.stderr


def test_a_class_that_does_not_keep_the_contract_is_told_what_was_found(tiny_lens):
    plain = type(tiny_lens("sd").pipeline)

    class NoGenerator(plain):
        def __call__(self, prompt_embeds, steps):
            """Draw without a generator."""

        def encode_prompt(self, text):
            """Take a prompt under another name."""

    parts = tiny_lens("sd").pipeline.components
    with pytest.raises(UnsupportedPipelineError) as error:
        DiffusionLens(NoGenerator(**parts, requires_safety_checker=False), family=FAMILY)
    assert (
        "NoGenerator can't be used as 'Mine' describes: encode_prompt takes no prompt; it takes text; "
        "__call__ takes no num_inference_steps, generator, output_type; it takes prompt_embeds, steps."
    ) in str(error.value)


def test_values_that_encode_prompt_returns_are_named_where_they_are_too_many(tiny_lens):
    lens = DiffusionLens(
        tiny_lens("sd").pipeline,
        family=PipelineFamily("Mine", (Slot("text_encoder", Tap(-1, normed=True)),), ("prompt_embeds",)),
    )
    with pytest.raises(
        UnsupportedPipelineError, match=r"returned 2 values \(Tensor \(1, \d+, \d+\), NoneType"
    ):
        lens("a fox", "native", steps=1, progress=False)


def test_an_output_without_images_is_named():
    with pytest.raises(UnsupportedPipelineError, match="returned a dict; an output with `images`"):
        images_of({})
