"""Sources: files, folders, tensorflow-datasets and the demo, and errors of their settings."""

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import contents, error_of, good_csv, good_rows, write, write_csv

from textclf import config, data, demo
from textclf.errors import ConfigError, DataError


def test_opening_a_data_set_reports_rows_read_and_number_of_rows(tmp_path: Path) -> None:
    from pyarrow import parquet as pq
    from pyarrow import table

    rows = good_rows(20_000)
    plain = write_csv(tmp_path / "a.csv", [["text", "label"], *rows])
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(Path(plain).read_bytes()))
    parquet = str(tmp_path / "a.parquet")
    texts, labels = zip(*rows, strict=True)
    pq.write_table(table({"text": texts, "label": labels}), parquet)
    for path in (plain, str(packed), parquet):
        calls: list[tuple[str, int, int]] = []
        data.open_dataset(source=path, on_progress=lambda *call, calls=calls: calls.append(call))
        stages, done, totals = zip(*calls, strict=True)
        assert set(stages) == {"reading the data"}
        assert list(done) == [0, 4096, 8192, 12288, 16384, len(rows)], path
        assert all(abs(total - 20_000) < 200 for total in totals), (path, totals)


def test_several_text_columns_are_joined(tmp_path: Path) -> None:
    rows = [["title", "id", "body", "stars"], ["A", "1", "b", "5"], ["C", "2", "d", "1"]]
    path = write_csv(tmp_path / "a.csv", rows)
    for columns in (["title", "body"], ["1", "3"]):
        dataset = data.open_dataset(
            train=path,
            validation=path,
            text_columns=columns,
            label_column="stars",
            text_separator=" | ",
        )
        assert contents(dataset, "train") == [("A | b", ("5",)), ("C | d", ("1",))]


def test_a_column_named_by_a_number_precedes_a_column_position(
    tmp_path: Path,
) -> None:
    rows = [["label", "text", " 1"], ["x", "t", "y "], ["x", "t", " z"]]
    path = write_csv(tmp_path / "a.csv", rows)
    dataset = data.open_dataset(train=path, validation=path, label_column="1")
    assert dataset.class_names == ("y", "z")


def test_a_folder_tree_is_read_in_sorted_order(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        for label in ("pos", "neg", ".hidden"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in (2, 1):
                write(tmp_path / split / label / f"{number}.txt", f"{split} {label} {number}")
            write(tmp_path / split / label / "notes.md", "not a text")
    dataset = data.open_dataset(source=str(tmp_path))
    assert dataset.class_names == ("neg", "pos")
    assert contents(dataset, "train") == [
        (f"train {label} {number}", (label,)) for label in ("neg", "pos") for number in (1, 2)
    ]
    assert dataset.location("validation", 2) == str(tmp_path / "dev" / "pos" / "1.txt")


def test_the_demo_source_yields_the_texts_of_the_generator() -> None:
    dataset = data.open_dataset(source="demo")
    assert set(dataset.splits) == set(demo.NUM_EXAMPLES)
    assert dataset.class_names == demo.CLASS_NAMES
    made = [(text, (label,)) for text, label in demo.examples("validation")]
    assert contents(dataset, "validation") == made


def test_open_dataset_accepts_a_section_or_single_settings(tmp_path: Path) -> None:
    path = good_csv(tmp_path / "a.csv")
    section = config.Data(source=path, class_names=["pos", "neg"], split_seed=3)
    dataset = data.open_dataset(section)
    single = data.open_dataset(source=tmp_path / "a.csv", class_names=("pos", "neg"), split_seed=3)
    assert dataset.class_names == ("pos", "neg")
    assert dataset.fingerprint == single.fingerprint
    with pytest.raises(TypeError, match="not both"):
        data.open_dataset(section, split_seed=4)
    with pytest.raises(DataError, match="no column 'body'"):
        data.check_sources(config.Data(source=path, text_columns=["body"]))


def test_reading_csv_imports_neither_tensorflow_nor_pyarrow(tmp_path: Path) -> None:
    code = (
        "import sys; from textclf import data; data.open_dataset(source=sys.argv[1])\n"
        "print([m for m in ('tensorflow', 'keras', 'tensorflow_datasets', 'pyarrow', 'sklearn')"
        " if m in sys.modules])\n"
    )
    path = good_csv(tmp_path / "a.csv")
    answer = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n"


def test_errors_of_all_sources_and_settings_are_reported_together(tmp_path: Path) -> None:
    good_csv(tmp_path / "train.csv")
    here = f"{tmp_path}{os.sep}"
    error = error_of(train=here + "trian.csv", validation=here + "x.csv", test=here + "no/x.csv")
    assert error.split("\n") == [
        f"{here}trian.csv: no such file; did you mean 'train.csv'?",
        f"{here}x.csv: no such file",
        f"{here}no/x.csv: no such file: the folder {here}no does not exist",
    ]
    with pytest.raises(DataError) as caught:
        data.check_sources(
            train=here + "trian.csv", validation=here + "x.txt", label_ids="from_one"
        )
    assert [line.split(": ")[0] for line in str(caught.value).split("\n")] == [
        f"{here}x.txt",
        f"{here}trian.csv",
        "data.label_ids=from_one needs the names that the ids count; set data.class_names or "
        "data.class_names_file",
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "no data: set data.source, or data.train, data.validation, data.test"),
        ({"source": "{good}", "train": "{good}"}, "is one file for all splits, and data.train is"),
        ({"test": "{good}"}, "data.train is missing"),
        ({"train": "{folder}"}, "a folder, expected a file"),
        ({"source": "{folder}/empty"}, "no folders in it, expected split/label/*.txt"),
        ({"source": "{folder}"}, "no folder named train; found empty"),
        ({"source": "{folder}", "train": "emty"}, "no folder named 'emty' (data.train); found"),
        ({"source": "{folder}", "train": "empty"}, "no folders, expected one for each label"),
        (
            {"source": "{unknown}"},
            "no format is known for the ending '.txt'; use --set data.format=",
        ),
        ({"source": "{folder}/none.txt"}, "none.txt: no such file"),
        ({"train": "tfds:x"}, "data.train=tfds:x is not a file; set data.source=tfds:x"),
        ({"train": "{good}", "format": "tfds"}, "data.format=tfds needs data.source"),
        ({"source": "{good}", "format": "folder"}, "a file, expected a folder"),
        ({"source": "demo", "test": "tets"}, "no split named 'tets' (data.test); found train, val"),
        (
            {"source": "{good}", "class_names": ["a", "b"], "class_names_file": "x"},
            "data.class_names and data.class_names_file are both set; drop one",
        ),
        ({"source": "{good}", "class_names_file": "{folder}/x"}, "x: no such file"),
    ],
)
def test_open_dataset_refuses_settings_without_a_usable_source(
    tmp_path: Path, options: dict[str, Any], expected: str
) -> None:
    (tmp_path / "tree" / "empty").mkdir(parents=True)
    (tmp_path / "a.txt").write_text("good")
    names = {
        "good": good_csv(tmp_path / "good.csv"),
        "folder": str(tmp_path / "tree"),
        "unknown": str(tmp_path / "a.txt"),
    }
    filled = {k: v.format(**names) if isinstance(v, str) else v for k, v in options.items()}
    assert expected in error_of(**filled)
    with pytest.raises(DataError) as caught:
        data.check_sources(**filled)
    assert expected in str(caught.value)


