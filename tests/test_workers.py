"""Training in several processes, and on several devices of one process."""

import csv
import json
import random
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from killed_training import result_of
from worker_processes import Result, ended, run, started, task

from textclf import training
from textclf.config import Config
from textclf.errors import TrainingError

EACH_STEP = 1e-9  # minutes between checkpoints
NUM_TRAIN, BATCH_SIZE = 241, 48  # the last batch has one row, fewer than there are workers
STEPS_PER_EPOCH = 6
NUM_VALIDATION = 200
MASKED_EPOCHS = 8


@pytest.fixture(scope="module")
def opinions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return section `data` for texts in which one word decides the class."""
    folder = tmp_path_factory.mktemp("opinions")
    draw = random.Random(0)
    words = [f"word{i}" for i in range(30)]
    for split, size in (("train", NUM_TRAIN), ("validation", NUM_VALIDATION)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for number in range(size):
                label = ("bad", "good")[number % 2]
                text = [*draw.choices(words, k=draw.randint(3, 9)), label, f"row{number}"]
                writer.writerow([" ".join(draw.sample(text, len(text))), label])
    return {split: str(folder / f"{split}.csv") for split in ("train", "validation")}


@pytest.fixture(scope="module")
def settings(opinions: dict[str, str], tiny: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a training with dropout and a linear model, by several workers."""
    return {
        **tiny,
        "data": opinions,
        "model": {
            **tiny["model"],
            "encoder": "gru",
            "bidirectional": False,
            "linear": "mixture",
            "token_dropout": 0.2,
        },
        "training": {
            **tiny["training"],
            "strategy": "multi_worker",
            "epochs": 10,
            "batch_size": BATCH_SIZE,
            "length_buckets": 1,
        },
    }


def changed(settings: dict[str, Any], **sections: dict[str, Any]) -> dict[str, Any]:
    """Return settings with other values in some sections."""
    return {**settings, **{name: settings[name] | values for name, values in sections.items()}}


def program(settings: dict[str, Any], output: Path, *options: str) -> list[str | Path]:
    """Return the arguments of Python for `training_worker.py`."""
    return [Path(__file__).with_name("training_worker.py"), json.dumps(settings), output, *options]


def command(settings: dict[str, Any], output: Path, *options: str) -> list[str | Path]:
    """Return the arguments of Python for `textclf train`."""
    config = output.parent / "config.yaml"
    config.write_text(json.dumps(settings))
    return ["-m", "textclf", "train", config, output, *options]


def check_all_ended_well(results: list[Result]) -> None:
    for number, result in enumerate(results):
        assert result.exit_code == 0, f"worker {number}: {result.stderr}"


# === Equal results ===


