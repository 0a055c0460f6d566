"""Trains and scores the configurations of the README's table, and prints the table.

    python benchmarks/results.py run sst2 trec --seeds 0 1 2      # adds lines to docs/results.jsonl
    python benchmarks/results.py table                            # prints the table of the README

Each configuration is trained once per seed in a separate process and scored once on its test
split, together with `textclf baseline` on the same rows. Wall time covers everything
from reading the data to the trained folder; memory is the peak resident size of that process.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results.jsonl"
ORDER = ("imdb_reviews", "sst2", "trec", "ag_news", "chnsenticorp", "sms_spam", "goemotions")


def textclf(*arguments: str) -> tuple[str, float, float]:
    """Runs a command; returns its stdout, its wall seconds and its peak memory in MB."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "textclf", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"textclf {' '.join(arguments)} failed")
    return output, time.monotonic() - started, usage.ru_maxrss / 1024


def main_figures(evaluation: dict) -> dict:
    figures = {}
    for name in ("report", "without_leaked"):
        report = evaluation.get(name)
        figures[name] = report and {
            metric: report["metrics"].get(metric)
            for metric in ("accuracy", "micro_f1", "macro_f1", "calibration_error")
        }
        if report:
            figures[name]["num_examples"] = report["num_examples"]
    return figures


def run(names: list[str], seeds: list[int]) -> None:
    for name in names:
        config = str(ROOT / "configs" / f"{name}.yaml")
        about = {
            "config": name,
            "date": date.today().isoformat(),
            "machine": f"{os.cpu_count()} cores, no GPU, Python {platform.python_version()}",
        }
        lines = []
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                output = f"{folder}/run"
                _, seconds, memory = textclf(
                    "train", config, output, "--set", f"training.seed={seed}"
                )
                card = json.loads(Path(output, "card.json").read_text())
                evaluation = json.loads(textclf("evaluate", output, "--json")[0])
            lines.append(
                {
                    **about,
                    "model": "textclf",
                    "seed": seed,
                    "seconds": round(seconds),
                    "memory_mb": round(memory),
                    "epochs": card["training"]["epochs"],
                    "best_epoch": card["training"]["best_epoch"],
                    "num_weights": card["training"]["num_weights"],
                    "fingerprint": card["data"]["fingerprint"],
                    **main_figures(evaluation),
                }
            )
        if not any(line["config"] == name and line["model"] != "textclf" for line in read()):
            output, _, memory = textclf("baseline", config, "--json")
            for model, values in json.loads(output)["baselines"].items():
                lines.append(
                    {
                        **about,
                        "model": model,
                        "seconds": values["seconds"],
                        "memory_mb": round(memory),
                        **main_figures(values),
                    }
                )
        with RESULTS.open("a") as file:
            for line in lines:
                file.write(json.dumps(line) + "\n")
                print(json.dumps(line), flush=True)


def read() -> list[dict]:
    return (
        [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    )


def table() -> str:
    lines = read()
    rows = [
        "| data | figure on test | textclf: mean (range, seeds) | TF-IDF + LR | majority "
        "| without rows of train: textclf / TF-IDF + LR | s a training | MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in ORDER:
        runs = [line for line in lines if line["config"] == name and line["model"] == "textclf"]
        if not runs:
            continue
        others = {line["model"]: line for line in lines if line["config"] == name}
        linear, majority = others["tfidf_logistic_regression"], others["majority"]
        multi_label = runs[0]["report"]["accuracy"] is None
        for metric in ("macro_f1", "micro_f1") if multi_label else ("accuracy",):
            values = [100 * line["report"][metric] for line in runs]
            mean = statistics.mean(values)
            clean = "-"
            if runs[0]["without_leaked"]:
                ours = statistics.mean(100 * line["without_leaked"][metric] for line in runs)
                clean = f"{ours:.1f} / {100 * linear['without_leaked'][metric]:.1f}"
            spread = f" ({min(values):.1f} to {max(values):.1f}, {len(values)})"
            rows.append(
                f"| {name} | {metric.replace('_f1', ' F1')} | {mean:.1f}{spread} "
                f"| {100 * linear['report'][metric]:.1f} | {100 * majority['report'][metric]:.1f} "
                f"| {clean} | {round(statistics.mean(line['seconds'] for line in runs))} "
                f"| {max(line['memory_mb'] for line in runs)} |"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run")
    run_parser.add_argument("names", nargs="+", choices=ORDER)
    run_parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    commands.add_parser("table")
    chosen = parser.parse_args()
    if chosen.command == "run":
        run(chosen.names, chosen.seeds)
    else:
        print(table())
