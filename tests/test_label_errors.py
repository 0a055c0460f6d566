"""Suspected label errors: folds, out-of-fold probabilities, ranking, files and the command."""

import csv
import importlib.util
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from data_files import write, write_csv

import textclf
from textclf import data, label_errors
from textclf.cli import main
from textclf.config import Config
from textclf.errors import ConfigError, DataError
from textclf.label_errors import LabelErrors, SuspectRow, format_label_errors
from textclf.label_errors import folds as folding
from textclf.label_errors.out_of_fold import predict_out_of_fold
from textclf.label_errors.suspects import add_conflicts, conflicts, find_suspects

_WORDS = """
sport: match team goal player league coach stadium season referee striker
money: bank market share price stock profit loan credit investor bond
weather: rain storm cloud wind snow sunshine forecast frost thunder fog
common: the report of yesterday says that we have seen more than before and after it
"""
WORDS = {name: words.split() for name, words in
         (line.split(": ") for line in _WORDS.strip().splitlines())}  # fmt: skip
COMMON = WORDS["common"]
CHINESE = {"好评": "房间干净早餐丰富服务热情位置方便", "差评": "设备陈旧噪音很大态度恶劣卫生糟糕"}


def sentence(label: str, seed: int) -> str:
    """Return a text whose words show its class."""
    draw = random.Random(f"{label} {seed}")
    if label in CHINESE:
        return "".join(draw.choices(CHINESE[label], k=12)) + f"第{seed}天"
    words = draw.choices(WORDS[label], k=4) + draw.choices(COMMON, k=6)
    draw.shuffle(words)
    return " ".join(words)


def clear(label: str) -> str:
    """Return a text that leaves no doubt about its class."""
    return " ".join(WORDS.get(label, CHINESE.get(label, "")))


def rows_of(labels: list[str], number: int) -> list[list[str]]:
    """Return rows of different texts, the classes in turn."""
    return [[sentence(labels[i % len(labels)], i), labels[i % len(labels)]] for i in range(number)]


def settings_of(
    folder: Path, rows: list[list[str]], validation: list[list[str]] | None = None, **values: Any
) -> dict[str, Any]:
    """Write train and validation; return the settings that read them."""
    folder.mkdir(exist_ok=True)
    header = ["text", "label"]
    return {
        "data": {
            "train": write_csv(folder / "train.csv", [header, *rows]),
            "validation": write_csv(folder / "dev.csv", [header, *(validation or rows[:4])]),
            **values,
        }
    }


