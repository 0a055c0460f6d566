"""Time of a training step with `text.subwords`, compared with the same step without.

    python benchmarks/subwords.py [--data sst2 imdb_reviews] [--encoders lstm bag] [--rounds 30]
        [--steps 10] [--buckets 10000 50000] [--set SETTING=VALUE ...] [--json FILE]

Needs TEXTCLF_DATA. The settings are those of `configs/`, with the network alone. Both trainings
are in one process and have the same batches in the same order. They alternate: a round is some
steps of each, and the one that begins changes. The ratio is the median over the rounds, with the
quartiles; the ratio of processor time does not depend on other work of the machine.
"""

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
WARM_UP_STEPS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", nargs="+", default=["sst2", "imdb_reviews"])
    parser.add_argument("--encoders", nargs="+", default=["lstm"])
    parser.add_argument("--buckets", nargs="+", type=int, default=[10_000], help="n-gram vectors")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=10, help="steps of each training in a round")
    parser.add_argument("--set", nargs="*", default=[], help="further settings of both trainings")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    arguments = parser.parse_args()
    from textclf.startup import import_tensorflow

    import_tensorflow()
    results = []
    print(
        "| data | encoder | vectors | ms without | ms with | ratio | quartiles | "
        "ratio of processor time |"
    )
    print("|---|---|---:|---:|---:|---:|---|---:|", flush=True)
    cases = itertools.product(arguments.data, arguments.encoders, arguments.buckets)
    for name, encoder, buckets in cases:
        wall, cpu = measure(name, encoder, buckets, arguments)
        without, with_subwords = 1000 * np.median(wall, axis=0) / arguments.steps
        low, ratio, high = np.quantile(wall[:, 1] / wall[:, 0], [0.25, 0.5, 0.75])
        cpu_ratio = np.median(cpu[:, 1] / cpu[:, 0])
        print(
            f"| {name} | {encoder} | {buckets:,} | {without:.1f} | {with_subwords:.1f} | "
            f"{ratio:.2f} | {low:.2f} to {high:.2f} | {cpu_ratio:.2f} |",
            flush=True,
        )
        results.append(
            {
                "data": name,
                "encoder": encoder,
                "buckets": buckets,
                "wall": wall.tolist(),
                "processor": cpu.tolist(),
            }
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


def measure(
    name: str, encoder: str, buckets: int, arguments: argparse.Namespace
) -> tuple[Any, Any]:
    """Return seconds and processor seconds, float64 [rounds, 2]: without subwords and with them."""
    from textclf.config import Config

    path = CONFIGS / f"{name}.yaml"
    common = ["model.linear=none", f"model.encoder={encoder}", *arguments.set]
    with tempfile.TemporaryDirectory() as work, contextlib.ExitStack() as stack:
        trainings = [
            stack.enter_context(
                training(
                    Config.load(path, [*common, *options]),
                    Path(work) / str(number),
                )
            )
            for number, options in enumerate(
                [[], ["text.subwords=true", f"text.subword_buckets={buckets}"]]
            )
        ]
        for steps in trainings:
            steps(WARM_UP_STEPS)
        wall = np.zeros((arguments.rounds, 2))
        cpu = np.zeros((arguments.rounds, 2))
        for number in range(arguments.rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                before = time.perf_counter(), time.process_time()
                trainings[which](arguments.steps)
                wall[number, which] = time.perf_counter() - before[0]
                cpu[number, which] = time.process_time() - before[1]
    return wall, cpu


@contextlib.contextmanager
def training(config: Any, output: Path) -> Iterator[Any]:
    """Yield a function that makes the next training steps of a configuration, as many as asked."""
    import tensorflow as tf

    from textclf.training.cluster import open_cluster
    from textclf.training.run import set_up
    from textclf.training.work_folder import work_folder

    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    with open_cluster(config) as cluster, work_folder(output) as work:
        setup = set_up(config, work, cluster, lambda *_: None)
        loop = setup.loop
        assert loop is not None
        print(
            f"{setup.vocabulary_size} token ids, {loop.steps_per_epoch} steps per epoch, "
            f"text.subwords {config.text.subwords}",
            file=sys.stderr,
        )
        state = {"epoch": 0, "left": 0, "step": 0, "iterator": None}

        def steps(number: int) -> None:
            if state["left"] < number:
                state["epoch"] += 1
                state["iterator"] = iter(loop.training_batches(state["epoch"]))
                state["left"] = loop.steps_per_epoch
            rates = [config.training.learning_rate] * number
            loop.train_step(state["iterator"], rates, step=state["step"], lowest=0)
            state["left"] -= number
            state["step"] += number

        yield steps


if __name__ == "__main__":
    main()
