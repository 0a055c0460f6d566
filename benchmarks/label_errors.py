"""Plant wrong labels in a published data set, and count how many `label_errors` finds.

    python benchmarks/label_errors.py run FILE trec ag_news --seeds 0 1 2 3 4
    python benchmarks/label_errors.py table FILE
    python benchmarks/label_errors.py methods FILE sst2 --seeds 0 1
    python benchmarks/label_errors.py first trec

5 % of the rows of train get another class, drawn uniformly. `run` appends a line to a file of JSON
lines for each data set, seed and kind of model, and leaves out those that the file holds; `table`
prints means with the intervals over the seeds (Student's t). `methods` compares filters and scores
of cleanlab on the same probabilities. `first` prints the first suspects of the data as they are.
Rows that a configuration takes out of train for validation are put back; --rows takes a sample,
always the same one. Wrong labels of the data themselves count as false alarms. The test split is
never read.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
SHARE = 0.05
TOP = 200
NUM_READ = 20
FILTERS = ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning",
           "predicted_neq_given")  # fmt: skip
SCORES = ("normalized_margin", "self_confidence", "confidence_weighted_entropy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "methods"):
        command = commands.add_parser(name)
        command.add_argument("file", type=Path)
        command.add_argument("names", nargs="+")
        command.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
        command.add_argument("--rows", type=int, help="size of the sample; default: all rows")
        command.add_argument("--model-kind", choices=("linear", "network"), default="linear")
    commands.add_parser("table").add_argument("file", type=Path)
    commands.add_parser("first").add_argument("name")
    chosen = parser.parse_args()
    if chosen.command == "table":
        print(table(read(chosen.file)))
        return
    if chosen.command == "first":
        print_first(chosen.name)
        return
    work = run if chosen.command == "run" else compare_methods
    for name in chosen.names:
        for seed in chosen.seeds:
            key = {"command": chosen.command, "data": name, "seed": seed,
                   "model_kind": chosen.model_kind, "sample": chosen.rows}  # fmt: skip
            if any(key.items() <= line.items() for line in read(chosen.file)):
                continue
            line = {
                **key,
                **work(name, seed, chosen.model_kind, chosen.rows),
                "machine": platform.processor(),
            }
            with open(chosen.file, "a") as file:
                file.write(json.dumps(line) + "\n")
            print({k: v for k, v in line.items() if k != "first_others"}, flush=True)


def read(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def planted(name: str, seed: int, folder: Path, num_rows: int | None, share: float = SHARE):
    """Write train with a share of wrong labels.

    Returns:
        The configuration that reads it; bool [n], whether the label was changed.
    """
    from textclf.config import Config, with_paths
    from textclf.data import open_dataset

    config = with_paths(Config.load(ROOT / "configs" / f"{name}.yaml"))
    dataset = open_dataset(config.data)
    splits = ["train"] if config.data.validation else ["train", "validation"]
    rows = [
        (example.text, example.label_ids[0])
        for split in splits
        for example in dataset.examples(split)
    ]
    if num_rows is not None:
        order = np.random.default_rng(0).permutation(len(rows))[:num_rows]
        rows = [rows[i] for i in order]
    random = np.random.default_rng(seed)
    num_classes = len(dataset.class_names)
    y = np.array([label for _, label in rows])
    is_planted = np.zeros(len(rows), bool)
    is_planted[random.permutation(len(rows))[: int(share * len(rows))]] = True
    shift = random.integers(1, num_classes, len(rows))
    labels = np.where(is_planted, (y + shift) % num_classes, y)
    names = dataset.class_names

    def write(path: Path, selected) -> str:
        path.write_text(
            "".join(
                json.dumps({"text": rows[i][0], "label": names[labels[i]]}) + "\n" for i in selected
            )
        )
        return str(path)

    values = {
        **{s: v for s, v in config.to_dict().items() if s not in ("data", "pretraining")},
        "data": {
            "train": write(folder / "train.jsonl", range(len(rows))),
            # A data set has a validation split, which the search does not read.
            "validation": write(
                folder / "validation.jsonl", np.unique(labels, return_index=True)[1]
            ),
            "class_names": list(names),
        },
    }
    values["training"]["seed"] = seed
    return Config.from_dict(values), is_planted


def run(name: str, seed: int, model_kind: str, num_rows: int | None) -> dict:
    """Return how many planted errors are among the suspects."""
    from textclf.label_errors import find_label_errors

    with tempfile.TemporaryDirectory() as folder:
        config, is_planted = planted(name, seed, Path(folder), num_rows)
        started = time.monotonic()
        result = find_label_errors(config, model_kind=model_kind)
        order = [suspect.row for suspect in result.suspects]
        others = [suspect for suspect in result.suspects if not is_planted[suspect.row]]
        return {
            "rows": len(is_planted),
            "planted": int(is_planted.sum()),
            "agreement": result.agreement,
            "seconds": round(time.monotonic() - started, 1),
            **measures(order, is_planted),
            # To be read: they may be errors of the data themselves.
            "first_others": [[suspect.text, suspect.reason] for suspect in others[:NUM_READ]],
        }


def print_first(name: str) -> None:
    """Print the first suspects of a data set without planted errors."""
    from textclf.label_errors import find_label_errors

    with tempfile.TemporaryDirectory() as folder:
        config, _ = planted(name, 0, Path(folder), None, share=0)
        result = find_label_errors(config)
    print(f"{len(result.suspects)} suspects of {result.num_judged} rows")
    for suspect in result.suspects[:NUM_READ]:
        print(f"{suspect.row}: {suspect.text}\n    {suspect.reason}")


def measures(order: list[int], is_planted: np.ndarray) -> dict:
    """Return precision and recall of a ranking."""
    hits = is_planted[np.array(order, int)]
    number = int(is_planted.sum())
    return {
        "suspects": len(order),
        "precision": float(hits[:TOP].sum() / TOP),
        "recall": float(hits[:TOP].sum() / number),
        "recall_of_as_many": float(hits[:number].sum() / number),
        "precision_of_all": float(hits.mean()) if len(hits) else 0.0,
        "recall_of_all": float(hits.sum() / number),
    }


def compare_methods(name: str, seed: int, model_kind: str, num_rows: int | None) -> dict:
    """Return the measures of each filter and score of cleanlab on the same probabilities."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    from textclf.data import open_dataset
    from textclf.label_errors import folds as folding
    from textclf.label_errors.out_of_fold import predict_out_of_fold

    with tempfile.TemporaryDirectory() as folder:
        config, is_planted = planted(name, seed, Path(folder), num_rows)
        dataset = open_dataset(config.data)
        rows = folding.read_rows(dataset, lambda *_: None)
        judged = folding.check_rows(dataset, rows, 5)
        folds = folding.make_folds(dataset.task, rows, 5, seed)
        p = predict_out_of_fold(
            config, dataset, rows, folds, judged, model_kind=model_kind,
            on_progress=lambda *_: None,
        )  # fmt: skip
    p = p.astype(np.float64)
    methods = {}
    for filter_by in FILTERS:
        mask = find_label_issues(rows.y, p, filter_by=filter_by, n_jobs=1)
        for score in SCORES:
            quality = get_label_quality_scores(rows.y, p, method=score)
            order = np.argsort(quality, kind="stable")
            methods[f"{filter_by} / {score}"] = measures(order[mask[order]].tolist(), is_planted)
    return {"rows": len(is_planted), "planted": int(is_planted.sum()), "methods": methods}


