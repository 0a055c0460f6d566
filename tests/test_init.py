"""`textclf init`: the configuration that it writes, its messages and its refusals."""

import csv
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from textclf.cli import main

Golden = Callable[[str, str], None]


def run(*arguments: object) -> Result:
    """Run a command in this process; raise exceptions other than SystemExit."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def done(*arguments: object) -> str:
    """Return the stdout of a command that must succeed."""
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refused(*arguments: object) -> str:
    """Return the stderr of a command that must fail with exit code 1."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.stderr
    return result.stderr


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_csv(path: Path, rows: list[list[object]], encoding: str = "utf-8") -> None:
    with open(path, "w", encoding=encoding, newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def test_init_writes_a_commented_configuration_and_prints_the_next_commands(
    folder: Path, golden: Golden
):
    rows = [[i, f"a text about number {i}", ("good", "bad")[i % 2]] for i in range(40)]
    write_csv(folder / "reviews.csv", [["id", "review", "stars"], *rows])
    result = run("init", "reviews.csv", "reviews.yaml")
    assert result.stdout == "textclf train reviews.yaml runs/reviews\n"
    assert result.stderr == (
        "wrote reviews.yaml: CSV, comma-separated, quoted, with a header; utf-8; one label per text, "
        "2 classes in the first 40 rows; script: latin\n"
    )
    golden("init.yaml", (folder / "reviews.yaml").read_text())
    assert done("config", "check", "reviews.yaml") == "reviews.yaml: ok\n"


def test_init_asks_for_class_names_if_labels_are_numbers(folder: Path, golden: Golden):
    rows = [[i % 3 + 1, f"a text about number {i}"] for i in range(60)]
    write_csv(folder / "rows.csv", [["label", "text"], *rows])
    assert "note: the labels are numbers" in run("init", "rows.csv", "rows.yaml").stderr
    golden("init_ids.yaml", (folder / "rows.yaml").read_text())
    (folder / "classes.txt").write_text("sport\ntrade\nscience\n")
    done("init", "rows.csv", "named.yaml")
    values = json.loads(done("config", "show", "named.yaml", "--json"))
    assert values["data"]["class_names_file"] == "classes.txt"
    assert values["data"]["label_ids"] == "from_one"


def test_init_writes_paths_relative_to_the_folder_of_the_configuration(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = [[i % 3 + 1, f"a text about number {i}"] for i in range(60)]
    for name in ("data", "configs", "elsewhere"):
        (folder / name).mkdir()
    write_csv(folder / "data" / "train.csv", [["label", "text"], *rows])
    write_csv(folder / "data" / "test.csv", [["label", "text"], *rows[:6]])
    (folder / "data" / "classes.txt").write_text("sport\ntrade\nscience\n")
    done("init", "data/train.csv", "configs/rows.yaml")
    written = json.loads(done("config", "show", "configs/rows.yaml", "--json"))["data"]
    assert {written[name] for name in ("train", "test", "class_names_file")} == {
        "../data/train.csv",
        "../data/test.csv",
        "../data/classes.txt",
    }
    fingerprints = set()
    for current, config in ((".", "configs"), ("elsewhere", "../configs"), ("../configs", ".")):
        monkeypatch.chdir(current)
        found = json.loads(done("data", "check", f"{config}/rows.yaml", "--json"))
        fingerprints.add(found["fingerprint"])
    assert len(fingerprints) == 1, "the same data from every folder"


def test_init_treats_numbers_of_stars_as_names_and_not_as_label_ids(folder: Path):
    rows = [[(1, 5)[i % 2], f"a text about number {i}"] for i in range(60)]
    write_csv(folder / "rows.csv", [["stars", "text"], *rows])
    run("init", "rows.csv", "rows.yaml")
    assert "label_ids" not in (folder / "rows.yaml").read_text()


def test_init_recognises_semicolons_latin_1_and_paths_with_blanks(folder: Path):
    name = folder / "my file.csv"
    rows = "".join(f"le café numéro {i};{'oui' if i % 2 else 'non'}\n" for i in range(40))
    name.write_bytes(("texte;avis\n" + rows).encode("latin-1"))
    assert done("init", "my file.csv", "my file.yaml") == (
        "textclf train 'my file.yaml' 'runs/my file'\n"
    )
    values = json.loads(done("config", "show", "my file.yaml", "--json"))["data"]
    assert (values["delimiter"], values["encoding"]) == (";", "cp1252")
    assert (values["text_columns"], values["label_column"]) == (["texte"], "avis")


def test_init_finds_the_files_of_validation_and_test_beside_a_chinese_train_file(
    real_data: Path, folder: Path, golden: Golden
):
    (folder / "data").symlink_to(real_data / "data")
    done("init", "data/chnsenticorp/train.tsv", "chinese.yaml")
    golden("init_chinese.yaml", (folder / "chinese.yaml").read_text())


def numbered(*columns: tuple[object, ...], number: int = 60) -> list[list[object]]:
    """Return rows of a text and of the repeated values of other columns."""
    return [
        [f"some words about {i}", *(column[i % len(column)] for column in columns)]
        for i in range(number)
    ]


def test_commands_refuse_a_configuration_with_an_open_label_column(folder: Path, golden: Golden):
    rows = numbered(("high", "low"), ("north", "south", "west"))
    write_csv(folder / "rows.csv", [["text", "mood", "region"], *rows])
    assert refused("init", "rows.csv", "rows.yaml") == (
        "Error: rows.csv: mood, region may contain the labels; wrote rows.yaml; set "
        "data.label_column in it\n"
    )
    golden("init_choice.yaml", (folder / "rows.yaml").read_text())
    problem = (
        "Error: rows.csv: data.label_column is still CHANGE_ME; set it to one of mood, region\n"
    )
    for command in (["data", "check", "rows.yaml"], ["baseline", "rows.yaml"]):
        assert refused(*command) == problem
    assert refused("train", "rows.yaml", "run") == problem and not (folder / "run").exists()
    chosen = (folder / "rows.yaml").read_text().replace("CHANGE_ME", "mood")
    (folder / "rows.yaml").write_text(chosen)
    assert "high" in done("data", "check", "rows.yaml")


def test_init_explains_the_fix_for_a_column_of_0_and_1_for_each_class(folder: Path):
    rows = numbered((0, 1), (0, 0, 1), (0,))
    write_csv(folder / "rows.csv", [["text", "toxic", "insult", "threat"], *rows])
    said = refused("init", "rows.csv", "rows.yaml")
    assert (
        "toxic, insult, threat may contain the labels; if they are one column for each class"
        in said
    )
    assert "data.multi_label: true" in said
    assert "CHANGE_ME" in (folder / "rows.yaml").read_text()


def test_init_leaves_an_unsafe_text_column_open(folder: Path):
    rows = [[f"aa{i}", f"b{i}b", ("x", "y")[i % 2]] for i in range(60)]
    write_csv(folder / "rows.csv", [["first", "second", "label"], *rows])
    said = refused("init", "rows.csv", "rows.yaml")
    assert (
        "first, second may contain the texts; wrote rows.yaml; set data.text_columns in it" in said
    )
    assert refused("data", "check", "rows.yaml") == (
        "Error: rows.csv: data.text_columns is still CHANGE_ME; set it to one of first, second\n"
    )


def test_init_prints_the_reason_for_an_unusual_header(folder: Path, golden: Golden):
    header: list[object] = ["What would you like to tell us?", "Rating (1-5)"]
    write_csv(folder / "survey.csv", [header, *numbered((1, 2, 3, 4, 5))])
    why = (
        "line 1 is taken as the header: the column 'Rating (1-5)' holds numbers on all other lines"
    )
    said = run("init", "survey.csv", "survey.yaml").stderr
    assert f"note: {why}; set data.header: false if it is a text\n" in said
    golden("init_survey.yaml", (folder / "survey.yaml").read_text())
    assert "5  " in done("data", "check", "survey.yaml")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "a", "label": "b"},\n', "a.jsonl:1: not JSON"),
        ("a.csv", "text,label\na,b\nc,d\ne,f,g\n", "a.csv:4: 3 fields, expected 2"),
        (
            "a.csv",
            "text,x,y\n" + "a b,c,d\ne f,g,h\n" * 9 + "i,j\n",
            "a.csv:20: 2 fields, expected 3",
        ),
        ("a.csv", "text,label\na b,x\n", "one class only ('x') in train"),
        ("a.csv", "text,label\na b,x\nc d,y\n", "2 rows are too few"),
        ("a.csv", "text,label\na b,\nc d,\n", "no label at all in train"),
        ("a.csv", "text,label\n" + "a b,\"['x', 'y']\"\nc d,z\n" * 9, "is not a list"),
    ],
)
def test_init_refuses_files_refused_by_the_reader_and_writes_nothing(
    folder: Path, name: str, content: str, message: str
):
    (folder / name).write_text(content)
    assert message in refused("init", name, "a.yaml")
    assert not (folder / "a.yaml").exists()


