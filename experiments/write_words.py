"""Learn the words of the study `learned_words`: `python experiments/write_words.py`.

Each stands for something that the embedded model has a word for: it is learned from five pictures of
the testbed, and starts as the word "some", which says nothing of them. Stopped, it goes on.
"""

from pathlib import Path

from diffusion_lens.learning.invert import Look, invert
from diffusion_lens.learning.subjects import Subject
from diffusion_lens.learning.training import Settings
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.testbed.scenes import OBJECTS, PLACES
from diffusion_lens.testbed.sprites import COLOURS
from diffusion_lens.text.embedding_files import write_embedding

HERE = Path(__file__).parent
LEARNED = {"object": OBJECTS[::2], "tint": tuple(COLOURS), "place": PLACES}
SETTINGS = Settings(steps=200, batch=2, rate=0.01)


def main() -> None:
    """Learn all words side by side, and write a file each."""
    lens = DiffusionLens.from_pretrained("emoji")
    subjects = [Subject(name, kind, "some") for kind, names in LEARNED.items() for name in names]
    concepts = [one.concept() for one in subjects]
    training = HERE.parent / "runs" / "words"
    (HERE / "words").mkdir(exist_ok=True)
    for word in invert(lens, concepts, SETTINGS, Look(None), training):
        write_embedding(HERE / "words" / f"{word.token.strip('<>')}.safetensors", word, lens.pipeline)


if __name__ == "__main__":
    main()
