"""Every family, with its real classes: the lens sees each model as the model sees itself."""

import ast
import inspect
import re
import textwrap
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from diffusion_lens import DiffusionLens, EncoderFamily, PipelineFamily, Sampler, Slot, Tap, examine
from diffusion_lens.errors import EncoderError, UnsupportedPipelineError
from diffusion_lens.models.families.siblings import SIBLINGS
from diffusion_lens.models.families.unsupported import UNSUPPORTED
from diffusion_lens.models.family import images_of
from diffusion_lens.models.pipelines import PIPELINES, find_family
from diffusion_lens.testing import FAMILIES, LENSED
from tests.conftest import CLIP_KEYS, needs, tiny_sampler
from tests.models.small_unet import shrink_unet

PROMPT = "a red fox to the left of a pizza"


@pytest.mark.parametrize("family", LENSED)
def test_every_self_check_passes(tiny_lens, family):
    checks = examine(tiny_lens(family), PROMPT)
    assert [f"{one.name}: {one.found}" for one in checks if not one.passed] == []
    # float32 on the CPU at one batch shape is exact; only another batch shape may differ, and a count
    counted = "blocks run to encode all layers / plain"
    assert {one.name for one in checks if one.allowed > 0} == {"image in another batch shape", counted}


def test_every_family_of_the_table_is_tested(tiny_lens):
    tested = {type(tiny_lens(family).pipeline).__name__ for family in LENSED}
    known = {name for name in PIPELINES if hasattr(diffusers, name)}
    # what old versions of transformers can't run; see `diffusion_lens.testing`
    assert tested == known - ({"Ideogram4Pipeline"} if "ideogram4" not in FAMILIES else set())


@pytest.mark.parametrize("family", LENSED)
def test_layers_draw_different_images_and_reach_the_native_one(tiny_lens, family):
    result = tiny_lens(family)(PROMPT, ["all", "native"], [0], progress=False)
    assert result.table["missing"].isna().all()
    assert result.table["native"].sum() == 1
    changes = result.changes()
    earlier = changes[~changes["native"]]
    assert (earlier["from_previous"].dropna() > 0).all()


@pytest.mark.parametrize("family", LENSED)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_guidance_and_negative_prompt_are_the_pipelines_own(tiny_lens, family, guidance):
    lens = tiny_lens(family)
    kind = lens.conditioner.family
    parameters = inspect.signature(lens.pipeline.__call__).parameters
    negative = "blue" if "negative_prompt" in parameters and kind.takes_negative else None
    sampler = Sampler(guidance=guidance).over(lens.defaults)
    output = lens.pipeline(
        prompt=PROMPT,
        generator=torch.Generator("cpu").manual_seed(7),
        output_type="np",
        **sampler.arguments(kind),
        **({} if negative is None else {"negative_prompt": negative}),
    )
    plain = images_of(output)[0]
    result = lens(PROMPT, "native", 7, guidance=guidance, negative_prompt=negative, progress=False)
    drawn = np.asarray(result.image("native", seed=7))
    assert np.array_equal(drawn, (plain * 255).round().astype("uint8"))


@pytest.mark.parametrize("family", ["sdxl", "sd3", "flux", "hidream", "kolors"])
def test_each_encoder_can_move_alone(tiny_lens, family):
    lens = tiny_lens(family)
    native = lens(PROMPT, "native", progress=False).image("native")
    for name in lens.conditioner.encoders:
        result = lens(PROMPT, [0, "native"], encoder=name, progress=False)
        assert set(result.table["encoder"]) == {name}
        # in a batch of another shape
        assert np.abs(np.subtract(result.image("native"), native, dtype=int)).max() <= 1
        assert not np.array_equal(result.image(0), native)


@pytest.mark.parametrize("family", ["sdxl", "sd3", "flux", "hidream", "kolors"])
def test_the_pooled_output_follows_its_policy(tiny_lens, family):
    lens = tiny_lens(family)
    drawn = {
        policy: lens(PROMPT, [1], pooled=policy, progress=False).image(1)
        for policy in ("hold", "layer", "empty")
    }
    pixels = [np.asarray(image).tobytes() for image in drawn.values()]
    assert len(set(pixels)) == 3


