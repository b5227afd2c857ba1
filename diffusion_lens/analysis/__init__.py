"""Analysis: from a table of scores to curves, emergence, contrasts and their honest intervals."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
