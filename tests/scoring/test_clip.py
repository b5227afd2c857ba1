"""CLIP as a scorer: real classes at tiny sizes, against its formulas worked out by hand."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
)

from diffusion_lens.checks.assign import ask, whole
from diffusion_lens.checks.checks import Check
from diffusion_lens.models.clip import Clip
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.scoring.registry import make_scorers
from diffusion_lens.scoring.scorer import Source
from diffusion_lens.scoring.scorers.clip import ClipScorer, ClipSettings
from diffusion_lens.scoring.weights import share_of_weights, warn_if_circular
from diffusion_lens.testing.tokenizers import clip_tokenizer
from tests.scoring.made_runs import requests


def tiny_clip(seed: int = 0) -> CLIPModel:
    tokenizer = clip_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=16,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_factor=4.0,
    )
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=16,
        initializer_factor=4.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
        return CLIPModel(config).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A whole CLIP as it lies on the hub."""
    path = tmp_path_factory.mktemp("clip")
    tiny_clip().save_pretrained(path)
    clip_tokenizer().save_pretrained(path)
    CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def clip(folder) -> Clip:
    return Clip.from_pretrained(folder)


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8))


def cosine(clip: Clip, text: str, image: Image.Image) -> float:
    """From the model's own forward pass."""
    model = tiny_clip()
    tokens = clip.tokenizer([text], padding="max_length", return_tensors="pt").input_ids
    pixels = clip.processor([image], return_tensors="pt").pixel_values
    with torch.no_grad():
        output = model(input_ids=tokens, pixel_values=pixels)
    return float(output.text_embeds[0] @ output.image_embeds[0])


def test_it_is_a_scorer_that_gives_every_image_its_own_answers(clip):
    scorer = ClipScorer(clip, ClipSettings(batch_size=2))
    asked = ask([Prompt("a red fox"), Prompt("two cats")]).prompts
    worded = scorer.prepare(asked, Source())
    images = [noise(i) for i in range(5)]
    checks = [worded[i % 2].checks for i in range(5)]
    together = scorer.score(requests(images, checks))
    for image, of_image, judged in zip(images, checks, together, strict=True):
        assert [one.check_id for one in judged] == [check.id for check in of_image]
        [alone] = scorer.score(requests([image], [of_image]))
        assert [one.label for one in alone] == [one.label for one in judged]
        assert [one.p for one in alone] == pytest.approx([one.p for one in judged], abs=1e-5)


@pytest.mark.parametrize(("weight", "prefix"), [(2.5, "A photo depicts "), (1.0, "")])
def test_clipscore_is_the_formula_of_its_paper(clip, weight, prefix):
    scorer = ClipScorer(clip, ClipSettings(weight=weight, prefix=prefix))
    for seed in range(6):
        for prompt in ("a red fox", "a blue car"):
            expected = weight * max(cosine(clip, prefix + prompt, noise(seed)), 0)
            [[judged]] = scorer.score(requests([noise(seed)], [[whole(prompt)]]))
            assert judged.raw["clipscore"] == pytest.approx(expected, abs=1e-5)
            assert judged.p == pytest.approx(min(expected, 1), abs=1e-5) and judged.label is None


def test_a_choice_is_a_softmax_over_the_scaled_cosines(clip):
    texts = ("a red fox", "a blue fox", "a green fox")
    check = Check("attribute-0", "attribute", "Is the fox red?", answer=texts[0], choices=texts)
    for seed in range(4):
        [[judged]] = ClipScorer(clip).score(requests([noise(seed)], [[check]]))
        logits = clip.scale * np.array([cosine(clip, text, noise(seed)) for text in texts])
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        assert judged.p == pytest.approx(shares[0], abs=1e-4)
        assert judged.label == (shares.argmax() == 0)
        assert judged.chance == pytest.approx(1 / 3)
        assert judged.raw["chosen"] == texts[shares.argmax()]