def search(folder: Path, rows: list[list[str]], **values: Any) -> label_errors.LabelErrors:
    config = Config.from_dict(settings_of(folder, rows, **values))
    return textclf.find_label_errors(config, num_folds=2)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["data", "label-errors", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def with_errors(rows: list[list[str]], errors: dict[int, str]) -> list[list[str]]:
    """Return the rows with wrong labels of some, whose texts show the right ones clearly."""
    return [
        [clear(label) + f" {i}", errors[i]] if i in errors else [text, label]
        for i, (text, label) in enumerate(rows)
    ]


# === Suspects ===


def random_probabilities(y: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """Return probabilities that are highest for the class of each row."""
    p = np.random.default_rng(seed).dirichlet(np.full(num_classes, 0.5), len(y))
    p[np.arange(len(y)), y] += 3
    return p / p.sum(axis=1, keepdims=True)


def test_planted_wrong_classes_are_the_first_suspects():
    y = np.arange(300) % 3
    p = random_probabilities(y, 3, 0)
    planted = np.array([4, 50, 151, 250])
    wrong = y.copy()
    wrong[planted] = (y[planted] + 1) % 3
    certainty = np.array([[0.94], [0.97], [0.91], [0.97]])
    p[planted] = np.eye(3)[y[planted]] * certainty + (1 - certainty) / 3
    suspects = find_suspects(p, wrong, multi_label=False)
    assert [suspect.index for suspect in suspects[:4]] == [50, 250, 4, 151], "the most certain"
    np.testing.assert_allclose([s.quality for s in suspects[:4]], [0.015, 0.015, 0.03, 0.045])
    for suspect in suspects[:4]:
        assert suspect.label_ids == (wrong[suspect.index],)
        assert suspect.suggested_ids == (y[suspect.index],)
    qualities = [suspect.quality for suspect in suspects]
    assert qualities == sorted(qualities)
    assert all(0 <= quality <= 1 for quality in qualities)


def test_planted_wrong_labels_of_texts_with_several_are_the_first_suspects():
    generator = np.random.default_rng(1)
    y = generator.random((400, 4)) < 0.3
    p = np.where(y, 0.9, 0.1) + generator.uniform(-0.1, 0.1, y.shape)
    wrong = y.copy()
    wrong[7, 2] ^= True
    wrong[300, 0] ^= True
    p[7], p[300] = np.where(y[7], 0.97, 0.03), np.where(y[300], 0.99, 0.01)
    suspects = find_suspects(p, wrong, multi_label=True)
    assert [suspect.index for suspect in suspects[:2]] == [300, 7], "the most certain first"
    for suspect in suspects[:2]:
        assert suspect.label_ids == tuple(np.flatnonzero(wrong[suspect.index]))
        assert suspect.suggested_ids == tuple(np.flatnonzero(y[suspect.index]))


@pytest.mark.parametrize("multi_label", [False, True])
def test_confident_right_labels_and_no_rows_have_no_suspects(multi_label: bool):
    y = np.arange(60) % 3
    p = np.eye(3)[y] * 0.9 + 0.1 / 3
    labels = np.eye(3, dtype=bool)[y] if multi_label else y
    assert find_suspects(p, labels, multi_label=multi_label) == ()
    assert find_suspects(p[:0], labels[:0], multi_label=multi_label) == ()


def test_labels_that_all_rows_have_are_not_suspected():
    p = np.full((5, 2), 0.5)
    assert find_suspects(p, np.zeros(5, np.int64), multi_label=False) == ()
    assert find_suspects(p, np.ones((5, 2), bool), multi_label=True) == ()


def test_different_shapes_of_probabilities_and_labels_are_refused():
    with pytest.raises(ValueError, match="do not match"):
        find_suspects(np.full((5, 2), 0.5), np.zeros(4, np.int64), multi_label=False)


def test_one_of_two_equal_texts_with_different_classes_is_a_suspect():
    y = np.array([0, 1] * 20)
    p = np.tile([[0.55, 0.45], [0.45, 0.55]], (20, 1))
    text_ids = np.arange(40)
    text_ids[1] = 0  # the model prefers class 0 for the common text
    p[1] = p[0]
    assert [rows.tolist() for rows in conflicts(y, text_ids)] == [[0, 1]]
    suspects = add_conflicts((), p, y, text_ids, multi_label=False)
    assert [(s.index, s.label_ids, s.suggested_ids) for s in suspects] == [(1, (1,), (0,))]


def test_conflicts_of_several_labels_concern_only_labels_that_differ():
    y = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 0]], bool)
    p = np.array([[0.2, 0.1, 0.7], [0.2, 0.1, 0.7], [0.1, 0.9, 0.1]])
    suspects = add_conflicts((), p, y, np.array([5, 5, 6]), multi_label=True)
    assert [(s.index, s.label_ids, s.suggested_ids) for s in suspects] == [(1, (0,), (0, 2))]


# === Folds ===


def opened(folder: Path, rows: list[list[str]], **values: Any) -> data.Dataset:
    return data.open_dataset(
        Config.from_dict(settings_of(folder, rows, **values)).data, skip_bad_rows=True
    )


def read_rows(dataset: data.Dataset) -> folding.Rows:
    return folding.read_rows(dataset, lambda stage, done, total: None)


def with_copies(rows: list[list[str]]) -> list[list[str]]:
    """Return rows with copies of each third text: in capitals, and with other white space."""
    copies = [[text.upper(), label] for text, label in rows[::3]]
    return rows + copies + [[f"  {text.replace(' ', '   ')} ", label] for text, label in rows[::3]]


@pytest.mark.parametrize("multi_label", [False, True])
def test_equal_texts_are_in_the_same_fold_and_the_same_part(tmp_path: Path, multi_label: bool):
    rows = with_copies(rows_of(["sport", "money", "weather"], 60))
    values = {"multi_label": True, "label_separator": "|"} if multi_label else {}
    dataset = opened(tmp_path, rows, **values)
    found = read_rows(dataset)
    assert len(np.unique(found.text_ids)) == 60
    judged = folding.check_rows(dataset, found, 4)
    folds = folding.make_folds(dataset.task, found, 4, seed=1)
    for rows_of_text in (np.flatnonzero(found.text_ids == i) for i in range(60)):
        assert len(set(folds[rows_of_text])) == 1
    for fold in range(4):
        part = folding.split_fold(dataset.task, found, judged, folds, fold, seed=1)
        assert ((part == folding.HELD_OUT) == (folds == fold)).all()
        assert (part == folding.VALIDATION).any() and (part == folding.TRAIN).any()
        for rows_of_text in (np.flatnonzero(found.text_ids == i) for i in range(60)):
            assert len(set(part[rows_of_text])) == 1


