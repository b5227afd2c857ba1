import re
from collections.abc import Callable
from html import unescape

import numpy as np
import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter
from PIL import Image
from playwright.sync_api import Browser, expect

from diffusion_lens.errors import InputError
from diffusion_lens.lens.fonts import find_font, wrap
from diffusion_lens.lens.result import Result
from diffusion_lens.lens.rows import grid_title, shared_reading
from diffusion_lens.lens.viewer import viewer_page

HTML = "<img src=x onerror=alert(1)>"
Make = Callable[..., Result]


def result(
    prompts: list[str], layers: int = 3, seeds: tuple[int, ...] = (0, 1), **columns: object
) -> Result:
    """A result whose image of prompt p, layer l, seed s has the one colour (40 p, 8 l, s)."""
    rows = [
        {
            "prompt": prompt,
            "encoder": "text_encoder",
            "site": str(layer),
            "layer": layer,
            "native": layer == layers - 1,
            "seed": seed,
            "missing": None,
            "image": Image.new("RGB", (16, 16), (40 * p, 8 * layer, seed)),
            **columns,
        }
        for p, prompt in enumerate(prompts)
        for layer in range(layers)
        for seed in seeds
    ]
    return Result(pd.DataFrame(rows), {})


def test_rows_by_seed_some_layers_and_the_difference(untyped: None) -> None:
    made = result(["a fox", "a car"])
    by_seed = made.grid(order="seed", layers=[0, "native"], cell=96)
    assert by_seed.height == made.grid(cell=96).height
    assert by_seed.width < made.grid(cell=96).width
    sheet = np.asarray(made.grid(layers=[1], difference=True, cell=16))
    colours = {tuple(colour) for colour in sheet.reshape(-1, 3)}
    assert {(0, 8, 0), (40, 8, 1), (40, 0, 0)} <= colours
    with pytest.raises(InputError, match="two rows of a seed"):
        result(["a fox"]).grid(difference=True)
    with pytest.raises(InputError, match="no layer 9"):
        made.grid(layers=[9])
    with pytest.raises(InputError, match="order is"):
        made.grid(order="layer")  # type: ignore[arg-type]


def test_twenty_five_layers_stay_legible() -> None:
    sheet = result(["a fox"], layers=25).grid()
    assert sheet.width < 1500
    colours = {tuple(colour) for colour in np.asarray(sheet).reshape(-1, 3)}
    assert {(0, 8 * layer, 1) for layer in range(25)} <= colours


def test_readings_of_one_layer_are_rows_of_their_own() -> None:
    tables = [result(["a fox"], readout=readout).table for readout in ("native", "final")]
    both = Result(pd.concat(tables, ignore_index=True), {})
    assert both.grid(cell=16).height > result(["a fox"]).grid(cell=16).height
    with pytest.raises(InputError, match="more than one image of layer 0"):
        Result(pd.concat([tables[0], tables[0]], ignore_index=True), {}).grid()


def test_results_are_compared_by_layer_and_seed() -> None:
    compared = result(["a fox", "a car"]).compare(result(["a car"]))
    assert set(compared.table["first"]) == {"a car, seed 0", "a car, seed 1"}
    assert np.allclose(compared.table["difference"], 40 / 3 / 255)  # prompt 1 against prompt 0
    other = result(["a dog"]).compare(result(["a fox"]))
    assert other.table["difference"].eq(0).all() and len(other.table) == 6
    assert other.grid(cell=16).height > 0 and "2 pairs of 3 layers" in repr(other)
    with pytest.raises(InputError, match="no seed in common"):
        result(["a fox"]).compare(result(["a fox"], seeds=(7,)))
    with pytest.raises(InputError, match="share no prompt"):
        result(["a fox", "a car"]).compare(result(["a dog", "a cat"]))


def test_what_tells_two_results_apart_stands_in_their_labels() -> None:
    plain = result(["a fox"], interventions="", readout="native")
    changed = result(["a fox"], interventions="keep(fox)", readout="native")
    table = plain.compare(changed).table
    assert set(table["first"]) == {"a fox, seed 0", "a fox, seed 1"}
    assert set(table["second"]) == {f"a fox, interventions keep(fox), seed {seed}" for seed in (0, 1)}