def test_over_many_pictures_of_nothing_a_choice_is_right_as_often_as_chance_says(clip):
    """Every caption is the answer in its turn, so that whatever the model prefers evens out."""
    texts = ("a red fox", "a blue car", "a green tree", "a black cat")
    images = [noise(seed) for seed in range(10)]
    right = 0
    for answer in texts:
        check = Check("c", "object", "?", answer=answer, choices=texts)
        right += sum(one[0].label for one in ClipScorer(clip).score(requests(images, [[check]] * 10)))
    assert right == 10


def test_a_check_that_no_caption_is_set_against_is_missing(clip):
    check = Check("object-0", "object", "Is there a fox?", subject="fox")
    [[judged]] = ClipScorer(clip).score(requests([noise(0)], [[check]]))
    assert judged.label is None and judged.p is None and "no other prompt" in judged.reason


def test_texts_that_are_cut_are_told_once(clip, caplog):
    scorer = ClipScorer(clip)
    for _ in range(2):
        scorer.score(requests([noise(0)], [[whole("a red fox and " * 20)]]))
    assert caplog.text.count("longer texts are cut") == 1


def test_a_folder_of_towers_and_a_folder_of_the_whole_are_one_clip(folder, clip, tmp_path):
    clip.text.save_pretrained(tmp_path / "text_encoder")
    clip.vision.save_pretrained(tmp_path / "image_encoder")
    config = tmp_path / "image_encoder" / "config.json"
    # where the testbed's towers keep the scale of their logits
    told = json.loads(config.read_text()) | {"logit_scale_init_value": math.log(clip.scale)}
    config.write_text(json.dumps(told))
    clip.tokenizer.save_pretrained(tmp_path / "tokenizer")
    clip.processor.save_pretrained(tmp_path / "feature_extractor")
    towers = Clip.from_pretrained(tmp_path)
    assert towers.scale == pytest.approx(clip.scale)
    assert torch.allclose(towers.embed_texts(["a fox"]), clip.embed_texts(["a fox"]), atol=1e-6)
    assert torch.allclose(towers.embed_images([noise(0)]), clip.embed_images([noise(0)]), atol=1e-6)


def test_what_is_no_clip_or_not_there_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    for name, message in [
        (tmp_path, "is a 'bert', no CLIP"),
        ("nowhere/clip", "hf download nowhere/clip"),
    ]:
        made, failed = make_scorers(["clip"], {"clip": ClipSettings(str(name))})
        assert not made and message in failed["clip"]


def test_shared_weights_are_told_by_the_weights_alone(clip, tmp_path, caplog):
    """Under another class, another configuration, other names and half precision."""
    encoder = CLIPTextModel._from_config(clip.text.config)
    encoder.text_model = clip.text.text_model
    same, other = tmp_path / "same" / "text_encoder", tmp_path / "other" / "text_encoder"
    encoder.half().save_pretrained(same)
    clip.text.float()
    renamed = {f"x.{name}": weight for name, weight in load_file(same / "model.safetensors").items()}
    save_file(renamed, same / "model.safetensors")
    tiny_clip(1).save_pretrained(other)
    assert share_of_weights(clip.text, [same / "model.safetensors"]) > 0.9
    assert share_of_weights(clip.text, [other / "model.safetensors"]) < 0.1
    with caplog.at_level(logging.WARNING):
        models = {str(tmp_path / name): None for name in ("same", "other", "nowhere/to be found")}
        assert warn_if_circular("clip", clip.text, models) == [str(tmp_path / "same")]
    assert "the two agree by construction" in caplog.text


def test_the_version_follows_weights_and_wording(clip):
    def version(found: Clip, **settings: object) -> str:
        return ClipScorer(found, ClipSettings(**settings)).version

    changed = Clip(
        clip.name, tiny_clip(1).text_model, clip.vision, clip.tokenizer, clip.processor, clip.scale
    )
    versions = {version(clip), version(clip, prefix=""), version(clip, choices=4), version(changed)}
    assert len(versions) == 4 and version(clip) == version(clip)
