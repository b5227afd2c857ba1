"""`diffusion-lens labels`: the published labels, read into a table of scores."""

from pathlib import Path
from typing import Annotated

import tyro

from diffusion_lens.cli.console import out as console
from diffusion_lens.cli.console import say, warn
from diffusion_lens.cli.options import Overwrite, check_ending
from diffusion_lens.cli.verbs import Topic, verb

__all__ = ["labels"]


@verb("labels", Topic.SCORE, examples=["diffusion-lens labels DiffusionLens --out labels.parquet"])
def labels(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    out: Path = Path("labels.parquet"),
    cut: float = 5.0,
    overwrite: Overwrite = False,
) -> None:
    """Read the published labels from your copy of the authors' repository into a table of scores.

    Args:
        folder: The copy, with the folders human_annotations, gpt_annotations and prompts.
        out: The path of the table, as .parquet or .csv; a report goes beside it as .report.csv.
        cut: A GPT score above this one counts as right.
    """
    from rich.table import Table

    from diffusion_lens.analysis.formats import write_csv
    from diffusion_lens.analysis.labels import load
    from diffusion_lens.files import check_output
    from diffusion_lens.scoring import table as scoring_table

    check_ending(out, "table", ".parquet", ".csv")
    report = out.with_suffix(".report.csv")
    for path in (out, report):
        check_output(path, overwrite=overwrite)
    found = load(folder, cut=cut)
    scoring_table.write(found.table, out)
    write_csv(found.report, report)
    view = Table("", "", "", box=None, show_header=False)
    for (scorer, what), part in found.report.groupby(["scorer", "what"], sort=False):
        view.add_row(str(scorer), str(what), f"{part['count'].sum():g}")
    console.print(view)
    unread = found.report[found.report["what"].isin(["file not read", "file ignored", "row not read"])]
    for line in unread.itertuples():
        warn(f"{line.what}  {line.detail}")
    say(f"table   {out}  ({len(found.table)} cells)\nreport  {report}")
