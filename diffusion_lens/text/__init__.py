"""From a prompt to conditioning: sites, hidden states, readouts and learned embeddings."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
