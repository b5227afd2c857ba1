"""`Conditioning`: the text arguments of an image, as a pipeline's `__call__` takes them."""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import torch

__all__ = ["Conditioning", "TextArgument"]

TextArgument: TypeAlias = torch.Tensor | list[torch.Tensor]
"""One argument: a tensor with the images along its batch dimension, or a list with a tensor an image."""


class Conditioning(Mapping[str, TextArgument]):
    """The text arguments of an image or of a batch of images, by the name that `__call__` gives them.

    It behaves as a read-only mapping; the tensors themselves are shared, not copied.

    Args:
        arguments: tensors, or lists of one tensor an image where prompts have lengths of their own.
            Those that are None are left out.
    """

    __slots__ = ("_arguments",)

    def __init__(self, arguments: Mapping[str, TextArgument | None] | None = None) -> None:
        given = arguments or {}
        self._arguments = {name: value for name, value in given.items() if value is not None}

    def __getitem__(self, name: str) -> TextArgument:
        return self._arguments[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arguments)

    def __len__(self) -> int:
        return len(self._arguments)

    def __repr__(self) -> str:
        shapes = (f"{name} {_shape(value)}" for name, value in self._arguments.items())
        return f"Conditioning({', '.join(shapes)})"

    def tensor(self, name: str) -> torch.Tensor:
        """One argument that is a tensor.

        Raises:
            TypeError: it is a list of tensors, one an image.
        """
        value = self[name]
        if isinstance(value, list):
            raise TypeError(f"{name} is a list of {len(value)} tensors, one an image, and no tensor.")
        return value

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "Conditioning":
        """The same arguments with a function applied to every tensor."""
        return Conditioning(
            {
                name: [function(item) for item in value] if isinstance(value, list) else function(value)
                for name, value in self.items()
            }
        )

    def to(self, device: torch.device | str) -> "Conditioning":
        """The same arguments with their tensors on a device."""
        return self.map(lambda tensor: tensor.to(device))

    def to_flat(self) -> dict[str, torch.Tensor]:
        """One tensor by key, as safetensors stores them; item 2 of a list `x` is stored as "x 2"."""
        flat: dict[str, torch.Tensor] = {}
        for name, value in self.items():
            if isinstance(value, list):
                flat |= {f"{name} {index}": item.contiguous() for index, item in enumerate(value)}
            else:
                flat[name] = value.contiguous()
        return flat

    @classmethod
    def from_flat(cls, flat: Mapping[str, torch.Tensor]) -> "Conditioning":
        """The conditioning that `to_flat` wrote."""
        arguments: dict[str, TextArgument | None] = {}
        lists: dict[str, dict[int, torch.Tensor]] = {}
        for key, tensor in flat.items():
            name, _, index = key.partition(" ")
            if index:
                lists.setdefault(name, {})[int(index)] = tensor
            else:
                arguments[name] = tensor
        for name, items in lists.items():
            arguments[name] = [items[index] for index in sorted(items)]
        return cls(arguments)


def _shape(value: TextArgument) -> str:
    """Sizes in brackets, those of each image for a list."""
    if isinstance(value, list):
        return f"[{', '.join(_shape(item) for item in value)}]"
    return f"[{' x '.join(map(str, value.shape))}]"
