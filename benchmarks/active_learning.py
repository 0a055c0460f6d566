"""Simulate active learning: accuracy by number of labelled texts and by the way to choose them.

    python benchmarks/active_learning.py run FOLDER trec sst2 [--seeds 0 1 2] [--most 1000]
    python benchmarks/active_learning.py table FOLDER [--plot docs/active_learning.svg]

Only the train split of a data set is read. 1,000 of its texts, the same for all seeds, score every
model; the others play the texts without labels. A run begins with 100 random texts and adds 100
texts in each round, chosen with the probabilities of the model of the round before. All strategies
of a seed begin with the same texts. The model is the one that `textclf init` chooses for few texts,
the linear model: nine tenths of the labelled texts fit it, one tenth fits its temperature. The
n-grams of all texts are counted once, by the graph; the weights are fitted as `textclf train` fits
them. Each line of FOLDER/results.jsonl is a round; rounds that are in the file are not run again.
"""

import argparse
import json
import math
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pictures import STYLE

DATA = {
    "trec": {"train": "${TEXTCLF_DATA}/data/trec/train.csv"},
    "sst2": {
        "train": "${TEXTCLF_DATA}/data/sst2/train.tsv",
        "text_columns": ["sentence"],
        "label_column": "label",
    },
}
# Strategy -> measure (None: random order), and whether the texts are diverse.
STRATEGIES = {
    "random": (None, False),
    "random, diverse": (None, True),
    "margin": ("margin", False),
    "margin, diverse": ("margin", True),
    "entropy": ("entropy", False),
    "entropy, diverse": ("entropy", True),
}
# Sizes of the table, and strategies with a band of the 95 % interval in the picture.
SHOWN = (200, 300, 500, 700, 1000)
BANDS = ("margin, diverse", "entropy")
NUM_SCORED = 1000
SPLIT_SEED = 2026
VALIDATION_FRACTION = 0.1


class Texts(NamedTuple):
    """Texts of a train split with their classes and n-grams.

    Attributes:
        texts: all texts.
        counts: `linear.features.Counts` of all texts; buckets are numbered without gaps.
        blocks, num_buckets: of the counts.
        task: of the data.
        pool, scored: int64, rows to choose from, and rows that score the models.
    """

    texts: list[str]
    counts: Any
    blocks: Any
    num_buckets: int
    task: Any
    pool: np.ndarray
    scored: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run")
    run_parser.add_argument("folder", type=Path)
    run_parser.add_argument("names", nargs="+", choices=DATA)
    run_parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    run_parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    run_parser.add_argument("--start", type=int, default=100)
    run_parser.add_argument("--step", type=int, default=100)
    run_parser.add_argument("--most", type=int, default=1000)
    table_parser = commands.add_parser("table")
    table_parser.add_argument("folder", type=Path)
    table_parser.add_argument("--plot", type=Path)
    chosen = parser.parse_args()
    if chosen.command == "table":
        results = read_results(chosen.folder)
        print_tables(results)
        if chosen.plot:
            plot(results, chosen.plot)
        return
    import sklearn

    # Two thirds of a fit of so few texts are checks of its arguments.
    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    sizes = range(chosen.start, chosen.most + 1, chosen.step)
    for name in chosen.names:
        data = read(name)
        for seed in chosen.seeds:
            for strategy in chosen.strategies:
                simulate(chosen.folder, name, data, seed, strategy, sizes)


# === Runs ===


def read(name: str) -> Texts:
    """Count the n-grams of the train split of a data set, and divide its rows."""
    from textclf import classifier, data, text
    from textclf.config import Config, with_paths

    with tempfile.TemporaryDirectory() as work:
        # All rows stay in train, because validation is a copy, which is not read again.
        original = Path(os.path.expandvars(DATA[name]["train"]))
        copy = shutil.copy(original, Path(work) / f"copy{original.suffix}")
        section = {**DATA[name], "validation": str(copy)}
        config = Config.from_dict({"data": section, "model": {"encoder": "none"}})
        dataset = data.open_dataset(with_paths(config).data)
        return _read(dataset, text.Tokenizer(**classifier.tokenizer_settings(config)))


def _read(dataset: Any, tokenizer: Any) -> Texts:
    from textclf.linear.features import NgramCounter, choose_blocks, choose_num_buckets

    blocks = choose_blocks(dataset, tokenizer)
    num_buckets = choose_num_buckets(dataset.task.num_outputs)
    with tempfile.TemporaryDirectory() as work:
        counter = NgramCounter(dataset, tokenizer, blocks, num_buckets, 5000, lambda *_: None)
        counts = counter.split("train", Path(work) / "train")
        columns, size = _without_gaps(np.array(counts.columns), num_buckets, len(blocks))
        counts = counts._replace(columns=columns, counts=np.array(counts.counts))
    texts = [example.text for example in dataset.examples("train")]
    order = np.random.default_rng(SPLIT_SEED).permutation(len(texts))
    return Texts(texts, counts, blocks, size, dataset.task, order[NUM_SCORED:], order[:NUM_SCORED])


