"""Growth of the cost of a training with the number of texts, words, classes and tokens per text.

    python benchmarks/scaling.py [--panels texts vocabulary classes length] [--steps 1000]
        [--whole-pass] [--quick] [--json FILE] [--plot FILE.svg]
    python benchmarks/scaling.py --read FILE [--plot FILE.svg]

Each point is a separate process with generated texts: words drawn by Zipf's law, all texts of a
point with the same number of tokens, so there is no padding. Each word of the vocabulary occurs in
the first rows. The rows are written to a CSV file one after the other, and validation is a second
file of fixed size. The network is a bidirectional LSTM of 64 units with an embedding of 100.

The seconds of a training are those of its calls of the graph, from the first call after 20 steps;
validation and checkpoints between epochs are not included. A point ends after --steps steps, or
after about 20 million tokens. `--whole-pass` also trains one whole epoch on each number of texts,
for its peak memory. The seconds of reading, counting and encoding are those of all texts.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pictures import STYLE

SEED = 0
BATCH_SIZE = 64
WARM_UP_STEPS = 20
MAX_TOKENS = 20_000_000  # of the steps of a point
ROWS_AT_A_TIME = 4096
SETTINGS: dict[str, dict[str, Any]] = {
    "model": {"bidirectional": True, "units": 64, "embedding_dim": 100, "linear": "none"},
    "training": {"batch_size": BATCH_SIZE, "patience_epochs": 0, "seed": SEED},
    "evaluation": {"bootstrap_samples": 100},
}
# Panel -> values, and those of --quick.
VALUES = {
    "texts": ([10_000, 100_000, 1_000_000, 5_000_000], [2_000, 4_000]),
    "vocabulary": ([10_000, 100_000, 1_000_000], [1_000, 5_000]),
    "classes": ([2, 20, 200, 1_000], [2, 20]),
    "length": ([10, 20, 50, 100, 500, 1_000, 5_000], [10, 50]),
}
TITLES = {
    "texts": "number of texts",
    "vocabulary": "words in the vocabulary",
    "classes": "number of classes",
    "length": "tokens per text",
}
STAGES = ("reading the data", "counting tokens", "encoding train")


class Point(NamedTuple):
    """Sizes of the data of one training, and its maximum number of steps; None for one epoch."""

    panel: str
    texts: int
    vocabulary: int
    classes: int
    length: int
    steps: int | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--panels", nargs="+", choices=VALUES, default=list(VALUES))
    parser.add_argument("--steps", type=int, default=1_000, help="maximum steps of a point")
    parser.add_argument("--whole-pass", action="store_true", help="also one epoch on all texts")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the program")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    parser.add_argument("--plot", type=Path, help="draw the measurements as an SVG file")
    parser.add_argument("--read", type=Path, help="measurements of --json, instead of new ones")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        point, folder = arguments.worker
        print(json.dumps(measure(Point(*json.loads(point)), Path(folder))))
        return
    if arguments.read:
        results = json.loads(arguments.read.read_text())
    else:
        results = []
        for result in run_points(points(arguments)):
            results.append(result)
            if arguments.json:  # after each point: a run takes hours
                arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print_table(results)
    if arguments.plot:
        plot(results, arguments.plot)


# === Points ===


def points(arguments: argparse.Namespace) -> Iterator[Point]:
    """Yield the points to measure; one size grows in each panel."""
    steps = 2 * WARM_UP_STEPS if arguments.quick else arguments.steps
    basis = {"vocabulary": 10_000, "classes": 2, "length": 20}
    num_texts = 200_000
    if arguments.quick:
        basis["vocabulary"], num_texts = 1_000, 4_000
    for panel in arguments.panels:
        for value in VALUES[panel][int(arguments.quick)]:
            sizes = {**basis, "texts": num_texts, panel: value}
            affordable = MAX_TOKENS // (BATCH_SIZE * sizes["length"])
            num_steps = min(steps, max(affordable, 2 * WARM_UP_STEPS))
            if panel == "length":
                sizes["texts"] = BATCH_SIZE * num_steps
            yield Point(panel, steps=num_steps, **sizes)
            if panel == "texts" and arguments.whole_pass:
                yield Point(panel, steps=None, **sizes)


def run_points(all_points: Iterator[Point]) -> Iterator[dict[str, Any]]:
    """Yield the sizes of each point with the measurements of its process."""
    for point in all_points:
        with tempfile.TemporaryDirectory() as folder:
            write_rows(point, Path(folder))
            done = subprocess.run(
                [sys.executable, __file__, "--worker", json.dumps(point), folder],
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            sys.exit(done.stderr)
        result = {**point._asdict(), **json.loads(done.stdout.splitlines()[-1])}
        print(json.dumps(result), file=sys.stderr, flush=True)
        yield result


def write_rows(point: Point, folder: Path) -> None:
    """Write train.csv and validation.csv, a few rows at a time."""
    words = np.array([word(number) for number in range(point.vocabulary)], dtype=object)
    shares = 1 / np.arange(1, point.vocabulary + 1)
    limits = np.cumsum(shares / shares.sum())
    for name, num_rows in (("train", point.texts), ("validation", max(1_000, point.classes))):
        rng = np.random.default_rng([SEED, num_rows])
        next_word = 0 if name == "train" else point.vocabulary
        with open(folder / f"{name}.csv", "w", encoding="utf-8") as file:
            file.write("text,label\n")
            for start in range(0, num_rows, ROWS_AT_A_TIME):
                shape = min(ROWS_AT_A_TIME, num_rows - start), point.length
                drawn = np.searchsorted(limits, rng.random(shape)).clip(max=point.vocabulary - 1)
                unseen = np.arange(next_word, min(next_word + drawn.size, point.vocabulary))
                drawn.reshape(-1)[: unseen.size] = unseen
                next_word += unseen.size
                for number, row in enumerate(drawn, start):
                    file.write(f"{' '.join(words[row])},{number % point.classes}\n")


def word(number: int) -> str:
    """Return a different word of letters for each number."""
    letters = "q"  # keeps these words apart from any others
    while number >= 0:
        letters += chr(ord("a") + number % 26)
        number = number // 26 - 1
    return letters


# === One point ===


class StepClock:
    """Seconds of the steps after the warm-up, without validation and checkpoints.

    Several steps are computed in one call of the graph, and their events come together after it.
    So time is measured from the beginning of a call, where the training asks whether to stop, to
    the last event that follows.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.num_steps = 0
        self.num_texts = 0  # of these steps
        self._all_steps = 0  # the warm-up included
        self._first = 0  # steps before the call
        self._texts = 0  # of the call
        self._began: float | None = None  # the call, if it is measured
        self._last = 0.0  # event

    def begin_call(self) -> bool:
        """End the former call and begin the next; return False, so that the training goes on."""
        self.end_call()
        self._first, self._texts = self._all_steps, 0
        self._began = time.perf_counter() if self._all_steps >= WARM_UP_STEPS else None
        return False

    def add_step(self, num_texts: int) -> None:
        """Count a step that is done."""
        self._last = time.perf_counter()
        self._all_steps += 1
        self._texts += num_texts

    def end_call(self) -> None:
        """Add the call to the sums, if it is measured."""
        if self._began is not None and self._all_steps > self._first:
            self.seconds += self._last - self._began
            self.num_steps += self._all_steps - self._first
            self.num_texts += self._texts
        self._began = None


