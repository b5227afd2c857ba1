"""Files that can't be read: the reason is in words, and of the file that was named."""

from importlib import import_module

import pytest
from PIL import Image

from tests.command_line import run

cli = import_module("diffusion_lens.cli.latent")  # the package has a function of that name


@pytest.mark.parametrize(
    "words",
    [
        ("words", "a red fox", "--candidates"),
        ("tune", "maps.safetensors", "--captions"),
        ("patch", "--pairs"),
        ("latent", "caption", "fox.png", "--candidates"),
    ],
    ids=lambda words: words[0],
)
def test_a_file_that_can_not_be_read_is_no_errno(tmp_path, words):
    Image.new("RGB", (64, 64)).save(tmp_path / "fox.png")
    (tmp_path / "latin.txt").write_bytes(b"\xef\xbb\xbfa fox\nein Fuchs im Gr\xfcnen")
    for name, reason in (
        ("none.txt", "there is no such file"),
        ("latin.txt", "it is no UTF-8 text, in line 2; save it as UTF-8"),
    ):
        refused = run(*words, name, cwd=tmp_path)
        said = " ".join(refused.stderr.split())
        assert refused.returncode == 2 and name in said and f"({reason})" in said, said


def test_a_caption_that_stands_twice_in_a_file_is_one_candidate(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text("a red fox\n\na blue car\na red fox \n", encoding="utf-8-sig")
    assert cli._lines(path) == ["a red fox", "a blue car"]
