"""Every setting with its type, range, default and help, and which choices leave it unread."""

import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, field

# Section -> setting -> plain value; settings that are not there have their default.
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
        """These settings of the section, or all of them, read or not, as plain values."""
        values = msgspec.to_builtins(self)
        return {name: values[name] for name in names} if names else values


# `textclf config schema` and docs/config.md show the docstrings of the sections to users.
class Data(_Section, frozen=True):
    """The texts and their labels: where they are, and how they are read and split."""

    source: Annotated[
        PathName | None,
        _about(
            "one source that holds all splits: a file (split by fraction), a folder "
            "`split/label/*.txt`, `tfds:NAME`, or `demo`"
        ),
    ] = None
    train: Annotated[
        PathName | None,
        _about("file of the training split; beside a source that has splits, the split's name"),
    ] = None
    validation: Annotated[
        PathName | None,
        _about("the same for validation; without one, a part of train is set aside"),
    ] = None
    test: Annotated[
        PathName | None, _about("the same for test; never read while anything is fitted or chosen")
    ] = None
    format: Annotated[
        Literal["auto", "csv", "tsv", "jsonl", "json", "parquet", "folder", "tfds", "demo"],
        _about(
            "the format of the source; `auto`: by its ending or prefix; `jsonl` and `json`: an "
            "object a line or an array of objects"
        ),
    ] = "auto"
    delimiter: Annotated[
        Annotated[str, Meta(pattern=r"[^\r\n\x00]", min_length=1, max_length=1)] | None,
        _about("the character between columns; default `,` for csv and a tab for tsv"),
    ] = None
    quoting: Annotated[
        Literal["auto", "minimal", "backslash", "none"],
        _about(
            'whether `"` quotes a field; `auto` is minimal for csv and none for tsv; with '
            "`backslash` a backslash also escapes a quote or a delimiter"
        ),
    ] = "auto"
    header: Annotated[bool, _about("whether the first row names the columns")] = True
    text_columns: Annotated[
        list[str],
        Meta(min_length=1),
        _about("the columns of the text, by name or by number from 1; several are joined"),
    ] = field(default_factory=lambda: ["text"])
    text_separator: Annotated[str, _about("what stands between joined text columns")] = " "
    label_column: Annotated[str, _about("the column of the label, by name or number from 1")] = (
        "label"
    )
    multi_label: Annotated[bool, _about("whether a text may have several labels, or none")] = False
    label_separator: Annotated[
        str, Meta(min_length=1), _about("what stands between the labels of one text")
    ] = ","
    class_names: Annotated[
        Annotated[list[str], Meta(min_length=1)] | None,
        _about("the classes in order; default: the names found in train, sorted"),
    ] = None
    class_names_file: Annotated[
        PathName | None, _about("a file with the class names, one a line")
    ] = None
    label_ids: Annotated[
        Literal["names", "from_zero", "from_one"],
        _about("whether labels are names, or numbers that count the class names from 0 or 1"),
    ] = "names"
    encoding: Annotated[str, _about("the encoding of text files; a BOM is accepted")] = "utf-8"
    data_dir: Annotated[PathName | None, _about("where tensorflow-datasets keeps its files")] = None
    validation_fraction: Annotated[
        Share, _about("share of train set aside when no validation split is given")
    ] = 0.1
    test_fraction: Annotated[Share, _about("share of a single file set aside for test")] = 0.1
    split_seed: Annotated[Seed, _about("seed of the splits made by fraction")] = 0
    in_memory_rows: Annotated[
        int, Meta(ge=0), _about("up to so many rows a split by fraction is stratified exactly")
    ] = 1_000_000
    skip_unlabelled: Annotated[
        bool, _about("skip and count rows without a label; otherwise they are a mistake")
    ] = False
    drop_unknown_labels: Annotated[
        bool, _about("drop and count rows of validation and test whose label train does not have")
    ] = False
    drop_leaked_train: Annotated[
        bool, _about("drop and count rows of train whose text stands in validation or test too")
    ] = False


