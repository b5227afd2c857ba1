"""A latent diffusion model taken apart: its latents, its sampling, what it attends to."""
