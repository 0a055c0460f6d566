"""Settings: type, range, default and help of each, and the rules for when each is read."""

import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, field

# Section -> setting -> plain value; a missing setting has its default.
Values = Mapping[str, Mapping[str, Any]]

Initializer = Literal[
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "orthogonal", "normal"
]
Fraction = Annotated[float, Meta(ge=0, lt=1)]
Share = Annotated[float, Meta(gt=0, lt=1)]
Positive = Annotated[float, Meta(gt=0)]
Weight = Annotated[float, Meta(ge=0)]
Seed = Annotated[int, Meta(ge=0, le=2**31 - 1)]
# No path of any system holds a NUL.
PathName = Annotated[str, Meta(pattern=r"^[^\x00]+$", extra_json_schema={"format": "path"})]


# File ending -> format; `.gz` may follow, except after `.parquet`.
FILE_ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}


ENCODER_NAMES = ("simple_rnn", "lstm", "gru", "bag")


def _about(description: str) -> Meta:
    return Meta(description=description)


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    def to_dict(self, *names: str) -> dict[str, Any]:
        """Return the named settings, or all of the section, as plain values.

        Settings without effect are included.
        """
        values = msgspec.to_builtins(self)
        return {name: values[name] for name in names} if names else values


# `textclf config schema` and docs/config.md show the docstrings of the sections to users.
class Data(_Section, frozen=True):
    """The texts and their labels: location, format and splits."""

    source: Annotated[
        PathName | None,
        _about(
            "source of all splits: a file (split by fraction), a folder `split/label/*.txt`, "
            "`tfds:NAME`, or `demo`"
        ),
    ] = None
    train: Annotated[
        PathName | None,
        _about("file of the training split; or its name, if the source contains splits"),
    ] = None
    validation: Annotated[
        PathName | None,
        _about("file or name of the validation split; default: a part of train"),
    ] = None
    test: Annotated[
        PathName | None,
        _about("file or name of the test split; never used for training or model selection"),
    ] = None
    format: Annotated[
        Literal["auto", "csv", "tsv", "jsonl", "json", "parquet", "folder", "tfds", "demo"],
        _about(
            "format of the source; `auto`: by file ending or prefix; `jsonl` and `json`: one "
            "object per line or an array of objects"
        ),
    ] = "auto"
    delimiter: Annotated[
        Annotated[str, Meta(pattern=r"[^\r\n\x00]", min_length=1, max_length=1)] | None,
        _about("character between columns; default: `,` for csv and a tab for tsv"),
    ] = None
    quoting: Annotated[
        Literal["auto", "minimal", "backslash", "none"],
        _about(
            'whether `"` quotes a field; `auto`: minimal for csv and none for tsv; with '
            "`backslash` a backslash also escapes a quote or a delimiter"
        ),
    ] = "auto"
    header: Annotated[bool, _about("whether the first row names the columns")] = True
    text_columns: Annotated[
        list[str],
        Meta(min_length=1),
        _about("columns of the text, by name or by number from 1; several are joined"),
    ] = field(default_factory=lambda: ["text"])
    text_separator: Annotated[str, _about("separator between joined text columns")] = " "
    label_column: Annotated[str, _about("column of the label, by name or number from 1")] = "label"
    multi_label: Annotated[bool, _about("whether a text may have several labels, or none")] = False
    label_separator: Annotated[
        str, Meta(min_length=1), _about("separator between the labels of one text")
    ] = ","
    class_names: Annotated[
        Annotated[list[str], Meta(min_length=1)] | None,
        _about("classes in order; default: the names in train, sorted"),
    ] = None
    class_names_file: Annotated[PathName | None, _about("file of class names, one per line")] = None
    label_ids: Annotated[
        Literal["names", "from_zero", "from_one"],
        _about("whether labels are names, or numbers of the class names from 0 or from 1"),
    ] = "names"
    encoding: Annotated[str, _about("encoding of text files; a BOM is accepted")] = "utf-8"
    data_dir: Annotated[PathName | None, _about("folder of tensorflow-datasets")] = None
    validation_fraction: Annotated[
        Share, _about("share of train used for validation if there is no validation split")
    ] = 0.1
    test_fraction: Annotated[Share, _about("share of a single file used for test")] = 0.1
    split_seed: Annotated[Seed, _about("seed of splits by fraction")] = 0
    in_memory_rows: Annotated[
        int,
        Meta(ge=0),
        _about("maximum number of rows for which a split by fraction is stratified exactly"),
    ] = 1_000_000
    skip_unlabelled: Annotated[
        bool, _about("skip and count rows without a label; otherwise they are an error")
    ] = False
    drop_unknown_labels: Annotated[
        bool, _about("drop and count rows of validation and test whose label is not in train")
    ] = False
    drop_leaked_train: Annotated[
        bool, _about("drop and count rows of train whose text is also in validation or test")
    ] = False