class Text(_Section, frozen=True):
    """The way from a string to token ids, the same in training and in the served model."""

    unit: Annotated[Literal["word", "character"], _about("what a token is")] = "word"
    lowercase: Annotated[bool, _about("fold upper case")] = True
    fold_width: Annotated[bool, _about("fold full-width forms such as `！` and `Ａ`")] = True
    unescape_entities: Annotated[
        bool,
        _about("read `&amp;`, `&lt;`, `&gt;`, `&quot;` and `&apos;` as the characters they name"),
    ] = True
    max_tokens: Annotated[
        int, Meta(ge=1, le=10_000_000), _about("size limit of the vocabulary")
    ] = 20_000
    min_count: Annotated[
        int, Meta(ge=1), _about("a token seen fewer times in train is unknown")
    ] = 2
    hash_buckets: Annotated[
        int,
        Meta(ge=0, le=1_000_000),
        _about("ids shared by hashed unknown tokens; 0 gives all of them one id"),
    ] = 0
    sequence_length: Annotated[
        int,
        Meta(ge=1, le=10_000),
        _about("tokens kept of a text; what it cuts is counted and reported"),
    ] = 400
    keep: Annotated[
        Literal["start", "end", "both"],
        _about("which part of a longer text is kept; `both` keeps half from each end"),
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
            "the recurrent layer; `bag` has none and pools the embeddings; "
            "`package.module:function` names a function that returns another layer, see "
            "docs/python.md"
        ),
    ] = "lstm"
    bidirectional: Annotated[bool, _about("read the text in both directions")] = True
    units: Annotated[int, Meta(ge=1, le=8192), _about("width of the state, for each direction")] = (
        64
    )
    num_layers: Annotated[int, Meta(ge=1, le=16), _about("recurrent layers")] = 1
    pooling: Annotated[
        Literal["last", "max", "mean", "max_mean", "attention"],
        _about("how the outputs at all tokens become one vector"),
    ] = "max_mean"
    embedding_dim: Annotated[int, Meta(ge=1, le=8192), _about("width of a token's vector")] = 100
    embedding_vectors: Annotated[
        PathName | None, _about("a GloVe, word2vec or fastText text file to begin from")
    ] = None
    train_embedding: Annotated[bool, _about("whether token vectors are trained")] = True
    token_dropout: Annotated[Fraction, _about("share of tokens whose vector is zeroed")] = 0.0
    embedding_dropout: Annotated[
        Fraction, _about("share of embedding dimensions zeroed throughout a text")
    ] = 0.2
    input_dropout: Annotated[Fraction, _about("dropout on the input of every recurrent layer")] = (
        0.0
    )
    recurrent_dropout: Annotated[
        Fraction, _about("dropout on the recurrent state; above 0 it rules out the fast GPU kernel")
    ] = 0.0
    output_dropout: Annotated[Fraction, _about("dropout on the pooled vector")] = 0.3
    l1: Annotated[float, Meta(ge=0), _about("L1 penalty on kernels")] = 0.0
    l2: Annotated[float, Meta(ge=0), _about("L2 penalty on kernels")] = 0.0
    layer_norm: Annotated[bool, _about("layer normalisation between recurrent layers")] = False
    kernel_initializer: Annotated[Initializer, _about("initial input kernels")] = "glorot_uniform"
    recurrent_initializer: Annotated[Initializer, _about("initial recurrent kernels")] = (
        "orthogonal"
    )
    reset_after: Annotated[
        bool, _about("GRU: apply the reset gate after the matrix product, as cuDNN does")
    ] = True
    ngram_buckets: Annotated[
        int,
        Meta(ge=0, le=2**24),
        _about("size of a linear branch over hashed 1- to 3-grams beside the encoder; 0 for none"),
    ] = 0


