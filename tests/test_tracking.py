"""Tracking in MLflow: values of each event, the state of the run, continued and failed trainings.

Tests of `tracked` need MLflow, which `tox -e mlflow` installs.
"""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from killed_training import result_of
from studies import TINY
from worker_processes import task

import textclf
from textclf import training
from textclf.cli import main
from textclf.config import Config
from textclf.errors import TextclfError, TrainingError
from textclf.study import grid, worker
from textclf.study.records import Job
from textclf.training import mlflow_store, tracking

needs_mlflow = pytest.mark.skipif(
    not mlflow_store.is_installed(), reason="MLflow is not installed; `tox -e mlflow` has it"
)


@pytest.fixture(scope="module")
def settings(reviews: Path, bag: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a mixture that trains for three epochs, without tracking."""
    return {
        **bag,
        "data": {"source": str(reviews)},
        "model": {**bag["model"], "linear": "mixture"},
        "training": {**bag["training"], "epochs": 3},
    }


def config(settings: dict[str, Any], **changes: Any) -> Config:
    """Return a configuration with changed settings of section `training`."""
    return Config.from_dict({**settings, "training": {**settings["training"], **changes}})


# === Without MLflow ===


@pytest.fixture(scope="module")
def events(
    settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> list[training.Event]:
    """Return the events of an untracked training."""
    folder = tmp_path_factory.mktemp("events")
    return list(training.train_events(config(settings), folder / "run"))


def test_tracking_without_mlflow_is_refused_with_the_command_that_installs_it(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "mlflow", None)  # makes the import fail
    with pytest.raises(TextclfError) as caught:
        training.train_events(config(settings, mlflow=True), tmp_path / "run")
    assert str(caught.value) == (
        "training.mlflow: mlflow is not installed; install it with `.venv/bin/pip install "
        "'.[mlflow]'` in the checkout of textclf or remove the setting"
    )


def test_mlflow_is_not_imported_without_the_setting(reviews: Path, tmp_path: Path):
    (tmp_path / "mlflow.py").write_text("raise SystemExit('mlflow was imported')\n")
    code = (
        "import sys; from textclf import training\n"
        "from textclf.config import Config\n"
        "from textclf.training import mlflow_store, tracking\n"
        "assert mlflow_store.is_installed()\n"
        "config = Config.from_dict({'data': {'source': sys.argv[1]}})\n"
        "training.check(config, sys.argv[2])\n"
        "assert 'mlflow' not in sys.modules\n"
    )
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code, str(reviews), str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_undefined_metrics_are_not_sent(settings: dict[str, Any], events: list[training.Event]):
    [linear] = [event for event in events if isinstance(event, training.LinearFitted)]
    metrics = {**linear.validation.metrics, "roc_auc": None, "cohen_kappa": None}
    report = dataclasses.replace(linear.validation, metrics=metrics)
    undefined = msgspec.structs.replace(linear, validation=report)
    [values] = tracking.values_of(undefined, config(settings), Path("run"))
    assert "linear/accuracy" in values.metrics and None not in values.metrics.values()
    assert not {"linear/roc_auc", "linear/cohen_kappa"} & values.metrics.keys()


def test_parameters_of_a_run_are_all_settings_that_a_training_reads(settings: dict[str, Any]):
    parameters = tracking.parameters(config(settings, learning_rate=0.25))
    assert parameters["training.learning_rate"] == "0.25"
    assert parameters["model.encoder"] == "bag"
    assert parameters["data.text_columns"] == '["text"]'
    assert parameters["training.max_steps"] == "null"
    sections = {name.split(".")[0] for name in parameters}
    assert sections == {"data", "text", "model", "training", "evaluation"}


def test_start_of_a_training_gives_parameters_tags_and_the_epochs_before(
    settings: dict[str, Any], events: list[training.Event]
):
    started = events[0]
    assert isinstance(started, training.Started)
    epochs = [event.figures for event in events if isinstance(event, training.Epoch)]
    continued = training.Started(
        **{name: getattr(started, name) for name in started.__struct_fields__ if name != "history"},
        history=tuple(epochs[:2]),
    )
    first, *before = tracking.values_of(continued, config(settings), Path("runs/a"))
    assert first.parameters == tracking.parameters(config(settings))
    assert first.tags == {
        "textclf.version": textclf.__version__,
        "textclf.num_classes": "2",
        "textclf.output": "runs/a",
    }
    assert [values.step for values in before] == [1, 2]
    assert [values.metrics["loss"] for values in before] == [f["loss"] for f in epochs[:2]]


def test_metrics_of_a_run_are_the_figures_of_the_epochs_and_of_the_reports(
    settings: dict[str, Any], events: list[training.Event]
):
    metrics = {}
    for event in events[1:]:
        for values in tracking.values_of(event, config(settings), Path("run")):
            assert values.metrics and values.files is None
            metrics |= {(name, values.step): value for name, value in values.metrics.items()}
    epochs = [event for event in events if isinstance(event, training.Epoch)]
    assert len(epochs) == 3
    for epoch in epochs:
        norms = epoch.figures["gradient_norms"]
        assert metrics["val_loss", epoch.epoch] == epoch.figures["val_loss"]
        for layer, norm in norms.items():
            assert metrics[f"gradient_norm/{layer}", epoch.epoch] == norm
        assert norms and ("epoch", epoch.epoch) not in metrics
    [linear] = [event for event in events if isinstance(event, training.LinearFitted)]
    assert metrics["linear/macro_f1", 0] == linear.validation.get("macro_f1")
    finished = events[-1]
    assert isinstance(finished, training.Finished) and finished.gain is not None
    assert metrics["validation/accuracy", 3] == finished.validation.get("accuracy")
    assert metrics["mixture/linear_share", 3] == finished.share
    assert metrics["gain/difference", 3] == finished.gain.difference
    assert metrics["gain/low", 3] == finished.gain.low
    assert metrics["best_epoch", 3] == finished.best_epoch
    assert not [name for name, value in metrics.items() if not isinstance(value, int | float)]


def test_artefacts_of_a_run_are_card_configuration_and_report(
    events: list[training.Event], tmp_path: Path
):
    finished = events[-1]
    assert isinstance(finished, training.Finished)
    tracking.write_artifacts(finished, tmp_path)
    names = ("card.json", "card.md", "config.yaml")
    for name in names:
        assert (tmp_path / name).read_bytes() == (finished.folder / name).read_bytes()
    report = json.loads((tmp_path / "validation.json").read_text())
    assert report == finished.validation.to_dict()
    text, html = ((tmp_path / f"validation.{end}").read_text() for end in ("txt", "html"))
    accuracy = f"{finished.validation.get('accuracy'):.3f}"
    assert accuracy in text and accuracy in html and html.startswith("<!DOCTYPE html>")
    assert len(list(tmp_path.iterdir())) == len(names) + 3


# === With MLflow ===


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite store without runs; making its tables takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlruns.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow_store.check_store()
    return path


class Store:
    """A new store that trainings use, and its runs."""

    def __init__(self, path: Path):
        import mlflow

        self.path = path
        self.client = mlflow.MlflowClient(f"sqlite:///{path}")

    def runs(self) -> list[Any]:
        experiments = [e.experiment_id for e in self.client.search_experiments()]
        return list(self.client.search_runs(experiments))

    def run(self) -> Any:
        """Return the only run."""
        [run] = self.runs()
        return run

    def steps(self, metric: str) -> list[int]:
        """Return the steps at which the only run has a metric, with repetitions."""
        history = self.client.get_metric_history(self.run().info.run_id, metric)
        return sorted(entry.step for entry in history)


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    path = tmp_path / "store.db"
    shutil.copy(empty_store, path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return Store(path)


@needs_mlflow
def test_run_has_settings_metrics_by_epoch_tags_and_artefacts(
    settings: dict[str, Any], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "opinions")
    result = textclf.train(config(settings, mlflow=True), "runs/small")
    run = store.run()
    assert store.client.get_experiment(run.info.experiment_id).name == "opinions"
    assert (run.info.run_name, run.info.status) == ("small", "FINISHED")
    assert run.data.params == tracking.parameters(config(settings, mlflow=True))
    assert run.data.tags["textclf.version"] == textclf.__version__
    assert run.data.tags["textclf.ended_by"] == "epochs"
    for name in ("loss", "val_loss", "val_macro_f1"):
        history = store.client.get_metric_history(run.info.run_id, name)
        values = [(entry.step, entry.value) for entry in sorted(history, key=lambda e: e.step)]
        assert values == [(f["epoch"], f[name]) for f in result.history]
    assert run.data.metrics["validation/accuracy"] == result.validation.get("accuracy")
    assert {"linear/accuracy", "mixture/linear_share", "gain/high"} < run.data.metrics.keys()
    files = [file.path for file in store.client.list_artifacts(run.info.run_id)]
    assert {"card.json", "config.yaml", "validation.html"} < set(files)
    assert result.notices == ()


@needs_mlflow
def test_store_of_the_command_is_a_file_in_the_current_folder(
    settings: dict[str, Any],
    empty_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    shutil.copy(empty_store, "mlruns.db")
    Path("small.yaml").write_text(json.dumps(settings))
    arguments = ["train", "small.yaml", "runs/small", "--set", "training.mlflow=true"]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stdout) == (0, "runs/small\n"), result.output
    store = Store(tmp_path / "mlruns.db")
    run = store.run()
    assert store.client.get_experiment(run.info.experiment_id).name == "textclf"
    assert list(tmp_path.glob("mlruns/*/*/artifacts/card.json"))


@needs_mlflow
def test_tracking_does_not_change_the_trained_weights(
    settings: dict[str, Any], events: list[training.Event], store: Store, tmp_path: Path
):
    textclf.train(config(settings, mlflow=True), tmp_path / "tracked")
    assert store.run().info.status == "FINISHED"
    untracked = events[-1]
    assert isinstance(untracked, training.Finished)
    assert result_of(tmp_path / "tracked") == result_of(untracked.folder)


def interrupt(chosen: Config, output: Path, *, after_epoch: int) -> training.Finished:
    """Train until the first step after an epoch, and return the last event."""
    epochs: list[int] = []
    for event in training.train_events(
        chosen,
        output,
        should_stop=lambda: after_epoch in epochs,
        max_steps_per_call=1,
    ):
        if isinstance(event, training.Epoch):
            epochs.append(event.epoch)
    assert isinstance(event, training.Finished) and event.why == "interrupted"
    return event


@needs_mlflow
@pytest.mark.parametrize("has_lost_checkpoint", [False, True])
def test_resumed_training_continues_its_run_and_repeats_no_epoch(
    has_lost_checkpoint: bool, settings: dict[str, Any], store: Store, tmp_path: Path
):
    interrupt(config(settings, mlflow=True), tmp_path / "run", after_epoch=2)
    before = store.run()
    assert before.info.status == "KILLED" and store.steps("loss") == [1, 2]
    if has_lost_checkpoint:  # the training begins again, and the run has epochs already
        for checkpoint in (tmp_path / "run.unfinished" / "checkpoints").iterdir():
            shutil.rmtree(checkpoint)
    textclf.train(config(settings, mlflow=True, epochs=4), tmp_path / "run", resume=True)
    run = store.run()
    assert run.info.run_id == before.info.run_id
    assert run.info.status == "FINISHED" and run.data.tags["textclf.ended_by"] == "epochs"
    assert store.steps("loss") == store.steps("val_loss") == [1, 2, 3, 4]
    assert store.steps("linear/accuracy") == [0]
    assert run.data.params["training.epochs"] == "3", "MLflow cannot change a parameter"
    assert run.data.tags["training.epochs"] == "4"
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    validation = card["validation"]["metrics"]
    assert run.data.metrics["validation/log_loss"] == validation["log_loss"]


@needs_mlflow
def test_run_of_a_training_that_is_tracked_after_its_interruption_has_all_epochs(
    settings: dict[str, Any], store: Store, tmp_path: Path
):
    interrupt(config(settings), tmp_path / "run", after_epoch=2)
    assert store.runs() == []
    textclf.train(config(settings, mlflow=True), tmp_path / "run", resume=True)
    assert store.steps("loss") == [1, 2, 3]


@needs_mlflow
def test_continued_training_whose_run_is_deleted_begins_another(
    settings: dict[str, Any], store: Store, tmp_path: Path
):
    interrupt(config(settings, mlflow=True), tmp_path / "run", after_epoch=1)
    store.client.delete_run(store.run().info.run_id)
    result = textclf.train(config(settings, mlflow=True), tmp_path / "run", resume=True)
    assert store.steps("loss") == [1, 2, 3] and result.notices == ()


@needs_mlflow
@pytest.mark.parametrize(
    ("error", "state"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_error_in_a_training_sets_the_state_of_its_run(
    error: type[BaseException], state: str, settings: dict[str, Any], store: Store, tmp_path: Path
):
    def raise_error() -> bool:
        raise error("in the training")

    with pytest.raises(error, match="in the training"):
        for _ in training.train_events(
            config(settings, mlflow=True), tmp_path / "run", should_stop=raise_error
        ):
            pass
    assert store.run().info.status == state


@needs_mlflow
def test_run_of_a_training_that_is_read_no_further_is_killed(
    settings: dict[str, Any], store: Store, tmp_path: Path
):
    stream = training.train_events(config(settings, mlflow=True), tmp_path / "run")
    assert isinstance(next(stream), training.Started)
    assert store.run().info.status == "RUNNING"
    stream.close()
    assert store.run().info.status == "KILLED"


@needs_mlflow
@pytest.mark.parametrize(
    ("l2", "state"), [(1e38, "FAILED"), (0.0, "KILLED")], ids=["diverged", "stopped"]
)
def test_training_that_ends_in_its_first_epoch_sets_the_state_of_its_run(
    l2: float, state: str, settings: dict[str, Any], store: Store, tmp_path: Path
):
    chosen = config(settings, mlflow=True).replace({"model.l2": l2})
    with pytest.raises(TrainingError, match="no epoch was complete|nothing was saved"):
        for _ in training.train_events(
            chosen, tmp_path / "run", should_stop=lambda: state == "KILLED"
        ):
            pass
    assert store.run().info.status == state


@needs_mlflow
def test_store_that_cannot_be_reached_is_refused_before_the_data_are_read(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
        with pytest.raises(TextclfError) as caught:
            training.check(config(settings, mlflow=True), tmp_path / "run")
    assert str(caught.value) == (
        f"training.mlflow: MLflow's store http://127.0.0.1:{port} cannot be used (Connection "
        "refused); start its server, set MLFLOW_TRACKING_URI to another one, or remove the setting"
    )
    # Of several workers, only the chief has to reach it.
    monkeypatch.setenv("TF_CONFIG", task(["127.0.0.1:1", "127.0.0.1:2"], 1))
    training.check(config(settings, mlflow=True, strategy="multi_worker"), tmp_path / "run")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/missing/mlruns.db")
    with pytest.raises(TextclfError, match=r"missing/mlruns\.db cannot be written"):
        mlflow_store.check_store()
    assert not (tmp_path / "missing").exists()


@needs_mlflow
def test_deleted_experiment_is_refused_before_the_training(store: Store):
    store.client.delete_experiment(store.client.create_experiment("textclf"))
    with pytest.raises(TrainingError, match="the experiment textclf is deleted"):
        mlflow_store.check_store()


@needs_mlflow
def test_rejected_values_do_not_hold_back_the_next_ones(store: Store, tmp_path: Path):
    run = mlflow_store.Run("name", tmp_path / "id")
    assert run.send([mlflow_store.Values(parameters={"a": "1"})]) is None
    changed = mlflow_store.Values(parameters={"a": "2"})  # MLflow rejects the change
    problem = run.send([changed, mlflow_store.Values(metrics={"loss": 0.5}, step=1)])
    assert problem is not None and "rejects values" in problem
    assert run.end("FINISHED") is None
    assert store.steps("loss") == [1]
    assert store.run().info.status == "FINISHED"


def test_cause_of_a_failure_has_no_password():
    error = ValueError("request to https://bob:secret@example.org/api failed: timed out")
    assert mlflow_store._cause(error) == "request to https://example.org/api failed: timed out"


@needs_mlflow
@pytest.mark.parametrize("is_back", [True, False])
def test_store_that_fails_is_reported_once_and_does_not_end_the_training(
    is_back: bool, settings: dict[str, Any], store: Store, tmp_path: Path
):
    stored = b""
    failures, last = [], None
    for event in training.train_events(config(settings, mlflow=True), tmp_path / "run"):
        last = event
        if isinstance(event, training.TrackingFailed):
            failures.append(event.message)
        if isinstance(event, training.Epoch) and event.epoch == 1:
            stored = store.path.read_bytes()
            store.path.write_bytes(b"no database")
        if isinstance(event, training.Epoch) and event.epoch == 3 and is_back:
            store.path.write_bytes(stored)
    assert isinstance(last, training.Finished) and last.why == "epochs"
    assert "the training continues, and the values are sent again later" in failures[0]
    if is_back:
        assert len(failures) == 1
        assert store.run().info.status == "FINISHED" and store.steps("loss") == [1, 2, 3]
    else:
        assert len(failures) == 2 and "the run there is not complete" in failures[1]


@needs_mlflow
def test_benchmark_tracks_its_trainings_and_not_its_measurements(
    reviews: Path, store: Store, tmp_path: Path
):
    text = TINY.format(reviews=reviews).replace("epochs: 1,", "epochs: 1, mlflow: true,")
    (tmp_path / "tiny.yaml").write_text(text)
    (tmp_path / "grid.yaml").write_text(
        "datasets: {tiny: tiny.yaml}\ngrid: {model.embedding_dim: [2]}\nseeds: 1\n"
    )
    run = next(run for run in grid.read(tmp_path / "grid.yaml").runs if run.kind == "network")
    common: dict[str, Any] = {
        "run": run.name, "dataset": run.dataset, "cell": run.cell, "seed": run.seed,
        "config": run.config.to_dict(), "fixed_paths": dict(run.config.fixed_paths),
        "folder": str(tmp_path),
    }  # fmt: skip
    worker.execute(Job(kind="network", job="network", **common), lambda *_: None)
    assert store.run().info.run_name == Path(run.name).name
    for kind in ("measurement", "calibration"):
        worker.execute(
            Job(
                kind="network", job=kind, measured_kind="network", measured_steps=20,
                minutes=0.001, **common,
            ),
            lambda *_: None,
        )  # fmt: skip
    assert len(store.runs()) == 1
