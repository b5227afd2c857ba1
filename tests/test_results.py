"""The results pages: what they say in words are numbers of the tables beside them."""

import re
from pathlib import Path

import pandas as pd
import pytest

from diffusion_lens.bench.accuracy import rates
from diffusion_lens.testbed.captions import parse
from experiments.studies.renumber import INTERVAL

RESULTS = Path(__file__).parents[1] / "results"

Said = tuple[float, ...]  # a number and the two ends of its interval


def _said(text: str) -> list[Said]:
    """The numbers of a text that have an interval; percentages as shares."""
    found = []
    for value, percent, _, low, _, high in INTERVAL.findall(text):
        numbers = [float(one.replace(",", "")) for one in (value, low, high)]
        found.append(tuple(round(one / 100 if percent else one, 2) for one in numbers))
    return found


def _tabled(tables: list[Path]) -> set[Said]:
    """The numbers of some tables that have an interval, rounded as pages round them."""
    found: set[Said] = set()
    for path in tables:
        table = pd.read_csv(path)
        if {"low", "high"} <= set(table.columns):
            for column in table.select_dtypes("number").columns.difference(["low", "high"]):
                for digits in (1, 2):
                    rows = table[[column, "low", "high"]].round(digits)
                    found |= set(rows.itertuples(index=False, name=None))
    return found


def _items() -> list[tuple[list[str], str]]:
    """The parts of the overview that tell a study, with the studies that they link to."""
    parts = re.split(r"\n(?=- |\n|#)", (RESULTS / "README.md").read_text())
    linked = [(re.findall(r"\]\((\w+)/findings\.md\)", part), part) for part in parts]
    return [(studies, part) for studies, part in linked if studies]


@pytest.mark.parametrize(("studies", "part"), _items(), ids=lambda one: one[0] if one else "")
def test_a_study_is_told_in_numbers_of_its_own_page(studies: list[str], part: str) -> None:
    known: set[Said] = set()
    for study in studies:
        known |= set(_said((RESULTS / study / "findings.md").read_text()))
        known |= _tabled(sorted((RESULTS / study / "tables").glob("*.csv")))
    said = _said(part)
    assert said and set(said) <= known, set(said) - known


def test_the_testbed_is_told_in_numbers_of_its_tables() -> None:
    said = _said((RESULTS / "testbed/README.md").read_text())
    known = _tabled(sorted((RESULTS / "testbed").glob("*.csv")))
    assert len(said) > 5 and set(said) <= known, set(said) - known


@pytest.mark.parametrize("study", ["textual_inversion", "lego", "latent_inversion"])
def test_what_is_learned_is_told_in_numbers_of_its_tables(study: str) -> None:
    text = (RESULTS / "README.md").read_text()
    (part,) = re.findall(rf"\*\*\[[^\]]*\]\({study}/\w+\.png\)\*\*.*?(?=\n!\[)", text, re.DOTALL)
    said, known = _said(part), _tabled(sorted((RESULTS / study).glob("*.csv")))
    assert len(said) > 8 and set(said) <= known, set(said) - known


def test_colours_of_two_objects_are_those_of_the_answers() -> None:
    answers = pd.read_parquet(RESULTS / "testbed/accuracy.parquet").astype({"check": str, "caption": str})
    answers = answers[(answers["group"] == "seen") & (answers["check"] == "colour")]
    stated = {caption: parse(caption) for caption in answers["caption"].unique()}
    two = answers["caption"].map(lambda caption: len(getattr(stated[caption], "items", ())) == 2)
    found = rates(answers[two], ("encoder", "layer", "check"))
    kept = pd.read_csv(RESULTS / "testbed/pairs.csv")
    pd.testing.assert_frame_equal(
        found.round(4).sort_values("encoder", ignore_index=True),
        kept.sort_values("encoder", ignore_index=True),
        check_dtype=False,
    )
