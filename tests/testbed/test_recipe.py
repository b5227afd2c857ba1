"""The recipe at tiny size: its parts in order, its budget, and what it refuses."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextModelWithProjection

from diffusion_lens.errors import InputError
from diffusion_lens.models.embedded import weights_of
from diffusion_lens.models.int8 import load_denoiser
from diffusion_lens.testbed.diffusion import DiffusionSettings
from diffusion_lens.testbed.recipe import RECIPES, Recipe, _prepare, plan, run_recipe
from diffusion_lens.testbed.trainer import FREE_SETTINGS, read_progress


@pytest.fixture(scope="module")
def emoji(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the recipe `emoji` ran whole, a few steps of each part."""
    folder = tmp_path_factory.mktemp("emoji")
    run_recipe("emoji", folder, 1.0, quick=True, device="cpu")
    return folder


def test_both_parts_run_and_the_rate_ends_at_zero(emoji: Path) -> None:
    recipe = Recipe.load(emoji)
    assert list(recipe.done) == ["emoji/contrast", "emoji/plain"]
    progress = read_progress(emoji / "emoji" / "diffusion.safetensors")
    assert progress.step >= 6 and progress.decay_from is not None
    assert sum(recipe.done.values()) == pytest.approx(progress.seconds)
    model = UNet2DConditionModel.from_pretrained(emoji / "emoji" / "unet")
    assert model.config.attention_head_dim == 4 and model.config.cross_attention_dim == 384
    config = json.loads((emoji / "emoji" / "unet" / "config.json").read_text())
    assert "_name_or_path" not in config


def test_a_finished_recipe_has_nothing_left(emoji: Path) -> None:
    before = (emoji / "emoji" / "diffusion.safetensors").read_bytes()
    assert run_recipe("emoji", emoji, 1.0, True, quick=True, device="cpu") == Recipe.load(emoji)
    assert (emoji / "emoji" / "diffusion.safetensors").read_bytes() == before


def test_a_recipe_that_was_stopped_goes_on_with_the_part_it_was_in(tmp_path: Path, emoji: Path) -> None:
    (tmp_path / "emoji").mkdir()
    (tmp_path / "vae").symlink_to(emoji / "vae")
    # what a stop in the second part leaves behind
    first = emoji / "emoji" / "diffusion.before-decay.safetensors"
    (tmp_path / "emoji" / "diffusion.safetensors").write_bytes(first.read_bytes())
    whole = json.loads((emoji / "recipe.json").read_text())
    whole["done"].pop("emoji/plain")
    (tmp_path / "recipe.json").write_text(json.dumps(whole))
    [(part, minutes)] = plan(Recipe.load(tmp_path), tmp_path)
    assert part.name == "emoji/plain" and minutes <= 0.85
    recipe = run_recipe("emoji", tmp_path, 1.0, True, quick=True, device="cpu")
    assert "emoji/plain" in recipe.done
    assert read_progress(tmp_path / "emoji" / "diffusion.safetensors").step > read_progress(first).step


def test_the_text_tower_is_trained_with_its_denoiser_and_keeps_its_projection(tmp_path: Path) -> None:
    run_recipe("emoji-clip", tmp_path, 1.0, quick=True, device="cpu")
    found = load_file(tmp_path / "emoji-clip" / "text_encoder" / "model.safetensors")
    with weights_of("emoji-clip") as shipped:
        before = load_file(shipped / "text_encoder" / "model.safetensors")
    changed = {name for name, value in before.items() if not torch.equal(value, found[name])}
    assert before.keys() == found.keys() and "text_projection.weight" not in changed
    assert any("layers.0." in name for name in changed)
    tower = CLIPTextModelWithProjection.from_pretrained(tmp_path / "emoji-clip" / "text_encoder")
    assert tower.config.projection_dim == 128


