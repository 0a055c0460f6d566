"""Checks for values that contradict each other.

Each check declares which settings it reads. It is not applied if one of them is invalid.

    check.problem(config)    # the problem and its fix, or None
"""

import codecs
import os
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from textclf.config.messages import format_value
from textclf.config.rules import (
    SOURCE_READS,
    Reads,
    depends_on,
    format_of,
    format_reads,
    source_format,
)
from textclf.config.settings import FORMATS_WITH_SPLITS, Sections
from textclf.errors import did_you_mean


class Check(NamedTuple):
    """A contradiction between settings.

    Attributes:
        setting: the setting that the message is about.
        others: the other settings that it reads.
        is_broken: function that returns whether the values contradict each other.
        message: the problem and its fix, or a function that returns them.
        is_about_missing: whether the problem is a missing setting. It is then not reported if the
            section has an unknown name, because this may be the missing setting misspelt.
    """

    setting: str
    others: Reads
    is_broken: Callable[[Sections], bool]
    message: str | Callable[[Sections], str]
    is_about_missing: bool = False

    def reads(self, config: Sections, settings: AbstractSet[str]) -> bool:
        """Return whether the check reads one of `settings`."""
        return self.setting in settings or depends_on(self.others, config, settings)

    def problem(self, config: Sections) -> str | None:
        """Return the problem and its fix; None if the values do not contradict each other."""
        if not self.is_broken(config):
            return None
        return self.message if isinstance(self.message, str) else self.message(config)


# === Checks of the data ===

_NO_DATA = (
    "no training data; set data.source to a file, a folder, tfds:NAME or demo, or data.train to a "
    "file"
)
# A training needs training data. Values for an evaluation may contain only validation or test.
TRAINING_DATA = Check(
    "data.source",
    frozenset({"data.train"}),
    lambda config: config.data.source is None and config.data.train is None,
    _NO_DATA,
    is_about_missing=True,
)
ANY_DATA = Check(
    "data.source",
    frozenset({"data.train", "data.validation", "data.test"}),
    lambda config: not any(config.data.to_dict("source", "train", "validation", "test").values()),
    _NO_DATA,
    is_about_missing=True,
)


def _file_check(split: str) -> Check:
    """Return the check that a split is a file if there is no source."""

    def is_broken(config: Sections) -> bool:
        path = getattr(config.data, split)
        if config.data.source is not None or path is None:
            return False
        has_splits = path == "demo" or path.startswith("tfds:")
        return has_splits or config.data.format in FORMATS_WITH_SPLITS

    return Check(
        f"data.{split}",
        SOURCE_READS,
        is_broken,
        "expected a file; a folder, a tfds data set and the demo contain all splits: use "
        "data.source for them",
    )


def _distinct_file_check(split: str, *earlier: str) -> Check:
    """Return the check that the path of a split differs from those of the earlier splits."""

    def same(config: Sections) -> str | None:
        # Compare whole paths only: "train" and "train[:80%]" may be splits of tensorflow-datasets.
        paths = config.data.to_dict(split, *earlier)
        normal = {name: os.path.normpath(path) for name, path in paths.items() if path is not None}
        return next(
            (name for name in earlier if normal.get(name, "") == normal.get(split)),
            None,
        )

    return Check(
        f"data.{split}",
        frozenset(f"data.{name}" for name in earlier),
        lambda config: same(config) is not None,
        lambda config: (
            f"{format_value(getattr(config.data, split))} is also data.{same(config)}; use a "
            "different file for each split"
        ),
    )


_DEFAULT_TEST_FRACTION = Sections().data.test_fraction


