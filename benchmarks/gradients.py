"""Diagnosis of recurrence: its cost, and the pictures of docs/gradients.md.

    python benchmarks/gradients.py cost [--rounds 5] [--only trec] [--json]
    python benchmarks/gradients.py plots [--only clipping] [--png FOLDER]

`cost` trains configurations of `configs/` without their linear model, with and without the
diagnosis, alternating, in one process. Each training gets the stored texts of the first one. The
seconds are those from the first step to the last epoch, tracing of graphs included. A second
figure is the time spent in the diagnosis itself, by its share of the same seconds.

`plots` writes docs/gradients/*.svg and prints the figures behind them. Each picture takes at most
two minutes on two slow cores. The texts are generated, except for `dropout`, which trains on TREC.
TEXTCLF_DATA is the folder of the published data.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from pictures import STYLE

from textclf import networks, training
from textclf.config import Config
from textclf.training import recurrence, run

ROOT = Path(__file__).resolve().parent.parent
EPOCHS = {"trec": 8, "sst2": 4, "chnsenticorp": 2}  # by configuration
PICTURES = ROOT / "docs" / "gradients"
SEED = 0
# Distinguishable with colour blindness (Okabe and Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b08c00", "#56b4e9")
CELLS = {"simple_rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    cost_parser = commands.add_parser("cost")
    cost_parser.add_argument("--rounds", type=int, default=5)
    cost_parser.add_argument("--only", choices=EPOCHS)
    cost_parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    plots_parser = commands.add_parser("plots")
    plots_parser.add_argument("--only", choices=PLOTS)
    plots_parser.add_argument("--png", type=Path, help="folder for the same pictures as PNG")
    arguments = parser.parse_args()
    if arguments.command == "plots":
        for name in [arguments.only] if arguments.only else PLOTS:
            make_picture(name, arguments.png)
        return
    costs = []
    for name in [arguments.only] if arguments.only else EPOCHS:
        costs.append(measure_cost(name, arguments.rounds))
    if arguments.json:
        print(json.dumps(costs))
        return
    print(f"| {' | '.join(costs[0])} |\n|{'---|' * len(costs[0])}")
    for row in costs:
        print(f"| {' | '.join(str(value) for value in row.values())} |")


# === Cost ===


class TimedDiagnosis(recurrence.Diagnosis):
    """A diagnosis that adds up the seconds of its methods."""

    seconds = 0.0

    def __init__(self, *arguments: Any, **settings: Any):
        self._time(super().__init__, *arguments, **settings)

    def weights_before(self, step: int) -> list[np.ndarray] | None:
        return self._time(super().weights_before, step)

    def update_norms(self, before: Sequence[np.ndarray]) -> np.ndarray:
        return self._time(super().update_norms, before)

    def figures(self) -> dict[str, dict[str, float]]:
        return self._time(super().figures)

    def _time(self, method: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        started = time.monotonic()
        try:
            return method(*arguments, **settings)
        finally:
            TimedDiagnosis.seconds += time.monotonic() - started


def measure_cost(name: str, rounds: int) -> dict[str, Any]:
    """Train with and without the diagnosis, alternating; return medians over the rounds."""
    with tempfile.TemporaryDirectory() as folder:
        config = Config.load(
            ROOT / "configs" / f"{name}.yaml",
            {
                "model.linear": "none",
                "training.epochs": EPOCHS[name],
                "training.patience_epochs": 0,
                "training.cache_dir": f"{folder}/cache",
            },
        )
        seconds: dict[bool, list[float]] = {True: [], False: []}
        shares = []
        train_seconds(config, Path(folder, "warm_up"))
        for number in range(rounds):
            for has_diagnosis in (number % 2 == 0, number % 2 == 1):
                TimedDiagnosis.seconds = 0.0
                run.Diagnosis = TimedDiagnosis if has_diagnosis else no_diagnosis  # type: ignore
                output = Path(folder, f"{number}{has_diagnosis}")
                seconds[has_diagnosis].append(train_seconds(config, output))
                if has_diagnosis:
                    shares.append(TimedDiagnosis.seconds / seconds[True][-1])
            ratio = seconds[True][-1] / seconds[False][-1]
            print(f"{name}: {100 * (ratio - 1):+.1f} %, {shares[-1]:.1%}", file=sys.stderr)
    ratios = [a / b for a, b in zip(seconds[True], seconds[False], strict=True)]
    return {
        "configuration": name,
        "epochs": EPOCHS[name],
        "seconds without": round(statistics.median(seconds[False]), 1),
        "seconds with": round(statistics.median(seconds[True]), 1),
        "difference of a round, % (median)": round(100 * (statistics.median(ratios) - 1), 1),
        "in the diagnosis, % (median)": round(100 * statistics.median(shares), 2),
        "in the diagnosis, % (largest)": round(100 * max(shares), 2),
    }


def no_diagnosis(*arguments: Any, **settings: Any) -> None:
    """Take the place of `Diagnosis`: the loop measures nothing."""


def train_seconds(config: Config, output: Path) -> float:
    """Return the seconds between `Started` and the last epoch of a training."""
    started = last = 0.0
    for event in training.train_events(config, output):
        if isinstance(event, training.Started):
            started = time.monotonic()
        elif isinstance(event, training.Epoch):
            last = time.monotonic()
    return last - started


# === Pictures ===


def plot_vanishing(axes: Sequence[Any], folder: Path) -> dict[str, Any]:
    """Plot gradients of trained networks on IMDB, and scores on generated texts.

    The gradients are geometric means over the runs that benchmarks/runs/imdb stores.
    """
    values = {}
    for (encoder, label), colour in zip(CELLS.items(), COLOURS, strict=False):
        paths = sorted((ROOT / "benchmarks/runs/imdb/results").glob(f"imdb.bi{encoder}.seed*.json"))
        results = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        by_distance = mean_of([relative(result["gradient_by_distance"]) for result in results])
        axes[0].plot([*map(int, by_distance)], [*by_distance.values()], color=colour, marker="o")
        history, _ = train_generated(folder, f"model.encoder={encoder}")
        scores = [figures["val_accuracy"] for figures in history]
        epochs = [figures["epoch"] for figures in history]
        axes[1].plot(epochs, scores, label=label, color=colour, marker="o")
        values[label] = {
            "runs": len(results),
            "gradient": by_distance,
            "val_accuracy": [round(score, 3) for score in scores],
            "generated": relative(history[0]["gradient_by_distance"]),
        }
    set_distance_axes(axes[0])
    axes[0].set_title("IMDB, trained")
    axes[1].set(xlabel="epoch", ylabel="accuracy on validation", ylim=(0.4, 1.02))
    axes[1].set_title("texts whose first word is the class")
    return values


def plot_clipping(axes: Sequence[Any], folder: Path) -> dict[str, Any]:
    """Plot losses and scores of an exploding training with and without clipping."""
    values = {}
    exploding = (
        "model.encoder=simple_rnn",
        "model.recurrent_initializer=he_normal",
        "training.optimizer=sgd",
        "training.learning_rate=0.3",
        "training.momentum=0.9",
        "training.epochs=6",
    )
    for clip_norm, colour in zip(("null", "1.0"), COLOURS[1::-1], strict=True):
        history, losses = train_generated(folder, *exploding, f"training.clip_norm={clip_norm}")
        label = "clip_norm 1" if clip_norm == "1.0" else "no clipping"
        axes[0].plot(losses, color=colour, label=label, linewidth=0.8)
        norms = [sum(n**2 for n in h["gradient_norms"].values()) ** 0.5 for h in history]
        scores = [round(h["val_accuracy"], 3) for h in history]
        axes[1].plot([h["epoch"] for h in history], scores, color=colour, marker="o")
        values[label] = {"val_accuracy": scores, "largest loss": max(losses), "norms": norms}
    axes[0].set(xlabel="step", ylabel="loss", yscale="log", ylim=(1e-3, 50))
    axes[1].set(xlabel="epoch", ylabel="accuracy on validation", ylim=(0.4, 1.02))
    return values


def plot_initializers(axes: Sequence[Any], folder: Path) -> dict[str, Any]:
    """Plot gradients by distance before a training, by recurrent initializer.

    They are the geometric means over five seeds.
    """
    values = {}
    rng = np.random.default_rng(SEED)
    texts = {
        "token_ids": tf.constant(rng.integers(2, 1000, [32, 129]), tf.int32),
        "lengths": tf.fill([32], 129),
    }
    for ax, (encoder, label) in zip(axes, CELLS.items(), strict=True):
        for initializer, colour in zip(
            ("orthogonal", "glorot_uniform", "he_normal"), COLOURS, strict=False
        ):
            by_seed = []
            for seed in range(5):
                architecture = networks.Architecture(
                    encoder=encoder, bidirectional=False, units=64, num_layers=1, pooling="last",
                    embedding_dim=100, recurrent_initializer=initializer,
                )  # fmt: skip
                network = networks.build(
                    architecture, vocabulary_size=1000, num_classes=2, seed=seed
                )
                diagnosis = recurrence.Diagnosis(network, texts, steps_per_epoch=1)
                by_seed.append(relative(diagnosis.figures()["gradient_by_distance"]))
            means = mean_of(by_seed)
            name = initializer.partition("_")[0]
            legend = {"label": name} if ax is axes[0] else {}
            ax.plot([*map(int, means)], [*means.values()], color=colour, marker="o", **legend)
            values[f"{label} {name}"] = means
        set_distance_axes(ax)
        ax.set_title(label)
    return values


def plot_dropout(axes: Sequence[Any], folder: Path) -> dict[str, Any]:
    """Plot losses on TREC without dropout and with one of its kinds."""
    values = {}
    kinds = (None, "token", "embedding", "input", "recurrent", "output")
    for kind, colour in zip(kinds, ("#7f7f7f", *COLOURS), strict=False):
        overrides = {
            f"model.{other}_dropout": 0.4 if other == kind else 0.0 for other in kinds if other
        }
        history, _ = train(
            Config.load(
                ROOT / "configs" / "trec.yaml",
                {
                    "model.linear": "none",
                    "training.seed": SEED,
                    "training.epochs": 8,
                    "training.patience_epochs": 0,
                    "training.cache_dir": f"{folder}/cache",
                    **overrides,
                },
            ),
            folder,
        )
        epochs = [figures["epoch"] for figures in history]
        label = kind or "none"
        for ax, name in zip(axes, ("loss", "val_loss"), strict=True):
            legend = {"label": label} if name == "loss" else {}
            ax.plot(epochs, [h[name] for h in history], color=colour, marker="o", **legend)
        best = min(history, key=lambda figures: figures["val_loss"])
        values[label] = {name: best[name] for name in ("epoch", "val_loss", "val_accuracy")}
    for ax, name in zip(axes, ("training", "validation"), strict=True):
        ax.set(xlabel="epoch", ylabel=f"loss on {name}")
    axes[1].set_ylim(0.35, 1)
    return values


# Name of a picture -> function that draws it, number of axes.
PLOTS: dict[str, tuple[Callable[[Sequence[Any], Path], dict[str, Any]], int]] = {
    "vanishing": (plot_vanishing, 2),
    "clipping": (plot_clipping, 2),
    "initializers": (plot_initializers, 3),
    "dropout": (plot_dropout, 2),
}


def make_picture(name: str, png: Path | None) -> None:
    """Draw a picture, write it and print its figures."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib.figure import Figure

    plot, num_axes = PLOTS[name]
    started = time.monotonic()
    with (
        matplotlib.rc_context(STYLE | {"svg.hashsalt": name}),
        tempfile.TemporaryDirectory() as folder,
    ):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        axes = figure.subplots(1, num_axes, sharey=name == "initializers")
        values = plot(axes, Path(folder))
        figure.legend(loc="outside lower center", ncols=6, frameon=False)
        for ax in axes:
            ax.minorticks_off()
            ax.tick_params(length=2)
        PICTURES.mkdir(exist_ok=True)
        figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})
        if png is not None:
            figure.savefig(png / f"{name}.png", dpi=120)
    print(f"{name}, {time.monotonic() - started:.0f} s")
    for label, figures in values.items():
        print(f"  {label}: {json.dumps(figures)}", flush=True)


