"""Images of all modes come in as a viewer shows them, and nothing else is opened."""

import re

import numpy as np
import pytest
from PIL import Image

from diffusion_lens.errors import InputError
from diffusion_lens.learning.concepts import read_concept
from diffusion_lens.learning.image_files import as_rgb, read_image


def gradient(side=64):
    return np.linspace(0, 1, side * side).reshape(side, side)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("grey.png", Image.fromarray((gradient() * 255).astype(np.uint8))),
        ("grey16.png", Image.fromarray((gradient() * 65_535).astype(np.uint16))),
        ("grey16.tif", Image.fromarray((gradient() * 65_535).astype(np.uint16))),
        ("integers.tif", Image.fromarray((gradient() * 65_535).astype(np.int32))),
        ("floats.tif", Image.fromarray(gradient().astype(np.float32))),
        ("colours.tif", Image.fromarray((gradient() * 255).astype(np.float32))),
        ("palette.gif", Image.fromarray((gradient() * 255).astype(np.uint8)).convert("P")),
    ],
)
def test_images_of_all_modes_come_in_as_they_look(tmp_path, name, image):
    image.save(tmp_path / name)
    read = np.asarray(read_image(tmp_path / name)).astype(float)
    assert read.shape == (64, 64, 3)
    assert np.abs(read - 255 * gradient()[..., None]).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_pixels_show_the_ground(tmp_path, mode):
    cut = Image.new("RGBA", (8, 8), (0, 255, 0, 0))  # a green that no viewer shows
    cut.paste((20, 20, 20, 255), (2, 2, 6, 6))
    path = tmp_path / ("cut.png" if mode != "PA" else "cut.tif")
    (cut if mode in ("RGBA", "P") else cut.convert("LA")).save(path)
    if mode == "P":
        flat = Image.new("P", (8, 8), 0)
        flat.putpalette([0, 255, 0, 20, 20, 20])
        flat.paste(1, (2, 2, 6, 6))
        flat.save(path, transparency=0)
    for ground, colour in (("white", (255, 255, 255)), ("#102030", (16, 32, 48))):
        read = read_image(path, ground)
        assert read.mode == "RGB"
        assert read.getpixel((0, 0)) == colour and read.getpixel((3, 3)) == (20, 20, 20)
    half = as_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))
    assert half.getpixel((0, 0)) == (127, 127, 127)


def test_numbers_of_no_known_scale_and_other_formats_are_refused(tmp_path):
    Image.fromarray(np.array([[0, 10**9]], np.int32)).save(tmp_path / "large.tif")
    Image.fromarray(np.array([[-1.0, 1.0]], np.float32)).save(tmp_path / "signed.tif")
    (tmp_path / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nquit\n")
    expected = {"large.tif": "from 0 to 1e+09", "signed.tif": "from -1 to 1", "script.png": "script.png"}
    for name, message in expected.items():
        with pytest.raises(InputError, match=re.escape(message)):
            read_image(tmp_path / name)


def test_a_ground_that_is_no_colour_is_refused_before_an_image_needs_it(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"'nocolour' is no colour .* such as white"):
        read_concept(tmp_path, "<it>", ground="nocolour")


def test_no_program_is_started_for_an_image(tmp_path, monkeypatch):
    gs, called = tmp_path / "gs", tmp_path / "called"
    gs.write_text(f"#!/bin/sh\ntouch {called}\n")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "cat.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(InputError, match="can't be read as an image"):
        read_image(path)
    assert not called.exists()
