"""`diffusion-lens words ...`: learned words on the embedded model, measured."""

from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from diffusion_lens.cli.console import out as console
from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import Device, Model
from diffusion_lens.cli.verbs import Topic, group, verb

__all__ = ["study"]

group("words", "Measure learned embeddings on the embedded model.")


@verb("words study", Topic.LEARN, examples=["diffusion-lens words study --out results/textual_inversion"])
def study(
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("results/textual_inversion"),
    model: Model = "emoji",
    steps: int = 150,
    grid_steps: int = 60,
    samples: int = 16,
    device: Device = None,
) -> None:
    """Learn ten concepts of the testbed and compare the embeddings with captions.

    If it was stopped, the same command resumes it.

    Args:
        out: A folder for the tables, the figure and the embeddings.
        steps: The number of training steps of each embedding.
        grid_steps: The training steps of each embedding at several learning rates and numbers of vectors;
            0 skips these.
        samples: The number of images of each measure; the paper has 64.
    """
    from dataclasses import replace

    from diffusion_lens.figures.inversion import draw_words
    from diffusion_lens.figures.style import save
    from diffusion_lens.files import check_output, write_whole
    from diffusion_lens.learning.study import SETTINGS, summarise
    from diffusion_lens.learning.study import study as run
    from diffusion_lens.lens.lens import DiffusionLens
    from diffusion_lens.models.clip import Clip

    summary_file = out / "summary.csv"
    check_output(summary_file, overwrite=True)
    lens = DiffusionLens.from_pretrained(model, device=device)
    settings = replace(SETTINGS, steps=steps, validate_every=min(steps, SETTINGS.validate_every))
    table, grid = run(
        lens, Clip.from_pretrained(), out, settings=settings, grid_steps=grid_steps, samples=samples
    )
    summary = summarise(table)
    content = summary.to_csv(index=False, lineterminator="\n").encode()
    write_whole(summary_file, lambda file: file.write(content))
    save(draw_words(summary, grid), out / "words")
    shown = Table("measure", "way", "mean", "95 %", "word is better by", "95 %", "p", box=None)
    for row in summary.itertuples():
        gain = ("",) * 3
        if row.way != "word":
            gain = (f"{row.gain:+.3f}", f"{row.gain_low:+.3f} to {row.gain_high:+.3f}", f"{row.p:.3g}")
        shown.add_row(
            str(row.measure), str(row.way), f"{row.mean:.3f}", f"{row.low:.3f} to {row.high:.3f}", *gain
        )
    console.print(shown)
    say(f"tables  {summary_file}\nfigure  {out / 'words.png'}")
