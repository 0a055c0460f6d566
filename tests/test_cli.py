"""Commands: exact output, exit codes, unusual input, Ctrl-C."""

import contextlib
import csv
import fcntl
import functools
import io
import json
import os
import pty
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from textclf import prediction
from textclf.cli import main
from textclf.cli.demo import DEMO_CONFIG
from textclf.cli.terminal import Progress, TimeLeft, watch
from textclf.cli.train import run_training
from textclf.config import Config
from textclf.data.lines import decode_lines
from textclf.errors import TrainingError

Golden = Callable[[str, str], None]
PROGRAM = [sys.executable, "-m", "textclf"]


def run(*arguments: object, input: str | bytes | None = None) -> Result:
    """Run a command in this process; raise exceptions other than SystemExit."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def stdout_of(*arguments: object, input: str | bytes | None = None) -> str:
    """Return the stdout of a command that must succeed."""
    result = run(*arguments, input=input)
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def demo(demo_run: Any, folder: Path) -> Path:
    """Return a folder with the demo's trained `model` and its versions in `exports`."""
    os.symlink(demo_run.folder / "runs/demo", folder / "model")
    os.symlink(demo_run.folder / "saved_models/demo", folder / "exports")
    return folder


def write_csv(path: Path, rows: list[list[object]], encoding: str = "utf-8") -> None:
    with open(path, "w", encoding=encoding, newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


# === Help ===


def commands() -> Iterator[list[str]]:
    def walk(path: list[str], command: click.Command) -> Iterator[list[str]]:
        yield path
        if isinstance(command, click.Group):
            for name, child in command.commands.items():
                yield from walk([*path, name], child)

    yield from walk([], main)


def test_command_grammar_is_complete():
    assert [" ".join(path) for path in commands() if path] == [
        *("init", "config", "config show", "config check", "config schema"),
        *("data", "data check", "data clean", "data label-errors", "data next"),
        *("demo", "pretrain", "lr-find", "train", "baseline", "evaluate", "predict", "explain"),
        *("calibrate", "thresholds", "report", "export", "verify", "info"),
        "serve",
        *("benchmark", "compare", "doctor"),
    ]


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_has_help_with_examples(path: list[str]):
    text = stdout_of(*path, "--help")
    assert text == stdout_of(*path, "-h")
    assert text.startswith(" ".join(["Usage: textclf", *path]))
    examples = text.partition("  Examples:\n")[2].partition("\n\n")[0].split("\n")
    assert examples and all(re.match(r"    (textclf|cat .*\| textclf) ", line) for line in examples)


def test_help_equals_the_golden_file(golden: Golden):
    golden("help.txt", stdout_of("--help"))


def test_python_m_textclf_is_the_textclf_command():
    completed = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, check=True)
    assert completed.stdout == stdout_of("--version") == "textclf, version 0.1.0\n"


# === Errors ===

FILES = {
    "good.yaml": "data: {source: demo}\n",
    "typo.yaml": "data:\n  source: demo\nmodel:\n  unit: 3\ntraining:\n  epochs: -1\n",
    "variable.yaml": "data: {source: '${TEXTCLF_NOT_SET}/x.csv'}\n",
    "missing.yaml": "data: {source: nowhere.tsv}\n",
    "others.csv": "id,review,stars\n1,good,positive\n",
    "semicolon.csv": "text;label\ngood;positive\n",
    "unknown.csv": "text,label\ngood,positive\nbad,awful\n",
    "one.csv": "opinion\ngood\nbad\n",
    "latin.csv": "text,label\ncafé,positive\n".encode("latin-1"),
    "empty.txt": "",
    "latin.txt": "good\ncafé\n".encode("latin-1"),
    "nolabel.csv": "id,text\n" + "".join(f"{i},the text number {i} of many\n" for i in range(9)),
    "other/saved_model.pb": "",
}
USAGE = "Usage: textclf {0}\nTry 'textclf {1} --help' for help.\n\nError: "
EVALUATE = USAGE.format("evaluate [OPTIONS] MODEL [DATA]", "evaluate")
CALIBRATE = USAGE.format("calibrate [OPTIONS] MODEL", "calibrate")
PREDICT = USAGE.format("predict [OPTIONS] MODEL [TEXT]...", "predict")

