"""The documentation site: Sphinx over the sources that assemble.py puts together."""

import importlib.util
import os

import i2r

project = "i2r"
author = "The i2r developers"
copyright = author
version = release = i2r.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
# Beside the notebooks lie the files that they use.
exclude_patterns = ["pipelines/**/*.md", "pipelines/*.md", "smoke", "demo"]

# Pages are written for GitHub too, where headings may skip levels and files lie beside the text.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]

# Tutorials run as they stand; 'off' shows them without results.
nb_execution_mode = os.environ.get("I2R_SITE_NOTEBOOKS", "force")
nb_execution_timeout = 900
nb_execution_in_temp = False
# It needs timm, which i2r does not.
if importlib.util.find_spec("timm") is None:
    nb_execution_excludepatterns = ["pipelines/notebooks/own_encoder.ipynb"]
nb_execution_raise_on_error = True

autodoc_typehints = "none"  # numpydoc's own words say more
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"i2r {i2r.__version__}"
html_show_sourcelink = False
html_theme_options = {"source_repository": "https://github.com/i2r-project/i2r"}
