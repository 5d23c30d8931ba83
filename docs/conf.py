"""Settings of the documentation site: `make docs` builds it, without a network, with warnings as errors."""

import os
import sys
import warnings
from importlib.metadata import version as installed_version
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent / "_extensions")]
os.environ.setdefault("TQDM_DISABLE", "1")
warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}\n"  # no path of this machine

project = "gradkern"
author = "The gradkern authors"
project_copyright = author
version = release = installed_version("gradkern")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "reference_pages",
    "repository_pages",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_extensions", "tutorials/*.py", "tutorials/*.ipynb", "tutorials/*.zip"]
templates_path: list[str] = []
nitpicky = False  # `names` in docstrings are links where there is such a name, and code where there is none
default_role = "py:obj"

autosummary_generate = False  # reference_pages writes a page for every public name
autodoc_preserve_defaults = True  # DEFAULT_ALPHAS, not its 41 numbers
autodoc_typehints = "none"  # signatures stay readable; types are in the docstrings
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
python_display_short_literal_types = True

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]
sphinx_gallery_conf = {
    "examples_dirs": ["../examples/tutorials"],
    "gallery_dirs": ["tutorials"],
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,  # its page would load a script of another host
    "plot_gallery": os.environ.get("GRADKERN_TUTORIALS", "run") == "run",
    "reset_modules": ("matplotlib",),
}

html_theme = "pydata_sphinx_theme"
html_title = f"gradkern {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_depth": 2,
    "header_links_before_dropdown": 7,
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "pygments_light_style": "tango",
}
html_context = {"default_mode": "light"}
