"""Words that no training caption held: missing from the states, or there and not read by the denoiser?

    python -m experiments.studies.untaught_words

A word such as "puppy" was in no caption of the denoiser's training, while "dog" was. Each layer's state of
the word, at its last token, is held against the mean states of the trained words in the same sentences: the
nearest mean, by the cosine of what is left without the mean over all trained words, says which of them it
stands for (a nearest class mean, as in Snell et al. 2017, arXiv 1703.05175, on states that nothing was
trained on). A trained word is read likewise, by means over the other sentences. How often the models draw
them is in the answers of `results/testbed`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from diffusion_lens.analysis.markdown import number
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.testbed.captions import with_article
from diffusion_lens.testbed.scenes import OBJECTS
from diffusion_lens.testbed.sprites import COLOURS
from diffusion_lens.testbed.synonyms import SYNONYMS
from experiments.studies.pages import Tables, enough, estimates, folders, write_study
from experiments.studies.points import draw_points
from experiments.studies.tables import in_order, kept, shares

__all__ = ["figures", "nearest", "page", "read_states", "read_words", "tabulate"]

ENCODER = "text_encoder"
MODELS = {
    "emoji": "minilm",
    "emoji-clip": "clip",
    "emoji-llm": "smollm2",
}  # as `results/testbed` calls them
TESTBED = Path("results/testbed")
TRAINED = {"object": tuple(OBJECTS), "colour": tuple(COLOURS)}
SENTENCES = {
    "object": (
        "{}",
        "a photo of {}",
        "{} on grass",
        "a picture of {} in the snow",
        "{} to the left of a star",
        "a red ball above {}",
    ),
    "colour": (
        "a {} ball",
        "a photo of a {} car",
        "a {} fish on grass",
        "a {} bird at night",
        "a {} star to the left of a dog",
        "a cat above a {} heart",
    ),
}
_NOTHING = 1e-12
READ, KNOWN, DRAWN, DRAWN_KNOWN = "read, untaught", "read, trained", "drawn, untaught", "drawn, trained"


def read_words(lens: DiffusionLens, kind: str, sentences: int) -> pd.DataFrame:
    """Which trained word each state of an untaught one, and of a trained one, is nearest to.

    Args:
        lens: the model.
        kind: "object" or "colour".
        sentences: how many of `SENTENCES` hold each word; two at least.

    Returns:
        One row for each word, sentence and layer: `word`, `how` (`READ`, `KNOWN`), `layer`, `right`.
    """
    trained = TRAINED[kind]
    told = [(one.phrase, one.target) for one in SYNONYMS if one.kind == kind and one.target in trained]
    words = [*trained, *(word for word, _ in told)]
    meant = [*trained, *(target for _, target in told)]
    asked = SENTENCES[kind][:sentences]
    states = read_states(lens, words, asked)
    found = nearest(states, len(trained))
    rows = []
    for (layer, place, _), which in np.ndenumerate(found):
        how = KNOWN if place < len(trained) else READ
        rows.append((words[place], how, layer, float(trained[which] == meant[place])))
    return pd.DataFrame(rows, columns=["word", "how", "layer", "right"])


def read_states(
    lens: DiffusionLens, words: Sequence[str], sentences: Sequence[str]
) -> Float[np.ndarray, "layer word sentence width"]:
    """The state of the last token of each word in each sentence, at each layer, before any final norm."""
    texts = [
        sentence.format(with_article(word) if "a {" not in sentence else word)
        for word in words
        for sentence in sentences
    ]
    reader, states = lens.reader(), lens.encode(texts)[ENCODER]
    found = []
    for index in range(len(texts)):
        one = states[index]
        at = reader.places_of(one).select(f"word:{words[index // len(sentences)]}")[-1]
        found.append(one.states[:, 0, at].float().cpu().numpy())
    stacked = np.stack(found, axis=1)
    return stacked.reshape(len(stacked), len(words), len(sentences), -1)


def nearest(
    states: Float[np.ndarray, "layer word sentence width"], trained: int
) -> Int[np.ndarray, "layer word sentence"]:
    """The word, by its place among the first `trained`, whose mean each state is nearest to.

    Means are over the other sentences, so that no state is held against a mean that it is in.
    """
    found = []
    for sentence in range(states.shape[2]):
        means = np.delete(states[:, :trained], sentence, axis=2).mean(axis=2)
        middle = means.mean(axis=1, keepdims=True)
        means, here = means - middle, states[:, :, sentence] - middle
        lengths = np.maximum(np.linalg.norm(means, axis=-1, keepdims=True), _NOTHING)
        # the length of the state itself is the same for all means
        found.append((here @ (means / lengths).swapaxes(1, 2)).argmax(axis=-1))
    return np.stack(found, axis=-1)


def tabulate(read: pd.DataFrame, drawn: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rates by model, kind, layer and how they were found.

    Args:
        read: answers of `read_words` of all models, with `model` and `kind`.
        drawn: the answers of `results/testbed`, of its last layers and of all layers.
    """
    names = {encoder: model for model, encoder in MODELS.items()}
    told = drawn.astype({"encoder": str, "group": str, "check": str, "caption": str, "right": float})
    told = told.assign(model=told["encoder"].map(names), word=told["caption"]).dropna(subset=["model"])
    parts = [read]
    for kind in TRAINED:
        of_kind = told[told["check"] == kind].assign(kind=kind)
        parts.append(of_kind[of_kind["group"] == f"synonyms of {kind}s"].assign(how=DRAWN))
        parts.append(of_kind[of_kind["group"] == "seen"].assign(how=DRAWN_KNOWN))
    columns = ["model", "kind", "how", "layer", "word", "right"]
    answers = pd.concat([part[columns] for part in parts], ignore_index=True).astype({"layer": int})
    rates = shares(answers, columns[:4], unit="word").sort_values("layer", kind="stable")
    order = {"how": [READ, DRAWN, KNOWN, DRAWN_KNOWN], "kind": list(TRAINED), "model": list(MODELS)}
    return {"rates": in_order(rates, **order)}


