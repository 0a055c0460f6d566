"""The documentation: generated pages are current, examples run, links lead somewhere.

`pytest tests/test_docs.py --update-golden` rewrites docs/cli.md and docs/config.md.
"""

import configparser
import csv
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML
from worker_processes import task

import textclf
from textclf import artifact, config, training
from textclf.cli import main
from textclf.study import folder as folders
from textclf.study import grid, summary
from textclf.training import mlflow_store

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


# === The generated pages ===


def commands(path: tuple[str, ...] = (), command: click.Command = main) -> Iterator[tuple]:
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands((*path, name), child)


def cli_page() -> str:
    parts = [
        "# The command line",
        "<!-- Written by `pytest tests/test_docs.py --update-golden`; do not edit. -->",
        "Results go to stdout, everything else to stderr. The exit code is 0, or 1 if the command "
        "could\nnot do it (an error in settings or data, a requirement that is not met, Ctrl-C), "
        "or 2 for wrong\nusage. MODEL is a trained folder, an exported version or a folder of "
        "versions. In a folder of\nversions, the newest one is used. `python -m textclf` is the "
        "same program.",
    ]
    for path, command in commands():
        name = " ".join(("textclf", *path))
        context = click.Context(
            command, info_name=name, terminal_width=80, help_option_names=["--help", "-h"]
        )
        parts += [f"## {name}", f"```\n{command.get_help(context)}\n```"]
    return "\n\n".join(parts) + "\n"


def config_page() -> str:
    parts = [
        "# The configuration",
        "<!-- Written by `pytest tests/test_docs.py --update-golden`; do not edit. -->",
        "A YAML file with the sections below holds what differs from the defaults. "
        "`--set SECTION.SETTING=VALUE`\ngoes before the file. `textclf config show` prints every "
        "setting of a file, `textclf config check`\nits errors, and `textclf config schema` the "
        "JSON Schema for an editor. A setting that another one\nleaves "
        "without effect is refused rather than ignored. `--set SECTION.SETTING=`, without a value, "
        "removes that of the file.\n\nA relative path in the file is relative to "
        "the folder of the file. A path may also begin with `~` or\n`${VARIABLE}`. A relative path "
        "from `--set`, from the value of a variable or from `Config.from_dict` is\nrelative to the "
        "current folder. The paths in the `config.yaml` of a trained folder lead to the data of the\n"
        "training ([data.md](data.md#data-of-a-trained-folder)).\n\nWhere a text is "
        "expected, numbers, `true` and `false` are taken as they are written (`label_column: 2`,"
        "\n`class_names: [007, 1.0]`), and one text is a list of one (`text_columns: review`).",
    ]
    for section, model in config.SECTIONS.items():
        parts += [f"## {section}", (model.__doc__ or "").strip()]
        lines = []
        for path, setting in config.SETTINGS.items():
            if not path.startswith(f"{section}."):
                continue
            name = path.split(".")[1]
            words = config.expected(path).replace(" or null", "")
            line = f"- `{name}` (default `{_yaml(setting.default)}`): {setting.description}. "
            line += f"Expects {words}."
            if path in config.RULES:
                line += f" Read only if {config.RULES[path].condition}."
            lines.append(line)
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _yaml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f'"{value}"' if isinstance(value, str) and not value.strip(" ,") else str(value)


