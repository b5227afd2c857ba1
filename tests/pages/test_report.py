import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from diffusion_lens.analysis.analyse import analyse
from diffusion_lens.cli.analyze import analyze
from diffusion_lens.errors import RunError
from diffusion_lens.pages.report import build_report, write_report
from diffusion_lens.pages.run_index import RunIndex, Strip
from diffusion_lens.pages.sections import left_out, rates, word
from diffusion_lens.pages.views import plain
from diffusion_lens.scoring import table as scores
from diffusion_lens.scoring.score_run import score_run
from diffusion_lens.scoring.scorers.oracle import OracleScorer
from tests.scoring.made_runs import make_run, scene


class Page(HTMLParser):
    """The tags, the text, the numbers by table, and the points of the curves of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.numbers: dict[str, list[tuple[float, str]]] = {}
        self.points: list[tuple[str, int, float]] = []
        self._table = self._line = ""
        self._value: float | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self._table = given.get("data-table") or self._table
        self._line = given.get("data-line") or self._line
        if "data-rate" in given:
            self.points.append(
                (self._line, int(given["data-layer"] or ""), float(given["data-rate"] or ""))
            )
        if tag == "data":
            self._value = float(given["value"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._value is not None:
            self.numbers.setdefault(self._table, []).append((self._value, data))
            self._value = None


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return build_report([run])


def test_the_page_is_whole_and_asks_for_nothing_outside_itself(page: str) -> None:
    assert "a red fox" in page and "Glossary" in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert "<script" not in page and "@import" not in page and "url(" not in page


def test_a_prompt_of_html_is_text(page: str) -> None:
    assert "<img src=x onerror=alert(1)><script>alert(2)</script>" in Page(page).text
    assert "script" not in Page(page).tags
    assert "b" not in Page(page).tags


def test_every_number_is_the_tables_own(run: Path, page: str) -> None:
    tables = analyse(scores.read(run)).tables
    read = Page(page)
    assert {"curves", "summary"} <= set(read.numbers)
    for name, found in read.numbers.items():
        known = set(tables["curves"].select_dtypes("number").to_numpy(float).ravel())
        known |= set(tables[name].select_dtypes("number").to_numpy(float).ravel())
        known |= set(
            tables[name].groupby(["scorer", "run"])[["missing"]].sum().to_numpy(float).ravel()
            if name == "missing"
            else []
        )
        for value, text in found:
            assert value in known or name == "missing", (name, value)
            shown = float(text.replace("<", ""))  # a sign of a bound stands before the number
            digits = len(text.partition(".")[2])
            assert abs(shown - value) <= 0.5 * 10**-digits + 1e-12


def test_the_points_of_the_curves_are_the_rates_of_the_table(run: Path, page: str) -> None:
    curves = analyse(scores.read(run)).tables["curves"]
    real = curves[(curves["scorer"] == "oracle") & (curves["kind"] == "attribute") & curves["rate"].notna()]
    drawn = {layer: rate for line, layer, rate in Page(page).points if line == "colour or size"}
    assert drawn == dict(zip(real["layer"], real["rate"], strict=True))


def test_curves_cut_by_a_column_have_numbers_of_their_own(run: Path) -> None:
    tables = analyse(scores.read(run), ("animacy", "kind")).tables
    curves = tables["curves"].set_index(["scorer", "animacy", "kind", "layer"])["rate"]
    found = rates(tables)
    assert found is not None and found.head[:5] == ("run", "animacy", "kind", "prompts", "first layer")
    for row in found.rows:
        kind = next(kind for kind in ("object", "attribute", "prompt") if word(kind) == row[2].text)
        ends = [curves["oracle", row[1].text, kind, layer] for layer in (0, 2)]
        assert [one.value for one in row[4:6]] == ends
    last = {(row[1].text, row[2].text): row[5].value for row in found.rows}
    assert last["alive", "whole prompt"] == 0.75 and last["thing", "whole prompt"] == 1


def test_failures_that_were_right_before_are_shown(page: str) -> None:
    lost = page[page.index('id="lost-1"') :]
    assert 'aria-label="a red fox, seed 1"' in lost
    assert 'aria-label="a blue car' not in lost


def test_a_contrast_that_nothing_answers_is_named(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "made")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["experiment"]["contrasts"] = ["season=winter,summer"]
    (other / "manifest.json").write_text(json.dumps(manifest))
    read = Page(build_report([other]))
    assert "season" in read.text[read.text.index("Missing and left out") :]
    assert "curves" in read.numbers  # the rest is shown
    given = {"contrast": ("kind=object,attribute",), "resamples": 100, "figures": False}
    analyze((other,), out=tmp_path / "found", **given)
    said = "planned season=winter,summer: left out, since --contrast names others"
    assert said in (tmp_path / "found/findings.md").read_text()
    page = (tmp_path / "found/report.html").read_text()
    assert said in page and "has no answer" not in page


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of a study of five animals and five things; three and two of them are at night."""
    colours = ("red", "blue", "green", "yellow", "purple")
    prompts = [
        (f"a {colour} {noun}" + " at night" * (number < night), {"what": what, "words": number})
        for what, noun, night in (("animal", "dog", 3), ("thing", "car", 2))
        for number, colour in enumerate(colours)
    ]
    folder = tmp_path_factory.mktemp("compared") / "study"
    make_run(
        folder,
        prompts,
        lambda cell, prompt: scene(prompt if cell.layer or "red" in prompt else "a pizza"),
        layers=(0, 1),
        seeds=(0,),
    )
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["experiment"]["contrasts"] = ["what=animal,thing", "words"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    score_run(folder, [OracleScorer()])
    return Page(build_report([folder]))


def test_what_rests_on_few_prompts_is_not_compared(compared: Page) -> None:
    start = compared.text.index("Decided on before any image was drawn.")
    planned = compared.text[start : compared.text.index("The rank correlation")]
    assert "whole prompt" in planned and "5 / 5" in planned.replace("*", "")
    assert "place" not in planned  # three prompts and two


def test_a_planned_trend_has_its_number_and_is_not_called_unanswered(compared: Page) -> None:
    assert compared.numbers["trends"]
    assert "has no answer" not in compared.text and "nothing to report" not in compared.text


def test_planned_contrasts_without_an_answer_are_said_once_and_those_with_one_are_not() -> None:
    answers = {"compared": ["kind"], "first_group": ["object"], "second_group": ["relation"]}
    tables = {"planned": pd.DataFrame({**answers, "difference": [0.1]})}
    # the first note is of curves by category, and not of a contrast; the second is of one
    notes = ["category: 40 values, too many for curves of each", "planned set=a,b: no prompt has 'a'"]
    said = left_out(tables, ["kind = object, relation", "category=x,y", "set=a,b", "length"], notes)
    assert said[:2] == notes and len(said) == 4
    assert "category=x,y has no answer" in said[2] and "length has no answer" in said[3]
    assert "no contrast" in left_out(tables, ["kind=object"], [])[0]


def test_a_layer_that_is_a_bound_says_so(run: Path, page: str) -> None:
    summary = analyse(scores.read(run)).tables["summary"]
    real = summary[(summary["scorer"] == "oracle") & summary["half_layer"].notna()]
    assert page.count("\u2264 <data") == int(real["half_is_bound"].sum())


def test_a_large_count_is_written_whole() -> None:
    assert [plain(one).text for one in (8.0, 1_234_567, 0.5)] == ["8", "1234567", "0.5"]


def test_500_images_stay_under_10_megabytes(tmp_path: Path) -> None:
    noise = Image.effect_noise((160, 160), 60).convert("RGB")
    make_run(tmp_path / "large", [f"prompt {i}" for i in range(84)], lambda cell, prompt: noise)
    written = write_report([tmp_path / "large"], tmp_path / "page.html")
    content = written.read_text()
    assert content.count("<img") >= 490
    assert written.stat().st_size < 10e6


def test_an_unfinished_run_says_so_and_shows_what_it_has(tmp_path: Path) -> None:
    grey = Image.new("RGB", (64, 64), "grey")
    make_run(tmp_path / "half", ["a", "b"], lambda cell, prompt: grey if cell.prompt == 0 else None)
    page = build_report([tmp_path / "half"])
    assert "Unfinished: 6 of 12 images are drawn." in page
    assert "there are no scores" in page
    assert page.count("<img") == 6


def test_a_damaged_part_is_named_and_the_rest_is_shown(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "made")
    first = sorted((other / "images").iterdir())[0]
    first.write_bytes(first.read_bytes()[:200])
    index = RunIndex.open(other)
    assert any(first.name in note and "damaged" in note for note in index.notes)
    assert 0 < len(index.table) < 24
    (other / "manifest.json").write_text("{")
    assert any("manifest.json is damaged" in note for note in RunIndex.open(other).notes)
    (other / "manifest.json").write_text("[]")
    assert any("manifest.json is no manifest" in note for note in RunIndex.open(other).notes)


def test_damaged_images_are_named_in_their_places(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "made")
    for part in sorted((other / "images").iterdir()):
        group = pq.ParquetFile(part).metadata.row_group(0)
        columns = [group.column(i) for i in range(group.num_columns)]
        (start,) = (one.data_page_offset for one in columns if one.path_in_schema == "image.bytes")
        content = bytearray(part.read_bytes())
        content[start : start + 12] = b"\xff" * 12
        part.write_bytes(content)
    page = build_report([other])
    assert "its 5 images must be drawn again" in page and "data:image" not in page


def test_a_foreign_folder_is_refused_by_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(RunError, match=r"It holds notes\.txt"):
        RunIndex.open(tmp_path)
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(RunError, match=r"a\.parquet has no column prompt, layer, seed, image"):
        RunIndex.open(tmp_path / "a.parquet")
    with pytest.raises(RunError, match="There is no"):
        RunIndex.open(tmp_path / "nothing")


def test_a_strip_without_interventions_says_so_beside_those_with_some() -> None:
    key = {"prompt": "a red fox", "seed": 1, "interventions": ""}
    assert Strip(key, {}).detail == "seed 1, no interventions"
    assert Strip({**key, "interventions": "drop(fox)"}, {}).detail == "seed 1, interventions drop(fox)"


def test_a_run_is_found_by_a_path_that_goes_up_and_in_a_hidden_folder(run, tmp_path, monkeypatch):
    hidden = shutil.copytree(run, tmp_path / ".cache/made")
    (hidden / "images/.unfinished-part.parquet").write_bytes(b"cut")  # of a sweep that is at work
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    page = build_report([hidden])
    assert "a red fox" in page and "unfinished-part" not in page
    assert "a red fox" in build_report(["../.cache/made"])
