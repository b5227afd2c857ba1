"""Benchmarks: the lens and learning beside the plain pipeline, and what the hardware allows."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