class Training(_Section, frozen=True):
    """Steps, optimizer and early stopping."""

    epochs: Annotated[int, Meta(ge=1, le=10_000), _about("passes over train at most")] = 10
    max_steps: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        _about("steps at most, the last epoch ending where they do; default: as the epochs have"),
    ] = None
    batch_size: Annotated[int, Meta(ge=1, le=65_536), _about("texts a step")] = 64
    optimizer: Annotated[Literal["sgd", "rmsprop", "adam", "adamw"], _about("the optimizer")] = (
        "adam"
    )
    learning_rate: Annotated[float, Meta(gt=0, le=100), _about("highest learning rate")] = 1e-3
    momentum: Annotated[Fraction, _about("momentum of sgd and rmsprop")] = 0.0
    weight_decay: Annotated[Fraction, _about("decay of adamw")] = 0.01
    clip_norm: Annotated[
        Positive | None, _about("limit of the gradient's norm over all weights")
    ] = 1.0
    clip_value: Annotated[
        Positive | None, _about("limit of each entry of the gradient, applied first")
    ] = None
    schedule: Annotated[
        Literal["constant", "cosine", "exponential", "plateau"],
        _about("how the learning rate changes after the warm-up"),
    ] = "constant"
    warmup_steps: Annotated[
        int, Meta(ge=0), _about("steps in which the learning rate rises from 0")
    ] = 0
    decay_rate: Annotated[Share, _about("factor an epoch of the exponential schedule")] = 0.8
    plateau_factor: Annotated[Share, _about("factor of the plateau schedule")] = 0.5
    plateau_patience_epochs: Annotated[
        int,
        Meta(ge=1),
        _about("epochs without improvement before the plateau schedule lowers the rate"),
    ] = 1
    monitor: Annotated[
        Literal["val_loss", "val_accuracy", "val_macro_f1"],
        _about(
            "the validation figure that chooses the best epoch; a multi-label accuracy is that of "
            "whole label sets"
        ),
    ] = "val_loss"
    patience_epochs: Annotated[
        int,
        Meta(ge=0),
        _about("epochs without improvement before training stops; 0 never stops early"),
    ] = 3
    class_weights: Annotated[
        Literal["none", "balanced"] | dict[str, Weight],
        _about("weights of the classes in the loss: `balanced`, or one a class name"),
    ] = "none"
    label_smoothing: Annotated[Fraction, _about("share of the target spread over all classes")] = (
        0.0
    )
    abstain_precision: Annotated[
        Annotated[float, Meta(gt=0, le=1)] | None,
        _about(
            "abstain from the least confident answers, so that this share of the others was right "
            "on validation"
        ),
    ] = None
    abstain_coverage: Annotated[
        Annotated[float, Meta(gt=0, le=1)] | None,
        _about(
            "abstain from the least confident answers, so that this share was answered on "
            "validation"
        ),
    ] = None
    seed: Annotated[Seed, _about("seed of initial weights, dropout and order")] = 0
    deterministic: Annotated[
        bool, _about("same seed, same bytes; on a GPU it costs speed and may be switched off")
    ] = True
    strategy: Annotated[
        Literal["one_device", "mirrored"],
        _about("`mirrored` trains on all GPUs of this machine (without one, logical CPUs)"),
    ] = "one_device"
    length_buckets: Annotated[
        int, Meta(ge=1, le=256), _about("groups of similar length from which batches are made")
    ] = 12
    shuffle_buffer: Annotated[
        int, Meta(ge=1), _about("encoded texts held in memory for shuffling")
    ] = 20_000
    cache_dir: Annotated[
        PathName | None,
        _about("keep encoded texts here for later runs; default: beside the output, then removed"),
    ] = None
    tensorboard: Annotated[
        bool, _about("write TensorBoard scalars; tensorboard must be installed")
    ] = False


class Evaluation(_Section, frozen=True):
    """The contents of a report."""

    bootstrap_samples: Annotated[
        int, Meta(ge=100, le=100_000), _about("resamplings behind an interval")
    ] = 1000
    confidence: Annotated[float, Meta(gt=0.5, lt=1), _about("level of the intervals")] = 0.95
    calibration_bins: Annotated[
        int, Meta(ge=2, le=100), _about("bins of the calibration error")
    ] = 15
    length_bins: Annotated[
        int, Meta(ge=1, le=20), _about("groups of text length that are scored apart")
    ] = 4
    seed: Annotated[Seed, _about("seed of the resamplings")] = 0