def test_init_sets_skip_unlabelled_for_rows_without_a_label(folder: Path):
    write_csv(folder / "rows.csv", [["text", "label"], *numbered(("a", "b", ""))])
    assert "20 of 60 rows have no label in label" in run("init", "rows.csv", "rows.yaml").stderr
    assert "20 rows without a label skipped" in done("data", "check", "rows.yaml")


def test_init_escapes_invisible_labels_in_the_configuration(folder: Path):
    labels = ("a", "a\u200b", "b\x85", "c\u2028d", "很好", "e" * 300)
    write_csv(folder / "rows.csv", [["text", "label"], *numbered(labels)])
    said = run("init", "rows.csv", "rows.yaml").stderr
    assert r"2 classes hardly differ in their names: 'a', 'a\u200b'" in said
    written = (folder / "rows.yaml").read_text()
    assert r'"a", "a\U0000200b"' in written and r'"c\U00002028d"' in written and '"很好"' in written
    assert "e" * 61 not in written
    assert done("config", "check", "rows.yaml") == "rows.yaml: ok\n"


def test_init_sets_the_unit_character_for_thai(folder: Path):
    rows = [[f"ภาพยนตร์เรื่องนี้สนุกมาก {i}", ("a", "b")[i % 2]] for i in range(40)]
    write_csv(folder / "rows.csv", [["text", "label"], *rows])
    done("init", "rows.csv", "rows.yaml")
    assert "unit: character  # detected script: thai" in (folder / "rows.yaml").read_text()
    assert json.loads(done("config", "show", "rows.yaml", "--json"))["text"]["unit"] == "character"


