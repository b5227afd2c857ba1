"""`diffusion-lens invert`: learn embeddings from images."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import Load, Model, Overwrite, default, values
from diffusion_lens.cli.values import Seed
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import InputError

__all__ = ["invert"]

Folders = Annotated[
    tuple[Path, ...],
    tyro.conf.Positional,
    tyro.conf.arg(metavar="FOLDER [FOLDER ...]", help_behavior_hint=""),
]


@verb(
    "invert",
    Topic.LEARN,
    examples=[
        'diffusion-lens invert photos/ --token "<mycat>" --init cat',
        'diffusion-lens show "a photo of <mycat>" --embedding mycat.safetensors',
    ],
)
def invert(
    folders: Folders,
    /,
    token: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TOKEN [TOKEN ...]")],
    init: Annotated[tuple[str, ...], values("TEXT", "random vectors")] = (),
    model: Model = "emoji",
    vectors: int = 1,
    out: Annotated[tuple[Path, ...], values("FILE", "named after the tokens")] = (),
    overwrite: Overwrite = False,
    templates: Literal["object", "style"] = "object",
    ground: Annotated[str, tyro.conf.arg(metavar="COLOUR")] = "white",
    steps: int = 400,
    batch: int = 4,
    lr: float = 5e-3,
    norm: Literal["none", "fixed", "pull"] = "none",
    snr_gamma: Annotated[float | None, default("equal weights", "NUMBER")] = None,
    flip: Annotated[bool, default("as they are")] = False,
    bf16: Annotated[bool, default("the type of the model")] = False,
    similarity: Literal["clip", "dinov2", "none"] = "clip",
    clip: Annotated[str, tyro.conf.arg(metavar="MODEL")] = "emoji-clip",
    dinov2: Annotated[str, tyro.conf.arg(metavar="MODEL")] = "facebook/dinov2-small",
    validate_every: int = 100,
    patience: Annotated[int | None, default("never stop early", "INT")] = None,
    seed: Seed = 0,
    load: Load = Load(),
) -> None:
    """Learn one or several embeddings from images. If it was stopped, the same command resumes it.

    Args:
        folders: A folder of three to five images for each embedding. cat1.txt beside cat1.png holds
            sentences for that image, with the token where the embedding belongs.
        token: How each embedding is written in prompts, such as "<mycat>".
        init: The text whose vectors each embedding starts with, such as "cat".
        vectors: The number of vectors of each embedding.
        out: A .safetensors file for each embedding. The state, drawings and losses of the training go
            into a folder beside the first.
        templates: The sentences that the embeddings are learned in: those of an object or of a style.
        ground: The colour behind transparent pixels of the images, such as white or #808080.
        steps: The largest number of training steps.
        batch: The number of images of each embedding in a step.
        lr: The learning rate.
        norm: Keep each vector's length (fixed), pull it to the vocabulary's (pull), or do neither.
        snr_gamma: Weight the losses by min-SNR; 5 is usual.
        flip: Show half of the images mirrored.
        bf16: Compute in bfloat16; the vectors stay float32.
        similarity: The best vectors are chosen by the likeness of their images, by CLIP or DINOv2; none
            keeps the last vectors.
        clip: An embedded model with a CLIP, a folder, or a hub id.
        dinov2: A folder or hub id of a DINOv2 model.
        validate_every: The number of steps between two validations.
        patience: Stop after this number of validations without a better one.
        seed: The seed of the first vectors, the order of images and the noise.
    """
    for name, given in (("token", token), ("init", init), ("out", out)):
        if len(given) != len(folders) and (given or name == "token"):
            raise InputError(
                f"{len(folders)} folders and {len(given)} of --{name} were given; give one for each folder."
            )
    from diffusion_lens.files import check_output

    files = out or tuple(Path(f"{one.strip('<>')}.safetensors") for one in token)
    for path in files:
        if path.suffix != ".safetensors":
            raise InputError(
                f"{path} does not end in .safetensors, the kind of file that embeddings are kept in."
            )
        check_output(path, overwrite=overwrite)

    from diffusion_lens.learning.concepts import read_concept
    from diffusion_lens.learning.invert import Validation
    from diffusion_lens.learning.invert import invert as learn
    from diffusion_lens.learning.metrics import load_embed
    from diffusion_lens.learning.training import Learner, Settings
    from diffusion_lens.text.embedding_files import write_embedding

    starts = init or (None,) * len(folders)
    concepts = [
        read_concept(folder, name, start, templates, vectors, ground=ground)
        for folder, name, start in zip(folders, token, starts, strict=True)
    ]
    settings = Settings(
        steps=steps,
        batch=batch,
        lr=lr,
        norm=norm,
        snr_gamma=snr_gamma,
        flip=flip,
        bf16=bf16,
        validate_every=validate_every,
        patience=patience,
        seed=seed,
    )
    lens = load.lens(model)
    metric = clip if similarity == "clip" else dinov2
    embed = load_embed(similarity, metric)
    folder = files[0].with_suffix(".training")
    learner = Learner(lens.pipeline, concepts, settings)
    validation = None if embed is None else Validation(embed, name=f"{similarity} {metric}")
    for path, one in zip(files, learn(lens, learner, folder, validation), strict=True):
        write_embedding(path, one, lens.pipeline)
        say(f"embedding  {one.token}  {path}")
    say(f"training   {folder}")
