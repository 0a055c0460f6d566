"""Plots of the page of a model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from textclf.display import shorten
from textclf.evaluation import CoveragePoint, Report
from textclf.evaluation.document import METRIC_LABELS
from textclf.model_page.curves import Curve
from textclf.pages import COLOURS, INK, MARKERS, Picture, draw

_MAX_LABEL = 24  # characters of the name of a class in a picture
_MAX_TICKS = 40  # names of classes at the sides of a matrix


def plot_history(history: Sequence[Mapping[str, Any]], best_epoch: int) -> list[Picture]:
    """Return losses, validation scores, gradient norms and update ratios by epoch.

    Args:
        history: figures of each epoch, as in `history.jsonl`; without one, there is no picture.
        best_epoch: the epoch that was kept.
    """
    if not history:
        return []
    figure = _History(history, best_epoch)
    pictures = [draw("losses", figure.losses), draw("validation scores", figure.scores)]
    for name, title, words in (
        ("gradient_norms", "gradient norms", "mean norm of the gradient"),
        ("update_ratios", "update ratios", "norm of update / norm of weights"),
    ):
        if any(figures.get(name) for figures in history):
            pictures.append(draw(title, _by_layer(figure, name, words)))
    return pictures


class _History:
    """Figures of the epochs, drawn as lines."""

    def __init__(self, history: Sequence[Mapping[str, Any]], best_epoch: int):
        self._history, self._best = history, best_epoch
        self._epochs = [figures["epoch"] for figures in history]

    def losses(self, axes: Any) -> str:
        for i, (name, label) in enumerate((("loss", "training"), ("val_loss", "validation"))):
            self.line(axes, i, label, [figures.get(name) for figures in self._history])
        axes.set_ylabel("loss")
        self._mark_best(axes)
        return f"Losses by epoch; the dotted line marks epoch {self._best}, which was kept."

    def scores(self, axes: Any) -> str:
        last = self._history[-1]
        names = [name for name in last if name.startswith("val_") and name != "val_loss"]
        for i, name in enumerate(names):
            label = METRIC_LABELS.get(name[4:], name[4:].replace("_", " "))
            self.line(axes, i, label, [figures.get(name) for figures in self._history])
        axes.set_ylabel("score on validation")
        self._mark_best(axes)
        return f"Scores on validation by epoch; the dotted line marks epoch {self._best}."

    def layers(self, axes: Any, name: str) -> None:
        """Draw a line for each layer, on a logarithmic axis."""
        layers = dict.fromkeys(
            layer for figures in self._history for layer in figures.get(name, ())
        )
        for i, layer in enumerate(layers):
            # A logarithmic axis has no zero, such as that of a frozen layer.
            values = [figures.get(name, {}).get(layer) or None for figures in self._history]
            if any(values):
                self.line(axes, i, _layer_label(layer), values)
        axes.set_yscale("log")
        self._mark_best(axes)

    def line(self, axes: Any, i: int, label: str, values: Sequence[float | None]) -> None:
        y = [np.nan if value is None else value for value in values]
        axes.plot(self._epochs, y, label=label, markersize=4, **_style(i))

    def _mark_best(self, axes: Any) -> None:
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(self._epochs) == 1:  # else the ticks are fractions of an epoch
            axes.set_xticks(self._epochs)
        axes.axvline(self._best, color=INK, linewidth=0.8, linestyle=":")


def _by_layer(figure: _History, name: str, words: str) -> Callable[[Any], str]:
    def draw_axes(axes: Any) -> str:
        figure.layers(axes, name)
        axes.set_ylabel(words)
        return f"{words.capitalize()}, of each layer by epoch."

    return draw_axes


def _layer_label(path: str) -> str:
    """Return the name of a layer: forward_0 for network/bidirectional_0/forward_0/lstm_cell."""
    parts = path.split("/")
    return next((part for part in reversed(parts) if not part.endswith("_cell")), parts[-1])


def _style(i: int) -> dict[str, Any]:
    marker = MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]
    return {"color": COLOURS[i % len(COLOURS)], "marker": marker}


# === Curves ===


def plot_curves(curves: Sequence[Curve], kind: str) -> Picture:
    """Return ROC or precision-recall curves.

    Args:
        kind: `roc` or `precision_recall`.
    """
    title = "ROC curves" if kind == "roc" else "precision-recall curves"

    def draw_axes(axes: Any) -> str:
        for i, curve in enumerate(curves):
            x, y = curve.roc if kind == "roc" else curve.precision_recall
            area = curve.roc_auc if kind == "roc" else curve.average_precision
            label = _short(curve.name) + ("" if area is None else f" ({area:.3f})")
            style = {"color": COLOURS[i % len(COLOURS)]}
            style["linestyle"] = "--" if curve.is_average else ("-", "-.", ":")[i // 3 % 3]
            axes.plot(x, y, label=label, linewidth=1.3, **style)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        num_classes = sum(not curve.is_average for curve in curves)
        selection = ""
        if num_classes < len(curves):
            selection = (
                f" Averages, and the {num_classes} classes with the lowest average precision."
            )
        if kind == "roc":
            axes.plot([0, 1], [0, 1], color=INK, linewidth=0.7, linestyle=":")
            axes.set_xlabel("false positive rate")
            axes.set_ylabel("true positive rate")
            return f"ROC curves, with their areas; the dotted line is random guessing.{selection}"
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        return f"Precision-recall curves, with their average precision.{selection}"

    return draw(title, draw_axes, size=(4.8, 3.4 + 0.16 * max(0, len(curves) - 4)))


def plot_reliability(reports: Mapping[str, Report]) -> Picture:
    """Return the share of correct predictions by their confidence, for reports by split."""

    def draw_axes(axes: Any) -> str:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.7, linestyle=":")
        for i, (split, report) in enumerate(reports.items()):
            bins = [b for b in report.calibration if b.accuracy is not None]
            total = sum(b.count for b in bins)
            x, y = [b.mean_confidence for b in bins], [b.accuracy for b in bins]
            axes.plot(x, y, label=split, markersize=0, linewidth=1, **_style(i))
            sizes = [8 + 200 * b.count / total for b in bins]
            style = _style(i)
            axes.scatter(x, y, s=sizes, alpha=0.6, color=style["color"], marker=style["marker"])
        axes.set_xlabel("predicted probability")
        is_multi = next(iter(reports.values())).multi_label
        axes.set_ylabel("share positive" if is_multi else "share of correct answers")
        return (
            "Reliability: the dotted line is perfect calibration. The area of a point is "
            "its share of the predictions."
        )

    return draw("reliability", draw_axes)


def plot_coverage(reports: Mapping[str, Sequence[CoveragePoint]]) -> Picture:
    """Return the accuracy of the answers by the share of answered examples, by split."""

    def draw_axes(axes: Any) -> str:
        for i, (split, points) in enumerate(reports.items()):
            answered = [p for p in points if p.accuracy is not None]
            axes.plot(
                [p.coverage for p in answered], [p.accuracy for p in answered], label=split,
                markersize=3, **_style(i),
            )  # fmt: skip
        axes.set_xlabel("share of answered texts")
        axes.set_ylabel("accuracy of the answers")
        return "Accuracy of the most confident answers, by their share."

    return draw("coverage", draw_axes)


# === Confusion matrix ===


def plot_matrix(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Picture:
    """Return a confusion matrix of many classes, shaded by the share of the true class."""
    counts = np.array(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def draw_axes(axes: Any) -> str:
        # Transparent instead of white, for dark pages; the root makes rare confusions visible.
        right, wrong = (np.array([int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)])
                        for c in (COLOURS[0], COLOURS[1]))  # fmt: skip
        image = np.empty((*shares.shape, 4))
        image[..., :3] = np.where(np.eye(len(shares), dtype=bool)[..., None], right, wrong)
        image[..., 3] = np.sqrt(shares)
        axes.imshow(image, interpolation="none")
        step = -(-len(names) // _MAX_TICKS)
        ticks = range(0, len(names), step)
        labels = [_short(names[i]) for i in ticks]
        axes.set_xticks(ticks, labels, rotation=90, fontsize=6)
        axes.set_yticks(ticks, labels, fontsize=6)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        every = f"; every {step}th class has its name" if step > 1 else ""
        return (
            "Confusion matrix: blue is correct, orange is wrong; stronger colours are larger "
            f"shares of the true class{every}."
        )

    return draw("confusion matrix", draw_axes, has_legend=False, size=(8, 8))


def _short(name: str) -> str:
    return shorten(name, _MAX_LABEL)


def all_pictures(*groups: Sequence[Picture]) -> Iterator[tuple[str, Picture]]:
    """Yield the file name of each picture and the picture."""
    for group in groups:
        for picture in group:
            yield f"{picture.title.lower().replace(' ', '_')}.svg", picture
