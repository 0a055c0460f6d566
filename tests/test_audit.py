"""Audit of a data set: planted cases are findings with number, location, reason and fix."""

import contextlib
import importlib.util
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from data_files import write, write_csv
from planted import edited, sentence

import textclf
from textclf import audit, data
from textclf.audit.result import Audit, AuditFinding
from textclf.cli import main
from textclf.config import Config, with_paths
from textclf.errors import ArtifactError, DataError

Rows = list[list[str]]


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def good_rows(
    number: int = 120, classes: tuple[str, ...] = ("bad", "good"), first: int = 0
) -> Rows:
    """Return rows of different texts without any finding."""
    return [[sentence(first + i), classes[i % len(classes)]] for i in range(number)]


def audit_of(tmp_path: Path, train: Rows, test: Rows | None = None, **sections: Any) -> Audit:
    """Return the audit of train, of test and of a small validation split."""
    paths = {"train": write_csv(tmp_path / "train.csv", [["text", "label"], *train])}
    paths["test"] = write_csv(
        tmp_path / "test.csv", [["text", "label"], *(test or good_rows(20, first=5000))]
    )
    paths["validation"] = write_csv(
        tmp_path / "dev.csv", [["text", "label"], *good_rows(20, first=9000)]
    )
    values = {**sections, "data": {**paths, **sections.get("data", {})}}
    config = Config.from_dict(values)
    dataset = data.open_dataset(config.data, skip_bad_rows=True)
    return audit.audit_dataset(config, dataset)


def only(result: Audit, kind: str, split: str | None = None) -> AuditFinding:
    """Return the one finding of a kind."""
    (finding,) = [
        f for f in result.findings if f.kind == kind and (split is None or f.split == split)
    ]
    return finding


def kinds(result: Audit) -> set[str]:
    return {finding.kind for finding in result.findings}


# === Equal and nearly equal texts ===


def test_data_without_oddities_have_no_finding(tmp_path: Path) -> None:
    result = audit_of(tmp_path, good_rows())
    # Words of a hundred texts are too few for a vocabulary.
    assert kinds(result) <= {"unknown_words"}
    assert not any("not searched for" in note for note in result.notes)


def test_a_near_duplicate_at_ten_percent_edits_is_a_leak_with_both_places(tmp_path: Path) -> None:
    train = good_rows()
    copy = " ".join(edited(train[10][0].split(), 1))
    test = [*good_rows(20, first=5000), [copy, train[10][1]]]
    finding = only(audit_of(tmp_path, train, test), "near_leaks")
    assert (finding.count, finding.split) == (1, "test")
    (example,) = finding.examples
    assert f"{tmp_path}/test.csv:22 (bad) ~ {tmp_path}/train.csv:12 (bad)" in example.location
    assert example.texts[0].startswith(copy[:50])
    assert "textclf data clean CONFIG OUTPUT --drop-leaks --near" in finding.fix
    assert "too high" in finding.reason


def test_near_leaks_of_validation_are_found_and_do_not_depend_on_the_sample_of_train(
    tmp_path: Path,
) -> None:
    train = [*good_rows(), ["", "bad"]]
    near = [[" ".join(edited(train[i][0].split(), 1)), train[i][1]] for i in (5, 50, 110)]
    dev = write_csv(tmp_path / "v.csv", [["text", "label"], *near, *good_rows(9, first=700)])
    paths = {"train": write_csv(tmp_path / "train.csv", [["text", "label"], *train]),
             "test": write_csv(tmp_path / "t.csv", [["text", "label"], ["", "bad"],
                                                    *good_rows(9, first=800)])}  # fmt: skip
    config = Config.from_dict({"data": {**paths, "validation": dev}})
    for near_rows in (audit.NEAR_ROWS, 10):
        result = audit.audit_dataset(config, data.open_dataset(config.data), near_rows=near_rows)
        finding = only(result, "near_leaks")
        assert (finding.split, finding.count) == ("validation", 3), "empty texts are not compared"


def test_near_duplicates_with_different_labels_are_a_finding(tmp_path: Path) -> None:
    train = good_rows()
    train.append([" ".join(edited(train[10][0].split(), 1)), "good"])
    train.append([" ".join(edited(train[11][0].split(), 1)), "good"])
    result = audit_of(tmp_path, train)
    assert only(result, "near_duplicates").count == 2
    conflict = only(result, "near_conflicts")
    assert (conflict.count, conflict.split) == (1, "train")
    assert f"{tmp_path}/train.csv:122 (good) ~ {tmp_path}/train.csv:12 (bad)" in str(conflict)


