"""Models: text encoders, pipelines, hooks, and one door to load them by."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
