"""Plans: ids are of the content, and batches stay what they are when some are done."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from diffusion_lens.runs.experiment import Experiment, Prompt
from diffusion_lens.runs.plan import Cell, Resolved, ResolvedView, batches, make_plan

RUNGS = ((0, False), (1, False), (1, True))
VIEW = ResolvedView("all", "native", {"encoder": "te", "readout": "native"}, RUNGS, True, 12)
RESOLVED = Resolved((VIEW,), {"steps": 2, "options": "{}"}, "f", "float32", 4)
EXPERIMENT = Experiment.from_dict({"model": "m", "prompts": ["a", "b"], "seeds": [0, 1]})
PROMPTS = (Prompt("a"), Prompt("b", {"kind": "x"}))


def ids(experiment=EXPERIMENT, prompts=PROMPTS, resolved=RESOLVED) -> set[str]:
    return {cell.id for cell in make_plan(experiment, prompts, resolved).cells}


def test_an_id_changes_with_each_thing_that_makes_an_image_and_with_nothing_else():
    plain = ids()
    assert len(plain) == 2 * 3 * 2
    other_view = replace(VIEW, columns={"encoder": "te", "readout": "final"})
    for changed in (
        ids(replace(EXPERIMENT, model="n")),
        ids(replace(EXPERIMENT, revision="r")),
        ids(replace(EXPERIMENT, seeds=(2, 3))),
        ids(prompts=(Prompt("c"), Prompt("a b"))),
        ids(resolved=replace(RESOLVED, settings={"steps": 3, "options": "{}"})),
        ids(resolved=replace(RESOLVED, views=(other_view,))),
        ids(resolved=replace(RESOLVED, views=(replace(VIEW, rungs=((2, False),)),))),
    ):
        assert plain.isdisjoint(changed)
    assert plain == ids(
        replace(EXPERIMENT, claim="x", seeds=(1, 0)),
        (Prompt("b"), Prompt("a", {"kind": "y"})),
        replace(RESOLVED, batch_size=9, fingerprint="g", views=(replace(VIEW, rungs=RUNGS[::-1]),)),
    )


def test_ids_do_not_change_from_version_to_version():
    assert make_plan(EXPERIMENT, PROMPTS, RESOLVED).cells[0].id == "d43b3005771b1249f480"


cells = st.lists(st.integers(0, 2), max_size=60).map(
    lambda views: [Cell(str(i), view, 0, 0, False, i) for i, view in enumerate(sorted(views))]
)


@given(cells, st.integers(1, 9), st.data())
def test_what_is_left_is_cut_into_the_same_batches(cells, size, data):
    whole = list(batches(cells, size))
    assert [cell for batch in whole for cell in batch] == cells
    assert all(len({cell.view for cell in batch}) == 1 and len(batch) <= size for batch in whole)
    done = data.draw(st.sets(st.integers(0, max(0, len(whole) - 1))))
    left = [batch for index, batch in enumerate(whole) if index not in done]
    assert list(batches([cell for batch in left for cell in batch], size)) == left


@given(st.integers(1, 9), st.integers(1, 7))
def test_shards_cut_a_plan_into_whole_batches(size, count):
    plan = make_plan(EXPERIMENT, PROMPTS, replace(RESOLVED, batch_size=size))
    whole = list(batches(plan.cells, size))
    dealt = [list(batches(plan.shard(index, count), size)) for index in range(1, count + 1)]
    assert sorted(batch for shard in dealt for batch in shard) == sorted(whole)


def test_what_the_model_said_is_read_back():
    import json

    assert Resolved.from_dict(json.loads(json.dumps(RESOLVED.to_dict()))) == RESOLVED
