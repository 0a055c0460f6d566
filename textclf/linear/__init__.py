"""The linear model: logistic regression on TF-IDF of hashed word and character n-grams.

    fitted = linear.fit(dataset, tokenizer=tokenizer, folder=folder)
    logits, truncated = fitted.model(*tokenizer.split_tokens(texts), num_texts)

scikit-learn fits the weights on the features that the graph computes, and the same graph answers.

The feature of an n-gram b in a text (Salton & Buckley 1988, "Term-weighting approaches in automatic
text retrieval"; the idf is scikit-learn's):

    x_b = (1 + ln count_b) * idf_b / norm        idf_b = ln((1 + n) / (1 + df_b)) + 1

n is the number of training texts, df_b the number of those that contain b. An n-gram of fewer than
two training texts has no feature. The norm is that of the text's n-grams of one block: normalised
together, the many character n-grams outweigh the words. The weighting "log_count_ratio" multiplies
the features by the log-count ratios of the class (Wang & Manning 2012, "Baselines and bigrams",
section 2.1) before the fit; the weights of the model contain them.
"""

from textclf.linear.fitting import (
    WEIGHTINGS,
    Fitted,
    Selection,
    fit,
    predict_split,
    predict_texts,
)
from textclf.linear.model import LinearModel
from textclf.linear.reading import LinearReading
from textclf.linear.storage import load_fitted, save_fitted

__all__ = [
    "WEIGHTINGS",
    "Fitted",
    "LinearModel",
    "LinearReading",
    "Selection",
    "fit",
    "load_fitted",
    "predict_split",
    "predict_texts",
    "save_fitted",
]
