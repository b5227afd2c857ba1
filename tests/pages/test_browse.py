"""The pages of a run in a browser."""

import shutil
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from diffusion_lens.analysis.curves import curves
from diffusion_lens.errors import InputError, RunError
from diffusion_lens.lens.thumbnails import thumbnail
from diffusion_lens.pages.app import create_app
from diffusion_lens.pages.recipe import command_of, python_of
from diffusion_lens.pages.run_filter import Filter, select
from diffusion_lens.pages.run_index import RunIndex
from diffusion_lens.pages.run_parts import whole_layers
from diffusion_lens.pages.serve import can_open_pages, listen
from diffusion_lens.pages.verdicts import Verdicts
from diffusion_lens.scoring import table as scores
from diffusion_lens.scoring.score_run import score_run
from diffusion_lens.scoring.scorers.oracle import OracleScorer
from tests.command_line import run as command
from tests.pages.conftest import PROMPTS, Running, running
from tests.scoring.made_runs import make_run, scene

WHOLE = ("oracle", "prompt")


def found(run: Path, **asked: object) -> list[tuple[str, int]]:
    """Prompt and seed of the strips that a filter lets through."""
    index = RunIndex.open(run)
    given = {"question": WHOLE, **asked}
    kept = select(index, index.strips(), Verdicts(index), Filter(**given))  # type: ignore[arg-type]
    return [(strip.key["prompt"], strip.key["seed"]) for strip in kept.strips]


def test_right_at_a_layer_and_wrong_at_the_end(run: Path) -> None:
    assert found(run, at="1", answer="right", end="wrong") == [("a red fox", 1)]
    assert ("a red fox", 1) not in found(run, end="right")
    assert len(found(run, at="0", answer="wrong")) == 6


def test_filters_by_prompt_column_and_score(run: Path) -> None:
    assert found(run, text="FOX") == [("a red fox", 0), ("a red fox", 1)]
    assert found(run, columns={"animacy": "thing"}) == [("a blue car", 0), ("a blue car", 1)]
    assert found(run, low=0.5, text="fox") == [("a red fox", 0)]
    assert len(found(run)) == 8


def test_a_filter_survives_its_own_address(run: Path) -> None:
    index = RunIndex.open(run)
    questions = Verdicts(index).questions
    asked = Filter("a & b", {"animacy": "<b>bold</b>"}, WHOLE, "1", "right", "wrong", 0.25, None, 2)
    assert Filter.read(httpx.QueryParams(asked.address()).multi_items(), index, questions) == asked
    exact = Filter("", {}, ("judge", "a|b"), low=0.123456789)
    query = httpx.QueryParams(exact.address()).multi_items()
    assert Filter.read(query, index, [("judge|a", "b"), ("judge", "a|b")]) == exact
    for name, value in [
        ("at", "9"),
        ("answer", "perhaps"),
        ("col.season", "x"),
        ("question", "a|b"),
        ("low", "x"),
        ("high", "nan"),
        ("page", "inf"),
    ]:
        with pytest.raises(InputError):
            Filter.read([(name, value)], index, questions)


def test_the_page_filters_and_opens_images(page: Page, explorer: Running) -> None:
    page.goto(f"{explorer.address}/run/made")
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("#count")).to_have_text("8 of 8 rows")
    page.select_option("[name=end]", "wrong")
    page.wait_for_url("**end=wrong*")
    page.select_option("[name=answer]", "right")
    page.wait_for_url("**answer=right*")
    page.select_option("[name=at]", "1")
    page.wait_for_url("**at=1*")
    expect(page.locator("#count")).to_have_text("1 of 8 rows")
    expect(page.locator(".strip")).to_have_attribute("aria-label", "a red fox, seed 1")
    page.click(".strip figure >> nth=1")
    page.wait_for_selector("dialog[open] .big img")
    expect(page.locator("dialog")).to_contain_text("diffusion-lens show 'a red fox'")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#detail-title")).to_contain_text("layer 2, seed 1")
    page.keyboard.press("Escape")
    page.locator(".layerbar label", has_text="1").click()
    expect(page.locator(".strip figure:visible")).to_have_count(1)