@pytest.mark.parametrize("family", ["flux2", "flux2-klein", "hidream", "krea2", "fibo", "cosmos2.5"])
def test_several_taps_can_be_replaced_in_several_ways(tiny_lens, family):
    lens = tiny_lens(family)
    taps = max(lens.plan(**lens.defaults.options).taps.values(), key=len)
    assert len(taps) > 1
    images = {
        slots: np.asarray(lens(PROMPT, [1], slots=slots, progress=False).table["image"][0]).tobytes()
        for slots in ("all", 0, len(taps) - 1)
    }
    assert images["all"] != images[len(taps) - 1]
    deepest = lens(PROMPT, [max(taps), "native"], slots="cap", progress=False).table
    assert len(deepest) == 1 and deepest["native"].all()


def test_a_negative_prompt_that_would_be_ignored_is_refused(tiny_lens):
    lens = tiny_lens("cogview3plus")
    with pytest.raises(UnsupportedPipelineError, match="CogView3PlusPipeline ignores the embeddings"):
        lens(PROMPT, "native", guidance=3.0, negative_prompt="blue", progress=False)


@pytest.mark.parametrize("how", ["wrapped", "in place", "denoiser"])
def test_compiled_parts_are_used_as_they_are(how):
    # one by one: another shape of a batch would be compiled again
    given = {"defaults": tiny_sampler("sd"), "batch_size": 1}
    pipe = FAMILIES["sd"].build()
    shrink_unet(pipe)
    plain = DiffusionLens(pipe, **given)(PROMPT, [1, "native"], progress=False)
    if how == "wrapped":
        pipe.text_encoder = torch.compile(pipe.text_encoder, backend="eager")
    elif how == "in place":
        pipe.text_encoder.compile(backend="eager")
    else:
        pipe.unet = torch.compile(pipe.unet, backend="eager")
    pipe(PROMPT, **FAMILIES["sd"].call)  # used before
    drawn = DiffusionLens(pipe, **given)(PROMPT, [1, "native"], progress=False)
    for layer in (1, "native"):
        assert np.array_equal(np.asarray(plain.image(layer)), np.asarray(drawn.image(layer)))


def test_an_unknown_pipeline_can_be_described_by_key_paths(tiny_lens):
    pipe = tiny_lens("sd").pipeline

    class MyPipeline(type(pipe)):
        pass

    class MyEncoder(type(pipe.text_encoder)):
        pass

    mine = MyPipeline(**pipe.components, requires_safety_checker=False)
    assert find_family(MyPipeline) is PIPELINES["StableDiffusionPipeline"]  # by its base class

    described = DiffusionLens(
        mine,
        family=PipelineFamily(
            "Mine",
            (Slot("text_encoder", Tap(-1, normed=True)),),
            ("prompt_embeds", "negative_prompt_embeds"),
        ),
        encoders={"text_encoder": EncoderFamily(*CLIP_KEYS)},
        defaults=tiny_sampler("sd"),
    )
    assert all(one.passed for one in examine(described))


def test_a_wrong_description_is_found_out_by_the_self_checks(tiny_lens):
    wrong = DiffusionLens(
        tiny_lens("sdxl").pipeline,
        family=PipelineFamily(
            "Wrong",
            (
                Slot("text_encoder", Tap(-1, normed=True)),
                Slot("text_encoder_2", Tap(-2, normed=True), "text_embeds", "tokenizer_2"),
            ),
            PIPELINES["StableDiffusionXLPipeline"].returns,
        ),
        defaults=tiny_sampler("sdxl"),
    )
    failed = {one.name: one.error for one in examine(wrong) if not one.passed}
    assert {"conditioning", "images"} <= set(failed)  # the pipeline reads states that are not there


def test_a_wrong_key_path_is_named_with_what_is_there(tiny_lens):
    pipe = tiny_lens("sd").pipeline
    with pytest.raises(EncoderError, match=r"no blocks at somewhere\.else; its parts are: \w"):
        DiffusionLens(pipe, encoders={"text_encoder": EncoderFamily(("somewhere.else",), None)})


