"""Settings: precedence, the message of each error, and values that are kept unchanged."""

import decimal
import enum
import functools
import json
import math
import os
import re
import string
import sys
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf import config
from textclf.config import reading, resolution
from textclf.config.contradictions import ANY_DATA, CHECKS, TRAINING_DATA, Check
from textclf.config.resolution import check_value
from textclf.config.rules import depends_on
from textclf.errors import ConfigError

ALL_CHECKS = (TRAINING_DATA, ANY_DATA, *CHECKS)
SOURCE = "data:\n  source: a.csv\n"


def problems_of(text: str, *overrides: str) -> tuple[str, ...]:
    """Return the problems of a file `f.yaml` with this text."""
    with pytest.raises(ConfigError) as error:
        config.Config.from_yaml(text, overrides, name="f.yaml")
    return error.value.problems


def resolve(*overrides: str, **sections: dict) -> config.Config:
    sections.setdefault("data", {"source": "a.csv"})
    return config.Config.from_dict(sections, overrides)


# === Errors ===

NO_DATA = (
    "data.source: no training data; set data.source to a file, a folder, tfds:NAME or demo, or "
    "data.train to a file"
)
NAMES = "data, text, model, training, pretraining, evaluation"
WHOLE = "expected a whole number of at least 1 and at most 8192"