def _fractions_check(fraction: str, other: str, *, is_test_default: bool) -> Check:
    """Return the check that two fractions leave rows for train; the message is about `fraction`.

    Args:
        is_test_default: whether the check applies if `data.test_fraction` has its default, or if
            it has another value: the message is about a fraction that the user has set.
    """

    def is_broken(config: Sections) -> bool:
        data = config.data
        return (
            data.source is not None
            and source_format(config) not in FORMATS_WITH_SPLITS
            and data.validation_fraction + data.test_fraction >= 1
            and (data.test_fraction == _DEFAULT_TEST_FRACTION) is is_test_default
        )

    return Check(
        f"data.{fraction}",
        SOURCE_READS | {f"data.{other}"},
        is_broken,
        f"leaves no rows for train, together with data.{other}; expected a sum below 1",
    )


_COMMON_ENCODINGS = ("utf-8", "utf-16", "gb18030", "gbk", "latin-1", "cp1252")


def _is_encoding(name: str) -> bool:
    try:
        codecs.lookup(name)
        "".encode(name)
    except (LookupError, ValueError, UnicodeError):
        return False
    return True


def _describe_encoding(config: Sections) -> str:
    encoding = config.data.encoding
    return (
        f"unknown text encoding {format_value(encoding)}; expected an encoding of Python such as "
        "utf-8, utf-16, gb18030, big5, shift_jis or cp1252"
        + did_you_mean(encoding.lower(), _COMMON_ENCODINGS, prefix="")
    )


def _is_delimiter_a_quote(config: Sections) -> bool:
    quoting = config.data.quoting
    is_quoted = quoting == "minimal" or (quoting == "auto" and format_of(config) == "csv")
    return config.data.delimiter == '"' and is_quoted


# === Checks of the classes ===


def _are_label_ids_without_names(config: Sections) -> bool:
    data = config.data
    return (
        data.label_ids != "names"
        and data.class_names is None
        and data.class_names_file is None
        and source_format(config) != "tfds"  # most published data sets contain the names
    )


def _repeated_class(config: Sections) -> str | None:
    names = config.data.class_names or []
    return next((name for index, name in enumerate(names) if name in names[:index]), None)


def _do_weights_differ_from_classes(config: Sections) -> bool:
    weights, names = config.training.class_weights, config.data.class_names
    return names is not None and isinstance(weights, Mapping) and set(weights) != set(names)


# === Checks of the model and of training ===


def _is_plateau_too_patient(config: Sections) -> bool:
    training = config.training
    return (
        training.schedule == "plateau"
        and 0 < training.patience_epochs <= training.plateau_patience_epochs
    )


def _are_random_weights_frozen(config: Sections) -> bool:
    return (
        config.training.freeze_epochs > 0
        and config.training.init_from is None
        and config.model.embedding_vectors is None
        and ":" not in config.model.encoder  # a function may return a trained layer
    )


def _without_subwords(other: str, is_set: Callable[[Sections], bool], message: str) -> Check:
    """Return the check that `text.subwords` is not used together with the setting `other`."""
    return Check(
        "text.subwords",
        frozenset({other}),
        lambda config: config.text.subwords and is_set(config),
        f"{message}, or remove this setting",
    )


