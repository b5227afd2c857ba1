"""The live page in a browser, on the embedded model."""

import asyncio
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect

from diffusion_lens import DiffusionLens
from diffusion_lens.errors import InputError
from diffusion_lens.lens.words import say_layers
from diffusion_lens.pages.app import create_app
from diffusion_lens.pages.asked import Limits, read_request
from diffusion_lens.pages.live import Live
from diffusion_lens.pages.turns import Turns
from tests.pages.conftest import Running, running

HTML = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def ask(page: Page, explorer: Running, *prompts: str, **settings: str) -> None:
    """Open the page, fill it in and press Enter."""
    page.goto(explorer.address)
    page.wait_for_selector("body[data-ready]")
    if len(prompts) > 1:
        page.click("#compare")
        page.fill("#prompt-1", prompts[1])
    page.fill("#seeds", settings.pop("seeds", "0"))
    page.click(".settings summary")
    for name, value in settings.items():
        page.fill(f"[name={name}]", value)
    page.fill("#prompt-0", prompts[0])
    page.press("#prompt-0", "Enter")


def pixels_of(page: Page, explorer: Running, selector: str) -> np.ndarray:
    """The pixels of the image that the page shows."""
    address = page.locator(f"{selector} img").first.get_attribute("src")
    content = httpx.get(f"{explorer.address}{address}").content
    return np.asarray(Image.open(io.BytesIO(content)))


