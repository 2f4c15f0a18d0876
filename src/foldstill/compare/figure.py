"""A figure as text: an SVG whose colours follow the page, with the numbers it was drawn from."""

import base64
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from foldstill.csv_files import csv_lines, no_formula

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Figures are drawn in these light colours; a page may override each by a CSS property, a saved file keeps them.
COLOURS = {
    "card": "#ffffff",
    "ink": "#1f2328",
    "muted": "#68717b",
    "grid": "#dfe3e8",
    "blue": "#2458c5",
    "orange": "#bd560b",
    "purple": "#7a41c2",
    "green": "#1b7a4a",
    "sky": "#4d9fd6",
}


@dataclass(frozen=True)
class Figure:
    """An SVG with its title, its caption and its numbers."""

    key: str
    title: str
    caption: str
    svg: str
    header: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @property
    def inline(self) -> str:
        """The SVG for a page: without the XML header, with a label for screen readers."""
        body = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", self.svg[self.svg.index("<svg") :])
        label = self.title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
        return body.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)

    @property
    def csv(self) -> str:
        """The numbers as CSV."""
        header, *rows = ([no_formula(value) for value in line] for line in (self.header, *self.rows))
        return csv_lines(header, rows)

    @property
    def svg_uri(self) -> str:
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()

    @property
    def csv_uri(self) -> str:
        # Base64 would add a third to digits and commas.
        return "data:text/csv;charset=utf-8," + quote(self.csv, safe=",.+-")


@dataclass
class Drawing:
    """A canvas to draw on; `svg` is set when the block ends."""

    canvas: "Canvas"
    axes: "list[Axes]"
    svg: str = field(default="")


_OF_PYPLOT: "ContextVar[list[Axes] | None]" = ContextVar("_OF_PYPLOT", default=None)


@contextmanager
def drawn_with_pyplot() -> "Iterator[list[Axes]]":
    """Inside, figures are drawn with pyplot, so that a notebook shows them; gives a list that their axes join."""
    axes: list[Axes] = []
    before = _OF_PYPLOT.set(axes)
    try:
        yield axes
    finally:
        _OF_PYPLOT.reset(before)


@contextmanager
def drawing(
    key: str, width: float, height: float, *, rows: int = 1, columns: int = 1, **subplots: Any
) -> Iterator[Drawing]:
    """Axes in the report's style, sizes in inches; needs no display and changes no global state of matplotlib."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    ink, muted, grid = COLOURS["ink"], COLOURS["muted"], COLOURS["grid"]
    style = {
        "svg.fonttype": "none",
        # Ids inside the SVG must differ between the figures of a page and be the same in every run.
        "svg.hashsalt": key,
        # A name such as $net^ is no formula.
        "text.parse_math": False,
        "font.size": 9.5,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.edgecolor": grid,
        "axes.labelcolor": muted,
        "axes.titlecolor": ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": grid,
        "grid.linewidth": 0.8,
        "text.color": ink,
        "xtick.color": grid,
        "ytick.color": grid,
        "xtick.labelcolor": muted,
        "ytick.labelcolor": ink,
        "lines.linewidth": 1.6,
        "legend.frameon": False,
    }
    of_pyplot = _OF_PYPLOT.get()
    with mpl.rc_context(style), warnings.catch_warnings():  # type: ignore[arg-type]
        # The reader's fonts show what matplotlib's own font, which only measures the text, lacks.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        if of_pyplot is None:
            canvas = Canvas(figsize=(width, height), layout="constrained")
        else:
            import matplotlib.pyplot as plt

            canvas = plt.figure(figsize=(width, height), layout="constrained")
        axes = canvas.subplots(rows, columns, squeeze=False, **subplots)
        page = Drawing(canvas, list(axes.ravel()))
        yield page
        if of_pyplot is not None:
            of_pyplot += page.axes
            return
        # Saving draws everything a first time for the layout alone, unless it is made and ended before.
        FigureCanvasSVG(canvas)
        layout = canvas.get_layout_engine()
        assert layout is not None, "it was asked for above"
        layout.execute(canvas)
        canvas.set_layout_engine("none")
        text = io.StringIO()
        canvas.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    page.svg = _themed(text.getvalue(), key)


def _themed(svg: str, key: str) -> str:
    """Turn colours into CSS properties with the drawn colour as default, and the font into the reader's sans-serif."""
    # matplotlib numbers the parts of each figure from one, and several figures share a page.
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{key}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # A third of the text shows nothing: digits below a hundredth of a point, turns by no angle, indentation.
    svg = re.sub(r'(?<= d=")[^"]*', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg)
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"', "", svg)
    svg = re.sub(r"(?m)^ +(?=<)", "", svg)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", svg)
    for name, value in COLOURS.items():
        svg = re.sub(f"(?<=: ){value}", f"var(--{name}, {value})", svg, flags=re.IGNORECASE)
    return svg


def grid_shape(n: int, columns: int) -> tuple[int, int]:
    """Rows and columns that hold n panels."""
    return -(-n // columns), min(n, columns)


def short(name: str, letters: int = 32) -> str:
    """The name, shortened to leave room for the figure; tables show the full name."""
    return name if len(name) <= letters else name[: letters - 1] + "…"


def drawn_of(drawn: int, total: int, things: str, which: str) -> str:
    """A sentence for a caption that says which of many are drawn; empty when all are.

    >>> drawn_of(3, 40, "members", "the best")
    ' Drawn are 3 of 40 members: the best.'
    """
    return f" Drawn are {drawn} of {total} {things}: {which}." if drawn < total else ""


def numbers(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Header and rows as a figure holds them; floats to six digits, empty where there is no value."""

    def rounded(value: Any) -> Any:
        if value is None or value != value:  # NaN
            return ""
        return float(f"{value:.6g}") if isinstance(value, float) else value

    return {"header": tuple(header), "rows": tuple(tuple(rounded(v) for v in row) for row in rows)}