def test_how_all_images_were_changed_stands_above_them() -> None:
    changed = result(["a fox"], interventions="drop(fox)", readout="final", pooled="hold")
    assert shared_reading(changed.table) == "readout final, interventions drop(fox)"
    plain = result(["a fox"], interventions="", readout="native", pooled="hold", slots="all")
    assert shared_reading(plain.table) == ""
    assert grid_title(plain.table) == "a fox | layer of text_encoder"
    assert grid_title(changed.table).endswith("text_encoder | readout final, interventions drop(fox)")
    assert "a fox | readout final, interventions drop(fox)" in viewer_page(changed.table)
    both = Result(pd.concat([plain.table, changed.table], ignore_index=True), {})
    assert shared_reading(both.table) == ""  # then the labels of the rows say it
    assert plain.compare(changed).reading == ""
    assert changed.compare(changed).reading == "readout final, interventions drop(fox)"


def test_a_line_is_broken_within_a_word_that_has_no_space() -> None:
    assert wrap("a red fox", 5.0, len) == ["a red", "fox"]
    assert wrap("abcdefgh ij k", 3.0, len) == ["abc", "def", "gh", "ij", "k"]
    assert wrap("abc", 0.0, len) == ["a", "b", "c"] and wrap(" ", 3.0, len) == []
    for letter in ("a", "\u72ac"):
        short, long = (result([letter * count]).grid() for count in (1, 200))
        assert long.width == short.width and long.height > short.height


def test_labels_are_written_in_any_script() -> None:
    text = "\u043a\u043e\u0442"  # a cat, in Russian
    font = find_font(text, 15)
    drawn = {bytes(font.getmask(letter)) for letter in text}
    assert len(drawn) == 3  # three letters, and not three equal boxes
    assert result([text]).grid().width > 0


def test_letters_that_no_font_has_do_not_take_the_others_with_them() -> None:
    font = find_font("\U0001f436 a dog", 15)  # an emoji before Latin letters
    assert len({bytes(font.getmask(letter)) for letter in "adog"}) == 4


def test_a_result_shows_itself_as_an_image_and_as_a_frame(capsys: pytest.CaptureFixture[str]) -> None:
    made = result([HTML])
    frame = made._repr_html_()
    assert frame.count("<") == 2 and HTML not in frame
    page = unescape(re.search(r'srcdoc="([^"]*)"', frame)[1])  # type: ignore[index]
    assert HTML not in page and unescape(unescape(page)).count(HTML) > 0
    assert "http" not in page.replace("http-equiv", "")
    assert made._repr_png_().startswith(b"\x89PNG")
    assert DisplayFormatter().format(made) == ({}, {})  # it showed itself, in two outputs
    assert "Image" in capsys.readouterr().out


def test_the_viewer_works_without_a_kernel_and_offline(browser: Browser) -> None:
    context = browser.new_context(offline=True)
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: errors.append("a script of the prompt ran"))
    page.set_content(f"<h1>a notebook</h1>{result(['a fox', HTML])._repr_html_()}")
    frame = page.frame_locator("iframe")
    expect(frame.locator(".now")).to_have_text("layer 2, native")
    frame.locator("input").press("ArrowLeft")
    expect(frame.locator(".now")).to_have_text("layer 1")
    large = frame.locator(".large img").first.get_attribute("src")
    assert large == frame.locator(".small[data-at='1'] img").first.get_attribute("src")
    frame.locator(".large").first.click()
    expect(frame.locator("dialog[open] img")).to_have_attribute("src", large or "")
    frame.locator("dialog img").click()
    expect(frame.locator("dialog[open]")).to_have_count(0)
    expect(frame.locator(".label").nth(2)).to_contain_text(HTML)
    expect(frame.locator(".large span").nth(2)).to_have_text("seed 0")
    assert errors == []
    context.close()