# Arguments, exit code, and stderr without its last line break and, for exit code 1, without
# "Error: ". {tmp} is the current folder.
ERRORS: list[tuple[str, int, str]] = [
    ("info nowhere", 1, "nowhere: does not exist; `textclf train` writes such a folder"),
    ("info other", 1, "other: is not a SavedModel of textclf (assets.extra/card.json is missing); create one with `textclf export`"),
    ("train typo.yaml out", 1, "typo.yaml:4: model.unit: unknown setting; did you mean model.units?\ntypo.yaml:6: training.epochs: expected a whole number of at least 1 and at most 10000, found -1"),
    ("train nope.yaml out", 1, "nope.yaml: no such configuration file; name a YAML file"),
    ("train variable.yaml out", 1, "data.source: the environment variable TEXTCLF_NOT_SET in '${TEXTCLF_NOT_SET}/x.csv' is not set; set it to the folder, for instance: export TEXTCLF_NOT_SET=..."),
    ("train missing.yaml out", 1, "nowhere.tsv: no such file; the path is relative to {tmp}"),
    ("train good.yaml model", 1, "{tmp}/model: exists already; name another folder or add --overwrite"),
    ("train good.yaml other --overwrite", 1, "{tmp}/other: holds an exported model; name another folder"),
    ("train good.yaml one.csv", 1, "{tmp}/one.csv: is a file; name a folder that can be written"),
    ("train good.yaml out --set training.epochs=x --set modle.units=3", 1, "--set modle.units: unknown setting; did you mean model.units?\n--set training.epochs: expected a whole number of at least 1 and at most 10000, found 'x'"),
    ("train good.yaml out --set model.embedding_vectors=glove.txt", 1, "glove.txt: no such file; model.embedding_vectors names a GloVe, word2vec or fastText text file"),
    ("train missing.yaml model --set model.embedding_vectors=glove.txt", 1, "glove.txt: no such file; model.embedding_vectors names a GloVe, word2vec or fastText text file\n{tmp}/model: exists already; name another folder or add --overwrite\nnowhere.tsv: no such file; the path is relative to {tmp}"),
    ("train good.yaml out --set training.schedule=plateau --set training.plateau_patience_epochs=3", 1, "--set training.plateau_patience_epochs: training stops after training.patience_epochs=3 epochs without improvement, so the learning rate is never lowered; expected fewer epochs"),
    ("baseline others.csv", 1, "others.csv: is a data file by its name, expected a configuration; create one with `textclf init others.csv others.yaml`"),
    ("evaluate model others.csv --set data.text_columns=Rev --set data.label_column=stars", 1, "others.csv:1: no column 'Rev'; found id, review, stars; use --set 'data.text_columns=[review]'"),
    ("evaluate model far/away.tsv", 1, "far/away.tsv: no such file: the folder far does not exist; the path is relative to {tmp}"),
    ("train good.yaml", 2, USAGE.format("train [OPTIONS] CONFIG|FILE OUTPUT", "train") + "Missing argument 'OUTPUT'."),
    ("evaluate nowhere", 1, "nowhere: does not exist; `textclf train` writes such a folder"),
    ("evaluate model others.csv", 1, "others.csv:1: no column 'text'; found id, review, stars; use --set 'data.text_columns=[review]'\nothers.csv:1: no column 'label'; found id, review, stars; use --set data.label_column=stars"),
    ("evaluate model semicolon.csv --set data.delimiter=,", 1, "semicolon.csv:1: no column 'text'; found text;label; use --set 'data.delimiter=;'\nsemicolon.csv:1: no column 'label'; found text;label; use --set 'data.delimiter=;'"),
    ("evaluate model others.csv --split validation", 2, EVALUATE + "--split does not apply to a file (others.csv); omit it"),
    ("evaluate model --split dev", 2, EVALUATE + "Invalid value for '--split': 'dev' is not one of 'train', 'validation', 'test'."),
    ("evaluate model --require macro_f1", 2, EVALUATE + "--require macro_f1: expected METRIC=VALUE, for instance macro_f1=0.85"),
    ("evaluate model --require macro_f1=nan", 2, EVALUATE + "--require macro_f1=nan: expected METRIC=VALUE, for instance macro_f1=0.85"),
    ("evaluate model --require accuracy=85", 2, EVALUATE + "--require accuracy=85: expected a value between 0 and 1 for accuracy"),
    ("evaluate model --by country --errors empty.txt", 1, "empty.txt: the examples are CSV or JSON lines; name a file .csv or .jsonl\ndemo test: no column 'country'; found nothing, and computed: length, unknown_fraction, script"),
    ("evaluate model --errors one.csv --save-predictions one.csv", 1, "one.csv: exists already; name another file or add --overwrite\none.csv: exists already; name another file or add --overwrite\none.csv: is named twice; write the predictions to another file"),
    ("evaluate model --require mcc=-1.5", 2, EVALUATE + "--require mcc=-1.5: expected a value between -1 and 1 for mcc"),
    ("evaluate model --require f1=0.5", 2, EVALUATE + "--require f1=0.5: unknown metric 'f1'; choose from accuracy, macro_f1, weighted_f1, macro_precision, macro_recall, weighted_precision, weighted_recall, cohen_kappa, mcc, log_loss, brier_loss, roc_auc, average_precision, calibration_error, uncalibrated_error"),
    ("evaluate model --set model.units=3", 1, "--set model.units: `textclf evaluate` reads data.* and evaluation.* only; train again to change other settings"),
    ("predict model", 2, PREDICT + "no texts; add texts, --input FILE, or --input - for stdin"),
    ("predict model -5", 2, PREDICT + "-5: no such option; put -- before texts that begin with a dash"),
    ("predict model good --input one.csv", 2, PREDICT + "use either texts or --input, not both"),
    ("predict model good --set data.header=false", 2, PREDICT + "--set applies only to --input; omit it"),
    ("predict model good --top-k 0", 2, PREDICT + "Invalid value for '--top-k': 0 is not in the range x>=1."),
    ("predict model --input missing.csv", 1, "missing.csv: no such file; did you mean 'missing.yaml'?"),
    ("predict model --input missing.txt", 1, "missing.txt: no such file; did you mean 'missing.yaml'?"),
    ("predict model --input model", 1, "model: is a folder; choose a file in it"),
    ("predict model --input others.csv", 1, "others.csv: no column 'text'; found id, review, stars; use --set 'data.text_columns=[review]'"),
    ("predict model --input one.csv", 1, "one.csv: no column 'text'; found opinion; use --set 'data.text_columns=[opinion]', or --set data.header=false --set data.text_columns=[1] if this line is a row"),
    ("predict model --input latin.csv", 1, "latin.csv:2: byte 0xe9 is not utf-8; name the encoding of the file, perhaps data.encoding=cp1252"),
    ("predict model --input latin.txt", 1, "latin.txt:2: is not utf-8 (invalid continuation byte); set the encoding with --set data.encoding=..., for instance latin-1 or gb18030"),
    ("predict model --input latin.txt --set data.encoding=utf-7000", 1, "data.encoding: "),
    ("predict model --input latin.txt --set data.text_columns=[1]", 2, PREDICT + "--set data.text_columns=[1]: only data.encoding applies to lines; save a table with the ending .csv, .tsv, .jsonl, .ndjson, .json, .parquet, or set data.format"),
    ("thresholds nowhere", 1, "nowhere: does not exist; `textclf train` writes such a folder"),
    ("thresholds exports", 1, "exports/1: is an exported SavedModel, which does not know its data; name the trained folder that it was exported from"),
    ("thresholds model", 1, "--positive: is missing; set it to the class to find, 'negative' or 'positive'"),
    ("thresholds model --positive positiv", 1, "--positive positiv: the model has no such class; use 'negative' or 'positive'; did you mean 'positive'?"),
    ("calibrate model --positive spma --precision 0.9", 1, "--positive spma: the model has no such class; use 'negative' or 'positive'"),
    ("calibrate model --recall 0.9", 1, "--positive: is missing; set it to the class to find, 'negative' or 'positive'"),
    ("calibrate model --positive positive", 1, "--positive: a threshold needs a target; set precision, recall, beta or cost"),
    ("calibrate model --positive positive --precision 1 --beta 2", 1, "--precision 1: a lower bound is always below 1; use a number such as 0.95\n--beta: cannot be combined with precision; keep one of them"),
    ("calibrate model --each-label --precision 0.9", 1, "--each-label: model has one class per text; use positive instead"),
    ("calibrate model --positive positive --recall 0.9 --coverage 0.5", 1, "--coverage: cannot be combined with recall; remove one of them"),
    ("calibrate model --positive positive --cost 0 1", 2, CALIBRATE + "Invalid value for '--cost': 0.0 is not in the range x>0."),
    ("calibrate nowhere", 1, "nowhere: does not exist; `textclf train` writes such a folder"),
    ("calibrate exports", 1, "exports/1: is an exported SavedModel, which does not change; calibrate the trained folder, then export it again with `textclf export`"),
    ("calibrate model --precision 0", 2, CALIBRATE + "Invalid value for '--precision': 0.0 is not in the range 0<x<=1."),
    ("calibrate model --precision 0.9 --coverage 0.5", 2, CALIBRATE + "use either --precision or --coverage, not both"),
    ("calibrate model --overwrite", 2, CALIBRATE + "--overwrite applies only to --output; omit it"),
    ("calibrate model --maximize f1", 2, CALIBRATE + "Invalid value for '--maximize': 'f1' is not one of 'macro_f1', 'micro_f1'."),
    ("calibrate model --maximize micro_f1", 1, "--maximize micro_f1: model has one class per text and no thresholds; omit the option"),
    ("calibrate model --set model.units=3", 1, "--set model.units: `textclf calibrate` reads data.* only; train again to change other settings"),
    ("calibrate model --output other --set data.source=nope.csv", 1, "{tmp}/other: holds an exported model; name another folder\nnope.csv: no such file; the path is relative to {tmp}"),
    ("calibrate model --set data.source=others.csv", 1, "others.csv:1: no column 'text'; found id, review, stars; use --set 'data.text_columns=[review]'\nothers.csv:1: no column 'label'; found id, review, stars; use --set data.label_column=stars"),
    ("export model one.csv", 1, "{tmp}/one.csv/1: cannot be written, because {tmp}/one.csv does not allow it (Not a directory); name another folder"),
    ("export model exports --version 1", 1, "exports/1: exists already; leave the version out to write the next one"),
    ("export exports/1 out", 1, "exports/1: is an exported SavedModel; a folder written by `textclf train` is needed here"),
    ("export model out --golden empty.txt", 1, "empty.txt: the file is empty; write one text per line"),
    ("export model out --golden latin.txt", 1, "latin.txt:2: not UTF-8; save the file as UTF-8"),
    ("export model out --golden missing.txt", 1, "missing.txt: no such file; did you mean 'missing.yaml'?"),
    ("verify nowhere", 1, "nowhere: does not exist; `textclf export` writes such a folder"),
    ("verify model", 1, "model: holds no exported version; `textclf export` writes one"),
    ("verify other", 1, "other: is not an export of textclf (checksums.json is missing); `textclf export` writes one"),
    ("serve nowhere", 1, "nowhere: does not exist; `textclf export` writes such a folder"),
    ("serve model", 1, "model: holds no exported version; `textclf export` writes one"),
    ("serve other", 1, "other: is not a SavedModel of textclf (assets.extra/card.json is missing); create one with `textclf export`"),
    ("serve nowhere --host 192.0.2.1", 1, "nowhere: does not exist; `textclf export` writes such a folder\n192.0.2.1:8501: cannot listen (Cannot assign requested address); use another --port or --host"),
    ("serve exports --label stable", 2, USAGE.format("serve [OPTIONS] MODEL", "serve") + "--label stable: expected LABEL=VERSION, for instance stable=3"),
    ("serve exports --name a/b", 2, USAGE.format("serve [OPTIONS] MODEL", "serve") + "--name a/b: expected a name without / and :"),
    ("serve exports --host 192.0.2.1", 1, "192.0.2.1:8501: cannot listen (Cannot assign requested address); use another --port or --host"),
    ("init nope.tsv new.yaml", 1, "nope.tsv: no such file; the path is relative to {tmp}"),
    ("init nolabel.csv new.yaml", 1, "nolabel.csv: no column looks like labels; write new.yaml by hand, with data.source, data.text_columns and data.label_column"),
    ("init unknown.csv good.yaml", 1, "good.yaml: exists already; name another file or add --overwrite"),
    ("init good.yaml one.csv --overwrite", 2, USAGE.format("init [OPTIONS] FILE CONFIG", "init") + "CONFIG one.csv: expected a name that ends in .yaml"),
    ("init unknown.csv none/new.yaml", 1, "none: no such folder; create it first"),
    ("config show nope.yaml", 1, "nope.yaml: no such configuration file; name a YAML file"),
    ("config check good.yaml typo.yaml", 1, "typo.yaml:4: model.unit: unknown setting; did you mean model.units?\ntypo.yaml:6: training.epochs: expected a whole number of at least 1 and at most 10000, found -1"),
    ("data check nope.tsv", 1, "nope.tsv: no such file; the path is relative to {tmp}"),
    ("data check unknown.txt", 1, "unknown.txt: "),
    ("data clean unknown.txt clean.csv --dedupe", 2, USAGE.format("data clean [OPTIONS] CONFIG|SOURCE OUTPUT", "data clean") + "OUTPUT clean.csv: is a folder; name it without .csv"),
    ("doctor nowhere", 1, "nowhere: does not exist; `textclf train` writes such a folder"),
    ("doctor other", 1, "other: is not a SavedModel of textclf (assets.extra/card.json is missing); create one with `textclf export`"),
    ("doctor typo.yaml", 1, "typo.yaml:4: model.unit: unknown setting; did you mean model.units?\ntypo.yaml:6: training.epochs: expected a whole number of at least 1 and at most 10000, found -1"),
    ("doctor variable.yaml", 1, "data.source: the environment variable TEXTCLF_NOT_SET in '${TEXTCLF_NOT_SET}/x.csv' is not set; set it to the folder, for instance: export TEXTCLF_NOT_SET=..."),
    ("doctor others.csv", 1, "others.csv: is a data file by its name, expected a configuration; create one with `textclf init others.csv others.yaml`"),
    ("baseline missing.yaml", 1, "nowhere.tsv: no such file; the path is relative to {tmp}"),
    ("fit", 2, "Usage: textclf [OPTIONS] COMMAND [ARGS]...\nTry 'textclf --help' for help.\n\nError: No such command 'fit'."),
]  # fmt: skip

