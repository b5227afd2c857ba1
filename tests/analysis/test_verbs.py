"""The verbs of a study of one's own: `new`, and `when`."""

from diffusion_lens.analysis.declared import check_experiment
from diffusion_lens.runs.experiment import Experiment
from diffusion_lens.runs.experiment_files import load_experiments
from diffusion_lens.runs.prompts import read_prompts
from diffusion_lens.text.embedding_files import write_embedding
from diffusion_lens.text.embeddings import initial_embedding
from tests.command_line import run


def test_a_new_experiment_can_be_planned_as_it_is(tmp_path):
    done = run("new", "colours", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "diffusion-lens sweep colours.toml --out runs/colours" in done.stdout
    data, base = load_experiments([tmp_path / "colours.toml"])
    experiment = Experiment.from_dict(data)
    assert len(experiment.seeds) >= 4
    check_experiment(experiment.contrasts, read_prompts(experiment.prompts, base))
    done = run("new", "sub/my colours", cwd=tmp_path)
    assert "diffusion-lens sweep 'sub/my colours.toml' --out 'runs/my colours'\n" in done.stdout
    assert "diffusion-lens analyze 'runs/my colours' --out found" in done.stdout
    again = run("new", "colours", cwd=tmp_path)
    assert again.returncode == 2 and "exists" in again.stderr


def test_a_contrast_that_can_not_be_made_is_refused_before_anything_is_drawn(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'model = "emoji"\nprompts = [{ prompt = "a red fox", animacy = "animal" }]\n'
        'contrasts = ["animcy=animal,thing"]\n'
    )
    done = run("sweep", "mine.toml", "--out", "mine", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Did you mean 'animacy'?" in " ".join(done.stderr.split())
    (tmp_path / "pairs.toml").write_text(
        'model = "emoji"\nprompts = { captions = { count = 4, kinds = ["pair"] } }\n'
        'contrasts = ["kind=object,relation"]\n'
    )
    done = run("sweep", "pairs.toml", "--dry-run", "--out", "mine", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    said = " ".join(done.stderr.split())
    assert "'kind=object,relation'" in said and "axis" in said and "order" in said
    assert not (tmp_path / "mine").exists()


def test_when_a_colour_is_there(tmp_path, emoji):
    done = run("when", "a purple cat", "purple", "--seeds", "0", "--steps", "4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "'purple' is there from layer" in done.stdout and "100% of 1" in done.stdout
    # what no rule reads, of a learned word that is the vector of "cat"
    write_embedding(
        tmp_path / "it.safetensors", initial_embedding(emoji.pipeline, "<it>", "cat"), emoji.pipeline
    )
    (tmp_path / "checks.csv").write_text(
        "prompt,id,kind,question,subject,attribute\na purple <it>,hue,attribute,Is it purple?,cat,purple\n"
    )
    given = ("--seeds", "0", "--steps", "4", "--embedding", "it.safetensors", "--checks", "checks.csv")
    done = run("when", "a purple <it>", "hue", *given, cwd=tmp_path)
    assert done.returncode == 0 and "'hue' is there from layer" in done.stdout, done.stderr
    wrong = run("when", "a purple cat", "dog", "--seeds", "0", cwd=tmp_path)
    assert wrong.returncode == 2 and "What can be asked for" in " ".join(wrong.stderr.split())
