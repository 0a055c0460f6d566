"""The linear model: logistic regression on TF-IDF of hashed word and character n-grams.

    fitted = fit(dataset, tokenizer=tokenizer, task=task, max_tokens=5000)
    fitted.model.logits(*tokenizer.split_tokens(texts), num_texts)     # float32 [B, C]

scikit-learn fits the weights, on the features that the graph computes; the same graph answers.

Weights of an n-gram b in a text (Salton & Buckley 1988, "Term-weighting approaches in automatic text
retrieval"; the idf is scikit-learn's):

    x_b = (1 + ln count_b) * idf_b / norm      idf_b = ln((1 + n) / (1 + df_b)) + 1

n is the number of training texts, df_b the number of those that contain b; n-grams of one text only
weigh nothing. The norm is that of one block of n-grams: normalised together, the many character
n-grams would drown the words. With the weighting "log_count_ratio", the column of b is multiplied by
the log-count ratio of the class (Wang & Manning 2012, "Baselines and bigrams", equation 2), which the
exported weights contain.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from textclf import text
from textclf.data import Dataset, Example
from textclf.errors import TrainingError
from textclf.tasks import Task
from textclf.text.ngrams import CHARACTER_BLOCKS, WORD_BLOCKS, NgramBlock, count_ngrams

# Upper bound of buckets * classes, for the memory that a fit and a model need.
MAX_TABLE_ENTRIES = 2**26
MAX_BUCKETS = 2**22
# Non-zeros of the feature matrix up to which it is held in memory, at 8 bytes each and twice that in
# the solver; beyond, the texts are read once for each pass of stochastic gradient descent.
MAX_NONZEROS = 50_000_000
# With fewer validation texts, the strength of the regularisation is chosen by cross-validation.
MIN_VALIDATION_TEXTS = 1000
NUM_FOLDS = 5
# Inverse strengths of the L2 regularisation, as in scikit-learn.
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
WEIGHTINGS = ("tfidf", "log_count_ratio")
# Share of single Han characters among the tokens from which the token n-grams are character n-grams.
_HAN_SHARE = 0.3
_CHUNK_TEXTS = 256
# Logit of a class that no or every training text has.
_CONSTANT_LOGIT = 15.0

Progress = Callable[[str, int, int], None]
