"""What an experiment is: every setting with its type, range, default and help.

A configuration file is YAML with the sections `data`, `text`, `model`, `training`,
`evaluation` and `export`, and holds only what differs from the defaults. Precedence is
defaults < file < `--set section.setting=value`. Every mistake is found at once, each with the
path of the setting, what was expected and, for a misspelt name, the likeliest right one.

    config, notices = load("reviews.yaml", ["training.epochs=3"])
    config.model.units
"""

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import pydantic
from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from textclf.errors import ConfigError

Fraction = Annotated[StrictFloat, Field(ge=0, lt=1)]
Float = Annotated[StrictFloat | StrictInt, Field(allow_inf_nan=False)]
Path_ = StrictStr
Initializer = Literal[
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "orthogonal", "normal"
]


def _setting(default: Any, description: str, **limits: Any) -> Any:
    return Field(default, description=description, **limits)


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    """Where the texts are and how they are read and split."""

    source: Path_ | None = _setting(
        None,
        "one source that holds all splits: a file (split by fraction), a folder "
        "`split/label/*.txt`, `tfds:NAME`, or `demo`",
    )
    train: Path_ | None = _setting(
        None, "file of the training split; with a folder or tfds source, the split's name"
    )
    validation: Path_ | None = _setting(
        None, "the same for validation; without one, a part of train is set aside"
    )
    test: Path_ | None = _setting(
        None, "the same for test; never read while anything is fitted or chosen"
    )
    format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "folder", "tfds", "demo"] = _setting(
        "auto", "how the source is written; `auto` goes by its ending or prefix"
    )
    delimiter: Annotated[StrictStr, Field(min_length=1, max_length=1)] | None = _setting(
        None, "the character between columns; default `,` for csv and a tab for tsv"
    )
    quoting: Literal["auto", "minimal", "none"] = _setting(
        "auto", 'whether `"` quotes a field; `auto` is minimal for csv and none for tsv'
    )
    header: StrictBool = _setting(True, "whether the first row names the columns")
    text_columns: Annotated[list[StrictStr], Field(min_length=1)] = _setting(
        ["text"], "the columns of the text, by name or by number from 1; several are joined"
    )
    text_separator: StrictStr = _setting(" ", "what stands between joined text columns")
    label_column: StrictStr = _setting("label", "the column of the label, by name or number from 1")
    multi_label: StrictBool = _setting(False, "whether a text may have several labels, or none")
    label_separator: Annotated[StrictStr, Field(min_length=1)] = _setting(
        ",", "what stands between the labels of one text"
    )
    class_names: Annotated[list[StrictStr], Field(min_length=2)] | None = _setting(
        None, "the classes in order; default: the names found in train, sorted"
    )
    class_names_file: Path_ | None = _setting(None, "a file with the class names, one a line")
    label_ids: Literal["names", "from_zero", "from_one"] = _setting(
        "names", "whether labels are names, or numbers that count the class names from 0 or 1"
    )
    encoding: StrictStr = _setting("utf-8", "the encoding of text files; a BOM is accepted")
    data_dir: Path_ | None = _setting(None, "where tensorflow-datasets keeps its files")
    validation_fraction: Annotated[Float, Field(gt=0, lt=1)] = _setting(
        0.1, "share of train set aside when no validation split is given"
    )
    test_fraction: Annotated[Float, Field(gt=0, lt=1)] = _setting(
        0.1, "share of a single file set aside for test"
    )
    split_seed: Annotated[StrictInt, Field(ge=0, lt=2**31)] = _setting(
        0, "seed of the splits made by fraction"
    )
    in_memory_rows: Annotated[StrictInt, Field(ge=0)] = _setting(
        1_000_000, "up to so many rows a split by fraction is stratified exactly"
    )
    drop_unknown_labels: StrictBool = _setting(
        False, "drop and count rows of validation and test whose label train does not have"
    )
    drop_leaked_train: StrictBool = _setting(
        False, "drop and count rows of train whose text stands in validation or test too"
    )


