"""Configurations of trained folders: their data are found from any folder; removed settings."""

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import textclf
from textclf import artifact, config
from textclf.cli import main
from textclf.errors import ConfigError, DataError


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


def train(home: Path, reviews: Path, bag: dict[str, Any]) -> Path:
    """Train from `home/work` with the file `home/configs/r.yaml` on `home/data/rows.csv`."""
    for name in ("work", "configs", "data"):
        (home / name).mkdir(parents=True)
    shutil.copyfile(reviews, home / "data" / "rows.csv")
    values = {**bag, "data": {"source": "../data/rows.csv"}}
    values["training"] = {**bag["training"], "epochs": 1}
    (home / "configs" / "r.yaml").write_text(config.to_yaml(values))
    with contextlib.chdir(home / "work"):
        done("train", "../configs/r.yaml", "runs/r")
    return home


@pytest.fixture(scope="module")
def original(reviews: Path, bag: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("original") / "home", reviews, bag)


@pytest.fixture
def home(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of a folder in which a training took place, with its own paths."""
    home = tmp_path / "home"
    shutil.copytree(original, home)
    paths = {"data.source": f"{home}/data/rows.csv"}
    (home / "work/runs/r/paths.json").write_text(json.dumps(paths))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return home


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_training_keeps_its_absolute_paths_and_no_other_file_contains_them(
    original: Path, reviews: Path, bag: dict[str, Any], tmp_path: Path
) -> None:
    one, other = (
        contents(home / "work/runs/r")
        for home in (original, train(tmp_path / "far" / "away", reviews, bag))
    )
    paths = json.loads(one.pop("paths.json"))
    assert paths == {
        "data.source": f"{original}/data/rows.csv",
        "training.cache_dir": bag["training"]["cache_dir"],
    }
    assert (
        json.loads(other.pop("paths.json"))["data.source"] == f"{tmp_path}/far/away/data/rows.csv"
    )
    assert one.keys() == other.keys() and len(one) >= 6
    # The date and the seconds of each epoch differ, and with them the checksums of their files.
    cards = [json.loads(files.pop("card.json")) for files in (one, other)]
    histories = [
        [json.loads(line) for line in files.pop("history.jsonl").splitlines()]
        for files in (one, other)
    ]
    pages = [files.pop("card.md").decode() for files in (one, other)]
    for card, lines, page in zip(cards, histories, pages, strict=True):
        assert str(original) not in json.dumps(card) and str(original) not in page
        assert "paths.json" not in card["files"]
        del card["created"], card["files"]
        for line in lines:
            del line["seconds"]
    assert cards[0] == cards[1] and histories[0] == histories[1]
    assert one == other


@pytest.mark.parametrize("current", ["elsewhere", "/"])
def test_training_data_are_found_from_any_folder(home: Path, current: str) -> None:
    run_folder = home / "work/runs/r"
    with contextlib.chdir(home.parent / current):
        shutil.copytree(run_folder, home / "again")
        assert json.loads(done("evaluate", run_folder, "--json"))["report"]["num_examples"] == 30
        assert done("compare", run_folder, home / "again")
        assert done("calibrate", run_folder, "--coverage", "0.9")
        assert textclf.score(run_folder, split="validation").report.num_examples == 30
        assert done("data", "check", run_folder / "config.yaml")
        retrained = home / "retrained"
        assert done("train", run_folder / "config.yaml", retrained)
    assert (retrained / "weights.npz").read_bytes() == (run_folder / "weights.npz").read_bytes()
    paths = json.loads((retrained / "paths.json").read_text())
    assert paths["data.source"] == f"{home}/data/rows.csv"


def test_configuration_of_a_trained_folder_is_shown_as_written(home: Path) -> None:
    file = home / "work/runs/r/config.yaml"
    assert done("config", "show", file) == file.read_text()
    loaded = config.Config.load(file)
    assert loaded.fixed_paths == {"data.source": f"{home}/data/rows.csv"}
    assert config.Config.load(file, ["data.source=x.csv"]).fixed_paths == {}
    file.write_text(file.read_text().replace("../data/rows.csv", "rows.csv"))
    assert config.Config.load(file).fixed_paths == {}, "a path that was changed is another path"


def test_data_moved_to_the_path_as_written_are_read_from_the_current_folder(home: Path) -> None:
    model = home / "work/runs/r"
    data = home.parent / "data"
    shutil.move(home / "data", data)
    result = run("evaluate", model)
    assert result.exit_code == 0 and "these are not the training data" not in result.stderr
    lines = (data / "rows.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (data / "rows.csv").write_text("".join(lines[:200]), encoding="utf-8")
    result = run("evaluate", model)
    assert result.exit_code == 0 and "these are not the training data" in result.stderr
    refused = run("calibrate", model)
    assert refused.exit_code == 1 and "these are not the data" in refused.stderr


def test_an_override_of_a_path_takes_precedence(home: Path) -> None:
    lines = (home / "data/rows.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    Path("fewer.csv").write_text("".join(lines[:201]), encoding="utf-8")
    arguments = ("evaluate", home / "work/runs/r", "--set", "data.source=fewer.csv", "--json")
    assert json.loads(done(*arguments))["report"]["num_examples"] == 20


def test_missing_training_data_are_named_with_both_paths_and_the_remedy(home: Path) -> None:
    model = home / "work/runs/r"
    (home / "data/rows.csv").unlink()
    problem = (
        f"{home}/data/rows.csv: no such file or folder, and no ../data/rows.csv in {os.getcwd()}; "
        "the model was trained with data.source at this path; specify the data: "
    )
    for command, remedy in (
        (("evaluate", model), f"`textclf evaluate {model} FILE` or "),
        (("calibrate", model), ""),
    ):
        result = run(*command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == f"Error: {problem}{remedy}--set data.source=PATH\n"
    with pytest.raises(DataError, match="no such file or folder, and no"):
        textclf.calibrate(model)
    result = run("train", model / "config.yaml", "again")
    assert result.exit_code == 1 and "rows.csv: no such file" in result.stderr


def test_calibration_keeps_the_paths_and_a_copy_has_them(home: Path) -> None:
    model = home / "work/runs/r"
    paths = (model / "paths.json").read_bytes()
    textclf.calibrate(model, coverage=0.9)
    textclf.calibrate(model, coverage=0.8, output="copy")
    assert (model / "paths.json").read_bytes() == Path("copy/paths.json").read_bytes() == paths
    artifact.check_files("copy", artifact.read_card("copy").files)


def test_an_export_has_no_paths_and_a_folder_without_them_loads(home: Path) -> None:
    model = home / "work/runs/r"
    version = textclf.export(textclf.load(model), "exports", is_verified=False)
    assert not list(version.rglob("paths.json"))
    assert all(str(home).encode() not in content for content in contents(version).values())
    (model / "paths.json").unlink()
    assert textclf.load(model).predict(["good"])
    result = run("evaluate", model)
    assert result.exit_code == 1 and "run the command in the folder" in result.stderr
    with contextlib.chdir(home / "work"):
        assert done("evaluate", model)


def test_damaged_paths_are_an_error_that_names_the_file(home: Path) -> None:
    file = home / "work/runs/r/paths.json"
    file.write_text("{")
    with pytest.raises(ConfigError, match=r"paths\.json: cannot be read .*; remove the file"):
        textclf.score(home / "work/runs/r")
    file.write_text('{"data.source": 3, "data.train": "relative.csv", "x": "/y"}')
    assert config.read_trained_paths(file.parent) == {}


def test_absolute_paths_are_those_of_every_setting_that_holds_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TABLES", "tables")
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "there" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("there/inner")
    monkeypatch.chdir(tmp_path)
    text = (
        "data: {train: ../a.csv, validation: '${TABLES}/b.csv', test: ~/c.csv, "
        "class_names_file: ../link/../names.txt}\n"
        "model: {embedding_vectors: v.txt}\ntraining: {cache_dir: cache}\n"
    )
    assert config.absolute_paths(config.Config.from_yaml(text, folder="configs")) == {
        "data.train": f"{tmp_path}/a.csv",
        "data.validation": f"{tmp_path}/tables/b.csv",
        "data.test": "/home/me/c.csv",
        # The folder above the one to which the link leads.
        "data.class_names_file": f"{tmp_path}/configs/../link/../names.txt",
        "model.embedding_vectors": f"{tmp_path}/configs/v.txt",
        "training.cache_dir": f"{tmp_path}/configs/cache",
    }
    for values, expected in (
        ({"source": "texts.v2/"}, {"data.source": f"{tmp_path}/texts.v2/"}),
        ({"source": "tfds:x", "data_dir": "d", "train": "t"}, {"data.data_dir": f"{tmp_path}/d"}),
        ({"source": "demo"}, {}),
    ):
        chosen = config.Config.from_dict({"data": values})
        assert config.absolute_paths(chosen) == expected


def test_places_in_messages_have_normal_paths(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cfg").mkdir()
    (tmp_path / "cfg/r.yaml").write_text("data: {source: ../rows.csv}\n")
    resolved = config.with_paths(config.Config.load("cfg/r.yaml"))
    assert resolved.data.source == "rows.csv"


def test_a_removed_setting_without_effect_is_ignored_in_trained_folders_only(
    home: Path, tmp_path: Path
) -> None:
    file = home / "work/runs/r/config.yaml"
    written = file.read_text()
    expected = config.Config.load(file)
    file.write_text(written.replace("model:\n", "model:\n  ngram_buckets: 0\n"))
    assert config.Config.load(file) == expected
    for path, value in ((file, "4096"), (tmp_path / "own.yaml", "0")):
        path.write_text(written.replace("model:\n", f"model:\n  ngram_buckets: {value}\n"))
        with pytest.raises(ConfigError, match="ngram_buckets: was replaced by model.linear"):
            config.Config.load(path)
