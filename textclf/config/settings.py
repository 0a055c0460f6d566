"""Every setting with its type, range, default and help, and which choices leave it unread."""

import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pydantic
from annotated_types import Ge, Gt, Le, Lt, MinLen

# Section -> setting -> plain value; settings that are not there have their default.
Values = Mapping[str, Mapping[str, Any]]

Initializer = Literal[
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "orthogonal", "normal"
]
Weight = Annotated[float, Ge(0)]


def _setting(default: Any, description: str, **limits: Any) -> Any:
    return pydantic.Field(default, description=description, **limits)


def _fraction(default: float, description: str) -> Any:
    return _setting(default, description, ge=0, lt=1)


def _seed(description: str) -> Any:
    return _setting(0, description, ge=0, le=2**31 - 1)


def _path(description: str) -> Any:
    # No path of any system holds a NUL.
    return _setting(None, description, pattern=r"^[^\x00]+$", json_schema_extra={"format": "path"})


class _Section(pydantic.BaseModel):
    # Strict: `true` is no 1, 3.0 is no whole number, and 2018 is no text.
    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )


class Data(_Section):
    """Where the texts are and how they are read and split."""

    source: str | None = _path(
        "one source that holds all splits: a file (split by fraction), a folder "
        "`split/label/*.txt`, `tfds:NAME`, or `demo`"
    )
    train: str | None = _path(
        "file of the training split; beside a source that has splits, the split's name"
    )
    validation: str | None = _path(
        "the same for validation; without one, a part of train is set aside"
    )
    test: str | None = _path("the same for test; never read while anything is fitted or chosen")
    format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "folder", "tfds", "demo"] = _setting(
        "auto", "how the source is written; `auto` goes by its ending or prefix"
    )
    delimiter: str | None = _setting(
        None,
        "the character between columns; default `,` for csv and a tab for tsv",
        pattern=r"^[^\r\n\x00]$",
    )
    quoting: Literal["auto", "minimal", "none"] = _setting(
        "auto", 'whether `"` quotes a field; `auto` is minimal for csv and none for tsv'
    )
    header: bool = _setting(True, "whether the first row names the columns")
    text_columns: list[str] = _setting(
        ["text"],
        "the columns of the text, by name or by number from 1; several are joined",
        min_length=1,
    )
    text_separator: str = _setting(" ", "what stands between joined text columns")
    label_column: str = _setting("label", "the column of the label, by name or number from 1")
    multi_label: bool = _setting(False, "whether a text may have several labels, or none")
    label_separator: str = _setting(",", "what stands between the labels of one text", min_length=1)
    class_names: list[str] | None = _setting(
        None, "the classes in order; default: the names found in train, sorted", min_length=1
    )
    class_names_file: str | None = _path("a file with the class names, one a line")
    label_ids: Literal["names", "from_zero", "from_one"] = _setting(
        "names", "whether labels are names, or numbers that count the class names from 0 or 1"
    )
    encoding: str = _setting("utf-8", "the encoding of text files; a BOM is accepted")
    data_dir: str | None = _path("where tensorflow-datasets keeps its files")
    validation_fraction: float = _setting(
        0.1, "share of train set aside when no validation split is given", gt=0, lt=1
    )
    test_fraction: float = _setting(0.1, "share of a single file set aside for test", gt=0, lt=1)
    split_seed: int = _seed("seed of the splits made by fraction")
    in_memory_rows: int = _setting(
        1_000_000, "up to so many rows a split by fraction is stratified exactly", ge=0
    )
    drop_unknown_labels: bool = _setting(
        False, "drop and count rows of validation and test whose label train does not have"
    )
    drop_leaked_train: bool = _setting(
        False, "drop and count rows of train whose text stands in validation or test too"
    )