def figures(tables: Tables) -> dict[str, Figure]:
    """The rates by layer, a row for each model."""
    rates = enough(tables["rates"])
    panels = rates.assign(panel=rates["model"] + ": " + rates["kind"] + "s")
    return {
        "rates": draw_points(
            panels, "panel", "layer", "how", label="right answers", columns=2, apart_axes=True
        )
    }


def page(tables: Tables) -> str:
    """The findings, of the tables alone."""
    rates = tables["rates"]
    lines = [
        "# untaught_words: missing from the states, or not read?",
        "",
        '**Question:** a word that no training caption held ("puppy", "scarlet") is drawn as what it '
        "stands for less often than a trained one. Is that because the encoder's states do not say what it "
        "stands for, or because the denoiser does not read it off them?",
        "",
        "Each layer's state of a word's last token is held against the mean states of the trained words "
        f"({len(TRAINED['object'])} nouns, {len(TRAINED['colour'])} colours) in the other sentences; it is "
        "read rightly where the nearest mean is that of the word that it stands for. Nothing is trained "
        "for that, so that a word that is not read may be there all the same: these rates are lower bounds "
        "of what the states hold. Chance is one in the number of trained words; the encoder of "
        "`emoji-clip` was trained on the testbed's captions alone, so that what is read of it is what "
        "pieces that words share give. What is drawn is of "
        "[the testbed's evaluation](../testbed/README.md); a colour is asked for where its object is "
        "there. The unit is the word, of trained words that are drawn the caption; intervals are Wilson's, "
        "of 95 %.",
        "",
        "![Rates by layer](figures/rates.png)",
        "",
        *(line for model in MODELS for kind in TRAINED for line in _last(rates, model, kind)),
        "",
        "## All rates",
    ]
    for model, part in rates.groupby("model", sort=False):
        lines += ["", f"### {model}", "", *estimates(part, ["kind", "how"], "layer")]
    return "\n".join(lines) + "\n"


def _last(rates: pd.DataFrame, model: str, kind: str) -> list[str]:
    """What there is to say of the last layer of a model."""
    here = enough(rates[(rates["model"] == model) & (rates["kind"] == kind)])
    last = here[here["layer"] == here["layer"].max()].set_index("how")
    if not {READ, DRAWN, KNOWN, DRAWN_KNOWN} <= set(last.index):
        return []
    said = {how: number(*last.loc[how, ["rate", "low", "high"]], "{:.2f}") for how in last.index}
    return [
        f"- `{model}`, {kind}s, last layer: untaught words are read in {said[READ]} and drawn in "
        f"{said[DRAWN]}; trained words are read in {said[KNOWN]} and drawn in {said[DRAWN_KNOWN]}."
    ]


def main(
    out: Path = Path("results/untaught_words"),
    runs: Path = Path("runs/untaught_words"),
    dtype: str = "float32",
    quick: bool = False,
) -> None:
    """Read the words off the states and write the tables, the figure and the page.

    Args:
        out: the folder of results.
        runs: a folder for what is read of each model.
        dtype: the type of the weights.
        quick: one model and two sentences, to try the command; it all goes to runs/.../quick.
    """
    out, runs = folders(out, runs, quick)
    runs.mkdir(parents=True, exist_ok=True)
    sentences = 2 if quick else len(SENTENCES["object"])

    def read(model: str) -> pd.DataFrame:
        lens = DiffusionLens.from_pretrained(model, dtype=dtype)
        parts = [read_words(lens, kind, sentences).assign(model=model, kind=kind) for kind in TRAINED]
        return pd.concat(parts, ignore_index=True)

    models = list(MODELS)[:1] if quick else list(MODELS)
    found = [kept(runs / f"{model}.parquet", lambda model=model: read(model)) for model in models]  # type: ignore[misc]
    layers, last = (pd.read_parquet(TESTBED / f"{name}.parquet") for name in ("layers", "accuracy"))
    depths = last.groupby("encoder", observed=True)["layer"].max().to_dict()
    above = layers[layers["layer"] < layers["encoder"].astype(str).map(depths)]
    drawn = pd.concat([above, last])
    write_study(out, tabulate(pd.concat(found, ignore_index=True), drawn), page, figures)


if __name__ == "__main__":
    tyro.cli(main)