@pytest.fixture(scope="module")
def without_dropout(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a network whose losses do not depend on the number of workers."""
    dropout = {"token_dropout": 0.0, "embedding_dropout": 0.0, "output_dropout": 0.0}
    model = {"linear": "none", "l2": 1e-4, **dropout}
    return changed(settings, model=model, training={"epochs": 9})


class Trained(NamedTuple):
    """Result of a training in this process.

    Attributes:
        output: the trained folder.
        losses: of each step.
        history: figures of each epoch.
    """

    output: Path
    losses: list[float]
    history: list[dict[str, Any]]


def train_alone(settings: dict[str, Any], output: Path, **changes: Any) -> Trained:
    """Train on one device of this process, with other values in section `training`."""
    alone = changed(settings, training={"strategy": "one_device", **changes})
    losses = [
        event.loss
        for event in training.train_events(Config.from_dict(alone), output)
        if isinstance(event, training.Step)
    ]
    return Trained(output, losses, history_of(output))


def history_of(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def one_process(
    without_dropout: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """Train without dropout in this process."""
    return train_alone(without_dropout, tmp_path_factory.mktemp("one_process") / "run")


@pytest.mark.parametrize("num_workers", [2, 3])
def test_workers_have_the_losses_of_one_process_and_use_each_example_once(
    num_workers: int,
    without_dropout: dict[str, Any],
    one_process: Trained,
    tmp_path: Path,
) -> None:
    output = tmp_path / "run"
    results = run(
        lambda index: program(without_dropout, output), tmp_path / "job", num_workers=num_workers
    )
    check_all_ended_well(results)
    assert len(one_process.losses) == 9 * STEPS_PER_EPOCH, "54 steps, one of six with a single row"
    for result in results:
        losses = json.loads(result.stdout)["losses"]
        np.testing.assert_allclose(losses, one_process.losses, atol=1e-5)
    check_history(history_of(output), one_process.history, tolerance=1e-5)


def check_history(
    history: list[dict[str, Any]], expected: list[dict[str, Any]], *, tolerance: float
) -> None:
    """Check the means over all examples of the splits."""
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(
            [figures[name] for figures in history],
            [figures[name] for figures in expected],
            atol=tolerance,
        )


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("mixed_float16", 2e-3)])
def test_devices_with_frozen_layers_and_averages_have_the_results_of_one_device(
    precision: str,
    tolerance: float,
    without_dropout: dict[str, Any],
    one_process: Trained,
    tmp_path: Path,
) -> None:
    values = {
        "precision": precision,
        "average": "ema",
        "average_decay": 0.8,
        "init_from": str(one_process.output),
        "freeze_epochs": 1,
        "epochs": 3,
        "learning_rate": 0.001,
    }
    expected = train_alone(without_dropout, tmp_path / "one", **values)
    mirrored = changed(without_dropout, training={**values, "strategy": "mirrored"})
    arguments = program(mirrored, tmp_path / "two", "--devices", "2")
    results = run(lambda index: arguments, tmp_path / "job", num_workers=1)
    check_all_ended_well(results)
    history = history_of(tmp_path / "two")
    assert expected.history[-1]["loss"] < expected.history[0]["loss"]
    check_history(history, expected.history, tolerance=tolerance)
    for name in ("is_average", "skipped_steps"):
        assert [figures.get(name) for figures in history] == [
            figures.get(name) for figures in expected.history
        ]
    with (
        np.load(tmp_path / "two" / "weights.npz") as weights,
        np.load(expected.output / "weights.npz") as other,
    ):
        assert weights.files == other.files
        for name in weights.files:
            np.testing.assert_allclose(weights[name], other[name], atol=tolerance)


# === Dropout ===


@pytest.fixture(scope="module")
def with_masks(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings of two replicas, and two parts for each, that write their masks."""
    model = {
        "encoder": "encoder_plugins:written_mask",
        "linear": "none",
        "token_dropout": 0.0,
        "input_dropout": 0.5,
    }
    return changed(settings, model=model, training={"epochs": MASKED_EPOCHS, "accumulate_steps": 2})


def masks_of(path: Path) -> dict[int, list[str]]:
    """Return the masks of each replica, in the order of the steps and parts."""
    masks: dict[int, list[str]] = {}
    for line in path.read_text().splitlines():
        replica, values = line.split()
        masks.setdefault(int(replica), []).append(values)
    return masks


class Masked(NamedTuple):
    """A training in one process with four parts of each batch.

    Attributes:
        masks: of the parts, in the order of the steps.
        trained: its result.
    """

    masks: list[str]
    trained: Trained


@pytest.fixture(scope="module")
def four_parts(with_masks: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Masked:
    """Train in this process with four parts of each batch."""
    folder = tmp_path_factory.mktemp("four_parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trained = train_alone(with_masks, folder / "run", accumulate_steps=4)
    return Masked(masks_of(folder / "masks")[0], trained)


def check_masks(masks: dict[int, list[str]], four_parts: Masked) -> None:
    """Check the masks of two replicas, each with two parts of a batch."""
    assert sorted(masks) == [0, 1]
    num_parts = MASKED_EPOCHS * STEPS_PER_EPOCH * 4
    assert len({*masks[0], *masks[1]}) == num_parts, "a mask was repeated"
    parts = np.reshape([np.reshape(masks[replica], [-1, 2]) for replica in (0, 1)], [2, -1, 2])
    parts = parts.transpose(1, 0, 2).ravel().tolist()  # step, replica, part of the replica
    assert parts == four_parts.masks


def test_dropout_masks_of_workers_differ_and_are_those_of_the_parts_of_one_process(
    with_masks: dict[str, Any], four_parts: Masked, tmp_path: Path
) -> None:
    job = tmp_path / "job"
    results = run(lambda index: program(with_masks, tmp_path / "run"), job)
    check_all_ended_well(results)
    files = [job / f"worker{index}" / "current" / "masks" for index in (0, 1)]
    check_masks(masks_of(files[0]) | masks_of(files[1]), four_parts)
    losses = json.loads(results[0].stdout)["losses"]
    np.testing.assert_allclose(losses, four_parts.trained.losses, atol=1e-5)


def test_dropout_masks_of_devices_differ_and_are_those_of_the_parts_of_one_process(
    with_masks: dict[str, Any], four_parts: Masked, tmp_path: Path
) -> None:
    mirrored = changed(with_masks, training={"strategy": "mirrored"})
    arguments = program(mirrored, tmp_path / "run", "--devices", "2")
    results = run(lambda index: arguments, tmp_path / "job", num_workers=1)
    check_all_ended_well(results)
    check_masks(masks_of(tmp_path / "job" / "worker0" / "current" / "masks"), four_parts)


def test_different_dropout_masks_of_parts_cost_at_most_a_point_of_accuracy(
    with_masks: dict[str, Any], four_parts: Masked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one_part = train_alone(with_masks, tmp_path / "run", accumulate_steps=1)
    first, second = (
        max(figures["val_accuracy"] for figures in trained.history)
        for trained in (one_part, four_parts.trained)
    )
    assert first > 0.9, "the network has to learn something"
    assert first == pytest.approx(second, abs=0.01)


# === Interrupted workers ===


@pytest.fixture(scope="module")
def uninterrupted(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the result of two workers that were not interrupted."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    results = run(lambda index: command(settings, folder / "run"), folder / "job")
    check_all_ended_well(results)
    assert results[0].stdout == f"{folder / 'run'}\n" and results[1].stdout == ""
    assert results[1].stderr.splitlines() == [
        "reading the data",
        "worker 0 shows the epochs",
        f"worker 1 is done; worker 0 has written {folder / 'run'}",
    ]
    return result_of(folder / "run")


class Continued(NamedTuple):
    """A job that was continued after its workers were killed one after the other."""

    output: Path
    results: list[Result]


@pytest.fixture(scope="module")
def continued(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Continued:
    """Kill worker 1 at a drawn step, then worker 0 at a later one, and continue each time."""
    folder = tmp_path_factory.mktemp("killed")
    often = changed(settings, training={"checkpoint_minutes": EACH_STEP})
    output = folder / "runs" / "run"
    step = 0
    for killed, last in ((1, 20), (0, 50)):
        before, step = step, random.Random(killed).randrange(step + 2, last)
        options = {killed: ["--kill-at", str(step)]}
        results = run(
            lambda index, options=options: program(often, output, *options.get(index, [])),
            folder / f"killed{killed}",
        )
        assert results[killed].exit_code == -signal.SIGKILL
        survivor = results[1 - killed]
        assert survivor.exit_code == 1, f"from step {before} to {step}"
        assert f"worker {1 - killed} lost the connection to another worker" in survivor.stderr
    results = run(lambda index: program(often, output), folder / "continued")
    check_all_ended_well(results)
    for result in results:
        assert step - 2 <= json.loads(result.stdout)["step"] <= step
    return Continued(output, results)


def test_job_with_killed_workers_continues_to_the_same_bytes(
    continued: Continued, uninterrupted: Any
) -> None:
    assert result_of(continued.output) == uninterrupted


def test_only_the_chief_writes_and_workers_leave_nothing_behind(continued: Continued) -> None:
    chief, worker = (json.loads(result.stdout) for result in continued.results)
    assert any("checkpoints" in path for path in chief["written"])
    assert worker["written"] == []
    assert (chief["ended"], worker["ended"]) == ("Finished", "WorkerFinished")
    assert [path.name for path in continued.output.parent.iterdir()] == ["run"]
    assert [result.files for result in continued.results] == [[], []]


@pytest.fixture(scope="module")
def terminated(
    settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Result]]:
    """Send SIGTERM to worker 1 after the first epoch; return the output and the results."""
    folder = tmp_path_factory.mktemp("terminated")
    (folder / "runs").mkdir()
    output = folder / "runs" / "run"
    with started(lambda index: command(settings, output), folder / "job") as workers:
        while all(worker.process.poll() is None for worker in workers):
            if " 1/10 " in workers[0].stderr:
                workers[1].process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.05)
        return output, ended(workers)


def copied(output: Path, folder: Path) -> Path:
    """Copy an output folder and its unfinished training."""
    for path in (output, output.with_name("run.unfinished")):
        shutil.copytree(path, folder / path.name)
    return folder / output.name


def test_sigterm_to_one_worker_stops_all_and_saves_the_best_epoch(
    terminated: tuple[Path, list[Result]],
) -> None:
    output, (chief, worker) = terminated
    assert (chief.exit_code, worker.exit_code) == (1, 1)
    assert re.search(
        r"interrupted in epoch \d+ at step \d of 6; the best epoch so far \(\d+\) is saved in "
        r".*runs/run; continue with --resume\n$",
        chief.stderr,
    )
    assert "stopping at the next step" in worker.stderr and "stopping" not in chief.stderr
    assert re.search(
        r"Error: interrupted in epoch \d+ at step \d of 6; worker 0 has saved the best epoch\n$",
        worker.stderr,
    )
    assert (output / "card.json").exists()
    assert "(epoch" in str(training.unfinished_training(output))


CONTINUATION = """
import sys
from textclf.startup import import_tensorflow
import_tensorflow()
import textclf
try:
    print("epochs:", len(textclf.train(sys.argv[1], sys.argv[2], resume=True).history))
except textclf.TextclfError as error:
    print(error)
"""


def test_train_function_continues_a_stopped_job_and_has_no_result_in_other_workers(
    settings: dict[str, Any],
    terminated: tuple[Path, list[Result]],
    uninterrupted: Any,
    tmp_path: Path,
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(settings))
    output = copied(terminated[0], tmp_path)
    results = run(lambda index: ["-c", CONTINUATION, config, output], tmp_path / "job")
    check_all_ended_well(results)
    assert results[0].stdout == "epochs: 10\n"
    assert results[1].stdout.startswith("this process is not the chief of the workers")
    assert result_of(output) == uninterrupted


def test_job_is_not_continued_with_another_number_of_workers(
    settings: dict[str, Any], terminated: tuple[Path, list[Result]], tmp_path: Path
) -> None:
    output = copied(terminated[0], tmp_path)
    arguments = command(settings, output, "--resume")
    (result,) = run(lambda index: arguments, tmp_path / "job", num_workers=1)
    assert result.exit_code == 1
    assert "that share a batch, over all workers, is 1, but the unfinished" in result.stderr
    assert training.unfinished_training(output) == training.unfinished_training(terminated[0])


# === Mistakes ===


def test_worker_that_never_arrives_ends_the_others_with_a_sentence(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    impatient = changed(settings, training={"worker_timeout_minutes": 0.05})
    arguments = command(impatient, tmp_path / "run")
    (result,) = run(lambda index: arguments, tmp_path / "job", missing=[1])
    assert result.exit_code != 0
    assert "Error: worker 0 waited 0.05 minutes for the other workers to start" in result.stderr
    assert not (tmp_path / "run").exists() and result.files == []


def test_interrupt_ends_a_worker_that_waits_for_the_others(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    arguments = command(settings, tmp_path / "run")
    with started(lambda index: arguments, tmp_path / "job", missing=[1]) as (worker,):
        while not worker.is_listening():  # TensorFlow waits in C++ from now on
            time.sleep(0.05)
        worker.process.send_signal(signal.SIGINT)
        (result,) = ended([worker])
    assert result.exit_code == -signal.SIGINT
    assert not list(tmp_path.glob("run*")) and result.files == []


def test_sigterm_ends_a_worker_that_does_not_handle_it(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    arguments = program(settings, tmp_path / "run", "--terminate")
    (result,) = run(lambda index: arguments, tmp_path / "job", num_workers=1)
    assert result.exit_code == -signal.SIGTERM, "TensorFlow takes the signal"


def test_worker_with_other_data_and_settings_is_named_in_all_workers(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text(Path(settings["data"]["train"]).read_text() + "another text,good\n")
    options = ["--set", f"data.train={other}", "--set", "training.seed=1"]

    def arguments(index: int) -> list[str | Path]:
        return command(settings, tmp_path / "run", *(options if index else []))

    for result in run(arguments, tmp_path / "job"):
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1] == (
            "Error: worker 1 differs from worker 0 in data.train, training.seed and the data; "
            "start every worker with the same configuration, files and versions"
        )
        assert result.files == []
    assert not list(tmp_path.glob("run*"))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "is not set"),
        ("", "is not set"),
        ("host1", "is not a JSON object with `cluster` and `task`"),
        ("[]", "is not a JSON object with `cluster` and `task`"),
        ('{"cluster": {"worker": ["a:1"]}}', "is not a JSON object with `cluster` and `task`"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
            "has the task type 'ps'; expected chief or worker",
        ),
        (task(["a:1", "b:1"], 2), "has the task index 2, but 2 addresses of type worker"),
        (
            '{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}',
            "has 'a:1' as addresses of type worker; expected a list of host:port",
        ),
        (task(["a", "b:1"], 0), "has ['a', 'b:1'] as addresses of type worker; expected a list"),
        (task(["a:1", "a:1"], 0), "has the same address twice: a:1, a:1"),
        (task(["a:1", "b:1"], -1), "has the task index -1, but 2 addresses of type worker"),
    ],
)
def test_missing_or_invalid_description_of_the_workers_is_refused(
    value: str | None,
    problem: str,
    settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(TrainingError) as caught:
        training.check(Config.from_dict(settings), tmp_path / "run")
    assert f"the environment variable TF_CONFIG {problem}" in str(caught.value)
    assert "; set it in every worker, for instance to {" in str(caught.value)


def test_process_that_has_used_tensorflow_is_refused_as_a_worker(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", task(["127.0.0.1:1", "127.0.0.1:2"], 0))
    with pytest.raises(TrainingError, match="TensorFlow was used in this process before.*in a new"):
        list(training.train_events(Config.from_dict(settings), tmp_path / "run"))
    assert not list(tmp_path.glob("run*"))
