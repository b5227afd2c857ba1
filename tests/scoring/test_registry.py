"""Scorers by name: refused with the nearest name, added by another package."""

from dataclasses import fields, is_dataclass

import pytest

from diffusion_lens.errors import ScorerError
from diffusion_lens.scoring.registry import check_names, make_scorers, register, scorers
from diffusion_lens.scoring.scorer import Scorer

PLUGIN = """
from dataclasses import dataclass
from diffusion_lens.checks.checks import Judgement
from diffusion_lens.scoring.registry import register
from diffusion_lens.scoring.scorer import Scorer

@dataclass(frozen=True)
class GreenSettings:
    least: int = 100

class GreenScorer(Scorer):
    name, kinds, version = "green", frozenset({"object"}), "1"

    def score(self, requests):
        return [[Judgement(one.id, None, True) for one in request.checks] for request in requests]

@register("green", "how green an image is", GreenSettings)
def make(settings, device):
    return [GreenScorer()]
"""


def test_every_scorer_has_settings_with_defaults():
    assert {"oracle", "clip", "vqa", "endpoint", "detect", "similarity"} <= set(scorers())
    for name, one in scorers().items():
        assert one.name == name and one.summary and is_dataclass(one.settings)
        assert all(hasattr(one.settings(), field.name) for field in fields(one.settings))


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ScorerError, match=r"no scorer 'oracel'. Did you mean 'oracle'"):
        check_names(["oracel"])
    made, failed = make_scorers(["oracle", "endpoint"])
    assert [one.name for one in made] == ["oracle"] and "--endpoint.url" in failed["endpoint"]


def test_two_scorers_of_one_name_are_refused():
    def make(settings: object, device: str) -> list[Scorer]:
        return []

    scorers()
    with pytest.raises(ScorerError, match="Two scorers are called 'oracle'"):
        register("oracle", "another")(make)


def test_another_package_adds_a_scorer_by_an_entry_point(zygote, tmp_path):
    """As it is installed: a module, and the metadata of its distribution."""
    (tmp_path / "green_scorer.py").write_text(PLUGIN)
    info = tmp_path / "green-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: green\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[diffusion_lens.scorers]\ngreen = green_scorer\n")
    code, said = zygote.run(
        "sys.path.insert(0, folder)\n"
        "from diffusion_lens.scoring.registry import _load, make_scorers, scorers\n"
        "_load.cache_clear()\n"  # the tests' process looked before it was forked
        "made, failed = make_scorers(['green'])\n"
        "assert not failed and made[0].name == 'green' and scorers()['green'].settings().least == 100",
        folder=str(tmp_path),
    )
    assert code == 0, said
