"""Explanations as HTML: a fragment for notebooks, and a page without external resources."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textclf.analysis import coloured
from textclf.analysis.explanation import Attribution, Explanation
from textclf.display import count_of, template_environment, tidy

if TYPE_CHECKING:
    from markupsafe import Markup

# Tokens in the table below a text.
_NUM_ROWS = 20


def to_html(explanations: Sequence[Explanation]) -> str:
    """Return explanations as an HTML fragment for a notebook.

    Its colours suit light and dark pages.
    """
    return _render(explanations, is_page=False, title="")


def explanation_page(explanations: Sequence[Explanation], title: str) -> str:
    """Return a whole HTML page.

    Path("words.html").write_text(explanation_page(model.explain(texts), "reviews"))
    """
    return _render(explanations, is_page=True, title=tidy(title))


def _render(explanations: Sequence[Explanation], *, is_page: bool, title: str) -> str:
    has_network = any(explanation.has_network for explanation in explanations)
    texts = _texts(explanations)
    return _template().render(texts=texts, has_network=has_network, is_page=is_page, title=title)


def words_html(
    explanation: Explanation, attribution: Attribution, *, max_tokens: int | None = None
) -> "Markup":
    """Return the coloured words of a text as an HTML fragment, for a page with `words_style`.

    Args:
        max_tokens: maximum number of tokens to show, from the beginning; None for all.
    """
    from markupsafe import Markup

    words = _words(explanation, attribution)
    more = "" if max_tokens is None else _more_words(len(words) - max_tokens)
    return _macros().words(words[:max_tokens]) + Markup(more)


def words_style() -> "Markup":
    """Return the rules of a style sheet for `words_html`."""
    return _macros().style()


def words_legend(*, has_network: bool = True) -> "Markup":
    """Return the legend for the colours of `words_html`, as an HTML fragment."""
    return _macros().legend(has_network)


def _more_words(count: int) -> str:
    return f" … {count_of(count, 'more token')}" if count > 0 else ""


def _template() -> Any:
    return template_environment(Path(__file__).parent).get_template("explanations.html")


@functools.cache
def _macros() -> Any:
    """Return the module of the macros for coloured words."""
    return template_environment(Path(__file__).parent).get_template("words.html").module


def _texts(explanations: Sequence[Explanation]) -> list[list[dict[str, Any]]]:
    """Return the values of the template: a list of attributions for each text."""
    return [
        [
            {
                "heading": coloured.heading(explanation, attribution),
                "words": _words(explanation, attribution),
                "table": coloured.account(explanation, attribution, _NUM_ROWS),
            }
            for attribution in explanation.attributions
        ]
        for explanation in explanations
    ]


def _words(explanation: Explanation, attribution: Attribution) -> list[dict[str, Any]]:
    """Return text, blank before it, colour and tooltip of each token."""
    words: list[dict[str, Any]] = []
    last = ""
    shares = coloured.shares(explanation, attribution)
    for i, token in enumerate(explanation.tokens):
        text = tidy(token.text)
        remark = coloured.remark(explanation, token) if token.is_read else "not read"
        words.append(
            {
                "text": text,
                "blank": bool(last) and not coloured.is_joined(last, text),
                "share": shares[i],
                "is_read": token.is_read,
                "is_unknown": remark == "unknown",
                "tooltip": _tooltip(explanation, attribution, i, remark),
            }
        )
        last = text
    return words


def _tooltip(explanation: Explanation, attribution: Attribution, i: int, remark: str) -> str:
    parts = [remark] if remark else []
    if explanation.tokens[i].is_read:
        parts.append(f"{attribution.totals[i]:+.4f}")
        if explanation.has_network and explanation.has_linear:
            network, linear = attribution.network[i], attribution.linear[i]
            parts.append(f"network {network:+.4f}, linear {linear:+.4f}")
    return "; ".join(parts)
