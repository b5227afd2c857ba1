"""Looking at results: a report in one file, an explorer in the browser, a viewer for notebooks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