def table(lines: list[dict]) -> str:
    """Return the means over the seeds as Markdown."""
    runs: dict[tuple[str, ...], list[dict]] = {}
    for line in lines:
        if line["command"] == "run":
            name = f"{line['data']}, {line['rows']:,} rows"
            runs.setdefault((name, line["model_kind"]), []).append(line)
        else:
            for method, values in line["methods"].items():
                key = (line["data"], f"{line['model_kind']}, {method}")
                runs.setdefault(key, []).append({**line, **values})
    out = [
        "| data | model | seeds | planted | suspects | precision of 200 | recall of 200 | "
        "precision of all | recall of all | seconds |",
        "|---|---|---:|---:|---:|---|---|---|---|---:|",
    ]
    for (name, model), group in runs.items():
        cells = [interval([run[c] for run in group])
                 for c in ("precision", "recall", "precision_of_all", "recall_of_all")]  # fmt: skip
        seconds = statistics.mean(run.get("seconds", 0) for run in group)
        suspects = statistics.mean(run["suspects"] for run in group)
        out.append(
            f"| {name} | {model} | {len(group)} | {group[0]['planted']} | {suspects:.0f} | "
            f"{' | '.join(cells)} | {seconds:.0f} |"
        )
    return "\n".join(out)


def interval(values: list[float]) -> str:
    """Return mean and 95 % interval by Student's t."""
    from scipy import stats

    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:.3f} ({mean - half:.3f} to {mean + half:.3f})"


if __name__ == "__main__":
    main()