class Text(_Section):
    """How a string becomes token ids, in training and in the served model alike."""

    unit: Literal["word", "character"] = _setting("word", "what a token is")
    lowercase: StrictBool = _setting(True, "fold upper case")
    fold_width: StrictBool = _setting(True, "fold full-width forms such as `！` and `Ａ`")
    unescape_entities: StrictBool = _setting(
        True, "read `&amp;`, `&lt;`, `&gt;`, `&quot;` and `&apos;` as the characters they name"
    )
    max_tokens: Annotated[StrictInt, Field(ge=1, le=10_000_000)] = _setting(
        20_000, "size limit of the vocabulary"
    )
    min_count: Annotated[StrictInt, Field(ge=1)] = _setting(
        2, "a token seen fewer times in train is unknown"
    )
    hash_buckets: Annotated[StrictInt, Field(ge=0, le=1_000_000)] = _setting(
        0, "ids shared by hashed unknown tokens; 0 gives all of them one id"
    )
    sequence_length: Annotated[StrictInt, Field(ge=1, le=10_000)] = _setting(
        400, "tokens kept of a text; what it cuts is counted and reported"
    )
    keep: Literal["start", "end", "both"] = _setting(
        "start", "which part of a longer text is kept; `both` keeps half from each end"
    )


class Model(_Section):
    """The network from token ids to logits."""

    encoder: Literal["simple_rnn", "lstm", "gru", "bag"] = _setting(
        "lstm", "the recurrent cell; `bag` has none and pools the embeddings"
    )
    bidirectional: StrictBool = _setting(True, "read the text in both directions")
    units: Annotated[StrictInt, Field(ge=1, le=8192)] = _setting(
        64, "width of the state, for each direction"
    )
    num_layers: Annotated[StrictInt, Field(ge=1, le=16)] = _setting(1, "recurrent layers")
    pooling: Literal["last", "max", "mean", "max_mean", "attention"] = _setting(
        "max_mean", "how the outputs at all tokens become one vector"
    )
    embedding_dim: Annotated[StrictInt, Field(ge=1, le=8192)] = _setting(
        100, "width of a token's vector"
    )
    embedding_vectors: Path_ | None = _setting(
        None, "a GloVe, word2vec or fastText text file to begin from"
    )
    train_embedding: StrictBool = _setting(True, "whether token vectors are trained")
    token_dropout: Fraction = _setting(0.0, "share of tokens whose vector is zeroed")
    embedding_dropout: Fraction = _setting(
        0.2, "share of embedding dimensions zeroed throughout a text"
    )
    input_dropout: Fraction = _setting(0.0, "dropout on the input of every recurrent layer")
    recurrent_dropout: Fraction = _setting(
        0.0, "dropout on the recurrent state; above 0 it rules out the fast GPU kernel"
    )
    output_dropout: Fraction = _setting(0.3, "dropout on the pooled vector")
    l1: Annotated[Float, Field(ge=0)] = _setting(0.0, "L1 penalty on kernels")
    l2: Annotated[Float, Field(ge=0)] = _setting(0.0, "L2 penalty on kernels")
    layer_norm: StrictBool = _setting(False, "layer normalisation after each recurrent layer")
    kernel_initializer: Initializer = _setting("glorot_uniform", "initial input kernels")
    recurrent_initializer: Initializer = _setting("orthogonal", "initial recurrent kernels")
    reset_after: StrictBool = _setting(
        True, "GRU: apply the reset gate after the matrix product, as cuDNN does"
    )
    ngram_buckets: Annotated[StrictInt, Field(ge=0, le=2**24)] = _setting(
        0, "size of a linear branch over hashed 1- to 3-grams beside the encoder; 0 for none"
    )


