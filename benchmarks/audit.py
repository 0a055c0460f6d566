"""Memory and time of `textclf data check`, and recall of its search for near-duplicates.

    python benchmarks/audit.py --rows 1000000
    python benchmarks/audit.py --rows 5000000 --without-near
    python benchmarks/audit.py --recall

With --rows, the audit runs on a file of 100,000 rows and on one of --rows, each in a new process.
With --recall, texts of TREC, SST-2, ChnSentiCorp and AG News (see `TEXTCLF_DATA` in CONTRIBUTING)
are edited at 10 % of their words or characters: a third each is replaced, removed and added. The
edited texts are compared with the originals among all texts of the data set.
"""

import argparse
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from textclf import data
from textclf.audit.near_duplicates import NearDuplicates, least_similarity, similarity
from textclf.config import Config, with_paths

_NUM_EDITED = 1000
_SMALL = 100_000


def write(path: Path, num_rows: int) -> None:
    """Write rows of 10 to 30 words; the words have the frequencies of a Zipf distribution."""
    generator = np.random.default_rng(0)
    words = [f"w{index:x}" for index in range(200_000)]
    with path.open("w") as file:
        file.write("text,label\n")
        for _ in range(0, num_rows, 10_000):
            sizes = generator.integers(10, 31, 10_000)
            drawn = iter(np.minimum(generator.zipf(1.2, sizes.sum()), len(words)) - 1)
            for size, label in zip(sizes, generator.integers(0, 5, 10_000), strict=True):
                text = " ".join(words[index] for index in itertools.islice(drawn, size))
                file.write(f"{text},class {label}\n")


def audit(path: Path, without_near: bool) -> tuple[float, float]:
    """Return peak resident MB and seconds of one audit."""
    started = time.monotonic()
    # Without datasketch the audit looks for no near-duplicates.
    hide = "import sys, importlib.util as u; find = u.find_spec; "
    hide += "u.find_spec = lambda name, *a: None if name == 'datasketch' else find(name, *a); "
    program = (hide if without_near else "import sys; ") + "from textclf.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "data", "check", str(path)], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("the audit failed")
    return usage.ru_maxrss / 1024, time.monotonic() - started


def edit(text: str, unit: str, pool: Sequence[str], draw: random.Random) -> str:
    """Return a text with 10 % of its words or characters replaced, removed or added."""
    parts = list(text) if unit == "characters" else text.split(" ")
    for place in draw.sample(range(len(parts)), max(1, round(0.1 * len(parts)))):
        new = draw.choice(pool)
        joint = "" if unit == "characters" else " "
        parts[place] = draw.choice(["", new, f"{parts[place]}{joint}{new}"])
    return ("" if unit == "characters" else " ").join(parts)


def measure_recall(name: str, unit: str) -> str:
    """Return a line with the share of edited texts that are found."""
    config = Path(__file__).parents[1] / "configs" / f"{name}.yaml"
    dataset = data.open_dataset(with_paths(Config.load(config)).data)
    texts = [example.text for example in dataset.examples("train")]
    draw = random.Random(0)
    sample = " ".join(draw.sample(texts, 2000))
    pool = [c for c in sample if c.isalpha()] if unit == "characters" else sample.split()
    rows = draw.sample(range(len(texts)), _NUM_EDITED)
    edited = [edit(texts[row], unit, pool, draw) for row in rows]
    near = sum(
        similarity(texts[row], new) >= least_similarity(min(len(texts[row]), len(new)))
        for row, new in zip(rows, edited, strict=True)
    )
    codes = np.zeros(len(texts), np.int64)
    normalised = [data.normalise(text) for text in edited]
    with NearDuplicates(near_rows=0, num_train_rows=len(texts)) as search:
        search.add_evaluation("test", np.arange(len(edited)), normalised, codes[: len(edited)])
        for start in range(0, len(texts), 2048):
            chunk = [data.normalise(text) or " " for text in texts[start : start + 2048]]
            numbers = np.arange(start, start + len(chunk))
            search.add_train(numbers, chunk, codes[: len(chunk)])
        pairs = search.pairs("test")
    hits = {(row, other) for row, other in zip(pairs.rows, pairs.others, strict=True)}
    recall = sum((index, row) in hits for index, row in enumerate(rows)) / len(rows)
    shares = f"similar enough {near / len(rows):.3f}  found {recall:.3f}"
    return f"{name:14} 10 % of the {unit:10}  {shares}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--without-near", action="store_true")
    parser.add_argument("--recall", action="store_true")
    arguments = parser.parse_args()
    if arguments.recall:
        for name, unit in (
            *(("trec", "words"), ("sst2", "words"), ("ag_news", "words")),
            *(("trec", "characters"), ("sst2", "characters"), ("ag_news", "characters")),
            ("chnsenticorp", "characters"),
        ):
            print(measure_recall(name, unit), flush=True)
    if arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            for num_rows in (_SMALL, arguments.rows):
                path = Path(folder) / f"{num_rows}.csv"
                write(path, num_rows)
                megabytes, seconds = audit(path, arguments.without_near)
                size = path.stat().st_size / 1e6
                print(f"{num_rows:,} rows ({size:,.0f} MB): {megabytes:,.0f} MB, {seconds:.0f} s")