class Text(_Section):
    """How a string becomes token ids, in training and in the served model alike."""

    unit: Literal["word", "character"] = _setting("word", "what a token is")
    lowercase: bool = _setting(True, "fold upper case")
    fold_width: bool = _setting(True, "fold full-width forms such as `！` and `Ａ`")
    unescape_entities: bool = _setting(
        True, "read `&amp;`, `&lt;`, `&gt;`, `&quot;` and `&apos;` as the characters they name"
    )
    max_tokens: int = _setting(20_000, "size limit of the vocabulary", ge=1, le=10_000_000)
    min_count: int = _setting(2, "a token seen fewer times in train is unknown", ge=1)
    hash_buckets: int = _setting(
        0, "ids shared by hashed unknown tokens; 0 gives all of them one id", ge=0, le=1_000_000
    )
    sequence_length: int = _setting(
        400, "tokens kept of a text; what it cuts is counted and reported", ge=1, le=10_000
    )
    keep: Literal["start", "end", "both"] = _setting(
        "start", "which part of a longer text is kept; `both` keeps half from each end"
    )


class Model(_Section):
    """The network from token ids to logits."""

    encoder: Literal["simple_rnn", "lstm", "gru", "bag"] = _setting(
        "lstm", "the recurrent cell; `bag` has none and pools the embeddings"
    )
    bidirectional: bool = _setting(True, "read the text in both directions")
    units: int = _setting(64, "width of the state, for each direction", ge=1, le=8192)
    num_layers: int = _setting(1, "recurrent layers", ge=1, le=16)
    pooling: Literal["last", "max", "mean", "max_mean", "attention"] = _setting(
        "max_mean", "how the outputs at all tokens become one vector"
    )
    embedding_dim: int = _setting(100, "width of a token's vector", ge=1, le=8192)
    embedding_vectors: str | None = _path("a GloVe, word2vec or fastText text file to begin from")
    train_embedding: bool = _setting(True, "whether token vectors are trained")
    token_dropout: float = _fraction(0.0, "share of tokens whose vector is zeroed")
    embedding_dropout: float = _fraction(
        0.2, "share of embedding dimensions zeroed throughout a text"
    )
    input_dropout: float = _fraction(0.0, "dropout on the input of every recurrent layer")
    recurrent_dropout: float = _fraction(
        0.0, "dropout on the recurrent state; above 0 it rules out the fast GPU kernel"
    )
    output_dropout: float = _fraction(0.3, "dropout on the pooled vector")
    l1: float = _setting(0.0, "L1 penalty on kernels", ge=0)
    l2: float = _setting(0.0, "L2 penalty on kernels", ge=0)
    layer_norm: bool = _setting(False, "layer normalisation between recurrent layers")
    kernel_initializer: Initializer = _setting("glorot_uniform", "initial input kernels")
    recurrent_initializer: Initializer = _setting("orthogonal", "initial recurrent kernels")
    reset_after: bool = _setting(
        True, "GRU: apply the reset gate after the matrix product, as cuDNN does"
    )
    ngram_buckets: int = _setting(
        0,
        "size of a linear branch over hashed 1- to 3-grams beside the encoder; 0 for none",
        ge=0,
        le=2**24,
    )