_RUNNER = """
import json, shlex, sys
from click.testing import CliRunner
from textclf.cli import main
answers = []
for line in json.load(sys.stdin):
    result = CliRunner().invoke(main, shlex.split(line, posix=True))
    traceback = None if isinstance(result.exception, SystemExit) else repr(result.exception)
    answers.append({
        "exit_code": result.exit_code, "stdout": result.stdout, "stderr": result.stderr,
        "exception": traceback, "tensorflow": "tensorflow" in sys.modules,
    })
json.dump(answers, sys.stdout)
"""


@pytest.fixture(scope="module")
def errors(demo_run: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run all of `ERRORS` in one process without TensorFlow; return arguments -> result."""
    folder = tmp_path_factory.mktemp("errors")
    os.symlink(demo_run.folder / "runs/demo", folder / "model")
    os.symlink(demo_run.folder / "saved_models/demo", folder / "exports")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(os.listdir(folder))
    lines = [line for line, _, _ in ERRORS]
    completed = subprocess.run(
        [sys.executable, "-c", _RUNNER], input=json.dumps(lines), cwd=folder,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert sorted(os.listdir(folder)) == before, "a failed command must write nothing"
    assert len(set(lines)) == len(lines)
    answers = dict(zip(lines, json.loads(completed.stdout), strict=True))
    return {line: {**answer, "tmp": str(folder)} for line, answer in answers.items()}


@pytest.mark.parametrize(("line", "exit_code", "message"), ERRORS, ids=[m[0] for m in ERRORS])
def test_command_errors_are_one_message_before_tensorflow_is_imported(
    line: str, exit_code: int, message: str, errors: dict[str, Any]
):
    answer = errors[line]
    assert answer["exception"] is None
    assert answer["exit_code"] == exit_code
    assert answer["stdout"] == ""
    expected = message.replace("{tmp}", answer["tmp"])
    if exit_code == 1:
        expected = "Error: " + expected
    if expected.endswith(": "):  # tests of other modules check the rest
        assert answer["stderr"].startswith(expected)
    else:
        assert answer["stderr"] == expected + "\n"
    assert not answer["tensorflow"], "TensorFlow was imported before the error"


def test_unwritable_output_folder_is_an_error_before_the_training_starts(open_folder: Path):
    # Imports come before setuid: the other user may not be able to read the modules.
    code = (
        "import os, sys\n"
        "from textclf import artifact, cli, config, data, saved_model, training\n"
        "config.Config.load('good.yaml')\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "cli.main()\n"
    )
    command = [sys.executable, "-c", code]
    (open_folder / "good.yaml").write_text("data: {source: demo}\n")
    open_folder.chmod(0o555)
    try:
        for arguments, what in (
            (["train", "good.yaml", "out"], "out: cannot be written, because"),
            (["demo"], "demo: cannot be written, because"),
            (["init", "good.yaml", "new.yaml"], "new.yaml: the folder . is not writable"),
        ):
            completed = subprocess.run(
                [*command, *arguments], cwd=open_folder, capture_output=True, text=True
            )
            assert (completed.returncode, completed.stdout) == (1, ""), completed.stderr
            assert what in completed.stderr and "Traceback" not in completed.stderr
    finally:
        open_folder.chmod(0o755)


# === Configurations and data ===


def test_config_show_check_and_schema_print_their_results(folder: Path):
    (folder / "a.yaml").write_text("data: {source: demo}\nmodel: {units: 7}\n")
    shown = stdout_of("config", "show", "a.yaml", "--set", "model.encoder=gru", "--json")
    assert json.loads(shown)["model"]["units"] == 7
    assert json.loads(shown)["model"]["encoder"] == "gru"
    (folder / "b.yaml").write_text(stdout_of("config", "show", "a.yaml"))
    assert stdout_of("config", "show", "b.yaml") == (folder / "b.yaml").read_text()
    assert stdout_of("config", "check", "a.yaml", "b.yaml") == "a.yaml: ok\nb.yaml: ok\n"
    assert set(json.loads(stdout_of("config", "schema"))["properties"]) == {
        *("data", "text", "model", "training", "evaluation", "pretraining")
    }


ROWS_WITH_FINDINGS: list[list[object]] = [
    *([f"the room was good {i}", "good"] for i in range(20)),
    *([f"the room was bad {i}", "bad"] for i in range(20)),
    *(["the same again", "good"], ["The same again", "bad"], ["", "bad"]),
]


def test_data_check_reports_classes_lengths_and_findings(folder: Path, golden: Golden):
    write_csv(folder / "rows.csv", [["text", "label"], *ROWS_WITH_FINDINGS])
    arguments = ("data", "check", "rows.csv", "--set", "text.sequence_length=4")
    result = run(*arguments)
    golden("data_check.txt", result.stdout)
    columns, description, *_, last = result.stderr.splitlines()
    assert columns == "note: rows.csv: texts in text, labels in label"
    assert description.startswith("note: rows.csv: CSV, ") and last == "reading the data"
    summary = json.loads(stdout_of(*arguments, "--json"))
    assert summary["class_names"] == ["bad", "good"]
    assert sum(split["num_examples"] for split in summary["splits"].values()) == len(
        ROWS_WITH_FINDINGS
    )
    assert summary["splits"]["train"]["length_quantiles"]["max"] == 5
    counts = {finding["kind"]: finding["count"] for finding in summary["findings"]}
    assert (counts["conflicting_labels"], counts["empty_texts"]) == (1, 1)


def test_data_check_lists_the_largest_classes_and_all_with_json(folder: Path):
    sizes = {f"class {i}": 10 + (7 * i) % 30 for i in range(30)}
    rows: list[list[object]] = [
        [f"text {i} of {name}", name] for name, size in sizes.items() for i in range(size)
    ]
    write_csv(folder / "many.csv", [["text", "label"], *rows])
    shown = stdout_of("data", "check", "many.csv")
    largest = sorted(sizes, key=lambda name: -sizes[name])[:20]
    listed = re.findall(r"^class \d+", shown, re.MULTILINE)
    assert set(listed) == set(largest) and len(listed) == 20
    counts = {  # sums over all splits
        line[: line.index("  ")]: sum(map(int, re.findall(r" (\d+) +[\d.]+ %", line)))
        for line in shown.splitlines()
        if re.match(r"(class \d|10 smaller)", line)
    }
    assert [counts[name] for name in listed] == sorted((sizes[n] for n in largest), reverse=True)
    assert counts["10 smaller classes"] == sum(sizes.values()) - sum(sizes[n] for n in largest)
    assert "(the 20 largest classes; --json lists all of them)" in shown
    assert set(json.loads(stdout_of("data", "check", "many.csv", "--json"))["class_names"]) == set(
        sizes
    )
    # A few classes are all listed.
    write_csv(folder / "few.csv", [["text", "label"], *rows[: sum([*sizes.values()][:5])]])
    few = stdout_of("data", "check", "few.csv")
    largest = sorted([*sizes][:5], key=lambda name: -sizes[name])
    assert re.findall(r"^class \d", few, re.MULTILINE) == largest
    assert "smaller" not in few and "largest" not in few


def test_baseline_reports_all_simple_classifiers(folder: Path):
    write_csv(folder / "rows.csv", [["text", "label"], *ROWS_WITH_FINDINGS[:40]])
    (folder / "rows.yaml").write_text("data: {source: rows.csv}\n")
    result = run("baseline", "rows.yaml")
    assert result.exit_code == 0
    assert result.stderr == (
        "reading the data\nfitting majority on 32 texts\nfitting linear on 32 texts\n"
        "fitting tfidf_logistic_regression on 32 texts\nfitting fasttext on 32 texts\n"
    )
    names = [line.split()[0] for line in result.stdout.splitlines()[1:5]]
    assert names == ["majority", "linear", "tfidf_logistic_regression", "fasttext"]
    # The majority class has one line, the others have a report.
    assert re.findall(r"^(majority.*|tfidf.*|fasttext.*)$", result.stdout, re.MULTILINE)[3:] == [
        "majority: class frequencies of the training split, whatever the text",
        "tfidf_logistic_regression: 4 examples, 2 classes",
        "fasttext: 4 examples, 2 classes",
    ]
    # A description is below its title, and whole.
    assert re.search(r"^=+\n\nTF-IDF \(words, 1-2-grams,", result.stdout, re.MULTILINE)
    assert "(C 10)\n\n" in result.stdout and "…" not in result.stdout
    output = json.loads(stdout_of("baseline", "rows.yaml", "--split", "validation", "--json"))
    assert output["split"] == "validation"
    accuracy = output["baselines"]["tfidf_logistic_regression"]["report"]["metrics"]["accuracy"]
    assert accuracy == 1.0


# === The demo and its files ===


def accuracies(stdout: str) -> tuple[float, float]:
    values = re.findall(r"^test accuracy of .*: (0\.\d+|1\.0+)$", stdout, re.MULTILINE)
    lstm, linear = map(float, values)
    return lstm, linear


def test_demo_lstm_is_at_least_10_points_better_than_the_linear_model(demo_run: Any):
    lstm, linear = accuracies(demo_run.stdout)
    assert lstm >= 0.90
    assert linear <= lstm - 0.10
    assert demo_run.cpu_seconds < 120


def test_demo_prints_its_predictions_and_the_equivalent_commands(demo_run: Any, golden: Golden):
    golden("demo.txt", re.sub(r": [01]\.\d{3}$", ": #", demo_run.stdout, flags=re.MULTILINE))
    assert "not bad at all -> positive" in demo_run.stdout
    assert "not good at all -> negative" in demo_run.stdout


def test_demo_stderr_has_one_line_per_epoch_and_no_tensorflow_log(demo_run: Any):
    epoch = r" +\d/\d( +\d+\.\d+){5}(  best)?"
    patterns = [
        *("reading the data", r"2 classes; examples: train [\d,]+, validation [\d,]+, test [\d,]+"),
        r"[\d,]+ token ids; [\d,]+ weights; [\d,]+ steps per epoch",
        "  epoch     loss  val_loss  val_accuracy  val_macro_f1  seconds",
        *(epoch, r"(ended|stopped early) after epoch \d; kept epoch \d, the best by val_loss"),
        *("evaluating both on the test split", "to use your own file: .*"),
        "writing the SavedModel and verifying it in a new process",
    ]
    lines = demo_run.stderr.splitlines()
    assert [line for line in lines if not any(re.fullmatch(p, line) for p in patterns)] == []
    assert 2 <= len([line for line in lines if re.fullmatch(epoch, line)]) <= 9


def test_demo_does_not_replace_existing_files(folder: Path):
    (folder / "runs").mkdir()
    (folder / "runs" / "demo.yaml").write_text("data: {source: mine.csv}\n")
    result = run("demo")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: runs/demo.yaml: exists and was not written by the demo; move it, or run the demo in "
        "another folder\n"
    )
    assert [path.name for path in (folder / "runs").iterdir()] == ["demo.yaml"]


def test_demo_configuration_equals_configs_demo_yaml(demo_run: Any):
    repository = Path(__file__).parents[1] / "configs/demo.yaml"
    assert repository.read_text() == DEMO_CONFIG
    assert (demo_run.folder / "runs/demo.yaml").read_text() == DEMO_CONFIG


def test_info_prints_the_card_of_a_folder_and_of_an_export(demo: Path):
    card = json.loads(stdout_of("info", "model"))
    assert card["class_names"] == ["negative", "positive"]
    assert card["files"]
    for export in ("exports/1", "exports"):
        exported = json.loads(stdout_of("info", export))
        assert exported == card | {"contract_version": "2.0"}


def test_export_verifies_the_texts_of_a_golden_file(demo: Path):
    (demo / "golden.txt").write_bytes("\ufeffmy own\r\n一点也不差\u2028!\n".encode())
    stdout_of("export", "model", "others", "--golden", "golden.txt")
    samples = json.loads((demo / "others/1/assets.extra/golden.json").read_text())["samples"]
    assert [sample["text"] for sample in samples[15:]] == ["my own", "一点也不差\u2028!"]


def test_verify_checks_an_exported_version_or_the_newest_of_a_folder(demo: Path):
    assert stdout_of("verify", "exports") == "exports/1: verified, 15 golden samples\n"
    shutil.copytree(demo / "exports", demo / "damaged")
    vocabulary = demo / "damaged/1/assets/vocabulary.txt"
    vocabulary.write_text(vocabulary.read_text().replace("bad", "dab"))
    result = run("verify", "damaged/1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "damaged/1/assets/vocabulary.txt: differs from its checksum" in result.stderr


def test_export_prints_the_path_of_the_next_version(demo: Path):
    (demo / "out/7").mkdir(parents=True)
    result = run("export", "model", "out")
    assert (result.exit_code, result.stdout) == (0, "out/8\n")
    assert sorted(path.name for path in (demo / "out").iterdir()) == ["7", "8"]


# === evaluate ===


def test_evaluate_reports_on_the_test_split_by_default(demo: Path, demo_run: Any):
    result = run("evaluate", "model")
    assert result.stdout.startswith("model on test: 1,000 examples, 2 classes\n====")
    assert result.stderr == "reading the data\n"
    lstm, _ = accuracies(demo_run.stdout)
    assert f"accuracy            {lstm:.3f}" in result.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `model` and `splits`, trained with relative paths, and `rows.csv`."""
    home = tmp_path_factory.mktemp("training") / "home"
    home.mkdir()
    with contextlib.chdir(home):
        rows = [["text", "label"], *ROWS_WITH_FINDINGS[:40]]
        write_csv(home / "rows.csv", rows)
        write_csv(home / "test.csv", rows)
        (home / "model.yaml").write_text("data: {source: rows.csv}\n")
        (home / "splits.yaml").write_text("data: {train: rows.csv, test: test.csv}\n")
        quick = "--set training.epochs=1 --set model.encoder=bag --set model.pooling=mean"
        for name in ("model", "splits"):
            stdout_of("train", f"{name}.yaml", name, *quick.split())
    return home


def test_model_without_the_paths_of_its_training_explains_how_to_score_it_in_another_folder(
    home: Path, folder: Path
):
    for name, path, sets in (
        ("model", "rows.csv", "--set data.source=PATH"),
        ("splits", "rows.csv, test.csv", "--set data.train=PATH --set data.test=PATH"),
    ):
        model = folder / name
        shutil.copytree(home / name, model)
        (model / "paths.json").unlink()
        (folder / f"again-{name}").symlink_to(model)
        settings = " and ".join(re.findall(r"data\.\w+", sets))
        for command, other_data in (
            (("evaluate", model), f"`textclf evaluate {model} FILE`"),
            (("compare", model, f"again-{name}"), "`--data FILE`"),
            (("calibrate", model), None),
        ):
            result = run(*command)
            assert (result.exit_code, result.stdout) == (1, "")
            assert result.stderr == (
                f"Error: {path}: no such file or folder in {folder}; the model was trained with "
                f"{settings} at this path; the model does not record the folder of these data, "
                "as an export never does; run the command in the folder to which the path is "
                "relative, or specify the data: "
                + (f"{other_data} or {sets}\n" if other_data else f"{sets}\n")
            )
    # Each suggested fix works.
    rows = home / "rows.csv"
    assert stdout_of("evaluate", folder / "model", rows)
    assert stdout_of("evaluate", folder / "model", "--set", f"data.source={rows}")
    paths = ("--set", f"data.train={rows}", "--set", f"data.test={home}/test.csv")
    assert stdout_of("evaluate", folder / "splits", *paths)
    with contextlib.chdir(home):
        assert stdout_of("evaluate", folder / "model")


def test_missing_path_of_an_override_is_reported_without_the_training_data(
    home: Path, folder: Path
):
    result = run("evaluate", home / "model", "--set", "data.source=nowhere.csv")
    assert result.stderr.startswith("Error: nowhere.csv: no such file")
    assert "trained" not in result.stderr


def test_evaluate_gives_equal_metrics_for_the_model_and_its_export(demo: Path):
    reports = [
        json.loads(stdout_of("evaluate", model, "demo", "--split", "validation", "--json"))[
            "report"
        ]
        for model in ("model", "exports/1")
    ]
    assert reports[0]["num_examples"] == 1000
    for name, value in reports[0]["metrics"].items():
        assert reports[1]["metrics"][name] == pytest.approx(value, abs=1e-5)


def test_evaluate_reads_a_file_with_different_columns_and_delimiter(demo: Path):
    (demo / "new.csv").write_text(
        "stars;review\npositive;not bad at all\nnegative;not good at all\npositive;I loved it\n"
    )
    settings = ("data.delimiter=;", "data.text_columns=[review]", "data.label_column=stars")
    sets = [part for setting in settings for part in ("--set", setting)]
    output = json.loads(stdout_of("evaluate", "model", "new.csv", *sets, "--json"))
    assert output["data"] == "new.csv"
    assert output["report"]["num_examples"] == 3, "every row of a file is scored"
    assert output["report"]["metrics"]["accuracy"] == 1.0
    # The order of the classes is that of the model, not of the file.
    assert output["report"]["class_names"] == ["negative", "positive"]


def test_evaluate_maps_label_ids_to_the_classes_of_the_model(demo: Path):
    write_csv(demo / "ids.csv", [["text", "label"], ["I loved it", 1], ["I hated it", 0]])
    output = json.loads(
        stdout_of("evaluate", "model", "ids.csv", "--set", "data.label_ids=from_zero", "--json")
    )
    assert output["report"]["metrics"]["accuracy"] == 1.0


def test_evaluate_rejects_unknown_labels_or_drops_their_rows_on_request(demo: Path):
    write_csv(demo / "new.csv", [["text", "label"], ["I loved it", "positive"], ["no", "awful"]])
    result = run("evaluate", "model", "new.csv")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "new.csv:3: label 'awful' is not in data.class_names" in result.stderr
    assert "data.drop_unknown_labels=true" in result.stderr
    arguments = ("evaluate", "model", "new.csv", "--set", "data.drop_unknown_labels=true")
    result = run(*arguments)
    assert result.stdout.startswith("model on new.csv: 1 example, 2 classes")
    assert "note: 1 row is left out because the model does not have the label" in result.stderr
    assert json.loads(stdout_of(*arguments, "--json"))["dropped_unknown_labels"] == 1


def test_a_label_column_without_any_class_of_the_model_is_refused_in_one_sentence(demo: Path):
    names = ["negative", "positive"]
    rows = [[f"text {i}", i % 5, names[i % 2], "x"] for i in range(12)]
    write_csv(demo / "stars.csv", [["text", "stars", "my label", "id"], *rows])
    result = run("evaluate", "model", "stars.csv", "--set", "data.label_column=stars")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "reading the data\nError: stars.csv: no label is a class; the labels are 0, 1, 2, 3, 4, the classes are "
        "negative, positive; check that data.label_column=stars holds labels, or use --set "
        "'data.label_column=my label'\n"
    )


