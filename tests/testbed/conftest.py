"""What the tests of training share: a tokenizer that takes seconds to learn, and smaller measurements."""

from collections.abc import Iterator
from importlib import resources

import pytest
from transformers import CLIPTokenizer

from diffusion_lens.testbed import autoencoder, clip, diffusion, distil, encoders


@pytest.fixture(scope="session")
def shipped_tokenizer() -> CLIPTokenizer:
    """The embedded CLIP's: `test_tokenizer` says that it is the one that is learned."""
    with resources.as_file(resources.files("diffusion_lens") / "testbed/weights/emoji-clip") as folder:
        return CLIPTokenizer.from_pretrained(folder / "tokenizer")


@pytest.fixture(scope="module", autouse=True)
def sooner_trained(shipped_tokenizer: CLIPTokenizer) -> Iterator[None]:
    """Stages are validated on few scenes, map few captions, and read the tokenizer from a file."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (clip, encoders):
            patch.setattr(module, "train_tokenizer", lambda: shipped_tokenizer)
        for module in (autoencoder, clip, diffusion, distil):
            patch.setattr(module, "VALIDATION_SCENES", 32)
        patch.setattr(autoencoder, "SCALE_SCENES", 64)
        patch.setattr(distil, "FIRST_MAP", 64)
        yield