class Training(_Section):
    """The loop."""

    epochs: Annotated[StrictInt, Field(ge=1, le=10_000)] = _setting(10, "passes over train at most")
    batch_size: Annotated[StrictInt, Field(ge=1, le=65_536)] = _setting(64, "texts a step")
    optimizer: Literal["sgd", "rmsprop", "adam", "adamw"] = _setting("adam", "the optimizer")
    learning_rate: Annotated[Float, Field(gt=0, le=100)] = _setting(1e-3, "highest learning rate")
    momentum: Fraction = _setting(0.0, "momentum of sgd and rmsprop")
    weight_decay: Annotated[Float, Field(ge=0, lt=1)] = _setting(0.01, "decay of adamw")
    clip_norm: Annotated[Float, Field(gt=0)] | None = _setting(
        1.0, "limit of the gradient's norm over all weights"
    )
    clip_value: Annotated[Float, Field(gt=0)] | None = _setting(
        None, "limit of each entry of the gradient, applied first"
    )
    schedule: Literal["constant", "cosine", "exponential", "plateau"] = _setting(
        "constant", "how the learning rate changes after the warm-up"
    )
    warmup_steps: Annotated[StrictInt, Field(ge=0)] = _setting(
        0, "steps in which the learning rate rises from 0"
    )
    decay_rate: Annotated[Float, Field(gt=0, lt=1)] = _setting(
        0.8, "factor an epoch of the exponential schedule"
    )
    plateau_factor: Annotated[Float, Field(gt=0, lt=1)] = _setting(
        0.5, "factor of the plateau schedule"
    )
    plateau_patience_epochs: Annotated[StrictInt, Field(ge=1)] = _setting(
        1, "epochs without improvement before the plateau schedule lowers the rate"
    )
    monitor: Literal["val_loss", "val_accuracy", "val_macro_f1"] = _setting(
        "val_loss",
        "the validation figure that chooses the best epoch; a multi-label accuracy is that of "
        "whole label sets",
    )
    patience_epochs: Annotated[StrictInt, Field(ge=0)] = _setting(
        3, "epochs without improvement before training stops; 0 never stops early"
    )
    class_weights: (
        Literal["none", "balanced"] | dict[StrictStr, Annotated[Float, Field(ge=0)]]
    ) = _setting("none", "weights of the classes in the loss: `balanced`, or one a class name")
    label_smoothing: Fraction = _setting(0.0, "share of the target spread over all classes")
    seed: Annotated[StrictInt, Field(ge=0, lt=2**31)] = _setting(
        0, "seed of initial weights, dropout and order"
    )
    deterministic: StrictBool = _setting(
        True, "same seed, same bytes; on a GPU it costs speed and may be switched off"
    )
    strategy: Literal["one_device", "mirrored"] = _setting(
        "one_device", "`mirrored` trains on all GPUs of this machine (without one, logical CPUs)"
    )
    length_buckets: Annotated[StrictInt, Field(ge=1, le=256)] = _setting(
        12, "groups of similar length from which batches are made"
    )
    shuffle_buffer: Annotated[StrictInt, Field(ge=1)] = _setting(
        20_000, "encoded texts held in memory for shuffling"
    )
    cache_dir: Path_ | None = _setting(
        None, "keep encoded texts here for later runs; default: beside the output, then removed"
    )
    tensorboard: StrictBool = _setting(False, "write TensorBoard scalars (extra `tensorboard`)")


class Evaluation(_Section):
    """What a report holds."""

    bootstrap_samples: Annotated[StrictInt, Field(ge=100, le=100_000)] = _setting(
        1000, "resamplings behind an interval"
    )
    confidence: Annotated[Float, Field(gt=0.5, lt=1)] = _setting(0.95, "level of the intervals")
    calibration_bins: Annotated[StrictInt, Field(ge=2, le=100)] = _setting(
        15, "bins of the calibration error"
    )
    length_bins: Annotated[StrictInt, Field(ge=1, le=20)] = _setting(
        4, "groups of text length that are scored apart"
    )
    seed: Annotated[StrictInt, Field(ge=0, lt=2**31)] = _setting(0, "seed of the resamplings")


class Export(_Section):
    """What goes into a SavedModel besides the model."""

    golden_texts: list[StrictStr] = _setting(
        [], "texts of your own that every export must answer as the trained model does"
    )


