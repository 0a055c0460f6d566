"""Layers: each module imports only from lower ones, and light modules import nothing heavy."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import textclf

PACKAGE = Path(textclf.__file__).parent
ROOT = Path(__file__).parents[1]

# Module or package of textclf -> its layer; "" is the root, which only holds the version.
LAYERS = {
    "": -1,  # for its importers; its own imports are lazy
    "errors": 0,
    "demo": 0,
    "progress": 0,
    "splits": 0,
    "display": 0,
    "trace": 0,
    "pages": 1,
    "startup": 1,
    "config": 1,
    "tasks": 1,
    "data": 2,
    "evaluation": 2,
    "text": 2,
    "networks": 2,
    "artifact": 3,
    "analysis": 4,
    "baselines": 4,
    "linear": 3,
    "plots": 3,
    "recipes": 3,
    "batches": 4,
    "model_card": 4,
    "model_data": 4,
    "classifier": 5,
    "training": 6,
    "saved_model": 6,
    "prediction": 6,
    "audit": 6,
    "active_learning": 7,
    "pretraining": 7,
    "recalibration": 7,
    "scoring": 7,
    "report": 8,
    "label_errors": 8,
    "serving": 7,
    "model_page": 9,
    "study": 9,
    "doctor": 10,
    "cli": 11,
    "__main__": 12,
}
LIGHT = (
    "errors",
    "demo",
    "progress",
    "splits",
    "display",
    "startup",
    "trace",
    "config",
    "data",
    "evaluation",
    "label_errors.suspects",
    "tasks",
    "active_learning",
    "analysis",
    "artifact",
    "doctor",
    "doctor.folders",
    "doctor.gpu",
    "doctor.machine",
    "doctor.subject",
    "model_card",
    "recalibration",
    "model_data",
    "model_page",
    "pages",
    "prediction",
    "recipes",
    "report",
    "scoring",
    "serving.listening",
    "training.checks",
    "pretraining.checks",
    "cli",
    "baselines",
    "plots",
    "study.models",
    "study.model_report",
    "study.comparison",
    "study.running",
    "study.summary",
    "study.tables",
    "study.worker",
)


def module_of(path: Path) -> str:
    """Return the module with a layer that a file belongs to: `data` for `data/parts.py`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py").replace("__init__", "")


def imported(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and module of every import of `textclf` in a file, also in functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            base = node.module or ""
            # `from textclf import data` names a module, `from textclf.data import X` does not.
            names = [f"{base}.{a.name}" for a in node.names] if base == "textclf" else [base]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "textclf":
                module = parts[1] if len(parts) > 1 else ""
                yield node.lineno, "" if module == "__version__" else module


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_every_module_has_a_layer_and_every_layer_a_module() -> None:
    assert {module_of(path) for path in files()} == set(LAYERS)


def test_table_of_the_design_page_has_the_layer_of_every_module() -> None:
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)
    layers = {module: layer for module, layer in LAYERS.items() if module}
    assert {module: int(layer) for layer, module in rows} == layers


