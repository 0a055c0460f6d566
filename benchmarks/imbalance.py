"""Measure what helps a rare class, on validation: losses, class weights, and balanced sampling.

    python benchmarks/imbalance.py run FOLDER sst2_1to50 sms_spam goemotions --seeds 0 1 2
    python benchmarks/imbalance.py table FOLDER

Runs and choices are those of `recipes.py`: a tenth of train chooses the epoch, and the validation
split of the configuration is scored. `sst2_1to50` keeps one positive sentence for 50 negative ones;
it is scored on two fifths of its train split, because the validation split has too few rows. The
test split is never read. Network and linear model are scored alone.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
import recipes

TECHNIQUES = ("dropout", "balanced", "effective", "focal", "adjusted", "sampled")
LINEAR = ("linear", "linear_balanced")
RATIO = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run")
    run_parser.add_argument("folder", type=Path)
    run_parser.add_argument("names", nargs="+")
    run_parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    run_parser.add_argument(
        "--techniques", nargs="+", choices=[*LINEAR, *TECHNIQUES], default=[*LINEAR, *TECHNIQUES]
    )
    run_parser.add_argument("--epochs", type=int, default=12)
    table_parser = commands.add_parser("table")
    table_parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    if chosen.command == "table":
        table(chosen.folder)
        return
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for name in chosen.names:
        for seed in chosen.seeds:
            run(chosen.folder, name, seed, chosen.techniques, chosen.epochs)


def run(folder: Path, name: str, seed: int, names: list[str], epochs: int) -> None:
    """Run the techniques that the folder does not hold on one sample."""
    missing = [n for n in names if not (folder / f"{name}-{seed}-{n}.npz").exists()]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as work:
        configs = recipes.write_sample(Path(work), name.partition("_1to")[0], 0, seed)
        config = configs["network"]
        if name.endswith("_1to50"):
            config = subsample(Path(work), config, seed)
        y, y_scored = (classes_of(Path(work) / f"{p}.jsonl", config) for p in ("own", "scored"))
        for technique in missing:
            recipe = recipes.RECIPES.get(technique, recipes.DROPOUT)
            if name == "goemotions":
                recipe = recipe | recipes.COSINE
            if technique in LINEAR:
                is_balanced = technique != "linear"
                linear = recipes.fit_linear(configs["linear"], Path(work), balanced=is_balanced)
                values = {part: linear[part][np.newaxis] for part in ("logits", "scored")}
            else:
                values = recipes.fit_network(
                    config, recipe, {"y": y}, Path(work), epochs, patience=epochs
                )
            recipes.save(
                folder / f"{name}-{seed}-{technique}.npz", y=y, y_scored=y_scored, **values
            )
            shown = {
                k: round(v, 3) for k, v in scores(dict(values, y=y, y_scored=y_scored)).items()
            }
            print(name, seed, technique, shown, flush=True)


def subsample(work: Path, config, seed: int):
    """Keep one positive row of train for `RATIO` negative ones; take two fifths for scoring."""
    rows = [line for p in ("train", "validation") for line in read(work / f"{p}.jsonl")]
    random = np.random.default_rng([seed, RATIO])
    by_label = {
        label: [row for row in rows if json.loads(row)["label"] == label]
        for label in ("neg", "pos")
    }
    negative, positive = by_label["neg"], by_label["pos"][: len(by_label["neg"]) // RATIO]
    rows = [*negative, *positive]
    rows = [rows[i] for i in random.permutation(len(rows))]
    num_scored, num_own = len(rows) * 2 // 5, len(rows) // 10
    own = rows[num_scored : num_scored + num_own]
    write(work / "scored.jsonl", rows[:num_scored])
    write(work / "validation.jsonl", own)
    write(work / "both.jsonl", own + rows[:num_scored])
    write(work / "train.jsonl", rows[num_scored + num_own :])
    return config


def read(path: Path) -> list[str]:
    return path.read_text().rstrip("\n").split("\n")


def write(path: Path, rows: list[str]) -> None:
    path.write_text("\n".join(rows) + "\n")


def classes_of(path: Path, config) -> np.ndarray:
    """Return the classes of a file of rows; `own` is the validation file."""
    from textclf.tasks import task_of

    path = path.with_name("validation.jsonl") if path.stem == "own" else path
    names = config.data.class_names
    task = task_of(multi_label=config.data.multi_label, num_classes=len(names))
    labels = [json.loads(row)["label"] for row in read(path)]
    ids = [
        [names.index(n) for n in (label if isinstance(label, list) else [label])]
        for label in labels
    ]
    return task.classes_of(ids)


def scores(values: dict) -> dict[str, float]:
    """Return macro F1, and recall and average precision of the rare classes.

    The rare classes are those with less than a third of the mean count. The epoch has the highest
    macro F1 on the own validation rows, of equal ones the lowest loss with equal weights of the
    classes; thresholds of several labels are chosen there.
    """
    from sklearn import metrics

    y, y_scored = values["y"], values["y_scored"]
    task = recipes.task_for(y, values["scored"].shape[2])
    best = min(range(len(values["logits"])), key=lambda i: _rank(task, y, values["logits"][i]))
    own, scored = values["logits"][best], values["scored"][best]
    truth = task.indicators(y_scored)
    counts = truth.sum(axis=0)
    rare = counts < counts.mean() / (1 if len(counts) == 2 else 3)
    p = task.probabilities(scored.astype(np.float32)).numpy()
    if task.is_multi_label:
        from textclf import evaluation

        p_own = task.probabilities(own.astype(np.float32)).numpy()
        chosen = task.select(p, evaluation.fit_thresholds(task, y, p_own))
    else:
        chosen = task.indicators(p.argmax(axis=1))
    of_class = metrics.precision_recall_fscore_support(truth, chosen, zero_division=0)
    precision = [metrics.average_precision_score(truth[:, i], p[:, i]) for i in np.where(rare)[0]]
    return {
        "macro_f1": float(of_class[2].mean()),
        "rare_recall": float(of_class[1][rare].mean()),
        "rare_precision": float(of_class[0][rare].mean()),
        "average_precision": float(np.mean(precision)),
        "epoch": best + 1,
    }


def _rank(task, y: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """Return what is lowest in the best epoch."""
    from textclf import evaluation

    if task.is_multi_label:
        return -recipes.accuracy(task, y, logits), 0.0
    score = evaluation.macro_f1(task, y, logits.argmax(axis=1))
    losses = [recipes.log_loss(task, y[y == i], logits[y == i]) for i in np.unique(y)]
    return -score, float(np.mean(losses))


def table(folder: Path) -> None:
    """Print the mean and the range of the scores by data set and technique."""
    groups: dict[tuple[str, str], list[dict[str, float]]] = {}
    for file in sorted(folder.glob("*.npz")):
        name, _, technique = file.stem.split("-")
        groups.setdefault((name, technique), []).append(scores(dict(np.load(file))))
    columns = ("macro_f1", "rare_recall", "rare_precision", "average_precision", "epoch")
    print("| data | technique | seeds | " + " | ".join(columns) + " |")
    print("|---|---|---|" + "---|" * len(columns))
    for (name, technique), runs in sorted(groups.items()):
        cells = []
        for column in columns:
            values = [run[column] for run in runs]
            form = ".1f" if column == "epoch" else ".3f"
            cells.append(
                f"{statistics.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"
            )
        print(f"| {name} | {technique} | {len(runs)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
