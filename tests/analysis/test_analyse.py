import json
import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diffusion_lens.analysis.analyse import analyse
from diffusion_lens.analysis.binding import binding
from diffusion_lens.analysis.columns import prepare
from diffusion_lens.analysis.declared import Contrast
from diffusion_lens.analysis.findings import Shown, Source, findings
from diffusion_lens.analysis.formats import readable, write_latex
from diffusion_lens.cli.analyze import analyze
from diffusion_lens.errors import ScoresError
from diffusion_lens.figures.registry import draw_figures
from diffusion_lens.figures.study import draw_study
from diffusion_lens.pages.comparisons import contrasts as planned_view
from diffusion_lens.scoring import table as scores
from diffusion_lens.scoring.metadata import column_name
from tests.analysis.simulate import FAST, RISING, as_table, images
from tests.command_line import run


def study() -> pd.DataFrame:
    """Two kinds of check, a judge that errs, and people who labelled a part."""
    rng = np.random.default_rng(0)
    both = images(rng, np.concatenate([RISING, RISING * 0.4]), prompts=16)
    truth = pd.concat(
        [as_table(both[..., :6]), as_table(both[..., 6:], check="relation-0", kind="relation")],
        ignore_index=True,
    ).assign(category="on & off_100%", prompt="a $5 fox")
    right = truth["label"].to_numpy(dtype=bool)
    judge = truth.assign(scorer="vqa", label=right ^ (rng.random(len(right)) < 0.1))
    people = truth[rng.random(len(truth)) < 0.4].assign(scorer="human")
    return scores.validate(pd.concat([judge, people], ignore_index=True))


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return study()


def test_all_there_is_to_tell(table):
    told: dict[str, pd.DataFrame] = {}
    planned = [Contrast("kind", "object", "relation")]
    found = analyse(table, planned=planned, resampling=FAST, on_table=told.__setitem__)
    assert list(told) == list(found.tables) and told["curves"] is found.tables["curves"]
    assert set(found.tables) == {
        "missing",
        "curves",
        "curves_given_final_correct",
        "curves_given_final_wrong",
        "published_curves",
        "summary",
        "summary_given_final_correct",
        "emergence",
        "times",
        "order",
        "contrasts",
        "planned",
        "binding",
        "agreement",
        "correction",
        "correction_areas",
    }
    assert not found.notes
    planned = found.tables["planned"]
    assert (planned["p_holm"] >= planned["p"]).all() and set(planned["first_group"]) == {"object"}
    lead = found.tables["order"]
    assert lead[(lead["scorer"] == "vqa")].iloc[0]["first"] == "object"
    assert set(found.tables["correction"]["scorer"]) == {"vqa"}
    # a column of the prompts by which tables are made takes no number's place
    numbers = {name for made in found.tables.values() if "kind" in made for name in made}
    numbers |= set(found.tables["order"]) | set(found.tables["binding"])
    plain = {name for name in numbers if not name.endswith(("_low", "_high"))}
    assert all(column_name(name) != name for name in plain - {"prompt_id", "category"})