class Training(_Section):
    """The loop."""

    epochs: int = _setting(10, "passes over train at most", ge=1, le=10_000)
    max_steps: int | None = _setting(
        None,
        "steps at most, the last epoch ending where they do; default: as the epochs have",
        ge=1,
    )
    batch_size: int = _setting(64, "texts a step", ge=1, le=65_536)
    optimizer: Literal["sgd", "rmsprop", "adam", "adamw"] = _setting("adam", "the optimizer")
    learning_rate: float = _setting(1e-3, "highest learning rate", gt=0, le=100)
    momentum: float = _fraction(0.0, "momentum of sgd and rmsprop")
    weight_decay: float = _fraction(0.01, "decay of adamw")
    clip_norm: float | None = _setting(1.0, "limit of the gradient's norm over all weights", gt=0)
    clip_value: float | None = _setting(
        None, "limit of each entry of the gradient, applied first", gt=0
    )
    schedule: Literal["constant", "cosine", "exponential", "plateau"] = _setting(
        "constant", "how the learning rate changes after the warm-up"
    )
    warmup_steps: int = _setting(0, "steps in which the learning rate rises from 0", ge=0)
    decay_rate: float = _setting(0.8, "factor an epoch of the exponential schedule", gt=0, lt=1)
    plateau_factor: float = _setting(0.5, "factor of the plateau schedule", gt=0, lt=1)
    plateau_patience_epochs: int = _setting(
        1, "epochs without improvement before the plateau schedule lowers the rate", ge=1
    )
    monitor: Literal["val_loss", "val_accuracy", "val_macro_f1"] = _setting(
        "val_loss",
        "the validation figure that chooses the best epoch; a multi-label accuracy is that of "
        "whole label sets",
    )
    patience_epochs: int = _setting(
        3, "epochs without improvement before training stops; 0 never stops early", ge=0
    )
    class_weights: Literal["none", "balanced"] | dict[str, Weight] = _setting(
        "none", "weights of the classes in the loss: `balanced`, or one a class name"
    )
    label_smoothing: float = _fraction(0.0, "share of the target spread over all classes")
    abstain_precision: float | None = _setting(
        None,
        "abstain from the least confident answers, so that this share of the others was right on "
        "validation",
        gt=0,
        le=1,
    )
    abstain_coverage: float | None = _setting(
        None,
        "abstain from the least confident answers, so that this share was answered on validation",
        gt=0,
        le=1,
    )
    seed: int = _seed("seed of initial weights, dropout and order")
    deterministic: bool = _setting(
        True, "same seed, same bytes; on a GPU it costs speed and may be switched off"
    )
    strategy: Literal["one_device", "mirrored"] = _setting(
        "one_device", "`mirrored` trains on all GPUs of this machine (without one, logical CPUs)"
    )
    length_buckets: int = _setting(
        12, "groups of similar length from which batches are made", ge=1, le=256
    )
    shuffle_buffer: int = _setting(20_000, "encoded texts held in memory for shuffling", ge=1)
    cache_dir: str | None = _path(
        "keep encoded texts here for later runs; default: beside the output, then removed"
    )
    tensorboard: bool = _setting(False, "write TensorBoard scalars (extra `tensorboard`)")


class Evaluation(_Section):
    """What a report holds."""

    bootstrap_samples: int = _setting(1000, "resamplings behind an interval", ge=100, le=100_000)
    confidence: float = _setting(0.95, "level of the intervals", gt=0.5, lt=1)
    calibration_bins: int = _setting(15, "bins of the calibration error", ge=2, le=100)
    length_bins: int = _setting(4, "groups of text length that are scored apart", ge=1, le=20)
    seed: int = _seed("seed of the resamplings")


class Export(_Section):
    """What goes into a SavedModel besides the model."""

    golden_texts: list[str] = _setting(
        [], "texts of your own that every export must answer as the trained model does"
    )


class Config(pydantic.BaseModel):
    """A whole experiment, immutable."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    data: Data = Data()
    text: Text = Text()
    model: Model = Model()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    export: Export = Export()

    @classmethod
    def of(cls, values: Values) -> "Config":
        """The configuration of values that are known to be right."""
        sections = {name: model(**values.get(name, {})) for name, model in SECTIONS.items()}
        return cls(**sections)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """All settings that this configuration reads, as plain values.

        What another setting rules out (`reset_after` of an LSTM, say) is left out, so that
        `from_dict(config.to_dict())` gives the same configuration.
        """
        values = self.model_dump()
        for path, rule in RULES.items():
            state = rule.state(values)
            if state is not None and state not in rule.read_in:
                section, name = path.split(".")
                del values[section][name]
        return values


SECTIONS: dict[str, type[_Section]] = {
    name: type(field.default) for name, field in Config.model_fields.items()
}
SETTINGS = tuple(
    f"{section}.{name}" for section, model in SECTIONS.items() for name in model.model_fields
)


def field_of(path: str) -> Any:
    """pydantic's description of a setting: annotation, default, description."""
    section, name = path.split(".")
    return SECTIONS[section].model_fields[name]


PATH_SETTINGS = tuple(path for path in SETTINGS if field_of(path).json_schema_extra)


