"""Declarations of all settings: type, range, default and help, each stated once."""

import os
import types
from collections.abc import Mapping, Sequence
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


# Formats whose source contains the splits; `data.train` is the name of a split there.
FORMATS_WITH_SPLITS = ("folder", "tfds", "demo")

ENCODER_NAMES = ("simple_rnn", "lstm", "gru", "bag", "none")


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
    rename_labels: Annotated[
        dict[str, str],
        _about("label as written -> label to use instead, where files write a class differently"),
    ] = field(default_factory=dict)
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
    subwords: Annotated[
        bool,
        _about(
            "add the mean vector of its character n-grams to the vector of each token, so that "
            "unknown words differ by their spelling"
        ),
    ] = False
    subword_buckets: Annotated[
        int,
        Meta(ge=1, le=10_000_000),
        _about("number of vectors that the n-grams share, by hash"),
    ] = 10_000
    sequence_length: Annotated[
        int,
        Meta(ge=1, le=10_000),
        _about("maximum number of tokens of a text; cut tokens are counted and reported"),
    ] = 400
    keep: Annotated[
        Literal["start", "end", "both"],
        _about("part of a longer text that is kept; `both`: half from each end"),
    ] = "start"
    linear_length: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        _about("maximum number of tokens of a text that the linear model reads"),
    ] = 5000


class Model(_Section, frozen=True):
    """The network from token ids to logits."""

    encoder: Annotated[
        str,
        Meta(
            pattern=rf"^({'|'.join(ENCODER_NAMES)}|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$",
            extra_json_schema={"examples": list(ENCODER_NAMES)},
        ),
        _about(
            "recurrent layer; `bag`: none, the embeddings are pooled; `none`: no network, the "
            "linear model alone; `package.module:function`: a function that returns another "
            "layer, see docs/python.md"
        ),
    ] = "lstm"
    linear: Annotated[
        Literal["none", "mixture"],
        _about(
            "linear model of word and character n-grams beside the network; `mixture`: its share "
            "is fitted on validation; `none`: the network alone"
        ),
    ] = "mixture"
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
    accumulate_steps: Annotated[
        int,
        Meta(ge=1, le=1024),
        _about(
            "number of parts in which a step computes its batch, one after the other: less memory "
            "for the same step"
        ),
    ] = 1
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
    layer_decay: Annotated[
        float,
        Meta(gt=0, le=1),
        _about(
            "factor of the learning rate from each layer to the one below, from the head down to "
            "the embedding"
        ),
    ] = 1.0
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
    average: Annotated[
        Literal["none", "ema", "swa"],
        _about(
            "average of the weights that is kept where it scores better: `ema`, an exponential "
            "moving average over the steps; `swa`, the mean over the epochs since the best one"
        ),
    ] = "none"
    average_decay: Annotated[Share, _about("largest decay of the moving average per step")] = 0.999
    init_from: Annotated[
        PathName | None,
        _about("trained folder or language model whose weights are the initial ones"),
    ] = None
    init_vocabulary: Annotated[
        Literal["keep", "new"],
        _about(
            "`keep`: the vocabulary of that folder; `new`: one of the training texts, and vectors "
            "are copied by token"
        ),
    ] = "keep"
    freeze_epochs: Annotated[
        int, Meta(ge=0), _about("first epochs in which only the head is trained")
    ] = 0
    unfreezing: Annotated[
        Literal["at_once", "gradual"],
        _about(
            "layers that are trained after the frozen epochs: all, or one more in each epoch from "
            "the top down"
        ),
    ] = "at_once"
    language_model_weight: Annotated[
        Weight,
        _about(
            "weight of an auxiliary loss in training: that of the token after each position, and "
            "with `model.bidirectional` of the one before"
        ),
    ] = 0.0
    class_weights: Annotated[
        Literal["none", "balanced", "effective"] | dict[str, Weight],
        _about(
            "class weights in the loss: `balanced`, by the inverse number of texts of a class; "
            "`effective`, of its effective number, which is weaker; or a weight for each class name"
        ),
    ] = "none"
    label_smoothing: Annotated[Fraction, _about("share of the target spread over all classes")] = (
        0.0
    )
    seed: Annotated[Seed, _about("seed of initial weights, dropout and order of the texts")] = 0
    deterministic: Annotated[
        bool, _about("give the same bytes for the same seed; slower on a GPU")
    ] = True
    precision: Annotated[
        Literal["float32", "mixed_bfloat16", "mixed_float16"],
        _about(
            "type of the computations in training; the mixed ones save time and memory on GPUs "
            "with tensor cores, and are slower on a CPU"
        ),
    ] = "float32"
    strategy: Annotated[
        Literal["one_device", "mirrored", "multi_worker"],
        _about(
            "`mirrored`: train on all GPUs of this machine, or on logical CPUs if none; "
            "`multi_worker`: in several processes, see docs/distributed.md"
        ),
    ] = "one_device"
    worker_timeout_minutes: Annotated[
        Positive, _about("time that a worker waits for the others before it ends with a message")
    ] = 10.0
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
    checkpoint_minutes: Annotated[
        float,
        Meta(gt=0),
        _about("interval of the checkpoints within an epoch; one is written after each epoch too"),
    ] = 10.0
    tensorboard: Annotated[bool, _about("write TensorBoard scalars; needs tensorboard")] = False
    mlflow: Annotated[
        bool, _about("send parameters, metrics and report to MLflow; needs mlflow")
    ] = False