def measure(point: Point, folder: Path) -> dict[str, Any]:
    """Train on the files of a point; return seconds, tokens and memory."""
    from textclf.startup import import_tensorflow

    import_tensorflow()
    from textclf import training
    from textclf.config import Config

    imported_mb = peak_mb()
    files = {name: str(folder / f"{name}.csv") for name in ("train", "validation")}
    changes: dict[str, Any] = {"text.max_tokens": point.vocabulary, "text.min_count": 1}
    changes |= {"text.sequence_length": point.length, "training.checkpoint_minutes": 1e6}
    steps_per_epoch = -(-point.texts // BATCH_SIZE)
    changes["training.epochs"] = -(-(point.steps or 1) // steps_per_epoch)
    if point.steps is not None:
        changes["training.max_steps"] = point.steps
    config = Config.from_dict({**SETTINGS, "data": files}).replace(changes)
    stages: dict[str, float] = {}
    last = time.perf_counter()

    def add_seconds(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if done:  # the first report of a stage may come before its work
            stages[stage] = stages.get(stage, 0.0) + now - last
        last = now

    clock, vocabulary_size = StepClock(), 0
    for event in training.train_events(
        config, folder / "run", should_stop=clock.begin_call, on_progress=add_seconds
    ):
        if isinstance(event, training.Started):
            vocabulary_size = event.vocabulary_size
            prepared_mb = peak_mb()
        elif isinstance(event, training.Step):
            is_last = event.step == event.steps_per_epoch  # the only batch that is not full
            clock.add_step((point.texts - 1) % BATCH_SIZE + 1 if is_last else BATCH_SIZE)
        elif isinstance(event, training.Epoch):
            clock.end_call()
    clock.end_call()
    tokens = clock.num_texts * point.length
    return {
        "vocabulary_size": vocabulary_size,
        "timed_steps": clock.num_steps,
        "ms_per_step": 1e3 * clock.seconds / clock.num_steps,
        "seconds_per_million_tokens": 1e6 * clock.seconds / tokens,
        "peak_mb": peak_mb(),
        "prepared_mb": prepared_mb,
        "imported_mb": imported_mb,
        "stage_seconds": stages,
    }


def peak_mb() -> float:
    """Return the peak resident memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# === Results ===


def print_table(results: Sequence[dict[str, Any]]) -> None:
    """Print one Markdown table for each panel, and one of the seconds before the first step."""
    for panel in VALUES:
        rows = [result for result in results if result["panel"] == panel]
        if not rows:
            continue
        print(
            f"| {TITLES[panel]} | steps | ms per step | s per million tokens | to the first | "
            "peak MB | MB before the steps |\n|---:|---:|---:|---:|---:|---:|---:|"
        )
        first = rows[0]["seconds_per_million_tokens"]
        for row in rows:
            seconds = row["seconds_per_million_tokens"]
            steps = f"{row['timed_steps']:,}" + (" (whole pass)" if row["steps"] is None else "")
            print(
                f"| {row[panel]:,} | {steps} | {row['ms_per_step']:.2f} | {seconds:.2f} | "
                f"{seconds / first:.2f} | {row['peak_mb']:,.0f} | {row['prepared_mb']:,.0f} |"
            )
        print()
    rows = [result for result in results if result["panel"] == "texts" and result["steps"]]
    if rows:
        names = "".join(f" {stage} |" for stage in STAGES)
        print(f"| number of texts: seconds per million tokens of |{names}")
        print("|---:|" + "---:|" * len(STAGES))
        for row in rows:
            tokens = row["texts"] * row["length"] / 1e6
            values = [row["stage_seconds"].get(stage, 0.0) / tokens for stage in STAGES]
            print(f"| {row['texts']:,} |" + "".join(f" {value:.2f} |" for value in values))


def plot(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw a panel for each size: seconds per million tokens, and the peak memory."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    panels = [panel for panel in VALUES if any(r["panel"] == panel for r in results)]
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": "scaling"}):
        figure = Figure(figsize=(8, 4.6), layout="constrained")
        axes = figure.subplots(2, len(panels), sharex="col", sharey="row", squeeze=False)
        for column, panel in enumerate(panels):
            upper, lower = axes[:, column]
            rows = [r for r in results if r["panel"] == panel]
            few = [r for r in rows if r["steps"] is not None]
            whole = [r for r in rows if r["steps"] is None]
            sizes = [r[panel] for r in few]
            upper.plot(sizes, [r["seconds_per_million_tokens"] for r in few], "o-", color="C0")
            lower.plot(sizes, [r["peak_mb"] / 1024 for r in few], "o-", color="C1")
            if whole:
                values = [r["peak_mb"] / 1024 for r in whole]
                lower.plot([r[panel] for r in whole], values, "o--", color="C2", label="whole pass")
                lower.legend(frameon=False)
            lower.set(xlabel=TITLES[panel], xscale="log")
            for ax in (upper, lower):
                ax.minorticks_off()
                ax.tick_params(length=2)
        for ax in axes[:, 0]:  # shared by the row; after all curves, which set the upper limit
            ax.set_ylim(bottom=0)
        axes[0, 0].set_ylabel("seconds per million tokens")
        axes[1, 0].set_ylabel("peak memory, GB")
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
