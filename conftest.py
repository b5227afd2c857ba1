"""Before anything imports the package: its annotations are checked while the tests run."""

from tests.checked_types import install

install("diffusion_lens")
