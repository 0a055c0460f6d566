"""Time per step of two workers on two cores, compared with one process.

    python benchmarks/workers.py [--rounds 5] [--steps 150] [--json]

Each round trains configs/sst2.yaml once for each row of the table and for each batch size, without
the linear model, with seed 0:

    one process, one core
    one process, two cores
    two workers, one core each

All rows have the same batches, which two workers share. Time per step is the mean over the steps
without the first 20, in which TensorFlow traces the graph, and without validation. The table has
the median over the rounds, the fastest and the slowest round, and the bytes that a worker sends in
a step. The workers talk over the loopback device, whose work the same cores do. TEXTCLF_DATA is the
folder of the published data.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from worker_processes import run

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "sst2.yaml"
BATCH_SIZES = (64, 256)
NUM_SKIPPED = 20  # steps
# Name -> cores of each process, as positions in the list of cores.
ROWS = {
    "one process, one core": [[0]],
    "one process, two cores": [[0, 1]],
    "two workers, one core each": [[0], [1]],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150, help="steps of each training")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("--train", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train is not None:
        print(json.dumps(measure_steps(**arguments.train)))
        return
    rows = measure(arguments.rounds, arguments.steps)
    if arguments.json:
        print(json.dumps(rows))
    else:
        print_table(rows)


def measure(num_rounds: int, num_steps: int) -> list[dict[str, Any]]:
    """Train all rows and batch sizes in alternation, and return the figures of each."""
    measured: dict[tuple[int, str], list[float]] = {}
    num_weights = 0
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        for number in range(num_rounds + 1):  # round 0 fills the cache
            for batch_size in BATCH_SIZES:
                for row, positions in ROWS.items():
                    folder = Path(name, f"{number} {batch_size} {row}")
                    figures = train(
                        [[cores[position] for position in process] for process in positions],
                        folder,
                        {
                            "training.batch_size": batch_size,
                            "training.max_steps": num_steps if number else 1,
                            "training.cache_dir": str(Path(name, "cache")),
                        },
                    )
                    if not number:
                        continue
                    num_weights = figures["num_weights"]
                    measured.setdefault((batch_size, row), []).append(figures["ms"])
                    print(f"round {number}, {batch_size}, {row}: {figures}", file=sys.stderr)
    return [
        {
            "batch": batch_size,
            "processes": row,
            "ms per step": round(statistics.median(times), 1),
            "fastest": round(min(times), 1),
            "slowest": round(max(times), 1),
            "speed-up": round(
                statistics.median(measured[batch_size, "one process, one core"])
                / statistics.median(times),
                2,
            ),
            "MB sent per step": round(4 * num_weights / 1e6, 1) if len(ROWS[row]) == 2 else 0,
        }
        for (batch_size, row), times in measured.items()
    ]


def train(cores: list[list[int]], folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Train in processes that may use these cores, and return the figures of the first one."""
    strategy = "one_device" if len(cores) == 1 else "multi_worker"
    results = run(
        lambda index: [
            Path(__file__).resolve(),
            "--train",
            json.dumps(
                {
                    "cores": cores[index],
                    "output": str(folder / "run"),
                    "settings": {**settings, "training.strategy": strategy},
                }
            ),
        ],
        folder,
        num_workers=len(cores),
    )
    for result in results:
        assert result.exit_code == 0, result.stderr
    return json.loads(results[0].stdout)


def measure_steps(cores: list[int], output: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Train with one of the processes, and return ms per step and the number of weights."""
    os.sched_setaffinity(0, cores)  # TensorFlow starts a thread for each core that it may use
    from textclf.startup import import_tensorflow

    import_tensorflow()
    from textclf import training
    from textclf.config import Config

    config = Config.load(
        CONFIG, {"model.linear": "none", "evaluation.bootstrap_samples": 100, **settings}
    )
    times, last, num_weights = [], None, 0
    for event in training.train_events(config, output):
        if isinstance(event, training.Started):
            num_weights = event.num_weights
        if isinstance(event, training.Step):
            now = time.monotonic()
            if last is not None:
                times.append(now - last)
            last = now
        if isinstance(event, training.Epoch):
            last = None  # validation is not part of a step
    times = times[NUM_SKIPPED:]
    return {"ms": 1000 * statistics.mean(times) if times else 0.0, "num_weights": num_weights}


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print a Markdown table."""
    print(f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(str(value) for value in row.values())} |")


if __name__ == "__main__":
    main()