def test_texts_of_one_template_are_noted_because_not_all_pairs_are_compared(
    tmp_path: Path,
) -> None:
    template = [
        [f"your order {i * 7919} has been shipped to you, number {i}", "good"] for i in range(150)
    ]
    remark = "each was compared with at most 64 of the others"
    assert any(remark in note for note in audit_of(tmp_path, [*good_rows(), *template]).notes)
    assert not any(remark in note for note in audit_of(tmp_path, good_rows()).notes)


def test_equal_texts_are_counted_normalised_and_character_by_character(tmp_path: Path) -> None:
    train = good_rows()
    train += [[train[0][0], "bad"], [train[0][0].upper(), "bad"], [train[1][0], "bad"]]
    test = [*good_rows(20, first=5000), train[3], [f" {train[4][0]}", "bad"]]
    result = audit_of(tmp_path, train, test)
    duplicates = only(result, "duplicates", "train")
    assert duplicates.count == 3 and "2 of them character by character" in duplicates.title
    assert duplicates.examples[0].location == f"{tmp_path}/train.csv:122 = {tmp_path}/train.csv:2"
    leaks = only(result, "leaks")
    assert leaks.count == 2 and "1 of them character by character" in leaks.title
    assert only(result, "conflicting_labels").count == 1
    assert "near_leaks" not in kinds(result), "equal texts are no near-duplicates"


def test_without_datasketch_the_audit_says_that_near_duplicates_were_not_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "datasketch" else find(name)
    )
    train = good_rows()
    result = audit_of(tmp_path, [*train, [" ".join(edited(train[10][0].split(), 1)), "bad"]])
    assert result.near_rows is None and not any("near" in kind for kind in kinds(result))
    (note,) = [note for note in result.notes if "not searched for" in note]
    assert "'.[audit]'" in note
    assert "not searched for" in audit.format_audit(result)
    refused = run("data", "clean", tmp_path / "train.csv", tmp_path / "out", "--dedupe", "--near")
    assert refused.exit_code == 1 and "datasketch is not installed" in refused.stderr


