"""The data set: examples, locations, fingerprint, and memory."""

import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from data_files import good_csv, write, write_csv

from textclf import data
from textclf.errors import DataError


def test_place_of_an_example_is_the_first_line_of_its_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"one\n\ntwo",x\n\nthree,y\n"a\nb",x\nc,y\n')
    dataset = data.open_dataset(train=path, validation=path)
    assert [dataset.location("train", row) for row in range(4)] == [
        f"{path}:{line}" for line in (2, 6, 7, 9)
    ]


def test_field_of_an_example_is_its_joined_text(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "a.csv", [["title", "body", "label"], ["a", "b", "x"], ["c", "d", "y"]]
    )
    dataset = data.open_dataset(train=path, validation=path, text_columns=["title", "body"])
    first = next(dataset.examples("train"))
    assert first == (0, {"text": "a b"}, (0,))
    assert first.text == "a b"


def test_a_data_file_changed_after_opening_is_refused(tmp_path: Path) -> None:
    path = good_csv(tmp_path / "a.csv")
    dataset = data.open_dataset(source=path)
    before = os.stat(path)
    assert len(list(dataset.examples("train"))) == 32
    # Same number of rows, another size: noticed before the first row.
    content = Path(path).read_text(encoding="utf-8")
    write(tmp_path / "a.csv", content.replace("text 38", "texts 38"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match=r"a\.csv: the data changed after they were checked"):
        next(dataset.examples("train"))
    # Same number of rows and size, another modification time.
    write(tmp_path / "a.csv", content.replace("text 38", "next 38"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(DataError, match="changed"):
        next(dataset.examples("train"))
    # Same size and time, one row less: noticed at the end.
    blank = "\n" * len("text 38,neg\n")
    write(tmp_path / "a.csv", content.replace("text 38,neg\n", blank))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path).st_size == before.st_size, "the stamp must not tell"
    with pytest.raises(DataError, match="changed"):
        list(dataset.examples("train"))


def test_fingerprint_of_a_dataset_depends_on_texts_labels_splits_and_class_names(
    tmp_path: Path,
) -> None:
    def fingerprint(content: str, **options: Any) -> str:
        path = write(tmp_path / "a.csv", "text,label\n" + content)
        return data.open_dataset(train=path, validation=path, **options).fingerprint

    base = fingerprint("a,x\nb,y\nc,x\n")
    assert base == fingerprint("a,x\nb,y\nc,x\n") and len(base) == 64
    assert base == fingerprint('"a","x"\n\nb,y\nc,x\n'), "how it is written does not matter"
    assert base != fingerprint("A,x\nb,y\nc,x\n"), "nothing is folded"
    assert base != fingerprint("a,x\nb,y\nc,y\n")
    assert base != fingerprint("a,x\nc,x\nb,y\n")
    assert base != fingerprint("a,x\nb,y\nc,x\n", class_names=["y", "x"])


def test_streaming_examples_needs_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with open(path, "w", encoding="utf-8") as file:
        file.write("text,label\n")
        for number in range(2_000):
            file.write(f"{number} {'ha' * 2_500},{number % 2}\n")
    size = path.stat().st_size
    data.open_dataset(source=good_csv(tmp_path / "b.csv"))  # imports before the measurement
    tracemalloc.start()
    try:
        dataset = data.open_dataset(source=str(path))
        assert tracemalloc.get_traced_memory()[1] < size / 10
        tracemalloc.reset_peak()
        assert sum(1 for _ in dataset.examples("train")) == 1_600
        assert tracemalloc.get_traced_memory()[1] < size / 10
    finally:
        tracemalloc.stop()


def test_open_dataset_keeps_no_texts_in_memory(tmp_path: Path) -> None:
    peaks = []
    data.open_dataset(source=good_csv(tmp_path / "b.csv"))  # imports before the measurement
    for num_rows in (10_000, 60_000):
        path = tmp_path / f"{num_rows}.csv"
        lines = (f"a text that is number {row},{row % 2}\n" for row in range(num_rows))
        path.write_text("text,label\n" + "".join(lines))
        tracemalloc.start()
        try:
            data.open_dataset(source=str(path), in_memory_rows=1)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # Temporary arrays are larger than this file, so the limit is below the size of a Python
    # string. benchmarks/memory.py measures the bytes per row with millions of rows.
    assert peaks[1] - peaks[0] < 50_000 * 100
