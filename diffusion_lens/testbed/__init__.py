"""The embedded model: emoji scenes with exact ground truth, and a diffusion model of them."""
