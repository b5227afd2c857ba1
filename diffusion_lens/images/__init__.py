"""From conditioning to images: the denoiser, its settings, speed-ups and approximations."""
