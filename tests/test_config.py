"""Settings: precedence, every kind of mistake in its own words, and values that pass unharmed."""

import decimal
import enum
import json
import math
import re
import string
import sys
from pathlib import Path, PurePath
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textclf import config
from textclf.config import reading, resolution
from textclf.errors import ConfigError

SOURCE = "data:\n  source: a.csv\n"


def problems(text: str, *overrides: str) -> tuple[str, ...]:
    """What is said about a file `f.yaml` with this text."""
    with pytest.raises(ConfigError) as error:
        config.from_yaml(text, overrides, place="f.yaml")
    return error.value.problems


def resolved(*overrides: str, **sections: dict) -> config.Config:
    sections.setdefault("data", {"source": "a.csv"})
    return config.from_dict(sections, overrides)[0]


# === Mistakes ===

NOWHERE = (
    "data.source: nothing says where the texts are; set data.source to a file, a folder, "
    "tfds:NAME or demo, or data.train to a file"
)
NAMES = "data, text, model, training, evaluation, export"
WHOLE = "expected a whole number of at least 1 and at most 8192"

IN_FILE: dict[str, tuple[str, ...]] = {
    "an empty file": ("", f"f.yaml: {NOWHERE}"),
    "a section that is commented out": ("model:\n  # units: 3\n", f"f.yaml: {NOWHERE}"),
    "a list": ("- a", "f.yaml: expected sections such as `data:` and `model:`, found ['a']"),
    "a word": ("a", "f.yaml: expected sections such as `data:` and `model:`, found 'a'"),
    "a list for a section": (
        SOURCE + "model: [units]",
        "f.yaml:3: model: expected settings below it, found ['units']",
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
        "f.yaml:3: epochs: unknown section; it is a setting of training: write it below "
        "`training:`",
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
    "a setting like no other": (
        SOURCE + "export:\n  zzz: 3",
        "f.yaml:4: export.zzz: unknown setting; export has golden_texts",
    ),
    "a name that is not printable": (
        SOURCE + 'export:\n  "a\\nb": 3',
        "f.yaml:4: export.'a\\nb': unknown setting; export has golden_texts",
    ),
    "a misspelt choice": (
        SOURCE + "model: {encoder: LSTMM}",
        "f.yaml:3: model.encoder: expected one of simple_rnn, lstm, gru, bag or package.module:function, found 'LSTMM'; did "
        "you mean lstm?",
    ),
    "null for a choice": (
        SOURCE + "model: {encoder: null}",
        "f.yaml:3: model.encoder: expected one of simple_rnn, lstm, gru, bag or package.module:function, found null",
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
    "a number without end": (
        SOURCE + "model: {l2: .inf}",
        "f.yaml:3: model.l2: expected a number of at least 0, found inf",
    ),
    "no number": (
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
    "a weight that is none": (
        SOURCE + "training: {class_weights: {a: x}}",
        "f.yaml:3: training.class_weights: expected none, balanced or a number of at least 0 for "
        "each class, found {'a': 'x'}",
    ),
    "a misspelt word for weights": (
        SOURCE + "training: {class_weights: balance}",
        "f.yaml:3: training.class_weights: expected none, balanced or a number of at least 0 for "
        "each class, found 'balance'; did you mean balanced?",
    ),
    "a long value": (
        SOURCE + f"model: {{encoder: {'x' * 1000}}}",
        "f.yaml:3: model.encoder: expected one of simple_rnn, lstm, gru, bag or package.module:function, found '"
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
        "f.yaml:3: not valid YAML: mapping values are not allowed here; put a text that holds "
        "`: ` in quotes",
    ),
    "an unclosed bracket": (
        SOURCE + "  text_columns: [a\n",
        "f.yaml:4: not valid YAML: expected ',' or ']', but got '<stream end>'",
    ),
    "two documents": (
        SOURCE + "---\n" + SOURCE,
        "f.yaml:3: not valid YAML: expected a single document in the stream but found another "
        "document; keep one and put the other into a file of its own",
    ),
    "a NUL": (
        SOURCE + "\n\x00",
        "f.yaml:4: not valid YAML: the character U+0000 cannot stand in a YAML file",
    ),
    "deep nesting": ("[" * 600, "f.yaml:1: not valid YAML: nested too deeply"),
    "a tag": (
        SOURCE + "model: {units: !!python/int 3}",
        f"f.yaml:3: model.units: {WHOLE}, found '3'",
    ),
    "a tag of one's own": (
        SOURCE + "model: {units: !many 3}",
        "f.yaml:3: model.units: the tag !many means nothing here; remove it",
    ),
    "a tag in a section that stands twice": (
        SOURCE + "text: {keep: !x end}\ntext: {}",
        "f.yaml:3: text.keep: the tag !x means nothing here; remove it",
        "f.yaml:4: text: is set a second time, after line 3; remove one of them",
    ),
    "a tag where settings should be": (
        SOURCE + "text: [!x end]",
        "f.yaml:3: text.0: the tag !x means nothing here; remove it",
        "f.yaml:3: text: expected settings below it, found ['end']",
    ),
    "a value that holds itself": (
        SOURCE + "export: {golden_texts: &x [a, *x]}",
        "f.yaml:3: export.golden_texts.1: stands for a value that holds itself; write it out",
    ),
    "a setting that stands twice": (
        SOURCE + "  source: b.csv",
        "f.yaml:3: data.source: is set a second time, after line 2; remove one of them",
    ),
    "a section that stands twice": (
        "data: {}\n" + SOURCE,
        "f.yaml:2: data: is set a second time, after line 1; remove one of them",
    ),
    "a collection for a name": (
        SOURCE + "? [a, b]\n: c",
        "f.yaml:3: expected a name before the colon, found a collection",
    ),
    "a setting that its kind ignores": (
        SOURCE + "model: {reset_after: true}",
        "f.yaml:3: model.reset_after: has no effect, because model.encoder is lstm; it is read "
        "only if model.encoder is gru; remove it or change that",
    ),
    "a setting that a computed kind ignores": (
        "data: {source: a.jsonl, delimiter: ;}",
        "f.yaml:1: data.delimiter: has no effect, because data.format is jsonl; it is read only "
        "if data.format is csv or tsv; remove it or change that",
    ),
    "layer normalisation of one layer": (
        SOURCE + "model: {layer_norm: true}",
        "f.yaml:3: model.layer_norm: has no effect, because model.num_layers is 1; it is read "
        "only if model.num_layers is at least 2; remove it or change that",
    ),
    "a split beside a single file": (
        SOURCE + "  test: b.csv",
        "f.yaml:3: data.test: has no effect, because data.source is a single file, which is split "
        "by fraction; it is read only if there is no data.source and each split is a file; remove "
        "it or change that",
    ),
    "a folder for a split": (
        "data: {train: 'tfds:imdb_reviews'}",
        "f.yaml:1: data.train: expected a file; a folder, a tfds data set or the demo holds all "
        "splits: name it as data.source",
    ),
    "nothing to train on": ("data: {test: a.csv}", f"f.yaml: {NOWHERE}"),
    "a test that is also train": (
        "data: {train: a.csv, test: ./a.csv}",
        "f.yaml:1: data.test: './a.csv' is data.train already; what is chosen or tested on one "
        "split must not stand in another",
    ),
    "fractions that leave no train": (
        SOURCE + "  test_fraction: 0.5\n  validation_fraction: 0.5",
        "f.yaml:3: data.test_fraction: leaves nothing for train together with "
        "data.validation_fraction; expected a sum below 1",
    ),
    "an unknown encoding": (
        SOURCE + "  encoding: utf8x",
        "f.yaml:3: data.encoding: Python knows no text encoding 'utf8x'; expected one such as "
        "utf-8, utf-16, gb18030, big5, shift_jis or cp1252; did you mean utf-8?",
    ),
    "an encoding of no text": (
        SOURCE + "  encoding: base64",
        "f.yaml:3: data.encoding: Python knows no text encoding 'base64'; expected one such as "
        "utf-8, utf-16, gb18030, big5, shift_jis or cp1252",
    ),
    "a quote between columns": (
        SOURCE + "  delimiter: '\"'",
        'f.yaml:3: data.delimiter: a " cannot both quote columns and stand between them; set '
        "data.quoting to none",
    ),
    "names in two places": (
        SOURCE + "  class_names: [a, b]\n  class_names_file: names.txt",
        "f.yaml:4: data.class_names_file: class names come from data.class_names already; remove "
        "one of them",
    ),
    "numbers without names": (
        SOURCE + "  label_ids: from_one",
        "f.yaml:3: data.label_ids: numbers need names: set data.class_names or "
        "data.class_names_file",
    ),
    "a class named twice": (
        SOURCE + "  class_names: [a, b, a]",
        "f.yaml:3: data.class_names: 'a' is named twice; remove one of them",
    ),
    "one class": (
        SOURCE + "  class_names: [a]",
        "f.yaml:3: data.class_names: one class leaves nothing to tell apart; expected at least "
        "two, or data.multi_label",
    ),
    "weights of other classes": (
        SOURCE + "  class_names: [a, b]\ntraining: {class_weights: {a: 1, c: 2}}",
        "f.yaml:4: training.class_weights: expected a weight for each of a, b; found a, c",
    ),
    "a bag's last state": (
        SOURCE + "model: {encoder: bag, pooling: last}",
        "f.yaml:3: model.pooling: a bag has no order and so no last; expected one of max, mean, "
        "max_mean, attention",
    ),
    "frozen noise": (
        SOURCE + "model: {train_embedding: false}",
        "f.yaml:3: model.train_embedding: vectors that begin at random must be trained; set "
        "model.embedding_vectors or remove this",
    ),
}


@pytest.mark.parametrize("kind", IN_FILE)
def test_a_mistake_in_a_file_is_one_clear_sentence(kind: str) -> None:
    text, *sentences = IN_FILE[kind]
    assert problems(text) == tuple(sentences)


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
        "--set model.encoder: expected one of simple_rnn, lstm, gru, bag or package.module:function, found 'GRU'; did you "
        "mean gru?"
    ),
    "data.text_columns=[a": (
        "--set data.text_columns: cannot read '[a' (not valid YAML: expected ',' or ']', but got "
        "'<stream end>')"
    ),
    "training.class_weights={a: b}": (
        "--set training.class_weights: expected none, balanced or a number of at least 0 for each "
        "class, found {'a': 'b'}"
    ),
    "model.reset_after=true": (
        "--set model.reset_after: has no effect, because model.encoder is lstm; it is read only "
        "if model.encoder is gru; remove it or change that"
    ),
    "data.source=": f"--set {NOWHERE}",
}


@pytest.mark.parametrize("override", ON_COMMAND_LINE)
def test_a_mistake_in_an_override_is_one_clear_sentence(override: str) -> None:
    assert problems(SOURCE, override) == (ON_COMMAND_LINE[override],)


def test_all_mistakes_come_at_once_in_the_order_of_the_file_and_then_the_overrides() -> None:
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
    found = [
        problem.split(": ")[0] for problem in problems(text, "text.keep=middle", "model.l1=-1")
    ]
    lines = [4, 5, 7, 9, 11, 12, 13]
    assert found == [f"f.yaml:{line}" for line in lines] + ["--set text.keep", "--set model.l1"]


def test_a_wrong_setting_does_not_bring_forth_others() -> None:
    text = SOURCE + "model: {encoder: grru, reset_after: true, pooling: last}\n"
    assert len(problems(text)) == 1
    assert len(problems("data: {sorce: a.csv}")) == 1
    assert len(problems("data: {source: folder, label_ids: from_one}")) == 1


def test_a_missing_file_is_named_with_the_likeliest_one(tmp_path: Path) -> None:
    (tmp_path / "reviews.yaml").write_text(SOURCE)
    with pytest.raises(ConfigError) as error:
        config.load(tmp_path / "review.yaml")
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
def test_a_file_that_is_no_text_is_refused(content: bytes, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        config.load(file)
    assert str(error.value) == sentence.replace("FILE", str(file))


def test_a_folder_or_no_path_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        config.load(tmp_path)
    assert str(error.value) == f"{tmp_path}: cannot be read (Is a directory); expected a YAML file"
    with pytest.raises(ConfigError):
        config.load("a\0b")


# === What YAML does to values ===


def test_a_byte_order_mark_and_foreign_line_ends_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + SOURCE.replace("\n", "\r\n").encode())
    assert config.load(file)[0].data.source == "a.csv"


def test_words_of_other_dialects_stay_texts() -> None:
    names = ["no", "on", "y", "2018-01-01", "1:30", "0o9"]
    text = SOURCE + f"  class_names: [{', '.join(names)}]\n"
    assert config.from_yaml(text)[0].data.class_names == names


TEXT_SETTINGS = [
    path
    for path, setting in config.SETTINGS.items()
    if str in setting.kinds or list[str] in setting.kinds
]


@pytest.mark.parametrize("path", TEXT_SETTINGS)
def test_a_text_setting_takes_a_scalar_of_a_file_as_it_is_written(path: str) -> None:
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
        found = values_of(f"{section}: {{{name}: {written}}}")[path]
        assert found == ([written] if is_list else written)
        # The same as --set, which takes every text as it stands.
        assert found == values_of("", f"{path}={written}")[path]
        if is_list:
            listed = values_of(f"{section}:\n  {name}:\n  - {written}\n  - a b\n")[path]
            assert listed == [written, "a b"]


def values_of(text: str, *overrides: str) -> dict[str, Any]:
    """What the settings of a file are, each taken by itself."""
    base = resolution.Layer({}, {})
    if text:
        parsed = reading.parse(text, "f.yaml", config.holds_text)
        assert parsed.problems == []
        base = resolution.Layer(parsed.value, parsed.places)
    found = resolution._Resolution(base, overrides, [])
    assert found.problems == []
    return {f"{s}.{n}": value for s, values in found._values.items() for n, value in values.items()}


@pytest.mark.parametrize("path", TEXT_SETTINGS)
def test_a_text_setting_takes_a_whole_number_of_python(path: str) -> None:
    section, name = path.split(".")
    is_list = list[str] in config.SETTINGS[path].kinds
    for number in (7, np.int64(7), enum.IntEnum("Size", {"X": 7}).X):
        checked = resolution._checked(path, number)
        assert checked == (["7"] if is_list else "7") and type(checked) in (str, list)
        if is_list:
            assert resolution._checked(path, (number, "a")) == ["7", "a"]
            assert resolution._checked(path, "a") == ["a"]
    # As texts, these can be written in several ways.
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
            resolution._checked(path, value)


def test_the_same_anchor_is_a_text_where_texts_are_and_a_number_where_numbers_are() -> None:
    text = (
        "data: {source: a.csv, class_names: [&one 1.0, b], label_column: *one}\n"
        "training: {class_weights: {'1.0': *one, b: 2}, clip_norm: *one}\n"
    )
    found = config.from_yaml(text)[0]
    assert (found.data.class_names, found.data.label_column) == (["1.0", "b"], "1.0")
    assert found.training.class_weights == {"1.0": 1.0, "b": 2.0}
    assert found.training.clip_norm == 1.0


def test_columns_and_classes_of_a_file_need_no_quotes_and_no_brackets() -> None:
    text = "data: {source: a.csv, text_columns: review, label_column: 2, class_names: [0, 1]}\n"
    found = config.from_yaml(text)[0]
    assert (found.data.text_columns, found.data.label_column) == (["review"], "2")
    assert found.data.class_names == ["0", "1"]
    assert config.from_yaml(config.to_yaml(found.to_dict())) == (found, [])
    values = {"source": "a.csv", "text_columns": "review", "label_column": 2, "class_names": [0, 1]}
    assert config.from_dict({"data": values}) == (found, [])


def test_numbers_and_words_are_classes_as_they_stand_where_they_are_keys() -> None:
    text = SOURCE + "training:\n  class_weights: {2018: 1, no: 2, true: 1e-1, 1.0: 0x10}\n"
    weights = {"2018": 1.0, "no": 2.0, "true": 0.1, "1.0": 16.0}
    assert config.from_yaml(text)[0].training.class_weights == weights


def test_anchors_and_merges_are_read() -> None:
    text = (
        "data: &d\n  source: &s a.csv\n  label_column: *s\n"
        "training: {seed: &n 3}\nevaluation: {<<: {seed: 4, length_bins: 2}, seed: *n}\n"
    )
    found = config.from_yaml(text)[0]
    assert (found.data.label_column, found.evaluation.seed) == ("a.csv", 3)
    assert found.evaluation.length_bins == 2


@pytest.mark.parametrize("is_list", [True, False])
def test_many_anchors_do_not_fill_the_memory(is_list: bool) -> None:
    layers = ""
    for i in range(9):
        parts = ", ".join(f"*a{i}" if is_list else f"{key}: *a{i}" for key in range(9))
        layers += f"a{i + 1}: &a{i + 1} " + (f"[{parts}]\n" if is_list else f"{{{parts}}}\n")
    found = problems(f"a0: &a0 x\n{layers}" + SOURCE + "  delimiter: *a9\n")
    assert max(map(len, found)) < 200
    assert any("data.delimiter" in problem for problem in found)


# === Overrides ===


def test_overrides_come_before_the_file_and_the_file_before_the_defaults() -> None:
    text = SOURCE + "model: {units: 3, num_layers: 4}\n"
    found, _ = config.from_yaml(text, ["model.units=5", "model.units=6"])
    assert (found.model.units, found.model.num_layers, found.model.embedding_dim) == (6, 4, 100)


def test_a_mistake_in_the_file_is_one_even_where_an_override_hides_it() -> None:
    assert problems(SOURCE + "model: {units: x}", "model.units=3") == (
        f"f.yaml:3: model.units: {WHOLE}, found 'x'",
    )


@pytest.mark.parametrize("character", sorted(set(string.printable) - set("\r\n")))
def test_every_printable_character_is_a_delimiter_or_separator_as_it_stands(character: str) -> None:
    found = resolved(
        f"data.delimiter={character}",
        "data.quoting=none",
        "data.multi_label=true",
        f"data.label_separator={character}",
        f"data.text_separator={character}",
    )
    assert found.data.delimiter == character
    assert found.data.label_separator == character
    assert found.data.text_separator == character


@pytest.mark.parametrize(
    "name", ["2018", "no", "null", "1e3", "~", "on", "true", "a=b", "{a}", "'"]
)
def test_a_name_is_a_name_whatever_it_looks_like(name: str) -> None:
    found = resolved(
        f"data.label_column={name}", f"data.text_columns={name}", f"export.golden_texts={name}"
    )
    assert found.data.label_column == name
    assert found.data.text_columns == [name]
    assert found.export.golden_texts == [name]


def test_in_brackets_all_entries_are_texts_as_they_stand() -> None:
    found = resolved(
        "data.text_columns=[2018, no, ~, 1e3, 'a, b', 007]",
        "data.class_names=[true, 1.0, null]",
        "export.golden_texts=[]",
    )
    assert found.data.text_columns == ["2018", "no", "~", "1e3", "a, b", "007"]
    assert found.data.class_names == ["true", "1.0", "null"]
    assert found.export.golden_texts == []


def test_three_escapes_are_read_and_no_others() -> None:
    text = r"a\tb\nc\\d\\te\xf\u0041\'"
    found = resolved(f"data.text_separator={text}")
    assert found.data.text_separator == "a\tb\nc\\d\\te\\xf\\u0041\\'"


def test_nothing_after_the_sign_clears_what_may_be_null() -> None:
    found, _ = config.from_dict(
        {"data": {"train": "a.csv", "test": "b.csv"}, "training": {"clip_norm": 3}},
        ["data.test=", "training.clip_norm=", "data.class_names="],
    )
    assert found.data.test is found.training.clip_norm is found.data.class_names is None


@given(st.text(max_size=20))
def test_any_text_passes_an_override_and_only_escapes_change(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    assert resolved(f"data.text_separator={escaped}").data.text_separator == text


# === What is read ===


def test_an_override_of_a_kind_drops_with_a_notice_what_the_file_set_for_the_old_one() -> None:
    text = (
        "data:\n  source: a.csv\n  test_fraction: 0.3\n  multi_label: true\n"
        "  label_separator: ;\nmodel:\n  encoder: gru\n  reset_after: false\n  units: 64\n"
    )
    found, notices = config.from_yaml(
        text, ["data.source=folder", "model.encoder=bag"], place="f.yaml"
    )
    assert notices == [
        "f.yaml:4: data.multi_label: dropped, because now data.format is folder",
        "f.yaml:5: data.label_separator: dropped, because now data.multi_label is false",
        "f.yaml:3: data.test_fraction: dropped, because now data.source has splits of its own",
        "f.yaml:8: model.reset_after: dropped, because now model.encoder is bag",
    ]  # and units without one: 64 is the default
    assert found.data.test_fraction == 0.1
    assert found.model.reset_after and not found.data.multi_label


def test_another_source_drops_the_files_or_names_of_the_old_ones_splits() -> None:
    files = {"data": {"train": "a.csv", "validation": "b.csv"}}
    for source in ("c.csv", "tfds:imdb_reviews", "demo"):
        found, notices = config.from_dict(files, [f"data.source={source}"])
        assert (found.data.train, found.data.validation) == (None, None)
        assert len(notices) == 2
    parts = {"data": {"source": "tfds:a", "train": "train[:9]"}}
    assert config.from_dict(parts, ["data.source=tfds:b"])[0].data.train == "train[:9]"


def test_what_was_ignored_before_the_override_too_is_a_mistake_still() -> None:
    found = problems(SOURCE + "model: {reset_after: true}", "model.encoder=simple_rnn")
    assert len(found) == 1 and found[0].startswith("f.yaml:3: model.reset_after: has no effect")


def test_an_ignored_setting_that_clears_another_is_none() -> None:
    found, _ = config.from_dict(
        {"data": {"train": "a.csv", "test": "t.csv"}},
        ["data.source=x.csv", "data.train=", "data.test="],
    )
    assert (found.data.source, found.data.train) == ("x.csv", None)


def test_a_trained_classifier_can_be_evaluated_without_train() -> None:
    assert config.from_dict({"data": {"test": "a.csv"}})[0].data.test == "a.csv"


@pytest.mark.parametrize("path", config.RULES)
def test_every_rule_leaves_its_setting_readable_somewhere(path: str) -> None:
    """Each rule's setting is accepted in one configuration and refused in another."""
    rule = config.RULES[path]
    section, name = path.split(".")
    other = {
        "data.multi_label": True,
        "data.label_ids": "from_one",
        "data.quoting": "none",
        "data.text_columns": ["a"],
        "training.momentum": 0.5,
    }
    value: Any = other.get(path)
    if value is None:
        default = config.SETTINGS[path].default
        value = ";" if default is None else default
    accepted = refused = 0
    for base in KINDS:
        values = {key: dict(settings) for key, settings in base.items()}
        values.setdefault(section, {}).setdefault(name, value)
        is_read = rule.state(values) in rule.read_in
        try:
            config.from_dict(values)
        except ConfigError as error:
            assert not is_read, error
            assert any(p.startswith(f"{path}: has no effect, because") for p in error.problems)
            refused += 1
        else:
            assert is_read
            accepted += 1
    assert accepted and refused


NAMED: dict[str, Any] = {"class_names": ["a", "b"]}
KINDS: list[dict[str, Any]] = [
    *({"data": {"source": s, **NAMED}} for s in ("a.csv", "a.jsonl", "a.parquet", "folder")),
    {"data": {"source": "demo", **NAMED}},
    {"data": {"source": "tfds:x", **NAMED}},
    {"data": {"source": "a.tsv.gz", "multi_label": True, **NAMED}},
    {"data": {"train": "a.csv", "validation": "b.csv", "test": "c.csv", **NAMED}},
    *(
        {"data": {"source": "a.csv", **NAMED}, "model": {"encoder": encoder}}
        for encoder in ("simple_rnn", "lstm", "gru", "bag")
    ),
    {"data": {"source": "a.csv", **NAMED}, "model": {"num_layers": 2}},
    *(
        {"data": {"source": "a.csv", **NAMED}, "training": {"optimizer": optimizer}}
        for optimizer in ("sgd", "rmsprop", "adam", "adamw")
    ),
    *(
        {"data": {"source": "a.csv", **NAMED}, "training": {"schedule": schedule}}
        for schedule in ("constant", "cosine", "exponential", "plateau")
    ),
]


# === Round trips ===


def _strategy(path: str) -> st.SearchStrategy:
    """Valid values of a setting, from its declaration alone."""
    setting = config.SETTINGS[path]
    limits: dict[str, Any] = {}
    for limit in setting.limits:
        bounds = {name: getattr(limit, name) for name in ("ge", "gt", "le", "lt")}
        limits |= {name: bound for name, bound in bounds.items() if bound is not None}
    found: list[st.SearchStrategy] = []
    for kind in setting.kinds:
        if get_origin(kind) is Literal:
            found.append(st.sampled_from(get_args(kind)))
        elif get_origin(kind) is list:
            found.append(st.lists(st.text(), min_size=2, max_size=3, unique=True))
        elif get_origin(kind) is dict:
            found.append(st.dictionaries(st.text(), st.floats(0, 10), min_size=1, max_size=3))
        elif kind is bool:
            found.append(st.booleans())
        elif kind is int:
            found.append(st.integers(limits.get("ge", 0), limits.get("le", 2**31 - 1)))
        elif kind is float:
            low, high = limits.get("gt", limits.get("ge")), limits.get("lt", limits.get("le", 1e9))
            found.append(
                st.floats(low, high, exclude_min="gt" in limits, exclude_max="lt" in limits)
            )
        elif kind is type(None):
            found.append(st.none())
        elif path == "data.delimiter":
            found.append(st.characters(exclude_characters='\r\n\0"', codec="utf-8"))
        elif path == "data.encoding":
            found.append(st.sampled_from(["utf-8", "gb18030", "latin-1"]))
        else:
            found.append(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1))
    return st.one_of(found)


@st.composite
def _valid(draw: st.DrawFn) -> config.Config:
    """A random configuration; whatever the mistakes name is left out until none is left."""
    sources = ["a.csv", "b.tsv", "c.jsonl", "d.parquet", "folder/", "tfds:x", "demo"]
    values: dict[str, dict[str, Any]] = {"data": {"source": draw(st.sampled_from(sources))}}
    drawn = [path for path in config.SETTINGS if path not in ("data.source", "data.format")]
    for path in draw(st.lists(st.sampled_from(drawn), unique=True, max_size=30)):
        section, name = path.split(".")
        values.setdefault(section, {})[name] = draw(_strategy(path))
    for _ in range(10):
        try:
            return config.from_dict(values)[0]
        except ConfigError as error:
            for problem in error.problems:
                assert "expected one of" not in problem or "model.pooling" in problem, problem
                section, name = problem.split(": ")[0].split(".")
                del values[section][name]
    raise AssertionError("the mistakes do not end")


@settings(max_examples=60, deadline=None)
@given(_valid())
def test_a_configuration_survives_its_dictionary_its_json_and_its_yaml(
    whole: config.Config,
) -> None:
    values = whole.to_dict()
    assert config.from_dict(values) == (whole, [])
    assert config.from_dict(json.loads(json.dumps(values))) == (whole, [])
    assert config.from_yaml(config.to_yaml(values)) == (whole, [])


def test_a_written_configuration_reads_well() -> None:
    values: dict[str, dict[str, Any]] = {
        "data": {
            "source": "${DATA}/a b.csv",
            "train": "${DATA}/a.csv",
            "text_columns": ["no", "ü"],
        },
        "text": {},
        "training": {"learning_rate": 1e-05, "class_weights": {"no": 1.0}, "clip_norm": None},
        "export": {"golden_texts": ['\u2028\x07"\\', "on"]},
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
        "export:\n"
        '  golden_texts: ["\\u2028\\u0007\\"\\\\", "on"]\n'
    )


# === Whatever is written ===

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


def _is_told_well(problem: str, place: str) -> bool:
    return problem.startswith(place) and "\n" not in problem and len(problem) < 700


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(config.SETTINGS)), _JUNK), max_size=3), _JUNK)
def test_whatever_a_file_holds_the_answer_is_sentences(
    written: list[tuple[str, str]], junk: str
) -> None:
    lines = [f"{path.split('.')[0]}:\n  {path.split('.')[1]}: {value}" for path, value in written]
    try:
        config.from_yaml("\n".join([*lines, junk]), place="f.yaml")
    except ConfigError as error:
        assert all(_is_told_well(problem, "f.yaml") for problem in error.problems)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.sampled_from(list(config.SETTINGS)), st.text()), st.one_of(_JUNK, st.text()))
