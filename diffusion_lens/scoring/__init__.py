"""Scoring: yes/no questions on images, who answers them, and the one table that all answers go to."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
