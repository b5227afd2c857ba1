"""The labelling sheet: what it hides, what comes back, and how it works in a real browser."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diffusion_lens.checks.checks import Check
from diffusion_lens.errors import CheckError, OutputError, ScoresError
from diffusion_lens.scoring.sheet import SheetQuestion, read_answers, write_sheet

NASTY = '</script><img src=x onerror="document.title=1">@@DATA@@ &amp; "fox"'


def questions(count: int = 6) -> list[SheetQuestion]:
    """Images whose red says which they are."""
    made = []
    for number in range(count):
        noted = Image.new("RGB", (8, 8), (number * 10, 0, 0))
        noted.info["layer"] = f"secret-layer-{number}"
        made.append(
            SheetQuestion(
                image=noted,
                check=Check("object-0", "object", f"Is there a {NASTY if number == 0 else 'fox'}?"),
                prompt_id=f"secret-prompt-{number}",
                prompt=NASTY,
                layer=number,
                depth=number / 5,
                seed=77,
                encoder="secret-encoder",
                run="secret-run",
                category="secret-category",
            )
        )
    return made


def data_of(page: Path) -> dict:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text(), re.S)
    return json.loads(found[1])


def reds(data: dict) -> list[int]:
    """Which image each item shows, read off its pixels."""
    shown = []
    for item in data["items"]:
        image = Image.open(io.BytesIO(base64.b64decode(data["images"][item["image"]])))
        shown.append(image.getpixel((0, 0))[0] // 10)
    return shown


def test_the_page_hides_where_images_are_from(tmp_path):
    page = tmp_path / "sheet.html"
    key = write_sheet(page, questions(), seed=3, title="Foxes <1>")
    text = page.read_text()
    assert "secret" not in text and "layer" not in json.dumps(data_of(page)) and NASTY not in text
    assert "<title>Foxes &lt;1&gt;</title>" in text
    meant = pd.read_csv(key).set_index("id")
    data = data_of(page)
    assert list(data["images"]) == [item["image"] for item in data["items"]]
    # the order is a shuffle, ids say nothing, and the key knows the truth
    assert reds(data) != list(range(6)) and sorted(reds(data)) == list(range(6))
    assert meant.loc[[item["id"] for item in data["items"]], "layer"].tolist() == reds(data)
    assert len({len(item["id"]) for item in data["items"]}) == 1


def test_notes_in_image_files_do_not_reach_the_page(tmp_path):
    info = PngInfo()
    info.add_text("layer", "secret-layer")
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    first = questions(1)[0]
    write_sheet(tmp_path / "s.html", [SheetQuestion(**{**vars(first), "image": Image.open(file)})])
    for picture in data_of(tmp_path / "s.html")["images"].values():
        assert b"secret" not in base64.b64decode(picture)


def test_prompts_are_shown_only_if_asked_for(tmp_path):
    write_sheet(tmp_path / "without.html", questions())
    assert all("prompt" not in item for item in data_of(tmp_path / "without.html")["items"])
    write_sheet(tmp_path / "with.html", questions(), show_prompt=True)
    assert {item["prompt"] for item in data_of(tmp_path / "with.html")["items"]} == {NASTY}


def answer(page: Path, said: list[str]) -> Path:
    data = data_of(page)
    rows = [
        {"sheet": data["sheet"], "id": item["id"], "answer": word, "note": "odd" if word == "no" else ""}
        for item, word in zip(data["items"], said, strict=True)
    ]
    path = page.with_name("answers.csv")
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_answers_become_scores(tmp_path):
    page = tmp_path / "sheet.html"
    key = write_sheet(page, questions(), seed=1)
    table = read_answers(answer(page, ["yes", "no", "unsure", "", "yes", "no"]), key, scorer="human:ann")
    by_layer = table.set_index("layer")
    order = reds(data_of(page))
    assert by_layer.loc[order, "label"].tolist() == [True, False, pd.NA, pd.NA, True, False]
    assert by_layer.loc[order, "reason"].fillna("").tolist() == [
        "",
        "odd",
        "unsure",
        "not answered",
        "",
        "odd",
    ]
    assert set(table["scorer"]) == {"human:ann"} and set(table["seed"]) == {77}
    assert set(table["prompt"]) == {NASTY} and set(table["run"]) == {"secret-run"}


def test_answers_that_do_not_fit_are_refused(tmp_path):
    page, other = tmp_path / "a.html", tmp_path / "b.html"
    key, other_key = write_sheet(page, questions()), write_sheet(other, questions())
    good = answer(page, ["yes"] * 6)
    with pytest.raises(ScoresError, match="answers to another sheet"):
        read_answers(good, other_key)
    table = pd.read_csv(good)
    for change, message in [
        (table.assign(answer="maybe"), r"answers \['maybe'\]"),
        (table.assign(id="zzz"), r"unknown ids \['zzz'\]"),
        (pd.concat([table, table]), "an id twice"),
        (table.drop(columns="id"), r"lacks the columns \['id'\]"),
    ]:
        change.to_csv(tmp_path / "bad.csv", index=False)
        with pytest.raises(ScoresError, match=message):
            read_answers(tmp_path / "bad.csv", key)
    with pytest.raises(ScoresError, match="can't be read"):
        read_answers(tmp_path / "nowhere.csv", key)
    with pytest.raises(CheckError, match="no questions"):
        write_sheet(page, [])
    with pytest.raises(OutputError, match="exists"):
        write_sheet(page, questions())


def test_the_page_in_a_real_browser(tmp_path, browser):
    path = tmp_path / "sheet.html"
    key = write_sheet(path, questions(), seed=5, show_prompt=True)
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda line: troubles.append(line.text) if line.type == "error" else None)
    page.goto(path.as_uri())
    # prompts are text: nothing of them was run, and they read as they were written
    assert page.title() == "Labelling" and page.locator("#prompt").text_content() == NASTY
    assert page.locator("img").count() == 1
    assert page.evaluate("document.getElementById('picture').naturalWidth") == 8

    page.keyboard.press("1")
    page.keyboard.press("n")
    assert page.locator("#count").text_content() == "3 of 6, 2 answered"
    # letters in a note are no answers
    page.locator("#note").fill("")
    page.locator("#note").type("yes, nearly")
    page.keyboard.press("Enter")
    page.keyboard.press("u")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#note").input_value() == "yes, nearly"
    assert page.locator("#unsure").get_attribute("aria-pressed") == "true"

    # a closed page has lost nothing
    page.close()
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("#count").text_content() == "3 of 6, 3 answered"
    page.keyboard.press("o")
    page.locator("#yes").click()
    page.keyboard.press("2")
    page.keyboard.press("1")
    assert "All answered" in page.locator("#state").text_content()
    with page.expect_download() as saved:
        page.keyboard.press("s")
    saved.value.save_as(tmp_path / "answers.csv")
    assert not troubles

    table = read_answers(tmp_path / "answers.csv", key)
    order = reds(data_of(path))
    assert table.set_index("layer").loc[order, "label"].tolist() == [True, False, pd.NA, True, False, True]
    assert table.set_index("layer").loc[order[2], "reason"] == "yes, nearly"
    # another sheet in the same browser begins anew
    write_sheet(tmp_path / "second.html", questions())
    page.goto((tmp_path / "second.html").as_uri())
    assert page.locator("#count").text_content() == "1 of 6, 0 answered"
    context.close()


def test_one_image_with_many_questions_is_stored_once(tmp_path):
    image = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    asked = [
        SheetQuestion(image, Check(f"c{number}", "object", "?"), "p", "p", 0, 0.0, 0) for number in range(5)
    ]
    write_sheet(tmp_path / "s.html", asked)
    data = data_of(tmp_path / "s.html")
    assert len(data["images"]) == 1 and len(data["items"]) == 5