class Text(_Section, frozen=True):
    """Conversion of texts to token ids, the same in training and in the served model."""

    unit: Annotated[Literal["word", "character"], _about("unit of a token")] = "word"
    lowercase: Annotated[bool, _about("convert to lower case")] = True
    fold_width: Annotated[
        bool, _about("convert full-width forms such as `！` and `Ａ` to their usual width")
    ] = True
    unescape_entities: Annotated[
        bool,
        _about("decode the entities `&amp;`, `&lt;`, `&gt;`, `&quot;` and `&apos;`"),
    ] = True
    max_tokens: Annotated[
        int, Meta(ge=1, le=10_000_000), _about("maximum size of the vocabulary")
    ] = 20_000
    min_count: Annotated[
        int, Meta(ge=1), _about("minimum count of a token in train; a rarer token is unknown")
    ] = 2
    hash_buckets: Annotated[
        int,
        Meta(ge=0, le=1_000_000),
        _about("number of ids for unknown tokens, assigned by hash; 0: one id for all"),
    ] = 0
    sequence_length: Annotated[
        int,
        Meta(ge=1, le=10_000),
        _about("maximum number of tokens of a text; cut tokens are counted and reported"),
    ] = 400
    keep: Annotated[
        Literal["start", "end", "both"],
        _about("part of a longer text that is kept; `both`: half from each end"),
    ] = "start"


class Model(_Section, frozen=True):
    """The network from token ids to logits."""

    encoder: Annotated[
        str,
        Meta(
            pattern=rf"^({'|'.join(ENCODER_NAMES)}|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$",
            extra_json_schema={"examples": list(ENCODER_NAMES)},
        ),
        _about(
            "recurrent layer; `bag`: none, the embeddings are pooled; `package.module:function`: "
            "a function that returns another layer, see docs/python.md"
        ),
    ] = "lstm"
    bidirectional: Annotated[bool, _about("read the text in both directions")] = True
    units: Annotated[int, Meta(ge=1, le=8192), _about("width of the state per direction")] = 64
    num_layers: Annotated[int, Meta(ge=1, le=16), _about("number of recurrent layers")] = 1
    pooling: Annotated[
        Literal["last", "max", "mean", "max_mean", "attention"],
        _about("reduction of the outputs at all tokens to one vector"),
    ] = "max_mean"
    embedding_dim: Annotated[int, Meta(ge=1, le=8192), _about("width of a token vector")] = 100
    embedding_vectors: Annotated[
        PathName | None, _about("GloVe, word2vec or fastText text file of initial token vectors")
    ] = None
    train_embedding: Annotated[bool, _about("whether token vectors are trained")] = True
    token_dropout: Annotated[Fraction, _about("share of tokens whose vector is zeroed")] = 0.0
    embedding_dropout: Annotated[
        Fraction, _about("share of embedding dimensions that are zeroed at all tokens of a text")
    ] = 0.2
    input_dropout: Annotated[Fraction, _about("dropout on the input of every recurrent layer")] = (
        0.0
    )
    recurrent_dropout: Annotated[
        Fraction, _about("dropout on the recurrent state; above 0, the cuDNN kernel cannot be used")
    ] = 0.0
    output_dropout: Annotated[Fraction, _about("dropout on the pooled vector")] = 0.3
    l1: Annotated[float, Meta(ge=0), _about("L1 penalty on kernels")] = 0.0
    l2: Annotated[float, Meta(ge=0), _about("L2 penalty on kernels")] = 0.0
    layer_norm: Annotated[bool, _about("layer normalisation between recurrent layers")] = False
    kernel_initializer: Annotated[Initializer, _about("initializer of input kernels")] = (
        "glorot_uniform"
    )
    recurrent_initializer: Annotated[Initializer, _about("initializer of recurrent kernels")] = (
        "orthogonal"
    )
    reset_after: Annotated[
        bool, _about("GRU: apply the reset gate after the matrix product, as cuDNN does")
    ] = True
    ngram_buckets: Annotated[
        int,
        Meta(ge=0, le=2**24),
        _about("buckets of a linear branch over hashed 1- to 3-grams; 0: no branch"),
    ] = 0