def test_an_unknown_pipeline_is_told_the_known_ones_and_how_to_go_on():
    class StrangePipeline:
        def encode_prompt(self, prompt):
            return prompt

    with pytest.raises(UnsupportedPipelineError) as error:
        DiffusionLens(StrangePipeline())
    assert "StrangePipeline is of no known family" in str(error.value)
    assert "FluxPipeline" in str(error.value) and "PipelineFamily(" in str(error.value)


def test_a_pipeline_without_text_is_refused_by_name():
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        norm_num_groups=2,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    with pytest.raises(UnsupportedPipelineError, match="DDPMPipeline takes no text"):
        DiffusionLens(DDPMPipeline(unet, DDPMScheduler()))


def test_a_pipeline_loaded_without_its_encoder_is_refused(new_lens):
    pipe = new_lens("sd").pipeline
    pipe.text_encoder = None
    with pytest.raises(UnsupportedPipelineError, match="without its text encoder"):
        DiffusionLens(pipe)


def test_a_pipeline_may_lack_one_of_its_encoders(new_lens):
    pipe = new_lens("sd3").pipeline
    pipe.text_encoder_3 = pipe.tokenizer_3 = None
    lens = DiffusionLens(pipe, defaults=tiny_sampler("sd3"))
    assert list(lens.conditioner.encoders) == ["text_encoder", "text_encoder_2"]
    assert all(one.passed for one in examine(lens))


def definitions(path):
    """The classes of a module of diffusers that have an `encode_prompt`, each with how that is written."""
    for written in re.split(r"(?m)^(?=class )", path.read_text())[1:]:
        name = re.match(r"class (\w+)", written)[1]
        method = re.search(r"(?ms)^    def encode_prompt\(.*?(?=^    [\w@]|^\S|\Z)", written)
        if name.endswith("Pipeline") and method:
            yield name, method[0]


def code(written):
    """A method's code without docstring, annotations and the default of the length."""
    (method,) = ast.parse(textwrap.dedent(written)).body
    method.returns, method.body = None, method.body[1:]
    for node in ast.walk(method):
        if isinstance(node, ast.arg):
            node.annotation = None
    text = ast.unparse(method).replace("num_videos_per_prompt", "num_images_per_prompt")
    return re.sub(r"max_sequence_length=\d+", "max_sequence_length=", text)


def test_every_class_of_diffusers_with_text_is_supported_or_refused_with_a_reason():
    folder = Path(inspect.getfile(diffusers)).parent / "pipelines"
    found = {}
    for path in folder.rglob("pipeline_*.py"):
        found.update(definitions(path))
    assert len(found) > 200
    named = [*PIPELINES, *SIBLINGS, *UNSUPPORTED]
    assert len(named) == len(set(named))
    assert sorted(set(found) - set(named)) == []
    assert set(SIBLINGS.values()) <= set(PIPELINES)
    own = {family: code(found[family]) for family in set(SIBLINGS.values())}
    different = {name for name, family in SIBLINGS.items() if code(found[name]) != own[family]}
    assert different <= {*SIBLING_CALLS, *LIKE_A_TESTED_ONE}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("StableCascadePriorPipeline", "is one of two stages: give DiffusionLens"),
        ("StableAudioPipeline", "makes sound, and no image"),
        ("OmniGenPipeline", "reads the tokens of its prompt in the denoiser itself"),
    ],
)
def test_a_class_that_no_family_fits_is_refused_with_the_reason(name, reason):
    with pytest.raises(UnsupportedPipelineError, match=f"{name} can't be looked into: it {reason}"):
        find_family(getattr(diffusers, name))


def small_image(size=16):
    return torch.linspace(0, 1, 3 * size * size).reshape(1, 3, size, size)