def test_predict_detects_utf_8_if_the_training_data_were_not_utf_8(demo: Path, folder: Path):
    rows = "".join(f"le caf\u00e9 {i};{('oui', 'non')[i % 2]}\n" for i in range(40))
    (folder / "old.csv").write_bytes(("texte;avis\n" + rows).encode("latin-1"))
    stdout_of("init", "old.csv", "old.yaml")
    quick = "--set training.epochs=1 --set model.encoder=bag --set model.pooling=mean"
    stdout_of("train", "old.yaml", "old", *quick.split())
    (folder / "new.csv").write_text("texte;avis\ncaf\u00e9;oui\n")
    result = run("predict", "old", "--input", "new.csv")
    assert result.stdout.split("\n")[1].startswith("caf\u00e9;oui;")
    assert "new.csv: reading as UTF-8 (the training data were cp1252)" in result.stderr
    assert "reading as" not in run("predict", "old", "--input", "old.csv").stderr
    forced = run("predict", "old", "--input", "new.csv", "--set", "data.encoding=cp1252")
    assert "caf\u00c3" in forced.stdout


def test_evaluate_names_all_unreadable_rows(demo: Path, folder: Path):
    lines = ["text,label", "café,positive", "fine", "good,positive", "bad,", "naïve,negative", ""]
    (folder / "rows.csv").write_bytes("\n".join(lines).encode("latin-1"))
    result = run("evaluate", "model", folder / "rows.csv")
    assert (result.exit_code, result.stdout) == (1, "")
    first, *rest = result.stderr.removeprefix("reading the data\nError: ").splitlines()
    assert first == (
        f"{folder}/rows.csv:2: byte 0xe9 is not utf-8; name the encoding of the file, perhaps "
        "data.encoding=cp1252"
    )
    assert [line.split(":")[1] for line in rest] == ["3", "5", "6"]