IN_FILE: dict[str, tuple[str, ...]] = {
    "an empty file": ("", f"f.yaml: {NO_DATA}"),
    "a section with all lines commented out": ("model:\n  # units: 3\n", f"f.yaml: {NO_DATA}"),
    "a list": ("- a", "f.yaml: expected sections such as `data:` and `model:`, found ['a']"),
    "a word": ("a", "f.yaml: expected sections such as `data:` and `model:`, found 'a'"),
    "a list for a section": (
        SOURCE + "model: [units]",
        "f.yaml:3: model: expected settings in this section, found ['units']",
    ),
    "an unknown section": (
        SOURCE + "x: {}",
        f"f.yaml:3: x: unknown section; expected one of {NAMES}",
    ),
    "a misspelt section": (
        SOURCE + "trianing: {}",
        "f.yaml:3: trianing: unknown section; did you mean training?",
    ),
    "a setting for a section": (
        SOURCE + "epochs: 3",
        "f.yaml:3: epochs: unknown section; it is a setting of training: move it below `training:`",
    ),
    "a number for a section": (
        SOURCE + "2018: {}",
        f"f.yaml:3: 2018: unknown section; expected one of {NAMES}",
    ),
    "a misspelt setting": (
        SOURCE + "model:\n  unit: 3",
        "f.yaml:4: model.unit: unknown setting; did you mean model.units?",
    ),
    "a setting of another section": (
        SOURCE + "model:\n  batch_size: 3",
        "f.yaml:4: model.batch_size: unknown setting; did you mean training.batch_size?",
    ),
    "a removed setting": (
        SOURCE + "model: {ngram_buckets: 0}",
        "f.yaml:3: model.ngram_buckets: was replaced by model.linear; remove it, and set "
        "model.linear to mixture for n-grams beside the network",
    ),
    "a setting unlike any other": (
        SOURCE + "evaluation:\n  zzz: 3",
        "f.yaml:4: evaluation.zzz: unknown setting; the settings of evaluation are bootstrap_samples, "
        "confidence, calibration_bins, length_bins, seed",
    ),
    "a name that is not printable": (
        SOURCE + 'evaluation:\n  "a\\nb": 3',
        "f.yaml:4: evaluation.'a\\nb': unknown setting; the settings of evaluation are "
        "bootstrap_samples, confidence, calibration_bins, length_bins, seed",
    ),
    "a misspelt choice": (
        SOURCE + "model: {encoder: LSTMM}",
        "f.yaml:3: model.encoder: expected one of simple_rnn, lstm, gru, bag, none or package.module:function, found 'LSTMM'; did "
        "you mean lstm?",
    ),
    "null for a choice": (
        SOURCE + "model: {encoder: null}",
        "f.yaml:3: model.encoder: expected one of simple_rnn, lstm, gru, bag, none or package.module:function, found null",
    ),
    "true for a number": (
        SOURCE + "model: {units: true}",
        f"f.yaml:3: model.units: {WHOLE}, found true",
    ),
    "a fraction for a whole number": (
        SOURCE + "model: {units: 1.5}",
        f"f.yaml:3: model.units: {WHOLE}, found 1.5",
    ),
    "1e3 for a whole number": (
        SOURCE + "model: {units: 1e3}",
        f"f.yaml:3: model.units: {WHOLE}, found 1000.0; write 1000",
    ),
    "an underscore in a number": (
        SOURCE + "model: {units: 1_000}",
        f"f.yaml:3: model.units: {WHOLE}, found '1_000'",
    ),
    "a number out of range": (
        SOURCE + "model: {units: 0}",
        f"f.yaml:3: model.units: {WHOLE}, found 0",
    ),
    "a huge number": (
        SOURCE + f"model: {{units: {10**40}}}",
        f"f.yaml:3: model.units: {WHOLE}, found a number of more than 30 digits",
    ),
    "a date": (
        SOURCE + "model: {units: 2018-01-01}",
        f"f.yaml:3: model.units: {WHOLE}, found '2018-01-01'",
    ),
    "a share above one": (
        SOURCE + "model: {output_dropout: 7}",
        "f.yaml:3: model.output_dropout: expected a number of at least 0 and below 1, found 7",
    ),
    "infinity": (
        SOURCE + "model: {l2: .inf}",
        "f.yaml:3: model.l2: expected a number of at least 0, found inf",
    ),
    "not a number": (
        SOURCE + "training: {learning_rate: .nan}",
        "f.yaml:3: training.learning_rate: expected a number above 0 and at most 100, found nan",
    ),
    "yes for true": (
        SOURCE + "model: {bidirectional: yes}",
        "f.yaml:3: model.bidirectional: expected true or false, found 'yes'; write true",
    ),
    "null for a text": (
        SOURCE + "  label_column: null",
        "f.yaml:3: data.label_column: expected a text, found null",
    ),
    "null among texts": (
        SOURCE + "  text_columns: [1, null]",
        "f.yaml:3: data.text_columns: expected a list of at least one text, found ['1', null]; put "
        "every entry in quotes",
    ),
    "a mapping for a list": (
        SOURCE + "  text_columns: {a: 1}",
        "f.yaml:3: data.text_columns: expected a list of at least one text, found {'a': '1'}",
    ),
    "a list in a list": (
        SOURCE + "  class_names: [[a, b]]",
        "f.yaml:3: data.class_names: expected a list of at least one text or null, found [['a', "
        "'b']]; put every entry in quotes",
    ),
    "no columns": (
        SOURCE + "  text_columns: []",
        "f.yaml:3: data.text_columns: expected a list of at least one text, found []",
    ),
    "two characters for one": (
        SOURCE + "  delimiter: '||'",
        "f.yaml:3: data.delimiter: expected one character (no line break) or null, found '||'",
    ),
    "an empty path": (
        "data: {source: ''}",
        "f.yaml:1: data.source: expected a path or null, found ''",
    ),
    "a weight that is not a number": (
        SOURCE + "training: {class_weights: {a: x}}",
        "f.yaml:3: training.class_weights: expected none, balanced, effective or a number of at "
        "least 0 for each class, found {'a': 'x'}",
    ),
    "a misspelt word for weights": (
        SOURCE + "training: {class_weights: balance}",
        "f.yaml:3: training.class_weights: expected none, balanced, effective or a number of at "
        "least 0 for each class, found 'balance'; did you mean balanced?",
    ),
    "a long value": (
        SOURCE + f"model: {{encoder: {'x' * 1000}}}",
        "f.yaml:3: model.encoder: expected one of simple_rnn, lstm, gru, bag, none or package.module:function, found '"
        + "x" * 36
        + "...",
    ),
    "a tab": (
        "data:\n\tsource: a.csv",
        "f.yaml:2: not valid YAML: found character '\\t' that cannot start any token; indent with "
        "spaces, not with tabs",
    ),
    "a colon in a text": (
        SOURCE + "  label_column: a: b",
        "f.yaml:3: not valid YAML: mapping values are not allowed here; put a text that contains "
        "`: ` in quotes",
    ),
    "an unclosed bracket": (
        SOURCE + "  text_columns: [a\n",
        "f.yaml:4: not valid YAML: expected ',' or ']', but got '<stream end>'",
    ),
    "two documents": (
        SOURCE + "---\n" + SOURCE,
        "f.yaml:3: not valid YAML: expected a single document in the stream but found another "
        "document; write one document per file",
    ),
    "a NUL": (
        SOURCE + "\n\x00",
        "f.yaml:4: not valid YAML: the character U+0000 is not allowed in YAML",
    ),
    "deep nesting": ("[" * 600, "f.yaml:1: not valid YAML: nested too deeply"),
    "a tag of a Python type": (
        SOURCE + "model: {units: !!python/int 3}",
        f"f.yaml:3: model.units: {WHOLE}, found '3'",
    ),
    "an unknown tag": (
        SOURCE + "model: {units: !many 3}",
        "f.yaml:3: model.units: the tag !many is not supported; remove it",
    ),
    "a tag in a section that occurs twice": (
        SOURCE + "text: {keep: !x end}\ntext: {}",
        "f.yaml:3: text.keep: the tag !x is not supported; remove it",
        "f.yaml:4: text: is also set in line 3; remove one of them",
    ),
    "a tag where settings should be": (
        SOURCE + "text: [!x end]",
        "f.yaml:3: text.0: the tag !x is not supported; remove it",
        "f.yaml:3: text: expected settings in this section, found ['end']",
    ),
    "a value that contains itself": (
        SOURCE + "  class_names: &x [a, *x]",
        "f.yaml:3: data.class_names.1: refers to a value that contains itself; write the value out",
    ),
    "a setting that occurs twice": (
        SOURCE + "  source: b.csv",
        "f.yaml:3: data.source: is also set in line 2; remove one of them",
    ),
    "a section that occurs twice": (
        "data: {}\n" + SOURCE,
        "f.yaml:2: data: is also set in line 1; remove one of them",
    ),
    "a collection for a name": (
        SOURCE + "? [a, b]\n: c",
        "f.yaml:3: expected a name before the colon, found a collection",
    ),
    "a setting without effect": (
        SOURCE + "model: {reset_after: true}",
        "f.yaml:3: model.reset_after: has no effect, because model.encoder is lstm; it applies "
        "only if model.encoder is gru; remove it",
    ),
    "a setting without effect for a guessed format": (
        "data: {source: a.jsonl, delimiter: ;}",
        "f.yaml:1: data.delimiter: has no effect, because data.format is jsonl; it applies only "
        "if data.format is csv or tsv; remove it",
    ),
    "layer normalisation of one layer": (
        SOURCE + "model: {layer_norm: true}",
        "f.yaml:3: model.layer_norm: has no effect, because model.num_layers is 1; it applies "
        "only if model.num_layers is at least 2; remove it",
    ),
    "a split together with a single file": (
        SOURCE + "  test: b.csv",
        "f.yaml:3: data.test: has no effect, because data.source is a single file, which is split "
        "by fraction; it applies only if data.source is not set and each split is a file; "
        "remove it",
    ),
    "a folder for a split": (
        "data: {train: 'tfds:imdb_reviews'}",
        "f.yaml:1: data.train: expected a file; a folder, a tfds data set and the demo contain "
        "all splits: use data.source for them",
    ),
    "nothing to train on": ("data: {test: a.csv}", f"f.yaml: {NO_DATA}"),
    "a test that is also train": (
        "data: {train: a.csv, test: ./a.csv}",
        "f.yaml:1: data.test: './a.csv' is also data.train; use a different file for each split",
    ),
    "fractions that leave no train": (
        SOURCE + "  test_fraction: 0.5\n  validation_fraction: 0.5",
        "f.yaml:3: data.test_fraction: leaves no rows for train, together with "
        "data.validation_fraction; expected a sum below 1",
    ),
    "an unknown encoding": (
        SOURCE + "  encoding: utf8x",
        "f.yaml:3: data.encoding: unknown text encoding 'utf8x'; expected an encoding of Python "
        "such as utf-8, utf-16, gb18030, big5, shift_jis or cp1252; did you mean utf-8?",
    ),
    "an encoding that is not for text": (
        SOURCE + "  encoding: base64",
        "f.yaml:3: data.encoding: unknown text encoding 'base64'; expected an encoding of Python "
        "such as utf-8, utf-16, gb18030, big5, shift_jis or cp1252",
    ),
    "a quote as delimiter": (
        SOURCE + "  delimiter: '\"'",
        'f.yaml:3: data.delimiter: " is also the quote character; use another delimiter, or set '
        "data.quoting to none",
    ),
    "class names in two settings": (
        SOURCE + "  class_names: [a, b]\n  class_names_file: names.txt",
        "f.yaml:4: data.class_names_file: data.class_names is also set; remove one of them",
    ),
    "numbers without names": (
        SOURCE + "  label_ids: from_one",
        "f.yaml:3: data.label_ids: numbers need class names; set data.class_names or "
        "data.class_names_file",
    ),
    "a class named twice": (
        SOURCE + "  class_names: [a, b, a]",
        "f.yaml:3: data.class_names: 'a' occurs twice; remove one of them",
    ),
    "one class": (
        SOURCE + "  class_names: [a]",
        "f.yaml:3: data.class_names: one class is not enough; expected at least two "
        "classes, or data.multi_label",
    ),
    "weights of other classes": (
        SOURCE + "  class_names: [a, b]\ntraining: {class_weights: {a: 1, c: 2}}",
        "f.yaml:4: training.class_weights: expected a weight for each of a, b; found a, c",
    ),
    "a bag's last state": (
        SOURCE + "model: {encoder: bag, pooling: last}",
        "f.yaml:3: model.pooling: the encoder bag has no last state; expected one of max, mean, "
        "max_mean, attention",
    ),
    "random vectors that are not trained": (
        SOURCE + "model: {train_embedding: false}",
        "f.yaml:3: model.train_embedding: random initial vectors must be trained; set "
        "model.embedding_vectors or remove this setting",
    ),
}


@pytest.mark.parametrize("kind", IN_FILE)
def test_configuration_error_in_a_file_is_reported_in_one_sentence(kind: str) -> None:
    text, *sentences = IN_FILE[kind]
    assert problems_of(text) == tuple(sentences)


