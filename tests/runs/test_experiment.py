"""Experiment files: what is written is read back, and what is wrong is named."""

import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion_lens.errors import ExperimentError
from diffusion_lens.images.approximations import Approximations
from diffusion_lens.images.sampler import Sampler
from diffusion_lens.runs.experiment import Captions, Experiment, Machine, Prompt, Prompts
from diffusion_lens.runs.experiment_files import find_study, load_experiments
from diffusion_lens.runs.prompts import read_prompts

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)
counts = st.integers(1, 2**63 - 1)
numbers = st.integers(-(2**63), 2**63 - 1)
scalars = st.one_of(texts, numbers, st.floats(allow_nan=False), st.booleans())
names = st.text(string.ascii_lowercase, min_size=1).filter(lambda name: name not in ("prompt", "metadata"))
inline = st.lists(st.builds(Prompt, texts, st.dictionaries(names, scalars)), min_size=1)
prompts = st.one_of(
    st.builds(Prompts, inline=inline.map(tuple), limit=st.none() | counts),
    st.builds(Prompts, file=texts, column=texts, where=st.dictionaries(names, st.lists(scalars))),
    st.builds(Prompts, set=st.sampled_from(["geneval", "partiprompts"])),
    st.builds(
        Prompts,
        captions=st.builds(Captions, count=counts, held_out=st.sampled_from(["colour", None])),
    ),
)


def several(one):
    return st.lists(one, min_size=1, unique_by=str).map(tuple)


experiments = st.builds(
    Experiment,
    model=texts,
    prompts=prompts,
    layers=several(st.integers() | texts),
    seeds=several(st.integers(0, 2**63 - 1)),
    encoders=several(texts),
    readouts=several(st.sampled_from(["native", "final", "none"])),
    pooled=st.sampled_from(["hold", "layer", "empty"]),
    slots=st.sampled_from(["all", "cap", 0, 3]),
    revision=st.none() | texts,
    claim=texts,
    sampler=st.builds(
        Sampler,
        steps=st.none() | st.integers(1),
        guidance=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        negative_prompt=st.none() | texts,
        options=st.dictionaries(names, scalars | st.lists(st.integers())),
    ),
    scorers=several(st.sampled_from(["oracle", "clip", "similarity"])),
    approximations=st.builds(
        Approximations, steps=st.none() | st.integers(1), guided=st.none() | st.floats(0, 1)
    ),
    machine=st.builds(Machine, batch_size=st.none() | counts, image=st.sampled_from(["png", "webp"])),
)


# beartype looks at random items of what strategies build
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@given(experiments)
def test_what_is_written_is_read_back(experiment):
    assert Experiment.from_toml(experiment.to_toml()) == experiment
    assert Experiment.from_dict(json.loads(json.dumps(experiment.to_dict()))) == experiment


def test_what_is_left_out_is_left_out():
    text = 'model = "emoji"\nprompts = [\n    "a fox",\n]\n'
    assert Experiment.from_toml(text).to_toml() == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model = ", "no valid TOML"),
        ('prompts = ["a"]', "model is missing in the experiment"),
        ('modle = "emoji"', r"no key 'modle' in the experiment. Did you mean 'model'\? Allowed: mod"),
        ("[sampler]\nstep = 2", r"no key 'step' in \[sampler\]. Did you mean 'steps'"),
        ("seeds = 0", "seeds is 0; it must be a list, each a whole number"),
        ("seeds = [true]", r"seeds\[0\] is True; it must be a whole number"),
        ("seeds = []", "seeds is empty"),
        ('layers = [1, "1"]', "one of them twice"),
        ('readouts = ["finale"]', "is no readout. Allowed: native, final, none, tuned:FILE. Did you mean"),
        ("[sampler]\nsteps = 2.5", "sampler.steps is 2.5; it must be a whole number"),
        ("sampler = 3", "sampler is 3; it must be a table"),
        ("prompts = [3]", r"inline\[0\] is 3"),
        ('prompts = {set = "genval"}', "prompts.set is 'genval'; it must be .* Did you mean 'geneval'"),
        ("prompts = {}", "from one source and come from none"),
        ('prompts = {set = "geneval", file = "x.csv"}', r"come from \['file', 'set'\]"),
        ("seeds = [-1]", "seeds: -1 is no seed; a seed is a whole number of at least 0"),
        ("seeds = [99999999999999999999999]", "seeds: 99999999999999999999999 is no seed"),
        ("[machine]\nstates = nan", "machine.states is nan; it must be gigabytes, 0 or more"),
        (f"[machine]\nbatch_size = {2**63}", "it must be a whole number of at least 1 and below"),
        pytest.param(
            f"[sampler]\nguidance = 1{'0' * 400}", "sampler.guidance is 10+; it must be a number", id="huge"
        ),
        ("[machine]\nbatch_size = 0", "machine.batch_size is 0; it must be a whole number of at least 1"),
        ('prompts = {set = "geneval", limit = -1}', "prompts.limit is -1"),
        ("prompts = {captions = {count = 2, seed = -1}}", "prompts.captions.seed is -1"),
        pytest.param("a = " + "[" * 20_000, "is no valid TOML", id="nested"),
        ("[machine]\ncompile = true", "machine.compile is True; it must be 'auto' or 'on' or 'off'"),
    ],
)
def test_what_is_wrong_is_named(text, told):
    needed = {"model": 'model = "emoji"\n', "prompts": 'prompts = ["a"]\n'}
    missing = "is missing" in told or "modle" in text
    before = "" if missing else "".join(line for key, line in needed.items() if not text.startswith(key))
    with pytest.raises(ExperimentError, match=told):
        Experiment.from_toml(before + text)