CHECKS: tuple[Check, ...] = (
    _without_subwords(
        "text.unit",
        lambda config: config.text.unit == "character",
        "a token of one character has no shorter n-grams; set text.unit to word",
    ),
    _without_subwords(
        "text.hash_buckets",
        lambda config: config.text.hash_buckets > 0,
        "text.hash_buckets gives unknown tokens other vectors; set it to 0",
    ),
    _without_subwords(
        "model.encoder",
        lambda config: config.model.encoder == "none",
        "a linear model has no token vectors, and has character n-grams already; set model.encoder "
        "to a network",
    ),
    _without_subwords(
        "training.language_model_weight",
        lambda config: config.training.language_model_weight > 0,
        "the language model has no vectors of n-grams; set training.language_model_weight to 0",
    ),
    *(_file_check(split) for split in ("train", "validation", "test")),
    _distinct_file_check("validation", "train"),
    _distinct_file_check("test", "train", "validation"),
    _fractions_check("test_fraction", "validation_fraction", is_test_default=False),
    _fractions_check("validation_fraction", "test_fraction", is_test_default=True),
    Check(
        "data.encoding",
        frozenset(),
        lambda config: not _is_encoding(config.data.encoding),
        _describe_encoding,
    ),
    Check(
        "data.delimiter",
        lambda config: format_reads(config) | {"data.quoting"},
        _is_delimiter_a_quote,
        '" is also the quote character; use another delimiter, or set data.quoting to none',
    ),
    Check(
        "data.class_names_file",
        frozenset({"data.class_names"}),
        lambda config: (
            config.data.class_names is not None and config.data.class_names_file is not None
        ),
        "data.class_names is also set; remove one of them",
    ),
    Check(
        "data.label_ids",
        SOURCE_READS | {"data.class_names", "data.class_names_file"},
        _are_label_ids_without_names,
        "numbers need class names; set data.class_names or data.class_names_file",
    ),
    Check(
        "data.class_names",
        frozenset(),
        lambda config: _repeated_class(config) is not None,
        lambda config: f"{format_value(_repeated_class(config))} occurs twice; remove one of them",
    ),
    Check(
        "data.class_names",
        frozenset({"data.multi_label"}),
        lambda config: len(config.data.class_names or "ab") < 2 and not config.data.multi_label,
        "one class is not enough; expected at least two classes, or data.multi_label",
    ),
    Check(
        "training.class_weights",
        frozenset({"data.class_names"}),
        _do_weights_differ_from_classes,
        lambda config: (
            f"expected a weight for each of {', '.join(config.data.class_names or ())}; found "
            f"{', '.join(config.training.class_weights)}"
        ),
    ),
    Check(
        "model.pooling",
        frozenset({"model.encoder"}),
        lambda config: config.model.encoder == "bag" and config.model.pooling == "last",
        "the encoder bag has no last state; expected one of max, mean, max_mean, attention",
    ),
    Check(
        "model.train_embedding",
        frozenset({"model.embedding_vectors"}),
        lambda config: config.model.embedding_vectors is None and not config.model.train_embedding,
        "random initial vectors must be trained; set model.embedding_vectors or remove this "
        "setting",
    ),
    Check(
        "training.accumulate_steps",
        frozenset({"training.batch_size"}),
        lambda config: config.training.accumulate_steps > config.training.batch_size,
        lambda config: (
            f"a batch of {config.training.batch_size} texts (training.batch_size) cannot have "
            f"{config.training.accumulate_steps} parts; lower it or raise training.batch_size"
        ),
    ),
    Check(
        "training.init_from",
        frozenset({"model.embedding_vectors"}),
        lambda config: (
            config.training.init_from is not None and config.model.embedding_vectors is not None
        ),
        "model.embedding_vectors is also set, and both give the token vectors; remove one of them",
    ),
    Check(
        "training.freeze_epochs",
        frozenset({"training.init_from", "model.embedding_vectors", "model.encoder"}),
        _are_random_weights_frozen,
        "the layers below the head would stay at their random values; set training.init_from or "
        "model.embedding_vectors, or remove this setting",
    ),
    Check(
        "training.language_model_weight",
        frozenset({"model.bidirectional", "model.num_layers"}),
        lambda config: (
            config.training.language_model_weight > 0
            and config.model.bidirectional
            and config.model.num_layers > 1
        ),
        "the upper layers of a bidirectional network read the token that they would predict; set "
        "model.num_layers to 1, or model.bidirectional to false",
    ),
    Check(
        "training.plateau_patience_epochs",
        frozenset({"training.patience_epochs", "training.schedule"}),
        _is_plateau_too_patient,
        lambda config: (
            f"training stops after training.patience_epochs={config.training.patience_epochs} "
            "epochs without improvement, so the learning rate is never lowered; expected fewer "
            "epochs"
        ),
    ),
)