ON_COMMAND_LINE = {
    "model.units": (
        "--set model.units: expected section.setting=value, for instance --set training.epochs=3"
    ),
    "epochs=3": "--set epochs: unknown setting; did you mean training.epochs?",
    "model=3": "--set model: is a section; expected model.SETTING=VALUE",
    "=3": (
        "--set '': unknown setting; expected section.setting=value, for instance training.epochs=3"
    ),
    "modl.units=3": "--set modl.units: unknown setting; did you mean model.units?",
    "model.unit=3": "--set model.unit: unknown setting; did you mean model.units?",
    "model.units=": f"--set model.units: {WHOLE}, found null",
    "model.units=1e3": f"--set model.units: {WHOLE}, found 1000.0; write 1000",
    "model.units=[": (
        "--set model.units: cannot read '[' (not valid YAML: expected the node content, but found "
        "'<stream end>')"
    ),
    "model.encoder=GRU": (
        "--set model.encoder: expected one of simple_rnn, lstm, gru, bag, none or package.module:function, found 'GRU'; did you "
        "mean gru?"
    ),
    "data.text_columns=[a": (
        "--set data.text_columns: cannot read '[a' (not valid YAML: expected ',' or ']', but got "
        "'<stream end>')"
    ),
    "training.class_weights={a: b}": (
        "--set training.class_weights: expected none, balanced, effective or a number of at least "
        "0 for each class, found {'a': 'b'}"
    ),
    "model.reset_after=true": (
        "--set model.reset_after: has no effect, because model.encoder is lstm; it applies only "
        "if model.encoder is gru; remove it"
    ),
    "data.source=": f"--set {NO_DATA}",
}


@pytest.mark.parametrize("override", ON_COMMAND_LINE)
def test_configuration_error_in_an_override_is_reported_in_one_sentence(override: str) -> None:
    assert problems_of(SOURCE, override) == (ON_COMMAND_LINE[override],)


def test_configuration_errors_are_reported_together_file_first_then_overrides() -> None:
    text = (
        "data:\n"
        "  source: a.csv\n"
        "  header: no\n"
        "  header: true\n"
        "modle: {}\n"
        "model:\n"
        "  pooling: last\n"
        "  encoder: bag\n"
        "  unit: 3\n"
        "training:\n"
        "  momentum: 0.9\n"
        "  epochs: many\n"
        "  weight_decay: 1\n"
    )
    locations = [
        problem.split(": ")[0] for problem in problems_of(text, "text.keep=middle", "model.l1=-1")
    ]
    lines = [4, 5, 7, 9, 11, 12, 13]
    assert locations == [f"f.yaml:{line}" for line in lines] + ["--set text.keep", "--set model.l1"]


def test_invalid_setting_causes_no_further_errors() -> None:
    text = SOURCE + "model: {encoder: grru, reset_after: true, pooling: last}\n"
    assert len(problems_of(text)) == 1
    assert len(problems_of("data: {sorce: a.csv}")) == 1
    assert len(problems_of("data: {source: folder, label_ids: from_one}")) == 1


def test_missing_configuration_file_is_reported_with_a_suggestion(tmp_path: Path) -> None:
    (tmp_path / "reviews.yaml").write_text(SOURCE)
    with pytest.raises(ConfigError) as error:
        config.Config.load(tmp_path / "review.yaml")
    assert str(error.value) == (
        f"{tmp_path}/review.yaml: no such configuration file; did you mean {tmp_path}/reviews.yaml?"
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"data: {}\nmodel: \xff\n", "FILE:2: is not UTF-8 (byte 0xff); save it as UTF-8"),
        ("data: {}".encode("utf-16"), "FILE: is UTF-16; save it as UTF-8"),
    ],
)
def test_configuration_file_not_in_utf_8_is_an_error(
    content: bytes, sentence: str, tmp_path: Path
) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        config.Config.load(file)
    assert str(error.value) == sentence.replace("FILE", str(file))


def test_folder_or_invalid_path_as_configuration_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        config.Config.load(tmp_path)
    assert str(error.value) == f"{tmp_path}: cannot be read (Is a directory); expected a YAML file"
    with pytest.raises(ConfigError):
        config.Config.load("a\0b")


# === Values in YAML ===


def test_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + SOURCE.replace("\n", "\r\n").encode())
    assert config.Config.load(file).data.source == "a.csv"


def test_words_with_a_type_only_in_yaml_1_1_are_texts() -> None:
    names = ["no", "on", "y", "2018-01-01", "1:30", "0o9"]
    text = SOURCE + f"  class_names: [{', '.join(names)}]\n"
    assert config.Config.from_yaml(text).data.class_names == names


TEXT_SETTINGS = [
    path
    for path, setting in config.SETTINGS.items()
    if str in setting.kinds or list[str] in setting.kinds
]


@pytest.mark.parametrize("path", TEXT_SETTINGS)
def test_text_setting_keeps_a_scalar_of_a_file_as_written(path: str) -> None:
    assert len(TEXT_SETTINGS) >= 12
    section, name = path.split(".")
    is_list = list[str] in config.SETTINGS[path].kinds
    for written in (
        "7",
        "007",
        "1.0",
        "1e3",
        "true",
        "False",
        "yes",
        "-0",
        "0x1F",
        ".inf",
        "1_000",
    ):
        if path == "data.delimiter":
            written = written[:1]
        value = values_of(f"{section}: {{{name}: {written}}}")[path]
        assert value == ([written] if is_list else written)
        # --set keeps every text unchanged and must give the same value.
        assert value == values_of("", f"{path}={written}")[path]
        if is_list:
            listed = values_of(f"{section}:\n  {name}:\n  - {written}\n  - a b\n")[path]
            assert listed == [written, "a b"]


def values_of(text: str, *overrides: str) -> dict[str, Any]:
    """Return setting -> value of a file and overrides, without checks of combinations."""
    base = resolution.Layer({}, {})
    if text:
        parsed = reading.parse(text, "f.yaml", config.holds_text)
        assert parsed.problems == []
        base = resolution.Layer(parsed.value, parsed.locations)
    layers = resolution._Resolution(base, overrides, [])
    assert layers.problems == []
    return {
        f"{s}.{n}": value for s, values in layers._values.items() for n, value in values.items()
    }


@pytest.mark.parametrize("path", TEXT_SETTINGS)
def test_text_setting_converts_a_python_int_to_text(path: str) -> None:
    section, name = path.split(".")
    is_list = list[str] in config.SETTINGS[path].kinds
    for number in (7, np.int64(7), enum.IntEnum("Size", {"X": 7}).X):
        checked = check_value(path, number)
        assert checked == (["7"] if is_list else "7") and type(checked) in (str, list)
        if is_list:
            assert check_value(path, (number, "a")) == ["7", "a"]
            assert check_value(path, "a") == ["a"]
    # The written form of these values is not unique.
    for value in (
        1.0,
        1e3,
        True,
        [1.0],
        [True],
        None if str in config.SETTINGS[path].kinds else 0.5,
    ):
        if value is None and type(None) in config.SETTINGS[path].kinds:
            continue
        with pytest.raises(ValueError, match="expected "):
            check_value(path, value)


def test_yaml_anchor_is_a_text_in_text_settings_and_a_number_in_number_settings() -> None:
    text = (
        "data: {source: a.csv, class_names: [&one 1.0, b], label_column: *one}\n"
        "training: {class_weights: {'1.0': *one, b: 2}, clip_norm: *one}\n"
    )
    chosen = config.Config.from_yaml(text)
    assert (chosen.data.class_names, chosen.data.label_column) == (["1.0", "b"], "1.0")
    assert chosen.training.class_weights == {"1.0": 1.0, "b": 2.0}
    assert chosen.training.clip_norm == 1.0


