"""Drawn against said: the first layer at which a word is drawn, and the first at which it is said."""

import numpy as np
import pandas as pd

from diffusion_lens.analysis.emergence_of import checks_about
from diffusion_lens.checks import ask
from diffusion_lens.errors import CheckError, ScoresError
from diffusion_lens.runs import Prompt
from diffusion_lens.text.sites import Site

__all__ = ["first_layers"]


def first_layers(scores: pd.DataFrame, words: pd.DataFrame) -> pd.DataFrame:
    """Where each word of each prompt is first drawn and first said.

    Args:
        scores: of one model, reading and scorer: `result.score()`, over several layers.
        words: what the same layers say: `result.words()`, or `say_layers`. A layer says a word if it is
            among the words of any token. What parts of blocks say is left out.

    Returns:
        One row by prompt, word that a check is about, and way of saying (`by`): `first_said`, the first
        layer that says the word, and `last_said`; `first_drawn`, the first layer at which its check is
        right in more than half of the seeds that could be judged. A layer is missing where there is none.
        `last` is the deepest layer that was drawn.

    Raises:
        ScoresError: no word has a check that was answered, or the scores are of several series.
    """
    for column in scores.columns.intersection(["run", "encoder", "scorer"]):
        found = scores[column].dropna().unique()
        if len(found) > 1:
            raise ScoresError(
                f"The scores hold {len(found)} values of {column} ({', '.join(map(str, found))}), whose "
                f"layers are not the same. Give those of one: scores[scores[{column!r}] == {found[0]!r}]."
            )
    if "site" in words:
        hidden = [not Site.parse(str(site)).series for site in words["site"]]
        words = words[np.array(hidden, dtype=bool)]
    rows = []
    for prompt, said in words.groupby("prompt", sort=False):
        here = scores[(scores["prompt"] == prompt) & scores["label"].notna()]
        asked = ask([Prompt(str(prompt))]).prompts[0]
        for word in dict.fromkeys(str(token).strip().lower() for token in said["token"]):
            try:
                answers = here[here["check"].isin(checks_about(asked, word))]
            except CheckError:  # an article
                continue
            if answers.empty:
                continue
            rate = answers["label"].astype(float).groupby(answers["layer"]).mean()
            drawn = rate.index[rate > 0.5]
            for by, part in said.groupby("by", sort=False):
                spoken = (
                    part["said"].str.lower().str.split(", ").map(lambda found, word=word: word in found)
                )
                layers = part.loc[spoken, "layer"]
                rows.append(
                    {
                        "prompt": prompt,
                        "word": word,
                        "by": by,
                        "first_said": layers.min() if len(layers) else None,
                        "last_said": layers.max() if len(layers) else None,
                        "first_drawn": drawn.min() if len(drawn) else None,
                        "last": rate.index.max(),
                    }
                )
    if not rows:
        raise ScoresError(
            "No word of the prompts has a check that was answered: there is nothing to compare."
        )
    whole = dict.fromkeys(("first_said", "last_said", "first_drawn", "last"), "Int64")
    return pd.DataFrame(rows).astype(whole)