def test_prompts_and_columns_of_html_are_text(page: Page, explorer: Running) -> None:
    page.goto(f"{explorer.address}/run/made?q=%3Cscript")
    expect(page.locator(".strip .label").first).to_contain_text(PROMPTS[3][0])
    expect(page.locator("option", has_text="<b>bold</b>")).to_have_count(1)
    page.goto(explorer.address + (page.locator(".strip a").first.get_attribute("href") or ""))
    expect(page.locator("h1")).to_have_text(PROMPTS[3][0])
    assert page.locator("main b, main script, img[onerror]").count() == 0


def test_a_run_is_looked_through_without_scripts(browser: Browser, explorer: Running) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{explorer.address}/run/made")
    page.fill("[name=q]", "car")
    page.click("text=Show")
    expect(page.locator(".strip")).to_have_count(2)
    page.click(".strip a >> nth=2")
    expect(page.locator("h1")).to_have_text("a blue car")
    page.goto(explorer.address)
    assert "this browser runs none" in page.content()
    context.close()


def test_the_curves_of_a_selection_are_the_tables(page: Page, explorer: Running, run: Path) -> None:
    page.goto(f"{explorer.address}/run/made/curves?col.animacy=alive")
    shown = page.locator("[data-line='colour or size'] [data-rate]").evaluate_all(
        "points => points.map(point => [Number(point.dataset.layer), Number(point.dataset.rate)])"
    )
    table = scores.read(run)
    prompts = [prompt for prompt, column in PROMPTS if column["animacy"] == "alive"]
    table = table[
        table["prompt"].isin(prompts) & (table["scorer"] == "oracle") & (table["kind"] == "attribute")
    ]
    made = curves(table, ("run", "scorer", "encoder", "kind"))
    made = made[made["rate"].notna()]
    assert shown == [
        [layer, pytest.approx(rate)] for layer, rate in zip(made["layer"], made["rate"], strict=True)
    ]