class Pretraining(_Section, frozen=True):
    """Language model of the command pretrain, which alone reads this section."""

    epochs: Annotated[int, Meta(ge=1, le=1000), _about("passes over the texts")] = 1
    batch_size: Annotated[
        int, Meta(ge=1, le=65_536), _about("streams of text that are read side by side")
    ] = 64
    window: Annotated[
        int,
        Meta(ge=1, le=10_000),
        _about("tokens of a stream per step; gradients reach back so far, the state further"),
    ] = 64
    num_candidates: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        _about(
            "draws of wrong tokens with which the next token is compared (sampled softmax); "
            "repeated ones count once"
        ),
    ] = 1024
    learning_rate: Annotated[
        float,
        Meta(gt=0, le=100),
        _about("peak learning rate of Adam; it falls to 0 along a cosine"),
    ] = 2e-3
    clip_norm: Annotated[Positive, _about("maximum norm of the gradient over all weights")] = 1.0
    dropout: Annotated[Fraction, _about("dropout on token vectors and on outputs")] = 0.1
    held_out: Annotated[Share, _about("share of the texts on which the perplexity is computed")] = (
        0.02
    )


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


class Sections(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of an experiment; a missing setting has its default."""

    data: Data = field(default_factory=Data)
    text: Text = field(default_factory=Text)
    model: Model = field(default_factory=Model)
    training: Training = field(default_factory=Training)
    pretraining: Pretraining = field(default_factory=Pretraining)
    evaluation: Evaluation = field(default_factory=Evaluation)

    @property
    def has_linear_model(self) -> bool:
        """True if there is a linear model, alone or beside the network."""
        return self.model.encoder == "none" or self.model.linear != "none"


# === Tables of all settings ===

SECTIONS: dict[str, type[_Section]] = {
    section.name: section.type for section in msgspec.structs.fields(Sections)
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


class RemovedSetting(NamedTuple):
    """A setting of former versions.

    Attributes:
        without_effect: the value without effect, which the configuration of a trained folder
            contains although nobody wrote it: it lists all settings.
        advice: the end of a message that begins with the name of the setting.
    """

    without_effect: Any
    advice: str


REMOVED_SETTINGS = {
    "model.ngram_buckets": RemovedSetting(
        0,
        "was replaced by model.linear; remove it, and set model.linear to mixture for n-grams "
        "beside the network",
    ),
}


def holds_text(path: Sequence[str]) -> bool:
    """Return whether a setting holds a text or a list of texts.

    Args:
        path: keys and positions of a value, such as ("data", "class_names", "0"). In a benchmark
            file a setting is one key: ("settings", "data.class_names", "0").
    """
    setting = next((key for key in path if key in SETTINGS), ".".join(path[:2]))
    return setting in SETTINGS and bool(
        {str, list[str], dict[str, str]} & {*SETTINGS[setting].kinds}
    )


def choices(path: str) -> tuple[str, ...]:
    """Return the words that a setting accepts; empty if it is not a choice of words."""
    kinds = SETTINGS[path].kinds
    return tuple(word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))


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