class Training(_Section, frozen=True):
    """Steps, optimizer and early stopping."""

    epochs: Annotated[int, Meta(ge=1, le=10_000), _about("maximum number of passes over train")] = (
        10
    )
    max_steps: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        _about("maximum number of steps; may end an epoch early; default: no limit"),
    ] = None
    batch_size: Annotated[int, Meta(ge=1, le=65_536), _about("texts per step")] = 64
    optimizer: Annotated[Literal["sgd", "rmsprop", "adam", "adamw"], _about("optimizer")] = "adam"
    learning_rate: Annotated[float, Meta(gt=0, le=100), _about("peak learning rate")] = 1e-3
    momentum: Annotated[Fraction, _about("momentum of sgd and rmsprop")] = 0.0
    weight_decay: Annotated[Fraction, _about("weight decay of adamw")] = 0.01
    clip_norm: Annotated[
        Positive | None, _about("maximum norm of the gradient over all weights")
    ] = 1.0
    clip_value: Annotated[
        Positive | None,
        _about("maximum absolute value of a gradient entry, applied before `clip_norm`"),
    ] = None
    schedule: Annotated[
        Literal["constant", "cosine", "exponential", "plateau"],
        _about("schedule of the learning rate after the warm-up"),
    ] = "constant"
    warmup_steps: Annotated[
        int, Meta(ge=0), _about("steps during which the learning rate rises from 0")
    ] = 0
    decay_rate: Annotated[Share, _about("factor per epoch of the exponential schedule")] = 0.8
    plateau_factor: Annotated[Share, _about("factor of the plateau schedule")] = 0.5
    plateau_patience_epochs: Annotated[
        int,
        Meta(ge=1),
        _about("epochs without improvement before the plateau schedule lowers the rate"),
    ] = 1
    monitor: Annotated[
        Literal["val_loss", "val_accuracy", "val_macro_f1"],
        _about(
            "validation metric by which the best epoch is chosen; multi-label accuracy is the "
            "share of texts with the exact label set"
        ),
    ] = "val_loss"
    patience_epochs: Annotated[
        int,
        Meta(ge=0),
        _about("epochs without improvement before training stops; 0: no early stopping"),
    ] = 3
    class_weights: Annotated[
        Literal["none", "balanced"] | dict[str, Weight],
        _about("class weights in the loss: `balanced`, or a weight for each class name"),
    ] = "none"
    label_smoothing: Annotated[Fraction, _about("share of the target spread over all classes")] = (
        0.0
    )
    seed: Annotated[Seed, _about("seed of initial weights, dropout and order of the texts")] = 0
    deterministic: Annotated[
        bool, _about("give the same bytes for the same seed; slower on a GPU")
    ] = True
    strategy: Annotated[
        Literal["one_device", "mirrored"],
        _about("`mirrored`: train on all GPUs of this machine, or on logical CPUs if none"),
    ] = "one_device"
    length_buckets: Annotated[
        int, Meta(ge=1, le=256), _about("number of groups by length from which batches are formed")
    ] = 12
    shuffle_buffer: Annotated[
        int, Meta(ge=1), _about("number of encoded texts in the shuffle buffer")
    ] = 20_000
    cache_dir: Annotated[
        PathName | None,
        _about("folder that keeps encoded texts for later runs; default: a temporary folder"),
    ] = None
    tensorboard: Annotated[bool, _about("write TensorBoard scalars; needs tensorboard")] = False


