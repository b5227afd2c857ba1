"""Drawn against said: known scores and words give known first layers, and each lies at its place."""

import pandas as pd
import pytest

from diffusion_lens.analysis import checks_about, first_layers
from diffusion_lens.checks import ask
from diffusion_lens.errors import ScoresError
from diffusion_lens.figures import draw_first_layers
from diffusion_lens.runs import Prompt

PROMPT = "a red fox"


def scores(**right: list[list[bool | None]]) -> pd.DataFrame:
    """Answers of two seeds by layer, of the checks of a prompt."""
    return pd.DataFrame(
        {"prompt": PROMPT, "check": check, "layer": layer, "seed": seed, "label": label}
        for check, layers in right.items()
        for layer, labels in enumerate(layers)
        for seed, label in enumerate(labels)
    )


def words(*said: tuple[int, str, str]) -> pd.DataFrame:
    columns = ["layer", "token", "said"]
    return pd.DataFrame(said, columns=columns).assign(prompt=PROMPT, by="head")


SAID = words(
    *((0, " fox", "fox, foxes"), (1, " fox", "animal, of"), (2, " fox", "Fox, cat")),
    *((0, " red", "apple, of"), (1, " red", "colour, fox"), (2, " red", "of, and"), (0, "a", "a, the")),
)
HALF, BOTH, NONE, UNKNOWN = [True, False], [True, True], [False, False], [None, None]


def names() -> dict[str, str]:
    """The ids of the checks of the prompt, by the word that they are about."""
    asked = ask([Prompt(PROMPT)]).prompts[0]
    return {word: checks_about(asked, word)[0] for word in ("fox", "red")}


def test_the_first_layers_of_known_answers():
    ids = names()
    table = first_layers(
        scores(**{ids["fox"]: [NONE, HALF, BOTH], ids["red"]: [BOTH, NONE, UNKNOWN]}), SAID
    )
    found = table.set_index("word")
    assert list(found.loc["fox", ["first_said", "last_said", "first_drawn", "last"]]) == [0, 2, 2, 2]
    assert found.loc["red", "first_drawn"] == 0 and found.loc["red", ["first_said"]].isna().all()
    assert len(table) == 2, "no check is about an article"


def test_what_is_never_drawn_stands_behind_the_last_layer():
    ids = names()
    table = first_layers(scores(**{ids["fox"]: [NONE, NONE, NONE], ids["red"]: [BOTH] * 3}), SAID)
    (axis,) = draw_first_layers(table).axes
    spots = {tuple(spot.get_offsets()[0]) for spot in axis.collections}
    assert spots == {(0, 4), (4, 0)}  # fox: said at once, never drawn; red: the other way round
    assert [text.get_text() for text in axis.get_xticklabels()][-1] == "never"


def test_nothing_that_was_answered():
    with pytest.raises(ScoresError, match="No word of the prompts has a check that was answered"):
        first_layers(scores(**{names()["fox"]: [UNKNOWN]}), SAID)
    with pytest.raises(ScoresError, match="No word of the prompts has a check that was answered"):
        first_layers(scores(**{names()["fox"]: [BOTH]}), SAID.assign(site="2")[:0])


def test_parts_of_a_block_are_no_layers():
    ids = names()
    known = scores(**{ids["fox"]: [NONE, NONE, BOTH]})
    said = pd.concat(
        [SAID.assign(site=SAID["layer"].astype(str)), SAID.iloc[4:5].assign(site="1.attn", said="red")]
    )
    before = first_layers(known, said[said["site"] != "1.attn"])
    pd.testing.assert_frame_equal(first_layers(known.assign(run="emoji"), said), before)
    both = pd.concat([known.assign(run="emoji"), known.assign(run="emoji attn")])
    with pytest.raises(ScoresError, match=r"2 values of run \(emoji, emoji attn\).* == 'emoji'\]"):
        first_layers(both, said)
