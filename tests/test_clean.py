"""Cleaned copies of data: only train loses rows, nothing else changes, the original never."""

import contextlib
import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from data_files import contents, write, write_csv
from planted import edited, sentence

from textclf import audit, data
from textclf.audit.near_duplicates import similarity
from textclf.cli import main
from textclf.config import Config, with_paths
from textclf.errors import ArtifactError, DataError

LABELS = ("bad", "good")


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def rows_of(number: int = 60, first: int = 0) -> list[list[str]]:
    return [[sentence(first + i, 8), LABELS[i % 2]] for i in range(number)]


def write_config(folder: Path, extra: str = "") -> Path:
    """Write a configuration of train, validation and test with planted rows, and return its path.

    Train has at rows 62 to 65: a leak of test, a leak of validation, a duplicate, a conflict.
    """
    train, test, dev = rows_of(), rows_of(8, first=100), rows_of(8, first=200)
    train += [test[3], [dev[2][0].upper(), "good"], train[5], [train[6][0], "good"]]
    for name, rows in (("train", train), ("test", test), ("dev", dev)):
        write_csv(folder / f"{name}.csv", [["text", "label"], *rows])
    lines = "data:\n  train: train.csv\n  validation: dev.csv\n  test: test.csv\n"
    return Path(write(folder / "rows.yaml", lines + extra))


def opened(lines: str) -> data.Dataset:
    """Return the data set that the printed lines read."""
    return data.open_dataset(with_paths(Config.from_yaml(lines)).data)