class Evaluation(_Section, frozen=True):
    """Intervals and bins of a report."""

    bootstrap_samples: Annotated[
        int, Meta(ge=100, le=100_000), _about("bootstrap samples per interval")
    ] = 1000
    confidence: Annotated[
        float, Meta(gt=0.5, lt=1), _about("confidence level of the intervals")
    ] = 0.95
    calibration_bins: Annotated[
        int, Meta(ge=2, le=100), _about("number of bins of the calibration error")
    ] = 15
    length_bins: Annotated[
        int, Meta(ge=1, le=20), _about("number of groups by text length that are scored separately")
    ] = 4
    seed: Annotated[Seed, _about("seed of the bootstrap")] = 0


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """All settings of an experiment; a missing setting has its default.

        config = Config.from_dict({"data": {"source": "reviews.csv"}, "model": {"units": 32}})
        config.model.units
        config = config.replace({"model.encoder": "gru"})

    `load`, `from_dict` and `replace` check values; the constructor checks nothing.
    """

    data: Data = field(default_factory=Data)
    text: Text = field(default_factory=Text)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)

    @classmethod
    def of(cls, values: Values) -> "Config":
        """Return the configuration of plain values that were checked before."""
        return msgspec.convert(values, cls)

    @classmethod
    def load(cls, path: str | os.PathLike, overrides: Mapping[str, Any] | None = None) -> "Config":
        """Read a configuration file.

            config = Config.load("reviews.yaml", {"training.epochs": 3})

        Args:
            path: a YAML file.
            overrides: "section.setting" -> value.

        Raises:
            ConfigError: lists all errors of the file and of the overrides.
        """
        from textclf import config

        return cls._with_notices(*config.load(path, overrides or {}))

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Mapping[str, Any]], overrides: Mapping[str, Any] | None = None
    ) -> "Config":
        """Return the configuration of plain values: section -> setting -> value.

        Raises:
            ConfigError: lists all errors.
        """
        from textclf import config

        return cls._with_notices(*config.from_dict(values, overrides or {}))

    def replace(self, overrides: Mapping[str, Any]) -> "Config":
        """Return a copy with other values: "section.setting" -> value.

        Settings that lose their effect are dropped; `notices` lists them.

        Raises:
            ConfigError: lists all errors.
        """
        return type(self).from_dict(self.to_dict(), overrides)

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences about settings that an override disabled and that were dropped."""
        return vars(self).get("_notices", ())

    @classmethod
    def _with_notices(cls, config: "Config", notices: Sequence[str]) -> "Config":
        vars(config)["_notices"] = tuple(notices)
        return config

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return all settings that have an effect, as plain values.

        A setting without effect (such as `reset_after` of an LSTM) is left out, so that
        `from_dict(config.to_dict())` returns an equal configuration.
        """
        values = msgspec.to_builtins(self)
        for path, rule in RULES.items():
            state = rule.state(values)
            if state is not None and state not in rule.read_in:
                section, name = path.split(".")
                del values[section][name]
        return values


SECTIONS: dict[str, type[_Section]] = {
    section.name: section.type for section in msgspec.structs.fields(Config)
}


class Setting(NamedTuple):
    """A setting's type, limits, default and description.

    Attributes:
        declared: its type with all limits.
        kinds: the alternatives of the type: `float | None` -> (float, NoneType).
        limits: its ranges, lengths and patterns.
        default: its default as a plain value.
        description: its help text.
    """

    declared: Any
    kinds: tuple[Any, ...]
    limits: tuple[Meta, ...]
    default: Any
    description: str


def _setting(declared: Any, default: Any) -> Setting:
    kind, *limits = get_args(declared)
    kinds = []
    for alternative in get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,):
        if get_origin(alternative) is Annotated:
            alternative, *inner = get_args(alternative)
            limits += inner
        kinds.append(alternative)
    (description,) = (limit.description for limit in limits if limit.description)
    return Setting(declared, tuple(kinds), tuple(limits), default, description)


def _settings(section: type[_Section]) -> dict[str, Setting]:
    defaults = section().to_dict()
    hints = get_type_hints(section, include_extras=True)
    return {name: _setting(hints[name], default) for name, default in defaults.items()}