def _without_gaps(columns: np.ndarray, num_buckets: int, num_blocks: int) -> tuple:
    """Number the buckets of each block without gaps: the same features in smaller arrays."""
    blocks = [
        np.unique(columns[columns // num_buckets == i], return_inverse=True)
        for i in range(num_blocks)
    ]
    size = max(len(used) for used, _ in blocks)
    numbered = np.empty_like(columns)
    for i, (_, number) in enumerate(blocks):
        numbered[columns // num_buckets == i] = number + i * size
    return numbered, size


def simulate(folder: Path, name: str, data: Texts, seed: int, strategy: str, sizes: range) -> None:
    """Run the rounds of a strategy that the folder does not hold."""
    file = folder / "results.jsonl"
    by, is_diverse = STRATEGIES[strategy]
    rounds = {
        r["labelled"]: r
        for r in read_results(folder)
        if (r["data"], r["seed"], r["strategy"]) == (name, seed, strategy)
    }
    order = np.random.default_rng([seed, 1]).permutation(data.pool)
    labelled, model = np.empty(0, np.int64), None
    for size in sizes:
        if size in rounds:
            labelled = np.concatenate([labelled, np.array(rounds[size]["added"], np.int64)])
            model = None
            continue
        started = time.monotonic()
        if not len(labelled):
            added = order[:size]
        else:
            others = order[~np.isin(order, labelled)]
            p = None
            if by is not None:
                model = model or fit(data, labelled, seed)
                p = predict(data, model, others)
            added = choose(data, others, p, model, by, is_diverse, size - len(labelled), seed)
        labelled = np.concatenate([labelled, added])
        model = fit(data, labelled, seed)
        result = {
            "data": name,
            "seed": seed,
            "strategy": strategy,
            "labelled": size,
            **scores(data, predict(data, model, data.scored)),
            "seconds": round(time.monotonic() - started, 2),
            "added": added.tolist(),
        }
        with open(file, "a") as stream:
            stream.write(json.dumps(result) + "\n")
        print({key: value for key, value in result.items() if key != "added"}, flush=True)


def choose(
    data: Texts, others: np.ndarray, p: np.ndarray | None, model: "Model | None",
    by: str | None, is_diverse: bool, n: int, seed: int,
) -> np.ndarray:  # fmt: skip
    """Return the rows to label next, as `textclf data next` chooses them; None: at random."""
    from textclf.active_learning.diversity import CANDIDATES_PER_TEXT, choose_diverse
    from textclf.active_learning.uncertainty import score, uncertainty

    values = np.ones(len(others))  # rows are in random order
    if by is not None and p is not None and model is not None:
        values = uncertainty(score(data.task, p, model.decision, by), by)
    number = n * CANDIDATES_PER_TEXT if is_diverse else n
    candidates = np.argsort(-values, kind="stable")[:number]
    if is_diverse:
        texts = [data.texts[row] for row in others[candidates]]
        candidates = candidates[choose_diverse(texts, values[candidates], n, seed=seed)]
    return others[candidates]


class Model(NamedTuple):
    """Fitted linear model: features of counts, weights [F, C], bias [C], and its decision."""

    features: Any
    weights: np.ndarray
    bias: np.ndarray
    decision: Any


def fit(data: Texts, labelled: np.ndarray, seed: int) -> Model:
    """Fit the linear model to labelled rows, and the temperature to a tenth of them."""
    from textclf import evaluation
    from textclf.linear.features import Features
    from textclf.linear.fitting import WEIGHTINGS, _choose
    from textclf.linear.solvers import ExactSolver

    order = np.random.default_rng([seed, 2]).permutation(labelled)
    num_validation = round(len(labelled) * VALIDATION_FRACTION)
    validation, train = np.sort(order[:num_validation]), np.sort(order[num_validation:])
    features = Features(_take(data.counts, train), data.blocks, data.num_buckets)
    classes = data.counts.classes
    solver = ExactSolver(data.task, features.matrix(data.counts, train), None, seed)
    choice = _choose(
        solver, classes[train], classes[validation], outputs=None, heldout=lambda: None,
        weightings=WEIGHTINGS, seed=seed, on_progress=lambda *_: None,
    )  # fmt: skip
    weights, bias = solver.fit(classes[train], choice.weighting, choice.strength)
    logits = features.matrix(data.counts, validation) @ weights + bias
    decision = evaluation.fit_decision(data.task, classes[validation], logits)
    return Model(features, weights, bias, decision)


def predict(data: Texts, model: Model, rows: np.ndarray) -> np.ndarray:
    """Return the probabilities of rows, float32 [rows, classes]."""
    logits = model.features.matrix(data.counts, rows) @ model.weights + model.bias
    return data.task.probabilities(logits.astype(np.float32), model.decision.temperature).numpy()


def _take(counts: Any, rows: np.ndarray) -> Any:
    """Return the counts of some rows."""
    lengths = counts.starts[rows + 1] - counts.starts[rows]
    entries = np.concatenate([np.arange(counts.starts[r], counts.starts[r + 1]) for r in rows])
    return counts._replace(
        classes=counts.classes[rows],
        starts=np.concatenate([[0], lengths.cumsum()]),
        columns=counts.columns[entries],
        counts=counts.counts[entries],
    )


def scores(data: Texts, p: np.ndarray) -> dict[str, float]:
    from textclf import evaluation

    y, predicted = data.counts.classes[data.scored], p.argmax(axis=1)
    return {
        "accuracy": round(float((y == predicted).mean()), 4),
        "macro_f1": round(float(evaluation.macro_f1(data.task, y, predicted)), 4),
    }


# === Results ===


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Return the complete lines of the file of results."""
    file = folder / "results.jsonl"
    text = file.read_text() if file.exists() else ""
    complete, _, rest = text.rpartition("\n")
    if rest:  # killed while a line was written
        file.write_text(complete + "\n" if complete else "")
    return [json.loads(line) for line in complete.split("\n") if line]


def complete_sizes(results: list[dict[str, Any]], name: str) -> list[int]:
    """Return the sizes after the start that every strategy has for every seed of a data set."""
    seeds = {size: set() for size in sorted({r["labelled"] for r in results})}
    for r in results:
        if r["data"] == name:
            seeds[r["labelled"]].add((r["strategy"], r["seed"]))
    most = max(map(len, seeds.values()))
    return [size for size in list(seeds)[1:] if len(seeds[size]) == most]


def by_seed(
    results: list[dict[str, Any]], name: str, strategy: str, metric: str, sizes: list[int]
) -> np.ndarray:
    """Return the mean score over sizes of each seed, float64 [seeds]."""
    values: dict[int, list[float]] = {}
    for r in results:
        if (r["data"], r["strategy"]) == (name, strategy) and r["labelled"] in sizes:
            values.setdefault(r["seed"], []).append(r[metric])
    return np.array([np.mean(values[seed]) for seed in sorted(values)])


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and half the width of the 95 % interval of Student's t."""
    import scipy.stats

    if len(values) < 2:
        return float(values.mean()), math.nan
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean()), float(half)


def print_tables(results: list[dict[str, Any]]) -> None:
    """Print scores of random texts, and what the other strategies gain, in points."""
    for name in dict.fromkeys(r["data"] for r in results):
        sizes = complete_sizes(results, name)
        groups = [*([size] for size in sizes if size in SHOWN), sizes]
        for metric in ("accuracy", "macro_f1"):
            print(f"\n| {name}, {metric} | " + " | ".join(f"{g[0]:,}" for g in groups[:-1]), end="")
            print(" | mean |\n|---|" + "---:|" * len(groups))
            for strategy in STRATEGIES:
                cells = []
                for group in groups:
                    scores = by_seed(results, name, strategy, metric, group)
                    if strategy == "random":
                        cells.append(f"{scores.mean():.3f}".removeprefix("0"))
                        continue
                    random = by_seed(results, name, "random", metric, group)
                    mean, half = interval(100 * (scores - random))
                    cells.append(f"{mean:+.1f} ± {half:.1f}")
                print(f"| {strategy} | " + " | ".join(cells) + " |")
            num_seeds = len(by_seed(results, name, "random", metric, sizes))
            print(f"\n{num_seeds} seeds; sizes {sizes}")


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Draw scores by number of labelled texts, and the gains over random texts with bands."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(r["data"] for r in results))
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": "active_learning"}):
        figure = Figure(figsize=(8, 2.9 * len(names)), layout="constrained")
        axes = figure.subplots(len(names), 2, squeeze=False)
        for (left, right), name in zip(axes, names, strict=True):
            after = complete_sizes(results, name)
            sizes = [min(r["labelled"] for r in results), *after]
            for number, strategy in enumerate(STRATEGIES):
                style = {"color": f"C{number // 2}", "ls": "--" if number % 2 else "-"}
                curves = [by_seed(results, name, strategy, "accuracy", [s]) for s in sizes]
                left.plot(sizes, [values.mean() for values in curves], label=strategy, **style)
                if strategy == "random":
                    continue
                random = [by_seed(results, name, "random", "accuracy", [s]) for s in after]
                pairs = [
                    interval(100 * (values - base))
                    for values, base in zip(curves[1:], random, strict=True)
                ]
                mean, half = (np.array(values) for values in zip(*pairs, strict=True))
                right.plot(after, mean, **style)
                if strategy in BANDS:
                    right.fill_between(
                        after, mean - half, mean + half, color=style["color"], alpha=0.15, lw=0
                    )
            right.axhline(0, color="0.4", lw=0.8)
            left.set(title=name, xlabel="labelled texts", ylabel="accuracy")
            right.set(xlabel="labelled texts", ylabel="points more than random")
        axes[0, 0].legend(frameon=False, fontsize=7)
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
