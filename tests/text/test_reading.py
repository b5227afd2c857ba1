"""Readings, sites and interventions as values: equal, hashable, and the same after JSON."""

import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion_lens.errors import InputError, LayerError
from diffusion_lens.text.interventions import Keep, Swap, parse_intervention
from diffusion_lens.text.reading import Reading, ResolvedReading
from diffusion_lens.text.readouts import parse_readout
from diffusion_lens.text.sites import NATIVE, Site

SITES = (NATIVE, Site(0), Site(12), Site(3, "attn"), Site(3, "mlp"), Site(7, "head.12"))
READOUTS = ("native", "final", "none")
CHANGES = ((), (Keep("fox"),), (Keep('a, "b"'), Swap("3", 3)))


@pytest.mark.parametrize("site", SITES, ids=str)
@pytest.mark.parametrize("changes", CHANGES, ids=len)
def test_a_reading_is_the_same_after_json(site, changes):
    for readout, pooled, slots in product(
        ("native", "final", "none"), ("hold", "layer"), ("all", "cap", 3)
    ):
        reading = Reading("all", site, parse_readout(readout), pooled, slots, changes)
        again = Reading.from_dict(json.loads(json.dumps(reading.to_dict())))
        assert again == reading and hash(again) == hash(reading)
        assert again.columns() == reading.columns()


@given(st.text(min_size=1).filter(lambda words: all(part.strip() for part in words.split(";"))))
def test_an_intervention_is_read_back_from_how_it_is_written(words):
    assert parse_intervention(Keep(words).id) == Keep(words)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("keep(fox)", "fox"),
        (" keep( red fox ) ", "red fox"),
        ('keep("a, b")', "a, b"),
        ("keep(tokens=fox)", "fox"),
        ("keep(3)", 3),
        ("keep(a; #-1)", ["a", -1]),
    ],
)
def test_users_write_interventions_by_hand(written, words):
    assert parse_intervention(written) == Keep(words)


@pytest.mark.parametrize(
    "written", ["", "keep", "kept(fox)", "keep(fox, dog)", "keep(a, tokens=b)", "keep(a; )", "keep()"]
)
def test_what_is_no_intervention_is_refused(written):
    with pytest.raises(InputError):
        parse_intervention(written)


@pytest.mark.parametrize(
    "written", ["", "six", "6.", "6.foo", "0.attn", "6.head", "6.head.x", "6.attn.3", "٣"]
)
def test_what_is_no_site_is_refused(written):
    with pytest.raises(LayerError):
        Site.parse(written)


def test_what_a_model_says_of_a_reading_is_plain_data(tiny_lens):
    for reading in tiny_lens("sd3").readings("all", Reading(readout=parse_readout("final"))):
        assert ResolvedReading.from_dict(json.loads(json.dumps(reading.to_dict()))) == reading


def test_a_reading_is_an_argument_of_the_lens(tiny_lens):
    lens = tiny_lens("sd")
    asked = [Reading(site=Site(1), readout=parse_readout("none")), Reading(), Reading(site=Site(1))]
    table = lens("a red fox", asked, progress=False).table
    assert table[["layer", "readout"]].to_numpy().tolist() == [[1, "none"], [4, "native"], [1, "native"]]