def test_a_planned_contrast_is_told_for_each_kind_that_both_have(table):
    named = table.copy()
    first = set(sorted(named["prompt_id"].unique())[: named["prompt_id"].nunique() // 2])
    named["category"] = ["a" if one in first else "b" for one in named["prompt_id"]]
    named = named[(named["category"] == "a") | (named["kind"] == "object")]
    found = analyse(named, planned=[Contrast("category", "a", "b")], resampling=FAST)
    assert set(found.tables["planned"]["kind"]) == {"object"}
    with pytest.raises(ScoresError, match="has 'nowhere' in the column 'category'"):
        analyse(named, planned=[Contrast("category", "a", "nowhere")], resampling=FAST)


def test_what_can_not_be_told_is_noted():
    one = as_table(images(np.random.default_rng(0), RISING, prompts=3))
    found = analyse(one, resampling=FAST)
    assert "curves" in found.tables and "correction" not in found.tables
    notes = " ".join(found.notes)
    assert (
        "nothing to bind" in notes
        and "one curve only" in notes
        and "missing: there is nothing to report" in notes
    )
    with pytest.raises(ScoresError, match="no column 'colour'"):
        analyse(one, ["colour"])


VALUES = images(np.random.default_rng(0), RISING, prompts=4)


@pytest.mark.parametrize(
    "values",
    [
        VALUES[:1],
        VALUES[..., :1],
        VALUES[:1, :1, :1],
        VALUES * np.nan,
        VALUES * 0,
        VALUES * 0 + 1,
        VALUES[:2],
    ],
    ids=["one prompt", "one layer", "one cell", "all missing", "all wrong", "all right", "two prompts"],
)
def test_little_data_is_analysed_without_a_traceback(tmp_path, values):
    found = analyse(as_table(values), resampling=FAST)
    for name, one in found.tables.items():
        write_latex(one, tmp_path / f"{name}.tex")
    draw_study({name: found.tables[name] for name in ("curves", "summary")}, tmp_path)
    assert {"curves", "summary", "emergence"} <= set(found.tables)


def test_probabilities_alone_have_curves(tmp_path):
    found = analyse(as_table(VALUES * np.nan).assign(p=0.25), resampling=FAST)
    assert set(found.tables["curves_of_p"]["rate"]) == {0.25}
    assert "curves" in found.tables and found.tables["curves"]["rate"].isna().all()


def test_latex_escapes_what_prompts_hold_and_leaves_out_what_never_changes(tmp_path, table):
    frame = analyse(table, resampling=FAST).tables["summary"]
    write_latex(frame, tmp_path / "t.tex")
    text = (tmp_path / "t.tex").read_text()
    assert text.startswith("\\begin{tabular}") and "\\toprule" in text and "half\\_layer" in text
    assert "encoder" not in text and "object" in text
    one = frame.iloc[:1]
    write_latex(one, tmp_path / "one.tex")
    assert "on \\& off\\_100\\%" in (tmp_path / "one.tex").read_text()


def test_probes_and_lens_share_their_axes(table):
    drawn = table[table["scorer"] == "vqa"]
    both = pd.concat([drawn, drawn.assign(scorer="probe")], ignore_index=True)
    found = analyse(both, resampling=FAST).tables["curves"]
    kinds = {f"{kind.name}-{part}".rstrip("-") for kind, part, _ in draw_figures({"curves": found})}
    assert {"drawn_and_said", "curves-probe", "heatmap"} <= kinds


def test_numbers_read_as_papers_print_them():
    frame = pd.DataFrame(
        {
            "kind": ["a", "b"],
            "area": [0.456, np.nan],
            "area_low": [0.4, np.nan],
            "area_high": [0.5, np.nan],
            "difference": [0.1, 0.2],
            "low": [np.nan, 0.1],
            "high": [np.nan, 0.3],
            "p": [0.0002, 0.0456],
            "prompts": [3, 4],
        }
    )
    assert readable(frame).to_numpy().tolist() == [
        ["a", "0.46 [0.40, 0.50]", "0.10", "<0.001", "3"],
        ["b", "", "0.20 [0.10, 0.30]", "0.046", "4"],
    ]


def test_findings_state_the_numbers_of_the_tables(table):
    found = analyse(table, planned=[Contrast("kind", "object", "relation")], resampling=FAST)
    page = findings(
        found.tables, "a study", [Source("run", "m", "x emerges", 3, (0, 1), {"steps": 2}, "float32")]
    )
    assert page.startswith("# a study") and "**Claim to test:** x emerges" in page
    summary = found.tables["summary"]
    row = summary[(summary["scorer"] == "vqa") & (summary["kind"] == "object")].iloc[0]
    assert f"{row['area']:.2f} [{row['area_low']:.2f}, {row['area_high']:.2f}]" in page
    planned = found.tables["planned"]
    line = planned[(planned["scorer"] == "vqa") & (planned["number"] == "area")].iloc[0]
    assert f"{line['difference']:+.2f} [{line['low']:+.2f}, {line['high']:+.2f}]" in page
    assert "## What comes first" in page and "nan" not in page


def test_names_of_runs_are_no_html_in_findings(table):
    name = "<img src=x onerror=alert(1)>"
    page = findings(
        analyse(table, resampling=FAST).tables,
        name,
        [Source(name, "m", "<b>x", 3, (0, 1), {}, "float32")],
        notes=["a p < 0.1 of <script>"],
        figures=[Shown(f"figures/curves-{name}.png", f"curves-{name}", f"Of {name}.")],
    )
    assert "<img" not in page and "<b>" not in page and "<script" not in page
    assert "# &lt;img src=x" in page and "| &lt;img src=x" in page and "- a p < 0.1 of &lt;script>" in page


def test_the_command_line_analyses_a_run(tmp_path, table):
    scores.write(table, tmp_path / "run")
    done = run(
        "analyze",
        "run",
        "--out",
        "out",
        "--resamples",
        "100",
        "--contrast",
        "kind=object,relation",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "answers of human: no row" in done.stderr and "Warning" not in done.stderr
    assert "tables   out/tables" in done.stdout and "figures  out/figures" in done.stdout
    assert "half_layer" in done.stdout and "object" in done.stdout
    tables = {path.name for path in (tmp_path / "out" / "tables").iterdir()}
    assert {"curves.csv", "summary.csv", "summary.tex", "planned.tex", "correction.csv"} <= tables
    figures = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"curves-vqa.png", "curves-vqa.pdf", "heatmap.png", "areas.pdf", "planned.png"} <= figures
    assert json.loads((tmp_path / "out" / "analysis.json").read_text())["resamples"] == 100
    assert "object \N{MINUS SIGN} relation" in (tmp_path / "out" / "findings.md").read_text()
    again = run("analyze", "run", "--out", "out", cwd=tmp_path)
    assert again.returncode == 2 and "exists" in again.stderr


def test_what_an_analysis_records_names_no_folder_of_the_machine(tmp_path, table, monkeypatch):
    few = table[(table["scorer"] == "vqa") & table["prompt_id"].isin(table["prompt_id"].unique()[:5])]
    here = tmp_path / "here"
    here.mkdir()
    for number, folder in enumerate((here / "runs" / "a", tmp_path / "far" / "b")):
        folder.mkdir(parents=True)
        scores.write(few.assign(run=str(number)), folder / "scores.parquet")
    monkeypatch.chdir(here)
    given = [here / "runs" / "a", Path("../far/b")]
    analyze(tuple(one / "scores.parquet" for one in given), out=Path("out"), resamples=100, figures=False)
    asked = (here / "out" / "analysis.json").read_text()
    assert json.loads(asked)["scores"] == ["runs/a/scores.parquet", "scores.parquet"]
    assert str(tmp_path) not in asked


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyze", "nowhere", "--out", "o"], "There is no file or folder nowhere"),
        (["analyze", "empty", "--out", "o"], "holds no scores"),
        (["analyze", "bad.csv", "--out", "o"], "needs the columns"),
        (["analyze", "bad.csv", "--out", "o", "--contrast", "kind=object"], "is no contrast"),
        (["analyze", "bad.csv", "--out", "o", "--level", "95"], "between 0 and 1"),
        (["labels", "empty"], "neither human_annotations nor gpt_annotations"),
        (["labels", "empty", "--out", "x.xlsx"], "names no table"),
    ],
)
def test_errors_are_one_message_and_exit_code_2(tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and message in " ".join(done.stderr.split()), done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_reads_labels(tmp_path):
    folder = tmp_path / "copy" / "human_annotations"
    folder.mkdir(parents=True)
    rows = "".join(f"a kite,0,,1,1,1,1,{seed}\n" for seed in range(4))
    (folder / "classes_IsCorrect_sd.csv").write_text("prompt,3,7,11,15,19,23,seed\n" + rows)
    (folder / ".DS_Store").write_text("")
    done = run("labels", "copy", "--out", "labels.parquet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cells without: blank" in done.stdout and ".DS_Store is no .csv" in done.stderr
    assert len(scores.read(tmp_path / "labels.parquet")) == 24
    assert (tmp_path / "labels.report.csv").exists()


def with_a_column(values: Sequence[object], layers: Mapping[str, int], scorer: str = "vqa") -> pd.DataFrame:
    """Scores of a thing and its colour, of prompts that bring along a column."""
    rng = np.random.default_rng(0)
    rows = []
    for encoder, count in layers.items():
        for number, layer in product(range(len(values)), range(count)):
            same = {"run": "m", "prompt_id": f"p{number}", "encoder": encoder, "layer": layer, "seed": 0}
            for kind in ("object", "attribute"):
                check = {
                    "check": f"{kind}-0",
                    "kind": kind,
                    "label": bool(rng.random() < 0.3 + 0.2 * layer),
                }
                rows.append({**same, **check, "scorer": scorer, "frequency": values[number]})
    return scores.validate(pd.DataFrame(rows))


@pytest.mark.parametrize("value", ["rare", 4])
def test_prompts_without_a_value_are_a_group_of_their_own(value):
    table = with_a_column([value] * 6 + [None] * 6, {"text_encoder": 3})
    planned = [Contrast.parse("kind=object,attribute")]
    found = analyse(table, ("kind", "frequency"), planned=planned, resampling=FAST)
    assert set(found.tables["curves"]["frequency"]) == {str(value), "not given"}
    # what has no value is set against nothing that has one
    assert set(found.tables["contrasts"]["compared"]) == {"kind"}
    page = findings(found.tables, "study")
    compared = page[page.index("## Compared") : page.index("## Rates")].splitlines()
    rows = ["|".join(row.split("|")[:5]) for row in compared if row.startswith("| m |")]
    assert len(set(rows)) == len(rows) == 4
    assert "frequency" in planned_view(found.tables).head
    drawn = {kind.name: figure for kind, _, figure in draw_figures(found.tables)}
    lines = [line.get_label() for line in drawn["curves"].axes[0].get_lines()]
    assert sorted(lines) == sorted([str(value), "not given"])
    assert "heatmap" in drawn


def test_parts_of_large_numbers_keep_names_of_their_own():
    days = [20240101 + number for number in range(12)]
    made = prepare(with_a_column(days, {"text_encoder": 1}), ["frequency"])
    assert made.groupby("frequency")["prompt_id"].nunique().tolist() == [4, 4, 4]


def test_a_column_of_numbers_in_one_run_and_words_in_another_is_compared():
    table = with_a_column([3] * 6 + ["x"] * 6, {"text_encoder": 2})
    found = analyse(table, ("frequency",), resampling=FAST).tables["contrasts"]
    assert found[["first_group", "second_group"]].to_numpy().tolist() == [["3", "x"]]


def test_parts_and_wholes_are_of_the_last_layer_of_each_encoder():
    found = binding(with_a_column(range(6), {"text_encoder": 2, "text_encoder_2": 4}), resampling=FAST)
    page = findings({"binding": found.assign(scorer="vqa")}, "study")
    assert re.findall(r"\| (text_encoder\w*) \|[^|]+\| (\d) \|", page) == [
        ("text_encoder", "1"),
        ("text_encoder_2", "3"),
    ]


def test_a_person_with_a_colon_in_the_name_is_no_baseline():
    table = with_a_column(range(6), {"text_encoder": 2}, scorer="human: ann")
    assert "## Rates by layer" in findings(analyse(table, resampling=FAST).tables, "study")


def test_people_who_bring_no_columns_along_are_in_the_groups_of_their_prompts():
    judge = with_a_column(["rare"] * 6 + ["common"] * 6, {"text_encoder": 2})
    people = judge.drop(columns="frequency").assign(scorer="human")
    table = scores.validate(pd.concat([judge, people], ignore_index=True))
    found = analyse(table, ("kind", "frequency"), resampling=FAST).tables
    for name in ("curves", "correction"):
        assert set(found[name]["frequency"]) == {"rare", "common"}
    contrasts = analyse(
        table, ("kind",), planned=[Contrast("frequency", "rare", "common")], resampling=FAST
    ).tables["planned"]
    assert set(contrasts["scorer"]) == {"vqa", "human"}


def test_judges_agree_at_the_layers_of_each_encoder_apart():
    judge = with_a_column(range(8), {"text_encoder": 2, "text_encoder_2": 3})
    wrong = (judge["encoder"] == "text_encoder").to_numpy()
    people = judge.assign(scorer="human", label=judge["label"].where(~wrong, ~judge["label"]))
    table = scores.validate(pd.concat([judge, people], ignore_index=True))
    found = analyse(table, resampling=FAST).tables["agreement"]
    apart = found[found["layer"] != "all"].set_index(["encoder", "layer"])["agree"].to_dict()
    assert apart == {
        **{("text_encoder", layer): 0.0 for layer in "01"},
        **{("text_encoder_2", layer): 1.0 for layer in "012"},
    }
    assert len(found) == 6


def test_of_several_people_the_one_who_corrects_is_named():
    judge = with_a_column(range(8), {"text_encoder": 2})
    people = [judge.assign(scorer=f"human:{name}") for name in ("ann", "bob")]
    table = scores.validate(pd.concat([judge, *people], ignore_index=True))
    found = analyse(table, ("kind",), resampling=FAST)
    said = [note for note in found.notes if note.startswith("correction: by human:ann alone")]
    assert len(said) == 1 and "human:ann, human:bob" in said[0] and "correction" in found.tables
    by_bob = analyse(table, ("kind",), truth="human:bob", resampling=FAST)
    assert not [note for note in by_bob.notes if note.startswith("correction")]


def test_a_judge_that_is_corrected_is_first_what_its_curve_is():
    """A colour is wrong where its thing is not, also where nobody wrote down that it depends on it."""
    people = with_a_column(range(8), {"text_encoder": 3}).assign(scorer="human")
    people = people[people["kind"] == "attribute"]
    absent = ~people["label"].astype(bool) & (people["layer"] == 1)
    judge = people.assign(
        scorer="detect",
        label=people["label"].mask(absent),
        p=people["p"].mask(absent),
        reason=people["reason"].mask(absent, "there is no fox to ask about"),
    )
    table = scores.validate(pd.concat([judge, people], ignore_index=True))
    found = analyse(table, ("kind",), resampling=FAST).tables
    raw = found["correction"].query("method == 'raw'").set_index("layer")["rate"]
    curve = found["curves"].query("scorer == 'detect'").set_index("layer")["rate"]
    assert raw.tolist() == pytest.approx(curve.tolist())