class Export(_Section, frozen=True):
    """Additions to an exported SavedModel."""

    golden_texts: Annotated[
        list[str],
        _about("texts of your own that every export must answer as the trained model does"),
    ] = []


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """All settings of an experiment; a setting that is not given has its default.

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
    export: Export = field(default_factory=Export)

    @classmethod
    def of(cls, values: Values) -> "Config":
        """Return the configuration of plain values that are known to be right."""
        return msgspec.convert(values, cls)

    @classmethod
    def load(cls, path: str | os.PathLike, overrides: Mapping[str, Any] | None = None) -> "Config":
        """Read a configuration file.

            config = Config.load("reviews.yaml", {"training.epochs": 3})

        Args:
            path: a YAML file.
            overrides: "section.setting" -> value.

        Raises:
            ConfigError: with every mistake of the file and of the overrides.
        """
        from textclf import config

        return cls._with_notices(*config.load(path, overrides or {}))

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Mapping[str, Any]], overrides: Mapping[str, Any] | None = None
    ) -> "Config":
        """Return the configuration of plain values: section -> setting -> value.

        Raises:
            ConfigError: with every mistake.
        """
        from textclf import config

        return cls._with_notices(*config.from_dict(values, overrides or {}))

    def replace(self, overrides: Mapping[str, Any]) -> "Config":
        """Return a copy with other values: "section.setting" -> value.

        Settings that the new values make meaningless are dropped; `notices` lists them.

        Raises:
            ConfigError: with every mistake.
        """
        return type(self).from_dict(self.to_dict(), overrides)

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences about settings that were dropped because an override made them meaningless."""
        return vars(self).get("_notices", ())

    @classmethod
    def _with_notices(cls, config: "Config", notices: Sequence[str]) -> "Config":
        vars(config)["_notices"] = tuple(notices)
        return config

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """All settings that this configuration reads, as plain values.

        What another setting rules out (`reset_after` of an LSTM, say) is left out, so that
        `from_dict(config.to_dict())` gives the same configuration.
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
    """What a setting can be.

    Attributes:
        declared: its type with all limits.
        kinds: the alternatives of the type: `float | None` -> (float, NoneType).
        limits: the ranges, lengths and patterns among them.
        default: plain value.
        description: what it does.
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
# One of these words, or a function: its declared type is a text with a pattern.
SETTINGS["model.encoder"] = SETTINGS["model.encoder"]._replace(kinds=(Literal[ENCODER_NAMES],))
PATH_SETTINGS = tuple(
    path
    for path, setting in SETTINGS.items()
    if any((limit.extra_json_schema or {}).get("format") == "path" for limit in setting.limits)
)


def holds_text(path: Sequence[str]) -> bool:
    """Return whether a value belongs to a setting that holds a text or a list of texts.

    Args:
        path: keys and positions, such as ("data", "class_names", "0"); a setting may also be one
            key, as in a benchmark's file: ("settings", "data.class_names", "0").
    """
    setting = next((key for key in path if key in SETTINGS), ".".join(path[:2]))
    return setting in SETTINGS and bool({str, list[str]} & {*SETTINGS[setting].kinds})


# === Types in words ===


def choices(path: str) -> tuple[str, ...]:
    """Return the words that a setting can be set to; none if it has no such list."""
    kinds = SETTINGS[path].kinds
    return tuple(word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))


def expected(path: str) -> str:
    """What a setting can be set to, in words: "a whole number from 1 to 8192"."""
    words = [_in_words(path, kind) for kind in SETTINGS[path].kinds]
    if choices(path) and len(words) == 1:
        return f"one of {words[0]}"
    return " or ".join(words)


def _in_words(path: str, kind: Any) -> str:
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
    return words[kind] + (_range(limits) if kind in (int, float) else "")


def _range(limits: Iterable[Meta]) -> str:
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


# === Which choices leave a setting unread ===


def get(values: Values, path: str) -> Any:
    """The value of a setting, or its default."""
    section, name = path.split(".")
    return values.get(section, {}).get(name, SETTINGS[path].default)


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
    # A source without an ending is a folder; an unknown ending is for the reader to refuse.
    return FILE_ENDINGS.get(ending, "folder" if source and not ending else None)


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
    if get(values, "model.encoder") == "bag" or ":" in str(get(values, "model.encoder")):
        return _encoder(values)
    return _SEVERAL_LAYERS if get(values, "model.num_layers") > 1 else "model.num_layers is 1"


_RECURRENT = _when("model.encoder", "simple_rnn", "lstm", "gru")
_PLUGIN = "model.encoder is a function"


def _encoder(values: Values) -> str:
    name = get(values, "model.encoder")
    return _PLUGIN if ":" in str(name) else f"model.encoder is {_shown(name)}"


# Settings that are also arguments of a function that returns an encoder.
_RECURRENT_OR_PLUGIN = Rule(
    _encoder, _RECURRENT.read_in | {_PLUGIN}, f"{_RECURRENT.needed}, or a function"
)
_TABLE = _format_is("csv", "tsv")
_COLUMNS = _format_is("csv", "tsv", "jsonl", "json", "parquet", "tfds")
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
    "data.encoding": _format_is("csv", "tsv", "jsonl", "json", "folder"),
    "data.data_dir": _format_is("tfds"),
    "data.label_separator": _when("data.multi_label", True),
    "data.test_fraction": Rule(_splits, frozenset({_ONE_FILE}), _ONE_FILE),
    "data.validation_fraction": _WITHIN,
    "data.split_seed": _WITHIN,
    "data.in_memory_rows": _WITHIN,
    "data.skip_unlabelled": _when("data.multi_label", False),
    "data.drop_unknown_labels": _APART,
    "data.drop_leaked_train": _APART,
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
