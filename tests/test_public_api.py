"""Public API: the names of `import textclf`, and its lazy imports."""

import inspect
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import textclf
from textclf.config import with_paths


def test_import_textclf_loads_neither_tensorflow_nor_numpy() -> None:
    code = (
        "import sys, textclf; textclf.Config; textclf.TextclfError; "
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_calibrate_refuses_a_wrong_folder_without_tensorflow() -> None:
    code = """
import sys, textclf
textclf.CalibrationResult
try:
    textclf.calibrate("nowhere")
except textclf.TextclfError as error:
    assert "nowhere: does not exist" in str(error)
    assert "tensorflow" not in sys.modules
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", textclf.__all__)
def test_every_public_name_resolves_and_has_a_docstring(name: str) -> None:
    assert getattr(textclf, name).__doc__
    assert name in dir(textclf)


@pytest.mark.parametrize(
    "name", [name for name in textclf.__all__ if inspect.isfunction(getattr(textclf, name))]
)
def test_the_example_of_every_public_function_runs(
    name: str, reviews: Path, tiny: dict[str, Any], trained: Path, model: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for run in ("lstm", "gru") if name.startswith("train") else ("lstm", "gru", "reviews"):
        shutil.copytree(trained, tmp_path / "runs" / run)
    for file in ("reviews.csv", "new.csv"):
        shutil.copy(reviews, file)
    if name == "score":
        Path("new.csv").write_text("text,stars\ngood,positive\nbad,negative\n")
    Path("comments.txt").write_text("good\nbad\n")
    description = inspect.getdoc(getattr(textclf, name)) or ""
    example = re.findall(
        r"^ {4}.*\n?", re.split(r"^Args:|^Raises:", description, flags=re.M)[0], re.M
    )
    assert example and f"{name}(" in "".join(example)
    Path("unlabelled.txt").write_text("another text\n")
    small = {"batch_size": 4, "window": 8, "held_out": 0.1}
    config = textclf.Config.from_dict(
        {**tiny, "data": {"source": "reviews.csv"}, "pretraining": small}
    )
    known = {
        "textclf": textclf,
        "config": config,
        "with_paths": with_paths,
        "model": model,
        "dataset": textclf.open_dataset(source="reviews.csv"),
        name: getattr(textclf, name),
    }
    exec(textwrap.dedent("".join(example)), known)


def test_a_folder_is_exported_and_an_export_is_refused(
    trained: Path, exports: Path, tmp_path: Path
):
    version = textclf.export(trained, tmp_path / "exports", is_verified=False)
    assert textclf.load(version).predict(["good"]) == textclf.load(trained).predict(["good"])
    with pytest.raises(textclf.TextclfError, match="is an exported version, .* export the trained"):
        textclf.export(textclf.load(version), tmp_path / "exports")
    with pytest.raises(textclf.TextclfError, match="is an exported SavedModel"):
        textclf.export(version, tmp_path / "exports")


def test_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'textclf' has no attribute 'trian'"):
        textclf.trian  # noqa: B018


def test_train_returns_a_typed_result_and_load_reads_its_folder(
    reviews: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    config = textclf.Config.from_dict({**tiny, "data": {"source": str(reviews)}})
    result = textclf.train(config, tmp_path / "run")
    assert result.folder == tmp_path / "run"
    assert [figures["epoch"] for figures in result.history] == [1, 2]
    assert (result.best_epoch, result.why) in {(1, "epochs"), (2, "epochs")}
    model = textclf.load(tmp_path / "run")
    assert result.validation == model.card.validation
    dataset = textclf.open_dataset(source=str(reviews))
    html = result._repr_html_()
    assert f"Training of {result.folder}: ended by epochs" in html
    rows = html.split("<tr>")[2:]
    assert all(f"{h['val_loss']:.4f}" in row for h, row in zip(result.history, rows, strict=True))
    assert [number for number, row in enumerate(rows, 1) if ">best<" in row] == [result.best_epoch]
    report = textclf.evaluate(tmp_path / "run", dataset, "validation", bootstrap_samples=0)
    assert report.get("accuracy") == result.validation.get("accuracy")


def test_train_events_checks_the_data_at_the_call(tmp_path: Path) -> None:
    config = textclf.Config.from_dict({"data": {"source": str(tmp_path / "none.csv")}})
    with pytest.raises(textclf.TextclfError, match="no such file"):
        textclf.train_events(config, tmp_path / "run")


def test_config_replace_returns_a_checked_copy_and_reports_dropped_settings() -> None:
    values = {"data": {"source": "demo"}, "model": {"encoder": "gru", "reset_after": False}}
    config = textclf.Config.from_dict(values)
    changed = config.replace({"model.encoder": "lstm", "model.units": 7, "text.unit": "character"})
    assert (changed.model.encoder, changed.model.units) == ("lstm", 7)
    assert changed.notices == ("model.reset_after: dropped, because now model.encoder is lstm",)
    assert config.model.units == 64 and config.notices == ()
    assert config.replace({}) == config
    with pytest.raises(textclf.TextclfError) as caught:
        config.replace({"model.unit": 3, "epochs": 3, "model.units": 0})
    assert len(str(caught.value).splitlines()) == 3


def test_config_load_applies_overrides_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("data: {source: demo}\n")
    config = textclf.Config.load(tmp_path / "a.yaml", {"training.epochs": 3})
    assert config.training.epochs == 3