@pytest.mark.parametrize("multi_label", [False, True])
def test_folds_have_equal_shares_of_each_class(tmp_path: Path, multi_label: bool):
    labels = ["sport"] * 6 + ["money"] * 3 + ["weather"]
    values = {"multi_label": True, "label_separator": "|"} if multi_label else {}
    dataset = opened(tmp_path, rows_of(labels, 200), **values)
    found = read_rows(dataset)
    folds = folding.make_folds(dataset.task, found, 5, seed=0)
    indicators = dataset.task.indicators(found.y)
    counts = np.array([indicators[folds == fold].sum(axis=0) for fold in range(5)])
    assert (counts == [[12, 24, 4]] * 5).all()  # money, sport, weather


def test_rows_of_rare_classes_are_trained_on_and_never_validation(tmp_path: Path):
    rows = rows_of(["sport", "money"], 60)
    rows += [[f"{sentence('weather', i)} {i}", f"rare {i // 2}"] for i in range(30)]
    dataset = opened(tmp_path, rows)
    found = read_rows(dataset)
    judged = folding.check_rows(dataset, found, 3)
    assert [dataset.class_names[c] for c in np.flatnonzero(judged)] == ["money", "sport"]
    for seed in range(5):
        folds = folding.make_folds(dataset.task, found, 3, seed)
        for fold in range(3):
            part = folding.split_fold(dataset.task, found, judged, folds, fold, seed)
            assert folding.VALIDATION not in part[60:]


# === Out of fold ===


@pytest.mark.parametrize("model_kind", ["linear", "network"])
def test_probabilities_of_a_row_do_not_depend_on_held_out_labels_and_texts(
    tmp_path: Path, bag: dict[str, Any], model_kind: str
):
    rows = rows_of(["sport", "money"], 80)
    settings = bag if model_kind == "network" else {}
    dataset = opened(tmp_path / "a", rows)
    found = read_rows(dataset)
    judged = np.ones(2, bool)
    folds = folding.make_folds(dataset.task, found, 2, seed=0)
    held_out = np.flatnonzero(folds == 0)
    kept, changed = held_out[:10], held_out[10:]
    # Other words, and far fewer rows of one class: vocabulary, IDF, C and temperature would differ.
    others = [list(row) for row in rows]
    for i in changed.tolist():
        others[i] = [f"unseen words number {i} {' '.join(WORDS['weather'])}", "money"]
    for i in kept.tolist():
        others[i][1] = "money" if rows[i][1] == "sport" else "sport"

    def probabilities(folder: Path, some_rows: list[list[str]]) -> np.ndarray:
        config = Config.from_dict({**settings, **settings_of(folder, some_rows)})
        dataset = data.open_dataset(config.data)
        return predict_out_of_fold(
            config, dataset, read_rows(dataset), folds, judged,
            model_kind=model_kind, on_progress=lambda stage, done, total: None,
        )  # fmt: skip

    first, second = probabilities(tmp_path / "a", rows), probabilities(tmp_path / "b", others)
    np.testing.assert_array_equal(first[kept], second[kept])
    trained = np.flatnonzero(folds == 1)
    assert (first[trained] != second[trained]).any(), "these do depend on them"


# === Search ===


def test_planted_errors_are_the_first_suspects_of_a_file_with_reasons(tmp_path: Path):
    rows = rows_of(["sport", "money", "weather"], 240)
    rows = with_errors(rows, {9: "money", 100: "weather", 200: "sport"})
    result = search(tmp_path, rows)
    first = {suspect.row: suspect for suspect in result.suspects[:3]}
    assert set(first) == {9, 100, 200}
    suspect = first[9]
    assert (suspect.labels, suspect.suggested_labels) == (("money",), ("sport",))
    assert suspect.location == f"{tmp_path}/train.csv:11"
    assert suspect.text == rows[9][0]
    assert suspect.p_labels[0] < 0.5 < suspect.p_suggested[0]
    assert suspect.reason.startswith("out of fold, the model gives money .")
    assert (result.num_rows, result.num_judged, result.num_folds) == (240, 240, 2)
    assert 0.95 < result.agreement < 1
    assert result.notes == ()


