"""`diffusion-lens explore`: prompts and runs in the browser."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import Embeddings, Load, default, values
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import InputError

__all__ = ["explore"]

_NO_DISPLAY = (
    "\nThis machine has no display. From another one: ssh -L {port}:localhost:{port} THIS_MACHINE; then "
    "open the address there."
)


@verb(
    "explore",
    Topic.LOOK,
    examples=[
        "diffusion-lens explore",
        "diffusion-lens explore runs/relations",
        "diffusion-lens explore runs/relations --model emoji --port 0",
        "diffusion-lens explore runs/relations --atlas",
    ],
)
def explore(
    runs: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[RUN ...]", help_behavior_hint="")
    ] = (),
    /,
    model: Annotated[str | None, default("emoji where no run is given", "MODEL")] = None,
    atlas: Annotated[bool, default("the explorer")] = False,
    host: str = "127.0.0.1",
    port: int = 7860,
    embedding: Embeddings = (),
    allow_host: Annotated[tuple[str, ...], values("NAME", "none")] = (),
    no_browser: Annotated[bool, default("open it")] = False,
    load: Load = Load(),
) -> None:
    """Look in the browser: type a prompt and see its layers, or look through the images of runs.

    Args:
        runs: Folders of runs, or parquet files of images.
        model: The model to draw with: an embedded model, a folder in diffusers format, or a model id.
        atlas: Open the run in Embedding Atlas instead, for free exploration of its table.
        host: The address to listen at. With 0.0.0.0 other machines can use the model too.
        port: The port; 0 takes any that is free.
        allow_host: Further names by which browsers may call this server.
        no_browser: Do not open the page.
    """
    if atlas:
        _hand_to_atlas(runs, host, port)
        return
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(f"The explorer needs {error.name}: pip install 'diffusion-lens[app]'.") from error
    from diffusion_lens.pages.app import create_app
    from diffusion_lens.pages.run_index import RunIndex
    from diffusion_lens.pages.serve import can_open_pages, listen, serve

    indices = [RunIndex.open(url) for url in runs]
    listener = listen(host, port)  # before a model is loaded for nothing
    lens = None
    if model is not None or not indices:
        lens = load.lens(model or "emoji", embeddings=embedding)
    elif embedding:
        raise InputError("--embedding needs a model that draws its prompts; name it with --model.")
    app = create_app(lens, indices, hosts=(host, *allow_host))
    if app.state.live is not None:
        app.state.live.warm_up()
    serve(
        app,
        listener,
        host,
        browser=not no_browser,
        ready=lambda address: say(
            f"explorer  {address}  (Ctrl-C ends it)"
            + ("" if no_browser or can_open_pages() else _NO_DISPLAY.format(port=urlsplit(address).port))
        ),
    )


def _hand_to_atlas(runs: tuple[str, ...], host: str, port: int) -> None:
    """Start Embedding Atlas on the parquet files of one run."""
    if len(runs) != 1:
        raise InputError(f"--atlas opens one run, and {len(runs)} were given.")
    program = shutil.which("embedding-atlas", path=str(Path(sys.executable).parent)) or shutil.which(
        "embedding-atlas"
    )
    if program is None:
        raise InputError(
            "Embedding Atlas is not installed: pip install 'diffusion-lens[atlas]'. It opens the run's "
            "parquet as it is; without it, diffusion-lens explore RUN has filters, curves and every image."
        )
    path = Path(runs[0])
    files = sorted(path.glob("images/*.parquet")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} has no images/*.parquet to open.")
    # a projection would need a model of the hub, and the table is what is looked through
    options = ["--image", "image", "--disable-projection", "--host", host]
    options += ["--port", str(port)] if port else ["--auto-port"]
    code = subprocess.run([program, *map(str, files), *options], check=False).returncode
    if code:
        raise InputError(f"Embedding Atlas ended with code {code}; its own message stands above.")
