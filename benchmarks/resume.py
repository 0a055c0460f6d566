"""Checkpoints: trainings that are killed and continued, and the cost of checkpoints.

    python benchmarks/resume.py kills [--number 200] [--seed 0] [--json]
    python benchmarks/resume.py cost [--only sst2] [--json]

`kills` trains two small mixtures of an LSTM and a linear model, one of them with several labels,
with a checkpoint at every step. Each training is killed (SIGKILL) up to three times and continued
until it ends. Then its vocabulary, weights, history without seconds, decision and share, and the
bytes of `textclf predict --json` are compared with those of a training that was never killed and
had no checkpoints within its epochs. The place of a kill is drawn: an event of the training, a call
of `open`, `rename`, `mkdir` or `remove` for one of its files, or a moment. Exits with 1 if a
training fails, a result differs or a checkpoint is damaged. Each process is a copy (fork) of this
one, which has imported TensorFlow, but has not used it.

`cost` measures size and seconds of checkpoints, and seconds per step, with configurations of
`configs/`. Two epochs are trained. Both have a checkpoint at the end, and the second one also seven
within it. Seconds per step are those of the first epoch, without the first step. The share of the
training time is that of one checkpoint per epoch and one per `training.checkpoint_minutes`.
TEXTCLF_DATA is the folder of the published data.
"""

import argparse
import csv
import dataclasses
import datetime
import itertools
import json
import multiprocessing
import os
import pickle
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from killed_training import FILE_CALLS, result_of, train

from textclf import demo, training
from textclf.config import Config
from textclf.training import checkpoints, run, work_folder

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("event", *FILE_CALLS.values(), "time")
MAX_KILLS = 3  # of one training
EACH_STEP = 1e-9  # minutes between checkpoints
CONFIGS = ("sst2", "imdb_reviews")
NUM_CHECKPOINTS, STEPS_BETWEEN = 7, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    kills_parser = commands.add_parser("kills")
    kills_parser.add_argument("--number", type=int, default=200, help="number of kills")
    kills_parser.add_argument("--seed", type=int, default=0, help="seed of the places")
    cost_parser = commands.add_parser("cost")
    cost_parser.add_argument("--only", choices=CONFIGS)
    for subparser in (kills_parser, cost_parser):
        subparser.add_argument("--json", action="store_true", help="JSON instead of a table")
    arguments = parser.parse_args()
    if arguments.command == "kills":
        tally = kill_trainings(arguments.number, arguments.seed)
        if arguments.json:
            print(json.dumps(tally.summary()))
        else:
            print_kills(tally)
        sys.exit(int(bool(tally.problems)))
    costs = [measure_cost(name) for name in ([arguments.only] if arguments.only else CONFIGS)]
    if arguments.json:
        print(json.dumps(costs))
    else:
        print_table(costs)


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print a Markdown table."""
    print(f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(str(value) for value in row.values())} |")


# === Kills ===


class Reference(NamedTuple):
    """A training that was never killed.

    Attributes:
        settings: the same with a checkpoint at every step.
        result: see `result_of`.
        num_places: number of places of each kind at which `settings` can be killed; seconds for
            the kind "time".
    """

    settings: dict[str, Any]
    result: dict[str, Any]
    num_places: dict[str, float]


class Attempt(NamedTuple):
    """A process that begins or continues a training.

    Attributes:
        is_killed: whether it was killed.
        step: number of steps done before; None if it was killed before its first event.
        seconds: from its start until the training steps can begin; None if it was killed before.
        num_damaged: number of damaged checkpoints.
        outcome: number of places and result; None if it was killed or has failed.
        error: the last line of its errors, if it has failed.
    """

    is_killed: bool
    step: int | None
    seconds: float | None
    num_damaged: int
    outcome: tuple[dict[str, float], dict[str, Any]] | None
    error: str


@dataclasses.dataclass
class Tally:
    """Counts over all trainings.

    Attributes:
        kills: number of kills by kind of place.
        kills_of_training: number of trainings by their number of kills.
        resumes: attempts to continue a training.
        problems: trainings that failed, results that differ and damaged checkpoints.
        left: files that a killed training left and no later one removed.
    """

    kills: Counter[str] = dataclasses.field(default_factory=Counter)
    kills_of_training: Counter[int] = dataclasses.field(default_factory=Counter)
    resumes: list[Attempt] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    left: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def summary(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        seconds = [a.seconds for a in self.resumes if a.seconds is not None and not a.is_killed]
        return {
            "kills": {kind: self.kills[kind] for kind in KINDS},
            "trainings_by_kills": dict(sorted(self.kills_of_training.items())),
            "resumed_from_a_checkpoint": sum(bool(a.step) for a in self.resumes),
            "median_seconds_to_resume": round(statistics.median(seconds), 2) if seconds else None,
            "max_seconds_to_resume": round(max(seconds), 2) if seconds else None,
            "minutes": round(self.seconds / 60, 1),
            "problems": self.problems,
            "left": self.left,
        }


def kill_trainings(number: int, seed: int) -> Tally:
    """Kill and continue trainings until there were `number` kills."""
    draw = random.Random(seed)
    tally = Tally()
    with tempfile.TemporaryDirectory() as name:
        references = [
            make_reference(settings, Path(name, f"reference{i}"))
            for i, settings in enumerate(make_settings(Path(name)))
        ]
        started = time.monotonic()
        for reference in itertools.cycle(references):
            if (done := tally.kills.total()) >= number:
                return tally
            with tempfile.TemporaryDirectory(dir=name) as folder:
                num_kills = min(draw.randint(1, MAX_KILLS), number - done)
                kill_training(reference, Path(folder), draw, num_kills, tally)
            tally.seconds = time.monotonic() - started
            show_progress(tally, number)
    raise AssertionError("the references are never exhausted")


def show_progress(tally: Tally, number: int) -> None:
    done = tally.kills.total()
    left = tally.seconds / max(done, 1) * (number - done)
    print(
        f"{done} of {number} kills, {tally.kills_of_training.total()} trainings, "
        f"{len(tally.problems)} problems, {len(tally.left)} files left behind, "
        f"{datetime.timedelta(seconds=round(left))} to go",
        file=sys.stderr,
        flush=True,
    )


def make_settings(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the settings of both trainings; their data are written to `folder`."""
    rows = list(itertools.islice(demo.examples("train"), 300))
    language = {text: "english" if text.isascii() else "chinese" for text, _ in rows}
    for name, labels in (
        ("one", [label for _, label in rows]),
        ("several", [f"{label},{language[text]}" for text, label in rows]),
    ):
        path = folder / f"{name}.tsv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t")
            writer.writerow(["text", "label"])
            writer.writerows(zip((text for text, _ in rows), labels, strict=True))
        yield {
            "data": {"source": str(path), "multi_label": name == "several"},
            "model": {"units": 6, "embedding_dim": 5, "linear": "mixture", "token_dropout": 0.2},
            "training": {
                "epochs": 3,
                "batch_size": 32,
                "learning_rate": 0.01,
                "length_buckets": 4,
                "shuffle_buffer": 100,
                "schedule": "plateau" if name == "one" else "cosine",
                "checkpoint_minutes": EACH_STEP,
            },
            "evaluation": {"bootstrap_samples": 100},
        }