def test_a_planted_error_in_chinese_is_the_first_suspect(tmp_path: Path):
    rows = rows_of(["好评", "差评"], 120)
    result = search(tmp_path, with_errors(rows, {30: "差评"}))
    assert (result.suspects[0].row, result.suspects[0].suggested_labels) == (30, ("好评",))
    assert "好评" in label_errors.format_label_errors(result)


def test_planted_errors_of_several_labels_are_the_first_suspects(tmp_path: Path):
    rows = []
    for i in range(240):
        labels = [["sport"], ["money"], ["sport", "money"], []][i % 4]
        words = " ".join(sentence(label, i) for label in labels) or " ".join(COMMON[i % 9 :])
        rows.append([f"{words} {i}", "|".join(labels)])
    rows[41] = [clear("money"), "sport|money"]
    rows[82] = [f"{clear('money')} {clear('sport')}", "sport"]
    result = search(tmp_path, rows, multi_label=True, label_separator="|")
    first = {suspect.row: suspect for suspect in result.suspects[:2]}
    assert set(first) == {41, 82}
    assert (first[41].labels, first[41].suggested_labels) == (("money", "sport"), ("money",))
    assert (first[82].labels, first[82].suggested_labels) == (("sport",), ("money", "sport"))
    assert "sport ." in first[41].reason and "(given)" in first[41].reason
    assert "money " in first[82].reason and "(not given)" in first[82].reason
    json.dumps(result.to_dict())


def test_equal_texts_with_other_labels_are_suspects_that_name_each_other(tmp_path: Path):
    rows = rows_of(["sport", "money"], 120)
    rows.append([rows[4][0].upper(), "money"])  # row 4 is sport
    result = search(tmp_path, rows)
    (suspect,) = [suspect for suspect in result.suspects if suspect.row == 120]
    assert result.num_conflicts == 1
    assert suspect.conflicts == (f"{tmp_path}/train.csv:6",)
    assert suspect.reason.endswith(f"an equal text in {tmp_path}/train.csv:6 has sport")
    shown = label_errors.format_label_errors(result)
    assert "Equal texts with other labels" in shown and "1 text has different labels" in shown


def test_rows_that_cannot_be_judged_are_notes(tmp_path: Path):
    rows = rows_of(["sport", "money"], 80) + rows_of(["weather"], 1) * 2
    rows += [["  ", "sport"], ["", "money"]]
    rows.append(["a text without label", ""])
    result = search(tmp_path, rows)
    assert (result.num_rows, result.num_judged) == (84, 80)
    assert not {80, 81, 82, 83} & {suspect.row for suspect in result.suspects}
    bad, empty, rare = result.notes
    assert bad.startswith("1 row that cannot be read was left out, the first: ")
    assert f"{tmp_path}/train.csv:86" in bad
    assert empty == "2 empty texts not judged"
    assert result.num_conflicts == 0, "empty texts with different labels are no conflict"
    assert rare.startswith("2 labels of classes with fewer than 2 different texts not judged")
    assert "weather" in rare and "Not judged" in label_errors.format_label_errors(result)


def test_a_network_finds_a_planted_error(tmp_path: Path):
    rows = with_errors(rows_of(["sport", "money"], 160), {30: "money"})
    values = {
        **settings_of(tmp_path, rows),
        "model": {"encoder": "bag", "embedding_dim": 16, "linear": "none"},
        "training": {"epochs": 12, "batch_size": 16, "learning_rate": 0.02},
    }
    stages = []
    result = textclf.find_label_errors(
        Config.from_dict(values),
        model_kind="network",
        num_folds=2,
        on_progress=lambda stage, done, total: stages.append(stage),
    )
    assert result.suspects[0].row == 30
    assert "fold 1/2: training" in stages
    assert any(stage.startswith("fold 2/2, 0:") for stage in stages)


# === Refusals ===