def test_whatever_an_override_holds_the_answer_is_sentences(path: str, value: str) -> None:
    try:
        config.from_dict({"data": {"source": "a.csv"}}, [f"{path}={value}"])
    except ConfigError as error:
        assert all(_is_told_well(problem, "--set ") for problem in error.problems)


_PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(config.SETTINGS)), st.one_of(_PLAIN, st.integers(10**400, 10**401)))
def test_a_value_is_taken_as_it_is_or_refused(path: str, value: Any) -> None:
    section, name = path.split(".")
    values = {"data": {"source": "a.csv"}}
    values.setdefault(section, {})[name] = value
    try:
        found = getattr(getattr(config.from_dict(values)[0], section), name)
    except ConfigError as error:
        assert all("\n" not in problem for problem in error.problems)
    else:
        if path in TEXT_SETTINGS and value is not None:
            values = value if isinstance(value, list) else [value]
            expected = [str(item) if isinstance(item, int) else item for item in values]
            assert (found if isinstance(found, list) else [found]) == expected
        else:
            assert found == value or value is None
        assert isinstance(found, bool) == isinstance(value, bool)


@given(_PLAIN)
def test_sections_may_be_anything_at_all(value: Any) -> None:
    for values in (value, {"model": value}, {"data": {"source": "a.csv"}, "x": value}):
        try:
            config.from_dict(values)
        except ConfigError as error:
            assert error.problems