def test_the_whole_prompt_and_its_place_are_two_curves(page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "night"
    make_run(folder, [("a red fox at night", {})], lambda cell, _: scene("a pizza at night"))
    score_run(folder, [OracleScorer()])
    with running(create_app(None, [RunIndex.open(folder)])) as server:
        page.goto(f"{server.address}/run/night/curves")
        for name, rate in (("place", 1), ("whole prompt", 0)):
            shown = page.locator(f"[data-line='{name}'] [data-rate]")
            assert set(shown.evaluate_all("all => all.map(one => Number(one.dataset.rate))")) == {rate}


def test_a_page_that_is_not_there_says_so(explorer: Running) -> None:
    for path in ("/nothing", "/static/../app.py", "/static/live.html"):
        answer = httpx.get(explorer.address + path)
        assert answer.status_code == 404 and "There is nothing at" in answer.text
    answer = httpx.get(f"{explorer.address}/run/made?at=99")
    assert answer.status_code == 400 and "There is no layer" in answer.text
    assert httpx.get(f"{explorer.address}/run/made/cell/nothing").status_code == 400
    assert httpx.get(f"{explorer.address}/run/made/image/nothing.webp").status_code == 404


def test_ten_thousand_images_and_a_damaged_part(tmp_path: Path) -> None:
    folder = tmp_path / "large" / "images"
    folder.mkdir(parents=True)
    image = {"bytes": thumbnail(Image.effect_noise((64, 64), 60).convert("RGB")), "path": None}
    for part in range(10):
        layers = np.tile(np.arange(7), 150)[:1001]
        prompts = [f"prompt {part} {i // 7}" for i in range(1001)]
        rows = {
            "cell": [f"{part}-{i}" for i in range(1001)],
            "prompt": prompts,
            "layer": layers,
            "seed": [0] * 1001,
        }
        table = pa.table({**rows, "animal": ["fox" if i % 2 else "dog" for i in range(1001)]})
        pq.write_table(
            table.append_column("image", pa.array([image] * 1001)), folder / f"part-{part}.parquet"
        )
    (folder / "part-9.parquet").write_bytes(b"PAR1")
    with running(create_app(None, [RunIndex.open(tmp_path / "large")])) as server:
        page = httpx.get(server.address, follow_redirects=True, timeout=60).text
        assert "9,009 images" in page and "part-9.parquet is damaged" in page
        assert page.count('class="strip"') == 30 and "Page 1 of 43" in page
        last = httpx.get(f"{server.address}/run/large?page=43", timeout=60).text
        assert "prompt 8 142" in last and 'rel="next"' not in last
        assert httpx.get(f"{server.address}/run/large/image/3-17.webp", timeout=60).content.startswith(
            b"RIFF"
        )


def test_without_a_display_no_browser_of_the_terminal_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    assert not can_open_pages()
    monkeypatch.setenv("BROWSER", "open-at-home")  # an editor that works from afar opens pages at home
    assert can_open_pages()


def test_flipped_bytes_are_seen_and_what_to_draw_again_is_said(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "made")
    part = sorted((other / "images").iterdir())[0]
    cells = pq.read_table(part, columns=["cell"]).column("cell").to_pylist()
    content = bytearray(part.read_bytes())
    content[content.index(b"IDAT") + 20] ^= 1
    part.write_bytes(content)
    index = RunIndex.open(other)
    assert {cell for cell in index.table["cell"] if index.damage(cell)} == set(cells)
    with running(create_app(None, [index])) as server:
        page = httpx.get(f"{server.address}/run/made", timeout=60).text
        assert f"{part.name} is not what was written" in page
        assert f"its {len(cells)} images must be drawn again. Move it out of the folder" in page
        assert page.count("damaged; see the top of the page</span>") == len(cells)
        assert page.count("<img") == len(index.table) - len(cells)
        one = httpx.get(f"{server.address}/run/made/cell/{cells[0]}.json", timeout=60).json()
        assert f"{part.name} is not what was written" in one["missing"]
        assert f"{part.name} is not" in httpx.get(f"{server.address}/run/made/cell/{cells[0]}").text
        assert httpx.get(f"{server.address}/run/made/image/{cells[0]}.webp").status_code == 400
        part.unlink()  # as it is told to: the page goes on
        assert httpx.get(f"{server.address}/run/made", timeout=60).status_code == 200


def test_a_port_in_use_is_said_with_what_to_do(explorer: Running) -> None:
    port = int(explorer.address.rpartition(":")[2])
    with pytest.raises(InputError, match=f"Port {port} of 127.0.0.1 is in use"):
        listen("127.0.0.1", port)
    with pytest.raises(InputError, match="can't listen"):
        listen("192.0.2.1", 0)
    with pytest.raises(InputError, match="99999 is no port: those are 1 to 65535"):
        listen("127.0.0.1", 99999)


def test_the_recipe_of_an_image_quotes_what_a_shell_would_read() -> None:
    row = {
        "prompt": "it's; rm -rf $HOME",
        "model": "emoji",
        "layer": 3,
        "native": False,
        "seed": 4,
        "steps": 20,
        "readout": "final",
        "encoder": "all",
        "options": '{"eta": 0.5}',
    }
    assert "'it'\"'\"'s; rm -rf $HOME'" in command_of(row)
    command = "--layers 3 --seeds 4 --readout final --steps 20"
    assert command_of(row).endswith(f"{command}  # without its options")
    assert command_of({**row, "options": "{}", "upscale": None}).endswith(command)
    made = python_of(row)
    compile(made, "recipe", "exec")
    assert "layers=3, seeds=4, readout='final', steps=20, eta=0.5)\n" in made
    learned = python_of({**row, "embeddings": "<it>=0123", "edits": ""})
    compile(learned, "recipe", "exec")
    assert "eta=0.5)  # without its embeddings\n" in learned


def test_two_runs_of_one_name_are_both_there(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "made")
    app = create_app(None, [RunIndex.open(run), RunIndex.open(other)])
    paths = {getattr(route, "path", "") for route in app.routes}
    assert {"/run/made", "/run/made-2"} <= paths


def test_a_saved_result_opens_like_a_run(tmp_path: Path) -> None:
    image = {"bytes": thumbnail(Image.new("RGB", (8, 8), "red")), "path": None}
    rows = pd.DataFrame(
        {"prompt": ["a"] * 3, "layer": [0, 1, 1], "native": [False, False, True], "seed": [0] * 3}
    )
    table = pa.Table.from_pandas(rows).append_column("image", pa.array([image] * 3))
    pq.write_table(table, tmp_path / "images.parquet")
    index = RunIndex.open(tmp_path)
    assert index.columns == ["0", "1", "1, native"]
    assert len(index.strips()) == 1


def test_a_table_of_no_images_is_refused_alone_and_adds_nothing_beside_others(tmp_path: Path) -> None:
    image = {"bytes": thumbnail(Image.new("RGB", (8, 8), "red")), "path": None}
    rows = {"cell": ["a", "b"], "prompt": ["a"] * 2, "layer": [0, 1], "seed": [0] * 2}
    table = pa.table(rows).append_column("image", pa.array([image] * 2))
    pq.write_table(table[:0], tmp_path / "0.parquet")
    with pytest.raises(RunError, match=r"0\.parquet has no image to show\.$"):
        RunIndex.open(tmp_path / "0.parquet")
    pq.write_table(table, tmp_path / "1.parquet")
    pq.write_table(table[:0], tmp_path / "2.parquet")
    assert RunIndex.open(tmp_path).table["cell"].tolist() == ["a", "b"]


def test_images_of_other_sampler_settings_have_rows_of_their_own(tmp_path: Path) -> None:
    image = {"bytes": thumbnail(Image.new("RGB", (8, 8), "red")), "path": None}
    rows = {"cell": list("abcd"), "prompt": ["a"] * 4, "layer": [0, 1] * 2, "seed": [0] * 4}
    table = pa.table({**rows, "steps": [4, 4, 20, 20], "guidance": [None, None, 5.0, 5.0]})
    pq.write_table(table.append_column("image", pa.array([image] * 4)), tmp_path / "several.parquet")
    strips = RunIndex.open(tmp_path / "several.parquet").strips()
    assert [(strip.key["steps"], dict(strip.cells)) for strip in strips] == [
        (4, {"0": "a", "1": "b"}),
        (20, {"0": "c", "1": "d"}),
    ]


def test_images_that_the_experiment_asks_for_no_more_are_left_out(tmp_path: Path) -> None:
    make_run(tmp_path / "made", ["a red fox"], lambda *_: scene("a red fox"), seeds=(0, 1))
    make_run(tmp_path / "less", ["a red fox"], lambda *_: None, seeds=(1,))
    score_run(tmp_path / "made", [OracleScorer()])
    shutil.copy(tmp_path / "less" / "manifest.json", tmp_path / "made")
    index = RunIndex.open(tmp_path / "made")
    assert [strip.key["seed"] for strip in index.strips()] == [1]
    assert set(index.answers["cell"]) == set(index.table["cell"])
    assert index.notes == ("3 images are not of its experiment any more; they are left out.",)
    make_run(tmp_path / "other", ["a dog"], lambda *_: None)
    shutil.copy(tmp_path / "other" / "manifest.json", tmp_path / "made")
    with pytest.raises(RunError, match=r"no image to show\. 6 images are not of its experiment"):
        RunIndex.open(tmp_path / "made")


def test_the_atlas_opens_one_run() -> None:
    none = command("explore", "--atlas")
    assert none.returncode == 2 and "opens one run, and 0 were given" in none.stderr


def test_parts_of_blocks_are_no_layers_on_the_way_to_the_last_one(tmp_path):
    sites = {"0": False, "3": False, "6": True, "3.attn": True, "6.head.3": True}
    rows = [
        {"prompt": "a red fox", "seed": seed, "layer": int(site[0]), "site": site, "native": False}
        for seed in (0, 1)
        for site in sites
    ]
    table = pd.DataFrame(rows).assign(cell=[f"{row['site']}-{row['seed']}" for row in rows], image=None)
    table.to_parquet(tmp_path / "made.parquet")
    answers = table[["cell"]].assign(scorer="oracle", check="prompt", kind="global", p=None, reason=None)
    # seed 0 gets it right at the last layer; of seed 1 nothing is right but what parts of blocks add
    right = [sites[row["site"]] if row["seed"] == 0 else "." in row["site"] for row in rows]
    answers["label"] = pd.array(right, dtype="boolean")
    index = replace(RunIndex.open(tmp_path / "made.parquet"), answers=answers)
    assert index.columns == ["0", "3", "3.attn", "6", "6.head.3"]
    verdicts, strips = Verdicts(index), index.strips()
    assert [verdicts.lost(strip) for strip in strips] == [False, False]
    wrong = Filter(question=("oracle", "prompt"), end="wrong")
    found = select(index, strips, verdicts, wrong)
    assert [strip.key["seed"] for strip in found.strips] == [1]
    assert whole_layers(index.columns) == ["0", "3", "6"]
    assert whole_layers(["3.attn", "6.head.3"]) == ["3.attn", "6.head.3"]