def test_data_that_cannot_be_judged_are_refused_in_one_sentence(tmp_path: Path):
    three = rows_of(["money"], 3)
    several = {"multi_label": True}
    cases: list[tuple[str, list[list[str]], dict[str, Any]]] = [
        ("one class only ('sport') in train", rows_of(["sport"], 30), {}),
        ("all rows of train have the same label (sport)", rows_of(["sport"], 30), several),
        ("only sport has 5 different texts in train", rows_of(["sport"], 30) + three * 4, {}),
        ("no class has 5 different texts in train", rows_of(["sport", "money"], 8), {}),
    ]
    for number, (message, rows, values) in enumerate(cases):
        folder = tmp_path / str(number)
        settings = settings_of(folder, rows, **values)
        refused = run(write(folder.with_suffix(".yaml"), json.dumps(settings)))
        assert refused.exit_code == 1
        assert message in refused.stderr and refused.stderr.count("Error") == 1
        assert f"{folder}/train.csv" in refused.stderr


def test_table_shortens_places_and_no_class_name():
    suspect = SuspectRow(
        row=0, location="data/a.csv:2", text="x", labels=("data/b",), suggested_labels=("c",),
        p_labels=(0.1,), p_suggested=(0.9,), quality=0.1, conflicts=("data/a.csv:3",),
        reason="out of fold, the model gives data/b .10; an equal text in data/a.csv:3 has c",
    )  # fmt: skip
    result = LabelErrors(
        class_names=("data/b", "c"), multi_label=False, model_kind="linear", num_folds=2,
        num_rows=2, num_judged=2, agreement=0.5, num_conflicts=1, suspects=(suspect,), notes=(),
        seconds=0.0,
    )  # fmt: skip
    table = " ".join(format_label_errors(result).split())
    assert "a.csv:2: out of fold, the model gives data/b .10; an equal text in a.csv:3" in table


@pytest.mark.parametrize("folds", [1, 101])
def test_number_of_folds_outside_its_range_is_refused(tmp_path: Path, folds: int):
    config = Config.from_dict(settings_of(tmp_path, rows_of(["sport", "money"], 20)))
    with pytest.raises(ValueError, match="expected 2 to 100"):
        textclf.find_label_errors(config, num_folds=folds)
    assert run(tmp_path / "x.csv", "--folds", folds).exit_code == 2


def test_overwrite_without_an_output_is_wrong_usage(tmp_path: Path):
    refused = run(tmp_path / "x.csv", "--overwrite")
    assert refused.exit_code == 2
    assert "add --output FILE" in refused.stderr


def test_missing_cleanlab_and_an_existing_file_are_reported_together_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "cleanlab" else find(name)
    )
    source = write_csv(tmp_path / "a.csv", [["text", "label"], *rows_of(["sport", "money"], 40)])
    write(tmp_path / "suspects.csv", "mine")
    refused = run(source, "--output", tmp_path / "suspects.csv")
    assert refused.exit_code == 1
    assert "cleanlab, which finds suspected label errors, is not installed" in refused.stderr
    assert "'.[labels]'" in refused.stderr
    assert f"{tmp_path}/suspects.csv: exists already" in refused.stderr
    assert (tmp_path / "suspects.csv").read_text() == "mine"
    with pytest.raises(ConfigError, match="cleanlab"):
        find_suspects(np.eye(2), np.arange(2), multi_label=False)


def test_a_source_and_other_formats_are_refused_as_output(tmp_path: Path):
    source = write_csv(tmp_path / "a.csv", [["text", "label"], *rows_of(["sport", "money"], 40)])
    assert "is the input" in run(source, "--output", source, "--overwrite").stderr
    assert "name a file .csv or .jsonl" in run(source, "--output", tmp_path / "s.txt").stderr


def test_networks_that_do_not_exist_or_have_seen_the_labels_are_refused(
    tmp_path: Path, trained: Path
):
    source = write_csv(tmp_path / "a.csv", [["text", "label"], *rows_of(["sport", "money"], 40)])
    refused = run(source, "--model-kind", "network", "--set", "model.encoder=none")
    assert refused.exit_code == 1 and "use --model-kind linear" in refused.stderr
    refused = run(source, "--model-kind", "network", "--set", f"training.init_from={trained}")
    assert refused.exit_code == 1
    assert "is a classifier, which may have learned the labels" in refused.stderr


# === Files and the command ===


