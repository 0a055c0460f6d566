"""How long the command line takes to answer what needs no TensorFlow, and to start TensorFlow.

    python benchmarks/startup.py [ROUNDS]

Prints the median wall time of several rounds beside that of `python -c pass`. On an idle core each
command should stay below 0.3 s. TensorFlow is imported as it is, and as the commands start it.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = "data: {source: demo}\nmodel: {unit: 64}\n"
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "textclf --help": ["-m", "textclf", "--help"],
    "a wrong setting": ["-m", "textclf", "train", "wrong.yaml", "out"],
    "a wrong folder": ["-m", "textclf", "evaluate", "nowhere"],
    "import tensorflow": ["-c", "import tensorflow"],
    "its start here": ["-c", "import textclf.startup as s; s.import_tensorflow()"],
}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "wrong.yaml").write_text(CONFIG)
        # Alternately, so that a slow moment of the machine affects all commands.
        for _ in range(rounds + 1):
            for name, arguments in COMMANDS.items():
                started = time.perf_counter()
                subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True)
                seconds[name].append(time.perf_counter() - started)
    print(f"{'command':<18} {'median s':>8} {'fastest s':>9}   ({rounds} rounds after a first one)")
    for name, values in seconds.items():
        print(f"{name:<18} {statistics.median(values[1:]):>8.3f} {min(values[1:]):>9.3f}")


if __name__ == "__main__":
    main()
