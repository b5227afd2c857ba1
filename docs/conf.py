"""How the documents are built: `make docs`. Everything is local: no outside fonts, scripts or pages."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for the extensions in `lens_site`

import diffusion_lens  # noqa: E402

project = "Diffusion Lens"
copyright = "the diffusion_lens developers, Apache-2.0"
version = release = diffusion_lens.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "lens_site.docstrings",
    "lens_site.generated",
    "lens_site.run",
]
exclude_patterns = ["build"]
html_theme = "furo"
html_title = "Diffusion Lens"
html_static_path = ["static"]
html_css_files = ["lens.css"]
html_show_sphinx = False
html_copy_source = False
html_last_updated_fmt = None

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# notebooks are executed by `make notebooks`; the pages show their committed outputs
nb_execution_mode = "off"
nb_merge_streams = True

default_role = "code"  # a word in single backticks, as in Markdown
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
