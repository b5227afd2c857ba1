"""A run as data: the experiment, its plan, its table of images and its store."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
