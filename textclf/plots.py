"""Plots of a training and of a report with Matplotlib, for notebooks.

    from textclf import plots
    plots.plot_losses(result.history)
    plots.plot_confusion_matrix(report)

Each function draws into `axes`, or into the axes of a new figure, and returns the axes.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textclf.evaluation import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_COUNTS = 20  # classes up to which the counts of a confusion matrix are written


def plot_losses(history: Sequence[Mapping[str, Any]], axes: "Axes | None" = None) -> "Axes":
    """Plot the losses on training and validation by epoch.

    Args:
        history: figures of each epoch, as in `TrainingResult.history` and `history.jsonl`.
    """
    axes = _axes(axes)
    epochs = [figures["epoch"] for figures in history]
    for name, label in (("loss", "training"), ("val_loss", "validation")):
        axes.plot(epochs, [figures[name] for figures in history], marker="o", label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    return axes


def plot_confusion_matrix(report: Report, axes: "Axes | None" = None) -> "Axes":
    """Plot the counts by true and predicted class, shaded by their share of the true class.

    Raises:
        ValueError: the report is of a multi-label task.
    """
    import numpy as np

    if report.confusion_matrix is None:
        raise ValueError("a multi-label report has no confusion matrix; expected a one-of report")
    axes = _axes(axes)
    counts = np.array(report.confusion_matrix)  # [true, predicted]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    positions = range(len(counts))
    axes.set_xticks(positions, report.class_names, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(positions, report.class_names, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if len(counts) <= _MAX_COUNTS:
        for (true, predicted), count in np.ndenumerate(counts):
            colour = "white" if shares[true, predicted] > 0.5 else "black"
            axes.text(predicted, true, f"{count:,}", color=colour, ha="center", va="center")
    return axes


def plot_calibration(report: Report, axes: "Axes | None" = None) -> "Axes":
    """Plot the accuracy of each calibration bin by its mean confidence: a reliability diagram.

    The area of a point is the share of its bin. On the dotted line, confidence equals accuracy.
    """
    axes = _axes(axes)
    bins = [b for b in report.calibration if b.accuracy is not None]
    total = sum(b.count for b in bins)
    confidence, accuracy = [b.mean_confidence for b in bins], [b.accuracy for b in bins]
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    (line,) = axes.plot(confidence, accuracy)
    sizes = [10 + 300 * b.count / total for b in bins]
    axes.scatter(confidence, accuracy, s=sizes, alpha=0.6, color=line.get_color())
    axes.set_xlabel("mean confidence")
    axes.set_ylabel("share positive" if report.multi_label else "accuracy")
    return axes


def plot_coverage(report: Report, axes: "Axes | None" = None) -> "Axes":
    """Plot the accuracy of the answered examples by their share; the model's threshold is marked."""
    axes = _axes(axes)
    points = [point for point in report.coverage if point.accuracy is not None]
    axes.plot([p.coverage for p in points], [p.accuracy for p in points], marker="o")
    used = report.abstention
    if used is not None and used.accuracy is not None:
        axes.plot([used.coverage], [used.accuracy], "s", markersize=9, label="threshold in use")
        axes.legend()
    axes.set_xlabel("coverage")
    axes.set_ylabel("accuracy")
    return axes


def _axes(axes: "Axes | None") -> Any:
    """Return the axes, or those of a new figure."""
    if axes is not None:
        return axes
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]