# === What others rely on ===


def test_the_choices_are_those_of_the_code_that_reads_them() -> None:
    from textclf import networks
    from textclf.data import tables

    assert set(config.choices("model.encoder")) == set(networks.ENCODERS)
    assert set(config.choices("model.pooling")) == set(networks.POOLINGS)
    assert set(config.choices("model.kernel_initializer")) == set(networks.INITIALIZERS)
    assert set(config.choices("model.recurrent_initializer")) == set(networks.INITIALIZERS)
    formats = {"auto", *tables.TABLE_FORMATS, "folder", "tfds", "demo"}
    assert set(config.choices("data.format")) == formats


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".CSV.GZ"])
def test_a_format_is_guessed_as_the_data_guess_it(ending: str) -> None:
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
)
def test_a_format_is_known_from_the_name_alone(section: dict, expected: str | None) -> None:
    assert config.data_format(section) == expected


def test_a_leading_variable_and_the_home_folder_are_resolved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEXTS", "/texts")
    monkeypatch.setenv("HOME", "/home/me")
    found = resolved(data={"train": "${TEXTS}/a.csv", "test": "~/b.csv", "validation": "${c}.csv"})
    with pytest.raises(ConfigError) as error:
        config.with_paths(found)
    assert error.value.problems == (
        "data.validation: the environment variable c in '${c}.csv' is not set; set it to the "
        "folder that is meant, for instance: export c=...",
    )
    monkeypatch.setenv("c", "x${TEXTS}")
    paths = config.with_paths(found).data
    assert (paths.train, paths.test) == ("/texts/a.csv", "/home/me/b.csv")
    assert paths.validation == "x${TEXTS}.csv"


