"""Hooks read what passes by, stop early, and leave nothing behind."""

import pytest
import torch
from torch import nn

from diffusion_lens.models.hooks import capture, find_module, replace_forward


class Toy(nn.Module):
    """Three blocks that each add one."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AddOne() for _ in range(3))
        self.ran = 0

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        state = input_ids.float()
        for block in self.blocks:
            state = block(state)
            self.ran += 1
        return state


class AddOne(nn.Module):
    def forward(self, state: torch.Tensor) -> torch.Tensor:
        return state + 1


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


IDS = torch.tensor([[5, 7]])


def test_capture_sees_the_input_of_the_first_block_and_each_output():
    toy = Toy()
    with capture(toy, list(toy.blocks), [0, 1, 3]) as seen:
        output = toy(IDS, attention_mask=IDS > 5)
    assert {layer: state[0, 0].item() for layer, state in seen.states.items()} == {0: 5, 1: 6, 3: 8}
    assert seen.calls == 1
    assert torch.equal(seen.input_ids, IDS)
    assert seen.attention_mask.tolist() == [[False, True]]
    assert torch.equal(seen.output, output)
    assert hooks(toy) == 0


def test_stop_runs_no_block_above_and_still_returns_to_the_caller():
    toy = Toy()
    with capture(toy, list(toy.blocks), [0, 2], stop=True) as seen:
        returned = toy(IDS)
    assert toy.ran == 1  # the second block's hook ended the pass before it was counted
    assert returned.last_hidden_state[0, 0] == 7
    assert sorted(seen.states) == [0, 2]
    assert "forward" not in toy.__dict__


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_hooks_come_off_after_an_exception_and_the_users_own_stay(error):
    toy = Toy()
    mine = toy.blocks[1].register_forward_hook(lambda *_: None)

    def interrupt(*_):
        raise error

    broken = toy.blocks[2].register_forward_hook(interrupt)
    with pytest.raises(error):
        with capture(toy, list(toy.blocks), [1], stop=False):
            toy(IDS)
    assert hooks(toy) == 2
    broken.remove()
    mine.remove()
    assert hooks(toy) == 0


def test_replace_forward_stands_in_and_puts_back_what_was_there():
    toy = Toy()
    plain = toy(IDS)
    with replace_forward(toy, lambda *_args, **_kwargs: "answer"):
        assert toy(IDS) == "answer"
    assert torch.equal(toy(IDS), plain)

    toy.forward = lambda *_: "offloaded"  # as accelerate's hooks leave it
    with pytest.raises(ZeroDivisionError), replace_forward(toy, lambda *_: 1 / 0):
        toy(IDS)
    assert toy(IDS) == "offloaded"


def test_find_module_by_key_path():
    toy = Toy()
    assert find_module(toy, "blocks.1") is toy.blocks[1]
    assert find_module(toy, "blocks.9") is None
    assert find_module(toy, "nowhere.at.all") is None
