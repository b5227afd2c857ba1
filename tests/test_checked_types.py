"""While the tests run, what a function takes and returns is checked against its annotations."""

from dataclasses import dataclass

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from diffusion_lens.text.slots import check_slots
from tests.checked_types import checked


@checked
def sum_of_rows(one: Float[Tensor, "rows width"], other: Float[Tensor, "rows width"]) -> Tensor:
    return one + other


@checked
def count(words: list[str]) -> int:
    return len(words) if words else None


@checked
def repeat(words: "Mapping[str, Unknown]", times: int) -> int:  # noqa: F821
    return times


@checked
@dataclass(frozen=True)
class Named:
    name: str

    @property
    @checked
    def length(self) -> str:
        return len(self.name)


@pytest.mark.parametrize(
    "call",
    [
        lambda: check_slots("all", "one"),  # of the package itself
        lambda: count([1]),
        lambda: count([]),
        lambda: repeat({}, "twice"),
        lambda: Named(3),
        lambda: Named("fox").length,
        lambda: sum_of_rows(torch.zeros(2, 3), torch.zeros(2, 4)),
        lambda: sum_of_rows(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64)),
    ],
)
def test_values_of_other_types_and_arrays_of_other_axes_are_refused(call):
    with pytest.raises(TypeError, match=r"Type-check error|violates type hint"):
        call()


def test_values_of_their_types_pass():
    assert count(["fox"]) == 1 and Named("fox").name == "fox"
    assert repeat(None, 2) == 2  # the type of its words is known to mypy alone
    assert sum_of_rows(torch.ones(2, 3), torch.ones(2, 3)).sum() == 12
