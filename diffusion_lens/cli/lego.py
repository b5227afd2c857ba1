"""`diffusion-lens lego ...`: learn concepts beyond a subject's looks."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.errors import InputError

__all__ = ["LEGO", "learn", "study"]

Folder = Annotated[Path, tyro.conf.Positional]


def learn(
    folder: Folder,
    /,
    subject_images: Path,
    concept: str,
    subject: str,
    positive: tuple[str, ...],
    negative: tuple[str, ...] = (),
    sentences: tuple[str, ...] = (),
    init: str | None = None,
    subject_init: str | None = None,
    vectors: int = 1,
    out: Path | None = None,
    overwrite: bool = False,
    model: str = "emoji",
    weight: float = 0.01,
    temperature: float = 0.07,
    steps: int = 400,
    batch: int = 4,
    rate: float = 5e-3,
    bf16: bool = False,
    seed: int = 0,
    device: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
) -> None:
    """Learn an adjective, a state or a relation; the same command goes on where it was stopped.

    Args:
        folder: three to five pictures of the concept, on one subject.
        subject_images: a folder of pictures of that subject without the concept.
        concept: how the concept is written in prompts, such as "<melting>".
        subject: how the subject is written, such as "<cube>".
        positive: words that describe the concept.
        negative: words that it is not, such as antonyms and the subject's name.
        sentences: what the concept's pictures are told by, with {} for the concept and {subject} for the
            subject, such as "a {subject} {} a tree"; an adjective's if left out.
        init: text that the concept's word starts as; random if left out.
        subject_init: text that the subject's word starts as; random if left out.
        vectors: vectors of the concept's word.
        out: a .safetensors file for the concept's word, by default named after it; the subject's goes
            beside it, and the state of the training into a folder.
        overwrite: replace files that exist.
        model: an embedded model, a folder, or a hub id.
        weight: of the context loss.
        temperature: of the context loss.
        steps: how many.
        batch: pictures of each word in a step.
        rate: learning rate.
        bf16: compute in bfloat16; vectors stay float32.
        seed: of all that is random.
        device: cpu, cuda, cuda:1, mps; the fastest at hand if left out.
        dtype: of the model; as in `show`.
    """
    from diffusion_lens.files import check_output
    from diffusion_lens.learning.concepts import TEMPLATES, read_concept
    from diffusion_lens.learning.invert import Look, invert
    from diffusion_lens.learning.lego import SENTENCES, Context, separated
    from diffusion_lens.learning.training import Settings
    from diffusion_lens.text.embedding_files import write_embedding

    path = out or Path(f"{concept.strip('<>')}.safetensors")
    if path.suffix != ".safetensors":
        raise InputError(f"{path} does not end in .safetensors, the kind of file that words are kept in.")
    files = (path, path.with_name(f"{path.stem}-subject.safetensors"))
    for file in files:
        check_output(file, overwrite=overwrite)
    context = Context(concept, subject, positive, negative, weight, temperature)
    concepts = separated(
        read_concept(folder, concept, init, TEMPLATES["object"], vectors),
        read_concept(subject_images, subject, subject_init),
        sentences or SENTENCES,
    )
    settings = Settings(steps=steps, batch=batch, rate=rate, bf16=bf16, seed=seed)

    from diffusion_lens.lens.lens import DiffusionLens

    lens = DiffusionLens.from_pretrained(model, device=device, dtype=dtype)
    training = path.with_suffix(".training")
    words = invert(lens, concepts, settings, Look(None), training, contexts=[context])
    for file, word in zip(files, words, strict=True):
        write_embedding(file, word, lens.pipeline)
        say(f"word      {word.token}  {file}")
    say(f"training  {training}")


def study(
    out: Path,
    concepts: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0, 1),
    steps: int = 200,
    batch: int = 2,
    rate: float = 1e-2,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> None:
    """LEGO against Textual Inversion on the embedded model; goes on where a study in the folder stopped.

    Args:
        out: a folder: gets a folder by concept, summary.csv with intervals, what LEGO gains in
            gains.csv, and a figure.
        concepts: some of those of the study; all if left out.
        seeds: pictures of each prompt.
        steps: of learning.
        batch: pictures of each word in a step.
        rate: learning rate.
        dtype: that learning computes in; the vectors stay float32.
    """
    from diffusion_lens.figures.lego import draw_lego
    from diffusion_lens.figures.style import save
    from diffusion_lens.files import write_whole
    from diffusion_lens.learning import lego_study
    from diffusion_lens.learning.training import Settings
    from diffusion_lens.lens.lens import DiffusionLens

    settings = Settings(steps=steps, batch=batch, rate=rate, bf16=dtype == "bfloat16")
    lens = DiffusionLens.from_pretrained("emoji", batch_size=64)
    table = lego_study.study(lens, out, concepts or tuple(lego_study.TRUTHS), settings, seeds)
    rates = lego_study.summary(table)
    write_whole(out / "summary.csv", lambda file: file.write(rates.round(4).to_csv(index=False).encode()))
    gains = lego_study.gains(table)
    write_whole(out / "gains.csv", lambda file: file.write(gains.round(4).to_csv(index=False).encode()))
    save(draw_lego(rates), out / "lego")
    for shown in (rates[rates["concept"] == "all"], gains):
        say(shown.round(3).to_string(index=False))


LEGO: dict[str, Callable[..., Any]] = {"learn": learn, "study": study}