SETTINGS = {
    f"{section}.{name}": setting
    for section, model in SECTIONS.items()
    for name, setting in _settings(model).items()
}
# The declared type is a text with a pattern, for the names of functions.
SETTINGS["model.encoder"] = SETTINGS["model.encoder"]._replace(kinds=(Literal[ENCODER_NAMES],))
PATH_SETTINGS = tuple(
    path
    for path, setting in SETTINGS.items()
    if any((limit.extra_json_schema or {}).get("format") == "path" for limit in setting.limits)
)


def holds_text(path: Sequence[str]) -> bool:
    """Return whether a setting holds a text or a list of texts.

    Args:
        path: keys and positions of a value, such as ("data", "class_names", "0"). In a benchmark
            file a setting is one key: ("settings", "data.class_names", "0").
    """
    setting = next((key for key in path if key in SETTINGS), ".".join(path[:2]))
    return setting in SETTINGS and bool({str, list[str]} & {*SETTINGS[setting].kinds})


# === Descriptions of types ===


def choices(path: str) -> tuple[str, ...]:
    """Return the words that a setting accepts; empty if it is not a choice of words."""
    kinds = SETTINGS[path].kinds
    return tuple(word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))


def expected(path: str) -> str:
    """Describe the values that a setting accepts: "a number above 0"."""
    words = [_describe_type(path, kind) for kind in SETTINGS[path].kinds]
    if choices(path) and len(words) == 1:
        return f"one of {words[0]}"
    return " or ".join(words)


def _describe_type(path: str, kind: Any) -> str:
    limits = SETTINGS[path].limits
    is_never_empty = any(limit.min_length for limit in limits)
    if get_origin(kind) is Literal:
        function = " or package.module:function" if path == "model.encoder" else ""
        return ", ".join(get_args(kind)) + function
    if get_origin(kind) is dict:
        return "a number of at least 0 for each class"
    if get_origin(kind) is list:
        return "a list of at least one text" if is_never_empty else "a list of texts"
    if kind is str:
        if path in PATH_SETTINGS:
            return "a path"
        if path == "data.delimiter":
            return "one character (no line break)"
        return "a text that is not empty" if is_never_empty else "a text"
    words = {bool: "true or false", int: "a whole number", float: "a number", type(None): "null"}
    return words[kind] + (_describe_range(limits) if kind in (int, float) else "")


def _describe_range(limits: Iterable[Meta]) -> str:
    words = [
        f"{word} {bound}"
        for limit in limits
        for word, bound in (
            ("of at least", limit.ge),
            ("above", limit.gt),
            ("at most", limit.le),
            ("below", limit.lt),
        )
        if bound is not None
    ]
    return " " + " and ".join(words) if words else ""


# === Rules for when a setting is read ===


def get(values: Values, path: str) -> Any:
    """Return the value of a setting, or its default."""
    section, name = path.split(".")
    return values.get(section, {}).get(name, SETTINGS[path].default)