def test_columns_and_class_names_are_read_without_quotes_and_brackets() -> None:
    text = "data: {source: a.csv, text_columns: review, label_column: 2, class_names: [0, 1]}\n"
    chosen = config.Config.from_yaml(text)
    assert (chosen.data.text_columns, chosen.data.label_column) == (["review"], "2")
    assert chosen.data.class_names == ["0", "1"]
    assert config.Config.from_yaml(config.to_yaml(chosen.to_dict())) == chosen
    values = {"source": "a.csv", "text_columns": "review", "label_column": 2, "class_names": [0, 1]}
    assert config.Config.from_dict({"data": values}) == chosen


def test_numbers_and_words_as_keys_of_class_weights_are_class_names() -> None:
    text = SOURCE + "training:\n  class_weights: {2018: 1, no: 2, true: 1e-1, 1.0: 0x10}\n"
    weights = {"2018": 1.0, "no": 2.0, "true": 0.1, "1.0": 16.0}
    assert config.Config.from_yaml(text).training.class_weights == weights


def test_yaml_anchors_and_merges_are_resolved() -> None:
    text = (
        "data: &d\n  source: &s a.csv\n  label_column: *s\n"
        "training: {seed: &n 3}\nevaluation: {<<: {seed: 4, length_bins: 2}, seed: *n}\n"
    )
    chosen = config.Config.from_yaml(text)
    assert (chosen.data.label_column, chosen.evaluation.seed) == ("a.csv", 3)
    assert chosen.evaluation.length_bins == 2


@pytest.mark.parametrize("is_list", [True, False])
def test_nested_yaml_anchors_do_not_exhaust_memory(is_list: bool) -> None:
    layers = ""
    for i in range(9):
        parts = ", ".join(f"*a{i}" if is_list else f"{key}: *a{i}" for key in range(9))
        layers += f"a{i + 1}: &a{i + 1} " + (f"[{parts}]\n" if is_list else f"{{{parts}}}\n")
    messages = problems_of(f"a0: &a0 x\n{layers}" + SOURCE + "  delimiter: *a9\n")
    assert max(map(len, messages)) < 200
    assert any("data.delimiter" in problem for problem in messages)


# === Overrides ===


def test_override_takes_precedence_over_file_and_file_over_default() -> None:
    text = SOURCE + "model: {units: 3, num_layers: 4}\n"
    chosen = config.Config.from_yaml(text, ["model.units=5", "model.units=6"])
    assert (chosen.model.units, chosen.model.num_layers, chosen.model.embedding_dim) == (6, 4, 100)


def test_invalid_value_of_a_file_is_an_error_even_if_overridden() -> None:
    assert problems_of(SOURCE + "model: {units: x}", "model.units=3") == (
        f"f.yaml:3: model.units: {WHOLE}, found 'x'",
    )


@pytest.mark.parametrize("character", sorted(set(string.printable) - set("\r\n")))
def test_every_printable_character_is_accepted_as_delimiter_and_separator(character: str) -> None:
    chosen = resolve(
        f"data.delimiter={character}",
        "data.quoting=none",
        "data.multi_label=true",
        f"data.label_separator={character}",
        f"data.text_separator={character}",
    )
    assert chosen.data.delimiter == character
    assert chosen.data.label_separator == character
    assert chosen.data.text_separator == character


@pytest.mark.parametrize(
    "name", ["2018", "no", "null", "1e3", "~", "on", "true", "a=b", "{a}", "'"]
)
def test_override_of_a_text_setting_is_never_parsed_as_yaml(name: str) -> None:
    chosen = resolve(
        f"data.label_column={name}", f"data.text_columns={name}", f"data.class_names_file={name}"
    )
    assert chosen.data.label_column == name
    assert chosen.data.text_columns == [name]
    assert chosen.data.class_names_file == name


def test_entries_of_a_list_override_are_texts() -> None:
    chosen = resolve(
        "data.text_columns=[2018, no, ~, 1e3, 'a, b', 007]",
        "data.class_names=[true, 1.0, null]",
    )
    assert chosen.data.text_columns == ["2018", "no", "~", "1e3", "a, b", "007"]
    assert chosen.data.class_names == ["true", "1.0", "null"]


def test_override_decodes_only_tab_newline_and_backslash_escapes() -> None:
    text = r"a\tb\nc\\d\\te\xf\u0041\'"
    chosen = resolve(f"data.text_separator={text}")
    assert chosen.data.text_separator == "a\tb\nc\\d\\te\\xf\\u0041\\'"


def test_empty_override_sets_an_optional_setting_to_null() -> None:
    chosen = config.Config.from_dict(
        {"data": {"train": "a.csv", "test": "b.csv"}, "training": {"clip_norm": 3}},
        ["data.test=", "training.clip_norm=", "data.class_names="],
    )
    assert chosen.data.test is chosen.training.clip_norm is chosen.data.class_names is None