def test_leaks_and_duplicates_are_dropped_from_train_only(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    result = run("data", "clean", config, tmp_path / "out", "--drop-leaks", "--dedupe")
    assert result.exit_code == 0, result.stderr
    lines = before["train.csv"].splitlines(keepends=True)
    assert (tmp_path / "out/train.csv").read_bytes() == b"".join([*lines[:61], lines[64]])
    assert (tmp_path / "out/validation.csv").read_bytes() == before["dev.csv"]
    assert (tmp_path / "out/test.csv").read_bytes() == before["test.csv"]
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before
    with open(tmp_path / "out/dropped.csv", newline="") as file:
        dropped = list(csv.reader(file))
    assert dropped == [
        ["row", "reason", "like"],
        [f"{tmp_path}/train.csv:62", "leak", f"{tmp_path}/test.csv:5"],
        [f"{tmp_path}/train.csv:63", "leak", f"{tmp_path}/dev.csv:4"],
        [f"{tmp_path}/train.csv:64", "duplicate", f"{tmp_path}/train.csv:7"],
    ]
    findings = opened(result.stdout).findings
    assert not findings.shared and not findings.duplicates.get("test")
    assert findings.conflicting_labels.count == 1, "conflicting labels are left alone"


def test_conflicting_labels_are_left_alone_and_reported(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    result = run("data", "clean", config, tmp_path / "out", "--drop-leaks", "--dedupe")
    assert (
        f"1 text of train with different labels left alone; correct them: "
        f"{tmp_path}/train.csv:8 (bad) = {tmp_path}/train.csv:65 (good)"
    ) in result.stderr
    assert "train: 64 rows, 3 dropped (2 leaks, 1 duplicate; " in result.stderr
    assert "1 of the leaks have another label in validation or test" in result.stderr


def test_rows_without_text_are_no_leaks_and_no_duplicates(tmp_path: Path) -> None:
    for name, empty in (("train", ["bad", "bad", "good"]), ("test", ["good"]), ("dev", [])):
        rows = [*rows_of(first=100 * len(empty)), *[[" ", label] for label in empty]]
        write_csv(tmp_path / f"{name}.csv", [["text", "label"], *rows])
    lines = "data:\n  train: train.csv\n  validation: dev.csv\n  test: test.csv\n"
    config = write(tmp_path / "rows.yaml", lines)
    options = ("--drop-leaks", "--dedupe", "--near", "--json")
    values = json.loads(run("data", "clean", config, tmp_path / "out", *options).stdout)
    assert values["rows_before"] == values["rows_after"] == 63
    assert values["conflicts"] == 0


def test_all_rows_of_a_text_with_different_labels_are_left_alone(tmp_path: Path) -> None:
    config, text = write_config(tmp_path), sentence(900, 8)
    with open(tmp_path / "train.csv", "a", newline="") as file:
        rows = [[text, label] for label in ("bad", "good", "bad", "bad")]
        csv.writer(file, lineterminator="\n").writerows([*rows, ["", "bad"], ["", "good"]])
    result = run("data", "clean", config, tmp_path / "out", "--dedupe", "--json")
    copied = (tmp_path / "out/train.csv").read_text().count(text)
    assert copied == 4, "the right label is not known, so no row of the text is a duplicate"
    assert json.loads(result.stdout)["conflicts"] == 2, "empty texts are no conflict"


@pytest.mark.parametrize(("option", "dropped"), [("--drop-leaks", {62, 63}), ("--dedupe", {64})])
def test_each_option_drops_only_its_rows(tmp_path: Path, option: str, dropped: set[int]) -> None:
    result = run("data", "clean", write_config(tmp_path), tmp_path / "out", option, "--json")
    values = json.loads(result.stdout)
    assert values["rows_before"] - values["rows_after"] == len(dropped)
    listed = (tmp_path / "out/dropped.csv").read_text().splitlines()[1:]
    assert {int(line.split(",")[0].rpartition(":")[2]) for line in listed} == dropped


def test_printed_lines_keep_the_other_settings_and_read_the_copy_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path, "  rename_labels: {bad: negative}\n")
    monkeypatch.chdir(tmp_path)
    result = run("data", "clean", config.name, "out", "--dedupe")
    (tmp_path / "elsewhere").mkdir()
    written = write(tmp_path / "elsewhere/clean.yaml", result.stdout)
    monkeypatch.chdir(tmp_path / "elsewhere")
    dataset = data.open_dataset(with_paths(Config.load(written)).data)
    assert dataset.class_names == ("good", "negative")
    assert dataset.splits["train"].num_examples == 63
    assert dataset.location("test", 0) == f"{tmp_path}/out/test.csv:2"


def test_near_drops_nearly_equal_rows_too(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    rows = rows_of()
    near = [
        [" ".join(edited(sentence(103, 8).split(), 1, 0.13)), "good"],  # like a row of test
        [" ".join(edited(rows[9][0].split(), 1, 0.13)), "good"],  # like a row of train
        [" ".join(edited(rows[11][0].split(), 1, 0.13)), "bad"],  # with another label
    ]
    with open(tmp_path / "train.csv", "a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(near)
    result = run("data", "clean", config, tmp_path / "out", "--drop-leaks", "--dedupe", "--near")
    listed = (tmp_path / "out/dropped.csv").read_text()
    assert f"{tmp_path}/train.csv:66,near leak,{tmp_path}/test.csv:5\n" in listed
    assert f"{tmp_path}/train.csv:67,near-duplicate,{tmp_path}/train.csv:11\n" in listed
    assert "train.csv:68" not in listed, result.stderr


def test_near_compares_validation_too_and_drops_no_row_for_a_dropped_one(tmp_path: Path) -> None:
    config, words = write_config(tmp_path), sentence(900, 20).split()
    once = [f"ab{i}" if i < 5 else word for i, word in enumerate(words)]
    twice = [f"cd{i}" if i > 14 else word for i, word in enumerate(once)]
    near = [
        [" ".join(edited(sentence(203, 8).split(), 1, 0.13)), "good"],  # like a row of validation
        *([" ".join(part), "good"] for part in (words, once, twice)),
    ]
    assert similarity(near[1][0], near[2][0]) >= 0.5 <= similarity(near[2][0], near[3][0])
    assert similarity(near[1][0], near[3][0]) < 0.5
    with open(tmp_path / "train.csv", "a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(near)
    run("data", "clean", config, tmp_path / "out", "--drop-leaks", "--dedupe", "--near")
    listed = (tmp_path / "out/dropped.csv").read_text()
    assert f"{tmp_path}/train.csv:66,near leak,{tmp_path}/dev.csv:5\n" in listed
    assert f"{tmp_path}/train.csv:68,near-duplicate,{tmp_path}/train.csv:67\n" in listed
    assert "train.csv:69" not in listed, "only a dropped row is nearly equal to it"
    few = run("data", "clean", config, tmp_path / "few", "--dedupe", "--near", "--near-rows", 0)
    assert "near-duplicate" not in (tmp_path / "few/dropped.csv").read_text(), few.stderr


# === Formats ===


def planted_rows(number: int = 40) -> list[tuple[str, str]]:
    """Return rows of one file with three duplicates of row 4."""
    rows = [(f'{sentence(i, 6)}, "so" \u00e9', LABELS[i % 2]) for i in range(number)]
    return [*rows, rows[4], rows[4], rows[4]]


def assert_copy_is_whole(lines: str, rows: list[tuple[str, str]]) -> None:
    """Check that the copy has every text once, and its label."""
    copied = contents(opened(lines))
    assert sorted(copied) == sorted({(text, (label,)) for text, label in rows})


def test_one_file_becomes_a_file_for_each_split_with_the_same_rows(tmp_path: Path) -> None:
    rows = planted_rows()
    path = write_csv(tmp_path / "rows.csv", [["id", "text", "label"],
                                             *([i, *row] for i, row in enumerate(rows))])  # fmt: skip
    before = data.open_dataset(source=path)
    # Equal texts are in one split: only duplicates of train are dropped.
    result = run("data", "clean", path, tmp_path / "out", "--dedupe")
    copy = opened(result.stdout)
    for split in ("validation", "test"):
        assert contents(copy, split) == contents(before, split)
    assert set(contents(copy, "train")) == set(contents(before, "train"))
    assert len(contents(copy, "train")) == len(set(contents(before, "train")))
    header = (tmp_path / "out/train.csv").read_text().splitlines()[0]
    assert header == "id,text,label", "all columns are kept"


@pytest.mark.parametrize("format", ["csv", "multiline", "bom", "latin-1", "gz", "tsv", "jsonl",
                                    "json", "parquet"])  # fmt: skip
def test_every_format_keeps_all_columns_and_its_other_rows(tmp_path: Path, format: str) -> None:
    rows = planted_rows()
    options: list[str] = []
    if format == "multiline":
        rows = [(text.replace(",", ",\n\n"), label) for text, label in rows]
    ending = {"multiline": "csv", "bom": "csv", "latin-1": "csv", "gz": "csv.gz"}.get(
        format, format
    )
    path = tmp_path / f"rows.{ending}"
    records = [{"n": i, "text": text, "label": label} for i, (text, label) in enumerate(rows)]
    if ending in ("csv", "csv.gz"):
        content = Path(write_csv(tmp_path / "x", [["n", "text", "label"],
                                 *([*record.values()] for record in records)])).read_text("utf-8")  # fmt: skip
        if format == "latin-1":
            options = ["--set", "data.encoding=latin-1"]
        encoded = content.encode({"latin-1": "latin-1", "bom": "utf-8-sig"}.get(format, "utf-8"))
        path.write_bytes(gzip.compress(encoded) if format == "gz" else encoded)
    elif format == "tsv":
        write(
            path,
            "n\ttext\tlabel\n" + "".join(f"{r['n']}\t{r['text']}\t{r['label']}\n" for r in records),
        )
    elif format == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
    else:
        lines = "\n".join(json.dumps(record, ensure_ascii=False) for record in records) + "\n"
        write(path, lines if format == "jsonl" else json.dumps(records))
    config = write(tmp_path / "rows.yaml", f"data:\n  train: {path}\n")
    result = run("data", "clean", config, tmp_path / "out", "--dedupe", *options)
    assert result.exit_code == 0, result.stderr
    copy = opened(result.stdout)
    before = data.open_dataset(
        train=path, **({"encoding": "latin-1"} if format == "latin-1" else {})
    )
    assert contents(copy, "validation") == contents(before, "validation")
    kept = contents(copy, "train")
    assert len(kept) == len(set(kept)) and set(kept) == set(contents(before, "train"))
    table = copy.sources[0]
    read = [row for _, row in data.read_table(table, encoding="latin-1" if options else "utf-8")]
    assert [*read[0]] == ["n", "text", "label"] and len(read) == len(kept)
    assert Path(table).read_bytes().startswith(b"\xef\xbb\xbf") == (format == "bom")


def test_a_folder_of_texts_becomes_json_lines(tmp_path: Path) -> None:
    rows = [*planted_rows(), ("never mind", "good")]
    for index, (text, label) in enumerate(rows):
        folder = tmp_path / "texts" / ("train" if index != 4 else "test") / label
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / f"{index}.txt", text)
    result = run("data", "clean", tmp_path / "texts", tmp_path / "out", "--drop-leaks")
    assert result.exit_code == 0, result.stderr
    copy = opened(result.stdout)
    assert not copy.findings.shared
    assert_copy_is_whole(result.stdout, rows)


# === Refusals ===


def test_an_existing_folder_is_refused_and_overwrite_replaces_a_cleaned_copy(
    tmp_path: Path,
) -> None:
    config, out = write_config(tmp_path), tmp_path / "out"
    assert run("data", "clean", config, out, "--dedupe").exit_code == 0
    first = (out / "train.csv").read_bytes()
    again = run("data", "clean", config, out, "--drop-leaks")
    assert (again.exit_code, again.stdout) == (1, "")
    assert f"{out}: exists already; name another folder or add --overwrite" in again.stderr
    assert (out / "train.csv").read_bytes() == first
    assert run("data", "clean", config, out, "--drop-leaks", "--overwrite").exit_code == 0
    assert (out / "train.csv").read_bytes() != first
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    write(foreign / "notes.txt", "mine")
    refused = run("data", "clean", config, foreign, "--dedupe", "--overwrite")
    assert refused.exit_code == 1 and "was not written by textclf" in refused.stderr
    assert (foreign / "notes.txt").read_text() == "mine"


def test_a_copy_never_replaces_the_data_that_it_is_made_of(tmp_path: Path) -> None:
    config, out = write_config(tmp_path), tmp_path / "out"
    lines = run("data", "clean", config, out, "--dedupe").stdout
    again = write(tmp_path / "again.yaml", lines)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    refused = run("data", "clean", again, out, "--drop-leaks", "--overwrite")
    assert refused.exit_code == 1
    assert "contains the source" in refused.stderr
    assert "name another folder" in refused.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_all_mistakes_are_reported_before_the_work(tmp_path: Path) -> None:
    nothing = run("data", "clean", write_config(tmp_path), tmp_path / "out")
    assert nothing.exit_code == 2 and "nothing to clean; add --drop-leaks" in nothing.stderr
    write(tmp_path / "file", "x")
    both = run("data", "clean", tmp_path / "nope.csv", tmp_path / "file", "--dedupe")
    assert both.exit_code == 1 and both.stdout == ""
    assert "file: is a file" in both.stderr and "nope.csv: no such file" in both.stderr


def test_a_class_that_would_lose_all_rows_is_an_error_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    test = rows_of(4, first=100)
    train = [*rows_of(), [test[0][0], "rare"], [test[1][0], "rare"]]
    paths = {name: write_csv(tmp_path / f"{name}.csv", [["text", "label"], *rows])
             for name, rows in (("train", train), ("test", test), ("validation", rows_of(4, 300)))}  # fmt: skip
    dataset = data.open_dataset(**paths)
    with pytest.raises(DataError, match="train would keep no row of rare, because"):
        audit.clean(dataset, tmp_path / "out", drop_leaks=True, dedupe=True)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_the_former_copy_and_no_other_file(
    tmp_path: Path, full_disk: Callable[[int], contextlib.AbstractContextManager[None]]
) -> None:
    config, out = write_config(tmp_path), tmp_path / "out"
    run("data", "clean", config, out, "--dedupe")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    listing = sorted(path.name for path in tmp_path.iterdir())
    dataset = data.open_dataset(with_paths(Config.load(config)).data)
    with full_disk(100), pytest.raises(ArtifactError, match="cannot be written"):
        audit.clean(dataset, out, drop_leaks=True, dedupe=True, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == listing


def test_rows_without_a_label_that_are_skipped_stay_in_the_copy(tmp_path: Path) -> None:
    rows = [["text", "label"], *rows_of(), ["no label", ""]]
    path = write_csv(tmp_path / "rows.csv", rows)
    result = run("data", "clean", path, tmp_path / "out", "--dedupe")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "out/train.csv").read_text().splitlines()[-1] == "no label,"
    assert opened(result.stdout).findings.skipped_unlabelled == {"train": 1}


def test_bad_rows_are_refused_and_not_dropped_silently(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [["text", "label"], *rows_of(), ["no label", ""]])
    options = ("--dedupe", "--set", "data.skip_unlabelled=false")
    result = run("data", "clean", path, tmp_path / "out", *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{path}:62: no label, expected one" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_cleaned_copy_of_chnsenticorp_has_no_leak(real_data: Path, tmp_path: Path) -> None:
    config = Config.load(Path(__file__).parents[1] / "configs" / "chnsenticorp.yaml")
    dataset = data.open_dataset(with_paths(config).data)
    result = audit.clean(dataset, tmp_path / "out", drop_leaks=True, dedupe=True)
    copy = opened(result.config_lines())
    assert set(copy.findings.shared) == {"validation/test"}
    for split in ("validation", "test"):
        assert contents(copy, split) == contents(dataset, split)
    left = copy.findings.duplicates["train"].count
    assert left <= 2 * result.conflicts, "only texts with different labels are repeated"
