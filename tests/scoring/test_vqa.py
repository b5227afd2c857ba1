"""A model that answers questions: a real one at a tiny size, against its own logits."""

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from diffusion_lens.checks.assign import whole
from diffusion_lens.checks.checks import Check
from diffusion_lens.errors import CheckError, ScorerError
from diffusion_lens.scoring.answering import judge_answer, pose, spelled
from diffusion_lens.scoring.scorers.vqa import VqaScorer
from tests.scoring.made_runs import requests

FOX = Check("c", "object", "Is there a fox?", subject="fox")
LONG = Check("d", "relation", "Is the small red fox that sits on the grass to the left of the dog?")


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE in which some spellings of yes and no are one token, and others are not."""
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "</s>", "<image>"],
    )
    words.train_from_iterator(
        ["Yes yes", "x Yes", "No no", "x No", "yes.", "YES", "nothing yesterday"] * 9, trainer
    )
    return PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("llava")
    tokenizer = byte_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        initializer_range=0.5,
    )
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlavaForConditionalGeneration(
            LlavaConfig(vision_config=vision, text_config=text, image_token_index=image_token)
        )
        # at their default size the weights of so small a model make pictures all alike
        torch.nn.init.normal_(model.model.multi_modal_projector.linear_2.weight, std=1.0)
    model.save_pretrained(path)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        image_processor=processor,
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def scorer(folder) -> VqaScorer:
    return VqaScorer.from_pretrained(str(folder), dtype="float32", batch_size=3)


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8))


def masses(scorer: VqaScorer, image: Image.Image, check: Check) -> dict[str, float]:
    """Sums over the whole vocabulary of what the model says next, by the word that a token spells."""
    text = f"<image>\nQuestion: {pose(check).text} Answer:"
    inputs = scorer.processor(images=[image], text=[text], return_tensors="pt")
    with torch.no_grad():
        shares = scorer.model(**inputs).logits[0, -1].softmax(-1)
    found: dict[str, float] = {}
    for index, share in enumerate(shares.tolist()):
        word = scorer.processor.tokenizer.decode([index]).strip(" .,!\n").lower()
        found[word] = found.get(word, 0.0) + share
    return found


def test_all_spellings_that_are_one_token_count_and_each_once(scorer):
    tokens = {
        answer: {scorer.processor.tokenizer.decode([i]) for i in ids}
        for answer, ids in scorer._tokens.items()
    }
    assert {"Yes", "yes", " Yes", "YES"} <= tokens["yes"] and {"No", " No"} <= tokens["no"]
    assert not {" yesterday", "nothing", "not"} & (tokens["yes"] | tokens["no"])
    assert all(len(ids) == len(set(ids)) for ids in scorer._tokens.values())


def test_p_is_the_probability_of_yes_for_each_question_on_each_picture(scorer):
    images = [noise(seed) for seed in range(4)]
    checks = [[FOX, LONG], [whole("a red fox")], [], [LONG]]
    judged = scorer.score(requests(images, checks))
    assert [[one.check_id for one in row] for row in judged] == [["c", "d"], ["prompt"], [], ["d"]]
    for image, of_image, row in zip(images, checks, judged, strict=True):
        for check, one in zip(of_image, row, strict=True):
            expected = masses(scorer, image, check)
            answers = one.raw["answers"]
            assert answers["yes"] == pytest.approx(expected["yes"], abs=1e-4)
            assert answers["no"] == pytest.approx(expected["no"], abs=1e-4)
    assert judged[0][1].raw != judged[3][0].raw


@pytest.mark.parametrize(
    ("found", "answer", "p", "label"),
    [
        ({"yes": 0.7, "no": 0.2}, "yes", 0.7, True),
        ({"yes": 0.3, "no": 0.6}, "yes", 0.3, False),
        ({"yes": 0.3, "no": 0.6}, "no", 0.6, True),
        ({"yes": 0.05, "no": 0.04}, "yes", None, None),
        ({"yes": 0.4, "no": 0.4}, "yes", 0.4, None),
    ],
)
def test_a_judgement_follows_from_the_masses(found, answer, p, label):
    check = Check("c", "object", "Is there a fox?", answer=answer)
    judged = judge_answer(check, pose(check), found, {})
    assert (judged.p, judged.label) == (p, label)
    if label is None:
        tied = "answers 'yes' or 'no', equally likely"
        assert judged.reason == (tied if p else "answers none of ['yes', 'no'] (together 0.09)")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" Yes", "yes"),
        ("YES.", "yes"),
        ("**no**", "no"),
        ("No,", "no"),
        ("A", "A"),
        ("(B)", "B"),
        ("a", None),
        ("yesterday", None),
        ("not", None),
        ("", None),
        ("!", None),
    ],
)
def test_a_spelling_is_an_answer_or_not(text, answer):
    assert spelled(text) == answer


def test_choices_are_dealt_to_letters_without_preference():
    """Over many questions the right answer stands at each letter about equally often."""
    counts = {letter: 0 for letter in "ABC"}
    for number in range(600):
        check = Check("c", "object", f"Question {number}?", answer="x", choices=("x", "y", "z"))
        question = pose(check)
        assert question == pose(check) and question.meanings[0] == "x"
        assert f"{question.answers[0]}. x" in question.text
        counts[question.answers[0]] += 1
    assert min(counts.values()) > 150


def test_a_choice_is_judged_by_its_share():
    check = Check("c", "object", "Which?", answer="x", choices=("x", "y", "z"))
    question = pose(check)
    right, other, third = question.answers
    judged = judge_answer(check, question, {right: 0.4, other: 0.1, third: 0.3}, {})
    assert judged.p == pytest.approx(0.5) and judged.label and judged.chance == pytest.approx(1 / 3)


def test_a_tie_of_wrong_choices_is_wrong_and_one_with_the_right_choice_has_no_label():
    check = Check("c", "object", "Which?", answer="x", choices=("x", "y", "z"))
    question = pose(check)
    right, other, third = question.answers
    wrong = judge_answer(check, question, {right: 0.1, other: 0.4, third: 0.4}, {})
    tied = judge_answer(check, question, {right: 0.4, other: 0.4, third: 0.1}, {})
    assert wrong.label is False and tied.label is None and tied.p == pytest.approx(4 / 9)


def test_more_choices_than_letters_are_missing_and_others_are_answered(scorer):
    many = tuple(f"thing {number}" for number in range(27))
    most = Check("most", "identity", "Which?", answer="thing 0", choices=many[:26])
    over = Check("over", "identity", "Which?", answer="thing 0", choices=many)
    first, second = scorer.score(requests([noise(0)], [[over, FOX]]))[0]
    assert (first.check_id, first.p, first.label, second.check_id) == ("over", None, None, "c")
    assert first.reason == scorer.why_not(over) == "it has 27 choices, and an answer by letter allows 26"
    assert scorer.why_not(most) is None and "Z. thing" in pose(most).text
    with pytest.raises(CheckError, match="'over' can't be asked: it has 27 choices"):
        pose(over)


def test_a_chat_template_is_used_where_there_is_one(scorer):
    template = (
        "{% for m in messages %}{{ m.role }}:{% for c in m.content %}"
        "{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}{% endfor %} answer:"
    )
    scorer.processor.chat_template = template
    try:
        assert scorer._format("Is it?") == "user:<image>Is it? answer:"
        assert len(scorer.score(requests([noise(0)], [[FOX]]))[0]) == 1
    finally:
        scorer.processor.chat_template = None


def test_a_model_that_is_not_there_is_named():
    with pytest.raises(ScorerError, match=r"can't load nowhere/model.*hf download nowhere/model"):
        VqaScorer.from_pretrained("nowhere/model")
