"""The studies of what-ifs: their pages say what their tables do, and their numbers are those of known
answers."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diffusion_lens.errors import InputError
from diffusion_lens.figures.style import save
from experiments.studies import (
    denoiser_places,
    denoiser_uses,
    over_training,
    said_words,
    snapshots,
    traced_words,
    tuned_lens,
    untaught_words,
    words_over_training,
)
from experiments.studies.bound import WORDS, bound_prompts
from experiments.studies.drawn import ALL, ASKED, draw
from experiments.studies.heat import draw_grids
from experiments.studies.pages import read_tables, write_study
from experiments.studies.patched_words import FAMILIES, pairs_of
from experiments.studies.points import draw_points
from experiments.studies.tables import shares

RESULTS = Path(__file__).parents[2] / "results"
STUDIES = (
    "denoiser_places",
    "denoiser_uses",
    "patched_words",
    "traced_words",
    "over_training",
    "words_over_training",
    "said_words",
    "tuned_lens",
    "untaught_words",
)
TOLD = [name for name in STUDIES if (RESULTS / name).is_dir()]


@pytest.mark.parametrize("name", TOLD)
def test_a_page_of_results_is_what_its_tables_say(name):
    study = import_module(f"experiments.studies.{name}")
    page = (RESULTS / name / "findings.md").read_text(encoding="utf-8")
    assert page == study.page(read_tables(RESULTS / name))


def answers(rows, kind="attribute", check="attribute-0", prompts=6):
    """Answers that are the same for all prompts: by what is changed, right where asked and of all."""
    found = []
    for columns, right in rows:
        one = {"layer": 0, "seed": 0, "check": check, "kind": kind, "readout": "native", **columns}
        for number in range(prompts):
            found += [{**one, "prompt_id": f"p{number}", "of": of, "right": right} for of in (ALL, ASKED)]
    return pd.DataFrame(found)


def test_words_stand_where_the_prompts_say(emoji):
    tokenizer = emoji.pipeline.tokenizer
    for one in bound_prompts(60):
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(one.prompt).input_ids)
        assert len(tokens) == 9, one.prompt
        assert [tokens[2], tokens[6]] == list(one.colours) and [tokens[3], tokens[7]] == list(one.names)
        assert tokens[4] == one.where
    assert WORDS["#2"] == "first colour" and WORDS["#4"] == "relation"
    for family in FAMILIES:
        for clean, corrupted in pairs_of(family, 20):
            words = zip(clean.split(), corrupted.split(), strict=True)
            changed = [(one, other) for one, other in words if one != other and one not in ("a", "an")]
            assert len(changed) == (2 if family == "swapped colours" else 1)
            assert family != "swapped colours" or changed[0] == changed[1][::-1]


def test_what_is_lost_where_a_layer_is_read_is_read_there():
    rows = [({"interventions": way}, float(way != "only(:4)")) for way in denoiser_places.WAYS]
    native = answers([({"interventions": "", "layer": 6}, 1.0)])
    tables = denoiser_places.tabulate(answers(rows), native)
    changed = tables["changes"].set_index("read")["change"]
    assert changed["steps 0 to 4"] == -1 and changed.drop("steps 0 to 4").eq(0).all()
    planned = tables["planned"].set_index(["first", "second"])
    assert planned.loc[("steps 0 to 4", "steps 5 to 19"), "gain"] == 1
    assert planned.loc[("steps 0 and 1", "steps 2 to 19"), "gain"] == 0


def used(model, left, prompts=12):
    """Orders right in a share of the images, by what is left of the conditioning."""
    rows = []
    for way, share in left.items():
        for number in range(prompts):
            right = float(number < share * prompts)
            (one,) = (
                answers([({"interventions": way}, right)], "order", "order-0", 1).query("of == @ASKED").iloc
            )
            rows.append({**one.to_dict(), "prompt_id": f"p{number}", "model": model})
    return pd.DataFrame(rows)


def test_what_is_said_of_two_papers_follows_from_the_rates():
    placed = "contextless(order=true) + pads(prompt only)"
    parts = [
        used("emoji", {"": 1.0, placed: 0.0}),
        used("emoji-clip", {"": 1.0, placed: 1.0}, prompts=60),
        used("emoji-llm", {"": 1.0, placed: 0.9}),
        used("control", {"": 1.0, placed: 1.0}, prompts=60),
    ]
    tables = denoiser_uses.tabulate(pd.concat(parts, ignore_index=True))
    assert dict(tables["context"][["model", "context"]].to_numpy()) == {
        "emoji": "needed",
        "emoji-clip": "not needed",
        "emoji-llm": "not told",
        "control": "not needed",
    }
    page = denoiser_uses.page({"drawn": pd.DataFrame([{"model": "emoji"}]), **tables})
    less, clip, control = (line for line in page.splitlines() if "Here" in line or "composes" in line)
    verdicts = "for order (emoji), and {} for order (emoji-clip), and left open for order (emoji-llm)."
    assert less.endswith("contradicted " + verdicts.format("borne out"))
    assert clip.endswith("borne out " + verdicts.format("contradicted"))
    assert control.endswith("its denoiser composes it by itself.")


def test_a_word_is_seen_from_the_object_that_is_asked_about():
    rows = [({"interventions": way}, float(way != "drop(#6)")) for way in ("", "drop(#2)", "drop(#6)")]
    first, second = (answers(rows, check=f"attribute-{number}") for number in (0, 1))
    changed = traced_words.tabulate(pd.concat([first, second]))["changes"].set_index(["mode", "word"])[
        "change"
    ]
    assert changed["dropped", "own colour"] == -0.5 == changed["dropped", "other colour"]
    changed = traced_words.tabulate(second)["changes"].set_index(["mode", "word"])["change"]
    assert changed["dropped", "own colour"] == -1 and changed["dropped", "other colour"] == 0


def test_half_of_what_is_learned_is_there_after_so_many_samples():
    rates = {0: 0.0, 100: 0.25, 200: 0.5, 300: 1.0}
    rows = [
        (f"p{number}", samples, float(number < 8 * rate))
        for samples, rate in rates.items()
        for number in range(8)
    ]
    table = pd.DataFrame(rows, columns=["prompt_id", "samples", "right"])
    half, low, high = snapshots.halfway(table, resamples=200)
    assert half == 200 and low <= 200 <= high
    assert np.isnan(snapshots.halfway(table.assign(right=1.0))[0]), "nothing is gained"


def test_an_object_with_the_other_ones_colour_is_told_from_one_of_no_colour():
    (one,) = bound_prompts(1)
    first, second = one.colours
    table = answers([({}, 0.0)], prompts=1).assign(prompt_id=one.prompt, kind="attribute")
    for colour, share in ((second, 1.0), (first, 0.0), ("", 0.0)):
        seen = table.assign(reason=f"sees {colour} {one.names[0]}; ground: plain")
        found = over_training.swapped(seen, [one])
        assert set(found.loc[found["kind"] == over_training.OTHERS, "right"]) == {share}


def test_words_of_each_group_are_followed_over_a_training_by_the_check_that_tells_of_them():
    groups = words_over_training.words(6)
    assert len(groups) == 24 and set(groups.values()) == set(words_over_training.GROUPS)
    assert groups["a dog at night"] == "place" and groups["a photo of Zorvak"] == "common name"
    rows = []
    for prompt, group in groups.items():
        *_, check = words_over_training.GROUPS[group]
        learned = 200 if group == "common object" else 1000
        for samples in (0, 100, 200, 300):
            for layer, late in ((0, 100), (6, 0)):
                right = float(samples >= learned + late)
                asked = answers([({"layer": layer}, right)], check=check, prompts=1)
                other = answers([({"layer": layer}, 1.0)], check="object-7", prompts=1)
                rows += [one.assign(prompt_id=prompt, samples=samples) for one in (asked, other)]
    tables = words_over_training.tabulate(pd.concat(rows, ignore_index=True), groups)
    half = tables["half"].set_index(["kind", "layer"])["samples"]
    assert half["common object", 6] == 200 and half["common object", 0] == 300
    assert half["rare object"].isna().all(), "nothing is gained"
    page = words_over_training.page({"drawn": pd.DataFrame([{"model": "emoji"}]), **tables})
    assert "| common object | 6 | 0.00 | 1.00 | +1.00 |" in page


def test_snapshots_are_spaced_evenly_and_fewer_than_two_are_refused(tmp_path):
    for samples in (0, 10, 20, 30, 40):
        (tmp_path / f"{samples:07d}.safetensors").touch()
    (tmp_path / "diffusion.safetensors").touch()
    assert list(snapshots.choose(tmp_path, 3)) == [0, 20, 40]
    assert list(snapshots.choose(tmp_path, 9)) == [0, 10, 20, 30, 40]
    with pytest.raises(InputError, match=r"holds 0 snapshots.*--keep-every"):
        snapshots.choose(tmp_path / "none", 3)


def test_first_layers_of_words_that_are_said_and_drawn():
    first = {said_words.DRAWN: 2, "nearest": 1}
    rows = [
        ("emoji", "object", way, f"p{number}", layer, float(layer >= start))
        for way, start in first.items()
        for number in range(5)
        for layer in range(5)
    ]
    table = pd.DataFrame(rows, columns=["model", "group", "way", "prompt_id", "layer", "right"])
    never = (table["prompt_id"] == "p4") & (table["way"] == said_words.DRAWN)
    (row,) = said_words.tabulate(table.assign(right=table["right"].mask(never, 0.0)))["first"].to_dict(
        "records"
    )
    assert (row["said_first"], row["only_said"], row["same_layer"]) == (4, 1, 0)
    assert row["lead"] == pytest.approx(1 / 4), "of the encoder's depth"


def test_the_tuned_lens_is_compared_with_the_final_norm():
    rows = [({"readout": name}, value) for name, value in (("final", 0.0), ("tuned:maps#0", 1.0))]
    tables = tuned_lens.tabulate(answers([({**one, "interventions": ""}, value) for one, value in rows]))
    assert set(tables["changes"]["change"]) == {1.0} and set(tables["changes"]["of"]) == {ALL, ASKED}
    assert "trained" not in tables


def test_maps_that_were_trained_on_the_loss_are_compared_with_those_that_were_fitted():
    values = {"final": 0.0, "tuned:runs/emoji.safetensors#0": 0.0, "tuned:emoji-trained.safetensors#1": 1.0}
    rows = [({"readout": name, "interventions": ""}, value) for name, value in values.items()]
    losses = pd.DataFrame(
        [
            (name, layer, f"scene {scene}", 0.2 + 0.01 * scene - 0.1 * (name == tuned_lens.TRAINED))
            for name in (tuned_lens.FINAL, tuned_lens.TUNED, tuned_lens.TRAINED)
            for layer in (0, 1)
            for scene in range(6)
        ],
        columns=["readout", "layer", "scene", "value"],
    )
    tables = tuned_lens.tabulate(answers(rows), losses)
    assert set(tables["trained"]["change"]) == {1.0}
    changed = tables["changes"].set_index("readout")["change"]
    assert set(changed["tuned"]) == {0.0} and set(changed[tuned_lens.TRAINED]) == {1.0}
    assert tables["loss_changes"]["change"].to_numpy() == pytest.approx(-0.1)
    errors = {"layer": [0], "tuned": 0.1, tuned_lens.TRAINED: 0.2, tuned_lens.FINAL: 1.0}
    errors = pd.DataFrame({**errors, "captions": 20, "steps": 2})
    page = tuned_lens.page({"drawn": pd.DataFrame([{"model": "emoji"}]), "errors": errors, **tables})
    assert "Trained: 2 steps" in page and "-0.1000" in page


def test_a_rate_of_one_is_as_uncertain_as_its_number_of_prompts():
    (row,) = shares(answers([({}, 1.0)], prompts=10), ["kind"]).to_dict("records")
    assert row["rate"] == row["high"] == 1 and 0.6 < row["low"] < 0.8 and row["units"] == 10


def test_a_study_runs_from_end_to_end_and_resumes(emoji, tmp_path):
    asked = snapshots.experiment([bound_prompts(1)[0].prompt], "float32", steps=1)
    found = draw(asked, tmp_path / "run", emoji)
    pd.testing.assert_frame_equal(found, draw(asked, tmp_path / "run", emoji))
    probed = pd.DataFrame({"prompt_id": list("abcde"), "layer": 0, "value": [0.5, 0.5, 0.75, 1.0, 1.0]})
    both = pd.concat([found.assign(samples=samples) for samples in (0, 64)])
    one = over_training.swapped(both, bound_prompts(1))
    both = pd.concat([one.assign(prompt_id=f"p{number}") for number in range(5)])
    tables = {"drawn": pd.DataFrame([{"model": "emoji"}]), **over_training.tabulate(both, probed)}
    write_study(tmp_path / "out", tables, over_training.page, over_training.figures)
    page = (tmp_path / "out" / "findings.md").read_text()
    assert page == over_training.page(read_tables(tmp_path / "out")) and "0.75" in page
    assert (tmp_path / "out/figures/rates.png").is_file()


def test_a_study_of_too_few_prompts_has_figures_that_say_so(tmp_path: Path) -> None:
    none = pd.DataFrame(columns=["kind", "layer", "readout", "rate", "low", "high", "change", "p_bh"])
    grids = draw_grids(none, "kind", "readout", "change", (-1, 0), label="change")
    for figure in (draw_points(none, "kind", "layer", "readout", label="images"), grids):
        assert "enough prompts" in figure.texts[0].get_text()
        assert all(path.exists() for path in save(figure, tmp_path / "figure"))


def test_a_word_is_read_as_the_one_whose_mean_over_other_sentences_is_nearest():
    rng = np.random.default_rng(0)
    meanings, sentences = rng.normal(size=(5, 8)), rng.normal(size=(3, 8))
    # the untaught words are near the second trained one and the fifth; a common part says nothing
    words = np.concatenate([meanings, meanings[[1, 4]] + 0.1 * rng.normal(size=(2, 8))])
    states = 100 + words[:, None] + 0.05 * sentences + np.zeros((2, 1, 1, 1))
    found = untaught_words.nearest(states, 5)
    assert found.shape == (2, 7, 3)
    assert (found == np.array([0, 1, 2, 3, 4, 1, 4])[:, None]).all()
    # the state of one sentence is no evidence for itself
    alone = np.zeros((1, 2, 2, 2))
    alone[0, 0] = [[1.0, 0.0], [0.0, 1.0]]
    alone[0, 1] = [[0.0, 1.0], [1.0, 0.0]]
    assert untaught_words.nearest(alone, 2)[0].tolist() == [[1, 1], [0, 0]]


def test_untaught_words_are_read_at_their_last_token_and_counted_by_word(emoji):
    states = untaught_words.read_states(emoji, ["dog", "toadstool"], ["a photo of {}", "a {} car"])
    assert states.shape == (7, 2, 2, 384)
    one = emoji.encode(["a photo of a toadstool"])["text_encoder"]
    at = emoji.reader().places_of(one).select("word:toadstool")
    assert len(at) > 1  # it is no word of the tokenizer
    np.testing.assert_allclose(states[:, 1, 0], one.states[:, 0, at[-1]].numpy(), atol=1e-5)
    read = pd.DataFrame(
        [("w1", 1.0), ("w1", 0.0), ("w2", 1.0), ("w2", 1.0)], columns=["word", "right"]
    ).assign(how=untaught_words.READ, layer=6, model="emoji", kind="object")
    answers = pd.DataFrame(
        {
            "encoder": ["minilm", "minilm", "random"],
            "group": ["synonyms of objects", "seen", "seen"],
            "caption": ["a puppy", "a dog", "a dog"],
            "check": "object",
            "layer": 6,
            "right": pd.array([False, True, True], dtype="boolean"),
        }
    )
    rates = untaught_words.tabulate(read, answers)["rates"].set_index("how")
    assert rates["rate"].to_dict() == {
        untaught_words.READ: 0.75,
        untaught_words.DRAWN: 0.0,
        untaught_words.DRAWN_KNOWN: 1.0,
    }
    assert rates.loc[untaught_words.READ, "units"] == 2
