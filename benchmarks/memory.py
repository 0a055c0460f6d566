"""Peak memory of training on data larger than memory should hold.

    python benchmarks/memory.py --rows 5000000

Writes two CSV files, of 50,000 rows and of --rows, trains one epoch on each in a separate
process, and compares: the large file may take 16 bytes per row and 200 MB more than the small one.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = (
    "model.encoder=gru",
    "model.bidirectional=false",
    "model.units=2",
    "model.embedding_dim=4",
    "model.pooling=last",
    "training.epochs=1",
    "training.batch_size=4096",
    "evaluation.bootstrap_samples=100",
)


def write(path: Path, num_rows: int) -> None:
    """Rows of 4 to 12 words out of 50,000, most of them different from all others."""
    draw = random.Random(0)
    words = [f"word{index}" for index in range(50_000)]
    with path.open("w") as file:
        file.write("text,label\n")
        for _ in range(num_rows):
            label = draw.random() < 0.5
            text = " ".join(draw.choices(words, k=draw.randint(3, 11)))
            file.write(f"{text} {'good' if label else 'bad'},{'yes' if label else 'no'}\n")


def train(path: Path, folder: Path) -> tuple[float, float]:
    """Peak resident MB and seconds of one training."""
    overrides = [word for setting in SETTINGS for word in ("--set", setting)]
    config = folder / f"{path.stem}.yaml"
    config.write_text(f"data:\n  source: {path}\n")
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "textclf", "train", str(config), str(folder / path.stem), *overrides]
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("the training failed")
    return usage.ru_maxrss / 1024, time.monotonic() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        results = {}
        for num_rows in (50_000, rows):
            path = Path(name, f"rows{num_rows}.csv")
            write(path, num_rows)
            memory, seconds = train(path, Path(name))
            results[num_rows] = memory
            print(json.dumps({"rows": num_rows, "peak_mb": memory, "seconds": seconds}), flush=True)
    allowed = results[50_000] + 16 * rows / 2**20 + 200
    verdict = "kept" if results[rows] <= allowed else "BROKEN"
    print(f"{rows} rows: {results[rows]:.0f} MB, allowed {allowed:.0f} MB: {verdict}")