class Config(_Section):
    """A whole experiment, immutable."""

    data: Data = Data()
    text: Text = Text()
    model: Model = Model()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    export: Export = Export()

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """All settings that this configuration reads, as plain values.

        What another setting rules out (`reset_after` of an LSTM, say) is left out, so that
        `from_dict(config.to_dict()) == config`.
        """
        values = self.model_dump(mode="json")
        for path, (kind_path, kinds) in READ_ONLY_BY.items():
            if _kind(values, kind_path) not in kinds:
                section, name = path.split(".")
                del values[section][name]
        return values


SECTIONS: dict[str, type[_Section]] = {
    name: field.annotation
    for name, field in Config.model_fields.items()  # type: ignore[misc]
}
_RECURRENT = frozenset({"simple_rnn", "lstm", "gru"})
_TABLES = frozenset({"csv", "tsv"})
_COLUMNS = frozenset({"csv", "tsv", "jsonl", "parquet", "tfds"})
_TEXT_FILES = frozenset({"csv", "tsv", "jsonl", "folder"})
_SEPARATED = frozenset({"csv", "tsv", "jsonl", "parquet"})
_ON, _OFF = frozenset({True}), frozenset({False})

# Which kinds read a setting; every setting not named here is always read.
READ_ONLY_BY: dict[str, tuple[str, frozenset]] = {
    "data.delimiter": ("data.format", _TABLES),
    "data.quoting": ("data.format", _TABLES),
    "data.header": ("data.format", _TABLES),
    "data.text_columns": ("data.format", _COLUMNS),
    "data.text_separator": ("data.format", _COLUMNS),
    "data.label_column": ("data.format", _COLUMNS),
    "data.multi_label": ("data.format", _COLUMNS),
    "data.encoding": ("data.format", _TEXT_FILES),
    "data.data_dir": ("data.format", frozenset({"tfds"})),
    "data.label_ids": ("data.format", _COLUMNS),
    "data.label_separator": ("data.multi_label", _ON),
    "data.test_fraction": ("data.source", frozenset({"a single file"})),
    "data.validation_fraction": ("data.validation", frozenset({"not given"})),
    **{
        f"model.{name}": ("model.encoder", _RECURRENT)
        for name in (
            "bidirectional",
            "units",
            "num_layers",
            "input_dropout",
            "recurrent_dropout",
            "layer_norm",
            "recurrent_initializer",
        )
    },
    "model.reset_after": ("model.encoder", frozenset({"gru"})),
    "training.momentum": ("training.optimizer", frozenset({"sgd", "rmsprop"})),
    "training.weight_decay": ("training.optimizer", frozenset({"adamw"})),
    "training.decay_rate": ("training.schedule", frozenset({"exponential"})),
    "training.plateau_factor": ("training.schedule", frozenset({"plateau"})),
    "training.plateau_patience_epochs": ("training.schedule", frozenset({"plateau"})),
    "training.label_smoothing": ("data.multi_label", _OFF),
}
PATH_SETTINGS = tuple(
    f"{section}.{name}"
    for section, model in SECTIONS.items()
    for name, field in model.model_fields.items()
    if field.annotation == (Path_ | None)
)
SETTINGS = tuple(
    f"{section}.{name}" for section, model in SECTIONS.items() for name in model.model_fields
)


def load(path: str | os.PathLike, overrides: Sequence[str] = ()) -> tuple[Config, list[str]]:
    """Reads a configuration file and applies `section.setting=value` overrides.

    Returns:
        The configuration, and notices about settings of the file which an override made
        meaningless and which were therefore dropped.

    Raises:
        ConfigError: with every mistake of the file and of the overrides.
    """
    values, places, problems = _read_file(Path(path))
    return _resolve([("file", values, places)], overrides, problems)


def from_dict(
    values: Mapping[str, Mapping[str, Any]], overrides: Sequence[str] = ()
) -> tuple[Config, list[str]]:
    """The same from plain values, for instance those of `Config.to_dict`."""
    return _resolve([("file", values, {})], overrides, [])