def make_reference(settings: dict[str, Any], folder: Path) -> Reference:
    """Train without kills, and again with a checkpoint at every step to count the places."""
    rare = {**settings, "training": {**settings["training"], "checkpoint_minutes": 1000}}
    results = []
    for name, chosen in (("rare", rare), ("often", settings)):
        (folder / name).mkdir(parents=True)
        attempt = run_attempt(chosen, folder / name / "run", "none")
        assert attempt.outcome is not None, attempt.error
        num_places, result = attempt.outcome
        results.append(result)
    assert results[0] == results[1], "checkpoints change the result"
    return Reference(settings, results[0], num_places)


def kill_training(
    reference: Reference, folder: Path, draw: random.Random, num_kills: int, tally: Tally
) -> None:
    """Kill a training up to `num_kills` times, continue it to its end, and add it to the tally."""
    output = folder / "output" / "run"
    output.parent.mkdir()
    places: list[str] = []
    attempt = None
    while attempt is None or attempt.is_killed:
        kind, number = "none", 0.0
        if len(places) < num_kills:
            kind = draw.choice(KINDS)
            # A part of the places for each kill: a continued training has fewer of them.
            end = reference.num_places[kind] / num_kills
            number = draw.uniform(0, end) if kind == "time" else draw.randint(1, max(1, int(end)))
        attempt = run_attempt(reference.settings, output, kind, number)
        tally.resumes += [attempt] if places else []
        if attempt.num_damaged:
            _note(tally.problems, f"{places}: {attempt.num_damaged} damaged checkpoints")
        if attempt.is_killed:
            places.append(f"{kind} {number:.4g}")
            tally.kills[kind] += 1
    tally.kills_of_training[len(places)] += 1
    if attempt.outcome is None:
        _note(tally.problems, f"{places}: failed: {attempt.error}")
        return
    _, result = attempt.outcome
    names = result.keys() | reference.result.keys()
    different = sorted(n for n in names if result.get(n) != reference.result.get(n))
    if different:
        _note(tally.problems, f"{places}: different: {', '.join(different)}")
    for path in output.parent.iterdir():
        if path != output:
            _note(tally.left, f"{places}: left behind: {path.name}")


def _note(sentences: list[str], sentence: str) -> None:
    """Add a sentence to a list, and print it to stderr at once."""
    sentences.append(sentence)
    print(sentence, file=sys.stderr)