SIBLING_CALLS = {
    "StableDiffusionImg2ImgPipeline": ("sd", {"image": small_image(), "strength": 0.8}),
    "StableDiffusionInpaintPipeline": (
        "sd",
        {"image": small_image(), "mask_image": torch.ones(1, 1, 16, 16), "height": 16, "width": 16},
    ),
    "StableDiffusionPAGPipeline": ("sd", {"pag_scale": 2.0, "height": 16, "width": 16}),
    "StableDiffusionXLImg2ImgPipeline": ("sdxl", {"image": small_image(), "strength": 0.8}),
    "FluxImg2ImgPipeline": ("flux", {"image": small_image(), "strength": 0.8, "height": 16, "width": 16}),
    "FluxInpaintPipeline": (
        "flux",
        {"image": small_image(), "mask_image": torch.ones(1, 1, 16, 16), "height": 16, "width": 16},
    ),
    "StableDiffusion3Img2ImgPipeline": (
        "sd3",
        {"image": small_image(), "strength": 0.8, "height": 16, "width": 16},
    ),
    "StableDiffusionXLInstructPix2PixPipeline": ("sdxl", {"image": small_image()}),
    "Kandinsky3Img2ImgPipeline": ("kandinsky3", {"image": small_image(32), "strength": 0.8}),
    "BriaFiboEditPipeline": (
        "fibo",
        {"image": Image.new("RGB", (32, 32), "red"), "height": 32, "width": 32},
    ),
    "SanaPAGPipeline": (
        "sana",
        {"pag_scale": 2.0, "height": 32, "width": 32, "use_resolution_binning": False},
    ),
}
# what FIBO Edit takes for a prompt
PROMPTS = {"BriaFiboEditPipeline": f'{{"edit_instruction": "{PROMPT}"}}'}
# parts that a class needs otherwise than the family's own
PARTS = {
    "StableDiffusionXLInstructPix2PixPipeline": lambda: {"unet": wide_unet("sdxl")},
}
LIKE_A_TESTED_ONE = {
    "AnimateDiffVideoToVideoPipeline",  # a prompt may be a dictionary by frame
    "AnimateDiffVideoToVideoControlNetPipeline",
    "HeliosPipeline",  # a mask is returned and not used
    "HeliosPyramidPipeline",
    "Cosmos2_5_TransferPipeline",  # another default negative prompt
}


def wide_unet(family):
    """A U-Net that reads the latents of a picture beside the noisy ones."""
    torch.manual_seed(0)
    config = FAMILIES[family].build().unet.config
    own = {name: value for name, value in config.items() if not name.startswith("_")}
    return diffusers.UNet2DConditionModel.from_config(own | {"in_channels": 8}).eval()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=needs("diffusers", "0.40") if name == "BriaFiboEditPipeline" else ())
        for name in SIBLING_CALLS
    ],
)
def test_siblings_draw_as_they_do_by_themselves(name):
    (family, call), prompt = SIBLING_CALLS[name], PROMPTS.get(name, PROMPT)
    parts = FAMILIES[family].build().components
    kind = getattr(diffusers, name)
    accepted = inspect.signature(kind.__init__).parameters
    more = {"requires_safety_checker": False} if "requires_safety_checker" in accepted else {}
    more |= PARTS.get(name, dict)()
    given = {key: part for key, part in parts.items() if key in accepted}
    pipe = kind(**given | more)
    pipe.set_progress_bar_config(disable=True)
    takes = inspect.signature(kind.__call__).parameters
    options = {key: value for key, value in call.items() if key not in ("height", "width")}
    options |= {"max_sequence_length": 16} if "max_sequence_length" in takes else {}
    size = {key: call[key] for key in ("height", "width") if key in call}
    lens = DiffusionLens(pipe, defaults=Sampler(steps=4, options=options, **size))

    def plain(seed):
        generator = torch.Generator("cpu").manual_seed(seed)
        output = pipe(
            prompt=prompt,
            num_inference_steps=4,
            generator=generator,
            output_type="np",
            **size,
            **options,
        )
        return (images_of(output)[0] * 255).round().astype("uint8")

    lens.denoiser.batch_size = 1
    alone = lens(prompt, "native", 7, progress=False).image("native", seed=7)
    assert np.array_equal(np.asarray(alone), plain(7))
    lens.denoiser.batch_size = 4
    together = lens(prompt, [1, "native"], [7, 8], progress=False)
    assert together.table["missing"].isna().all()
    # another batch shape, so not bit for bit; but the noise of the picture's encoding is the seed's own
    beside = np.asarray(together.image("native", seed=8)).astype(int)
    assert np.abs(beside - plain(8)).max() <= 2
    other = together.image(1, seed=7)
    assert not np.array_equal(np.asarray(other), np.asarray(together.image("native", seed=7)))
