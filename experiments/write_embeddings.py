"""Learn the embeddings of the study `learned_words`: `python -m experiments.write_embeddings`.

Each stands for something that the embedded model has a word for: it is learned from five images of the
testbed, and starts as the word "some", which says nothing about them. If it was stopped, the same command
resumes it.
"""

from pathlib import Path

from diffusion_lens.learning.invert import invert
from diffusion_lens.learning.training import Learner, Settings
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.testbed.scenes import OBJECTS, PLACES
from diffusion_lens.testbed.sprites import COLOURS
from diffusion_lens.text.embedding_files import write_embedding
from experiments.studies.subjects import Subject

HERE = Path(__file__).parent
LEARNED = {"object": OBJECTS[::2], "tint": tuple(COLOURS), "place": PLACES}
SETTINGS = Settings(steps=200, batch=2, lr=0.01)


def write_embeddings(
    lens: DiffusionLens, subjects: list[Subject], settings: Settings, folder: Path, training: Path
) -> list[Path]:
    """Learn embeddings side by side and write a file each.

    Args:
        lens: the embedded model.
        subjects: what to learn.
        settings: how to learn it.
        folder: gets the files.
        training: gets the state of the training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    learner = Learner(lens.pipeline, [one.concept() for one in subjects], settings)
    files = []
    for one in invert(lens, learner, training):
        files.append(folder / f"{one.token.strip('<>')}.safetensors")
        write_embedding(files[-1], one, lens.pipeline)
    return files


def main() -> None:
    """Learn all embeddings of the study."""
    subjects = [Subject(name, kind, "some") for kind, names in LEARNED.items() for name in names]
    lens = DiffusionLens.from_pretrained("emoji")
    write_embeddings(lens, subjects, SETTINGS, HERE / "words", HERE.parent / "runs" / "words")


if __name__ == "__main__":
    main()