def test_tree_of_the_contributing_page_has_every_file_of_the_package() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = page.partition("```text\ntextclf/\n")[2].partition("```")[0]
    listed, folders = [], [""]
    for indent, name in re.findall(r"^( +)(\S+)", tree, re.MULTILINE):
        folders = folders[: len(indent) // 2]
        if name.endswith("/"):
            folders.append(name)
        else:
            listed.append("".join(folders) + name)
    expected = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.*")]
    # The `__init__.py` of a package below is described by the line of its folder.
    unlisted = ("/__init__.py", ".pyc", "py.typed")
    assert sorted(listed) == sorted(path for path in expected if not path.endswith(unlisted))


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_lead_only_to_lower_layers(path: Path) -> None:
    own = module_of(path)
    upward = [
        f"line {line}: {own} (layer {LAYERS[own]}) imports {module} (layer {LAYERS[module]})"
        for line, module in imported(ast.parse(path.read_text(encoding="utf-8")), path)
        if own and module != own and LAYERS[module] >= LAYERS[own]
    ]
    assert not upward


def test_import_finder_finds_imports_in_functions_and_of_names() -> None:
    code = (
        "import textclf\n"
        "import os, textclf.cli\n"
        "def f():\n"
        "    from textclf import data, text as t\n"
        "    from textclf.config.settings import Config\n"
    )
    found = list(imported(ast.parse(code), Path("x.py")))
    assert found == [(1, ""), (2, "cli"), (4, "data"), (4, "text"), (5, "config")]


def test_light_modules_load_neither_tensorflow_nor_keras() -> None:
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module('textclf.' + name)\n"
        "    heavy = {'tensorflow', 'keras', 'tensorflow_datasets'} & set(sys.modules)\n"
        "    assert not heavy, f'textclf.{name} loads {heavy}'\n"
    )
    run = subprocess.run([sys.executable, "-c", code, *LIGHT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_an_unknown_setting_is_reported_without_heavy_or_slow_imports(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("model:\n  unit: 3\n")
    code = (
        "import sys\n"
        "from textclf.cli import main\n"
        "try:\n"
        "    main(['config', 'check', sys.argv[1]])\n"
        "except SystemExit as exit:\n"
        "    assert exit.code == 1\n"
        "slow = {'tensorflow', 'keras', 'numpy', 'scipy', 'sklearn', 'pyarrow', 'rich'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "did you mean model.units?" in run.stderr


@pytest.mark.parametrize(
    "line",
    ["evaluate nowhere", "predict nowhere text", "calibrate nowhere", "info nowhere",
     "thresholds nowhere", "report nowhere out.html",
     "export nowhere out", "verify nowhere", "serve nowhere", "compare nowhere nowhere2",
     "doctor nowhere", "explain nowhere text", "data next nowhere new.csv"],
)  # fmt: skip
def test_a_wrong_folder_is_refused_without_the_heavy_or_the_slow(line: str, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from textclf.cli import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit as exit:\n"
        "    assert exit.code == 1\n"
        "slow = {'tensorflow', 'keras', 'numpy', 'scipy', 'sklearn', 'pyarrow', 'rich'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *line.split()], capture_output=True, text=True, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    assert "nowhere: does not exist" in run.stderr


def test_importing_the_command_line_loads_neither_msgspec_nor_difflib_nor_rich() -> None:
    code = (
        "import sys, textclf.cli; print(sorted({'msgspec', 'difflib', 'rich'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_import_tensorflow_loads_neither_scikit_learn_nor_matplotlib_and_prints_nothing():
    code = (
        "import sys; from textclf.startup import import_tensorflow; import_tensorflow(); "
        "loaded = {name.partition('.')[0] for name in sys.modules}; "
        "print(sorted(loaded & {'keras', 'sklearn', 'matplotlib'})); "
        "import sklearn.base, matplotlib"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("['keras']", "")


def test_the_design_page_lists_the_files_that_a_text_and_a_setting_cross() -> None:
    script = ROOT / "tools" / "call_paths.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    paths = json.loads(done.stdout)
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    for name, largest in (("text", 11), ("setting", 7)):
        section = page.partition(f"## Path of a {name}\n")[2].partition("\n## ")[0]
        listed = re.findall(r"^\| `([\w/]+\.py)` \|", section, re.MULTILINE)
        assert sorted(listed) == sorted(paths[name])
        assert len(listed) <= largest


@pytest.mark.parametrize("module", ["textclf.classifier", "elsewhere"])
def test_only_graphs_of_loaded_models_are_traced_without_warning(module: str):
    code = (
        "from textclf.startup import import_tensorflow; import_tensorflow(); "
        "import tensorflow as tf\n"
        f"class Model:\n    __module__ = {module!r}\n"
        "    def answer(self, x): return x\n"
        "for _ in range(9): tf.function(Model().answer, autograph=False)(tf.constant(0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ("triggered tf.function retracing" in done.stderr) == (module == "elsewhere")
