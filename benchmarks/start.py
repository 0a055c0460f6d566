"""Time to the first answer and to the first training step, relative to `import tensorflow`.

    python benchmarks/start.py [--rounds 5] [--json FILE]

Each command is a separate process; they alternate in each round, so that other load on the
machine affects all of them. The model is that of `configs/demo.yaml` after a few steps, without and
with a linear model, as a trained folder and as a SavedModel. The ratio is that of the seconds
beyond `import tensorflow` to those of `import tensorflow`, the median over the rounds. It is
negative where a command starts faster than a plain import: textclf hides packages that TensorFlow
would import but that are not used (textclf/startup.py).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).parents[1] / "configs" / "demo.yaml"
FEW_STEPS = ["--set", "training.epochs=1", "--set", "training.max_steps=1"]
IMPORT = "import tensorflow"
FIRST_STEP = "train, to the first step"
# Command -> largest wanted ratio.
WANTED = {
    "predict, trained folder": 0.5,
    "predict, SavedModel": 0.5,
    "predict, trained folder of a mixture": 0.5,
    FIRST_STEP: 1.5,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        commands = prepare(Path(temporary))
        rounds = list(measure(commands, arguments.rounds, Path(temporary)))
    if arguments.json:
        arguments.json.write_text(json.dumps(rounds, indent=1) + "\n")
    print_table(rounds)


def prepare(folder: Path) -> dict[str, list[str]]:
    """Train and export the models; return the arguments of Python by command."""
    program = ["-m", "textclf"]
    train = [*program, "train", str(CONFIG)]
    run([*train, "lstm", *FEW_STEPS], folder)
    run([*train, "mixture", *FEW_STEPS, "--set", "model.linear=mixture"], folder)
    run([*program, "export", "lstm", "exported"], folder)
    text = "not bad at all"
    return {
        IMPORT: ["-c", "import tensorflow"],
        "predict, trained folder": [*program, "predict", "lstm", text],
        "predict, SavedModel": [*program, "predict", "exported", text],
        "predict, trained folder of a mixture": [*program, "predict", "mixture", text],
        FIRST_STEP: [*train, "new", "--overwrite", *FEW_STEPS],
    }


def run(arguments: list[str], folder: Path) -> tuple[float, str]:
    """Run Python in a folder; return the seconds and stderr."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"TEXTCLF_TRACE": "1"},
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stderr)
    return seconds, done.stderr


def measure(
    commands: dict[str, list[str]], num_rounds: int, folder: Path
) -> Iterator[dict[str, dict[str, Any]]]:
    """Yield for each round, by command, the seconds and those of its stages."""
    for number in range(num_rounds):
        results = {}
        order = list(commands)
        shift = number % len(order)
        for name in order[shift:] + order[:shift]:
            seconds, stderr = run(commands[name], folder)
            stages = read_stages(stderr)
            if name == FIRST_STEP:
                seconds = seconds_until(stages, "first step")
            results[name] = {"seconds": seconds, "stages": stages}
            print(f"round {number + 1}: {name} {seconds:.1f} s", file=sys.stderr, flush=True)
        yield results


def read_stages(stderr: str) -> dict[str, float]:
    """Return the seconds by stage of the table that `TEXTCLF_TRACE=1` prints."""
    stages = {}
    for line in stderr.splitlines():
        words = line.split()
        if len(words) > 3 and words[-1].endswith("%") and words[-2] == "s":
            stages[" ".join(words[:-3])] = float(words[-3])
    return stages


def seconds_until(stages: dict[str, float], last: str) -> float:
    """Return the seconds from the start of the process to the end of a stage."""
    names = list(stages)
    return sum(stages[name] for name in names[: names.index(last) + 1])


def print_table(rounds: list[dict[str, dict[str, Any]]]) -> None:
    """Print medians, ratios and stages as Markdown."""
    print(f"| command | seconds | beyond the import | to `{IMPORT}` | wanted |")
    print("|---|---:|---:|---:|---:|")
    imports = [results[IMPORT]["seconds"] for results in rounds]
    print(f"| `{IMPORT}` | {statistics.median(imports):.2f} | | | |")
    for name, wanted in WANTED.items():
        seconds = [results[name]["seconds"] for results in rounds]
        beyond = [mine - theirs for mine, theirs in zip(seconds, imports, strict=True)]
        ratios = [more / theirs for more, theirs in zip(beyond, imports, strict=True)]
        print(
            f"| {name} | {statistics.median(seconds):.2f} | {statistics.median(beyond):+.2f} | "
            f"{statistics.median(ratios):+.2f} ({min(ratios):+.2f} to {max(ratios):+.2f}) | "
            f"{wanted:.1f} |"
        )
    for name in WANTED:
        print(f"\n| {name}: stage | seconds |\n|---|---:|")
        for stage in rounds[0][name]["stages"]:
            values = [results[name]["stages"][stage] for results in rounds]
            print(f"| {stage} | {statistics.median(values):.2f} |")


if __name__ == "__main__":
    main()
