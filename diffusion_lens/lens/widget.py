"""`LensWidget`: a prompt field in a notebook, whose kernel draws the layers as they are asked for.

It needs a running kernel, and is blank in a saved notebook; a result shows itself there.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from diffusion_lens.errors import DiffusionLensError, InputError
from diffusion_lens.images.sampler import Sampler
from diffusion_lens.lens.call import Call
from diffusion_lens.lens.model import Model
from diffusion_lens.text.reading import Reading

try:
    import anywidget
    import traitlets
except ImportError as error:
    raise InputError(
        f"lens.explore() needs {error.name}: pip install 'diffusion-lens[notebook]'."
    ) from error

__all__ = ["LensWidget"]

_HERE = Path(__file__).parent


class LensWidget(anywidget.AnyWidget):
    """A live view of a lens: prompt, seeds and layers go in, images come out one layer after the other.

    Args:
        model: what draws, in this kernel.
        prompt: what stands in the field at first.
        layers: layers as one writes them, with spaces between them, such as "all" or "0 6 native".
        seeds: seeds with spaces between them.
    """

    _esm = _HERE / "widget.js"
    _css = _HERE / "widget.css"
    prompt = traitlets.Unicode("").tag(sync=True)
    layers = traitlets.Unicode("all").tag(sync=True)
    seeds = traitlets.Unicode("0").tag(sync=True)

    def __init__(self, model: Model, prompt: str = "", layers: str = "all", seeds: str = "0") -> None:
        super().__init__(prompt=prompt, layers=layers, seeds=seeds)
        self._model = model
        self.on_msg(self._answer)

    def _answer(self, _widget: object, asked: Mapping[str, Any], _buffers: Sequence[bytes]) -> None:
        """Draw what the page asks for; a message for each image, and one at the end."""
        try:
            self._draw(str(asked["prompt"]), str(asked["layers"]).split(), str(asked["seeds"]).split())
        except DiffusionLensError as error:
            self.send({"kind": "problem", "message": str(error)})
        finally:  # also where the model's own code fails: the page waits for it
            self.send({"kind": "done"})

    def _draw(self, prompt: str, layers: Sequence[str], seeds: Sequence[str]) -> None:
        if not prompt.strip():
            raise InputError("Write a prompt.")
        if not all(seed.isdecimal() for seed in seeds):
            raise InputError(f"Seeds are whole numbers with spaces between them, not {' '.join(seeds)!r}.")
        numbers = [int(seed) for seed in seeds]
        resolved = self._model.readings([int(one) if one.isdecimal() else one for one in layers])
        readings = [one.reading for one in resolved]
        names = [f"{one.layer}, native" if one.native else one.reading.site.id for one in resolved]
        self.send({"kind": "plan", "columns": names, "seeds": numbers})
        states = self._model.encode(prompt, readings)
        for column, reading in enumerate(readings):
            call = Call.resolve(
                self._model, prompt, [reading], numbers, Reading(), Sampler(), states=states
            )
            for row in call.rows():
                place = {"kind": "image", "column": column, "seed": int(row["seed"])}
                image = row.get("upscaled") or row["image"]
                if image is None:
                    self.send({**place, "missing": str(row["missing"])})
                else:
                    self.send(place, [_png(image)])


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