def test_evaluate_fails_after_the_report_if_a_requirement_is_not_met(demo: Path):
    write_csv(
        demo / "new.csv", [["text", "label"], ["I loved it", "positive"], ["good", "negative"]]
    )
    met = ("--require", "accuracy=0.5", "--require", "log_loss=100")
    assert run("evaluate", "model", "new.csv", *met).exit_code == 0
    result = run(
        "evaluate", "model", "new.csv", "--require", "macro_f1=0.85", "--require", "log_loss=0"
    )
    assert result.exit_code == 1
    assert result.stdout == stdout_of("evaluate", "model", "new.csv")
    assert re.fullmatch(
        r"reading the data\nError: macro_f1 is 0\.\d{4}, below the required 0\.85\n"
        r"log_loss is \d\.\d{4}, above the required 0\n",
        result.stderr,
    )


def test_evaluate_lists_mistakes_and_warns_of_a_bad_slice(demo: Path):
    rows = [["text", "label", "country"]]
    rows += [["I loved it", "negative" if n % 5 == 0 else "positive", "DE"] for n in range(60)]
    rows += [["I loved it", "positive", "FR"] for _ in range(100)]
    write_csv(demo / "countries.csv", rows)
    line = ("evaluate", "model", "countries.csv", "--by", "country", "--errors", "worst.csv")
    result = run(*line)
    assert result.exit_code == 0
    assert "Slices by country\nvalue  examples  accuracy" in result.stdout
    assert re.search(
        r"^DE +60 +0\.800 +0\.682-0\.882 +1\.000 +<0\.001  worse$", result.stdout, re.M
    )
    assert result.stderr == (
        "reading the data\nwarning: country 'DE': accuracy 0.800 (60 examples, 95 % interval 0.682 "
        "to 0.882) is lower than 1.000 of the other examples by more than chance (p < 0.0001, "
        "corrected for 2 slices)\n160 examples written to worst.csv\n"
    )
    lines = (demo / "worst.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("row,location,text,true,predicted,is_correct,loss")
    assert all(",negative,positive,false," in line for line in lines[1:13]) and len(lines) == 161
    again = run(*line)
    assert (again.exit_code, again.stdout) == (1, "")
    assert json.loads(stdout_of(*line[:5], "--json"))["slices"][1]["is_worse"] is True


def test_evaluate_fails_if_a_required_metric_is_undefined(demo: Path):
    write_csv(demo / "new.csv", [["text", "label"], ["I loved it", "positive"]])
    result = run("evaluate", "model", "new.csv", "--require", "roc_auc=0.5")
    assert result.exit_code == 1
    assert result.stdout.startswith("model on new.csv")
    assert "roc_auc=0.5 is required: the metric 'roc_auc' is undefined" in result.stderr


# === predict ===

TEXTS = ("not bad at all", "not good at all", "", "一点也不差", "- I hated it")
LABELS = ["positive", "negative", "positive", "negative"]  # of all texts except the empty one


def test_predict_prints_one_label_per_text_for_model_and_export(demo: Path):
    answers = [
        stdout_of("predict", model, "--", *TEXTS) for model in ("model", "exports/1", "exports")
    ]
    assert answers[0] == answers[1] == answers[2]
    labels = answers[0].splitlines()
    assert len(labels) == len(TEXTS)
    assert [*labels[:2], *labels[3:]] == LABELS


def test_predict_json_has_the_probabilities_of_all_classes(demo: Path):
    parsed = [
        [
            json.loads(line)
            for line in stdout_of("predict", model, "--json", "--", *TEXTS).splitlines()
        ]
        for model in ("model", "exports/1")
    ]
    for trained, exported, text in zip(*parsed, TEXTS, strict=True):
        assert trained["text"] == exported["text"] == text
        assert trained["label"] == exported["label"]
        assert exported["probabilities"] == pytest.approx(trained["probabilities"], abs=1e-5)
        assert list(trained["probabilities"]) == ["negative", "positive"]
        assert sum(trained["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert trained["confidence"] == max(trained["probabilities"].values())


def test_predict_top_k_is_limited_to_the_number_of_classes(demo: Path):
    assert re.fullmatch(
        r"negative (0\.\d{4}|1\.0000)\tpositive 0\.\d{4}\n",
        stdout_of("predict", "model", "I hated it", "--top-k", "9"),
    )
    answer = json.loads(stdout_of("predict", "model", "I hated it", "--top-k", "1", "--json"))
    assert list(answer["probabilities"]) == ["negative"]


def test_predict_keeps_the_order_of_rows_across_chunks(demo: Path):
    expected = [("positive", "negative")[i % 7 == 0] for i in range(prediction.WINDOW_ROWS + 50)]
    texts = {"positive": "I loved it", "negative": "I hated it"}
    # Lengths differ, as texts are batched by length and results must be in input order.
    lines = [texts[label] + " indeed" * (i % 3) for i, label in enumerate(expected)]
    (demo / "lines.txt").write_text("\n".join(lines))
    alone = dict(zip(texts.values(), texts, strict=True))
    labels = stdout_of("predict", "model", "--input", "lines.txt").splitlines()
    assert len(labels) == len(lines)
    plain = [i for i, line in enumerate(lines) if line in alone]
    assert [labels[i] for i in plain] == [expected[i] for i in plain]


def test_predict_classifies_every_line_including_empty_lines_with_any_line_end(demo: Path):
    (demo / "lines.txt").write_bytes("\ufeffI loved it\r\n\r\n\nI hated it".encode())
    labels = stdout_of("predict", "model", "--input", "lines.txt").splitlines()
    assert [labels[0], labels[3]] == ["positive", "negative"]
    assert len(labels) == 4
    assert stdout_of("predict", "model", "--input", "-", input="I hated it\n") == "negative\n"
    assert stdout_of("predict", "model", "--input", "-", input="") == ""


def test_predict_reports_the_first_line_with_invalid_utf_8(demo: Path):
    (demo / "lines.txt").write_bytes("good\n很好\n一点也不差\n".encode("gb18030"))
    result = run("predict", "model", "--input", "lines.txt")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: lines.txt:2: is not utf-8")
    arguments = ("predict", "model", "--input", "lines.txt", "--set", "data.encoding=gb18030")
    assert stdout_of(*arguments).splitlines()[2] == "positive"


def rows_of(stdout: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(stdout), delimiter=delimiter))


def test_predict_adds_result_columns_to_a_csv_table(demo: Path):
    table = [
        ["id", "text", "predicted"],
        ["1", 'good, "really"\nnew line', "x"],
        ["2", "awful", ""],
    ]
    write_csv(demo / "new.csv", table)
    [head, *rows] = rows_of(stdout_of("predict", "model", "--input", "new.csv"))
    assert head == ["id", "text", "predicted", "predicted_", "confidence"]
    assert [row[:3] for row in rows] == table[1:]
    assert [row[3] for row in rows] == ["positive", "negative"]
    assert all(re.fullmatch(r"[01]\.\d{4}", row[4]) for row in rows)
    [head, first, _] = rows_of(stdout_of("predict", "model", "--input", "new.csv", "--top-k", "5"))
    assert head[3:] == ["predicted_", "confidence", "predicted_2", "confidence_2"]
    assert first[3::2] == ["positive", "negative"]


def test_predict_detects_a_different_delimiter_and_writes_the_same(demo: Path):
    (demo / "new.csv").write_text("n;text\n1;I loved it; really\n".replace("; really", ""))
    rows = rows_of(stdout_of("predict", "model", "--input", "new.csv"), ";")
    assert rows[0] == ["n", "text", "predicted", "confidence"]
    assert rows[1][:3] == ["1", "I loved it", "positive"]


def test_predict_keeps_unbalanced_quotes_of_a_tsv(demo: Path):
    (demo / "new.tsv").write_text('text\tn\n"一点也不差\t1\nI hated it\t2\n')
    lines = stdout_of("predict", "model", "--input", "new.tsv").splitlines()
    assert lines[0] == "text\tn\tpredicted\tconfidence"
    assert lines[1].startswith('"一点也不差\t1\tpositive\t')


def test_predict_reads_json_lines_and_parquet(demo: Path):
    import pyarrow
    import pyarrow.parquet

    records = [{"text": "I loved it", "n": 1}, {"text": "I hated it", "n": 2}]
    (demo / "new.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), demo / "new.parquet")
    for name in ("new.jsonl", "new.parquet"):
        answers = [
            json.loads(line) for line in stdout_of("predict", "model", "--input", name).splitlines()
        ]
        assert [{"text": a["text"], "n": a["n"]} for a in answers] == records
        assert [a["predicted"] for a in answers] == ["positive", "negative"]
        full = [
            json.loads(line)
            for line in stdout_of("predict", "model", "--input", name, "--json").splitlines()
        ]
        assert [answer["columns"] for answer in full] == records
        assert set(full[0]["probabilities"]) == {"negative", "positive"}
    (demo / "new.jsonl").write_text('{"text": "a"}\n{"body": "b"}\n')
    result = run("predict", "model", "--input", "new.jsonl")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: new.jsonl:2: no key 'text'; add it with a text\n"


def test_predict_reads_a_table_without_a_header(demo: Path):
    (demo / "new.csv").write_text("1,I loved it\n2,I hated it\n")
    settings = ("--set", "data.header=false", "--set", "data.text_columns=[2]")
    rows = rows_of(stdout_of("predict", "model", "--input", "new.csv", *settings))
    assert [row[:3] for row in rows] == [
        ["1", "I loved it", "positive"],
        ["2", "I hated it", "negative"],
    ]


def test_predict_answers_lines_of_a_pipe_before_the_input_ends():
    class SlowStream(io.RawIOBase):
        lines = [b"one\r\ntw", b"o\n", b"three"]

        def read1(self, size: int) -> bytes:
            counts.append(len(texts))
            return self.lines.pop(0) if self.lines else b""

    counts: list[int] = []
    texts: list[str] = []
    for chunk in decode_lines(SlowStream(), "utf-8"):
        texts += chunk
    assert texts == ["one", "two", "three"]
    assert counts == [0, 1, 2, 2], "each line is yielded before the next read"


# === Training and multi-label models ===


@pytest.fixture(scope="module")
def multi_label(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a trained multi-label model with Chinese class names."""
    folder = tmp_path_factory.mktemp("multi_label")
    topics = {
        "房间": "the room was large",
        "服务": "the service was kind",
        "早餐": "breakfast was hot",
    }
    rows: list[list[object]] = []
    for i in range(240):
        chosen = [name for bit, name in enumerate(topics) if (i % 8) >> bit & 1]
        text = " and ".join(topics[name] for name in chosen) or "nothing to say"
        rows.append([f"{text}, visit {i}", "|".join(chosen)])
    write_csv(folder / "rows.csv", [["text", "label"], *rows])
    (folder / "rows.yaml").write_text(
        f"data: {{source: {folder}/rows.csv, multi_label: true, label_separator: '|'}}\n"
        "model: {encoder: bag, pooling: mean, embedding_dim: 8}\n"
        "training: {epochs: 8, batch_size: 16, learning_rate: 0.03, length_buckets: 2}\n"
        "evaluation: {bootstrap_samples: 100}\n"
    )
    result = run("train", folder / "rows.yaml", folder / "model")
    assert (result.exit_code, result.stdout) == (0, f"{folder}/model\n"), result.stderr
    return folder


def test_train_replaces_a_folder_only_with_overwrite(multi_label: Path, tmp_path: Path):
    shutil.copytree(multi_label / "model", tmp_path / "model")
    command = ("train", multi_label / "rows.yaml", tmp_path / "model", "--set", "training.epochs=1")
    result = run(*command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("exists already; name another folder or add --overwrite\n")
    assert json.loads(stdout_of("info", tmp_path / "model"))["training"]["epochs"] > 1
    assert stdout_of(*command, "--overwrite") == f"{tmp_path}/model\n"
    assert json.loads(stdout_of("info", tmp_path / "model"))["training"]["epochs"] == 1


def test_predict_and_evaluate_handle_several_labels_in_each_format(multi_label: Path, folder: Path):
    model = multi_label / "model"
    both = "the room was large and breakfast was hot, visit 7"
    assert stdout_of("predict", model, both, "nothing to say") == "房间, 早餐\n\n"
    answer = json.loads(stdout_of("predict", model, both, "--json"))
    assert answer["labels"] == ["房间", "早餐"]
    write_csv(folder / "new.csv", [["text", "n"], [both, 1]])
    [_, row] = rows_of(stdout_of("predict", model, "--input", "new.csv"))
    assert row[:3] == [both, "1", "房间|早餐"]
    (folder / "new.jsonl").write_text(json.dumps({"text": both}))
    assert json.loads(stdout_of("predict", model, "--input", "new.jsonl"))["predicted"] == [
        "房间",
        "早餐",
    ]
    write_csv(
        folder / "labelled.csv", [["text", "label"], [both, "早餐|房间"], ["nothing to say", ""]]
    )
    output = json.loads(
        stdout_of("evaluate", model, "labelled.csv", "--json", "--require", "micro_f1=1")
    )
    assert output["report"]["metrics"]["subset_accuracy"] == 1.0


def test_output_is_utf_8_in_any_locale_and_a_closed_pipe_prints_no_error(multi_label: Path):
    environment = {**os.environ, "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "latin-1"}
    with subprocess.Popen(
        [*PROGRAM, "predict", str(multi_label / "model"), "--input", "-"], env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        stdin = process.stdin
        assert stdin and process.stdout and process.stderr
        stdin.write(b"the service was kind\n")
        stdin.flush()
        assert process.stdout.readline().decode() == "服务\n", (
            "the result must appear before the input ends"
        )
        process.stdout.close()  # as `head -1` does
        with pytest.raises(BrokenPipeError):
            for _ in range(200_000):
                stdin.write(b"the service was kind\n")
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


# === Ctrl-C ===


def interrupt_training(folder: Path, config: Path, *, at: str) -> tuple[int, str, str]:
    """Train in a process and send SIGINT when a line of stderr matches `at`."""
    command = [*PROGRAM, "train", str(config), "out", "--set", "training.epochs=9999"]
    command += ["--set", "training.patience_epochs=0"]
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Background jobs of a shell ignore SIGINT, and children inherit this.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout and process.stderr
        stderr = ""
        for line in process.stderr:
            stderr += line
            if re.match(at, line):
                process.send_signal(signal.SIGINT)
                break
        stderr += process.stderr.read()
        return process.wait(), process.stdout.read(), stderr


def test_ctrl_c_stops_training_at_the_next_step_and_saves_the_best_epoch(
    multi_label: Path, folder: Path
):
    exit_code, stdout, stderr = interrupt_training(
        folder, multi_label / "rows.yaml", at=" +1/9999 "
    )
    assert (exit_code, stdout) == (1, "")
    assert "Traceback" not in stderr
    assert re.search(
        r"^stopping at the next step; .*\nError: interrupted in epoch \d+ at step \d+ of \d+; the "
        r"best epoch so far \(\d+\) is saved in out; continue with --resume\n\Z",
        stderr,
        re.MULTILINE,
    ), stderr
    assert json.loads(stdout_of("info", "out"))["training"]["ended_by"] == "interrupted"


def test_ctrl_c_before_the_first_epoch_saves_a_checkpoint(multi_label: Path, folder: Path):
    exit_code, stdout, stderr = interrupt_training(folder, multi_label / "rows.yaml", at=" +epoch ")
    assert (exit_code, stdout) == (1, "")
    assert "Traceback" not in stderr
    assert re.search(r"\nError: interrupted.*; continue with --resume\n\Z", stderr), stderr
    assert [path.name for path in folder.iterdir()] == ["out.unfinished"]


def test_ctrl_c_between_two_events_removes_temporary_files(
    multi_label: Path, folder: Path, interrupt_at: Callable[[str], None]
):
    resolved = Config.load(multi_label / "rows.yaml")
    interrupt_at("val_loss")  # the head of the table, printed before the first step
    with pytest.raises(TrainingError, match="nothing was saved") as caught:
        run_training(resolved, folder / "out", overwrite=False)
    # The traceback keeps the training alive, so garbage collection cannot remove the files.
    assert list(folder.iterdir()) == []
    assert caught.value.__context__ is not None


# === Events of a training ===


def test_an_exception_between_two_events_ends_the_training_at_once():
    class Started:
        pass

    class Step:
        pass

    ended, handler = [], signal.getsignal(signal.SIGINT)

    def events_of(**arguments: Any):
        try:
            yield Started()
            yield Started()
        finally:
            ended.append(True)

    with Progress() as progress, pytest.raises(KeyboardInterrupt) as caught:
        arguments = {"progress": progress, "time_left": TimeLeft(), "num_epochs": 1}
        with watch(events_of, (Started, Step), **arguments) as events:
            next(events)
            assert signal.getsignal(signal.SIGINT) is not handler
            raise KeyboardInterrupt
    # The traceback, which keeps all local variables, is still there.
    assert caught.tb is not None and ended == [True]
    assert signal.getsignal(signal.SIGINT) is handler


# === Progress on a terminal ===

_BAR = """
import time
from textclf.cli.terminal import Progress
with Progress() as progress:
    progress.stage("reading the data")
    time.sleep(0.2)
    for step in range(4):
        progress.update(f"epoch 1/2 loss {step}", step, 10, key=1)
        time.sleep(0.1)
print("result")
"""


def test_progress_bar_is_drawn_only_on_a_terminal_and_only_on_stderr():
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    completed = subprocess.run(
        [sys.executable, "-c", _BAR], stdout=subprocess.PIPE, stderr=slave, env=environment
    )
    os.close(slave)
    drawn = os.read(master, 1 << 16).decode()
    os.close(master)
    assert completed.stdout == b"result\n"
    assert "reading the data" in drawn
    assert "epoch 1/2 loss 3" in drawn and "3/10" in drawn
    assert re.search(r"\d:\d\d:\d\d|-:--:--", drawn), "the remaining time is missing"


def on_terminal(
    *command: object, columns: int = 80, cwd: Path | None = None, interrupt_at: str = ""
) -> tuple[int, str]:
    """Run a command on a terminal; return its exit code and its output.

    SIGINT is sent when the output contains `interrupt_at`.
    """
    master, slave = pty.openpty()
    size = struct.pack("HHHH", 40, columns, 0, 0)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
    unset = ("COLUMNS", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "FORCE_COLOR")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    process = subprocess.Popen(
        [str(part) for part in command], cwd=cwd, stdin=slave, stdout=slave, stderr=slave,
        env={**environment, "TERM": "xterm-256color"},
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    os.close(slave)
    written = b""
    with contextlib.suppress(OSError):  # EIO when the other side is closed
        while part := os.read(master, 1 << 16):
            written += part
            if interrupt_at and interrupt_at in written.decode():
                process.send_signal(signal.SIGINT)
                interrupt_at = ""
    os.close(master)
    return process.wait(), written.decode()


def screen_lines(written: str) -> list[str]:
    """Return the lines on a terminal after this output, without scrolling."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", written):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif match := re.fullmatch(r"\x1b\[(\d*)A", part):
            row -= int(match[1] or 1)
        elif not part.startswith("\x1b"):
            line = lines[row].ljust(column)
            lines[row] = line[:column] + part + line[column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines]


def test_tables_have_the_width_of_the_terminal_and_a_fixed_width_without_a_terminal(folder: Path):
    write_csv(folder / "rows.csv", [["text", "label"], *ROWS_WITH_FINDINGS[:40]])
    (folder / "rows.yaml").write_text("data: {source: rows.csv}\n")
    command = (sys.executable, "-m", "textclf", "baseline", "rows.yaml")
    header = re.compile(r"model +accuracy .*?(?=\r?\n)")
    shown = {}
    for columns in (70, 120):
        code, written = on_terminal(*command, columns=columns, cwd=folder)
        result = written[header.search(written).start() :]
        assert code == 0 and "\x1b" not in result
        assert max(map(len, result.splitlines())) <= columns
        shown[columns] = header.search(written)[0].split()
    assert shown[120][-1] == "calibration" and shown[70] == shown[120][:-1], "a table is split"
    piped = [
        subprocess.run(
            command, cwd=folder, capture_output=True, env={**os.environ, **extra}, check=True
        ).stdout
        for extra in ({}, {"COLUMNS": "40", "FORCE_COLOR": "1", "TERM": "dumb"})
    ]
    assert piped[0] == piped[1]
    assert header.search(piped[0].decode())[0].split() == shown[120]


def test_a_table_is_no_error_where_stdout_is_closed(folder: Path):
    write_csv(folder / "rows.csv", [["text", "label"], *ROWS_WITH_FINDINGS[:40]])
    (folder / "rows.yaml").write_text("data: {source: rows.csv}\n")
    command = f"exec {sys.executable} -m textclf baseline rows.yaml >&-"
    done = subprocess.run(command, shell=True, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


def test_progress_bar_ends_with_the_loss_of_the_epoch(multi_label: Path, folder: Path):
    train = [*PROGRAM, "train", multi_label / "rows.yaml", folder / "out"]
    sets = ["--set", "training.epochs=2", "--set", "training.batch_size=7"]
    exit_code, written = on_terminal(*train, *sets)
    assert exit_code == 0, written
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    shown = "\n".join(screen_lines(written))
    for epoch in (1, 2):
        row = re.search(rf"^ +{epoch}/2 +(\d\.\d{{4}}) ", shown, re.MULTILINE)
        bars = re.findall(rf"epoch {epoch}/2 loss (\d\.\d{{4}}) .*?(\d+)/(\d+) ", plain)
        assert row is not None and bars, plain
        loss, done, total = bars[-1]
        assert (loss, done) == (row[1], total)
    assert "left; total at most 0:00:" in plain
    assert "starting TensorFlow" in plain
    assert "left" not in shown and "starting" not in shown, "progress remains on the screen"


@pytest.mark.parametrize("columns", [80, 120])
def test_progress_bar_with_large_numbers_fits_on_a_terminal(columns: int):
    code = (
        "from textclf.cli.terminal import Progress\n"
        "with Progress() as progress:\n"
        "    for step in (1, 12345):\n"
        "        note = '; total at most 1:12:30'\n"
        "        progress.update('epoch 10/10 loss 0.4437', step, 12345, key=1, note=note)\n"
    )
    _, written = on_terminal(sys.executable, "-c", code, columns=columns)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    lines = [line for line in re.split(r"[\r\n]+", plain) if "left" in line]
    assert lines and all(len(line) <= columns for line in lines)
    assert re.fullmatch(
        r"epoch 10/10 loss 0\.4437 ━+ 12345/12345 \d:\d\d:\d\d left; total at most 1:12:30",
        lines[-1],
    )


def test_remaining_time_includes_steps_and_validations():
    left = TimeLeft()
    left.start(num_steps=25, num_validations=3, steps_per_validation=2.0)
    left.add_step(100.0)  # not timed, as it includes building the graph
    assert left.seconds() is None and left.in_words() == ""
    for step in range(1, 10):
        left.add_step(100.0 + 2 * step)
    # 15 steps of 2 s; three validations, each as long as two such steps.
    assert left.seconds() == pytest.approx(15 * 2 + 3 * 4)
    left.add_validation(119.0)
    assert left.seconds() == pytest.approx(15 * 2 + 2 * 1)
    assert left.in_words() == "; total at most 0:00:32"
    for step in range(1, 16):
        left.add_step(119.0 + 2 * step)
    left.add_validation(150.0)
    left.add_validation(151.0)
    assert left.seconds() == 0


@pytest.mark.parametrize(
    ("line", "statuses", "result"),
    [
        ("predict model 'I loved it'", ["starting TensorFlow"], ["positive"]),
        (
            "verify exports",
            ["predicting the golden samples in a new process"],
            ["exports/1: verified, 15 golden samples"],
        ),
        (
            "evaluate model --require log_loss=0 --json",
            ["checking the settings and the data", "reading the data", "starting TensorFlow"],
            None,
        ),
        (
            "train nope.yaml out",
            ["checking the settings and the data"],
            ["Error: nope.yaml: no such configuration file; name a YAML file"],
        ),
        (
            "calibrate nope",
            ["checking the settings and the data"],
            ["Error: nope: does not exist; `textclf train` writes such a folder"],
        ),
        (
            "data check nope.csv",
            ["checking the settings and the data"],
            ["Error: nope.csv: no such file; the path is relative to "],
        ),
    ],
)
def test_terminal_shows_statuses_during_the_work_and_only_the_result_at_the_end(
    demo: Path, line: str, statuses: list[str], result: list[str] | None
):
    _, written = on_terminal(*PROGRAM, *shlex.split(line), cwd=demo)
    assert written.startswith(statuses[0])
    positions = [written.find(status) for status in statuses]
    assert -1 not in positions and positions == sorted(positions), written
    shown = [line for line in screen_lines(written) if line]
    if result is None:
        assert shown[0].startswith('{"model"') and shown[-1].startswith("Error: log_loss is")
        assert len(shown) == 2
    else:
        # A long path of the folder is on a separate line.
        text = "".join(shown).replace(str(demo), "")
        assert text == "".join(result)


def test_ctrl_c_while_tensorflow_starts_prints_one_message(demo: Path):
    command = [*PROGRAM, "predict", "model", "good"]
    exit_code, written = on_terminal(*command, cwd=demo, interrupt_at="starting TensorFlow")
    assert exit_code == 1 and written.startswith("starting TensorFlow")
    assert [line for line in screen_lines(written) if line] == ["Error: interrupted"]


def test_progress_without_a_terminal_is_one_line_per_stage():
    completed = subprocess.run([sys.executable, "-c", _BAR], capture_output=True)
    assert (completed.stdout, completed.stderr) == (b"result\n", b"reading the data\n")
