"""The command line: one verb per job, one module per kind of job.

A module of this package registers its verbs (see `verbs`). It imports torch and diffusers inside the verb
that needs them, so that help is instant.
"""

from diffusion_lens.cli.entry import main

__all__ = ["main"]