def relative(by_distance: dict[str, float]) -> dict[str, float]:
    """Return gradients by distance, relative to that at distance 0."""
    return {distance: norm / by_distance["0"] for distance, norm in by_distance.items()}


def mean_of(by_distance: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the geometric mean of gradients by distance over several networks."""
    return {
        distance: float(np.exp(np.mean([np.log(norms[distance]) for norms in by_distance])))
        for distance in by_distance[0]
    }


def set_distance_axes(ax: Any) -> None:
    """Set labels and scales of an axis of distances and one of gradients."""
    ax.set(xlabel="tokens before the last one", ylabel="gradient, last token 1", yscale="log")
    ax.set_xscale("symlog", base=2, linthresh=1)
    ax.set_xlim(-0.1, 300)
    ax.set_xticks([0, 1, 4, 16, 64, 256], ["0", "1", "4", "16", "64", "256"])


def train_generated(folder: Path, *overrides: str) -> tuple[list[dict[str, Any]], list[float]]:
    """Train a small forward network that reads the last state, on `generated_rows`."""
    file = folder / "texts.csv"
    file.write_text("text,label\n" + "".join(generated_rows()))
    settings = {
        "data": {"source": str(file), "validation_fraction": 0.2},
        "text": {"sequence_length": 80},
        "model": {
            "bidirectional": False,
            "pooling": "last",
            "units": 32,
            "embedding_dim": 16,
            "embedding_dropout": 0.0,
            "output_dropout": 0.0,
            "linear": "none",
        },
        "training": {
            "seed": SEED,
            "batch_size": 32,
            "learning_rate": 0.005,
            "epochs": 10,
            "patience_epochs": 0,
            "cache_dir": str(folder / "cache"),
        },
    }
    return train(Config.from_dict(settings, overrides), folder)


def generated_rows() -> Iterator[str]:
    """Yield rows of texts of 80 words, the first one is its class."""
    rng = np.random.default_rng(SEED)
    for number in range(1500):
        words = [("good", "bad")[number % 2], *rng.choice([*"abcdefghij"], 79)]
        yield f"{' '.join(words)},{number % 2}\n"


def train(config: Config, folder: Path) -> tuple[list[dict[str, Any]], list[float]]:
    """Train, and return the figures of the epochs and the losses of the steps."""
    history, losses = [], []
    with tempfile.TemporaryDirectory(dir=folder) as output:
        for event in training.train_events(config, Path(output, "run")):
            if isinstance(event, training.Epoch):
                history.append(event.figures)
            elif isinstance(event, training.Step):
                losses.append(event.loss)
    return history, losses


if __name__ == "__main__":
    main()
