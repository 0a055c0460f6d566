"""Choice of model and training settings by properties of the training data.

The rules are those of docs/recipes.md, which has the measurements behind them.
"""

import itertools
import re
from typing import Any, NamedTuple

import numpy as np

from textclf.data import Dataset, Imbalance

# With fewer training texts, the network lowers the score of the linear model on some data.
MIN_TEXTS_FOR_NETWORK = 4000
# From so many training texts on, the best epoch is one of the first three.
_MANY_TEXTS = 20_000
# Texts whose lengths are counted.
_SAMPLE_TEXTS = 5000
# A limit is the first of these that cuts at most one text in a hundred, or the last.
_LENGTH_LIMITS = (100, 200, 400)
# About the tokens of unit `word`, without TensorFlow, whose import would take seconds.
_IDEOGRAPH = "\u2e80-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[^\W{_IDEOGRAPH}]+(?:'\w+)*|[{_IDEOGRAPH}!?]")


class Properties(NamedTuple):
    """Properties of the training data that decide the settings.

    Attributes:
        num_texts: training texts; at least so many if the file was not read to its end.
        num_classes: classes or labels.
        is_multi_label: whether a text may have several labels.
        length: tokens of a text that 99 of 100 texts do not exceed; None if not counted.
        imbalance: the classes that are rare in train; None if there are none, or if not counted.
    """

    num_texts: int
    num_classes: int
    is_multi_label: bool
    length: int | None
    imbalance: Imbalance | None = None


class Choice(NamedTuple):
    """A setting, its value, and the reason in a few words."""

    setting: str
    value: Any
    reason: str


def measure(dataset: Dataset, unit: str) -> Properties:
    """Return the properties of a data set; lengths are estimated on texts of all parts of train.

    Args:
        unit: `text.unit`.
    """
    num_texts = dataset.splits["train"].num_examples
    step = max(1, num_texts // _SAMPLE_TEXTS)
    examples = itertools.islice(dataset.examples("train"), 0, None, step)
    lengths = [count_tokens(example.text, unit) for example in examples]
    return Properties(
        num_texts=num_texts,
        num_classes=len(dataset.class_names),
        is_multi_label=dataset.multi_label,
        length=int(np.quantile(lengths, 0.99)),
        imbalance=dataset.findings.imbalance,
    )


def count_tokens(text: str, unit: str) -> int:
    """Return about the number of tokens of a text.

    count_tokens("Not bad!", "word")    # 3
    """
    return len("".join(text.split())) if unit == "character" else len(_TOKEN.findall(text))


def choose(properties: Properties, *, with_network: bool = False) -> list[Choice]:
    """Return the settings of sections `text`, `model` and `training` for training data.

        choose(Properties(num_texts=500, num_classes=2, is_multi_label=False, length=40))

    Args:
        with_network: whether there must be a network, however few the texts are.
    """
    if properties.num_texts < MIN_TEXTS_FOR_NETWORK and not with_network:
        reason = (
            f"the linear model alone: a network needs about {MIN_TEXTS_FOR_NETWORK:,} texts "
            f"(train has {properties.num_texts:,})"
        )
        return [Choice("model.encoder", "none", reason)]
    return [
        *_choose_length(properties),
        Choice("model.encoder", "lstm", "simple_rnn, lstm, gru, bag, or none: linear model alone"),
        Choice("model.linear", "mixture", "a linear model of n-grams joins the network"),
        Choice("model.token_dropout", 0.1, "strong dropout: texts are few for a network"),
        Choice("model.embedding_dropout", 0.4, ""),
        Choice("model.output_dropout", 0.5, ""),
        *_choose_training(properties),
        Choice("training.average", "swa", "mean of epochs, where it scores better than the last"),
    ]


def _choose_length(properties: Properties) -> list[Choice]:
    length = properties.length
    if length is None:
        return []
    limit = next((limit for limit in _LENGTH_LIMITS if length <= limit), _LENGTH_LIMITS[-1])
    reason = f"99 of 100 texts have at most about {length:,} tokens"
    return [Choice("text.sequence_length", limit, reason)]


def _choose_class_weights(properties: Properties) -> list[Choice]:
    if properties.imbalance is None:
        return []
    return [Choice("training.class_weights", "effective", "rare labels weigh more in the loss")]


def _choose_training(properties: Properties) -> list[Choice]:
    if properties.is_multi_label:
        return [
            Choice("training.epochs", 15, "of the cosine schedule; may stop early"),
            Choice("training.learning_rate", 0.002, "at the start of the schedule"),
            Choice("training.schedule", "cosine", ""),
            Choice(
                "training.monitor", "val_macro_f1", "rare labels count as much as frequent ones"
            ),
            Choice("training.patience_epochs", 4, ""),
            *_choose_class_weights(properties),
        ]
    if properties.num_texts >= _MANY_TEXTS:
        return [
            Choice("training.epochs", 5, "maximum; many texts: the best is one of the first"),
            Choice("training.patience_epochs", 2, "stops after so many epochs without improvement"),
        ]
    return [Choice("training.epochs", 10, "maximum; stops early when validation is not better")]