def resolve_path(path: str, setting: str) -> str:
    """Replaces a leading `${NAME}` by the environment variable and `~` by the home folder.

    Raises:
        ConfigError: the variable is not set.
    """
    match = re.match(r"\$\{(\w+)\}", path)
    if match:
        value = os.environ.get(match[1])
        if not value:
            raise ConfigError(
                [
                    f"{setting}: the environment variable {match[1]} in {path!r} is not set; "
                    f"set it to the folder that is meant, for instance: export {match[1]}=..."
                ]
            )
        path = value + path[match.end() :]
    return os.path.expanduser(path)


def with_paths(config: Config) -> Config:
    """The configuration with every path setting resolved by `resolve_path`.

    Raises:
        ConfigError: with every environment variable that is not set.
    """
    problems: list[str] = []
    values = config.model_dump()
    is_file = data_format(values["data"]) not in ("folder", "tfds")
    for setting in PATH_SETTINGS:
        section, name = setting.split(".")
        is_split_name = setting in ("data.train", "data.validation", "data.test") and not is_file
        if values[section][name] is None or is_split_name:
            continue
        try:
            values[section][name] = resolve_path(values[section][name], setting)
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return Config.model_validate(values)


def data_format(data: Mapping[str, Any]) -> str | None:
    """The format of the `data` section's values: as given, else by ending or prefix.

    None where nothing says it (an unknown ending, or no source at all).
    """
    if data.get("format", "auto") != "auto":
        return data["format"]
    address = data.get("source") or data.get("train")
    if not isinstance(address, str):
        return None
    if address == "demo":
        return "demo"
    if address.startswith("tfds:"):
        return "tfds"
    ending = Path(address.lower().removesuffix(".gz")).suffix
    by_ending = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl"}
    by_ending |= {".ndjson": "jsonl", ".parquet": "parquet"}
    # A name without an ending is a folder; an unknown ending is for the reader to refuse.
    return by_ending.get(ending, "folder" if not ending and data.get("source") else None)


def to_yaml(values: Mapping[str, Any]) -> str:
    """Plain values as YAML text that `load` reads back."""
    import io

    stream = io.StringIO()
    _yaml("safe").dump(json.loads(json.dumps(values)), stream)
    return stream.getvalue()


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a configuration file, for editors."""
    return {"title": "textclf configuration", **Config.model_json_schema()}


class _Layer(NamedTuple):
    name: str
    values: Mapping[str, Any]
    places: Mapping[str, str]  # path of a setting -> "file.yaml:7"


def _yaml(kind: str) -> Any:
    from ruamel.yaml import YAML

    yaml = YAML(typ=kind, pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 100
    return yaml


def _read_file(path: Path) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Values, the place of each setting, and what is wrong with the file's outline."""
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, _names(path.parent), 1, 0.6)
        hint = f"; did you mean {path.parent / near[0]}?" if near else ""
        raise ConfigError([f"{path}: no such configuration file{hint}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            [f"{path}: cannot be read as a configuration file ({_reason(error)})"]
        ) from None
    try:
        values = _yaml("rt").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = (error.problem or "not readable").strip().split("\n")[0]
        raise ConfigError([f"{path}:{line}: not valid YAML: {problem}"]) from None
    except (YAMLError, ValueError) as error:
        raise ConfigError([f"{path}: not valid YAML: {_reason(error)}"]) from None
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        raise ConfigError([f"{path}: expected sections such as `data:` and `model:`, found a list"])
    places: dict[str, str] = {}
    for section, settings in values.items():
        places[str(section)] = f"{path}:{values.lc.key(section)[0] + 1}"
        if isinstance(settings, Mapping):
            for name in settings:
                places[f"{section}.{name}"] = f"{path}:{settings.lc.key(name)[0] + 1}"
    # Round-trip types (strings and numbers that remember their spelling) become plain ones.
    return _plain(values), places, []


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else str(value)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).split("\n")[0]