def test_a_train_longer_than_near_rows_is_compared_in_a_stated_sample(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", [["text", "label"], *good_rows(400)])
    result = run("data", "check", tmp_path / "rows.csv", "--near-rows", 50)
    assert re.search(r"in a sample of \d+ of 3\d\d rows", " ".join(result.stdout.split()))


# === Labels and tokens ===


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_a_planted_token_that_gives_the_label_away_is_a_suspect(tmp_path: Path, share: float):
    train = good_rows(600)
    for index, row in enumerate(train):
        if row[1] == "good" and index % 10 < 10 * share:
            row[0] += " src_a7"
    finding = only(audit_of(tmp_path, train), "leak_tokens")
    assert finding.count == 2  # src and a7
    assert "are of good" in finding.examples[0].location
    assert f"{tmp_path}/train.csv:3" in finding.examples[0].location
    assert {re.match("'(.*?)'", e.location)[1] for e in finding.examples} == {"src", "a7"}  # type: ignore[index]


def test_a_token_of_all_texts_of_a_small_class_is_a_suspect(tmp_path: Path) -> None:
    train = good_rows(40)
    for row in train:
        row[0] += " lblgood" if row[1] == "good" else ""
    assert "lblgood" in only(audit_of(tmp_path, train), "leak_tokens").examples[0].location


def test_locations_of_a_leak_token_are_texts_of_its_class(tmp_path: Path) -> None:
    train = good_rows(600)
    train[0][0] += " src"  # a text of the other class, at line 2
    for row in train:
        row[0] += " src" if row[1] == "good" else ""
    (example,) = only(audit_of(tmp_path, train), "leak_tokens").examples
    assert "300 of 301 texts are of good" in example.location
    lines = re.findall(r"train\.csv:(\d+)", example.location)
    assert lines and {int(line) % 2 for line in lines} == {1}, "even lines are of the other class"


def test_words_of_few_texts_or_of_the_class_of_most_texts_are_no_suspects(tmp_path: Path) -> None:
    train = good_rows(600)
    for index, row in enumerate(train):
        row[1] = "rare" if index % 100 == 0 else "good"
        # In all six texts of the rare class, and in 66 of the texts of the other.
        row[0] += " seldom" if row[1] == "rare" else " often" if index % 9 == 1 else ""
    labelled = [[sentence(900 + i), ("rare", "good")[i % 2]] for i in range(20)]
    dev = write_csv(tmp_path / "v.csv", [["text", "label"], *labelled])
    result = audit_of(tmp_path, train, labelled, data={"validation": dev})
    assert "leak_tokens" not in kinds(result)


def test_frequent_words_of_a_class_are_no_suspects(tmp_path: Path) -> None:
    train = good_rows(600)
    for index, row in enumerate(train):
        # In 60 % of one class and 10 % of the other.
        if (index // 2) % 10 < (6 if row[1] == "good" else 1):
            row[0] += " wonderful"
    assert "leak_tokens" not in kinds(audit_of(tmp_path, train))


@pytest.mark.parametrize(
    "other",
    ["Good", "ｇｏｏｄ", "go od", "good\u200b"],
    ids=["case", "width", "blank", "invisible"],
)
def test_class_names_that_hardly_differ_are_a_finding_whose_fix_joins_them(
    tmp_path: Path, other: str
) -> None:
    train = [*good_rows(), *([sentence(800 + i), other] for i in range(9))]
    result = audit_of(tmp_path, train)
    finding = only(result, "similar_class_names")
    assert finding.count == 2 and ascii(other) in finding.examples[0].location
    setting = re.match("--set '(.*?)'", finding.fix)[1]  # type: ignore[index]
    fixed = Config.from_dict({"data": {"train": str(tmp_path / "train.csv")}}, [setting])
    assert data.open_dataset(fixed.data).class_names == ("bad", "good")


def test_class_names_in_two_unicode_forms_are_a_finding(tmp_path: Path) -> None:
    train = [*good_rows(), *([sentence(800 + i), ("é", "e\u0301")[i % 2]] for i in range(9))]
    assert only(audit_of(tmp_path, train), "similar_class_names").count == 2


def test_a_class_missing_in_a_split_is_a_finding_with_its_training_rows(tmp_path: Path) -> None:
    train = [*good_rows(), *([sentence(800 + i), "rare"] for i in range(9))]
    finding = only(audit_of(tmp_path, train), "missing_classes", "test")
    assert finding.examples[0].location == "rare (9 rows in train)"


def test_classes_are_sorted_by_size_and_the_first_twenty_are_on_a_terminal(tmp_path: Path) -> None:
    names = [f"c{i:02}" for i in range(25)]
    train = [[sentence(100 * i + k), name] for i, name in enumerate(names) for k in range(3 + i)]
    result = audit_of(tmp_path, train, data={
        name: write_csv(tmp_path / f"{name}2.csv", [["text", "label"], [sentence(first), "c00"]])
        for name, first in (("test", 8000), ("validation", 8001))
    })  # fmt: skip
    lines = audit.format_audit(result).splitlines()
    shown = [line.split()[0] for line in lines if re.match(r" *c\d\d  ", line)]
    assert shown[:20] == names[:4:-1]
    assert any("5 smaller classes" in line for line in lines)


# === Lengths, words and scripts ===


def test_length_limits_are_the_smallest_that_keep_their_share_of_the_tokens(tmp_path: Path) -> None:
    lengths = [2, 3, 4, 5, 6, 7, 8, 9, 10, 91]
    train = [[" ".join(["a"] * length), ("bad", "good")[length % 2]] for length in lengths]
    measured = audit_of(tmp_path, train).splits["train"]
    assert measured.num_tokens == sum(lengths)
    assert measured.length_quantiles == {
        "min": 2, "25%": 4, "median": 6, "75%": 9, "95%": 91, "max": 91
    }  # fmt: skip
    for percent, limit in measured.limits.items():
        kept = {n: sum(min(length, n) for length in lengths) for n in (limit - 1, limit)}
        assert kept[limit] >= int(percent) / 100 * sum(lengths) > kept[limit - 1]


def test_a_length_limit_that_keeps_exactly_its_share_is_enough(tmp_path: Path) -> None:
    train = [["a" if i else "a b", ("bad", "good")[i % 2]] for i in range(19)]
    measured = audit_of(tmp_path, train).splits["train"]
    assert measured.num_tokens == 20
    assert measured.limits == {"95": 1, "99": 2}, "1 token of each text is 95 %"


def test_truncation_is_a_finding_with_the_limits_and_names_the_class_that_loses_more(
    tmp_path: Path,
) -> None:
    train = [[sentence(i, 10 if i % 4 else 60), "short" if i % 4 else "long"] for i in range(200)]
    result = audit_of(
        tmp_path, train, [[sentence(999), "short"]], text={"sequence_length": 30},
        data={"validation": str(write_csv(tmp_path / "v.csv", [["text", "label"],
                                                              [sentence(998), "long"]]))},
    )  # fmt: skip
    measured = result.splits["train"]
    assert measured.class_truncated_texts == (50, 0)
    assert measured.class_cut_tokens == (50 * 30, 0) and measured.cut_tokens == 1500
    assert sum(part.texts for part in measured.histogram) == 200
    assert "class_truncation" not in kinds(result), "50 % is less than twice 33 %"
    finding = only(result, "truncation")
    assert f"--set text.sequence_length={measured.limits['95']} keeps 95 %" in finding.fix
    assert "cuts 33.3 % of the tokens" in finding.title
    narrow = audit_of(
        tmp_path, [*train, *([sentence(2000 + i, 10), "short"] for i in range(600))],
        [[sentence(999), "short"]], text={"sequence_length": 30},
        data={"validation": str(tmp_path / "v.csv")},
    )  # fmt: skip
    assert only(narrow, "class_truncation").examples[0].location.startswith("long: 50.0 %")


def test_unknown_tokens_are_those_outside_the_vocabulary_of_train(tmp_path: Path) -> None:
    train = [[f"good film number {i}", ("x", "y")[i % 2]] for i in range(30)]
    test = [["good film nobody knows", "x"], ["film film unheard", "y"]]
    result = audit_of(
        tmp_path, train, test, text={"min_count": 2},
        data={"validation": str(write_csv(tmp_path / "v.csv", [["text", "label"],
                                                              ["good film", "x"]]))},
    )  # fmt: skip
    assert result.vocabulary_size == 3  # good, film, number
    assert result.splits["test"].unknown_tokens == 3
    assert result.splits["test"].unknown_rate == pytest.approx(3 / 7)
    assert result.splits["validation"].unknown_tokens == 0
    assert only(result, "unknown_words", "test").count == 3
    assert result.splits["train"].unknown_rate is None
    smaller = audit_of(
        tmp_path, train, test, text={"min_count": 2, "max_tokens": 2},
        data={"validation": str(tmp_path / "v.csv")},
    )  # fmt: skip
    assert smaller.vocabulary_size == 2


def test_scripts_are_counted_and_a_new_or_an_unspaced_script_is_a_finding(tmp_path: Path) -> None:
    test = [*good_rows(20, first=5000), ["Все очень плохо", "bad"], ["Хорошо и тихо", "good"]]
    result = audit_of(tmp_path, good_rows(), test)
    assert result.splits["test"].scripts == {"latin": 20, "cyrillic": 2}
    finding = only(result, "scripts")
    assert finding.examples[0].location == "cyrillic: 2 of 22 texts, 0 of 120 in train"
    thai = [["ห้องสะอาดมากและเงียบ" + "ก" * i, ("bad", "good")[i % 2]] for i in range(40)]
    assert "text.unit=character" in only(audit_of(tmp_path, thai), "scripts", "train").fix
    kana = data.recognition.scripts  # the script of the texts, not of single letters
    assert kana.script_of_letter("あ") == "hiragana"


# === Rows that cannot be used ===


def test_bad_rows_are_reported_with_their_lines_and_the_rest_is_audited(tmp_path: Path) -> None:
    lines = [f"{text},{label}" for text, label in good_rows()]
    lines[4], lines[8] = "one,two,three", "a text without label,"
    lines.append(lines[0])
    train = write(tmp_path / "train.csv", "\n".join(["text,label", *lines]) + "\n")
    test = write(
        tmp_path / "test.csv", b"text,label\nfine one,good\n\xff broken,bad\nother,Goood\nx y,bad\n"
    )
    with pytest.raises(DataError):
        data.open_dataset(train=train, test=test)
    result = run("data", "check", "--set", f"data.train={train}", "--set", f"data.test={test}",
                 "--json", write(tmp_path / "c.yaml", "data: {}\n"))  # fmt: skip
    assert result.exit_code == 0, result.stderr
    findings = {(f["kind"], f["split"]): f for f in json.loads(result.stdout)["findings"]}
    bad = findings["unreadable_rows", "train"]
    assert bad["count"] == 2
    assert [e["location"].partition(": ")[0] for e in bad["examples"]] == [
        f"{train}:6",
        f"{train}:10",
    ]
    other = findings["unreadable_rows", "test"]
    assert {e["location"].partition(": ")[0] for e in other["examples"]} == {
        f"{test}:3",
        f"{test}:4",
    }
    assert "did you mean 'good'?" in str(other)
    assert findings["duplicates", "train"]["count"] == 1, "locations after bad rows are right"
    assert findings["duplicates", "train"]["examples"][0]["location"].startswith(f"{train}:122 = ")


def test_columns_of_a_file_are_detected_and_commands_of_findings_have_the_settings(
    tmp_path: Path,
) -> None:
    rows = [[f"{row}", text, label] for row, (text, label) in enumerate(good_rows())]
    lines = ["nr;my text;my label", *(";".join(row) for row in [*rows, rows[0]]), "1;2;3;4"]
    path = write(tmp_path / "a b.csv", "\n".join(lines) + "\n")
    setting = "data.validation_fraction=0.2"
    result = run("data", "check", path, "--set", setting, "--json")
    assert result.exit_code == 0, result.stderr
    assert "texts in my text, labels in my label" in result.stderr
    findings = {f["kind"]: f for f in json.loads(result.stdout)["findings"]}
    assert findings["unreadable_rows"]["count"] == 1
    fix = findings["duplicates"]["fix"]
    assert fix == f"`textclf data clean '{path}' --set {setting} OUTPUT --dedupe`"
    fix = fix.strip("`").replace("OUTPUT", str(tmp_path / "clean"))
    write(tmp_path / "a b.csv", "\n".join(lines[:-1]) + "\n")
    assert run(*shlex.split(fix)[1:]).exit_code == 0


def test_empty_texts_are_no_conflict_no_duplicate_and_no_leak(tmp_path: Path) -> None:
    train = [*good_rows(), [" ", "good"], ["", "bad"], ["", "bad"]]
    result = audit_of(tmp_path, train, [*good_rows(20, first=5000), ["", "good"]])
    assert kinds(result) <= {"empty_texts", "unknown_words"}
    assert only(result, "empty_texts", "train").count == 3
    assert only(result, "empty_texts", "test").count == 1
    assert result.splits["train"].exact_duplicates == 0
    assert (result.splits["test"].leaked, result.splits["test"].leaked_exactly) == (0, 0)


def test_columns_of_a_file_with_an_unusual_ending_are_detected_too(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.txt", [["review", "stars"], *good_rows()])
    result = run("data", "check", path, "--set", "data.format=csv", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["class_names"] == ["bad", "good"]
    assert "texts in review, labels in stars" in result.stderr


def test_rows_without_a_label_of_a_file_are_skipped_as_in_a_training_and_noted(
    tmp_path: Path,
) -> None:
    rows = [["text", "label"], *good_rows(), ["a text without a label", ""]]
    path = write_csv(tmp_path / "rows.csv", rows)
    skipped = run("data", "check", path, "--json")
    values = json.loads(skipped.stdout)
    assert "unreadable_rows" not in {f["kind"] for f in values["findings"]}
    setting = "data.skip_unlabelled=false"
    (note,) = [note for note in values["notes"] if f"--set {setting} lists them" in note]
    assert note.startswith("1 row without a label skipped (data.skip_unlabelled)")
    assert run("data", "clean", path, tmp_path / "out", "--dedupe").exit_code == 0
    listed = json.loads(run("data", "check", path, "--json", "--set", setting).stdout)
    (finding,) = [f for f in listed["findings"] if f["kind"] == "unreadable_rows"]
    assert f"{path}:122: no label" in finding["examples"][0]["location"]


def test_unknown_tokens_are_no_finding_for_a_linear_model_which_has_no_vocabulary(
    tmp_path: Path,
) -> None:
    test = [[f"neverseen{i} unheardof{i} zzz{i}", "good"] for i in range(20)]
    assert "unknown_words" in kinds(audit_of(tmp_path, good_rows(), test))
    linear = audit_of(tmp_path, good_rows(), test, model={"encoder": "none"})
    assert "unknown_words" not in kinds(linear)


def test_an_open_quote_ends_the_reading_and_the_finding_says_so(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(f"{text},{label}\n" for text, label in good_rows(60))
    path = write(tmp_path / "rows.csv", content + '"never closed,bad\nlast,good\n')
    result = run("data", "check", path, "--set", "data.quoting=minimal")
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    assert "1 row that cannot be used; the rows after the last one could not be read" in shown
    assert f"{path}:62: a quote is opened and never closed" in shown


def test_data_without_one_good_row_are_an_error_with_the_first_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "text,label\na,\nb,\nc,\n")
    result = run("data", "check", path, "--set", "data.skip_unlabelled=false")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{path}:2: no label, expected one" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "text", ["", " ", "\u3000", "\ufeff", "👍🏽", "a" * 100_000, "\u0000", "\r"]
)
def test_any_text_is_audited(tmp_path: Path, text: str) -> None:
    rows = [{"text": t, "label": label} for t, label in [*good_rows(40), [text, "bad"]]]
    path = write(tmp_path / "rows.jsonl", "\n".join(json.dumps(row) for row in rows) + "\n")
    result = audit.audit_dataset(
        Config.from_dict({"data": {"source": path}}), data.open_dataset(source=path)
    )
    assert sum(split.num_examples for split in result.splits.values()) == 41


def test_a_test_split_alone_is_audited(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "test.csv", [["text", "label"], *good_rows(40), good_rows(1)[0]])
    config = Config.from_dict({"data": {"test": path, "class_names": ["bad", "good"]}})
    result = audit.audit_dataset(config, data.open_dataset(config.data))
    assert kinds(result) == {"duplicates"}
    assert "Lengths of the texts of test" in audit.format_audit(result)


def test_texts_with_several_labels_or_none_are_audited(tmp_path: Path) -> None:
    labels = ["joy", "joy|fear", "", "fear"]
    rows = [[sentence(i), labels[i % 4]] for i in range(80)]
    rows += [[" ".join(edited(rows[5][0].split(), 1)), "fear|joy"],
             [" ".join(edited(rows[6][0].split(), 1)), "joy"]]  # fmt: skip
    result = audit_of(
        tmp_path, rows, [[sentence(900), "joy|fear"]],
        data={"multi_label": True, "label_separator": "|",
              "validation": write_csv(tmp_path / "v.csv", [["text", "label"],
                                                           [sentence(901), "joy|fear"]])},
    )  # fmt: skip
    assert result.splits["train"].class_counts == (41, 42)
    assert only(result, "near_duplicates").count == 2
    assert only(result, "near_conflicts").count == 1
    assert "(no label)" in only(result, "near_conflicts").examples[0].location
    assert "82 rows of train" not in str(result.notes)
    assert any("without any label" in note for note in result.notes)


# === Command and page ===


def test_strict_exits_with_1_only_if_there_are_findings(tmp_path: Path) -> None:
    rows = [["text", "label"], *good_rows(200)]
    options = ("--set", "text.unit=character", "--json")
    clean = write_csv(tmp_path / "clean.csv", rows)
    done = run("data", "check", clean, *options, "--strict")
    assert (done.exit_code, json.loads(done.stdout)["findings"]) == (0, [])
    odd = write_csv(tmp_path / "odd.csv", [*rows, rows[1]])
    assert run("data", "check", odd, *options).exit_code == 0
    failed = run("data", "check", odd, *options, "--strict")
    assert failed.exit_code == 1 and "--strict: 1 finding" in failed.stderr
    assert len(json.loads(failed.stdout)["findings"]) == 1, "the result is printed all the same"


def test_page_is_one_file_without_network_that_escapes_the_data(tmp_path: Path) -> None:
    rows = [*good_rows(100), ["<script>alert(1)</script> " + sentence(1), "<b>"],
            ["<script>alert(1)</script> " + sentence(1) + " again", "<b>"],
            [sentence(7), "<b>"]]  # fmt: skip
    path = write_csv(tmp_path / "rows.csv", [["text", "label"], *rows])
    page = tmp_path / "audit.html"
    assert run("data", "check", path, "--html", page).exit_code == 0
    content = page.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=[\"'](?!#|data:)|@import|url\(", content)
    assert "<script" not in content and "&lt;b&gt;" in content
    assert "textclf data check" in content
    again = run("data", "check", path, "--html", page)
    assert (again.exit_code, again.stdout) == (1, "")
    assert f"{page}: exists already; name another file or add --overwrite" in again.stderr
    page.write_text("old")
    assert run("data", "check", path, "--html", page, "--overwrite").exit_code == 0
    assert page.read_text(encoding="utf-8") == content
    nowhere = run("data", "check", path, "--html", tmp_path / "no" / "audit.html")
    assert nowhere.exit_code == 1 and "there is no folder" in nowhere.stderr


def test_page_replaces_no_file_of_another_process_and_a_full_disk_leaves_the_former_one(
    tmp_path: Path, full_disk: Callable[[int], contextlib.AbstractContextManager[None]]
) -> None:
    result, page = audit_of(tmp_path, good_rows()), tmp_path / "audit.html"
    page.write_text("former")
    with pytest.raises(ArtifactError, match="exists already; name another file"):
        audit.write_page(result, page, title="x", command="y", overwrite=False)
    with full_disk(100), pytest.raises(ArtifactError, match="cannot be written"):
        audit.write_page(result, page, title="x", command="y", overwrite=True)
    assert page.read_text() == "former"


def test_audit_of_python_has_measurements_progress_and_plain_values(tmp_path: Path) -> None:
    rows = ["text,label", "one two three,a", "one,b", "one two three four five,a", "six,b"]
    write(tmp_path / "train.csv", "\n".join(rows) + "\n")
    values = {"data": {"train": str(tmp_path / "train.csv"), "validation_fraction": 0.5}}
    config = textclf.Config.from_dict({**values, "text": {"sequence_length": 2}})
    dataset = textclf.open_dataset(config.data)
    stages: list[tuple[str, int, int]] = []
    result = audit.audit_dataset(config, dataset, on_progress=lambda *stage: stages.append(stage))
    assert list(result.splits) == list(dataset.splits)
    assert sum(split.num_tokens for split in result.splits.values()) == 10
    assert sum(split.truncated_texts for split in result.splits.values()) == 2
    assert sum(split.cut_tokens for split in result.splits.values()) == 1 + 3
    sizes = sorted(len(e.text.split()) for e in dataset.examples("train"))
    quantiles = result.splits["train"].length_quantiles
    assert (quantiles["min"], quantiles["max"]) == (sizes[0], sizes[-1])
    total = dataset.splits["train"].num_examples
    assert ("reading train", total, total) in stages
    plain = json.loads(json.dumps(result.to_dict()))
    assert plain["splits"]["train"]["num_tokens"] == sum(sizes)
    assert plain["fingerprint"] == dataset.fingerprint
    assert "textclf-heading" in result._repr_html_()


# === Published data ===


def published(real_data: Path, name: str) -> Audit:
    config = Config.load(Path(__file__).parents[1] / "configs" / f"{name}.yaml")
    return audit.audit_dataset(config, data.open_dataset(with_paths(config).data))


@pytest.mark.parametrize(
    ("name", "leaked", "near"),
    [("trec", {"test": 8, "validation": 0}, 50),
     pytest.param("chnsenticorp", {"test": 331, "validation": 338}, 10,
                  marks=pytest.mark.slow)],
)  # fmt: skip
def test_known_leaks_of_published_data_are_found_and_near_duplicates_beyond(
    real_data: Path, name: str, leaked: dict[str, int], near: int
) -> None:
    result = published(real_data, name)
    assert {split: result.splits[split].leaked_exactly for split in leaked} == leaked
    assert only(result, "near_leaks", "test").count >= near
    if name == "trec":  # two more questions of test are in the part of train that is validation
        shared = [f for f in result.findings if f.kind == "leaks" and "validation" in f.title]
        assert [f.count for f in shared] == [2]


@pytest.mark.slow
def test_403_duplicates_of_sms_spam_are_found(real_data: Path) -> None:
    result = published(real_data, "sms_spam")
    assert sum(split.exact_duplicates for split in result.splits.values()) == 403
    assert only(result, "near_duplicates").count > 200
