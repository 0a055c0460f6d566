"""Explanations: how much each word of a text adds to the score of a class.

    explanation.py    `Explanation` of a text, as JSON, text and HTML
    attribution.py    integrated gradients of the network, contributions of the linear model
    omission.py       change of the scores without each token, in core TensorFlow operations
    coloured.py       explanations as text with colours for a terminal
    pages.py          explanations as HTML, for notebooks and as a page
    explanations.html template for pages.py
    words.html        macros of the coloured words, also for other pages

The package can be imported without TensorFlow; `explain_texts` and `leave_one_out` need it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from textclf.analysis.coloured import format_explanation
from textclf.analysis.explanation import (
    EXPORT_NOT_EXPLAINED,
    NUM_STEPS,
    Attribution,
    Explanation,
    Explanations,
    Token,
    class_ids_of,
)
from textclf.analysis.pages import explanation_page, words_html, words_legend, words_style

if TYPE_CHECKING:
    from textclf.analysis.attribution import explain_texts
    from textclf.analysis.omission import MAX_TOKENS, leave_one_out

__all__ = [
    "EXPORT_NOT_EXPLAINED",
    "MAX_TOKENS",
    "NUM_STEPS",
    "Attribution",
    "Explanation",
    "Explanations",
    "Token",
    "class_ids_of",
    "explain_texts",
    "explanation_page",
    "format_explanation",
    "leave_one_out",
    "words_html",
    "words_legend",
    "words_style",
]

_MODULES = {
    "explain_texts": "attribution",
    "MAX_TOKENS": "omission",
    "leave_one_out": "omission",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
