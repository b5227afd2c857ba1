"""Sweeps: many prompts, layers and seeds, planned, drawn, kept and resumed as one run."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
