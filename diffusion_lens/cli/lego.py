"""`diffusion-lens lego ...`: learn concepts beyond a subject's looks."""

from pathlib import Path
from typing import Annotated

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import Load, Model, Overwrite, default, values
from diffusion_lens.cli.values import Seed
from diffusion_lens.cli.verbs import Topic, group, verb
from diffusion_lens.errors import InputError

__all__ = ["learn"]

group("lego", "Learn adjectives, states and relations from images (LEGO).")


@verb(
    "lego learn",
    Topic.LEARN,
    examples=[
        "diffusion-lens lego learn melting/ --subject-images cube/ --positive melted "
        '--concept "<melting>" --subject "<cube>"'
    ],
)
def learn(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    subject_images: Annotated[Path, tyro.conf.arg(metavar="FOLDER")],
    concept: Annotated[str, tyro.conf.arg(metavar="TOKEN")],
    subject: Annotated[str, tyro.conf.arg(metavar="TOKEN")],
    positive: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORD [WORD ...]")],
    negative: Annotated[tuple[str, ...], values("WORD", "none")] = (),
    sentences: Annotated[tuple[str, ...], values("SENTENCE", "those of an adjective")] = (),
    init: Annotated[str | None, default("random vectors", "TEXT")] = None,
    subject_init: Annotated[str | None, default("random vectors", "TEXT")] = None,
    vectors: int = 1,
    out: Annotated[Path | None, default("named after the concept", "FILE")] = None,
    overwrite: Overwrite = False,
    model: Model = "emoji",
    weight: float = 0.01,
    temperature: float = 0.07,
    steps: int = 400,
    batch: int = 4,
    lr: float = 5e-3,
    bf16: Annotated[bool, default("the type of the model")] = False,
    seed: Seed = 0,
    load: Load = Load(),
) -> None:
    """Learn an adjective, a state or a relation. If it was stopped, the same command resumes it.

    Args:
        folder: Three to five images of the concept, on one subject.
        subject_images: A folder of images of that subject without the concept.
        concept: How the concept is written in prompts, such as "<melting>".
        subject: How the subject is written, such as "<cube>".
        positive: Words that describe the concept.
        negative: Words that the concept is not, such as antonyms and the subject's name.
        sentences: Sentences that describe the concept's images, with {} for the concept and {subject} for
            the subject, such as "a {subject} {} a tree".
        init: The text whose vectors the concept's embedding starts with.
        subject_init: The text whose vectors the subject's embedding starts with.
        vectors: The number of vectors of the concept's embedding.
        out: A .safetensors file for the concept's embedding; the subject's goes beside it, and the state
            of the training into a folder beside both.
        weight: The weight of the context loss.
        temperature: The temperature of the context loss.
        steps: The number of training steps.
        batch: The number of images of each embedding in a step.
        lr: The learning rate.
        bf16: Compute in bfloat16; the vectors stay float32.
        seed: The seed of the first vectors, the order of images and the noise.
    """
    from diffusion_lens.files import check_output
    from diffusion_lens.learning.concepts import TEMPLATES, read_concept
    from diffusion_lens.learning.invert import invert
    from diffusion_lens.learning.lego import SENTENCES, Context, LegoLearner, separated
    from diffusion_lens.learning.training import Settings
    from diffusion_lens.text.embedding_files import write_embedding

    path = out or Path(f"{concept.strip('<>')}.safetensors")
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path} does not end in .safetensors, the kind of file that embeddings are kept in."
        )
    files = (path, path.with_name(f"{path.stem}-subject.safetensors"))
    for file in files:
        check_output(file, overwrite=overwrite)
    context = Context(concept, subject, positive, negative, weight, temperature)
    concepts = separated(
        read_concept(folder, concept, init, TEMPLATES["object"], vectors),
        read_concept(subject_images, subject, subject_init),
        sentences or SENTENCES,
    )
    settings = Settings(steps=steps, batch=batch, lr=lr, bf16=bf16, seed=seed)
    lens = load.lens(model)
    training = path.with_suffix(".training")
    learner = LegoLearner(lens.pipeline, concepts, settings, [context])
    for file, one in zip(files, invert(lens, learner, training), strict=True):
        write_embedding(file, one, lens.pipeline)
        say(f"embedding  {one.token}  {file}")
    say(f"training   {training}")
