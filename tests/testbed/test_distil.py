"""The distil stage: a text tower that learns another encoder's states."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diffusion_lens.testbed.distil import DistilSettings, DistilStage
from diffusion_lens.testbed.encoders import untrained
from diffusion_lens.testbed.train import train

SETTINGS = DistilSettings(batch=32, chunk=128, passes=10, warmup=2, rate=5e-3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small tower that knows nothing, for which few captions do."""
    untrained(tmp_path, width=32, layers=2)
    return tmp_path


def test_the_tower_comes_to_hold_the_states_of_the_other_encoder(folder: Path) -> None:
    before = DistilStage(SETTINGS, folder, torch.device("cpu")).validate()
    assert 0.4 < before < 1.2  # of the variance is missed: the embeddings tell words apart, not their order
    train("distil", folder, 1.0, settings=SETTINGS, max_steps=40, device="cpu")
    assert DistilStage(SETTINGS, folder, torch.device("cpu"), folder).validate() < 0.9 * before


def test_the_end_of_a_text_is_held_to_what_it_was(folder: Path) -> None:
    stage = DistilStage(SETTINGS, folder, torch.device("cpu"))
    _, moved = stage.tower.held_states(["a red fox"])
    assert float(moved.detach()) == 0.0
    with torch.no_grad():
        stage.tower.model.final_layer_norm.bias.add_(1.0)
    _, moved = stage.tower.held_states(["a red fox"])
    assert float(moved.detach()) > 0.1


def test_a_training_is_held_to_the_tower_it_began_with(folder: Path, tmp_path: Path) -> None:
    where, first = tmp_path / "other", load_file(folder / "text_encoder" / "model.safetensors")
    train("distil", where, 1.0, start=folder, settings=SETTINGS, max_steps=2, device="cpu")

    def held() -> bool:
        before = DistilStage(SETTINGS, where, torch.device("cpu")).tower.before.state_dict()
        return all(torch.equal(value, before[name]) for name, value in first.items() if name in before)

    assert held()  # what a resumed training builds
    assert not (folder / "text_encoder.before-distil").exists()
    (where / "distil.safetensors").unlink()
    assert not held()  # one that begins anew, with the tower of the folder as it is now


def test_the_projection_is_exported_as_it_was(folder: Path) -> None:
    train("distil", folder, 1.0, settings=SETTINGS, max_steps=2, device="cpu")
    first = load_file(folder / "text_encoder" / "model.safetensors")["text_projection.weight"]
    train("distil", folder, 1.0, True, settings=SETTINGS, max_steps=2, device="cpu")
    again = load_file(folder / "text_encoder" / "model.safetensors")["text_projection.weight"]
    assert torch.equal(first, again)