def run_attempt(settings: dict[str, Any], output: Path, kind: str, number: float = 0) -> Attempt:
    """Begin or continue a training in a copy of this process, which may be killed."""
    folder = output.parent.parent
    for name in ("stderr", "events", "outcome"):
        (folder / name).unlink(missing_ok=True)
    process = multiprocessing.get_context("fork").Process(
        target=_train_in_copy, args=(settings, output, kind, int(number), folder)
    )
    process.start()
    process.join(number if kind == "time" else None)
    process.kill()
    process.join()
    events = {}
    if (folder / "events").exists():
        events = dict(map(json.loads, (folder / "events").read_text().splitlines()))
    started = events.get("Started", {})
    is_killed = process.exitcode == -signal.SIGKILL
    outcome, error = None, ""
    if process.exitcode == 0:
        outcome = pickle.loads((folder / "outcome").read_bytes())
    elif not is_killed:
        error = (folder / "stderr").read_text().strip().rpartition("\n")[2]
    return Attempt(
        is_killed=is_killed,
        step=started.get("step"),
        seconds=events.get("LinearFitted", {}).get("seconds"),
        num_damaged=started.get("num_damaged", 0),
        outcome=outcome,
        error=error,
    )


def _train_in_copy(
    settings: dict[str, Any], output: Path, kind: str, number: int, folder: Path
) -> None:
    """Train; write events and outcome to files in `folder`."""
    began = time.monotonic()
    with (folder / "stderr").open("w") as stderr:
        os.dup2(stderr.fileno(), 2)

    def on_event(event: training.Event) -> None:
        if isinstance(event, training.Started | training.LinearFitted):
            values: dict[str, Any] = {"seconds": time.monotonic() - began}
            if isinstance(event, training.Started):
                values["step"] = event.step
                values["num_damaged"] = sum("damaged" in notice for notice in event.notices)
            with (folder / "events").open("a") as file:
                file.write(json.dumps([type(event).__name__, values]) + "\n")

    num_places: dict[str, float] = {**train(settings, output, kind, number, on_event)}
    num_places["time"] = time.monotonic() - began
    outcome = pickle.dumps((num_places, result_of(output)))
    (folder / "outcome").write_bytes(outcome)


def print_kills(tally: Tally) -> None:
    """Print the summary as tables, and the problems."""
    summary = tally.summary()
    print_table([{"place": kind, "kills": number} for kind, number in summary["kills"].items()])
    for name in ("kills", "problems", "left"):
        del summary[name]
    print()
    print_table([summary])
    print(f"\n{tally.kills.total()} kills, {len(tally.problems)} problems")
    print("\n".join([*tally.problems, *tally.left]))


# === Cost ===


class TimedCheckpoints(checkpoints.Checkpoints):
    """Checkpoints that record their size and seconds.

    Attributes:
        costs: MB and seconds of the checkpoints within an epoch (False) and at its end (True).
    """

    costs: dict[bool, list[tuple[float, float]]]
    _num_steps = 0  # of the second epoch

    @property
    def is_due(self) -> bool:
        if not self.costs[True] or len(self.costs[False]) == NUM_CHECKPOINTS:
            return False
        self._num_steps += 1
        return self._num_steps % STEPS_BETWEEN == 0

    def save(self, state: Any, iterator: Iterator | None) -> None:
        started = time.monotonic()
        super().save(state, iterator)
        seconds = time.monotonic() - started
        *_, newest = work_folder.checkpoint_folders(self._folder)
        size = sum(path.stat().st_size for path in newest.iterdir())
        self.costs[iterator is None].append((size / 1e6, seconds))


def measure_cost(name: str) -> dict[str, Any]:
    """Train two epochs; return the cost of steps and checkpoints."""
    config = Config.load(ROOT / "configs" / f"{name}.yaml", {"training.epochs": 2})
    costs: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    TimedCheckpoints.costs = costs
    run.Checkpoints = TimedCheckpoints
    step_times, validation_seconds = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for event in training.train_events(config, Path(folder, "run")):
            if isinstance(event, training.Step):
                step_time = time.monotonic()
                step_times += [step_time] if event.epoch == 1 else []
            elif isinstance(event, training.Epoch):
                validation_seconds = time.monotonic() - step_time - costs[True][-1][1]
    step_seconds = (step_times[-1] - step_times[0]) / (len(step_times) - 1)
    epoch_seconds = step_seconds * len(step_times) + validation_seconds
    seconds = statistics.median(seconds for _, seconds in costs[False])
    end_seconds = statistics.mean(seconds for _, seconds in costs[True])
    share = seconds / (60 * config.training.checkpoint_minutes) + end_seconds / epoch_seconds
    return {
        "configuration": name,
        "MB within an epoch": round(max(size for size, _ in costs[False]), 1),
        "seconds (median)": round(seconds, 2),
        "seconds (slowest)": round(max(seconds for _, seconds in costs[False]), 2),
        "MB at the end of an epoch": round(costs[True][-1][0], 1),
        "seconds (mean)": round(end_seconds, 2),
        "ms per step": round(1000 * step_seconds, 1),
        "steps per epoch": len(step_times),
        "seconds per epoch": round(epoch_seconds, 1),
        "% of the training time": round(100 * share, 2),
    }


if __name__ == "__main__":
    main()