def test_invalid_arguments_of_open_dataset_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        data.open_dataset(sorce="a.csv", format="cvs", delimiter=";;", test_fraction=2)
    assert str(caught.value).split("\n") == [
        "data.sorce: unknown setting; did you mean 'source'?",
        "data.format: expected one of auto, csv, tsv, jsonl, json, parquet, folder, tfds, demo, "
        "found 'cvs'",
        "data.delimiter: expected one character (no line break) or null, found ';;'",
        "data.test_fraction: expected a number above 0 and below 1, found 2",
    ]


def test_check_sources_reads_only_the_first_rows(tmp_path: Path) -> None:
    # The file is longer than one read from the disk, and the error is in its last row.
    path = write_csv(tmp_path / "a.csv", [*good_rows(20_000), ["one", "two", "three"]])
    data.check_sources(source=path)
    assert "a.csv:20002: 3 fields, expected 2" in error_of(source=path)


def test_an_unreadable_data_file_is_refused(tmp_path: Path) -> None:
    path = good_csv(tmp_path / "a.csv")
    os.chmod(path, 0)
    code = (
        "import os, sys; from textclf import data, errors\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "try: data.open_dataset(source=sys.argv[1])\n"
        "except errors.DataError as error: print(error)\n"
    )
    try:
        answer = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
        )
    finally:
        os.chmod(path, 0o600)
    assert answer.stdout == (
        f"{path}: no permission to read the file; change its mode or its owner\n"
    )


def test_a_missing_tfds_data_set_is_not_downloaded(tmp_path: Path) -> None:
    error = error_of(source="tfds:imdb_reviews", data_dir=str(tmp_path))
    assert f"tfds:imdb_reviews: not in {tmp_path}, and textclf downloads nothing" in error
    assert f"tfds.load('imdb_reviews', data_dir='{tmp_path}')\"" in error
    assert "did you mean 'imdb_reviews'?" in error_of(source="tfds:imdb_reviewz")


@pytest.mark.slow
def test_a_prepared_tfds_data_set_is_read(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    class Opinions(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            names = tfds.features.ClassLabel(names=["odd", "even"])
            features = {
                "title": tfds.features.Text(),
                "text": tfds.features.Text(),
                "tags": tfds.features.Sequence(names),
                "stars": np.int64,
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, downloads: Any) -> Any:
            return {"train": self._generate_examples(), "dev": self._generate_examples()}

        def _generate_examples(self) -> Any:
            for i in range(6):
                tags = ["even", "odd"][: i % 3]
                yield i, {"title": f"é{i}", "text": f"t{i}", "tags": tags, "stars": 1 + i % 2}

    builder = Opinions(data_dir=str(tmp_path))
    builder.download_and_prepare()
    options: dict[str, Any] = {"source": "tfds:opinions", "data_dir": str(tmp_path)}
    dataset = data.open_dataset(**options, label_column="tags", multi_label=True)
    assert dataset.class_names == ("even", "odd")
    tags = [(), ("even",), ("even", "odd")] * 2
    expected = [(f"t{i}", tags[i]) for i in range(6)]
    assert sorted(contents(dataset, "validation")) == expected
    dataset = data.open_dataset(
        **options,
        text_columns=["title", "text"],
        label_column="stars",
        label_ids="from_one",
        class_names=["bad", "good"],
    )
    expected = [(f"é{i} t{i}", (("bad", "good")[i % 2],)) for i in range(6)]
    assert sorted(contents(dataset, "train")) == expected
    error = error_of(**options, text_columns=["txt"], label_column="tag", test="tset")
    assert "tfds:opinions: no split named 'tset' (data.test); found train, dev" in error
    error = error_of(**options, text_columns=["txt"], label_column="tag")
    assert (
        "no feature 'txt'; found title, text, tags, stars; use --set 'data.text_columns=[text]'"
        in error
    )
    assert (
        "no feature 'tag'; found title, text, tags, stars; use --set data.label_column=tags"
        in error
    )
