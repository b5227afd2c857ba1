"""`lens.explore()`: the page's script against the kernel's widget; only the wire between them is ours."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, expect

import diffusion_lens.lens
from diffusion_lens import DiffusionLens

FOLDER = Path(diffusion_lens.lens.__file__).parent
WIRE = """
const listeners = [];
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const views = (buffers) => buffers.map((one) => new DataView(bytes(one).buffer));
window.arrive = (message, buffers) => listeners.forEach((run) => run(message, views(buffers)));
const values = { prompt: "a red fox", layers: "0 native", seeds: "0 3" };
const model = {
  get: (name) => values[name], set: (name, value) => { values[name] = value; }, save_changes: () => {},
  on: (_name, run) => listeners.push(run), off: () => {}, send: (message) => window.ask(message),
};
"""


def test_a_prompt_is_drawn_in_the_kernel_and_shown(
    browser: Browser, tiny_lens: Callable[[str], DiffusionLens]
) -> None:
    lens = tiny_lens("sd")
    widget = lens.explore("a red fox", layers="0 native", seeds="0 3")
    sent: list[tuple[dict[str, object], list[str]]] = []
    widget.send = lambda message, buffers=(): sent.append(  # type: ignore[method-assign]
        (message, [base64.b64encode(one).decode() for one in buffers])
    )
    page = browser.new_context().new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    asked: list[dict[str, str]] = []
    page.expose_function("ask", lambda message: asked.append(message))
    script = (FOLDER / "widget.js").read_text(encoding="utf-8").replace("export default", "window.widget =")
    page.set_content("<div id='here'></div>")
    page.add_script_tag(
        content=f"{WIRE}{script}\nwidget.render({{ model, el: document.querySelector('#here') }});"
    )

    def answer() -> None:
        widget._handle_custom_msg(asked.pop(), [])
        for message, buffers in sent:
            page.evaluate("([message, buffers]) => window.arrive(message, buffers)", [message, buffers])
        sent.clear()

    page.get_by_role("button", name="Draw").click()
    page.wait_for_function("document.querySelector('form').getAttribute('aria-busy') === 'true'")
    answer()
    expect(page.get_by_role("status")).to_have_text("4 of 4")
    expect(page.locator("figure")).to_have_count(4)
    drawn = page.locator(".row[data-seed='3'] figure img").nth(1)
    width = drawn.evaluate("async (image) => { await image.decode(); return image.naturalWidth; }")
    assert width == lens("a red fox", "native", 3, progress=False).image("native", 3).width
    page.get_by_label("Seeds").fill("x")
    page.get_by_role("button", name="Draw").click()
    page.wait_for_function("document.querySelector('form').getAttribute('aria-busy') === 'true'")
    answer()
    expect(page.get_by_role("status")).to_contain_text("whole numbers")
    assert errors == []
    page.context.close()


def test_images_are_those_of_a_call(tiny_lens: Callable[[str], DiffusionLens]) -> None:
    lens, images = tiny_lens("sd"), []
    widget = lens.explore("a red fox")
    widget.send = lambda message, buffers=(): images.extend(buffers)  # type: ignore[method-assign]
    widget._handle_custom_msg({"prompt": "a red fox", "layers": "0:1", "seeds": "2"}, [])
    shown = [np.asarray(Image.open(io.BytesIO(one))) for one in images]
    own = lens("a red fox", "0:1", 2, progress=False).table["image"]
    assert all(np.array_equal(one, np.asarray(other)) for one, other in zip(shown, own, strict=True))


def test_the_page_is_told_that_nothing_more_comes_when_drawing_fails(
    tiny_lens: Callable[[str], DiffusionLens],
) -> None:
    widget, sent = tiny_lens("sd").explore("a red fox"), []
    widget.send = lambda message, buffers=(): sent.append(message)  # type: ignore[method-assign]
    widget._handle_custom_msg({}, [])  # of a page of another version
    assert sent == [{"kind": "done"}]
