"""Shared parts of HTML pages without external resources.

    html = pages.render(Path(__file__).parent, "page.html", title="reviews")

A template extends `base.html`, which has the style in light and dark mode and on paper, and fills
its blocks. A browser that follows the content security policy of the base loads nothing.

    base.html     head, style and blocks of a page
    svg.py        plots as SVG that take the colours and fonts of their page
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textclf.display import template_environment
from textclf.pages.svg import COLOURS, INK, MARKERS, Picture, draw

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["COLOURS", "INK", "MARKERS", "Picture", "draw", "render", "with_code"]


def render(folder: Path, template: str, **values: Any) -> str:
    """Return a page as HTML; values are escaped.

    Args:
        folder: folder of the template; the template may extend `base.html`.
        template: name of the template; it has the filter `with_code`.
        values: of the template.
    """
    environment = template_environment(folder, Path(__file__).parent)
    environment.filters["with_code"] = with_code
    return environment.get_template(template).render(**values)


def with_code(sentence: str) -> "Markup":
    """Return a sentence as HTML in which the parts between backticks are code."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))
