"""Active learning: choose the unlabelled texts to label next.

    selection = select_next("runs/reviews", "unlabelled.csv", n=100, output="next.csv")

The input is read as a stream. A pool keeps the most uncertain texts, and k-means chooses
texts among them that differ from each other.

    selection     the choice of the texts, and its result
    uncertainty   margin and entropy of probabilities
    pool          the most uncertain texts of a stream
    diversity     clusters of texts
    output        table, CSV and JSON lines
"""

from textclf.active_learning.output import format_selection, write_selection
from textclf.active_learning.selection import MAX_TEXTS, NextText, Selection, select_next
from textclf.active_learning.uncertainty import MEASURES

__all__ = [
    "MAX_TEXTS",
    "MEASURES",
    "NextText",
    "Selection",
    "format_selection",
    "select_next",
    "write_selection",
]
