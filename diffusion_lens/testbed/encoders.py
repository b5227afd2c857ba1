"""Text encoders that a denoiser of the testbed can read: pretrained, trained here, or untrained.

- `minilm`: the frozen all-MiniLM-L6-v2, a real language encoder. It knows words that no caption holds.
- `smollm2`: the first 15 blocks of the frozen SmolLM2-135M-Instruct, a decoder language model.
- `clip`: the text tower that the clip stage trained; the training folder holds it.
- `random`: a control. Random embeddings with positions, through blocks that add nothing: its states
  are the same at every layer, so whatever a lens shows of it must be flat.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from diffusion_lens.errors import InputError
from diffusion_lens.models.embedded_encoders import load_minilm, load_smollm2
from diffusion_lens.testbed.choices import EncoderName
from diffusion_lens.testbed.tokenizer import TOKENS as CLIP_TOKENS
from diffusion_lens.testbed.tokenizer import train_tokenizer

__all__ = ["CaptionEncoder", "fast_bfloat16", "text_config", "untrained"]

MINILM_TOKENS, SMOLLM2_TOKENS = 20, 24  # captions are padded and cut to these lengths


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32: on a CPU without AVX-512 it is 15 times slower."""
    return device.type != "cpu" or "AVX512" in torch.backends.cpu.get_cpu_capability()


class CaptionEncoder:
    """A frozen text encoder: captions to the hidden states that a Stable Diffusion pipeline gives."""

    def __init__(self, kind: EncoderName, folder: Path, device: torch.device) -> None:
        """Load an encoder; `folder` holds (`clip`) or gets (`random`) its weights.

        Raises:
            InputError: the clip stage has not been trained in `folder`.
        """
        self.kind, self.device = kind, device
        self.tokenizer: Any
        model: Any
        if kind == "minilm":
            self.tokenizer, model = load_minilm(MINILM_TOKENS)
        elif kind == "smollm2":
            # it is large, and its own weights are in bfloat16
            dtype = torch.bfloat16 if fast_bfloat16(device) else torch.float32
            self.tokenizer, model = load_smollm2(SMOLLM2_TOKENS, dtype)
        else:
            if kind == "random" and not (folder / "text_encoder").exists():
                untrained(folder)
            if not (folder / "text_encoder" / "config.json").exists():
                raise InputError(f"no text encoder in {folder / 'text_encoder'}: train stage clip first")
            self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
            model = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
        self.model = model.to(device).eval().requires_grad_(False)
        self.width = int(self.model.config.hidden_size)

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> Tensor:
        """States of the last layer in half precision, `[caption, token, width]`, on the CPU."""
        masked = getattr(self.model.config, "use_attention_mask", False)
        parts = []
        for first in range(0, len(texts), 128):
            tokens = self.tokenizer(
                texts[first : first + 128], padding="max_length", truncation=True, return_tensors="pt"
            ).to(self.device)
            mask = tokens.attention_mask if masked else None
            states = self.model(tokens.input_ids, attention_mask=mask).last_hidden_state
            parts.append(states.half().cpu())
        return torch.cat(parts)


def text_config(width: int, layers: int, tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """Configure a text tower as Stable Diffusion's: pre-norm blocks, causal, a final norm."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        max_position_embeddings=CLIP_TOKENS,
        # left out, these name CLIP's own tokens, and the pooled state is read at the wrong place
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


@torch.no_grad()
def untrained(folder: Path, width: int = 128, layers: int = 12, seed: int = 0) -> None:
    """Write the control to `folder/text_encoder` and `folder/tokenizer`."""
    tokenizer = train_tokenizer()
    torch.manual_seed(seed)
    model = CLIPTextModel(text_config(width, layers, tokenizer))
    torch.nn.init.normal_(model.get_input_embeddings().weight)
    for name, parameter in model.named_parameters():
        if "position_embedding" in name:
            torch.nn.init.normal_(parameter)
        if "out_proj" in name or "fc2" in name:  # what a block adds to the residual stream
            parameter.zero_()
    model.save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
