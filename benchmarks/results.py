"""Train and score the configurations of the README's table, and print the table.

    python benchmarks/results.py run FOLDER sst2 trec --seeds 0 1 2   # adds to docs/results.jsonl
    python benchmarks/results.py run FOLDER sms_spam --split-seeds 0 1 2 3 4
    python benchmarks/results.py table                                # prints the table

Each configuration is trained once per seed in a separate process and scored once on its test
split. On the same rows stand the linear model that is a part of it (with its own temperature and
thresholds), and the TF-IDF baseline. FOLDER keeps the selected classes of each run, so that the
differences can be computed, and lets an interrupted command continue. Wall time covers everything
from reading the data to the trained folder; memory is the peak resident size of that process.

The difference is that of the means over the seeds between textclf and the better one of the two
linear models; its interval is a paired bootstrap over the test rows (2,000 samples).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results.jsonl"
ORDER = (
    "imdb_reviews",
    "imdb_reviews_lm",
    "sst2",
    "sst2_glove",
    "sst2_phrases",
    "sst2_phrases_lm",
    "trec",
    "trec_glove",
    "ag_news",
    "chnsenticorp",
    "sms_spam",
    "goemotions",
)
METRICS = {"sms_spam": ("macro_f1", "accuracy"), "goemotions": ("macro_f1", "micro_f1")}
NUM_SAMPLES = 2000
MODELS = ("textclf", "linear", "tfidf")


def metrics_of(name: str) -> tuple[str, ...]:
    """Return the metrics of a data set, the main one first."""
    return METRICS.get(name, ("accuracy",))


def train(config: str, output: Path, overrides: list[str]) -> tuple[float, float]:
    """Train in a process, or continue; return all wall seconds and the peak memory in MB."""
    sets = [argument for override in overrides for argument in ("--set", override)]
    command = [sys.executable, "-m", "textclf", "train", config, str(output), "--resume", *sets]
    costs = output.with_suffix(".costs.json")
    seconds, memory = json.loads(costs.read_text()) if costs.exists() else (0.0, 0.0)
    if (output / "card.json").exists() and costs.exists():
        return seconds, memory
    started = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds, memory = seconds + time.monotonic() - started, max(memory, usage.ru_maxrss / 1024)
    costs.write_text(json.dumps([seconds, memory]))
    if status:
        raise SystemExit(f"training of {config} failed")
    return seconds, memory


def run(folder: Path, names: list[str], seeds: list[int], setting: str) -> None:
    """Train and score configurations, each with several values of a seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        lines = []
        for seed in seeds:
            file = folder / f"{name}-{seed}.json"
            if not file.exists():
                file.write_text(json.dumps(run_once(folder, name, seed, setting)))
            lines.append(json.loads(file.read_text()))
            print(json.dumps(lines[-1]), flush=True)
        lines.append({"config": name, "model": "difference", **differences(folder, name, seeds)})
        others = [line for line in read() if line["config"] != name]
        RESULTS.write_text("".join(json.dumps(line) + "\n" for line in [*others, *lines]))
        print(json.dumps(lines[-1]), flush=True)


def run_once(folder: Path, name: str, seed: int, setting: str) -> dict[str, Any]:
    """Train and score once; write the selected classes and return the figures."""
    from textclf import classifier, data
    from textclf.config import Config, with_paths

    path = str(ROOT / "configs" / f"{name}.yaml")
    overrides = [f"{setting}={seed}"]
    trained = folder / "trained" / f"{name}-{seed}"
    trained.parent.mkdir(exist_ok=True)
    seconds, memory = train(path, trained, overrides)
    model = classifier.load(trained)
    num_bytes = sum(file.stat().st_size for file in trained.rglob("*") if file.is_file())
    config = with_paths(Config.load(path, overrides))
    dataset = data.open_dataset(config.data)
    scores = model.score(dataset, "test")
    task, card = model.card.task, model.card
    selected = {
        "textclf": task.select(scores.p, card.decision.thresholds),
        "linear": task.select(scores.linear_p, card.linear.decision.thresholds),
        "tfidf": baseline(folder, name, seed, setting, dataset),
    }
    keep = ~dataset.leaked("test")
    arrays = {"y_true": scores.y_true, **selected}
    np.savez_compressed(folder / f"{name}-{seed}.npz", **arrays)
    return {
        "config": name,
        "model": "textclf",
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, no GPU, Python {platform.python_version()}",
        setting: seed,
        "seconds": round(seconds),
        "memory_mb": round(memory),
        "folder_mb": round(num_bytes / 2**20, 1),
        "epochs": card.training.epochs,
        "best_epoch": card.training.best_epoch,
        "share": card.mixture.share,
        "fingerprint": card.data.fingerprint,
        "num_examples": len(keep),
        "num_leaked": int((~keep).sum()),
        **{
            model: {metric: score(task, metric, scores.y_true, y) for metric in metrics_of(name)}
            for model, y in selected.items()
        },
        "without_leaked": {
            model: {
                metric: score(task, metric, scores.y_true[keep], y[keep])
                for metric in metrics_of(name)
            }
            for model, y in selected.items()
        },
    }


