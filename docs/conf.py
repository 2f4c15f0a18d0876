"""The documentation site: `make docs` builds it into build/docs, with warnings as errors."""

import re
from pathlib import Path
from typing import Any

import myst_nb.core.render
from myst_nb.core.utils import coalesce_streams

ROOT = Path(__file__).parents[1]

project = "foldstill"
author = "the foldstill developers"
copyright = "2026, the foldstill developers"
version = release = re.findall(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)[0]

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
]
templates_path = ["_templates"]
exclude_patterns = ["_checks.md"]
html_theme = "pydata_sphinx_theme"
html_title = "foldstill"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
# The theme of the reader's system, until the reader picks another one.
html_context = {"default_mode": "auto"}
html_css_files = ["foldstill.css"]
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": []}

# Journeys are executed when they are built, and a cell that fails stops the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 240
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
# Pages link to files of the repository (../src, ../examples), which are no pages of the site.
suppress_warnings = ["myst.xref_missing", "mystnb.unknown_mime_type"]

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
copybutton_prompt_text = r">>> |\$ "
copybutton_prompt_is_regexp = True


def _write_generated(app: object) -> None:
    """Pages that are made of the code: the list of public names, and the checks of the audit."""
    from foldstill.oof.checks import CHECKS

    docs = Path(__file__).parent
    lines = ["| check | title | severity | what it asks |", "| --- | --- | --- | --- |"]
    lines += [f"| {one.id} | {one.title} | {one.severity} | {one.summary} |" for one in CHECKS]
    (docs / "_checks.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _whole_streams(outputs: list[Any]) -> list[Any]:
    """The outputs of a cell, each stream as one text.

    IPython hands over what a command prints in parts of 100 bytes, and myst-nb 1.4 ends each part with a line break: on
    a busy machine, lines and colours were cut.
    """
    whole: list[Any] = []
    streams: dict[str, Any] = {}
    for output in outputs:
        name = output["name"] if output["output_type"] == "stream" else None
        if name in streams:
            streams[name]["text"] += output["text"]
            continue
        whole.append(output)
        if name is not None:
            streams[name] = output
    return coalesce_streams(whole)


def _name_toggles(app: object, page: str, template: str, context: dict[str, Any], tree: object) -> None:
    """Names the arrows of the side bar: the theme leaves them without text, so that a screen reader says nothing."""
    generate = context["generate_toctree_html"]

    def named(kind: str, **options: Any) -> Any:
        made = generate(kind, **options)
        # The side bar is text or a tree of elements, which the template prints as text.
        label = '<summary aria-label="Pages of this section">'
        return made if kind == "raw" else str(made).replace("<summary>", label)

    context["generate_toctree_html"] = named


def setup(app):  # type: ignore[no-untyped-def]
    myst_nb.core.render.coalesce_streams = _whole_streams
    app.connect("builder-inited", _write_generated)
    # After the theme, which adds the function.
    app.connect("html-page-context", _name_toggles, priority=900)
