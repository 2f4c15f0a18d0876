"""Values as data frames and as small HTML tables for notebooks."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from foldstill.errors import ArgumentError, require_package

FrameLibrary = Literal["pandas", "polars"]
"""The library of a data frame; polars is an optional extra."""

SHOWN = 12
"""Number of lines of a table in a notebook; the frame has all of them."""


def make_frame(columns: Mapping[str, Any], library: FrameLibrary = "pandas") -> Any:
    """Columns by name as a data frame.

    >>> make_frame({"arm": ["average"], "kl": [0.7]}).to_dict("list")
    {'arm': ['average'], 'kl': [0.7]}
    """
    if library == "pandas":
        import pandas as pd

        return pd.DataFrame(dict(columns))
    if library != "polars":
        raise ArgumentError(f"library must be 'pandas' or 'polars', got {library!r}")
    require_package("polars", "polars", purpose="library='polars'", error=ArgumentError)
    import polars

    return polars.DataFrame({name: list(values) for name, values in columns.items()})


def html_table(title: str, lines: Sequence[Mapping[str, Any]], note: str = "") -> str:
    """A title, a table of at most 12 lines and a note, in the colours of the page that shows them."""
    import html

    import pandas as pd

    shown = pd.DataFrame(list(lines[:SHOWN])).to_html(
        index=False, border=0, na_rep="", float_format=lambda value: f"{value:z.4f}", justify="left"
    )
    more = f"{len(lines) - SHOWN} more lines: to_frame() has them all. " if len(lines) > SHOWN else ""
    foot = f"<p><small>{html.escape(more + note)}</small></p>" if more or note else ""
    return f"<div><p><strong>{html.escape(title)}</strong></p>{shown}{foot}</div>"


def markdown_table(lines: Sequence[Mapping[str, str]]) -> str:
    r"""Lines of text as a Markdown table.

    >>> print(markdown_table([{"arm": "a|b", "KL": "0.5"}]))
    | arm | KL |
    | --- | --- |
    | a\|b | 0.5 |
    """
    rows = [list(lines[0]), ["---"] * len(lines[0]), *(list(line.values()) for line in lines)]
    return "\n".join("| " + " | ".join(value.replace("|", "\\|") for value in row) + " |" for row in rows)
