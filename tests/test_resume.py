"""Checkpoints: a training that was killed and continued equals one that never was."""

import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from killed_training import result_of

from textclf import classifier, training
from textclf.config import Config
from textclf.errors import ArtifactError, ConfigError, DataError, TextclfError, TrainingError
from textclf.training import work_folder

EACH_STEP = 1e-9  # minutes between checkpoints
NUM_KILLS = 10  # of each kind


def run_process(settings: dict[str, Any], output: Path, kind: str, number: int = 0) -> int:
    """Run `killed_training` and return its exit code."""
    script = Path(__file__).with_name("killed_training.py")
    arguments = [json.dumps(settings), str(output), kind, str(number)]
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.fixture(scope="module")
def settings(reviews: Path, tiny: dict[str, Any]) -> dict[str, Any]:
    """Return settings with all that has a state: dropout, momentum, schedule, a linear model."""
    return {
        **tiny,
        "data": {"source": str(reviews)},
        "model": {**tiny["model"], "linear": "mixture", "token_dropout": 0.2},
        "training": {
            **tiny["training"],
            "epochs": 3,
            "schedule": "plateau",
            "shuffle_buffer": 100,
            "checkpoint_minutes": EACH_STEP,
        },
    }


@pytest.fixture(scope="module")
def never_killed(
    settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, int]]:
    """Return the folder of a training without checkpoints in its epochs, and numbers of one with.

    The numbers are those of the events and of the calls for files.
    """
    folder = tmp_path_factory.mktemp("never_killed")
    rare = {**settings, "training": {**settings["training"], "checkpoint_minutes": 10}}
    assert run_process(rare, folder / "rare", "none") == 0
    assert run_process(settings, folder / "often", "none") == 0
    assert not list(folder.glob("*.unfinished"))
    return folder / "rare", json.loads((folder / "often.counts.json").read_text())


def test_checkpoints_change_nothing_in_a_training(never_killed: tuple[Path, dict]) -> None:
    rare, _ = never_killed
    assert result_of(rare) == result_of(rare.with_name("often"))


@pytest.mark.parametrize("kind", ["event", "file"])
def test_killed_training_continues_to_the_same_bytes(
    kind: str,
    settings: dict[str, Any],
    never_killed: tuple[Path, dict[str, int]],
    tmp_path: Path,
) -> None:
    rare, counts = never_killed
    expected = result_of(rare)
    numbers = random.Random(20).sample(range(2, counts[kind] + 1), NUM_KILLS)
    for number in numbers:
        folder = tmp_path / f"{kind}-{number}"
        folder.mkdir()
        assert run_process(settings, folder / "run", kind, number) == -signal.SIGKILL
        assert resumed(settings, folder / "run") == expected, f"killed at {kind} {number}"
        assert [path.name for path in folder.iterdir()] == ["run"]


def interrupted(settings: dict[str, Any], output: Path, *, at: int = 5) -> None:
    """Train until step `at`, and leave a checkpoint."""
    events = training.train_events(Config.from_dict(settings), output, max_steps_per_call=1)
    for event in events:
        if isinstance(event, training.Step) and event.epoch * event.step == at:
            events.close()
            return
    raise AssertionError("the training ended before")


def resumed(settings: dict[str, Any], output: Path, *overrides: str) -> dict[str, Any]:
    """Continue a training and return its result."""
    list(training.train_events(Config.from_dict(settings, overrides), output, resume=True))
    return result_of(output)


