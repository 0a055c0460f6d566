"""`textclf init`: the configuration that it writes, its messages and its refusals."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from textclf.cli import main

Golden = Callable[[str, str], None]


def run(*arguments: object) -> Result:
    """Run a command in this process; an exception that is no message to the user is raised."""
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
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_csv(path: Path, rows: list[list[object]], encoding: str = "utf-8") -> None:
    with open(path, "w", encoding=encoding, newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def test_init_writes_a_commented_configuration_and_says_what_to_do_next(
    folder: Path, golden: Golden
):
    rows = [[i, f"a text about number {i}", ("good", "bad")[i % 2]] for i in range(40)]
    write_csv(folder / "reviews.csv", [["id", "review", "stars"], *rows])
    result = run("init", "reviews.csv", "reviews.yaml")
    assert result.stdout == "textclf train reviews.yaml runs/reviews\n"
    assert result.stderr == (
        "wrote reviews.yaml: csv separated by ,, quoted, with a header; utf-8; one label a text, "
        "2 classes in the first 40 rows; script: latin\n"
    )
    golden("init.yaml", (folder / "reviews.yaml").read_text())
    assert done("config", "check", "reviews.yaml") == "reviews.yaml: ok\n"


def test_init_asks_for_names_where_labels_are_numbers(folder: Path, golden: Golden):
    rows = [[i % 3 + 1, f"a text about number {i}"] for i in range(60)]
    write_csv(folder / "rows.csv", [["label", "text"], *rows])
    assert "note: the labels are numbers" in run("init", "rows.csv", "rows.yaml").stderr
    golden("init_ids.yaml", (folder / "rows.yaml").read_text())
    (folder / "classes.txt").write_text("sport\ntrade\nscience\n")
    done("init", "rows.csv", "named.yaml")
    values = json.loads(done("config", "show", "named.yaml", "--json"))
    assert values["data"]["class_names_file"] == "classes.txt"
    assert values["data"]["label_ids"] == "from_one"


def test_init_takes_stars_for_names_and_not_for_a_count(folder: Path):
    rows = [[(1, 5)[i % 2], f"a text about number {i}"] for i in range(60)]
    write_csv(folder / "rows.csv", [["stars", "text"], *rows])
    run("init", "rows.csv", "rows.yaml")
    assert "label_ids" not in (folder / "rows.yaml").read_text()


def test_init_knows_semicolons_latin_1_and_paths_with_blanks(folder: Path):
    name = folder / "my file.csv"
    rows = "".join(f"le café numéro {i};{'oui' if i % 2 else 'non'}\n" for i in range(40))
    name.write_bytes(("texte;avis\n" + rows).encode("latin-1"))
    assert done("init", "my file.csv", "my file.yaml") == (
        "textclf train 'my file.yaml' 'runs/my file'\n"
    )
    values = json.loads(done("config", "show", "my file.yaml", "--json"))["data"]
    assert (values["delimiter"], values["encoding"]) == (";", "cp1252")
    assert (values["text_columns"], values["label_column"]) == (["texte"], "avis")


def test_init_finds_the_other_splits_of_a_chinese_file(
    real_data: Path, folder: Path, golden: Golden
):
    (folder / "data").symlink_to(real_data / "data")
    done("init", "data/chnsenticorp/train.tsv", "chinese.yaml")
    golden("init_chinese.yaml", (folder / "chinese.yaml").read_text())