def test_init_names_rare_classes_unless_classes_are_weighed(folder: Path):
    labels = ["usual"] * 120 + ["rare"] * 6
    rows = [[f"text number {i}", label] for i, label in enumerate(labels)]
    write_csv(folder / "rows.csv", [["text", "label"], *rows])
    said = run("init", "rows.csv", "rows.yaml").stderr
    assert "note: train: 1 class has less than a tenth of the " in said
    assert " texts of usual (rare " in said
    assert "; for a higher recall of rare classes, try training.class_weights: effective" in said
    weights = ("--set", "training.class_weights=effective")
    assert "a tenth" not in run("init", "rows.csv", "weights.yaml", *weights).stderr


def test_init_leaves_out_a_test_file_without_the_columns(folder: Path):
    write_csv(folder / "train.csv", [["text", "label"], *numbered(("a", "b"))])
    write_csv(folder / "dev.csv", [["text", "label"], *numbered(("b", "a"), number=6)])
    write_csv(folder / "test.csv", [["id", "text"], [1, "some words"]])
    said = run("init", "train.csv", "rows.yaml").stderr
    assert "note: test.csv is omitted: it has no column label\n" in said
    values = json.loads(done("config", "show", "rows.yaml", "--json"))["data"]
    assert (values["train"], values["validation"]) == ("train.csv", "dev.csv")
    assert values.get("test") is None


# === Settings that are set ===


def survey(folder: Path) -> None:
    """Write rows.csv, where mood and region may be the label, and other.csv with other rows."""
    rows = [[f"a text about number {i}", "ab"[i % 2], "nsew"[i % 4]] for i in range(60)]
    write_csv(folder / "rows.csv", [["text", "mood", "region"], *rows])
    write_csv(folder / "other.csv", [["text", "mood", "region"], *rows[:10]])


def test_set_settings_replace_the_detected_ones_and_are_added_to_their_section(
    folder: Path, golden: Golden, monkeypatch: pytest.MonkeyPatch
):
    survey(folder)
    (folder / "configs").mkdir()
    (folder / "current").mkdir()
    (folder / "other.csv").rename(folder / "current" / "other.csv")
    monkeypatch.chdir("current")
    sets = (
        "data.label_column=region",
        "data.test=other.csv",
        "data.text_separator=it's \\t",
        "model.encoder=gru",
        "model.units=32",
        "evaluation.seed=1",
    )
    options = [part for setting in sets for part in ("--set", setting)]
    done("init", "../rows.csv", "../configs/rows.yaml", *options)
    golden("init_set.yaml", Path("../configs/rows.yaml").read_text())
    values = json.loads(done("config", "show", "../configs/rows.yaml", "--json"))
    assert values["data"]["text_separator"] == "it's \t"
    assert values["evaluation"]["seed"] == 1
    found = json.loads(done("data", "check", "../configs/rows.yaml", "--json"))
    assert found["splits"]["test"]["num_examples"] == 10