def baseline(folder: Path, name: str, seed: int, setting: str, dataset: Any) -> np.ndarray:
    """Return the classes that TF-IDF with logistic regression selects; fitted once a split."""
    from textclf import baselines

    is_shared = setting != "data.split_seed"
    file = folder / f"{name}-{'tfidf' if is_shared else f'tfidf-{seed}'}.npy"
    if not file.exists():
        texts, y = baselines.texts_and_classes(dataset, "train")
        task = {"class_names": dataset.class_names, "multi_label": dataset.multi_label}
        model = baselines.fit("tfidf_logistic_regression", texts, y, **task)
        p = model.predict_proba(baselines.texts_and_classes(dataset, "test")[0])
        np.save(file, dataset.task.select(p))
    return np.load(file)


def score(task: Any, metric: str, y_true: np.ndarray, y: np.ndarray) -> float:
    """Return a metric of selected classes."""
    if metric == "accuracy":
        return float((y == y_true).mean())
    true, chosen = task.indicators(y_true), task.indicators(y)
    hits, sizes = (true & chosen).sum(axis=0), true.sum(axis=0) + chosen.sum(axis=0)
    if metric == "micro_f1":
        return float(2 * hits.sum() / sizes.sum())
    # A class without examples and predictions is left out.
    return float((2 * hits[sizes > 0] / sizes[sizes > 0]).mean())


def differences(folder: Path, name: str, seeds: list[int]) -> dict[str, Any]:
    """Return metric -> difference to the better linear model, with an interval over test rows."""
    from textclf.tasks import task_of

    runs = [dict(np.load(folder / f"{name}-{seed}.npz")) for seed in seeds]
    first = runs[0]["y_true"]
    num_classes = first.shape[1] if first.ndim == 2 else int(first.max()) + 1
    task = task_of(multi_label=first.ndim == 2, num_classes=num_classes)
    is_shared = all(np.array_equal(run["y_true"], first) for run in runs)

    def means(metric: str, rows: list[np.ndarray]) -> dict[str, float]:
        return {
            model: statistics.mean(
                score(task, metric, run["y_true"][r], run[model][r])
                for run, r in zip(runs, rows, strict=True)
            )
            for model in MODELS
        }

    result = {}
    for metric in metrics_of(name):
        generator = np.random.default_rng(0)
        whole = means(metric, [np.arange(len(run["y_true"])) for run in runs])
        better = max(("linear", "tfidf"), key=lambda model: whole[model])
        samples = []
        for _ in range(NUM_SAMPLES):
            # The runs of one test split share the drawn rows; other splits have their own.
            rows = [generator.integers(len(run["y_true"]), size=len(run["y_true"])) for run in runs]
            sample = means(metric, [rows[0]] * len(runs) if is_shared else rows)
            samples.append(sample["textclf"] - sample[better])
        low, high = np.quantile(samples, [0.025, 0.975])
        result[metric] = {
            "better": better,
            "difference": whole["textclf"] - whole[better],
            "low": float(low),
            "high": float(high),
        }
    return result


def read() -> list[dict[str, Any]]:
    """Return the recorded lines."""
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def table() -> str:
    """Return the table of the README."""
    lines = read()
    rows = [
        "| data | figure on test | textclf: mean (range, seeds) | word + character linear model "
        "| TF-IDF + LR | difference to the better one (95 %) | without rows of train: textclf / "
        "linear / TF-IDF | s a training | MB in memory | MB of the folder |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in ORDER:
        runs = [line for line in lines if line["config"] == name and line["model"] == "textclf"]
        if not runs:
            continue
        (gains,) = (
            line for line in lines if line["config"] == name and line["model"] == "difference"
        )
        for metric in metrics_of(name):
            values = [100 * line["textclf"][metric] for line in runs]
            means = {m: statistics.mean(100 * line[m][metric] for line in runs) for m in MODELS}
            clean = "-"
            if runs[0]["num_leaked"]:
                clean = " / ".join(
                    f"{statistics.mean(100 * r['without_leaked'][m][metric] for r in runs):.1f}"
                    for m in MODELS
                )
            gain = gains[metric]
            rows.append(
                f"| {name} | {metric.replace('_f1', ' F1')} | {means['textclf']:.1f} "
                f"({min(values):.1f} to {max(values):.1f}, {len(values)}) | {means['linear']:.1f} "
                f"| {means['tfidf']:.1f} | {100 * gain['difference']:+.1f} "
                f"({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f}) | {clean} "
                f"| {round(statistics.mean(line['seconds'] for line in runs))} "
                f"| {max(line['memory_mb'] for line in runs)} | {runs[0]['folder_mb']:.0f} |"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run")
    run_parser.add_argument("folder", type=Path)
    run_parser.add_argument("names", nargs="+", choices=ORDER)
    run_parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    run_parser.add_argument("--split-seeds", nargs="+", type=int)
    commands.add_parser("table")
    chosen = parser.parse_args()
    if chosen.command == "table":
        print(table())
    elif chosen.split_seeds:
        run(chosen.folder, chosen.names, chosen.split_seeds, "data.split_seed")
    else:
        run(chosen.folder, chosen.names, chosen.seeds, "training.seed")
