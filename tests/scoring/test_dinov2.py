"""DINOv2 as a measure of similarity: a real one at a tiny size, against its own forward pass."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

from diffusion_lens.scoring.measures import load_dinov2


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8))


def test_it_is_the_cosine_of_the_class_tokens(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Dinov2Model(
            Dinov2Config(
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=28,
                patch_size=14,
                initializer_range=0.5,
            )
        ).eval()
    model.save_pretrained(tmp_path)
    processor = BitImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor.save_pretrained(tmp_path)
    measure = load_dinov2(str(tmp_path))
    images = [noise(0), noise(1)]
    one, other = measure.describe(images)
    with torch.no_grad():
        tokens = model(**processor(images, return_tensors="pt")).last_hidden_state[:, 0]
    expected = float(torch.nn.functional.cosine_similarity(tokens[:1], tokens[1:]))
    assert measure.compare(one, other) == pytest.approx(expected, abs=1e-5)
    assert measure.compare(one, one) == pytest.approx(1) and measure.describe([]) == []
    assert str(tmp_path) in measure.version