def _resolve(
    files: Iterable[tuple[str, Mapping[str, Any], Mapping[str, str]]],
    overrides: Sequence[str],
    problems: list[str],
) -> tuple[Config, list[str]]:
    layers = [_Layer(*file) for file in files]
    layers.append(_parse_overrides(overrides, problems))

    # Field by field: what is known, and whether it is right by itself.
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    given: dict[str, int] = {}  # path -> index of the highest layer that gives it
    places: dict[str, str] = {}
    wrong: set[str] = set()
    for index, layer in enumerate(layers):
        for section, settings in layer.values.items():
            where = _where(layer.places.get(section), section)
            if section not in SECTIONS:
                problems.append(f"{where}: unknown section{_did_you_mean(section, SECTIONS)}")
                continue
            if settings is None:  # a section whose every line is commented out
                continue
            if not isinstance(settings, Mapping):
                problems.append(f"{where}: expected settings below it, found {_show(settings)}")
                continue
            for name, value in settings.items():
                path = f"{section}.{name}"
                if name not in SECTIONS[section].model_fields:
                    places[path] = layer.places.get(path, "")
                    problems.append(f"{_where(places[path], path)}: {_unknown(section, name)}")
                    continue
                values[section][name] = value
                given[path] = index
                places[path] = layer.places.get(path, "")
    for path in given:
        section, name = path.split(".")
        for problem in _field_problems(section, name, values[section][name]):
            problems.append(f"{_where(places[path], path)}: {problem}")
            wrong.add(path)
    for path in wrong:
        section, name = path.split(".")
        del values[section][name]

    notices = _drop_unread(values, given, places, wrong, problems)
    problems.extend(_contradictions(values, places, wrong))
    if problems:
        raise ConfigError(problems)
    return Config.model_validate(values), notices


def _parse_overrides(overrides: Sequence[str], problems: list[str]) -> _Layer:
    values: dict[str, dict[str, Any]] = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        section, _, name = path.strip().partition(".")
        if not equals:
            problems.append(
                f"--set {override}: expected section.setting=value, for instance "
                "--set training.epochs=3"
            )
        elif section not in SECTIONS or name not in SECTIONS[section].model_fields:
            problems.append(f"--set {path}: {_unknown(section, name)}")
        else:
            try:
                values.setdefault(section, {})[name] = _parse_value(section, name, text)
            except ValueError as error:
                problems.append(f"--set {path}: {error}")
    return _Layer("--set", values, {f"{s}.{n}": "--set" for s in values for n in values[s]})


def _parse_value(section: str, name: str, text: str) -> Any:
    """The value of an override: strings as they stand, everything else as YAML."""
    from ruamel.yaml.error import YAMLError

    annotation = SECTIONS[section].model_fields[name].annotation
    kinds = [type_ for type_ in _flatten(annotation)]
    if list[StrictStr] in kinds:
        if not text.startswith("["):
            return [_unescape(text)]
    elif str in kinds and dict not in kinds:
        return None if text == "" and type(None) in kinds else _unescape(text)
    try:
        # `base` leaves every scalar a string, so that [2018, no] are column names.
        value = _yaml("base" if list[StrictStr] in kinds else "safe").load(text)
    except YAMLError as error:
        raise ValueError(f"cannot read {text!r} as a value ({_reason(error)})") from None
    return _plain(value)


def _flatten(annotation: Any) -> list[Any]:
    """The alternatives of a type, without pydantic's wrapping: `str | None` -> [str, NoneType]."""
    origin = getattr(annotation, "__origin__", None)
    if annotation in (list[StrictStr],):
        return [list[StrictStr]]
    if origin is Literal:
        return [type(value) for value in get_args(annotation)]
    if origin is dict:
        return [dict]
    arguments = get_args(annotation)
    if getattr(annotation, "__metadata__", None) is not None:
        return _flatten(arguments[0])
    if arguments:
        return [kind for argument in arguments for kind in _flatten(argument)]
    return [annotation]


def _unescape(text: str) -> str:
    escapes = {"\\t": "\t", "\\n": "\n", "\\\\": "\\"}
    return re.sub(r"\\[tn\\]", lambda match: escapes[match[0]], text)


