"""`diffusion-lens words`: what the layers of prompts say in words, without drawing them."""

from pathlib import Path
from typing import Annotated, Literal

from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import (
    Embeddings,
    Layers,
    Load,
    Model,
    Overwrite,
    Prompts,
    ReadingOptions,
    check_ending,
    default,
)
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import InputError
from diffusion_lens.files import read_text, why_unreadable

__all__ = ["words"]


@verb(
    "words",
    Topic.LOOK,
    examples=[
        'diffusion-lens words "a puppy on a beach"',
        'diffusion-lens words "a puppy on a beach" --tokens puppy --layers 0 3 6 --out said.csv',
        'diffusion-lens words "a red fox" --model emoji-llm --through jacobian.safetensors',
    ],
)
def words(
    prompts: Prompts,
    /,
    model: Model = "emoji",
    layers: Layers = ("all",),
    embedding: Embeddings = (),
    count: int = 5,
    tokens: str = "content",
    by: Annotated[
        Literal["head", "nearest"] | None,
        default("head where an encoder has one and there is no list, else nearest"),
    ] = None,
    candidates: Annotated[Path | None, default("a list of everyday words", "FILE")] = None,
    through: Annotated[Path | None, default("read the states as they are", "FILE")] = None,
    out: Annotated[Path | None, default("print the words", "FILE")] = None,
    overwrite: Overwrite = False,
    reading: ReadingOptions = ReadingOptions(),
    load: Load = Load(),
) -> None:
    """Say in words what the hidden state of each word of a prompt holds at each layer.

    Args:
        count: How many words for each token, the most likely first.
        tokens: Whose states: words of the prompt with semicolons between them, content, last, special,
            pads, or a position such as #3.
        by: head reads the states with the vocabulary head of a language model; nearest takes the words of
            a list whose own states at the same layer are nearest.
        candidates: A file with the words that nearest chooses from, one a line; the states are then said by
            the nearest words.
        through: A file of maps that the states go through before the head reads them: a Jacobian lens of
            `tune --jacobian` or a published one (.pt), or a tuned readout.
        out: A CSV file with one row for each word that is said: the token and its position, the rank of the
            word, and its score (a probability, or for nearest a similarity).
    """
    from diffusion_lens.files import check_output, write_whole

    if not prompts:
        raise InputError('No prompt was given. For example: diffusion-lens words "a puppy on a beach"')
    if tokens == "content" and not all(prompt.strip() for prompt in prompts):
        raise InputError(
            "A prompt is blank, and has no word whose state could be said. Write one, such as "
            "'a puppy on a beach', or name other tokens: --tokens special."
        )
    if count < 1:
        raise InputError(f"--count is {count}; give at least 1.")
    if out is not None:
        check_ending(out, "table", ".csv")
        check_output(out, overwrite=overwrite)
    listed = None if candidates is None else _read_words(candidates)
    from diffusion_lens.lens.asked import make_reading
    from diffusion_lens.lens.words import say_layers

    lens = load.lens(model, embeddings=embedding)
    how = make_reading(**reading.arguments())
    table = say_layers(
        lens,
        prompts,
        layers,
        k=count,
        tokens=tokens,
        by=by,
        words=listed,
        through=through,
        how=how,
        tidy=out is not None,
    )
    if out is not None:
        content = table.to_csv(index=False).encode()
        write_whole(out, lambda file: file.write(content))
        say(f"words  {out}")
        return
    for (prompt, state_of, said_by), part in table.groupby(["prompt", "state_of", "by"], sort=False):
        say(f"{prompt} | {state_of} ({said_by})")
        width = part["token"].str.len().max()
        for token, said in zip(part["token"], part["said"], strict=True):
            say(f"  {token:{width}}  {said}")


def _read_words(path: Path) -> tuple[str, ...]:
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The words can't be read from {path} ({why_unreadable(error)}). Give a text file."
        ) from error
    return tuple(line.strip() for line in lines if line.strip())