@given(st.text(max_size=20))
def test_override_of_a_text_keeps_any_escaped_text(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    assert resolve(f"data.text_separator={escaped}").data.text_separator == text


# === Settings without effect ===


def test_override_drops_disabled_settings_of_the_file_with_a_notice() -> None:
    text = (
        "data:\n  source: a.csv\n  test_fraction: 0.3\n  multi_label: true\n"
        "  label_separator: ;\nmodel:\n  encoder: gru\n  reset_after: false\n  units: 64\n"
    )
    chosen = config.Config.from_yaml(
        text, ["data.source=folder", "model.encoder=bag"], name="f.yaml"
    )
    assert chosen.notices == (
        "f.yaml:4: data.multi_label: dropped, because now data.format is folder",
        "f.yaml:5: data.label_separator: dropped, because now data.multi_label is false",
        "f.yaml:3: data.test_fraction: dropped, because now data.source contains splits",
        "f.yaml:8: model.reset_after: dropped, because now model.encoder is bag",
    )  # none for units, which has its default value
    assert chosen.data.test_fraction == 0.1
    assert chosen.model.reset_after and not chosen.data.multi_label


def test_override_of_the_source_drops_the_splits_of_the_old_source() -> None:
    files = {"data": {"train": "a.csv", "validation": "b.csv"}}
    for source in ("c.csv", "tfds:imdb_reviews", "demo"):
        chosen = config.Config.from_dict(files, [f"data.source={source}"])
        assert (chosen.data.train, chosen.data.validation) == (None, None)
        assert len(chosen.notices) == 2
    parts = {"data": {"source": "tfds:a", "train": "train[:9]"}}
    assert config.Config.from_dict(parts, ["data.source=tfds:b"]).data.train == "train[:9]"


def test_setting_without_effect_before_and_after_an_override_is_an_error() -> None:
    messages = problems_of(SOURCE + "model: {reset_after: true}", "model.encoder=simple_rnn")
    assert len(messages) == 1 and messages[0].startswith(
        "f.yaml:3: model.reset_after: has no effect"
    )


def test_override_may_clear_a_setting_without_effect() -> None:
    chosen = config.Config.from_dict(
        {"data": {"train": "a.csv", "test": "t.csv"}},
        ["data.source=x.csv", "data.train=", "data.test="],
    )
    assert (chosen.data.source, chosen.data.train) == ("x.csv", None)


def test_plain_values_without_a_training_split_are_accepted() -> None:
    assert config.Config.from_dict({"data": {"test": "a.csv"}}).data.test == "a.csv"


@pytest.mark.parametrize("path", config.RULES)
def test_setting_with_a_rule_is_accepted_if_the_rule_applies_and_otherwise_an_error(
    path: str,
) -> None:
    """Try the setting in all configurations: at least one accepts it, one refuses it."""
    section, name = path.split(".")
    other = {
        "data.multi_label": True,
        "data.label_ids": "from_one",
        "data.quoting": "none",
        "data.text_columns": ["a"],
        "training.momentum": 0.5,
        "training.max_steps": 9,
        "training.clip_value": 0.5,
    }
    value: Any = other.get(path)
    if value is None:
        default = config.SETTINGS[path].default
        value = ";" if default is None else default
    accepted = refused = 0
    contradictions = {"model.embedding_vectors": "training.init_from"}
    for base in CONFIGURATIONS:
        if contradictions.get(path, "").partition(".")[2] in base.get("training", {}):
            continue
        values = {key: dict(settings) for key, settings in base.items()}
        values.setdefault(section, {}).setdefault(name, value)
        is_read = config.is_read(path, values)
        try:
            config.Config.from_dict(values)
        except ConfigError as error:
            assert not is_read, error
            assert any(p.startswith(f"{path}: has no effect, because") for p in error.problems)
            refused += 1
        else:
            assert is_read
            accepted += 1
    assert accepted and refused


WITH_NAMES: dict[str, Any] = {"class_names": ["a", "b"]}
CONFIGURATIONS: list[dict[str, Any]] = [
    *({"data": {"source": s, **WITH_NAMES}} for s in ("a.csv", "a.jsonl", "a.parquet", "folder")),
    {"data": {"source": "demo", **WITH_NAMES}},
    {"data": {"source": "tfds:x", **WITH_NAMES}},
    {"data": {"source": "a.tsv.gz", "multi_label": True, **WITH_NAMES}},
    {"data": {"train": "a.csv", "validation": "b.csv", "test": "c.csv", **WITH_NAMES}},
    *(
        {"data": {"source": "a.csv", **WITH_NAMES}, "model": {"encoder": encoder}}
        for encoder in ("simple_rnn", "lstm", "gru", "bag", "none")
    ),
    {"data": {"source": "a.csv", **WITH_NAMES}, "text": {"subwords": True}},
    {"data": {"source": "a.csv", **WITH_NAMES}, "model": {"num_layers": 2}},
    {"data": {"source": "a.csv", **WITH_NAMES}, "model": {"linear": "none"}},
    *(
        {"data": {"source": "a.csv", **WITH_NAMES}, "training": training}
        for training in (
            {"init_from": "runs/a"},
            {"init_from": "runs/a", "init_vocabulary": "new"},
            {"init_from": "runs/a", "freeze_epochs": 1},
            {"average": "ema"},
            {"strategy": "multi_worker"},
        )
    ),
    *(
        {"data": {"source": "a.csv", **WITH_NAMES}, "training": {"optimizer": optimizer}}
        for optimizer in ("sgd", "rmsprop", "adam", "adamw")
    ),
    *(
        {"data": {"source": "a.csv", **WITH_NAMES}, "training": {"schedule": schedule}}
        for schedule in ("constant", "cosine", "exponential", "plateau")
    ),
]


CONTRADICTORY: list[dict[str, Any]] = [
    {},
    {"data": {"train": "demo"}},
    {"data": {"train": "a.csv", "validation": "tfds:x"}},
    {"data": {"train": "a.csv", "test": "b", "format": "folder"}},
    {"data": {"train": "a.csv", "validation": "./a.csv"}},
    {"data": {"train": "a.csv", "test": "a.csv"}},
    {"data": {"train": "a.csv", "validation": "b.csv", "test": "b.csv"}},
    {"data": {"source": "a.csv", "validation_fraction": 0.5, "test_fraction": 0.5}},
    {"data": {"source": "a.csv", "validation_fraction": 0.9}},
    {"data": {"source": "a.csv", "encoding": "uft-8"}},
    {"data": {"source": "a.csv", "delimiter": '"'}},
    {"data": {"train": "a.csv", "delimiter": '"'}},
    {"data": {"source": "a.csv", "label_ids": "from_one"}},
    {"data": {"source": "a.csv", "class_names": ["a", "b"], "class_names_file": "c.txt"}},
    {"data": {"source": "a.csv", "class_names": ["a", "a"]}},
    {"data": {"source": "a.csv", "class_names": ["a"]}},
    {"data": {"class_names": ["a", "b"]}, "training": {"class_weights": {"a": 1.0}}},
    {"model": {"encoder": "bag", "pooling": "last"}},
    {"model": {"train_embedding": False}},
    {"training": {"schedule": "plateau", "plateau_patience_epochs": 3}},
    {"training": {"batch_size": 4, "accumulate_steps": 5}},
    {"training": {"init_from": "runs/a"}, "model": {"embedding_vectors": "v.txt"}},
    {"training": {"freeze_epochs": 1}},
    {"training": {"language_model_weight": 0.1}, "model": {"num_layers": 2}},
    {"text": {"subwords": True, "unit": "character"}},
    {"text": {"subwords": True, "hash_buckets": 5}},
    {"text": {"subwords": True}, "model": {"encoder": "none"}},
    {"text": {"subwords": True}, "training": {"language_model_weight": 0.1}},
]
# Values of settings on which rules may depend.
ALTERNATIVES: dict[str, list[Any]] = {
    "data.source": [None, "b.jsonl", "folder", "demo", "tfds:x"],
    **{f"data.{split}": [None, "z.jsonl", "b.csv"] for split in ("train", "validation", "test")},
    "data.format": ["auto", "csv", "parquet", "tfds", "demo"],
    "data.quoting": ["auto", "none", "minimal"],
    "data.delimiter": [None, '"'],
    "data.multi_label": [False, True],
    "data.label_ids": ["names", "from_one"],
    "data.class_names": [None, ["a"], ["a", "b"], ["a", "c"]],
    "data.class_names_file": [None, "d.txt"],
    "data.validation_fraction": [0.1, 0.95],
    "data.test_fraction": [0.1, 0.95],
    "text.unit": ["word", "character"],
    "text.hash_buckets": [0, 5],
    "text.subwords": [False, True],
    "model.encoder": ["bag", "lstm", "gru", "none", "module:function"],
    "model.linear": ["none", "mixture"],
    "model.num_layers": [1, 3],
    "model.bidirectional": [True, False],
    "model.pooling": ["last", "max"],
    "model.embedding_vectors": [None, "v.txt"],
    "training.optimizer": ["sgd", "adamw"],
    "training.batch_size": [4, 64],
    "training.accumulate_steps": [1, 5],
    "training.init_from": [None, "runs/a"],
    "training.init_vocabulary": ["keep", "new"],
    "training.freeze_epochs": [0, 1],
    "training.average": ["none", "ema"],
    "training.language_model_weight": [0.0, 0.1],
    "training.strategy": ["one_device", "multi_worker"],
    "training.schedule": ["constant", "plateau"],
    "training.patience_epochs": [1, 9],
    "training.plateau_patience_epochs": [1, 9],
    "training.class_weights": ["none", "effective", {"a": 1.0}],
}


def _undeclared_reads(
    function: Callable[[Any], Any], reads: Callable[[Any, set[str]], bool]
) -> set[str]:
    """Return the settings that change the value of a function although it does not declare them.

    Args:
        function: computes a value from a configuration.
        reads: returns whether the function declares one of some settings.
    """
    undeclared = set()
    for values in (*CONFIGURATIONS, *CONTRADICTORY):
        chosen = config.Config.of(values)
        for path, alternatives in ALTERNATIVES.items():
            if reads(chosen, {path}):
                continue
            section, name = path.split(".")
            for value in alternatives:
                changed = {**values, section: {**values.get(section, {}), name: value}}
                if function(config.Config.of(changed)) != function(chosen):
                    undeclared.add(path)
    return undeclared


@pytest.mark.parametrize("path", config.RULES)
def test_every_rule_declares_the_settings_on_which_its_result_depends(path: str) -> None:
    fact = config.RULES[path].fact
    assert _undeclared_reads(fact.value, functools.partial(depends_on, fact.reads)) == set()


@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.setting)
def test_every_contradiction_declares_the_settings_on_which_its_result_depends(
    check: Check,
) -> None:
    assert _undeclared_reads(check.is_broken, check.reads) == set()
    assert any(check.is_broken(config.Config.of(values)) for values in CONTRADICTORY)