@pytest.mark.parametrize("source", ["tfds:x", "folder/", "demo"])
def test_the_name_of_a_split_is_no_path(source: str) -> None:
    found = resolved(data={"source": source, "train": "~/train"})
    assert config.with_paths(found).data.train == "~/train"


def test_the_path_settings_are_these() -> None:
    assert (
        *("data.source", "data.train", "data.validation", "data.test", "data.class_names_file"),
        *("data.data_dir", "model.embedding_vectors", "training.cache_dir"),
    ) == config.PATH_SETTINGS


def test_the_schema_knows_every_setting_with_its_help_and_range() -> None:
    schema = config.json_schema()
    json.dumps(schema)
    for path in config.SETTINGS:
        section, name = path.split(".")
        found = schema["$defs"][section.capitalize()]["properties"][name]
        assert found["description"], path
        assert found["default"] == config.SETTINGS[path].default
        if "enum" in found:
            assert found["enum"] == list(config.choices(path))
    # What an editor shows is written for users: the help of each setting, a sentence a section.
    sentences = [schema["description"], *(part["description"] for part in schema["$defs"].values())]
    assert len(sentences) == 1 + len(config.SECTIONS)
    for sentence in sentences:
        assert re.fullmatch(r"[A-Z][\w ,:;-]+\.", sentence), sentence
    columns = schema["$defs"]["Data"]["properties"]["text_columns"]
    assert columns["type"] == ["array", "string", "number", "boolean"], "one text is a list too"
    assert schema["$defs"]["Model"]["properties"]["units"]["maximum"] == 8192
    assert schema["$defs"]["Model"]["additionalProperties"] is False