def stream(address: str, asked: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events that a request is answered with."""
    with httpx.stream("POST", f"{address}/draw", json=asked, timeout=120) as answer:
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


def test_the_images_of_a_prompt_arrive_and_one_slider_moves_all_rows(
    page: Page, explorer: Running, emoji: DiffusionLens
) -> None:
    ask(page, explorer, "a purple cat", seeds="0, 1", steps="2", layers="0 native")
    page.wait_for_selector("body[data-done]")
    expect(page.locator(".row .across .shot img")).to_have_count(4)
    direct = emoji("a purple cat", "native", [0, 1], steps=2, progress=False).image("native", 1)
    shown = pixels_of(page, explorer, '[aria-label^="a purple cat, layer 6, native, seed 1"]')
    assert np.array_equal(shown, np.asarray(direct))
    page.focus("#layer")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".now")).to_have_text("layer 0")
    large = page.locator(".focus img").evaluate_all("images => images.map(image => image.src)")
    small = page.locator(".across .shot:first-child img").evaluate_all(
        "images => images.map(image => image.src)"
    )
    assert large == small and len(set(large)) == 2
    expect(page.locator(".plot[aria-label^='Is the cat purple?']")).to_have_count(1)
    assert page.locator(".plot[aria-label^='Change'] .point").count() == 1


def test_an_image_says_how_to_make_it_again_and_its_link_leads_back(page: Page, explorer: Running) -> None:
    ask(page, explorer, "a blue car", steps="1", layers="1 2")
    page.wait_for_selector("body[data-done]")
    page.click('.across .shot[aria-label^="a blue car, layer 2"]')
    detail = page.locator("dialog[open]")
    expect(detail).to_contain_text("diffusion-lens show 'a blue car' --model emoji --layers 2 --seeds 0")
    expect(detail).to_contain_text("result.image(2, seed=0)")
    link = detail.locator(".copy code").nth(2).inner_text()
    source = detail.locator(".big img").get_attribute("src")
    page.goto(link)
    page.wait_for_selector("dialog[open] .big img")
    assert page.locator("dialog[open] .big img").get_attribute("src") == source
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#detail-title")).to_contain_text("layer 1")


def test_two_prompts_are_compared_on_the_same_seeds(
    page: Page, explorer: Running, emoji: DiffusionLens
) -> None:
    ask(page, explorer, "a red fox", "a green fox", steps="1", layers="native")
    page.wait_for_selector("body[data-done]")
    first, second = (
        np.asarray(emoji(prompt, "native", 0, steps=1, progress=False).image("native"), dtype=float)
        for prompt in ("a red fox", "a green fox")
    )
    expected = f"{np.abs(first - second).mean() / 2.55:.1f} %"
    expect(page.locator(".number").first).to_have_text(expected)
    expect(page.locator(".across .delta img")).to_have_count(2)


def test_a_change_of_the_states_is_a_control(page: Page, explorer: Running, emoji: DiffusionLens) -> None:
    ask(page, explorer, "a purple cat", steps="1", layers="native", interventions="keep(cat)")
    page.wait_for_selector("body[data-done]")
    changed = emoji("a purple cat", "native", 0, steps=1, interventions=["keep(cat)"], progress=False)
    assert np.array_equal(pixels_of(page, explorer, ".across .shot"), np.asarray(changed.image("native")))
    page.click(".across .shot")
    expect(page.locator("dialog[open]")).to_contain_text("--intervene 'keep(cat)'")
    expect(page.locator("dialog[open]")).to_contain_text("interventions=['keep(cat)']")


def test_words_of_the_states_stand_below_the_images(
    page: Page, explorer: Running, emoji: DiffusionLens
) -> None:
    page.goto(f"{explorer.address}/?prompt=a+red+fox&seeds=0&steps=1&layers=0+native&say=nearest")
    page.wait_for_selector("body[data-done]")
    told = say_layers(emoji, "a red fox", [0, "native"], k=3, by="nearest")
    lines = page.get_by_role("row")
    expect(lines).to_have_count(3)
    for token, own in told.groupby("token"):
        line = lines.filter(has=page.get_by_role("rowheader", name=str(token), exact=True))
        shown = line.get_by_role("cell").all_inner_texts()
        assert [one.split() for one in shown] == [said.split(", ") for said in own["said"]]
    expect(page.locator(".saying .on")).to_have_count(3)  # of the layer that is shown large
    page.click(".across .shot >> nth=0")
    expect(page.locator("dialog[open]")).to_contain_text("Its states in words")


def test_a_prompt_of_html_is_text(page: Page, explorer: Running) -> None:
    ask(page, explorer, HTML, "<b>bold</b>", steps="1", layers="native")
    page.wait_for_selector("body[data-done]")
    page.click(".across .shot >> nth=0")
    expect(page.locator("#detail-title")).to_contain_text(HTML)
    expect(page.locator("h2", has_text="<b>bold</b>")).to_have_count(1)
    assert page.locator("main b, main script, main img[onerror]").count() == 0


def test_what_can_not_be_drawn_is_said(page: Page, explorer: Running) -> None:
    ask(page, explorer, "a cat", steps="1", layers="99")
    expect(page.locator("#problem")).to_contain_text("99")


def test_five_visitors_get_their_own_images(
    browser: Browser, explorer: Running, emoji: DiffusionLens
) -> None:
    prompts = ["a red fox", "a blue car", "a green dog", "a yellow book", "a purple cat"]
    pages = [browser.new_context().new_page() for _ in prompts]
    for page, prompt in zip(pages, prompts, strict=True):
        ask(page, explorer, prompt, steps="1", layers="native")
    shown = []
    for page in pages:
        page.wait_for_selector("body[data-done]", timeout=120_000)
        shown.append(pixels_of(page, explorer, ".across .shot"))
        page.context.close()
    for prompt, seen in zip(prompts, shown, strict=True):
        own = emoji(prompt, "native", 0, steps=1, progress=False).image("native")
        assert np.array_equal(seen, np.asarray(own))
    assert len({seen.tobytes() for seen in shown}) == 5


def test_a_server_that_ends_amid_a_stream_is_reported_and_what_arrived_stays(
    browser: Browser, emoji: DiffusionLens
) -> None:
    page = browser.new_context().new_page()
    with running(create_app(emoji)) as server:
        ask(page, server, "a red fox", seeds="0, 1, 2, 3", steps="20")
        page.wait_for_selector(".across .shot img", timeout=90_000)
        server.kill()
        expect(page.locator("#problem")).to_contain_text(
            "The connection to the server was lost", timeout=90_000
        )
        assert page.locator(".across .shot img").count() >= 1
        expect(page.locator("#status")).to_contain_text("Stopped at")
    page.context.close()


def test_a_visitor_who_leaves_frees_the_model(emoji: DiffusionLens) -> None:
    app = create_app(emoji, limits=Limits(jobs=1))
    asked = {"prompts": ["a red fox"], "seeds": "0", "steps": "40"}
    with running(app) as server:
        arriving = stream(server.address, asked)
        assert next(event for event in arriving if event[0] == "image")[1]["column"] == 0
        refused = httpx.post(f"{server.address}/draw", json=asked)
        assert refused.status_code == 503 and "Try again" in refused.json()["problem"]
        arriving.close()
        for _ in range(600):
            answer = list(stream(server.address, {**asked, "layers": "native", "steps": "1"}))
            if answer:
                break
            time.sleep(0.1)
        assert [name for name, _ in answer][-1] == "done"
        assert sum(name == "image" for name, _ in answer) == 1


def test_other_hosts_origins_and_forms_are_refused(explorer: Running) -> None:
    draw = f"{explorer.address}/draw"
    good = {"prompts": ["a"], "steps": "1", "layers": "native"}
    refused = httpx.get(explorer.address, headers={"Host": "evil.example:7860"})
    assert refused.status_code == 400 and "--allow-host evil.example " in refused.text
    for address in (
        "192.168.3.4:7860",
        "[::1]:7860",
        "LOCALHOST",
    ):  # of this machine, by any of its numbers
        assert httpx.get(explorer.address, headers={"Host": address}).status_code == 200
    for headers in (
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
    ):
        assert httpx.post(draw, json=good, headers=headers).status_code == 403
    assert httpx.post(draw, data={"prompts": "a"}).status_code == 415
    assert httpx.post(draw, json={**good, "prompts": ["a" * 20_000]}).status_code == 413
    policy = httpx.get(explorer.address).headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy and "http:" not in policy


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ([], "no JSON object"),
        ({"prompts": []}, "Write a prompt"),
        ({"prompts": ["a", "b", "c"]}, "Write a prompt"),
        ({"prompts": ["a" * 600]}, "600 characters"),
        ({"prompts": ["a"], "seeds": "x"}, "whole numbers"),
        ({"prompts": ["a"], "seeds": "0 1 2 3 4 5 6 7"}, "1 to 6 seeds"),
        ({"prompts": ["a"], "seeds": "-1"}, "from 0 up"),
        ({"prompts": ["a"], "steps": "1000"}, "between 1 and 100"),
        ({"prompts": ["a"], "steps": "many"}, "Steps is a number"),
        ({"prompts": ["a"], "steps": float("inf")}, "Steps is a number"),
        ({"prompts": ["a"], "seeds": [float("inf")]}, "whole numbers"),
        ({"prompts": ["a"], "readout": "loud"}, "native, final, none"),
        ({"prompts": ["a"], "say": "loudly"}, "Say in words is one of no, nearest"),
        ({"prompts": ["a"], "height": 4096}, "between 1 and 1024"),
        ({"prompts": ["a"], "callback": "x"}, "callback"),
        ({"prompts": ["a"], "interventions": "explode(a)"}, "explode.* is no intervention"),
    ],
)
def test_requests_outside_the_limits_are_refused_by_name(asked: Any, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_request(asked, Limits())


@pytest.mark.parametrize(
    "written",
    [
        "ablate(2.attn, by=mean, prompts={})",
        'ablate(2.attn, by=mean, prompts="{} ")',
        'ablate(2.attn, by=mean, prompts="a dog; {};")',
        'steer("{}.safetensors ")',
        'steer("{}.safe\\tensors")',
    ],
)
def test_a_page_is_no_way_to_files_of_the_server(written: str, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("what nobody should see")
    with pytest.raises(InputError, match="file") as refused:
        read_request({"prompts": ["a"], "interventions": written.format(file)}, Limits())
    assert "nobody should see" not in str(refused.value)


def test_images_are_named_by_cell_and_kept_by_the_browser(explorer: Running) -> None:
    events = list(stream(explorer.address, {"prompts": ["a cat"], "steps": "1", "layers": "native"}))
    cell = next(data for name, data in events if name == "image")["cell"]
    answer = httpx.get(f"{explorer.address}/image/{cell}.png")
    assert "immutable" in answer.headers["cache-control"] and "private" in answer.headers["cache-control"]
    assert httpx.get(f"{explorer.address}/image/0000.png").status_code == 404


def test_turns_are_taken_one_after_the_other() -> None:
    order: list[str] = []

    def work(name: str) -> Iterator[int]:
        for step in range(3):
            order.append(f"{name}{step}")
            yield step

    async def both() -> None:
        turns: Turns[int] = Turns(most=2)
        jobs = [turns.submit(work("a")), turns.submit(work("b"))]
        assert turns.submit(work("c")) is None
        turns.start()
        for job in jobs:
            assert job is not None
            assert [await job.next() for _ in range(3)] == [0, 1, 2]
        turns.stop()

    thread = threading.Thread(target=lambda: asyncio.run(both()))  # Playwright's loop runs in this one
    thread.start()
    thread.join(60)
    assert order == ["a0", "b0", "a1", "b1", "a2", "b2"]


@pytest.mark.parametrize("version", ["2.3", "2.4"])
def test_who_leaves_before_the_first_event_leaves_the_line(emoji: DiffusionLens, version: str) -> None:
    live = Live(emoji, Limits())  # its model's thread is not started, so that nothing is drawn meanwhile
    body = json.dumps({"prompts": ["a red fox"], "seeds": "0"}).encode()
    messages = [
        {"type": "http.request", "body": body, "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(_: Any) -> None:
        assert len(live.turns) == 1, "the request was refused"
        raise OSError("the visitor is gone")

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/draw",
        "headers": [],
        "query_string": b"",
        "asgi": {"spec_version": version},
    }

    async def leave() -> None:
        with suppress(OSError, ClientDisconnect):
            await Starlette(routes=live.routes)(scope, receive, send)

    thread = threading.Thread(target=lambda: asyncio.run(leave()))  # Playwright's loop runs in this one
    thread.start()
    thread.join(60)
    assert not thread.is_alive() and len(messages) == 1 and len(live.turns) == 0