def made_up(names: tuple[str, ...], rows: list[int]) -> label_errors.LabelErrors:
    """Return a result whose suspects are some rows."""
    suspects = tuple(
        label_errors.SuspectRow(
            row=row, location=f"train.csv:{row + 2}", text="...", labels=names[:1],
            suggested_labels=names[1:], p_labels=(0.1,), p_suggested=(0.9,), quality=0.1,
            conflicts=(), reason="out of fold",
        )
        for row in rows
    )  # fmt: skip
    return label_errors.LabelErrors(
        class_names=names, multi_label=False, model_kind="linear", num_folds=5, num_rows=2000,
        num_judged=2000, agreement=0.9, num_conflicts=0, suspects=suspects, notes=(), seconds=1.0,
    )  # fmt: skip


def test_files_hold_whole_texts_in_the_order_of_the_suspects(tmp_path: Path):
    rows = rows_of(["sport", "money"], 40)
    rows[3][0] = "=cmd() " + "很长 " * 300 + "\nend"
    dataset = opened(tmp_path, rows)
    result = made_up(("sport", "money"), [7, 3, 20])
    for name in ("s.csv", "s.jsonl"):
        label_errors.write_suspects(tmp_path / name, dataset, result)
    with open(tmp_path / "s.csv", encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert [(row["rank"], row["row"]) for row in written] == [("1", "7"), ("2", "3"), ("3", "20")]
    assert written[1]["text"] == f"'{rows[3][0]}"
    assert written[0]["labels"] == "sport" and written[0]["p_suggested"] == "0.9"
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [rows[i][0] for i in (7, 3, 20)]
    assert lines[0]["conflicts"] == [] and lines[0]["reason"] == "out of fold"
    with pytest.raises(DataError, match="another process"):
        label_errors.write_suspects(tmp_path / "s.csv", dataset, result)
    label_errors.write_suspects(tmp_path / "s.csv", dataset, result, overwrite=True)


def test_a_killed_write_leaves_the_former_file(tmp_path: Path):
    rows = [[f"{sentence('sport', i)} {i}", ["sport", "money"][i % 2]] for i in range(1500)]
    settings_of(tmp_path, rows)
    write(tmp_path / "s.csv", "former")
    code = (
        "import os, sys\n"
        "sys.path.insert(0, os.path.dirname(sys.argv[2]))\n"
        "from test_label_errors import made_up\n"
        "from textclf import data, label_errors\n"
        "dataset = data.open_dataset(train=sys.argv[1] + '/train.csv',"
        " validation=sys.argv[1] + '/dev.csv')\n"
        "label_errors.write_suspects(sys.argv[1] + '/s.csv', dataset,\n"
        "    made_up(('sport', 'money'), [7, 3, 1200]), overwrite=True,\n"
        "    on_progress=lambda stage, done, total: done and os.kill(os.getpid(), 9))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), __file__], check=False)
    assert done.returncode == -9
    assert (tmp_path / "s.csv").read_text() == "former"


def test_command_prints_json_and_writes_the_file(tmp_path: Path):
    rows = with_errors(rows_of(["sport", "money"], 90), {30: "money"})
    source = write(tmp_path / "a.yaml", json.dumps(settings_of(tmp_path, rows)))
    arguments = (source, "--folds", 2, "--output", tmp_path / "s.csv")
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    first = json.loads(done.stdout)["suspects"][0]
    assert first["location"] == f"{tmp_path}/train.csv:32" and first["suggested_labels"] == [
        "sport"
    ]
    assert f"suspects written to {tmp_path}/s.csv" in done.stderr
    assert "WARNING" not in done.stderr
    with open(tmp_path / "s.csv", encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["row"] == "30"
    again = run(*arguments)
    assert again.exit_code == 1 and "add --overwrite" in again.stderr


def test_table_fits_a_narrow_terminal_and_names_the_folder_once():
    result = made_up(("sport", "money"), list(range(30)))
    for width in (80, 120):
        shown = label_errors.format_label_errors(result, width=width)
        assert max(map(len, shown.splitlines())) <= width
        assert "20  train.csv:21  sport 0.10  money 0.90" in shown
        assert "train.csv:22" not in shown and "the first 20 of 30" in shown
        assert "30 of 2,000 judged rows of train are suspects" in shown


def test_a_result_is_a_table_in_a_notebook():
    html = made_up(("sport", "<b>"), [7])._repr_html_()
    assert "Suspected label errors" in html and "&lt;b&gt;" in html and "<b>" not in html
