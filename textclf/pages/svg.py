"""Plots as SVG: in a page with its colours and fonts, and as separate files."""

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from markupsafe import Markup

INK = "#010203"  # placeholder for the text colour of the page, which follows light and dark mode
# Distinguishable with colour blindness (Okabe and Ito 2008), on white and on black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b08c00", "#56b4e9", "#8a6fdf", "#7f7f7f")
MARKERS = "osD^vP*X"
_STYLE = {
    "svg.fonttype": "none",  # text of the page, in its fonts
    "svg.hashsalt": "textclf",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a class may be named $x$
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# Labels that Matplotlib gives to artists without one.
_NO_LABEL = re.compile("_nolegend_|_(child|container)[0-9]+")
# Colours of a separate file, outside a page.
_FILE_STYLE = (
    "<style>:root { color: #1b1f24; } @media (prefers-color-scheme: dark) "
    "{ :root { color: #e6edf3; background: #0d1117; } }</style>"
)


class Picture(NamedTuple):
    """Plot as SVG.

    Attributes:
        title: noun that is unique in a page.
        caption: sentence below the picture.
        svg: element for a page.
        file: content of a file.
    """

    title: str
    caption: str
    svg: "Markup"
    file: str


def draw(
    title: str,
    draw_axes: Callable[[Any], str],
    *,
    has_legend: bool = True,
    size: tuple[float, float] | None = None,
) -> Picture:
    """Return a plot as SVG.

        draw("losses", lambda axes: axes.plot([3, 2, 1]) and "Losses.", has_legend=False).svg

    Args:
        title: noun that is unique in the page.
        draw_axes: draws into axes of Matplotlib and returns the caption.
        has_legend: whether a legend is below the axes.
        size: width and height in inches.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # Text is drawn by the browser, whose fonts have the glyphs.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=size or (4.8, 3.4 if has_legend else 2.8), layout="constrained")
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        figure.patch.set_alpha(0)
        caption = draw_axes(axes)
        _use_plain_numbers(axes)
        axes.grid(alpha=0.2, linewidth=0.5)
        if has_legend:
            handles = _labelled(axes)
            labels = [handle.get_label() for handle in handles]
            columns = 2 if max(map(len, labels), default=0) > 14 else 3
            figure.legend(
                handles, labels, loc="outside lower center", ncols=columns, frameon=False,
                fontsize=8,
            )  # fmt: skip
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    content = _in_tags(stream.getvalue(), lambda tag: tag.replace(INK, "currentColor"))
    file = re.sub(r"(<svg[^>]*>)", rf"\1{_FILE_STYLE}", content, count=1)
    return Picture(title, caption, _inline(content, title, caption), file)


def _labelled(axes: Any) -> list[Any]:
    """Return the artists of a legend; Matplotlib's list omits labels that begin with "_"."""
    drawn = [*axes.get_lines(), *axes.containers]
    return [handle for handle in drawn if not _NO_LABEL.fullmatch(handle.get_label())]


def _use_plain_numbers(axes: Any) -> None:
    """Write the numbers of logarithmic axes as plain text; the default is TeX."""
    from matplotlib import ticker

    for axis in (axes.xaxis, axes.yaxis):
        if isinstance(axis.get_major_formatter(), ticker.LogFormatterMathtext):
            axis.set_major_locator(
                ticker.LogLocator(subs=(1, 3) if axis is axes.xaxis else (1, 2, 5), numticks=8)
            )
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(ticker.NullFormatter())


def _in_tags(svg: str, change: Callable[[str], str]) -> str:
    """Change the tags of an SVG but not its texts, which may contain names of classes."""
    return re.sub("<[^>]*>", lambda tag: change(tag[0]), svg)


def _inline(svg: str, title: str, caption: str) -> "Markup":
    """Prepare an SVG file for a page: size of the page, unique ids, a description."""
    from markupsafe import Markup, escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg)
    prefix = re.sub(r"\W", "", title)
    references = re.compile(r'(\bid="|href="#|url\(#)')
    svg = _in_tags(svg, lambda tag: references.sub(rf"\g<1>{prefix}-", tag))
    label = escape(f"{title}: {caption}")
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))
