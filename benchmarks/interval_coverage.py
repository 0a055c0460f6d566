"""Coverage of the intervals of an evaluation, by simulation.

    python benchmarks/interval_coverage.py --trials 1000

Draws test splits from populations whose scores are known and prints how many of the 95 % intervals
contain the score of the population. The recall of each class is drawn around --recalls (a beta
distribution, 8 pseudo-counts), the wrong classes of each class from a Dirichlet distribution; every
20th trial draws another population. "fixed": each class has exactly its number of rows; "random":
they are drawn by its share, and splits without an interval are left out.
"""

import argparse

import numpy as np

from textclf.evaluation import evaluate

RECALLS = (0.6, 0.8, 0.95)
SPLITS = {
    **{f"{c} classes of {rows}": np.full(c, rows) for c in (2, 5, 28, 100) for rows in (4, 10, 30)},
    "1 class of 1, 4 of 50": np.array([1, 50, 50, 50, 50]),
    "27 classes of 1, 1 of 1000": np.array([1000] + [1] * 27),
    "28 classes, sizes falling": np.maximum(300 / np.arange(1, 29) ** 1.2, 3).astype(int),
}


def confusion(num_classes: int, recall: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the share of each predicted class among the rows of each true class; [C, C]."""
    recalls = rng.beta(8 * recall, 8 * (1 - recall), num_classes)
    shares = np.zeros((num_classes, num_classes))
    for c in range(num_classes):
        wrong = np.delete(np.arange(num_classes), c)
        shares[c, wrong] = (1 - recalls[c]) * rng.dirichlet(np.ones(num_classes - 1))
        shares[c, c] = recalls[c]
    return shares


def one_of(
    sizes: np.ndarray, recall: float, is_fixed: bool, trials: int, samples: int, seed: int
) -> tuple[np.ndarray, float, int]:
    """Return the coverage of accuracy and macro F1, its mean width, and the trials."""
    rng = np.random.default_rng(seed)
    num_classes, n = len(sizes), int(sizes.sum())
    names = [str(c) for c in range(num_classes)]
    covered, widths = [], []
    for trial in range(trials):
        if trial % 20 == 0:
            shares = confusion(num_classes, recall, rng)
            cells = sizes[:, np.newaxis] / n * shares
            f1 = 2 * np.diag(cells) / (cells.sum(axis=0) + cells.sum(axis=1))
            truth = {"accuracy": np.trace(cells), "macro_f1": f1.mean()}
        counts = sizes if is_fixed else rng.multinomial(n, sizes / n)
        y_true = np.repeat(np.arange(num_classes), counts)
        drawn = (shares.cumsum(axis=1)[y_true] < rng.random((n, 1))).sum(axis=1)
        p = np.eye(num_classes)[np.minimum(drawn, num_classes - 1)]
        report = evaluate(
            y_true, p, class_names=names, multi_label=False, bootstrap_samples=samples, seed=trial
        )
        if "macro_f1" in report.intervals:
            ends = [report.intervals[name] for name in truth]
            pairs = zip(truth.values(), ends, strict=True)
            covered.append([low <= value <= high for value, (low, high) in pairs])
            widths.append(ends[1][1] - ends[1][0])
    return np.mean(covered, axis=0), float(np.mean(widths)), len(covered)


def several(
    num_classes: int, rows: int, recall: float, trials: int, samples: int, seed: int
) -> tuple[np.ndarray, float, int]:
    """Return the coverage of micro and macro F1 where one row in four has each class."""
    rng = np.random.default_rng(seed)
    n = 4 * rows
    names = [str(c) for c in range(num_classes)]
    covered, widths = [], []
    for trial in range(trials):
        if trial % 20 == 0:
            recalls = rng.beta(8 * recall, 8 * (1 - recall), num_classes)
            extra = (1 - recalls) / 3  # as many false as missed ones
            right, true, predicted = 0.25 * recalls, 0.25, 0.25 * recalls + 0.75 * extra
            f1 = 2 * right / (true + predicted)
            micro = 2 * right.sum() / (num_classes * true + predicted.sum())
            truth = {"micro_f1": micro, "macro_f1": f1.mean()}
        y_true = rng.random((n, num_classes)) < 0.25
        # Rows differ in difficulty, so that the classes of one row are right and wrong together.
        ease = rng.choice([-0.5, 0.5], (n, 1))
        chance = np.where(y_true, recalls, extra)
        chance = chance + ease * np.minimum(chance, 1 - chance)
        p = (rng.random((n, num_classes)) < chance).astype(float)
        report = evaluate(
            y_true, p, class_names=names, multi_label=True, bootstrap_samples=samples, seed=trial
        )
        if "macro_f1" in report.intervals:
            ends = [report.intervals[name] for name in truth]
            pairs = zip(truth.values(), ends, strict=True)
            covered.append([low <= value <= high for value, (low, high) in pairs])
            widths.append(ends[1][1] - ends[1][0])
    return np.mean(covered, axis=0), float(np.mean(widths)), len(covered)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=300, help="resamplings of each interval")
    parser.add_argument("--recalls", type=float, nargs="+", default=RECALLS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    settings = (arguments.trials, arguments.samples, arguments.seed)
    print(f"{'split':36} recall  first score  macro F1  width  intervals")

    def show(split: str, recall: float, result: tuple[np.ndarray, float, int]) -> None:
        (first, macro), width, count = result
        print(
            f"{split:36} {recall:6.2f} {100 * first:10.1f} % {100 * macro:7.1f} % {width:6.3f}"
            f" {count:10,}",
            flush=True,
        )

    for recall in arguments.recalls:
        for name, sizes in SPLITS.items():
            for is_fixed in (True, False):
                if is_fixed or sizes.min() >= 10:
                    drawn = "fixed" if is_fixed else "random"
                    show(f"{name}, {drawn}", recall, one_of(sizes, recall, is_fixed, *settings))
        for num_classes in (1, 5, 28):
            for rows in (4, 10, 30):
                name = f"multi-label, {num_classes} of {rows}"
                show(name, recall, several(num_classes, rows, recall, *settings))


if __name__ == "__main__":
    main()