def test_setting_without_effect_before_an_override_of_the_source_is_refused() -> None:
    text = "data:\n  source: a.csv\n  train: b.csv\n"
    assert problems_of(text, "data.source=folder/") == (
        "f.yaml:3: data.train: has no effect without the override, because data.source is a single "
        "file, which is split by fraction; it applies only if data.source is not set and each "
        "split is a file; remove it",
    )


def test_invalid_setting_hides_only_problems_of_rules_that_read_the_setting() -> None:
    text = SOURCE + "  multi_label: 3\n  header: true\n  format: jsonl\n"
    messages = problems_of(text)
    assert [message.split(": ")[1] for message in messages] == ["data.multi_label", "data.header"]


# === Round trips ===


def _strategy(path: str) -> st.SearchStrategy:
    """Return a strategy for valid values of a setting, from its declaration."""
    setting = config.SETTINGS[path]
    limits: dict[str, Any] = {}
    for limit in setting.limits:
        bounds = {name: getattr(limit, name) for name in ("ge", "gt", "le", "lt")}
        limits |= {name: bound for name, bound in bounds.items() if bound is not None}
    strategies: list[st.SearchStrategy] = []
    for kind in setting.kinds:
        if get_origin(kind) is Literal:
            strategies.append(st.sampled_from(get_args(kind)))
        elif get_origin(kind) is list:
            strategies.append(st.lists(st.text(), min_size=2, max_size=3, unique=True))
        elif get_origin(kind) is dict:
            strategies.append(st.dictionaries(st.text(), st.floats(0, 10), min_size=1, max_size=3))
        elif kind is bool:
            strategies.append(st.booleans())
        elif kind is int:
            strategies.append(st.integers(limits.get("ge", 0), limits.get("le", 2**31 - 1)))
        elif kind is float:
            low, high = limits.get("gt", limits.get("ge")), limits.get("lt", limits.get("le", 1e9))
            strategies.append(
                st.floats(low, high, exclude_min="gt" in limits, exclude_max="lt" in limits)
            )
        elif kind is type(None):
            strategies.append(st.none())
        elif path == "data.delimiter":
            strategies.append(st.characters(exclude_characters='\r\n\0"', codec="utf-8"))
        elif path == "data.encoding":
            strategies.append(st.sampled_from(["utf-8", "gb18030", "latin-1"]))
        else:
            strategies.append(
                st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1)
            )
    return st.one_of(strategies)


@st.composite
def _valid(draw: st.DrawFn) -> config.Config:
    """Draw a random configuration; settings with errors are removed until it is valid."""
    sources = ["a.csv", "b.tsv", "c.jsonl", "d.parquet", "folder/", "tfds:x", "demo"]
    values: dict[str, dict[str, Any]] = {"data": {"source": draw(st.sampled_from(sources))}}
    drawn = [path for path in config.SETTINGS if path not in ("data.source", "data.format")]
    for path in draw(st.lists(st.sampled_from(drawn), unique=True, max_size=30)):
        section, name = path.split(".")
        values.setdefault(section, {})[name] = draw(_strategy(path))
    for _ in range(10):
        try:
            return config.Config.from_dict(values)
        except ConfigError as error:
            for problem in error.problems:
                assert "expected one of" not in problem or "model.pooling" in problem, problem
                section, name = problem.split(": ")[0].split(".")
                del values[section][name]
    raise AssertionError("errors remain after 10 rounds")


@settings(max_examples=60, deadline=None)
@given(_valid())
def test_configuration_round_trips_through_dict_json_and_yaml(
    original: config.Config,
) -> None:
    values = original.to_dict()
    for again in (
        config.Config.from_dict(values),
        config.Config.from_dict(json.loads(json.dumps(values))),
        config.Config.from_yaml(config.to_yaml(values)),
    ):
        assert again == original
        assert again.notices == ()


def test_yaml_output_is_readable() -> None:
    values: dict[str, dict[str, Any]] = {
        "data": {
            "source": "${DATA}/a b.csv",
            "train": "${DATA}/a.csv",
            "text_columns": ["no", "ü"],
        },
        "text": {},
        "training": {"learning_rate": 1e-05, "class_weights": {"no": 1.0}, "clip_norm": None},
        "evaluation": {"other": ['\u2028\x07"\\', "on"]},
    }
    assert config.to_yaml(values) == (
        "data:\n"
        '  source: "${DATA}/a b.csv"\n'
        "  train: ${DATA}/a.csv\n"
        '  text_columns: ["no", "ü"]\n'
        "text: {}\n"
        "training:\n"
        "  learning_rate: 1.0e-05\n"
        '  class_weights: {"no": 1.0}\n'
        "  clip_norm: null\n"
        "evaluation:\n"
        '  other: ["\\u2028\\u0007\\"\\\\", "on"]\n'
    )


# === Arbitrary input ===

_ATOMS = [
    *(
        "1",
        "1e3",
        ".nan",
        "-.inf",
        "true",
        "no",
        "null",
        "~",
        "2018-01-01",
        "'x'",
        '"\\t"',
        "9" * 5000,
    ),
    *(
        "[",
        "]",
        "{",
        "}",
        "a: b",
        "- ",
        "&a ",
        "*a",
        "<<: *a",
        "<<: 3",
        "!!int x",
        "!!binary x",
        "!f",
    ),
    *("|\n   x", "\t", "\n  ", "\n", "# c", ",", ":", "?", "---", "...", "%YAML 1.1\n", "1:30"),
    *("\ufeff", "\x00", "\u2028", "é", "😀", "@", "`", '"', "'", "\ud800", "x\\ny"),
]
_JUNK = st.lists(st.sampled_from(_ATOMS), max_size=4).map("".join)


def _is_one_sentence(problem: str, name: str) -> bool:
    return problem.startswith(name) and "\n" not in problem and len(problem) < 700


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(config.SETTINGS)), _JUNK), max_size=3), _JUNK)
def test_errors_of_an_arbitrary_file_are_single_lines_with_location(
    written: list[tuple[str, str]], junk: str
) -> None:
    lines = [f"{path.split('.')[0]}:\n  {path.split('.')[1]}: {value}" for path, value in written]
    try:
        config.Config.from_yaml("\n".join([*lines, junk]), name="f.yaml")
    except ConfigError as error:
        assert all(_is_one_sentence(problem, "f.yaml") for problem in error.problems)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.sampled_from(list(config.SETTINGS)), st.text()), st.one_of(_JUNK, st.text()))
def test_errors_of_an_arbitrary_override_are_single_lines_with_location(
    path: str, value: str
) -> None:
    try:
        config.Config.from_dict({"data": {"source": "a.csv"}}, [f"{path}={value}"])
    except ConfigError as error:
        assert all(_is_one_sentence(problem, "--set ") for problem in error.problems)


_PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(config.SETTINGS)), st.one_of(_PLAIN, st.integers(10**400, 10**401)))
def test_arbitrary_value_is_kept_unchanged_or_an_error(path: str, value: Any) -> None:
    section, name = path.split(".")
    values = {"data": {"source": "a.csv"}}
    values.setdefault(section, {})[name] = value
    try:
        checked = getattr(getattr(config.Config.from_dict(values), section), name)
    except ConfigError as error:
        assert all("\n" not in problem for problem in error.problems)
    else:
        if path in TEXT_SETTINGS and value is not None:
            values = value if isinstance(value, list) else [value]
            expected = [str(item) if isinstance(item, int) else item for item in values]
            assert (checked if isinstance(checked, list) else [checked]) == expected
        else:
            assert checked == value or value is None
        assert isinstance(checked, bool) == isinstance(value, bool)


@given(_PLAIN)
def test_arbitrary_section_raises_only_config_errors(value: Any) -> None:
    for values in (value, {"model": value}, {"data": {"source": "a.csv"}, "x": value}):
        try:
            config.Config.from_dict(values)
        except ConfigError as error:
            assert error.problems


# === Public functions ===


def test_choices_of_settings_equal_the_names_implemented_by_networks_and_tables() -> None:
    from textclf import networks
    from textclf.data import tables

    assert set(config.choices("model.encoder")) == {*networks.ENCODERS, "none"}
    assert set(config.choices("model.pooling")) == set(networks.POOLINGS)
    assert set(config.choices("model.kernel_initializer")) == set(networks.INITIALIZERS)
    assert set(config.choices("model.recurrent_initializer")) == set(networks.INITIALIZERS)
    formats = {"auto", *tables.TABLE_FORMATS, "folder", "tfds", "demo"}
    assert set(config.choices("data.format")) == formats


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".CSV.GZ"])
def test_data_format_of_a_file_equals_the_format_of_tables(ending: str) -> None:
    from textclf.data.tables import format_of

    assert config.data_format({"source": f"a{ending}"}) == format_of(f"a{ending}")


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"source": "demo"}, "demo"),
        ({"source": "tfds:x/y"}, "tfds"),
        ({"source": "a.b/"}, "folder"),
        ({"source": "a"}, "folder"),
        ({"source": "a.txt"}, None),
        ({"source": "a.txt", "format": "csv"}, "csv"),
        ({"train": "a"}, None),
        ({"test": "a.tsv"}, "tsv"),
        ({}, None),
    ],
    ids=str,
)
def test_data_format_depends_on_names_only(section: dict, expected: str | None) -> None:
    assert config.data_format(section) == expected


def test_leading_variable_and_home_folder_in_paths_are_resolved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEXTS", "/texts")
    monkeypatch.setenv("HOME", "/home/me")
    chosen = resolve(data={"train": "${TEXTS}/a.csv", "test": "~/b.csv", "validation": "${c}.csv"})
    with pytest.raises(ConfigError) as error:
        config.with_paths(chosen)
    assert error.value.problems == (
        "data.validation: the environment variable c in '${c}.csv' is not set; set it to the "
        "folder, for instance: export c=...",
    )
    monkeypatch.setenv("c", "x${TEXTS}")
    paths = config.with_paths(chosen).data
    assert (paths.train, paths.test) == ("/texts/a.csv", "/home/me/b.csv")
    assert paths.validation == "x${TEXTS}.csv"


@pytest.mark.parametrize("source", ["tfds:x", "folder/", "demo"])
def test_name_of_a_split_is_not_resolved_as_a_path(source: str) -> None:
    chosen = resolve(data={"source": source, "train": "~/train"})
    assert config.with_paths(chosen).data.train == "~/train"


# === Folders of relative paths ===

# A configuration in which every path setting is a path.
EVERY_PATH = """\
data:
  train: train.csv
  validation: ../validation.csv
  test: sub/test.csv
  class_names_file: names.txt
model:
  embedding_vectors: vectors.txt
training:
  cache_dir: cache
"""


def test_relative_paths_of_a_configuration_file_are_relative_to_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, elsewhere = tmp_path / "configs", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "x.yaml").write_text(EVERY_PATH)
    monkeypatch.chdir(tmp_path)
    chosen = config.Config.load(Path("configs/x.yaml"))
    monkeypatch.chdir(elsewhere)  # the configuration holds an absolute folder
    assert config.paths(config.with_paths(chosen)) == {
        "data.train": f"{folder}/train.csv",
        "data.validation": f"{tmp_path}/validation.csv",
        "data.test": f"{folder}/sub/test.csv",
        "data.class_names_file": f"{folder}/names.txt",
        "model.embedding_vectors": f"{folder}/vectors.txt",
        "training.cache_dir": f"{folder}/cache",
    }
    for source in ("folder/", "a.csv"):
        (folder / "x.yaml").write_text(f"data: {{source: {source}}}")
        loaded = config.Config.load(folder / "x.yaml")
        assert config.with_paths(loaded).data.source == f"{folder}/{source}"
    (folder / "x.yaml").write_text("data: {source: tfds:x, data_dir: tfds, train: train}")
    data = config.with_paths(config.Config.load(folder / "x.yaml")).data
    assert (data.source, data.data_dir, data.train) == ("tfds:x", f"{folder}/tfds", "train")


def test_resolved_paths_below_the_current_folder_stay_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = config.Config.from_yaml("data: {train: a.csv, test: ../b.csv}", folder="configs")
    data = config.with_paths(chosen).data
    assert (data.train, data.test) == ("configs/a.csv", "b.csv")
    chosen = config.Config.from_yaml("data: {train: ./a.csv, test: b.csv}", folder="~")
    assert config.with_paths(chosen).data.test == f"{tmp_path}/~/b.csv", "~ is the home folder"
    chosen = config.Config.from_yaml("data: {train: ./a.csv, test: b.csv}", folder=".")
    assert config.with_paths(chosen).data.to_dict("train", "test") == {
        "train": "a.csv",
        "test": "b.csv",
    }


def test_absolute_paths_home_and_variables_are_not_relative_to_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATA", "data")
    monkeypatch.setenv("HOME", "/home/me")
    text = "data: {train: ~/a.csv, validation: '${DATA}/b.csv', test: /c.csv}"
    data = config.with_paths(config.Config.from_yaml(text, folder="/configs")).data
    assert data.to_dict("train", "validation", "test") == {
        "train": "/home/me/a.csv",
        "validation": "data/b.csv",
        "test": "/c.csv",
    }


@pytest.mark.parametrize("overrides", [["data.train=c.csv"], {"data.train": "c.csv"}], ids=str)
def test_overridden_path_is_relative_to_the_current_folder(overrides: Any) -> None:
    text = "data: {train: a.csv, test: b.csv}"
    base = config.Config.from_yaml(text, folder="/configs")
    for chosen in (
        config.Config.from_yaml(text, overrides, folder="/configs"),
        base.replace(overrides),
        config.Config.from_dict(base.to_dict(), overrides, fixed_paths=base.fixed_paths),
    ):
        assert chosen.fixed_paths == {"data.test": "/configs/b.csv"}
        data = config.with_paths(chosen).data
        assert (data.train, data.test) == ("c.csv", "/configs/b.csv")
    assert base.replace({"data.test": None}).fixed_paths == {"data.train": "/configs/a.csv"}
    plain = config.Config.from_dict({"data": {"train": "a.csv"}}, overrides)
    assert plain.fixed_paths == {} and config.with_paths(plain).data.train == "c.csv"


