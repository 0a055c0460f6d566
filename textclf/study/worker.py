"""Worker process: executes one run and writes its result to stdout.

    python -m textclf.study.worker

The job is a line of JSON on stdin (`records.Job`). stdin stays open: the worker exits when it is
closed, because the runner has ended. Messages go to stdout, a line of JSON each: `Progress`, at the
end `Succeeded` or `Failed`. The output of TensorFlow goes to stderr.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import math
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec.structs import asdict

import textclf
from textclf import artifact, baselines, data, evaluation
from textclf.config import Config, with_paths
from textclf.errors import DataError, TextclfError, TrainingError
from textclf.progress import OnProgress
from textclf.startup import import_tensorflow
from textclf.study import measuring
from textclf.study.budget import without_end, without_linear, without_tracking
from textclf.study.records import (
    Calibration,
    Cost,
    Data,
    Estimate,
    Failed,
    Job,
    Machine,
    Measurement,
    PackedArray,
    Progress,
    Result,
    RunKey,
    Succeeded,
    Tested,
    to_float16,
)

if TYPE_CHECKING:
    from textclf.classifier import Classifier, Scores
    from textclf.linear import Fitted

ESTIMATE_STEPS = 30
_MEASURED_TEXTS = 512
_PROGRESS_SECONDS = 0.2


def main() -> None:
    """Execute the job on stdin."""
    job = msgspec.json.decode(sys.stdin.readline(), type=Job)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    # Redirect file descriptor 1: prints of Python and of C libraries must not mix with messages.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def write(message: Progress | Succeeded | Failed) -> None:
        out.write(msgspec.json.encode(message) + b"\n")
        out.flush()

    written = 0.0

    def on_progress(stage: str, done: int, total: int) -> None:
        nonlocal written
        if time.monotonic() - written > _PROGRESS_SECONDS or done == total:
            written = time.monotonic()
            write(Progress(stage, done, total))

    try:
        write(Succeeded(msgspec.Raw(msgspec.json.encode(execute(job, on_progress)))))
    except TextclfError as error:
        write(Failed(str(error)))
    except MemoryError:
        write(Failed("there is not enough memory"))


def _exit_with_parent() -> None:
    # Not sys.stdin: its lock would be held at the regular exit of this process.
    while os.read(0, 1024):
        pass
    os._exit(1)


def execute(job: Job, on_progress: OnProgress) -> Result | Calibration | Measurement | Estimate:
    """Execute a job and return its record.

    Args:
        job: the job.
        on_progress: called with a stage, and what is done of a total.

    Raises:
        TextclfError: the run failed.
    """
    config = Config.from_dict(job.config, fixed_paths=job.fixed_paths)
    if "baseline" not in (job.kind, job.measured_kind):
        import_tensorflow()
    if job.job == "estimate":
        return _estimate(config, on_progress)
    started, code = time.time(), code_fingerprint()
    record_type, execute_kind = _KINDS[job.job]
    values = execute_kind(job, config, on_progress)
    key = {name: getattr(job, name) for name in RunKey.__struct_fields__}
    return record_type(
        **key,
        **values,
        started=started,
        ended=time.time(),
        code=code,
        versions=measuring.library_versions(),
        machine=Machine(platform.node(), os.cpu_count(), platform.machine()),
    )


def code_fingerprint() -> str:
    """Return the SHA-256 of the modules of textclf, in hexadecimal digits."""
    digest = hashlib.sha256()
    package = Path(textclf.__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


# === Data ===


class _RunData:
    """Data set of a run; it must be the same for all runs of the data set.

    Raises:
        DataError: there is no test split, or the data differ from those of an earlier run.
    """

    def __init__(self, job: Job, config: Config, on_progress: OnProgress):
        folder = Path(job.folder)
        settings = with_paths(config)
        self.dataset = data.open_dataset(settings.data, on_progress=on_progress)
        self.description = _check_dataset(job.dataset, self.dataset, folder)
        # Runs with the same text settings share the encoded texts.
        cache_dir = str(folder / "cache" / job.dataset)
        self.config = config.replace({"training.cache_dir": cache_dir})

    @functools.cached_property
    def texts(self) -> list[str]:
        """Texts for measurements: of validation, so that a run reads the test split once."""
        split = "validation" if "validation" in self.dataset.splits else "train"
        examples = itertools.islice(self.dataset.examples(split), _MEASURED_TEXTS)
        return [example.text for example in examples]


def _check_dataset(name: str, dataset: data.Dataset, folder: Path) -> Data:
    if "test" not in dataset.splits:
        raise DataError("the data have no test split to compare on; set data.test")
    description = Data(
        fingerprint=dataset.fingerprint,
        class_names=list(dataset.class_names),
        multi_label=dataset.multi_label,
        splits={name: split.num_examples for name, split in dataset.splits.items()},
        leaked_test_rows=int(dataset.leaked("test").sum()),
    )
    path = folder / "data" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(asdict(description), ensure_ascii=False, indent=2) + "\n"
    if not artifact.write_file(path, content, replace=False):
        known = msgspec.json.decode(path.read_bytes(), type=Data)
        if known.fingerprint != description.fingerprint:
            raise DataError(
                f"the data of {name} have changed since the first run of this benchmark (texts, "
                "labels, order or splits); restore the old files, or name another output folder"
            )
    return description


def log_test_read(run: str, folder: Path) -> int:
    """Log that a run reads the test split; return how often it has done so."""
    line = {"run": run, "time": time.time(), "host": platform.node()}
    with open(folder / "test_reads.jsonl", "a+", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.seek(0)
        # Not parsed: lines of machines that share the folder may be joined.
        return file.read().count(json.dumps(run))


# === Networks, linear models and baselines ===


class _TrainedRun(msgspec.Struct):
    """A trained folder and figures of its training.

    Attributes:
        output: the trained folder.
        history: figures of each epoch.
        steps: number of training steps.
        epochs: number of epochs; a fraction if the last one ended early.
        epoch_seconds: duration of each epoch.
        peak_memory: MiB.
    """

    output: Path
    history: list[dict[str, Any]]
    steps: int
    epochs: float
    epoch_seconds: list[float]
    peak_memory: float


def _linear_model(job: Job, run_data: _RunData, on_progress: OnProgress) -> "Fitted | None":
    """Return the linear model of a run: fitted by this run, or by another one for a mixture.

    Raises:
        TrainingError: the file of the other run is missing or damaged.
    """
    from textclf import linear, training

    if "linear" in (job.kind, job.measured_kind):
        return training.fit_linear(
            with_paths(run_data.config), run_data.dataset, on_progress=on_progress
        )
    if job.linear_model is None:
        return None
    try:
        return linear.load_fitted(Path(job.linear_model))
    except (OSError, ValueError):
        raise TrainingError(
            f"{job.linear_model}: cannot be read; remove the result of the linear model in "
            "results/ to fit it again"
        ) from None


def _train(
    config: Config, output: Path, linear_model: "Fitted | None", on_progress: OnProgress
) -> _TrainedRun:
    from textclf import training

    shutil.rmtree(output, ignore_errors=True)  # of a run that was killed
    total = steps = steps_per_epoch = 0
    epochs = 0.0
    history, epoch_seconds = [], []
    events = training.train_events(
        config, output, linear_model=linear_model, on_progress=on_progress
    )
    for event in events:
        if isinstance(event, training.Started):
            total = event.total_steps
        elif isinstance(event, training.Step):
            steps += 1
            steps_per_epoch = event.steps_per_epoch
            on_progress("training", steps, total)
        elif isinstance(event, training.Epoch):
            history.append(event.figures)
            epoch_seconds.append(event.seconds)
            epochs = steps / steps_per_epoch
    return _TrainedRun(output, history, steps, epochs, epoch_seconds, measuring.peak_memory_mb())


def _network(job: Job, config: Config, on_progress: OnProgress) -> dict[str, Any]:
    """Train a network, a mixture or a linear model and return the values of its `Result`."""
    from textclf import classifier, linear

    run_data = _RunData(job, config, on_progress)
    folder = Path(job.folder)
    linear_model = _linear_model(job, run_data, on_progress)
    trained = _train(run_data.config, folder / "models" / job.run, linear_model, on_progress)
    seconds = sum(trained.epoch_seconds)
    if job.kind == "linear":
        assert linear_model is not None and job.linear_model is not None
        linear.save_fitted(linear_model, Path(job.linear_model))
        seconds = linear_model.selection.seconds
    model = classifier.load(trained.output)
    num_reads = log_test_read(job.run, folder)
    scores = model.score(run_data.dataset, "test", on_progress)
    alone = None
    if model.card.mixture is not None:
        network = model.network_alone()
        alone = _tested(network, network.score(run_data.dataset, "test", on_progress), config)
    on_progress("measuring gradients", 0, 0)
    gradients = measuring.gradient_by_distance(model, run_data.texts)
    assert model.card.validation is not None
    return {
        **msgspec.structs.asdict(_tested(model, scores, config)),
        "network_alone": alone,
        "validation": model.card.validation.metrics,
        "test_reads": num_reads,
        "history": trained.history or None,
        "steps": trained.steps,
        "best_epoch": model.card.training.best_epoch,
        "ended_by": model.card.training.ended_by,
        "gradient_by_distance": gradients,
        "cost": measuring.network_cost(
            model,
            run_data.texts,
            training_seconds=seconds,
            epochs=trained.epochs,
            peak_memory=trained.peak_memory,
            shared_cores=job.shared_cores,
            on_progress=on_progress,
        ),
        "data": run_data.description,
        "vocabulary": artifact.sha256(trained.output / artifact.VOCABULARY),
        "num_tokens": PackedArray.pack(scores.num_tokens.astype(np.int32)),
        "y_true": _pack_labels(scores.y_true),
        "calibration": job.calibration,
    }


def _tested(model: "Classifier", scores: "Scores", config: Config) -> Tested:
    """Return the answers of a classifier to the test texts."""
    thresholds = model.card.thresholds
    return Tested(
        test=model.report(scores, **config.evaluation.to_dict()).to_dict()["metrics"],
        thresholds=None if thresholds is None else list(thresholds),
        probabilities=PackedArray.pack(to_float16(model.card.task, scores.p, thresholds)),
    )


def _baseline(job: Job, config: Config, on_progress: OnProgress) -> dict[str, Any]:
    """Fit a baseline and return the values of its `Result`."""
    run_data = _RunData(job, config, on_progress)
    dataset, task = run_data.dataset, run_data.dataset.task
    model, cost = _fit(job, run_data, config, on_progress)
    thresholds = None
    if task.has_thresholds:
        validation_texts, y_validation = baselines.texts_and_classes(
            dataset, "validation", on_progress
        )
        thresholds = evaluation.fit_thresholds(
            task, y_validation, model.predict_proba(validation_texts)
        )
    num_reads = log_test_read(job.run, Path(job.folder))
    test_texts, y_true = baselines.texts_and_classes(dataset, "test", on_progress)
    p = model.predict_proba(test_texts)
    report = evaluation.evaluate(
        y_true,
        p,
        class_names=dataset.class_names,
        multi_label=dataset.multi_label,
        thresholds=thresholds,
        **config.evaluation.to_dict(),
    )
    return {
        "test": report.to_dict()["metrics"],
        "test_reads": num_reads,
        "description": model.describe(),
        "thresholds": None if thresholds is None else list(thresholds),
        "cost": cost,
        "data": run_data.description,
        "probabilities": PackedArray.pack(to_float16(task, p, thresholds)),
        "y_true": _pack_labels(y_true),
    }


def _fit(
    job: Job, run_data: _RunData, config: Config, on_progress: OnProgress
) -> tuple[baselines.Baseline, Cost]:
    """Return a fitted baseline and its cost."""
    texts, y = baselines.texts_and_classes(run_data.dataset, "train", on_progress)
    on_progress("fitting", 0, 0)
    fit = functools.partial(
        baselines.fit,
        job.cell,
        class_names=run_data.dataset.class_names,
        multi_label=run_data.dataset.multi_label,
        unit="character" if config.text.unit == "character" else "auto",
        seed=config.training.seed,
    )
    with contextlib.suppress(DataError):  # imports libraries, which is not part of the fit
        fit(texts[:100], y[:100])
    started = time.monotonic()
    model = fit(texts, y)
    seconds = time.monotonic() - started
    cost = measuring.baseline_cost(
        model.predict_proba,
        run_data.texts,
        training_seconds=seconds,
        shared_cores=job.shared_cores,
    )
    return model, cost


def _pack_labels(y_true: np.ndarray) -> PackedArray:
    return PackedArray.pack(y_true.astype(np.uint8 if y_true.dtype == bool else np.int16))


# === Calibrations, measurements, estimates ===


def _calibration(job: Job, config: Config, on_progress: OnProgress) -> dict[str, Any]:
    """Count the steps in the training time of the budget."""
    assert job.minutes is not None
    run_data = _RunData(job, config, on_progress)
    seconds, steps = _count_steps(run_data.config, 60 * job.minutes, on_progress)
    return {"steps": steps, "seconds": round(seconds, 2)}


def _count_steps(config: Config, allowed: float, on_progress: OnProgress) -> tuple[float, int]:
    """Return the seconds of training, without validation, and the steps made in them."""
    from textclf import training

    spent, steps, before = 0.0, 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        events = training.train_events(
            without_end(without_linear(without_tracking(config))),
            Path(folder) / "run",
            should_stop=lambda: spent >= allowed,
            on_progress=on_progress,
        )
        try:
            for event in events:
                now = time.monotonic()
                if isinstance(event, training.Step):
                    spent, steps = spent + now - before, steps + 1
                    on_progress("calibrating", int(min(spent, allowed)), math.ceil(allowed))
                before = now
        except TrainingError:  # raised if it is stopped before the end of the first epoch
            if spent < allowed:
                raise
    if spent < allowed:
        raise TrainingError(
            f"training ended after {steps:,} steps, before the time of the budget; look at the "
            "loss of this cell with `textclf train`"
        )
    return spent, steps


def _measurement(job: Job, config: Config, on_progress: OnProgress) -> dict[str, Any]:
    """Measure the cost of a finished run again.

    A network is trained for two epochs. The first one includes tracing; all others are assumed to
    take as long as the second one. A linear model is fitted again.
    """
    run_data = _RunData(job, config, on_progress)
    if job.measured_kind == "baseline":
        return {"cost": _fit(job, run_data, config, on_progress)[1]}
    from textclf import classifier

    linear_model = _linear_model(job, run_data, on_progress)
    untracked = without_tracking(run_data.config)
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "run"
        if job.measured_kind == "linear":
            assert linear_model is not None
            trained = _train(untracked, output, linear_model, on_progress)
            seconds, epochs = linear_model.selection.seconds, 0.0
        else:
            assert job.measured_steps is not None
            two_epochs = untracked.replace(
                {"training.epochs": 2, "training.max_steps": None, "training.patience_epochs": 0}
            )
            trained = _train(two_epochs, output, linear_model, on_progress)
            if len(trained.epoch_seconds) < 2:
                raise TrainingError("the loss or a gradient was not finite in the measurement")
            first, second = trained.epoch_seconds
            epochs = job.measured_steps / (trained.steps / 2)
            seconds = first + second * (epochs - 1)
        cost = measuring.network_cost(
            classifier.load(trained.output),
            run_data.texts,
            training_seconds=seconds,
            epochs=epochs,
            peak_memory=trained.peak_memory,
            shared_cores=job.shared_cores,
            on_progress=on_progress,
        )
    return {"cost": cost}


def _estimate(config: Config, on_progress: OnProgress) -> Estimate:
    """Estimate the duration and memory of a training from its first steps."""
    from textclf import training

    started = time.monotonic()
    step_times: list[float] = []
    total = 0
    with tempfile.TemporaryDirectory() as folder:
        events = training.train_events(
            without_linear(without_tracking(config)),
            Path(folder) / "run",
            should_stop=lambda: len(step_times) > ESTIMATE_STEPS,
            on_progress=on_progress,
            max_steps_per_call=1,
        )
        try:
            for event in events:
                if isinstance(event, training.Started):
                    total = event.total_steps
                elif isinstance(event, training.Step):
                    step_times.append(time.monotonic())
        except TrainingError:  # raised if it is stopped before the end of the first epoch
            if len(step_times) <= ESTIMATE_STEPS:
                raise
    # The first steps include tracing.
    steady = step_times[min(2, len(step_times) - 1) :]
    seconds_per_step = (steady[-1] - steady[0]) / max(len(steady) - 1, 1)
    return Estimate(
        seconds=(step_times[0] - started) + seconds_per_step * total,
        peak_memory_mb=measuring.peak_memory_mb(),
    )


_KINDS: dict[str, tuple[Any, Callable[[Job, Config, OnProgress], dict[str, Any]]]] = {
    "network": (Result, _network),
    "linear": (Result, _network),
    "baseline": (Result, _baseline),
    "calibration": (Calibration, _calibration),
    "measurement": (Measurement, _measurement),
}


if __name__ == "__main__":
    main()