def test_the_command_in_the_configuration_writes_the_same_configuration_again(folder: Path):
    survey(folder)
    separator = "data.text_separator=\\n' \u2028\t"
    sets = ("--set", "data.label_column=mood", "--set", separator)
    done("init", "rows.csv", "rows.yaml", *sets)
    text = (folder / "rows.yaml").read_text()
    (folder / "rows.yaml").unlink()
    command = text.splitlines()[0].removeprefix("# Created:  textclf ")
    shell = ["bash", "-c", f"printf '%s\\0' {command}"]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    arguments = subprocess.run(
        shell, capture_output=True, text=True, check=True, env=environment
    ).stdout.split("\0")[:-1]
    assert arguments == ["init", "rows.csv", "rows.yaml", *sets]
    done(*arguments)
    assert (folder / "rows.yaml").read_text() == text


def test_a_set_column_resolves_an_open_choice(folder: Path):
    survey(folder)
    assert "mood, region may contain the labels" in refused("init", "rows.csv", "open.yaml")
    for number, column in (("a", "mood"), ("b", "3")):
        file = folder / f"{number}.yaml"
        assert done("init", "rows.csv", file, "--set", f"data.label_column={column}")
        assert "CHANGE_ME" not in file.read_text()
    assert '# labels in the first 60 rows: "a", "b"' in (folder / "a.yaml").read_text()
    assert '# labels in the first 60 rows: "e", "n", "s", "w"' in (folder / "b.yaml").read_text()
    rows = [f"aa{i},b{i}b,{'xy'[i % 2]}" for i in range(60)]
    (folder / "texts.csv").write_text("\n".join(["first,second,label", *rows]))
    done("init", "texts.csv", "texts.yaml", "--set", "data.text_columns=[second, first]")
    assert (
        'text_columns: ["second", "first"]  # several columns are joined\n'
        in (folder / "texts.yaml").read_text()
    )


def test_a_set_split_replaces_a_detected_one(folder: Path):
    rows = [[f"a text about number {i}", "ab"[i % 2]] for i in range(60)]
    for name in ("train", "test", "exam"):
        write_csv(folder / f"{name}.csv", [["text", "label"], *rows])
    done("init", "train.csv", "a.yaml", "--set", "data.test=exam.csv")
    assert 'train: "train.csv"\n  test: "exam.csv"\n' in (folder / "a.yaml").read_text()
    done("init", "train.csv", "b.yaml", "--set", "data.test=")
    assert 'data:\n  source: "train.csv"\n' in (folder / "b.yaml").read_text()
    for name in ("fit", "holdout"):
        for label in "ab":
            (folder / "texts" / name / label).mkdir(parents=True)
            for number in range(5):
                (folder / "texts" / name / label / f"{number}.txt").write_text(f"{label} {number}")
    done("init", "texts", "c.yaml", "--set", "data.train=fit", "--set", "data.test=holdout")
    values = json.loads(done("config", "show", "c.yaml", "--json"))["data"]
    assert (values["train"], values["test"]) == ("fit", "holdout")


def test_mistakes_in_set_settings_are_refused_together_and_nothing_is_written(folder: Path):
    survey(folder)
    sets = ("--set", "data.delimter=,", "--set", "model.units=x", "--set", "training")
    assert refused("init", "rows.csv", "a.yaml", *sets).splitlines() == [
        "Error: --set data.delimter: unknown setting; did you mean data.delimiter?",
        "--set training: expected section.setting=value, for instance --set training.epochs=3",
        "--set model.units: expected a whole number of at least 1 and at most 8192, found 'x'",
    ]
    label = ("--set", "data.label_column=mood")
    for settings, message in (
        (["data.source=a.csv", "data.format=tfds"],
         "Error: data.source: rows.csv is the data; remove this setting\n"
         "data.format: rows.csv is a file; expected one of auto, csv, tsv, jsonl, json, parquet\n"),
        (["model.reset_after=true", "training.momentum=0.5"],
         "Error: --set model.reset_after: has no effect, because model.encoder is lstm; it applies "
         "only if model.encoder is gru; remove it\n--set training.momentum: has no effect, because "
         "training.optimizer is adam; it applies only if training.optimizer is sgd or rmsprop; "
         "remove it\n"),
        (["data.text_columns=[words]"],
         "Error: rows.csv:1: no column 'words'; found text, mood, region; use --set "
         "'data.text_columns=[text]'\n"),
        (["data.encoding=utf-99"], "Error: data.encoding: Python has no text encoding 'utf-99'"),
    ):  # fmt: skip
        sets = [part for setting in settings for part in ("--set", setting)]
        assert refused("init", "rows.csv", "a.yaml", *label, *sets).startswith(message)
    assert not (folder / "a.yaml").exists()
