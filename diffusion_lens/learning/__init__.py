"""Textual Inversion, LEGO and latent inversion: text states from images."""