def test_prompts_come_from_files_with_their_columns(tmp_path):
    (tmp_path / "a.csv").write_text('text,Kind\n"a fox, red",x\na car,y\na car,z\n', encoding="utf-8-sig")
    (tmp_path / "a.tsv").write_text("text\tKind\na fox, red\tx\na car\ty\n")
    lines = [{"text": "a fox, red", "kind": "x"}, {"text": "a car", "kind": "y", "of": [1, 2]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    (tmp_path / "a.txt").write_text("a fox, red\n\na car\n")
    for name in ("a.csv", "a.tsv", "a.jsonl", "a.txt"):
        found = read_prompts(Prompts(file=name, column="text"), tmp_path)
        assert [one.prompt for one in found] == ["a fox, red", "a car"], name
        if name != "a.txt":
            assert [one.metadata["kind"] for one in found] == ["x", "y"], name
    assert (
        found[1].metadata == {}
        and read_prompts(Prompts(file="a.jsonl", column="text"), tmp_path)[1].metadata["of"] == "[1, 2]"
    )
    some = Prompts(file="a.csv", column="text", where={"kind": ["y", "z"]}, limit=1)
    assert [one.prompt for one in read_prompts(some, tmp_path)] == ["a car"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("none.csv", None, "none.csv can't be read: there is no such file."),
        ("a.csv", "promt\na fox\n", "no text in column 'prompt'. Did you mean 'promt'"),
        ("a.csv", "prompt,x\na fox\n", "Row 1 of .* not as many fields"),
        ("a.jsonl", "{", "Line 1 of .* is no JSON"),
        ("a.jsonl", "[]", "Line 1 of .* is no JSON object"),
        ("a.txt", "\n", "a.txt holds no prompt"),
        ("a.txt", b"a caf\xe9", "it is no UTF-8 text, in line 1; save it as UTF-8"),
        ("a.csv", "prompt,x\n ,1\n", "Prompt 1 of 1 is empty"),
        ("a.pdf", "a", "allowed are .txt, .csv, .tsv and .jsonl"),
        ("a.jsonl", '{"prompt": "a", "n": 99999999999999999999}', "'n' of the prompt 'a' is 9.* 64 bits"),
        ("a.jsonl", '{"prompt": "a", "n": %s}' % ("9" * 5000), "Line 1 of .* is no JSON"),
        ("a.jsonl", "[" * 100_000, "Line 1 of .* is no JSON"),
        ("a.jsonl", r'{"prompt": "a \ud800"}', "A prompt is not valid Unicode"),
        ("a.jsonl", r'{"prompt": "a", "m": "\ud800"}', "'m' of the prompt 'a' is not valid Unicode"),
        ("a.jsonl", r'{"prompt": "a", "\ud800": 1}', "The name of a column is not valid Unicode"),
        ("a.csv", 'prompt,n\n"' + "x" * 200_000, "is no table .* never closed"),
        ("a.csv", "prompt,n,n\na fox,1,2\n", "a.csv has two columns 'n'"),
        ("a.csv", "prompt,n,N\na fox,1,2\n", "columns that differ in capital letters alone: prompt, n, N"),
        (
            "a.jsonl",
            '{"prompt": "a", "prompt": "b"}',
            "Line 1 of .* a key stands twice among prompt, p",
        ),
    ],
)
def test_files_that_hold_no_prompts_are_told(tmp_path, name, content, told):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ExperimentError, match=told):
        read_prompts(Prompts(file=name), tmp_path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no file without an end")
def test_a_file_without_an_end_is_not_read_for_ever(tmp_path):
    (tmp_path / "a.csv").symlink_to("/dev/zero")
    with pytest.raises(ExperimentError, match=r"a\.csv can't be read: .*larger than 256 MiB"):
        read_prompts(Prompts(file="a.csv"), tmp_path)


def test_public_sets_are_whole(tmp_path):
    geneval = read_prompts(Prompts(set="geneval"), tmp_path)
    assert len(geneval) == 553
    assert geneval[0].prompt == "a photo of a bench" and geneval[0].metadata["tag"] == "single_object"
    parti = read_prompts(Prompts(set="partiprompts"), tmp_path)
    assert len(parti) == 1632 and parti[-1].metadata["category"] == "Artifacts"
    quoted = read_prompts(Prompts(set="geneval", where={"tag": "colors"}), tmp_path)
    assert 0 < len(quoted) < 553
    with pytest.raises(ExperimentError, match=r"has no 'tags' to choose by. Did you mean 'tag'"):
        read_prompts(Prompts(set="geneval", where={"tags": "colors"}), tmp_path)


def test_captions_are_those_of_their_scenes(tmp_path):
    from diffusion_lens.testbed.captions import describe, parse
    from diffusion_lens.testbed.scenes import Scene, held_out

    wanted = Captions(count=30, kinds=("pair", "count"))
    found = read_prompts(Prompts(captions=wanted), tmp_path)
    assert len(found) == 30 and found == read_prompts(Prompts(captions=wanted), tmp_path)
    for one in found:
        scene = Scene.from_json(one.metadata["scene"])
        stated = parse(one.prompt)
        assert len(scene.objects) > 1 and stated is not None
        assert stated.canonical() == describe(scene).canonical()
    held = read_prompts(Prompts(captions=Captions(count=5, held_out="relation")), tmp_path)
    assert all(held_out(Scene.from_json(one.metadata["scene"])) for one in held)
    with pytest.raises(ExperimentError, match=r"'pairs' is no kind of scene. Did you mean 'pair'"):
        read_prompts(Prompts(captions=Captions(kinds=("pairs",))), tmp_path)
    with pytest.raises(ExperimentError, match="The count of captions is 10000000000000; it must be"):
        read_prompts(Prompts(captions=Captions(count=10**13)), tmp_path)
    with pytest.raises(ExperimentError, match="There are not 300 different captions"):
        read_prompts(Prompts(captions=Captions(count=300, kinds=("entity",))), tmp_path)


def test_files_that_hold_no_experiment_are_told(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('model = "emoji"', encoding="utf-8-sig")  # as some editors of Windows write it
    assert load_experiments([path])[0] == {"model": "emoji"}
    path.write_text("layers = [")
    with pytest.raises(ExperimentError, match=r"bad\.toml is no valid TOML"):
        load_experiments([path])
    with pytest.raises(ExperimentError, match="No experiment was given"):
        load_experiments([])


def test_studies_that_come_with_the_package_are_found_by_name():
    data, base = load_experiments([find_study("paper/relations"), find_study("models/sdxl")])
    assert data["claim"] and data["model"].startswith("stabilityai/") and base.name == "paper"
    with pytest.raises(
        ExperimentError, match=r"No study 'nothing' comes .* Known: .*relations.*paper/relations"
    ):
        find_study("nothing")


def test_letters_that_some_take_for_line_ends_are_letters(tmp_path):
    text = "a fox\u2028and a\x0bcar"
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": text}, ensure_ascii=False), encoding="utf-8")
    (tmp_path / "a.txt").write_text(f"{text}\r\n", encoding="utf-8")
    for name in ("a.jsonl", "a.txt"):
        assert [one.prompt for one in read_prompts(Prompts(file=name), tmp_path)] == [text]


def test_numbers_of_a_table_are_chosen_by_number(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,n\na fox,1\na car,2\n")
    found = read_prompts(Prompts(file="a.csv", where={"n": [2]}), tmp_path)
    assert [one.prompt for one in found] == ["a car"]


def test_a_prompt_given_twice_stays_where_it_was_first_with_its_first_columns(tmp_path, caplog):
    (tmp_path / "a.csv").write_text("prompt,weight\na fox,1\na car,2\na fox,9\n")
    found = read_prompts(Prompts(file="a.csv"), tmp_path)
    assert [(one.prompt, one.metadata["weight"]) for one in found] == [("a fox", "1"), ("a car", "2")]
    assert "'a fox' was given twice, with different columns; the first counts." in caplog.text
    assert read_prompts(Prompts(file="a.csv", limit=1), tmp_path) == found[:1]


def test_blanks_at_the_ends_are_no_part_of_a_prompt_and_its_columns(tmp_path, caplog):
    (tmp_path / "a.csv").write_text("prompt, Kind\na fox , animal\na fox,animal\n a car,thing \n")
    lines = [{"prompt": one, "kind": "animal "} for one in ("a fox", "a fox\t", " a car")]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    inline = Experiment.from_toml('model = "m"\nprompts = ["a fox", "a fox ", { prompt = " a car" }]')
    named = Experiment.from_toml('model = "m"\nprompts = "a.csv"')
    assert named.prompts == Prompts(file="a.csv")
    for source in (named.prompts, Prompts(file="a.jsonl"), inline.prompts):
        caplog.clear()
        found = read_prompts(source, tmp_path)
        assert [one.prompt for one in found] == ["a fox", "a car"]
        assert (
            "more than once count once: 1 left out" in caplog.text
            and "different columns" not in caplog.text
        )
    found = read_prompts(Prompts(file="a.csv", where={"kind": "animal"}), tmp_path)
    assert [(one.prompt, one.metadata) for one in found] == [("a fox", {"kind": "animal"})]


def test_an_empty_prompt_is_counted_as_in_the_file(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,kind\na fox,animal\na car,thing\n ,thing\n,animal\n")
    for kind, number in (("thing", 3), ("animal", 4)):
        with pytest.raises(ExperimentError, match=f"Prompt {number} of 4 is empty"):
            read_prompts(Prompts(file="a.csv", where={"kind": kind}), tmp_path)
