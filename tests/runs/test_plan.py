"""Plans: ids are of the content, and batches stay what they are when some are done."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from diffusion_lens.runs.experiment import Experiment, Prompt
from diffusion_lens.runs.plan import Cell, Resolved, batches, make_plan
from diffusion_lens.text.interventions import Keep
from diffusion_lens.text.reading import Reading, ResolvedReading
from diffusion_lens.text.readouts import parse_readout
from diffusion_lens.text.sites import NATIVE, Site


def reading(layer, native=False, readout="native", **changes):
    """What a model of two blocks would say of a layer."""
    given = Reading("te", NATIVE if native else Site(layer), parse_readout(readout), **changes)
    layers = {"te": (1,)}
    return ResolvedReading(given, layer, native, native, 1, ("te",), layers, {"te": (layer,)})


READINGS = (reading(0), reading(1), reading(1, native=True))
RESOLVED = Resolved(READINGS, {"steps": 2, "options": "{}"}, "f", "float32", 4)
EXPERIMENT = Experiment.from_dict({"model": "m", "prompts": ["a", "b"], "seeds": [0, 1]})
PROMPTS = (Prompt("a"), Prompt("b", {"kind": "x"}))


def ids(experiment=EXPERIMENT, prompts=PROMPTS, resolved=RESOLVED) -> set[str]:
    return {cell.id for cell in make_plan(experiment, prompts, resolved).cells}


def test_an_id_changes_with_each_thing_that_makes_an_image_and_with_nothing_else():
    plain = ids()
    assert len(plain) == 2 * 3 * 2
    for changed in (
        ids(replace(EXPERIMENT, model="n")),
        ids(replace(EXPERIMENT, revision="r")),
        ids(replace(EXPERIMENT, seeds=(2, 3))),
        ids(prompts=(Prompt("c"), Prompt("a b"))),
        ids(resolved=replace(RESOLVED, settings={"steps": 3, "options": "{}"})),
        ids(resolved=replace(RESOLVED, readings=(reading(0, readout="final"),))),
        ids(resolved=replace(RESOLVED, readings=(reading(2),))),
        ids(resolved=replace(RESOLVED, readings=(reading(0, pooled="layer"),))),
        ids(resolved=replace(RESOLVED, readings=(reading(0, slots=1),))),
        ids(resolved=replace(RESOLVED, readings=(reading(0, interventions=(Keep("fox"),)),))),
        ids(resolved=replace(RESOLVED, readings=(reading(0, interventions=(Keep("cat"),)),))),
    ):
        assert plain.isdisjoint(changed)
    assert plain == ids(
        replace(EXPERIMENT, claim="x", seeds=(1, 0)),
        (Prompt("b"), Prompt("a", {"kind": "y"})),
        replace(RESOLVED, batch_size=9, fingerprint="g", readings=READINGS[::-1]),
    )


def test_ids_do_not_change_from_version_to_version():
    assert make_plan(EXPERIMENT, PROMPTS, RESOLVED).cells[0].id == "d25df66116ed2bc0fa22"


cells = st.lists(st.integers(0, 2), max_size=60).map(
    lambda readings: [Cell(str(i), 0, one, one, False, i) for i, one in enumerate(sorted(readings))]
)


@given(cells, st.integers(1, 9), st.data())
def test_what_is_left_is_cut_into_the_same_batches(cells, size, data):
    whole = list(batches(cells, size))
    assert [cell for batch in whole for cell in batch] == cells
    assert all(len(batch) == size for batch in whole[:-1]) and len(whole[-1] if whole else []) <= size
    done = data.draw(st.sets(st.integers(0, max(0, len(whole) - 1))))
    left = [batch for index, batch in enumerate(whole) if index not in done]
    assert list(batches([cell for batch in left for cell in batch], size)) == left


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 7), st.data())
def test_shards_share_out_a_plan_whatever_batches_each_draws_in(prompts, seeds, count, data):
    asked = replace(EXPERIMENT, seeds=tuple(range(seeds)))
    texts = [Prompt(f"prompt {number}") for number in range(prompts)]
    shards = []
    for index in range(1, count + 1):
        size = data.draw(st.integers(1, 9))
        plan = make_plan(asked, texts, replace(RESOLVED, batch_size=size))
        shards.append(list(plan.shard(index, count)))
    assert sorted(cell for shard in shards for cell in shard) == sorted(plan.cells)
    sizes = [len(shard) for shard in shards]
    assert max(sizes) - min(sizes) <= len(READINGS)
    # all layers of a prompt and seed stay together, and most prompts whole
    assert sum(len({(cell.prompt, cell.seed) for cell in shard}) for shard in shards) == prompts * seeds
    holders = [sum(any(cell.prompt == one for cell in shard) for shard in shards) for one in range(prompts)]
    assert sum(held > 1 for held in holders) < count


def test_what_the_model_said_is_read_back():
    import json

    assert Resolved.from_dict(json.loads(json.dumps(RESOLVED.to_dict()))) == RESOLVED


def test_with_noise_of_its_own_a_prompt_shares_none_with_another_and_one_among_its_layers():
    own = replace(EXPERIMENT, noise="own")
    cells = make_plan(own, PROMPTS, RESOLVED).cells
    seeds = {
        (prompt, layer): {cell.seed for cell in cells if (cell.prompt, cell.reading) == (prompt, layer)}
        for prompt in (0, 1)
        for layer in range(len(READINGS))
    }
    assert seeds[0, 0] == seeds[0, 1] == seeds[0, 2] and len(seeds[0, 0]) == 2
    assert not seeds[0, 0] & seeds[1, 0]
    # of the prompt's text alone: neither its place nor the other prompts matter
    alone = make_plan(own, PROMPTS[1:], RESOLVED).cells
    assert {cell.id for cell in alone} < {cell.id for cell in cells}
