"""Suspected label errors of train: out-of-fold probabilities and confident learning.

result = find_label_errors(config)
print(format_label_errors(result), end="")
write_suspects("suspects.csv", dataset, result)

folds         folds with equal texts together
out_of_fold   a model for each fold, and its probabilities of the rows of the fold
suspects      probabilities and labels to suspects, by confident learning
search        the search, and the reasons in words
result        types of the result
output        table, CSV and JSON lines
"""

from textclf.label_errors.out_of_fold import MODEL_KINDS
from textclf.label_errors.output import format_label_errors, write_suspects
from textclf.label_errors.result import LabelErrors, SuspectRow
from textclf.label_errors.search import NUM_FOLDS, check, find_label_errors
from textclf.label_errors.suspects import Suspect, find_suspects

__all__ = [
    "MODEL_KINDS",
    "NUM_FOLDS",
    "LabelErrors",
    "Suspect",
    "SuspectRow",
    "check",
    "find_label_errors",
    "find_suspects",
    "format_label_errors",
    "write_suspects",
]
