"""What the package promises as a whole."""

import importlib
import pkgutil

import diffusion_lens


def test_what_is_exported_is_there():
    for name in diffusion_lens.__all__:
        assert getattr(diffusion_lens, name) is not None
    assert set(dir(diffusion_lens)) == set(diffusion_lens.__all__)


def test_every_module_has_a_first_line_and_exports_what_it_has():
    for module in pkgutil.walk_packages(diffusion_lens.__path__, "diffusion_lens."):
        if module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        assert loaded.__doc__, module.name
        for name in getattr(loaded, "__all__", []):
            assert hasattr(loaded, name), (module.name, name)