@pytest.mark.parametrize(("name", "page"), [("cli.md", cli_page), ("config.md", config_page)])
def test_a_generated_page_is_current(name: str, page: Any, request: pytest.FixtureRequest):
    path = DOCS / name
    if request.config.getoption("--update-golden"):
        path.write_text(page(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == page(), (
        f"docs/{name} is old: run pytest tests/test_docs.py --update-golden"
    )


# === What the pages show ===


def blocks(page: str, language: str) -> list[tuple[int, str]]:
    """Return line and text of each block of a language on a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start()) + 2, match[1])
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]


def test_code_of_the_python_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    found = blocks("python.md", "python")
    assert len(found) >= 8
    names: dict[str, Any] = {"__name__": "docs_python"}
    for line, code in found:
        # The empty lines give a traceback the line numbers of the page.
        exec(compile("\n" * (line - 1) + code, str(DOCS / "python.md"), "exec"), names)


def test_the_commands_of_the_tutorial_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    make, serve = (code for _, code in blocks("tutorial.md", "python"))
    assert "6000" in make
    # A twentieth of the rows: the commands are tested, not the scores.
    exec(make.replace("6000", "300"), {})
    lines = [line for _, text in blocks("tutorial.md", "sh") for line in text.splitlines()]
    assert len(lines) >= 9
    output = {}
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "textclf"
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{line}\n{result.output}"
        output[line] = result.stdout
    assert list(output.values())[0] == "textclf train opinions.yaml runs/opinions\n"
    answers = next(text for line, text in output.items() if "一点也不差" in line).split()
    assert len(answers) == 3 and set(answers) <= {"negative", "positive"}
    exec(serve, {})


def test_the_commands_of_the_calibrate_page_run(
    bag: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    rows = [(f"{word} {i}", label) for i in range(80) for word, label in TOPICS.items()]
    for name, column in (("reviews", 0), ("topics", 1), ("spam", 2)):
        lines = [f"{text}\t{labels[column]}\n" for text, labels in rows]
        Path(f"{name}.csv").write_text("text\tlabel\n" + "".join(lines))
        section = {"source": f"{name}.csv", "delimiter": "\t", "multi_label": name == "topics"}
        if name != "reviews":
            section["validation_fraction"] = 0.5  # lower bounds need examples
        training = {**bag["training"], "epochs": 9}
        settings = {**bag, "data": section, "training": training}
        textclf.train(config.Config.from_dict(settings), f"runs/{name}")
    Path("archive").mkdir()
    shutil.copy("reviews.csv", "archive")
    page = (DOCS / "calibrate.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    (textclf .*)$", page, re.MULTILINE)
    assert len(lines) >= 7
    for line in lines:
        result = CliRunner().invoke(main, shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
    history = artifact.read_card("runs/reviews").history
    assert [past.options for past in history] == [{}, {"precision": 0.95}, {"coverage": 0.9}, {}]
    careful = artifact.read_card("runs/careful")
    assert careful.calibration is not None and careful.calibration.options == {"precision": 0.95}
    topics = artifact.read_card("runs/topics")
    assert topics.calibration is not None
    assert topics.calibration.options == {"maximize": "micro_f1"}
    assert [past.options for past in topics.history[1:]] == [
        {"precision": 0.8, "each_label": True},
        {"recall": 0.5, "each_label": True},
    ]
    spam = artifact.read_card("runs/spam")
    assert spam.thresholds is not None and spam.thresholds[spam.class_names.index("ham")] == 0
    assert Path("saved_models/reviews/1").is_dir()


# Word -> label of a review, labels of topics, label of a message.
TOPICS = {
    "good": ("positive", "a", "ham"),
    "bad": ("negative", "a,b", "spam"),
    "dull": ("negative", "b", "spam"),
}


def test_the_commands_of_the_resuming_page_run(
    bag: dict[str, Any], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(reviews, "reviews.csv")
    Path("reviews.yaml").write_text(json.dumps({**bag, "data": {"source": "reviews.csv"}}))
    page = (DOCS / "resuming.md").read_text(encoding="utf-8")
    lines = re.findall(r"(?:^    |until )(textclf [^;\n]*)", page, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        result = CliRunner().invoke(main, shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}"
    assert "is finished: nothing is left to do" in result.stderr
    [(_, code)] = blocks("resuming.md", "python")
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["result"].why == "finished before"


def test_code_of_the_error_analysis_page_runs(
    bag: dict[str, Any], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    settings = config.Config.from_dict({**bag, "data": {"source": str(reviews)}})
    textclf.train(settings, "runs/reviews")
    rows = [("good", "positive", "at"), ("bad", "negative", "ch")] * 15
    lines = [f"{text},{label},{country}\n" for text, label, country in rows]
    Path("new.csv").write_text("text,label,country\n" + "".join(lines))
    [(_, code)] = blocks("error_analysis.md", "python")
    names: dict[str, Any] = {}
    exec(code, names)
    result = names["result"]
    assert {(part.by, part.value) for part in result.slices} == {
        ("country", "at"),
        ("country", "ch"),
    }
    assert len(result.curves) == 2
    assert len(Path("errors.jsonl").read_text().splitlines()) == len(rows)


def test_code_of_the_tracking_page_writes_the_epochs(
    bag: dict[str, Any], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("reviews.yaml").write_text(json.dumps({**bag, "data": {"source": str(reviews)}}))
    [(_, code)] = blocks("tracking.md", "python")
    names: dict[str, Any] = {}
    exec(code, names)
    first, *rows = list(csv.DictReader(Path("epochs.csv").read_text().splitlines()))
    assert [row["epoch"] for row in [first, *rows]] == ["1", "2"] and first["is_best"] == "True"
    history = Path("runs/tracked/history.jsonl").read_text().splitlines()
    assert [float(row["val_loss"]) for row in [first, *rows]] == [
        json.loads(line)["val_loss"] for line in history
    ]
    # A training that continues has the epochs before in its first event.
    chosen, epochs = config.Config.load("reviews.yaml"), list[int]()
    stopping = textclf.train_events(
        chosen, "runs/resumed", should_stop=lambda: bool(epochs), max_steps_per_call=1
    )
    for event in names["track"](stopping, "interrupted.csv"):
        if isinstance(event, training.Epoch):
            epochs.append(event.epoch)
    for _ in names["track"](textclf.train_events(chosen, "runs/resumed", resume=True), "all.csv"):
        pass
    assert epochs == [1]
    assert [line.split(",")[0] for line in Path("all.csv").read_text().splitlines()[1:]] == [
        "1",
        "2",
    ]


def test_tracking_page_names_the_default_store_and_experiment():
    page = (DOCS / "tracking.md").read_text(encoding="utf-8")
    assert f"mlflow ui --backend-store-uri sqlite:///{mlflow_store.DEFAULT_FILE}" in page
    assert f"experiment `{mlflow_store.DEFAULT_EXPERIMENT}`" in page


def test_code_and_figures_of_the_gradients_page_are_current(
    tiny: dict[str, Any], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("reviews.yaml").write_text(json.dumps({**tiny, "data": {"source": str(reviews)}}))
    [(_, code)] = blocks("gradients.md", "python")
    names: dict[str, Any] = {}
    exec(code, names)
    page = (DOCS / "gradients.md").read_text(encoding="utf-8")
    figures = names["result"].history[-1]
    by_layer = {name for name, value in figures.items() if isinstance(value, dict)}
    assert set(re.findall(r"^\| `(\w+)` \| ", page.split("\n## ")[1], re.MULTILINE)) == by_layer
    tests = re.findall(r"\[`(test_\w+)`\]\(\.\./(\S+)\)", page)
    assert len(tests) >= 6
    for test, path in tests:
        assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8")


def test_worker_script_of_the_distributed_page_describes_the_workers(tmp_path: Path):
    (_, script), *others = blocks("distributed.md", "sh")
    (tmp_path / "worker.sh").write_text(script)
    command = [
        "sh",
        tmp_path / "worker.sh",
        "host1:12345,host2:12345",
        "1",
        "printenv",
        "TF_CONFIG",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(task(["host1:12345", "host2:12345"], 1))
    assert len(others) == 2
    for line, text in others:
        done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, f"docs/distributed.md:{line}: {done.stderr}"


def test_configuration_and_manifest_of_the_distributed_page_are_valid():
    (line, text), (_, manifest) = blocks("distributed.md", "yaml")
    settings = config.Config.from_yaml(text, name=f"docs/distributed.md:{line}")
    assert settings.training.strategy == "multi_worker" and settings.notices == ()
    service, job = YAML(typ="safe", pure=True).load_all(manifest)
    name = job["metadata"]["name"]
    assert (service["metadata"]["name"], service["spec"]["selector"]) == (name, {"job-name": name})
    pods = job["spec"]["template"]["spec"]
    assert pods["subdomain"] == name
    [container] = pods["containers"]
    addresses = container["command"][-1].split()[3].split(",")
    hosts = [address.partition(":")[0] for address in addresses]
    assert hosts == [f"{name}-{index}.{name}" for index in range(job["spec"]["completions"])]


def test_configurations_on_the_data_page_are_valid_and_show_every_format():
    found = blocks("data.md", "yaml")
    formats = set()
    for line, text in found:
        settings = config.Config.from_yaml(text, name=f"docs/data.md:{line}")
        assert settings.notices == ()
        formats.add(config.data_format(settings.data.to_dict()))
    assert formats == {"csv", "tsv", "jsonl", "parquet", "folder", "tfds", "demo"}


def test_the_data_page_names_every_data_setting():
    text = (DOCS / "data.md").read_text(encoding="utf-8")
    missing = [name for name in config.Config().data.to_dict() if f"{name}" not in text]
    assert missing == []


def test_the_grid_of_the_benchmark_page_is_valid(tmp_path: Path):
    [(_, text)] = blocks("benchmark.md", "yaml")
    (tmp_path / "cells.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "reviews.yaml").write_text("data: {source: demo}\n")
    benchmark = grid.read(tmp_path / "cells.yaml")
    assert len(benchmark.runs) == 3 + 5 * (5 + 2)
    page = (DOCS / "benchmark.md").read_text(encoding="utf-8")
    assert [key for key in grid.KEYS if f"`{key}`" not in page] == []


def test_every_command_and_every_setting_is_in_the_docs():
    text = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))
    for path, command in commands():
        assert f"## {' '.join(('textclf', *path))}\n" in text
        for parameter in command.params:
            for option in parameter.opts:
                assert option in text or not option.startswith("-")
    for path, setting in config.SETTINGS.items():
        assert f"- `{path.split('.')[1]}` (" in text, path
        assert setting.description, f"{path} has no description"


def exists(name: str) -> bool:
    """Return whether a dotted name of our package is a module or an attribute."""
    parts = name.split(".")
    for number in range(len(parts), 0, -1):
        path = ".".join(["textclf", *parts[:number]])
        try:
            value = importlib.import_module(path)
        except ModuleNotFoundError as error:
            assert error.name is not None and path.startswith(error.name), error
            continue
        for part in parts[number:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


def test_every_name_that_the_code_cites_exists():
    package = ROOT / "textclf"
    modules = {path.stem for path in package.iterdir() if path.name[0] not in "_."}
    cited = {
        name
        for path in package.rglob("*.py")
        for name in re.findall(r"`((?:[a-z_]+\.)+\w+)[`(]", path.read_text(encoding="utf-8"))
        if name.split(".")[0] in modules and not name.endswith((".py", ".html", ".json", ".yaml"))
    }
    assert len(cited) > 25
    assert sorted(name for name in cited if name not in config.SETTINGS and not exists(name)) == []


def pages() -> list[Path]:
    ours = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    return [*ours, *(ROOT / "saved_models").glob("*.md"), *(ROOT / "configs").glob("*.md")]


def test_relative_links_lead_to_files():
    checked = 0
    for page in pages():
        text = page.read_text(encoding="utf-8")
        text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" in link or link.startswith(("#", "mailto:")):
                continue
            target = page.parent / link.partition("#")[0]
            assert target.exists(), f"{page.relative_to(ROOT)} links to {link}"
            checked += 1
    assert checked >= 1


def test_ci_runs_the_test_command_of_the_readme():
    line = "python3 -m venv .venv && .venv/bin/pip install tox && .venv/bin/tox"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert line in [text.strip() for text in readme.splitlines()], "the README lost its test line"
    assert line in (ROOT / ".ci/run").read_text().splitlines()
    assert os.access(ROOT / ".ci/run", os.X_OK)


# The rest of a command that installs something, up to the end of its line or of the quotation.
INSTALL = re.compile(
    r"\b(?:pip3?|pipx|uv|uvx|conda|mamba|poetry|pdm|hatch)\s+(?:\w+\s+)?"
    r"(?:install|add|inject|sync|tool|run)\b([^\n`;&|]*)"
)


def index_requirements(text: str) -> list[str]:
    """Return the requirements in a text that would install `textclf` from an index."""
    # Join adjacent literals of Python and words on two lines of a page.
    text = re.sub(r"[\"']\s*\n\s*f?[\"']", "", text)
    words = [word for match in INSTALL.finditer(text) for word in match[1].split()]
    words += re.findall(r"[\w.-]*textclf\[[^\]\s]+\]", text)
    is_ours = re.compile(r"(?:keras[-_.])?textclf(?:\[.*)?(?:[<>=~!@;].*)?", re.IGNORECASE)
    return [word for word in words if is_ours.fullmatch(word.strip("\"'`.,:()"))]


def test_index_requirements_finds_every_form_of_an_install_command():
    for text in (
        "pip install textclf",
        "Over HTTP: `pip install 'textclf[serve]'`, then",
        ".venv/bin/pip install -U --quiet textclf==0.1.0",
        "python -m pip install keras-textclf",
        'raise Error("a: pip install "\n    f"\'textclf[serve]\'")',
        "uv add textclf",
        "uv pip install textclf",
        "the extra `textclf[fasttext]`",
    ):
        assert index_requirements(text), text
    for text in (
        "`.venv/bin/pip install '.[serve]'` in the checkout of textclf",
        "pip install . && .venv/bin/textclf demo",
        "pip install -e '.[test]'",
    ):
        assert not index_requirements(text), text


def test_no_page_or_message_installs_the_package_from_an_index():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    assert parser["metadata"]["name"] == "keras-textclf", "the index has another `textclf`"
    assert parser["options.entry_points"]["console_scripts"].strip() == "textclf = textclf.cli:main"
    code = [*ROOT.glob("textclf/**/*.py"), *ROOT.glob("textclf/**/*.html")]
    code += [*ROOT.glob("benchmarks/*.py"), ROOT / "setup.cfg", ROOT / "tox.ini", ROOT / ".ci/run"]
    code += [*ROOT.glob("configs/*.yaml"), *ROOT.glob("benchmarks/**/*.yaml")]
    assert len(code) > 60
    said = {
        str(path.relative_to(ROOT)): index_requirements(path.read_text(encoding="utf-8"))
        for path in [*pages(), *code]
    }
    assert {path: words for path, words in said.items() if words} == {}
    # A look-up by the name of our distribution fails in an older installation. The doctor looks up
    # other distributions; tests/test_doctor.py compares their names.
    looking_up = [p for p in code if "importlib.metadata" in p.read_text(encoding="utf-8")]
    assert looking_up == [ROOT / "textclf" / "doctor" / "packages.py"]


def test_no_page_names_a_folder_of_a_developer_machine():
    for page in pages():
        found = re.search(r"/(home|root|work|Users)/\w+", page.read_text(encoding="utf-8"))
        assert found is None, f"{page.relative_to(ROOT)}: {found[0] if found else ''}"


def test_the_results_page_and_the_verdicts_agree_with_the_stored_runs():
    path = ROOT / "benchmarks" / "cells.py"
    spec = importlib.util.spec_from_file_location("cells", path)
    cells = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cells)
    page = (DOCS / "benchmark_results.md").read_text(encoding="utf-8")
    assert page.partition(cells.MARK)[2] == cells.results_section(), (
        "run python benchmarks/cells.py"
    )
    num_checked = 0
    for file in (ROOT / "benchmarks" / "runs").glob("*.yaml"):
        benchmark, folder = grid.read(file), file.with_suffix("")
        results = folders.finished(benchmark, folder)
        if results:
            num_checked += 1
            known = json.loads((folder / "benchmark.json").read_text(encoding="utf-8"))["runs"]
            assert known == {run.name: run.fingerprint for run in benchmark.runs}
            failures = folders.failures(benchmark, folder)
            [dataset] = summary.summarize(benchmark, results, failures).datasets.values()
            stored = json.loads((folder / "verdicts.json").read_text(encoding="utf-8"))
            for key in ("comparisons", "with_simple"):
                words = [comparison.words for comparison in getattr(dataset, key)]
                assert [c["words"] for c in stored["datasets"][file.stem][key]] == words
    assert num_checked
