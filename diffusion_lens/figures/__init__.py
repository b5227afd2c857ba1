"""Figures: tables made elsewhere, drawn as a paper prints them."""