# === Types in words ===


def kinds(path: str) -> tuple[Any, ...]:
    """The alternatives of a setting's type: `float | None` -> (float, NoneType)."""
    annotation = field_of(path).annotation
    is_union = get_origin(annotation) is Union or type(annotation) is type(int | None)
    return get_args(annotation) if is_union else (annotation,)


def choices(path: str) -> tuple[str, ...]:
    """The words that a setting can be set to; none where it has no such list."""
    return tuple(
        word for kind in kinds(path) if get_origin(kind) is Literal for word in get_args(kind)
    )


def expected(path: str) -> str:
    """What a setting can be set to, in words: "a whole number from 1 to 8192"."""
    field = field_of(path)
    words = [_in_words(path, kind, field.metadata) for kind in kinds(path)]
    if choices(path) and len(words) == 1:
        return f"one of {words[0]}"
    return " or ".join(words)


def _in_words(path: str, kind: Any, limits: list[Any]) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(get_args(kind))
    if get_origin(kind) is dict:
        return "a number of at least 0 for each class"
    if get_origin(kind) is list:
        is_never_empty = any(isinstance(limit, MinLen) for limit in limits)
        return "a list of at least one text" if is_never_empty else "a list of texts"
    if kind is str:
        if path in PATH_SETTINGS:
            return "a path"
        if path == "data.delimiter":
            return "one character (no line break)"
        is_never_empty = any(isinstance(limit, MinLen) for limit in limits)
        return "a text that is not empty" if is_never_empty else "a text"
    words = {bool: "true or false", int: "a whole number", float: "a number", type(None): "null"}
    return words[kind] + (_range(limits) if kind in (int, float) else "")


def _range(limits: list[Any]) -> str:
    words = []
    for limit in limits:
        if isinstance(limit, Ge):
            words.append(f"of at least {limit.ge}")
        elif isinstance(limit, Gt):
            words.append(f"above {limit.gt}")
        elif isinstance(limit, Le):
            words.append(f"at most {limit.le}")
        elif isinstance(limit, Lt):
            words.append(f"below {limit.lt}")
    return " " + " and ".join(words) if words else ""


# === Which choices leave a setting unread ===


def get(values: Values, path: str) -> Any:
    """The value of a setting, or its default."""
    section, name = path.split(".")
    return values.get(section, {}).get(name, field_of(path).default)


def data_format(data: Mapping[str, Any]) -> str | None:
    """The format of the `data` section's values: as given, else by ending or prefix.

    None where nothing says it (an unknown ending, or no source at all).
    """
    if data.get("format", "auto") != "auto":
        return data["format"]
    source = data.get("source")
    address = source or data.get("train") or data.get("validation") or data.get("test")
    if not isinstance(address, str):
        return None
    if source == "demo":
        return "demo"
    if source and source.startswith("tfds:"):
        return "tfds"
    if source and source.endswith("/"):
        return "folder"
    address = address.lower().removesuffix(".gz")
    ending = os.path.splitext(address)[1]
    by_ending = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    by_ending[".parquet"] = "parquet"
    # A source without an ending is a folder; an unknown ending is for the reader to refuse.
    return by_ending.get(ending, "folder" if source and not ending else None)


class Rule(NamedTuple):
    """When a setting is read.

    Attributes:
        state: of the values, what decides it, as a clause; None where they do not tell.
        read_in: the states in which the setting is read.
        needed: these states in words.
        follows: the setting means something else in each state, so that a value given for one
            does not pass into another.
    """

    state: Callable[[Values], str | None]
    read_in: frozenset[str]
    needed: str
    follows: bool = False


def _shown(value: Any) -> str:
    return str(value).lower()


def _when(path: str, *words: Any) -> Rule:
    """The rule "only if the setting `path` is one of these"."""

    def state(values: Values) -> str:
        return f"{path} is {_shown(get(values, path))}"

    shown = [_shown(word) for word in words]
    needed = " or ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown)
    return Rule(state, frozenset(f"{path} is {word}" for word in shown), f"{path} is {needed}")