def _where(place: str | None, path: str) -> str:
    if not place:
        return path
    return f"--set {path}" if place == "--set" else f"{place}: {path}"


def _unknown(section: str, name: str) -> str:
    if section not in SECTIONS:
        whole = f"{section}.{name}" if name else section
        # A bare setting name (`--set epochs=3`) is the likeliest slip.
        bare = [path for path in SETTINGS if path.split(".")[1] == whole]
        if bare:
            return f"unknown setting; did you mean {bare[0]}?"
        return "unknown setting" + _did_you_mean(whole, SETTINGS)
    near = difflib.get_close_matches(name, SECTIONS[section].model_fields, 1, 0.6)
    if near:
        return f"unknown setting; did you mean {section}.{near[0]}?"
    elsewhere = [path for path in SETTINGS if path.split(".")[1] == name]
    if elsewhere:
        return f"unknown setting; did you mean {elsewhere[0]}?"
    return f"unknown setting; `textclf config show` lists those of {section}"


def _did_you_mean(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f"; expected one of {', '.join(SECTIONS)}"


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _field_problems(section: str, name: str, value: Any) -> list[str]:
    """What is wrong with one value, taken by itself, as sentences without the path."""
    try:
        SECTIONS[section].model_validate({name: value})
    except pydantic.ValidationError as error:
        field = SECTIONS[section].model_fields[name]
        found = _show(value)
        choices = [choice for choice in _choices(field.annotation) if isinstance(choice, str)]
        if choices:
            near = difflib.get_close_matches(str(value), choices, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            extra = " or a number for each class" if dict in _flatten(field.annotation) else ""
            return [f"expected one of {', '.join(choices)}{extra}, found {found}{hint}"]
        if str in _flatten(field.annotation) and isinstance(value, int | float | bool):
            return [f"expected a text, found {found}; put it in quotes"]
        details = error.errors()
        expected = " or ".join(dict.fromkeys(_expected(detail) for detail in details))
        return [f"expected {expected}, found {found}"]
    return []


def _choices(annotation: Any) -> list[Any]:
    if getattr(annotation, "__origin__", None) is Literal:
        return list(get_args(annotation))
    return [choice for argument in get_args(annotation) for choice in _choices(argument)]


def _expected(detail: Any) -> str:
    """pydantic's error as the end of the sentence "expected ..."."""
    context = detail.get("ctx", {})
    kind = detail["type"]
    phrases = {
        "bool_type": "true or false",
        "int_type": "a whole number",
        "float_type": "a number",
        "string_type": "a text" if len(detail["loc"]) == 1 else "a list of texts in quotes",
        "list_type": "a list of texts",
        "dict_type": "a number for each class",
        "finite_number": "a finite number",
        "greater_than": f"a number above {context.get('gt')}",
        "greater_than_equal": f"a number of at least {context.get('ge')}",
        "less_than": f"a number below {context.get('lt')}",
        "less_than_equal": f"a number of at most {context.get('le')}",
        "string_too_short": "a text that is not empty",
        "string_too_long": f"at most {context.get('max_length')} character",
        "too_short": f"at least {context.get('min_length')} entries",
    }
    return phrases.get(kind, detail["msg"])


def _kind(values: Mapping[str, Mapping[str, Any]], path: str) -> Any:
    data = values["data"]
    if path == "data.format":
        return data_format(data)
    if path == "data.source":
        is_file = data_format(data) not in ("folder", "tfds", "demo")
        return "a single file" if data.get("source") and is_file else "not a single file"
    if path == "data.validation":
        return "given" if data.get("validation") else "not given"
    section, name = path.split(".")
    return values[section].get(name, SECTIONS[section].model_fields[name].default)


def _kind_layer(given: Mapping[str, int], path: str) -> int:
    decided_by = {"data.format": ("data.source", "data.train"), "data.source": ("data.format",)}
    paths = (path, *decided_by.get(path, ()))
    return max(given.get(each, -1) for each in paths)


def _drop_unread(
    values: dict[str, dict[str, Any]],
    given: Mapping[str, int],
    places: Mapping[str, str],
    wrong: set[str],
    problems: list[str],
) -> list[str]:
    """Removes settings that a higher layer's kind no longer reads; refuses the others."""
    notices = []
    for path, (kind_path, kinds) in READ_ONLY_BY.items():
        section, name = path.split(".")
        if name not in values[section] or kind_path in wrong:
            continue
        kind = _kind(values, kind_path)
        if kind in kinds or (kind is None and kind_path == "data.format"):
            continue
        reads = " or ".join(sorted(str(each).lower() for each in kinds))
        if _kind_layer(given, kind_path) > given[path]:
            del values[section][name]
            notices.append(
                f"{_where(places[path], path)}: dropped, because {kind_path} is now "
                f"{str(kind).lower()}"
            )
        else:
            problems.append(
                f"{_where(places[path], path)}: has no effect, because {kind_path} is "
                f"{str(kind).lower()}; it is read only with {kind_path} {reads}; remove one of them"
            )
    return notices


def _contradictions(
    values: Mapping[str, Mapping[str, Any]], places: Mapping[str, str], wrong: set[str]
) -> list[str]:
    """Mistakes that lie between settings; those that involve a wrong one are left out."""
    problems: list[str] = []

    def get(path: str) -> Any:
        section, name = path.split(".")
        return values[section].get(name, SECTIONS[section].model_fields[name].default)

    def check(broken: bool, path: str, message: str, *others: str) -> None:
        if broken and not wrong & {path, *others}:
            problems.append(f"{_where(places.get(path), path)}: {message}")

    source, train = get("data.source"), get("data.train")
    kind = data_format(values["data"])
    named_splits = kind in ("folder", "tfds")
    check(
        source is None and train is None,
        "data.source",
        "nothing says where the texts are; set data.source to a file, a folder, tfds:NAME or "
        "demo, or data.train to a file",
        "data.train",
    )
    for name in ("train", "validation", "test"):
        check(
            source is not None and not named_splits and get(f"data.{name}") is not None,
            f"data.{name}",
            "has no effect beside data.source, which is split by fraction; remove one of them",
            "data.source",
            "data.format",
        )
    check(
        source is None and train is not None and kind in ("folder", "tfds", "demo"),
        "data.train",
        f"a {kind} holds all splits: name it as data.source",
        "data.source",
    )
    splits = [get(f"data.{name}") for name in ("train", "validation", "test")]
    for index, name in enumerate(("validation", "test"), start=1):
        check(
            splits[index] is not None and splits[index] in splits[:index],
            f"data.{name}",
            f"{_show(splits[index])} is already another split; the test split is never used to "
            "fit or choose anything, and validation never to fit"
            if name == "test"
            else f"{_show(splits[index])} is already the training split",
            "data.train",
            "data.validation",
        )
    check(
        get("data.class_names") is not None and get("data.class_names_file") is not None,
        "data.class_names_file",
        "class names come from data.class_names already; remove one of them",
        "data.class_names",
    )
    check(
        get("data.label_ids") != "names"
        and get("data.class_names") is None
        and get("data.class_names_file") is None,
        "data.label_ids",
        "numbers need names: set data.class_names or data.class_names_file",
        "data.class_names",
        "data.class_names_file",
    )
    names = get("data.class_names") or []
    check(len(set(names)) < len(names), "data.class_names", "a class is named twice")
    check(
        get("model.encoder") == "bag" and get("model.pooling") == "last",
        "model.pooling",
        "a bag of embeddings has no order, so no last; expected max, mean, max_mean or attention",
        "model.encoder",
    )
    check(
        get("model.embedding_vectors") is None and get("model.train_embedding") is False,
        "model.train_embedding",
        "vectors that begin at random must be trained; set model.embedding_vectors or remove this",
        "model.embedding_vectors",
    )
    weights = get("training.class_weights")
    check(
        bool(names) and isinstance(weights, Mapping) and set(weights) != set(names),
        "training.class_weights",
        f"expected a weight for each of {', '.join(names)}",
        "data.class_names",
    )
    return problems
