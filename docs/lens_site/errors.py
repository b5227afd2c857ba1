"""A page for each error: what it means, an example made when the page is built, and what to do."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import wrap

from diffusion_lens import DiffusionLens, Experiment, Result, errors
from diffusion_lens.checks import read_given
from diffusion_lens.runs import read_status
from diffusion_lens.scoring import table
from diffusion_lens.testing import FAMILIES
from diffusion_lens.text import parse_intervention

__all__ = ["error_pages"]


def _lens() -> DiffusionLens:
    return DiffusionLens(FAMILIES["sd"].build())


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _pickle(folder: Path) -> None:
    _lens().pipeline.save_pretrained(folder, safe_serialization=False)
    DiffusionLens.from_pretrained(folder)


def _save_twice(folder: Path) -> None:
    result: Result = _lens()("a red fox", "native", steps=1, height=16, width=16, progress=False)
    result.save(folder)
    result.save(folder)


# error -> what to do, the code that a reader may have written, and code that raises it
_CASES: dict[str, tuple[str, str, Callable[[Path], object] | None]] = {
    "InputError": (
        "The message says which value it is and what is allowed. All errors below are of this kind, and "
        "it is a `ValueError` too.",
        'parse_intervention("explode(fox)")',
        lambda _: parse_intervention("explode(fox)"),
    ),
    "UnknownModelError": (
        "`diffusion-lens models` lists the embedded models and a checkpoint of each family.",
        'DiffusionLens.from_pretrained("emojis")',
        lambda _: DiffusionLens.from_pretrained("emojis"),
    ),
    "UnsafeCheckpointError": (
        "A pickle can run programs when it is read. Take a checkpoint with `.safetensors` files; give "
        "`allow_pickle=True` only for files whose maker you trust.",
        'DiffusionLens.from_pretrained("folder-with-pickles")',
        _pickle,
    ),
    "UnsupportedPipelineError": (
        "[My model](../../my_model.md) says how a pipeline of no known class is described.",
        "DiffusionLens(object())",
        lambda _: DiffusionLens(object()),
    ),
    "EncoderError": (
        "`lens.conditioner.encoders` lists the encoders of your pipeline; [Pipeline families]"
        "(../families/index.md) says which one each class has.",
        'lens("a red fox", encoder="text_encoder_2")',
        lambda _: _lens()("a red fox", encoder="text_encoder_2"),
    ),
    "LayerError": (
        "Layers go from 0, the embedding, to the number of blocks. `lens.plan()` lists them.",
        'lens("a red fox", layers=99)',
        lambda _: _lens()("a red fox", layers=99),
    ),
    "PromptError": (
        "A prompt is a text that is not empty; several are a list of texts.",
        "lens([])",
        lambda _: _lens()([]),
    ),
    "SamplerError": (
        "What is not given is the model's own: leave the value out to see what it is in the table.",
        'lens("a red fox", seeds=-1)',
        lambda _: _lens()("a red fox", seeds=-1),
    ),
    "CheckError": (
        "A csv with the columns `prompt`, `question` and `kind` is enough.",
        'read_given("checks.csv")',
        lambda folder: read_given(_written(folder / "checks.csv", "prompt,kind\na red fox,object\n")),
    ),
    "ScoresError": (
        "A table of scores has a row by image, check and scorer; the interface of `diffusion_lens.scoring` "
        "lists its columns.",
        'table.read("scores.csv")',
        lambda folder: table.read(_written(folder / "scores.csv", "prompt,layer\na red fox,0\n")),
    ),
    "ScorerError": (
        "Install the package that the message names, or give the scorer its weights or its endpoint. The "
        "other scorers of the same command run all the same.",
        "diffusion-lens score RUN --scorer endpoint",
        None,
    ),
    "ExperimentError": (
        "`diffusion-lens new mine` writes an experiment file with comments to start from.",
        'Experiment.from_dict({"prompts": ["a red fox"], "layer": ["all"]})',
        lambda _: Experiment.from_dict({"prompts": ["a red fox"], "layer": ["all"]}),
    ),
    "RunError": (
        "`diffusion-lens status RUN` says what a folder holds. A run that was killed is no damaged run: "
        "give the same `sweep` command again.",
        'read_status("no-run")',
        read_status,
    ),
    "OutputError": (
        "Name another file, or say `--overwrite`.",
        'result.save("folder-of-a-result")',
        _save_twice,
    ),
    "OutOfMemoryError": (
        "The lens halves its batch by itself; this error means that one image alone does not fit. Try "
        '`offload="model"`, a 16-bit `dtype`, a smaller image, or `release_encoders=True`, which frees the '
        "text encoders once all prompts are read.",
        "",
        None,
    ),
}


def error_pages() -> Iterator[tuple[str, str]]:
    """Name and text of each page, in Markdown.

    Raises:
        RuntimeError: an error has no page, or the example of one raises another.
    """
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.DiffusionLensError) and name in errors.__all__
    }
    wanted = set(kinds) - {"DiffusionLensError"}
    if wanted != set(_CASES):
        raise RuntimeError(f"errors without a page, or pages without an error: {wanted ^ set(_CASES)}")
    rows = "\n".join(
        f"| [{name}]({name}.md) | {_doc(kind)} |" for name, kind in kinds.items() if name in _CASES
    )
    yield (
        "errors/index",
        "# Errors\n\nA message names the thing, what was found, what is allowed and what to do next. The "
        "command line prints it alone and exits with code 2. In Python, `except DiffusionLensError` "
        f"catches them all.\n\n| error | when |\n|---|---|\n{rows}\n\n"
        "```{toctree}\n:hidden:\n\n" + "\n".join(_CASES) + "\n```\n",
    )
    for name, (advice, code, fail) in _CASES.items():
        text = f"# {name}\n\n{_doc(kinds[name])}\n\n{advice}\n"
        if fail is not None:
            message = _message(kinds[name], fail)
            text += f"\nFor example:\n\n```python\n{code}\n```\n\n```text\n{name}: {message}\n```\n"
        elif code:
            text += f"\nFor example:\n\n```\n{code}\n```\n"
        yield f"errors/{name}", text


def _doc(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").split())


def _message(kind: type[Exception], fail: Callable[[Path], object]) -> str:
    """What the example says, with a short name for the folder that it was made in."""
    with TemporaryDirectory() as made:
        try:
            fail(Path(made))
        except kind as error:
            if type(error) is not kind:
                raise RuntimeError(
                    f"the example of {kind.__name__} raises {type(error).__name__}"
                ) from error
            return "\n".join(wrap(str(error).replace(made, "folder"), 88))
    raise RuntimeError(f"the example of {kind.__name__} raises nothing")
