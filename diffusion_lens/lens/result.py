"""`Result`: images of a lens or of a run, the table behind them, and the states that they rest on."""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image

from diffusion_lens.errors import InputError
from diffusion_lens.files import check_outputs, write_whole
from diffusion_lens.lens.changes import changes, find_image
from diffusion_lens.lens.comparison import Comparison, compare
from diffusion_lens.lens.grid import contact_sheet
from diffusion_lens.lens.later import Emergence, call_later
from diffusion_lens.lens.result_files import load_states, load_table, save_states, save_table
from diffusion_lens.lens.rows import Order, difference_image, grid_columns, grid_rows, grid_title
from diffusion_lens.lens.viewer import embed, viewer_page

if TYPE_CHECKING:
    from diffusion_lens.lens.attention import WordAttention
    from diffusion_lens.lens.words import DrawnBy
    from diffusion_lens.text.interventions.tokens import Tokens
    from diffusion_lens.text.states import LayerStates
    from diffusion_lens.text.vocabulary import SaidBy

__all__ = ["Result"]


@dataclass(frozen=True, repr=False)
class Result:
    """What a lens drew.

    Attributes:
        table: one row by image, with the columns of `diffusion_lens.runs.table`; among them `prompt`,
            `layer`, `native` (read where the pipeline reads), `identical` (the very image of the untouched
            pipeline), `seed`, `missing` (why there is no image, or None), `image` and, for pipelines of
            two stages, `upscaled` (PIL images).
        states: the hidden states by encoder; empty for a result that was read from a run.
        drawn_by: what drew the images, and how; None for a result that was read from a file.
    """

    table: pd.DataFrame
    states: Mapping[str, "LayerStates"]
    drawn_by: "DrawnBy | None" = field(default=None, compare=False)

    def image(
        self, layer: int | str, seed: int = 0, prompt: str | None = None, *, upscaled: bool = False
    ) -> Image.Image:
        """The image of one layer and seed.

        Args:
            layer: a layer number, "native", or a part of a block such as "6.attn".
            seed: a seed of the table.
            prompt: a prompt of the table; may be left out where there is only one.
            upscaled: the second stage's image instead.

        Raises:
            InputError: no such image, or it is missing (the reason is said).
        """
        return find_image(self._of_prompt(prompt), layer, seed, upscaled=upscaled)

    def grid(
        self,
        prompt: str | None = None,
        *,
        order: Order = "prompt",
        layers: Sequence[int | str] | None = None,
        difference: bool = False,
        cell: int | None = None,
    ) -> Image.Image:
        """Rows of seeds (and prompts), columns of layers, labelled; upscaled images where there are.

        Args:
            prompt: only this prompt.
            order: "prompt" puts the seeds of a prompt below each other, "seed" the prompts of a seed.
            layers: only these layers: numbers, or "native".
            difference: below the two prompts of each seed their difference, black where they are equal.
            cell: the longer side of an image on the sheet, in pixels; smaller by default where there are
                many layers.

        Raises:
            InputError: no such prompt, layer or order, or a difference of other than two rows of a seed.
        """
        table = self.table if prompt is None else self._of_prompt(prompt)
        columns = grid_columns(table, layers)
        rows = grid_rows(table, "seed" if difference else order)
        several = len({row.prompt for row in rows}) > 1
        images: list[list[Image.Image | None]] = []
        captions: list[list[str]] = []
        labels: list[str] = []
        for _, together in groupby(rows, key=lambda row: row.seed if difference else row):
            group = list(together)
            images += [[row.images.get(name) for name in columns] for row in group]
            captions += [[row.said.get(name, "") for name in columns] for row in group]
            labels += [row.label(prompt=several) for row in group]
            if difference:
                if len(group) != 2:
                    raise InputError(
                        f"A difference is of two rows of a seed, and seed {group[0].seed} has "
                        f"{len(group)}. Draw two prompts, or use result.compare(other)."
                    )
                images.append([difference_image(*pair) for pair in zip(*images[-2:], strict=True)])
                captions.append([""] * len(columns))
                labels.append("difference")
        return contact_sheet(images, labels, columns, title=grid_title(table), cell=cell, captions=captions)

    def words(
        self,
        k: int = 5,
        tokens: "Tokens" = "content",
        by: "SaidBy | None" = None,
        words: Sequence[str] | None = None,
        through: str | os.PathLike[str] | None = None,
    ) -> pd.DataFrame:
        """What the drawn states say in words, under the interventions that they were drawn with.

        Args:
            k: how many words for each token.
            tokens: whose states; see `diffusion_lens.text.interventions.tokens`.
            by: "head" for the encoder's own vocabulary head, "nearest" for the nearest words of a list; see
                `diffusion_lens.text.vocabulary`. None takes the head where an encoder has one and no list
                is given.
            words: those that "nearest" compares with; a list of everyday words if None.
            through: a file of maps that states go through before the head reads them, such as a Jacobian
                lens; see `diffusion_lens.text.state_maps`.

        Returns:
            One row by prompt, reading and token: the columns of the reading, `state_of` (encoder and
            layer), `token`, `by`, `said` (the words, the most likely first) and `scores` (probability of
            each, or cosine similarity).

        Raises:
            InputError: the result was read from a file, its lens is gone, or a value can't be.
            EncoderError: the encoders were released, or have no head that was asked for.
        """
        if self.drawn_by is None:
            raise InputError("This result was read from a file, without its model. Draw it to say it.")
        return self.drawn_by.words(self.states, k, tokens, by, words, through)

    def with_words(
        self,
        k: int = 2,
        tokens: "Tokens" = "content",
        by: "SaidBy | None" = None,
        words: Sequence[str] | None = None,
        through: str | os.PathLike[str] | None = None,
    ) -> "Result":
        """This result with the words beside the images: columns `said` and `said_by`, and a strip under
        each image of its grid; the arguments are those of `words`.
        """
        from diffusion_lens.lens.words import add_words

        return replace(self, table=add_words(self.table, self.words(k, tokens, by, words, through)))

    def attention(self, tokens: "Tokens", **chosen: Any) -> "WordAttention":
        """Where the denoiser reads a word; see `diffusion_lens.lens.attention.attend_word`."""
        from diffusion_lens.lens.attention import attend_word

        return attend_word(self.drawn_by, self.table, self.states, tokens, **chosen)

    def compare(self, other: "Result") -> Comparison:
        """This result and another, layer by layer and seed by seed, with their difference.

        Args:
            other: drawn with the same seeds; of the same prompts, or each result of one.

        Raises:
            InputError: they have no layer or no seed in common, or several prompts and none in common.
        """
        return compare(self.table, other.table)

    def score(self, scorer: object = "oracle", **options: Any) -> pd.DataFrame:
        """Let a scorer answer what the prompts state; see `diffusion_lens.scoring.score_result`.

        Args:
            scorer: "oracle", "clip", ...: a registered name, or a scorer.
            options: `checks`, `settings`, `device`, `images_at_once`.

        Returns:
            A table of scores: one row by image and check.

        Raises:
            ScorerError: there is no such scorer, or it can't judge these images.
            CheckError: checks are given and none is of these prompts.
        """
        scores: pd.DataFrame = call_later("score", self, scorer, **options)
        return scores

    def emergence(
        self, word: str, scorer: object = "oracle", *, prompt: str | None = None, **options: Any
    ) -> list[Emergence]:
        """From which layer on something is there, such as `result.emergence("purple")`.

        Args:
            word: a colour, a thing or a relation of the prompt, or the id of a check.
            scorer: who answers.
            prompt: a prompt of the table; may be left out where there is only one.
            options: as for `score`.

        Returns:
            One for each check that the word is about, and each reading of the encoder.

        Raises:
            CheckError: no check is about the word; it names what can be asked for.
            InputError: no such prompt.
            ScorerError: the scorer can't answer.
        """
        part = Result(self._of_prompt(prompt), {})
        found: list[Emergence] = call_later("emergence", part, word, scorer, **options)
        return found

    def changes(self) -> pd.DataFrame:
        """How much the image changes from layer to layer.

        Returns:
            The table without images, in which `from_previous` is the mean absolute difference of the
            pixels (0 to 1) from the image of the layer before, and `from_last` that from the deepest
            layer drawn, for the same prompt and seed, read in the same way; missing where one of the two
            images is.
        """
        return changes(self.table)

    def _of_prompt(self, prompt: str | None) -> pd.DataFrame:
        prompts = list(self.table["prompt"].unique())
        if prompt is None and len(prompts) == 1:
            return self.table
        if prompt not in prompts:
            raise InputError(f"Prompt {prompt!r} is not in this result. Name one of: {prompts}.")
        chosen: pd.DataFrame = self.table[self.table["prompt"] == prompt]
        return chosen

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write `grid.png`, `images.parquet` and the states to a folder that `load` reads back.

        Raises:
            OutputError: the folder can't be written, or holds a result and `overwrite` is off.
        """
        path = Path(folder)
        grid, images = check_outputs(path, ("grid.png", "images.parquet"), overwrite=overwrite)
        save_states(self.states, path)
        self.save_table(images)
        write_whole(grid, lambda file: self.grid().save(file, "PNG"))
        return path

    def save_table(self, path: str | os.PathLike[str]) -> None:
        """Write the table as parquet, images inside in the layout of Hugging Face `datasets`."""
        save_table(self.table, Path(path))

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        *,
        prompt: str | Sequence[str] | None = None,
        layers: int | Sequence[int] | None = None,
        seeds: int | Sequence[int] | None = None,
    ) -> "Result":
        """Read what `save` wrote, or the images of a run.

        Args:
            folder: a folder of `save`, a file of `save_table`, or a run.
            prompt: only these prompts; of a large run, give one.
            layers: only these layers, by number.
            seeds: only these seeds.

        Raises:
            InputError: it is none of these, or holds no image that was asked for.
            RunError: the run is damaged.
        """
        wanted = {"prompt": prompt, "layer": layers, "seed": seeds}
        return cls(load_table(os.fspath(folder), wanted), load_states(Path(folder)))

    def __repr__(self) -> str:
        layers = {name.partition(",")[0] for name in grid_columns(self.table)}
        prompts, seeds = (self.table[name].nunique() for name in ("prompt", "seed"))
        counted = {"prompt": prompts, "layer": len(layers), "seed": seeds}
        counts = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counted.items()]
        return f"Result({len(self.table)} images: {', '.join(counts)})"

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.grid().save(buffer, "PNG")
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        return embed(viewer_page(self.table), rows=len(grid_rows(self.table)))

    def _ipython_display_(self) -> None:
        """Show the grid as an image of its own, which stays where scripts are taken out, and the viewer."""
        from IPython import display

        show: Callable[..., object] = display.display  # IPython has no types
        picture: Callable[[bytes], object] = display.Image
        show(picture(self._repr_png_()))
        show({"text/html": self._repr_html_(), "text/plain": repr(self)}, raw=True)
