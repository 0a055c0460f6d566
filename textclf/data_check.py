"""Check of data before training: classes, lengths of the texts in tokens, duplicates, conflicts."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import numpy as np

from textclf import classifier, data, text
from textclf.config import Config

QUANTILES = {"min": 0, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1}


class TextLengths(msgspec.Struct, frozen=True):
    """Lengths of the texts of a split.

    Attributes:
        num_tokens: number of tokens of all texts.
        length_quantiles: name of `QUANTILES` -> tokens of a text; 0 for a split without texts.
        truncated_texts: number of texts longer than the length limit.
        cut_tokens: number of tokens beyond the length limit.
    """

    num_tokens: int
    length_quantiles: dict[str, int]
    truncated_texts: int
    cut_tokens: int


def measure_lengths(
    config: Config,
    dataset: data.Dataset,
    *,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> dict[str, TextLengths]:
    """Return split -> lengths of its texts, with the tokenizer of a configuration.

        measure_lengths(config, textclf.open_dataset(config.data))["train"].truncated_texts

    Args:
        config: section `text` is used.
        on_progress: called with a stage, the texts done and their total.

    Raises:
        DataError: the source has changed since the data set was opened.
    """
    tokenizer = text.Tokenizer(**classifier.tokenizer_settings(config))
    limit = config.text.sequence_length
    counts = {}
    for split, summary in dataset.splits.items():
        texts = (example.text for example in dataset.examples(split))
        stage, total = f"counting tokens of {split}", summary.num_examples
        lengths = text.token_lengths(_counted(texts, stage, total, on_progress), tokenizer)
        counts[split] = TextLengths(
            num_tokens=int(lengths.sum()),
            length_quantiles=_quantiles(lengths),
            truncated_texts=int((lengths > limit).sum()),
            cut_tokens=int((lengths - limit).clip(min=0).sum()),
        )
    return counts


def summarize(dataset: data.Dataset, lengths: dict[str, TextLengths]) -> dict[str, Any]:
    """Return the result of `textclf data check --json` as plain values.

    Args:
        lengths: of `measure_lengths`.
    """
    return {
        "class_names": list(dataset.class_names),
        "multi_label": dataset.multi_label,
        "fingerprint": dataset.fingerprint,
        "splits": {
            name: {
                "num_examples": split.num_examples,
                "class_counts": [int(count) for count in split.class_counts],
                **msgspec.to_builtins(lengths[name]),
            }
            for name, split in dataset.splits.items()
        },
        "findings": dataset.findings.to_dict(),
    }


def _counted(
    texts: Iterable[str], stage: str, total: int, on_progress: Callable[[str, int, int], None]
) -> Iterator[str]:
    """Yield the texts and report how many were taken."""
    for done, example_text in enumerate(texts, start=1):
        yield example_text
        if done % 1024 == 0 or done == total:
            on_progress(stage, done, total)


def _quantiles(lengths: np.ndarray) -> dict[str, int]:
    if not len(lengths):
        return dict.fromkeys(QUANTILES, 0)
    values = np.quantile(lengths, list(QUANTILES.values()), method="nearest")
    return {name: int(value) for name, value in zip(QUANTILES, values, strict=True)}
