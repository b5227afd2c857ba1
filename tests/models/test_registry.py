"""Families of other packages: by entry point, and by where they are."""

import sys

import pytest

from diffusion_lens import DiffusionLens, PipelineFamily
from diffusion_lens.errors import InputError
from diffusion_lens.models import encoders, pipelines
from diffusion_lens.models.encoders import ENCODERS, known_encoders, resolve_encoder
from diffusion_lens.models.pipelines import PIPELINES, find_family, known_families, resolve_family

MODULE = """
from diffusion_lens import EncoderFamily, PipelineFamily, Slot, Tap
FAMILY = PipelineFamily("Mine", (Slot("text_encoder", Tap(-1, normed=True)),), ("prompt_embeds", None))
BLOCKS = "encoder.layers", "text_model.encoder.layers"
ENCODER = EncoderFamily(BLOCKS, ("final_layer_norm", "text_model.final_layer_norm"))
NUMBER = 3
"""
METADATA = "Metadata-Version: 2.1\nName: mypackage\nVersion: 1\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of somebody else, installed with entry points for a family and an encoder."""
    (tmp_path / "mypackage_lens.py").write_text(MODULE)
    info = tmp_path / "mypackage-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for known in (known_families, known_encoders):
        known.cache_clear()
    yield info / "entry_points.txt"
    sys.modules.pop("mypackage_lens", None)
    for known in (known_families, known_encoders):
        known.cache_clear()


def test_an_installed_package_adds_a_family_and_an_encoder(package):
    package.write_text(
        "[diffusion_lens.families]\nMyPipeline = mypackage_lens:FAMILY\n"
        "[diffusion_lens.encoders]\nMyEncoder = mypackage_lens:ENCODER\n"
    )

    class MyPipeline:
        pass

    assert find_family(MyPipeline).title == "Mine"
    assert set(known_families()) == {*PIPELINES, "MyPipeline"}
    assert set(known_encoders()) == {*ENCODERS, "MyEncoder"}
    assert resolve_encoder("MyEncoder").blocks[0] == "encoder.layers"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("mypackage_lens:NUMBER", r"mypackage: mypackage_lens:NUMBER is a int; a PipelineFamily is needed"),
        ("mypackage_lens:NOTHING", r"mypackage registers MyPipeline = .*AttributeError"),
        ("nowhere_at_all:FAMILY", r"mypackage registers .*ModuleNotFoundError.*Mend or uninstall it"),
    ],
)
def test_a_package_that_registers_something_else_is_named(package, value, message):
    package.write_text(f"[diffusion_lens.families]\nMyPipeline = {value}\n")
    with pytest.raises(InputError, match=message):
        known_families()


def test_a_family_is_resolved_by_class_or_by_place(package):
    assert resolve_family("FluxPipeline") is PIPELINES["FluxPipeline"]
    assert isinstance(resolve_family("mypackage_lens:FAMILY"), PipelineFamily)
    with pytest.raises(InputError, match=r"'Flux' is no PipelineFamily\. Known: StableDiffusionPipeline"):
        resolve_family("Flux")
    with pytest.raises(InputError, match=r"'os:nothing' can't be imported \(AttributeError"):
        resolve_family("os:nothing")
    with pytest.raises(InputError, match="os:sep is a str; a PipelineFamily is needed"):
        resolve_family("os:sep")


def test_a_lens_takes_the_names(package, new_lens):
    pipe = new_lens("sd").pipeline
    named = DiffusionLens(
        pipe, family="StableDiffusionPipeline", encoders={"text_encoder": "mypackage_lens:ENCODER"}
    )
    assert named.conditioner.family is PIPELINES["StableDiffusionPipeline"]
    assert named.conditioner.encoders["text_encoder"].depth == 4


def test_nothing_is_registered_by_this_package_itself():
    assert set(pipelines.known_families()) == set(PIPELINES)
    assert set(encoders.known_encoders()) == set(ENCODERS)
