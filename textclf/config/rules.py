"""Rules for when a setting is read.

A rule decides whether a setting is read from the values of other settings, which it declares. It is
not applied if one of them is invalid. Its texts are used in messages only.

    RULES["model.reset_after"].applies(config)    # False: the setting has no effect
"""

from collections.abc import Callable, Hashable
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import msgspec

from textclf.config.settings import FORMATS_WITH_SPLITS, Sections, Values, data_format

# Settings that a rule or a check reads, or a function that returns them for a configuration.
Reads = frozenset[str] | Callable[[Sections], frozenset[str]]


def depends_on(reads: Reads, config: Sections, settings: AbstractSet[str]) -> bool:
    """Return whether one of `settings` is among the settings that are read."""
    return not settings.isdisjoint(reads(config) if callable(reads) else reads)


class Fact(NamedTuple):
    """A property of a configuration that decides whether certain settings are read.

    Attributes:
        reads: the settings that determine the property.
        value: function that returns the property; None if it is unknown.
        describe: function that returns the clause of a message for a value of the property, such
            as "data.format is csv".
    """

    reads: Reads
    value: Callable[[Sections], Hashable]
    describe: Callable[[Any], str]


class Rule(NamedTuple):
    """The condition under which a setting is read.

    Attributes:
        fact: the property that decides.
        values: the values of the fact for which the setting is read.
        condition: a description of them, such as "data.format is csv or tsv".
        resets_on_change: whether an override that changes the fact drops the setting's value,
            because the value means something else for each value of the fact.
    """

    fact: Fact
    values: frozenset[Hashable]
    condition: str
    resets_on_change: bool = False

    def applies(self, config: Sections) -> bool | None:
        """Return whether the setting is read; None if that is unknown."""
        value = self.fact.value(config)
        return None if value is None else value in self.values

    def describe(self, config: Sections) -> str:
        """Return the clause of a message that says why the setting is read or not."""
        return self.fact.describe(self.fact.value(config))


def is_read(path: str, values: Values) -> bool:
    """Return whether a setting has an effect with plain values; True if that is unknown.

        is_read("data.delimiter", {"data": {"source": "reviews.jsonl"}})    # False

    Args:
        path: the setting.
        values: section -> setting -> value. True is returned if one of them is invalid.
    """
    rule = RULES.get(path)
    if rule is None:
        return True
    try:
        return rule.applies(msgspec.convert(values, Sections)) is not False
    except msgspec.ValidationError:
        return True


# === Facts ===