def test_every_default_is_right_and_described_in_words() -> None:
    for path in config.SETTINGS:
        section, name = path.split(".")
        default = getattr(getattr(config.Config(), section), name)
        assert default == config.SETTINGS[path].default
        config.Config.of({section: {name: default}})
        assert config.expected(path)


def test_numbers_and_texts_of_numpy_count_as_those_of_python() -> None:
    names = np.array(["good", "bad"])
    found = resolved(
        data={"source": "demo", "class_names": names},
        model={"units": np.int64(8), "bidirectional": np.bool_(False), "l2": np.float32(0.25)},
        training={"class_weights": dict(zip(names, np.array([1, 0.5]), strict=True))},
    )
    values = [found.data.class_names, found.model.units, found.model.bidirectional]
    assert json.dumps([*values, found.model.l2, found.training.class_weights]) == (
        '[["good", "bad"], 8, false, 0.25, {"good": 1.0, "bad": 0.5}]'
    )


def test_subclasses_of_plain_types_become_them() -> None:
    class Name(enum.StrEnum):
        UNITS = "units"
        GRU = "gru"

    found = resolved(
        data={"source": "a.csv", "label_column": Name.UNITS},
        model={Name.UNITS: enum.IntEnum("Size", {"X": 8}).X, "encoder": Name.GRU},
    )
    values = [found.data.label_column, found.model.units, found.model.encoder]
    assert values == ["units", 8, "gru"]
    assert [type(value) for value in values] == [str, int, str]
    assert resolved(model=dict(zip(np.array(["units"]), [8], strict=True))).model.units == 8


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.source", "\ud800.csv"),
        ("data.text_columns", ["\udcff"]),
        ("data.text_columns", {"a", "b"}),  # in no order
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
        pytest.param("training.max_steps", 10**5000, id="too long to be written"),
    ],
)
def test_what_no_file_could_hold_is_refused(path: str, value: Any) -> None:
    section, name = path.split(".")
    values = {"data": {"source": "a.csv"}, "model": {PurePath("units"): 3}}
    values.setdefault(section, {})[name] = value
    with pytest.raises(ConfigError) as error:
        config.from_dict(values)
    unknown, wrong = error.value.problems
    assert wrong.startswith(f"{path}: expected {config.expected(path)}, found ")
    assert unknown.startswith("model.\"PurePosixPath('units')\": unknown setting")


def test_a_list_got_from_a_configuration_is_its_own() -> None:
    config.Config().data.text_columns.append("x")
    resolved().data.text_columns.append("x")
    assert config.Config().data.text_columns == resolved().data.text_columns == ["text"]


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        resolved().model.units = 3  # type: ignore[misc]


def test_a_missing_package_and_a_missing_file_are_told_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
    overrides = ["training.tensorboard=true", "model.embedding_vectors=glove.txt"]
    chosen, _ = config.from_dict({"data": {"source": "demo"}}, overrides)
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
def test_vectors_of_another_width_are_told_before_the_long_work(
    tmp_path: Path, content: str, width: int
):
    path = tmp_path / "vectors.txt"
    path.write_text(content)
    overrides = [f"model.embedding_vectors={path}", "model.embedding_dim=50"]
    chosen, _ = config.from_dict({"data": {"source": "demo"}}, overrides)
    with pytest.raises(ConfigError, match=f"holds vectors of {width} numbers, .* to {width}$"):
        config.check_environment(chosen)
    overrides[1] = f"model.embedding_dim={width}"
    config.check_environment(config.from_dict({"data": {"source": "demo"}}, overrides)[0])
