"""`diffusion-lens features`: a layer's hidden states as few features of many, as words and as images."""

from pathlib import Path
from typing import Annotated

import tyro

from diffusion_lens.cli.captions import read_captions as find_captions
from diffusion_lens.cli.console import say, warn
from diffusion_lens.cli.options import (
    Load,
    Model,
    Overwrite,
    SamplerOptions,
    default,
    values,
)
from diffusion_lens.cli.values import Seed
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import InputError

__all__ = ["features"]


@verb(
    "features",
    Topic.LEARN,
    examples=[
        "diffusion-lens features found",
        'diffusion-lens features found --layer 3 --words green orange --on "a car"',
    ],
)
def features(
    out: Annotated[
        Path,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="FOLDER", help_behavior_hint="", help="The folder to write."),
    ],
    /,
    model: Model = "emoji",
    layer: Annotated[str, default("native, the deepest that the pipeline reads", "LAYER")] = "native",
    encoder: Annotated[str | None, default("the first one", "NAME")] = None,
    captions: Annotated[
        Path | None, default("captions of the scenes that an embedded model was trained on", "FILE")
    ] = None,
    count: Annotated[int, default("1000", "INT")] = 1000,
    number: int = 512,
    k: int = 8,
    fit_steps: int = 1000,
    draw: int = 6,
    words: Annotated[
        tuple[str, ...], values("WORD", "any; of an embedded model, objects and colours")
    ] = (),
    on: Annotated[str, tyro.conf.arg(metavar="PROMPT")] = "a dog",
    strength: float = 3.0,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    sampler: SamplerOptions = SamplerOptions(),
    load: Load = Load(),
) -> None:
    """Find sparse features of one layer's hidden states: which words they detect, and what they draw.

    A top-k autoencoder is fitted on the states of captions. Each feature is then tried as a detector of a
    word on captions that were held out. Some are drawn: taken out of the caption in which they fire most,
    and put into another prompt. Steer with one by --intervene 'steer(FOLDER/feature-7.safetensors, 2)'.
    A steered state may be none that the encoder ever gives; where it is far from those of all captions,
    this command says so, and what is drawn there may mean nothing.

    Args:
        layer: The layer whose states are read.
        encoder: The text encoder.
        captions: A file of prompts, one a line.
        count: How many captions are read at most.
        number: How many features there are.
        k: How many features a state has at most.
        fit_steps: How many batches of 512 states are fitted on.
        draw: How many features are drawn, or more where --words names more words; 0 draws none.
        words: Draw the features that detect these words best.
        on: The prompt that features are put into.
        strength: How strongly they are put in; 1 is the mean activation of a feature where it fires.
        seed: The seed of the fit and of the images.
        out: features.csv has the words, and features.safetensors the features; grid.png shows those drawn,
            drawn.csv has their numbers, and feature-N.safetensors the directions for steer.
    """
    from tqdm.auto import tqdm

    from diffusion_lens.files import check_outputs, write_whole

    names = ("features.csv", "features.safetensors", "grid.png", "drawn.csv")
    former = sorted(out.glob("feature-*.safetensors"))  # of another fit, where a number is another feature
    table, file, grid, numbers, *_ = check_outputs(
        out, (*names, *(one.name for one in former)), overwrite=overwrite
    )
    if draw < 0:
        raise InputError(f"{draw} features can't be drawn. Give 0 or more.")
    texts = find_captions(model, captions, count)
    from diffusion_lens.analysis.feature_words import feature_words
    from diffusion_lens.analysis.formats import write_csv
    from diffusion_lens.lens.features import draw_features
    from diffusion_lens.models.embedded import EMBEDDED
    from diffusion_lens.testbed.scenes import OBJECTS
    from diffusion_lens.testbed.sprites import COLOURS
    from diffusion_lens.text.fit_sparse import fit_sparse, read_captions

    lens = load.lens(model)
    with tqdm(total=len(texts), unit="caption", desc="Reading") as bar:
        read = read_captions(lens.reader(), texts, layer, encoder, bar.update)
    with tqdm(total=fit_steps, unit="batch", desc="Fitting") as bar:
        fitted = fit_sparse(read, number, k, steps=fit_steps, seed=seed, on_step=bar.update)
    peaks = read.of_captions(fitted.activations(read.states)).numpy()
    found = feature_words(peaks, read.captions, read.held_out.numpy())
    for one in former:
        one.unlink(missing_ok=True)
    fitted.save(file)
    write_csv(found, table)
    say(
        f"{fitted}: {len(found)} fire, and leave {fitted.error:.1%} of the variance of captions held out\n"
        "feature  word          precision  recall"
    )
    best = found.drop_duplicates("word")
    if absent := [word for word in words if word not in set(best["word"])]:
        warn(f"No feature detects {', '.join(absent)} better than any other word of enough captions.")
    if wanted := words or ((*OBJECTS, *COLOURS) if model in EMBEDDED else ()):
        best = best[best["word"].isin(wanted)]
    for row in best.head(max(draw, 10)).to_dict("records"):
        say(f"{row['feature']:7}  {row['word']:12}  {row['precision']:9.2f}  {row['recall']:6.2f}")
    say(f"words    {table}\nfeatures {file}")
    chosen = best.head(max(draw, len(words)) if draw else 0)
    if chosen.empty:
        return
    drawn = draw_features(
        lens,
        fitted,
        read,
        chosen["feature"].tolist(),
        out,
        on=on,
        strength=strength,
        seed=seed,
        **sampler.arguments(),
    )
    write_csv(drawn.table.drop(columns="image"), numbers)
    sheet = drawn.grid([f"feature {one}: {word}" for one, word in chosen[["feature", "word"]].to_numpy()])
    write_whole(grid, lambda target: sheet.save(target, "png"))
    say(f"grid     {grid}\nnumbers  {numbers}")
    far = drawn.off_distribution
    if far:
        warn(
            f"Off distribution: features {', '.join(map(str, far))} steer a state farther from those of "
            "all captions than 95 % of states are. What it draws may mean nothing."
        )
