"""The overview of the results is said in the numbers of tables that were drawn anew."""

from pathlib import Path

import pandas as pd
import pytest

from diffusion_lens.errors import InputError
from experiments.studies.renumber import renumber, renumber_pages

PAGE = """# Results

- **[Objects](objects/findings.md)** are right in 29 % [23, 37] at the embedding and 97 %
  [94, 98] at layer 6; a lead of +0.11 [0.05, 0.16], 12 % [1, 2] and 50 % [40, 60].

Nothing links here: 29 % [23, 37].
"""
NOW = """# Results

- **[Objects](objects/findings.md)** are right in 30 % [24, 38] at the embedding and 100 %
  [98, 100] at layer 6; a lead of -0.02 [-0.10, 0.00], 12 % [1, 2] and 50 % [40, 60].

Nothing links here: 29 % [23, 37].
"""


def written(folder: Path, *rates: tuple[float, float, float]) -> Path:
    """Results whose rates by layer are these, and a lead; the last two rows are alike at first."""
    (folder / "objects/tables").mkdir(parents=True)
    (folder / "testbed").mkdir()
    *by_layer, lead = rates
    table = pd.DataFrame(by_layer, columns=["rate", "low", "high"])
    table.assign(kind="object", layer=[0, 6, 1, 2]).to_csv(
        folder / "objects/tables/curves.csv", index=False
    )
    leads = pd.DataFrame([("a", *lead)], columns=["pair", "lead", "lead_low", "lead_high"])
    leads.to_csv(folder / "objects/tables/order.csv", index=False)
    (folder / "README.md").write_text(PAGE)
    (folder / "testbed/README.md").write_text("# Testbed\n")
    return folder


def test_each_number_is_that_of_its_row_today(tmp_path):
    alike = (0.5, 0.4, 0.6)
    former = written(
        tmp_path / "former", (0.294, 0.23, 0.37), (0.97, 0.94, 0.98), alike, alike, (0.11, 0.05, 0.16)
    )
    today = written(
        tmp_path / "today",
        *((0.3, 0.24, 0.38), (1.0, 0.98, 1.0), alike, (0.7, 0.6, 0.8), (-0.02, -0.1, -0.001)),
    )
    (done,) = [part for part in renumber_pages(former, today) if part.changed]
    assert (today / "README.md").read_text() == NOW and (former / "README.md").read_text() == PAGE
    assert done.changed[-1] == ("+0.11 [0.05, 0.16]", "-0.02 [-0.10, 0.00]")
    # one stands in no table, and one is of two rows that are no longer alike
    assert done.unknown == ("12 % [1, 2]", "50 % [40, 60]")
    assert renumber(PAGE, [former / "objects"], [former / "objects"]).changed == ()
    with pytest.raises(InputError, match=r"README.md differs from .* Renumber first"):
        renumber_pages(former, today)
    with pytest.raises(InputError, match=r"There is no .*nowhere/README.md. Give the folder"):
        renumber_pages(tmp_path / "nowhere", today)


def test_rows_that_numbers_alone_tell_apart_are_not_guessed(tmp_path):
    for name, rates in (("former", [0.1, 0.2]), ("today", [0.3, 0.4])):
        (tmp_path / name).mkdir()
        table = pd.DataFrame({"rate": rates, "low": 0.0, "high": 1.0, "samples": [100, 200]})
        table.to_csv(tmp_path / name / "rates.csv", index=False)
    done = renumber("10 % [0, 100]", [tmp_path / "former"], [tmp_path / "today"])
    assert done.changed == () and done.unknown == ("10 % [0, 100]",)


def test_signs_and_commas_stay(tmp_path):
    for name, numbers in (("former", (1234.5, 1000.0, 2000.0)), ("today", (999.5, 12.0, 12345.0))):
        (tmp_path / name).mkdir()
        pd.DataFrame([numbers], columns=["mean", "low", "high"]).to_csv(
            tmp_path / name / "t.csv", index=False
        )
    done = renumber("+1234.5 [+1,000, 2,000]", [tmp_path / "former"], [tmp_path / "today"])
    assert done.text == "+999.5 [+12, 12,345]"