def _format_is(*formats: str) -> Rule:
    def state(values: Values) -> str | None:
        found = data_format(values.get("data", {}))
        return None if found is None else f"data.format is {found}"

    needed = " or ".join([", ".join(formats[:-1]), formats[-1]] if formats[1:] else formats)
    return Rule(
        state, frozenset(f"data.format is {name}" for name in formats), f"data.format is {needed}"
    )


_ONE_FILE = "data.source is a single file, which is split by fraction"
_FILES = "there is no data.source and each split is a file"
_NAMED = "data.source has splits of its own"


def _splits(values: Values) -> str | None:
    """How the splits are told apart."""
    found = data_format(values.get("data", {}))
    if get(values, "data.source") is None:
        return _FILES
    if found is None:
        return None
    return _NAMED if found in ("folder", "tfds", "demo") else _ONE_FILE


_SET_ASIDE = "validation is set aside from train"


def _validation(values: Values) -> str:
    if data_format(values.get("data", {})) == "demo":
        return "the demo has a validation split"
    if get(values, "data.validation") is not None:
        return "data.validation is given"
    return _SET_ASIDE


_SEVERAL_LAYERS = "model.num_layers is at least 2"


def _layers(values: Values) -> str:
    if get(values, "model.encoder") == "bag":
        return "model.encoder is bag"
    return _SEVERAL_LAYERS if get(values, "model.num_layers") > 1 else "model.num_layers is 1"


_RECURRENT = _when("model.encoder", "simple_rnn", "lstm", "gru")
_TABLE = _format_is("csv", "tsv")
_COLUMNS = _format_is("csv", "tsv", "jsonl", "parquet", "tfds")
_WITHIN = Rule(_validation, frozenset({_SET_ASIDE}), _SET_ASIDE)
_APART = Rule(_splits, frozenset({_FILES, _NAMED}), f"{_NAMED}, or {_FILES}")

# Every setting not named here is always read.
RULES: dict[str, Rule] = {
    "data.train": Rule(_splits, frozenset({_FILES, _NAMED}), _FILES, follows=True),
    "data.validation": Rule(_splits, frozenset({_FILES, _NAMED}), _FILES, follows=True),
    "data.test": Rule(_splits, frozenset({_FILES, _NAMED}), _FILES, follows=True),
    "data.delimiter": _TABLE,
    "data.quoting": _TABLE,
    "data.header": _TABLE,
    "data.text_columns": _COLUMNS,
    "data.text_separator": _COLUMNS,
    "data.label_column": _COLUMNS,
    "data.multi_label": _COLUMNS,
    "data.label_ids": _COLUMNS,
    "data.encoding": _format_is("csv", "tsv", "jsonl", "folder"),
    "data.data_dir": _format_is("tfds"),
    "data.label_separator": _when("data.multi_label", True),
    "data.test_fraction": Rule(_splits, frozenset({_ONE_FILE}), _ONE_FILE),
    "data.validation_fraction": _WITHIN,
    "data.split_seed": _WITHIN,
    "data.in_memory_rows": _WITHIN,
    "data.drop_unknown_labels": _APART,
    "data.drop_leaked_train": _APART,
    "model.bidirectional": _RECURRENT,
    "model.units": _RECURRENT,
    "model.num_layers": _RECURRENT,
    "model.input_dropout": _RECURRENT,
    "model.recurrent_dropout": _RECURRENT,
    "model.recurrent_initializer": _RECURRENT,
    "model.layer_norm": Rule(_layers, frozenset({_SEVERAL_LAYERS}), _SEVERAL_LAYERS),
    "model.reset_after": _when("model.encoder", "gru"),
    "training.momentum": _when("training.optimizer", "sgd", "rmsprop"),
    "training.weight_decay": _when("training.optimizer", "adamw"),
    "training.decay_rate": _when("training.schedule", "exponential"),
    "training.plateau_factor": _when("training.schedule", "plateau"),
    "training.plateau_patience_epochs": _when("training.schedule", "plateau"),
    "training.label_smoothing": _when("data.multi_label", False),
}