def test_budget_is_split_by_need_over_parts_in_order(tmp_path: Path) -> None:
    left = plan(Recipe("all", 70.0), tmp_path)
    minutes = {part.name: minutes for part, minutes in left}
    assert list(minutes) == [
        "emoji/contrast",
        "emoji/plain",
        "emoji-clip/distil",
        "emoji-clip/contrast",
        "emoji-clip/plain",
        "emoji-llm/contrast",
        "emoji-llm/plain",
    ]
    assert sum(minutes.values()) == pytest.approx(70)
    assert minutes["emoji/plain"] == pytest.approx(13) and minutes["emoji-clip/distil"] == pytest.approx(10)
    assert [part.settings.contrast for part in RECIPES["emoji"]] == [2.0, 0.0]


def test_going_on_starts_from_a_model_s_own_weights_without_graft_and_distil(tmp_path: Path) -> None:
    recipe = Recipe("all", 60.0, go_on=True)
    parts = {part.name: part for part, _ in plan(recipe, tmp_path)}
    assert not any("distil" in name for name in parts) and len(parts) == 6
    start = _prepare(parts["emoji-llm/contrast"], tmp_path, recipe, "cpu")
    assert start is not None
    found = load_file(start / "diffusion_pytorch_model.safetensors")
    with weights_of("emoji-llm") as shipped:
        expected = load_denoiser(shipped / "unet").float().state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    with pytest.raises(InputError, match="--quick trains denoisers of another size"):
        run_recipe("emoji", tmp_path, 1.0, quick=True, go_on=True)


def test_the_control_is_no_embedded_model(tmp_path: Path) -> None:
    recipe = Recipe("control", 20.0, quick=True)
    parts = [part for part, _ in plan(recipe, tmp_path)]
    assert {part.settings.encoder for part in parts} == {"random"}
    assert not {part.model for part in RECIPES["all"]} & {part.model for part in parts}
    assert _prepare(parts[0], tmp_path, recipe, "cpu") is None
    assert (tmp_path / "control/vae/config.json").exists(), "its folder is a whole pipeline"
    with pytest.raises(InputError, match="has no weights of the control"):
        run_recipe("control", tmp_path, 1.0, go_on=True)


def test_what_a_recipe_refuses(tmp_path: Path, emoji: Path) -> None:
    with pytest.raises(InputError, match="no recipe 'emojis'; there are emoji, emoji-clip, emoji-llm, all"):
        run_recipe("emojis", tmp_path, 1.0)
    with pytest.raises(InputError, match=r"nothing to resume: no .*recipe\.json"):
        run_recipe("emoji", tmp_path, 1.0, True)
    with pytest.raises(InputError, match="exists: give --resume"):
        run_recipe("emoji", emoji, 1.0)
    with pytest.raises(InputError, match="holds the recipe emoji --quick: resume that"):
        run_recipe("emoji-clip", emoji, 1.0, True, quick=True)
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(InputError, match=r"recipe\.json is damaged"):
        run_recipe("emoji", tmp_path, 1.0, True)


def test_a_checkpoint_cut_short_is_told_and_left(tmp_path: Path, emoji: Path) -> None:
    (tmp_path / "emoji").mkdir()
    checkpoint = tmp_path / "emoji" / "diffusion.safetensors"
    half = (emoji / "emoji" / "diffusion.safetensors").read_bytes()[:-1000]
    checkpoint.write_bytes(half)
    Recipe("emoji", 1.0, quick=True).save(tmp_path)
    with pytest.raises(InputError, match="is damaged or no checkpoint of this package"):
        run_recipe("emoji", tmp_path, 1.0, True, quick=True, device="cpu")
    assert checkpoint.read_bytes() == half


def test_two_recipes_in_one_folder_are_refused(tmp_path: Path, emoji: Path) -> None:
    code = (
        "import sys; from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(emoji / "recipe.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        with pytest.raises(InputError, match="another process trains recipe"):
            run_recipe("emoji", emoji, 1.0, True, quick=True)
        other.communicate()


def test_a_stage_resumes_what_a_recipe_began(tmp_path: Path) -> None:
    for parts in RECIPES.values():
        for part in parts:
            if part.stage == "diffusion":
                same = DiffusionSettings.of(part.settings.encoder)
                free = {name: getattr(same, name) for name in FREE_SETTINGS}
                assert replace(part.settings, **free) == same