def test_folder_of_a_configuration_file_is_neither_compared_nor_written() -> None:
    text = "data: {train: a.csv}"
    chosen = config.Config.from_yaml(text, folder="/configs")
    assert chosen.fixed_paths == {"data.train": "/configs/a.csv"}
    assert chosen == config.Config.from_yaml(text)
    assert config.paths(chosen) == {"data.train": "a.csv"}
    assert "/configs" not in config.to_yaml(chosen.to_dict())
    assert config.with_paths(config.with_paths(chosen)).data.train == "/configs/a.csv"


def test_trained_folder_without_paths_or_a_pipe_is_relative_to_the_current_folder(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.yaml").write_text("data: {train: a.csv}")
    (tmp_path / "card.json").write_text("{}")
    assert config.Config.load(tmp_path / "config.yaml").fixed_paths == {}
    with os.fdopen(os.open(tmp_path / "config.yaml", os.O_RDONLY)) as file:
        assert config.Config.load(f"/dev/fd/{file.fileno()}").fixed_paths == {}


def test_path_settings_are_complete() -> None:
    assert (
        *("data.source", "data.train", "data.validation", "data.test", "data.class_names_file"),
        *("data.data_dir", "model.embedding_vectors", "training.init_from", "training.cache_dir"),
    ) == config.PATH_SETTINGS


def test_json_schema_has_help_default_and_range_of_every_setting() -> None:
    schema = config.json_schema()
    json.dumps(schema)
    for path in config.SETTINGS:
        section, name = path.split(".")
        described = schema["$defs"][section.capitalize()]["properties"][name]
        assert described["description"], path
        assert described["default"] == config.SETTINGS[path].default
        if "enum" in described:
            assert described["enum"] == list(config.choices(path))
    # Editors show these descriptions to users: one sentence per section.
    sentences = [schema["description"], *(part["description"] for part in schema["$defs"].values())]
    assert len(sentences) == 1 + len(config.SECTIONS)
    for sentence in sentences:
        assert re.fullmatch(r"[A-Z][\w ,:;-]+\.", sentence), sentence
    columns = schema["$defs"]["Data"]["properties"]["text_columns"]
    assert columns["type"] == ["array", "string", "number", "boolean"], (
        "a list setting accepts one text"
    )
    assert schema["$defs"]["Model"]["properties"]["units"]["maximum"] == 8192
    assert schema["$defs"]["Model"]["additionalProperties"] is False


def test_every_default_is_valid_and_every_type_is_described() -> None:
    for path in config.SETTINGS:
        section, name = path.split(".")
        default = getattr(getattr(config.Config(), section), name)
        assert default == config.SETTINGS[path].default
        config.Config.of({section: {name: default}})
        assert config.expected(path)


def test_numpy_values_are_converted_to_python_types() -> None:
    names = np.array(["good", "bad"])
    chosen = resolve(
        data={"source": "demo", "class_names": names},
        model={"units": np.int64(8), "bidirectional": np.bool_(False), "l2": np.float32(0.25)},
        training={"class_weights": dict(zip(names, np.array([1, 0.5]), strict=True))},
    )
    values = [chosen.data.class_names, chosen.model.units, chosen.model.bidirectional]
    assert json.dumps([*values, chosen.model.l2, chosen.training.class_weights]) == (
        '[["good", "bad"], 8, false, 0.25, {"good": 1.0, "bad": 0.5}]'
    )


def test_subclasses_of_str_and_int_are_converted_to_plain_types() -> None:
    class Name(enum.StrEnum):
        UNITS = "units"
        GRU = "gru"

    chosen = resolve(
        data={"source": "a.csv", "label_column": Name.UNITS},
        model={Name.UNITS: enum.IntEnum("Size", {"X": 8}).X, "encoder": Name.GRU},
    )
    values = [chosen.data.label_column, chosen.model.units, chosen.model.encoder]
    assert values == ["units", 8, "gru"]
    assert [type(value) for value in values] == [str, int, str]
    assert resolve(model=dict(zip(np.array(["units"]), [8], strict=True))).model.units == 8


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.source", "\ud800.csv"),
        ("data.text_columns", ["\udcff"]),
        ("data.text_columns", {"a", "b"}),  # a set has no order
        ("data.class_names", {"a": 1, "b": 2}),
        ("data.class_names", np.array([["a", "b"]])),
        ("data.delimiter", ",\n"),
        ("data.delimiter", ""),
        ("data.delimiter", ";;"),
        ("data.validation_fraction", decimal.Decimal("0.5")),
        ("model.l2", decimal.Decimal("Infinity")),
        ("model.units", np.int64),
        ("model.units", np.array(None, dtype=object)),
        ("training.clip_norm", np.float32("inf")),
        ("training.clip_norm", np.ma.masked),
        ("training.class_weights", range(2)),
        ("training.class_weights", {memoryview(b"a"): 1.0}),
        ("training.class_weights", {"a": math.nan}),
        ("training.max_steps", np.timedelta64(5, "ns")),
        pytest.param("training.max_steps", 10**5000, id="integer of 5000 digits"),
    ],
)
def test_value_without_a_yaml_representation_is_an_error(path: str, value: Any) -> None:
    section, name = path.split(".")
    values = {"data": {"source": "a.csv"}, "model": {PurePath("units"): 3}}
    values.setdefault(section, {})[name] = value
    with pytest.raises(ConfigError) as error:
        config.Config.from_dict(values)
    unknown, invalid = error.value.problems
    assert invalid.startswith(f"{path}: expected {config.expected(path)}, found ")
    assert unknown.startswith("model.\"PurePosixPath('units')\": unknown setting")


def test_changing_a_list_of_a_configuration_does_not_change_the_default() -> None:
    config.Config().data.text_columns.append("x")
    resolve().data.text_columns.append("x")
    assert config.Config().data.text_columns == resolve().data.text_columns == ["text"]


def test_configuration_is_immutable() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        resolve().model.units = 3  # type: ignore[misc]


def test_missing_package_and_missing_vectors_are_reported_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # makes the import fail
    overrides = ["training.tensorboard=true", "model.embedding_vectors=glove.txt"]
    chosen = config.Config.from_dict({"data": {"source": "demo"}}, overrides)
    with pytest.raises(ConfigError) as caught:
        config.check_environment(chosen)
    assert list(caught.value.problems) == [
        "training.tensorboard: tensorboard is not installed; install it with "
        "`.venv/bin/pip install '.[tensorboard]'` in the checkout of textclf or remove the setting",
        "glove.txt: no such file; model.embedding_vectors names a GloVe, word2vec or fastText "
        "text file",
    ]


@pytest.mark.parametrize(
    ("content", "width"),
    [("the 0.1 -2e-3 7\n", 3), (". . . 0.1 0.2\n", 2), ("400000 300\nthe 0.1\n", 300)],
)
def test_check_environment_reports_vectors_with_a_different_number_of_dimensions(
    tmp_path: Path, content: str, width: int
):
    path = tmp_path / "vectors.txt"
    path.write_text(content)
    overrides = [f"model.embedding_vectors={path}", "model.embedding_dim=50"]
    chosen = config.Config.from_dict({"data": {"source": "demo"}}, overrides)
    with pytest.raises(ConfigError, match=f"contains vectors of {width} numbers, .* to {width}$"):
        config.check_environment(chosen)
    overrides[1] = f"model.embedding_dim={width}"
    config.check_environment(config.Config.from_dict({"data": {"source": "demo"}}, overrides))