def data_format(data: Mapping[str, Any]) -> str | None:
    """Return the format of the data: `format`, or else by file ending or prefix.

    None if the format is unknown: an unknown ending, or no source.
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
    # A source without an ending is a folder. The reader reports an unknown ending.
    return FILE_ENDINGS.get(ending, "folder" if source and not ending else None)


class Rule(NamedTuple):
    """The condition under which a setting is read.

    Attributes:
        state: returns the state of the values that decides it, as a clause; None if unknown.
        read_in: the states in which the setting is read.
        needed: a description of these states.
        resets_on_change: whether an override that changes the state drops the setting's value,
            because the value means something else in each state.
    """

    state: Callable[[Values], str | None]
    read_in: frozenset[str]
    needed: str
    resets_on_change: bool = False


def _lower(value: Any) -> str:
    return str(value).lower()


def _when(path: str, *words: Any) -> Rule:
    """Return the rule "only if the setting `path` is one of these words"."""

    def state(values: Values) -> str:
        return f"{path} is {_lower(get(values, path))}"

    names = [_lower(word) for word in words]
    needed = " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
    return Rule(state, frozenset(f"{path} is {name}" for name in names), f"{path} is {needed}")


def _format_is(*formats: str) -> Rule:
    def state(values: Values) -> str | None:
        kind = data_format(values.get("data", {}))
        return None if kind is None else f"data.format is {kind}"

    needed = " or ".join([", ".join(formats[:-1]), formats[-1]] if formats[1:] else formats)
    return Rule(
        state, frozenset(f"data.format is {name}" for name in formats), f"data.format is {needed}"
    )


_ONE_FILE = "data.source is a single file, which is split by fraction"
_FILES = "data.source is not set and each split is a file"
_NAMED = "data.source contains splits"


def _splits(values: Values) -> str | None:
    """Return how the splits are defined."""
    kind = data_format(values.get("data", {}))
    if get(values, "data.source") is None:
        return _FILES
    if kind is None:
        return None
    return _NAMED if kind in ("folder", "tfds", "demo") else _ONE_FILE


_FROM_TRAIN = "validation is a part of train"


def _validation(values: Values) -> str:
    if data_format(values.get("data", {})) == "demo":
        return "the demo has a validation split"
    if get(values, "data.validation") is not None:
        return "data.validation is set"
    return _FROM_TRAIN


_SEVERAL_LAYERS = "model.num_layers is at least 2"


def _layers(values: Values) -> str:
    if get(values, "model.encoder") == "bag" or ":" in str(get(values, "model.encoder")):
        return _encoder(values)
    return _SEVERAL_LAYERS if get(values, "model.num_layers") > 1 else "model.num_layers is 1"


_RECURRENT = _when("model.encoder", "simple_rnn", "lstm", "gru")
_PLUGIN = "model.encoder is a function"


def _encoder(values: Values) -> str:
    name = get(values, "model.encoder")
    return _PLUGIN if ":" in str(name) else f"model.encoder is {_lower(name)}"


# These settings are also passed to a function that returns an encoder.
_RECURRENT_OR_PLUGIN = Rule(
    _encoder, _RECURRENT.read_in | {_PLUGIN}, f"{_RECURRENT.needed}, or a function"
)
_TABLE = _format_is("csv", "tsv")
_COLUMNS = _format_is("csv", "tsv", "jsonl", "json", "parquet", "tfds")
_VALIDATION_FROM_TRAIN = Rule(_validation, frozenset({_FROM_TRAIN}), _FROM_TRAIN)
_SEPARATE_SPLITS = Rule(_splits, frozenset({_FILES, _NAMED}), f"{_NAMED}, or {_FILES}")

# A setting without a rule is always read.
RULES: dict[str, Rule] = {
    "data.train": Rule(_splits, frozenset({_FILES, _NAMED}), _FILES, resets_on_change=True),
    "data.validation": Rule(_splits, frozenset({_FILES, _NAMED}), _FILES, resets_on_change=True),
    "data.test": Rule(_splits, frozenset({_FILES, _NAMED}), _FILES, resets_on_change=True),
    "data.delimiter": _TABLE,
    "data.quoting": _TABLE,
    "data.header": _TABLE,
    "data.text_columns": _COLUMNS,
    "data.text_separator": _COLUMNS,
    "data.label_column": _COLUMNS,
    "data.multi_label": _COLUMNS,
    "data.label_ids": _COLUMNS,
    "data.encoding": _format_is("csv", "tsv", "jsonl", "json", "folder"),
    "data.data_dir": _format_is("tfds"),
    "data.label_separator": _when("data.multi_label", True),
    "data.test_fraction": Rule(_splits, frozenset({_ONE_FILE}), _ONE_FILE),
    "data.validation_fraction": _VALIDATION_FROM_TRAIN,
    "data.split_seed": _VALIDATION_FROM_TRAIN,
    "data.in_memory_rows": _VALIDATION_FROM_TRAIN,
    "data.skip_unlabelled": _when("data.multi_label", False),
    "data.drop_unknown_labels": _SEPARATE_SPLITS,
    "data.drop_leaked_train": _SEPARATE_SPLITS,
    "model.bidirectional": _RECURRENT_OR_PLUGIN,
    "model.units": _RECURRENT_OR_PLUGIN,
    "model.num_layers": _RECURRENT_OR_PLUGIN,
    "model.input_dropout": _RECURRENT_OR_PLUGIN,
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