def _join(words: tuple[str, ...]) -> str:
    """Return the words as "a, b or c"."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def _setting(path: str) -> Fact:
    """Return the fact that is the value of a setting."""
    section, name = path.split(".")

    def value(config: Sections) -> Any:
        return getattr(getattr(config, section), name)

    return Fact(frozenset({path}), value, lambda value: f"{path} is {str(value).lower()}")


def _when(path: str, *values: Any) -> Rule:
    """Return the rule that a setting is read only if the setting `path` has one of the values."""
    words = _join(tuple(str(value).lower() for value in values))
    return Rule(_setting(path), frozenset(values), f"{path} is {words}")


SOURCE_READS = frozenset({"data.format", "data.source"})


def format_of(config: Sections) -> str | None:
    """Return the format of the data; None if it is unknown."""
    return data_format(config.data.to_dict("format", "source", "train", "validation", "test"))


def source_format(config: Sections) -> str | None:
    """Return the format of `data.source`; without a source, the one that `data.format` names."""
    return data_format(config.data.to_dict("format", "source"))


def format_reads(config: Sections) -> frozenset[str]:
    """Return the settings that determine `format_of`: all up to the first that is set."""
    names = ("format", "source", "train", "validation", "test")
    values = config.data.to_dict(*names).values()
    count = next((n for n, value in enumerate(values, 1) if value not in (None, "auto")), None)
    return frozenset(f"data.{name}" for name in names[:count])


_FORMAT = Fact(format_reads, format_of, lambda value: f"data.format is {value}")


def _format_is(*formats: str) -> Rule:
    return Rule(_FORMAT, frozenset(formats), f"data.format is {_join(formats)}")


_FILES, _NAMED, _FRACTIONS = "files", "named", "fractions"
_SPLITS_CLAUSES = {
    _FILES: "data.source is not set and each split is a file",
    _NAMED: "data.source contains splits",
    _FRACTIONS: "data.source is a single file, which is split by fraction",
}


def _splits(config: Sections) -> str | None:
    """Return how the splits are defined."""
    if config.data.source is None:
        return _FILES
    kind = source_format(config)
    if kind is None:
        return None
    return _NAMED if kind in FORMATS_WITH_SPLITS else _FRACTIONS


_SPLITS = Fact(SOURCE_READS, _splits, _SPLITS_CLAUSES.__getitem__)

_FROM_TRAIN = "part of train"
_VALIDATION_CLAUSES = {
    "demo": "the demo has a validation split",
    "set": "data.validation is set",
    _FROM_TRAIN: "validation is a part of train",
}


def _validation(config: Sections) -> str:
    """Return the origin of the validation split."""
    if source_format(config) == "demo":
        return "demo"
    return "set" if config.data.validation is not None else _FROM_TRAIN


_VALIDATION = Fact(SOURCE_READS | {"data.validation"}, _validation, _VALIDATION_CLAUSES.__getitem__)

_FUNCTION = "a function"


def _encoder(config: Sections) -> str:
    """Return the name of the encoder, or `_FUNCTION` for a function of the user."""
    return _FUNCTION if ":" in config.model.encoder else config.model.encoder


_ENCODER = Fact(frozenset({"model.encoder"}), _encoder, lambda value: f"model.encoder is {value}")


def _stack(config: Sections) -> str | bool:
    """Return whether there are several recurrent layers; for a bag or a function, the encoder."""
    encoder = _encoder(config)
    return encoder if encoder in ("bag", "none", _FUNCTION) else config.model.num_layers > 1


_LINEAR_MODEL = Fact(
    frozenset({"model.encoder", "model.linear"}),
    lambda config: config.has_linear_model,
    lambda value: "there is a linear model" if value else "model.linear is none",
)

_SEVERAL_LAYERS = "model.num_layers is at least 2"
_STACK = Fact(
    frozenset({"model.encoder", "model.num_layers"}),
    _stack,
    lambda value: {True: _SEVERAL_LAYERS, False: "model.num_layers is 1"}.get(
        value, f"model.encoder is {value}"
    ),
)

# === Rules ===

_RECURRENT = Rule(
    _ENCODER,
    frozenset({"simple_rnn", "lstm", "gru"}),
    "model.encoder is simple_rnn, lstm or gru",
)
_NETWORK = Rule(
    _ENCODER,
    frozenset({"simple_rnn", "lstm", "gru", "bag", _FUNCTION}),
    "model.encoder is not none",
)
# These settings are also arguments of the function that returns an encoder.
_RECURRENT_OR_FUNCTION = Rule(
    _ENCODER, _RECURRENT.values | {_FUNCTION}, f"{_RECURRENT.condition}, or a function"
)
_TABLE = _format_is("csv", "tsv")
_COLUMNS = _format_is("csv", "tsv", "jsonl", "json", "parquet", "tfds")
_SPLIT = Rule(_SPLITS, frozenset({_FILES, _NAMED}), _SPLITS_CLAUSES[_FILES], resets_on_change=True)
_VALIDATION_FROM_TRAIN = Rule(
    _VALIDATION, frozenset({_FROM_TRAIN}), _VALIDATION_CLAUSES[_FROM_TRAIN]
)
_SEPARATE_SPLITS = Rule(
    _SPLITS,
    frozenset({_FILES, _NAMED}),
    f"{_SPLITS_CLAUSES[_NAMED]}, or {_SPLITS_CLAUSES[_FILES]}",
)

_NEW_VOCABULARY = Rule(
    Fact(
        frozenset({"model.encoder", "training.init_from", "training.init_vocabulary"}),
        lambda config: (
            config.model.encoder == "none"
            or config.training.init_from is None
            or config.training.init_vocabulary == "new"
        ),
        lambda value: (
            "there is a new vocabulary" if value else "the vocabulary of training.init_from is kept"
        ),
    ),
    frozenset({True}),
    "training.init_from is not set, or training.init_vocabulary is new",
)

# Settings that only a network reads, and that have no other rule.
_NETWORK_SETTINGS = (
    "model.linear",
    "model.pooling",
    "model.embedding_dim",
    "model.embedding_vectors",
    "model.train_embedding",
    "model.token_dropout",
    "model.embedding_dropout",
    "model.output_dropout",
    "model.l1",
    "model.l2",
    "model.kernel_initializer",
    "training.epochs",
    "training.max_steps",
    "training.batch_size",
    "training.accumulate_steps",
    "training.optimizer",
    "training.learning_rate",
    "training.clip_norm",
    "training.clip_value",
    "training.schedule",
    "training.warmup_steps",
    "training.monitor",
    "training.patience_epochs",
    "training.layer_decay",
    "training.average",
    "training.init_from",
    "training.freeze_epochs",
    "training.precision",
)

# A setting without a rule is always read.
RULES: dict[str, Rule] = {
    "data.train": _SPLIT,
    "data.validation": _SPLIT,
    "data.test": _SPLIT,
    "data.delimiter": _TABLE,
    "data.quoting": _TABLE,
    "data.header": _TABLE,
    "data.text_columns": _COLUMNS,
    "data.text_separator": _COLUMNS,
    "data.label_column": _COLUMNS,
    "data.multi_label": _COLUMNS,
    "data.label_ids": _COLUMNS,
    "data.rename_labels": _COLUMNS,
    "data.encoding": _format_is("csv", "tsv", "jsonl", "json", "folder"),
    "data.data_dir": _format_is("tfds"),
    "data.label_separator": _when("data.multi_label", True),
    "data.test_fraction": Rule(_SPLITS, frozenset({_FRACTIONS}), _SPLITS_CLAUSES[_FRACTIONS]),
    "data.validation_fraction": _VALIDATION_FROM_TRAIN,
    "data.split_seed": _VALIDATION_FROM_TRAIN,
    "data.in_memory_rows": _VALIDATION_FROM_TRAIN,
    "data.skip_unlabelled": _when("data.multi_label", False),
    "data.drop_unknown_labels": _SEPARATE_SPLITS,
    "data.drop_leaked_train": _SEPARATE_SPLITS,
    "text.min_count": _NEW_VOCABULARY,
    "text.max_tokens": _NEW_VOCABULARY,
    "text.linear_length": Rule(
        _LINEAR_MODEL, frozenset({True}), "model.linear is mixture, or model.encoder is none"
    ),
    "text.subword_buckets": _when("text.subwords", True),
    **dict.fromkeys(_NETWORK_SETTINGS, _NETWORK),
    "model.bidirectional": _RECURRENT_OR_FUNCTION,
    "model.units": _RECURRENT_OR_FUNCTION,
    "model.num_layers": _RECURRENT_OR_FUNCTION,
    "model.input_dropout": _RECURRENT_OR_FUNCTION,
    "model.recurrent_dropout": _RECURRENT,
    "model.recurrent_initializer": _RECURRENT,
    "model.layer_norm": Rule(_STACK, frozenset({True}), _SEVERAL_LAYERS),
    "model.reset_after": Rule(_ENCODER, frozenset({"gru"}), "model.encoder is gru"),
    "training.language_model_weight": _RECURRENT,
    "training.momentum": _when("training.optimizer", "sgd", "rmsprop"),
    "training.weight_decay": _when("training.optimizer", "adamw"),
    "training.average_decay": _when("training.average", "ema"),
    "training.init_vocabulary": Rule(
        Fact(
            frozenset({"training.init_from"}),
            lambda config: config.training.init_from is not None,
            lambda value: f"training.init_from is {'set' if value else 'not set'}",
        ),
        frozenset({True}),
        "training.init_from is set",
    ),
    "training.unfreezing": Rule(
        Fact(
            frozenset({"training.freeze_epochs"}),
            lambda config: config.training.freeze_epochs > 0,
            lambda value: f"training.freeze_epochs is {'above 0' if value else '0'}",
        ),
        frozenset({True}),
        "training.freeze_epochs is above 0",
    ),
    "training.worker_timeout_minutes": _when("training.strategy", "multi_worker"),
    "training.decay_rate": _when("training.schedule", "exponential"),
    "training.plateau_factor": _when("training.schedule", "plateau"),
    "training.plateau_patience_epochs": _when("training.schedule", "plateau"),
    "training.label_smoothing": _when("data.multi_label", False),
}