def test_unfinished_training_is_neither_continued_nor_replaced_without_being_asked(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    interrupted(settings, tmp_path / "run")
    config = Config.from_dict(settings)
    with pytest.raises(ArtifactError) as caught:
        training.check(config, tmp_path / "run")
    message = str(caught.value)
    assert "an unfinished training (epoch 1, step 4)" in message
    assert "--resume to continue it, or --overwrite" in message
    with pytest.raises(ArtifactError, match="give one"):
        training.check(config, tmp_path / "run", resume=True, overwrite=True)
    events = training.train_events(config, tmp_path / "run", overwrite=True)
    (started,) = [event for event in events if isinstance(event, training.Started)]
    assert (started.step, started.history) == (0, ())


def test_resume_of_a_finished_training_changes_nothing(
    settings: dict[str, Any], trained: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    (finished,) = training.train_events(Config.from_dict(settings), folder, resume=True)
    assert finished.why == "finished before" and finished.validation.metrics
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_settings_that_differ_from_those_of_the_checkpoint_are_all_named(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    interrupted(settings, tmp_path / "run")
    with pytest.raises(ConfigError) as caught:
        resumed(settings, tmp_path / "run", "model.units=7", "training.seed=1")
    first, second = str(caught.value).split("\n")
    assert first.startswith("model.units: is 7, but the unfinished training in")
    assert "has 6; restore it" in first and second.startswith("training.seed: is 1")


def test_changed_data_are_refused_and_the_checkpoint_stays(
    settings: dict[str, Any], reviews: Path, tmp_path: Path
) -> None:
    path = tmp_path / "reviews.csv"
    shutil.copy(reviews, path)
    changed = {**settings, "data": {"source": str(path)}}
    interrupted(changed, tmp_path / "run")
    path.write_text(reviews.read_text(encoding="utf-8") + "a new one,positive\n", encoding="utf-8")
    with pytest.raises(DataError, match="the data differ from those of the unfinished training"):
        resumed(changed, tmp_path / "run")
    shutil.copy(reviews, path)
    assert resumed(changed, tmp_path / "run")["history"]


@pytest.mark.parametrize("schedule", ["constant", "exponential", "plateau", "cosine"])
def test_number_of_epochs_may_grow_unless_the_schedule_depends_on_it(
    schedule: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    section = {**settings["training"], "schedule": schedule, "epochs": 2, "warmup_steps": 3}
    model = {**settings["model"], "linear": "none"}
    settings = {**settings, "training": section, "model": model}
    interrupted(settings, tmp_path / "grown")
    if schedule == "cosine":
        with pytest.raises(ConfigError, match=r"training.epochs: is 3.*`cosine` depends on it"):
            resumed(settings, tmp_path / "grown", "training.epochs=3")
        return
    grown = resumed(settings, tmp_path / "grown", "training.epochs=3")
    list(
        training.train_events(
            Config.from_dict(settings, ["training.epochs=3"]), tmp_path / "from_the_start"
        )
    )
    assert grown == result_of(tmp_path / "from_the_start")


def test_damaged_checkpoints_are_skipped_with_a_notice(
    settings: dict[str, Any], never_killed: tuple[Path, dict], tmp_path: Path
) -> None:
    interrupted(settings, tmp_path / "run", at=8)
    folder = tmp_path / "run.unfinished" / "checkpoints"
    older, newer = work_folder.checkpoint_folders(folder)
    arrays = newer / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-100])
    events = training.train_events(Config.from_dict(settings), tmp_path / "run", resume=True)
    started = next(event for event in events if isinstance(event, training.Started))
    assert any(f"{newer} is damaged and was skipped" in notice for notice in started.notices)
    assert started.step == 6
    list(events)
    assert result_of(tmp_path / "run") == result_of(never_killed[0])


def test_training_begins_again_if_all_checkpoints_are_damaged(
    settings: dict[str, Any], never_killed: tuple[Path, dict], tmp_path: Path
) -> None:
    interrupted(settings, tmp_path / "run")
    for path in (tmp_path / "run.unfinished" / "checkpoints").glob("*/checkpoint.json"):
        path.write_text("{")
    assert resumed(settings, tmp_path / "run") == result_of(never_killed[0])


def test_checkpoint_of_a_newer_format_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    interrupted(settings, tmp_path / "run")
    record = tmp_path / "run.unfinished" / "record.json"
    content = msgspec.json.decode(record.read_bytes())
    record.write_bytes(msgspec.json.encode({**content, "format": 99}))
    for arguments in ({}, {"resume": True}):
        with pytest.raises(TextclfError, match=r"newer version of textclf \(format 99"):
            training.check(Config.from_dict(settings), tmp_path / "run", **arguments)
    record.write_text("{")
    with pytest.raises(TextclfError, match="is damaged.*start again with --overwrite"):
        training.check(Config.from_dict(settings), tmp_path / "run")


def test_checkpoint_of_another_network_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    interrupted(settings, tmp_path / "run")
    other = {**settings, "model": {**settings["model"], "units": 7}}
    # As by an older version whose layers had other shapes.
    record = tmp_path / "run.unfinished" / "record.json"
    record.write_text(record.read_text().replace('"model.units":6', '"model.units":7'))
    with pytest.raises(TrainingError) as caught:
        resumed(other, tmp_path / "run")
    assert str(caught.value).endswith("of another network; start again with --overwrite")


def test_full_disk_in_an_epoch_leaves_the_last_checkpoint(
    settings: dict[str, Any], never_killed: tuple[Path, dict], tmp_path: Path, full_disk: Any
) -> None:
    events = training.train_events(Config.from_dict(settings), tmp_path / "run")
    with pytest.raises(ArtifactError, match="cannot be written.*then continue with --resume"):
        for event in events:
            if isinstance(event, training.Step) and event.step == 4:
                with full_disk(2000):
                    next(events)
    assert resumed(settings, tmp_path / "run") == result_of(never_killed[0])


def test_interrupted_training_saves_the_best_epoch_and_a_checkpoint(
    settings: dict[str, Any], never_killed: tuple[Path, dict], tmp_path: Path
) -> None:
    rare = {**settings, "training": {**settings["training"], "checkpoint_minutes": 10}}
    steps = iter(range(100))
    *_, finished = training.train_events(
        Config.from_dict(rare),
        tmp_path / "run",
        should_stop=lambda: next(steps) == 13,
        max_steps_per_call=1,
    )
    assert finished.is_resumable and finished.why == "interrupted"
    assert classifier.load(tmp_path / "run").card.training.best_epoch == 1
    with np.load(tmp_path / "run" / "weights.npz") as weights:
        assert len(weights) > 3
    assert resumed(rare, tmp_path / "run") == result_of(never_killed[0])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
