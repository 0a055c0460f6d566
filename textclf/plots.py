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
    ax = _axes(axes)
    epochs = [figures["epoch"] for figures in history]
    for name, label in (("loss", "training"), ("val_loss", "validation")):
        ax.plot(epochs, [figures[name] for figures in history], marker="o", label=label)
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()
    return ax


def plot_confusion_matrix(report: Report, axes: "Axes | None" = None) -> "Axes":
    """Plot the counts by true and predicted class, shaded by their share of the true class.

    Raises:
        ValueError: the report is of a multi-label task.
    """
    import numpy as np

    if report.confusion_matrix is None:
        raise ValueError("a multi-label report has no confusion matrix; expected a one-of report")
    ax = _axes(axes)
    counts = np.array(report.confusion_matrix)  # [true, predicted]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    positions = range(len(counts))
    ax.set_xticks(positions, report.class_names, rotation=45, ha="right", parse_math=False)
    ax.set_yticks(positions, report.class_names, parse_math=False)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    if len(counts) <= _MAX_COUNTS:
        for (true, predicted), count in np.ndenumerate(counts):
            colour = "white" if shares[true, predicted] > 0.5 else "black"
            ax.text(predicted, true, f"{count:,}", color=colour, ha="center", va="center")
    return ax


def plot_calibration(report: Report, axes: "Axes | None" = None) -> "Axes":
    """Plot the accuracy of each calibration bin by its mean confidence: a reliability diagram.

    The area of a point is the share of its bin. On the dotted line, confidence equals accuracy.
    """
    ax = _axes(axes)
    bins = [b for b in report.calibration if b.accuracy is not None]
    total = sum(b.count for b in bins)
    confidence, accuracy = [b.mean_confidence for b in bins], [b.accuracy for b in bins]
    ax.plot([0, 1], [0, 1], color="grey", linestyle=":")
    (line,) = ax.plot(confidence, accuracy)
    sizes = [10 + 300 * b.count / total for b in bins]
    ax.scatter(confidence, accuracy, s=sizes, alpha=0.6, color=line.get_color())
    ax.set_xlabel("mean confidence")
    ax.set_ylabel("share positive" if report.multi_label else "accuracy")
    return ax


def plot_coverage(report: Report, axes: "Axes | None" = None) -> "Axes":
    """Plot the accuracy of the answered examples by their share, and the threshold in use."""
    ax = _axes(axes)
    points = [point for point in report.coverage if point.accuracy is not None]
    ax.plot([p.coverage for p in points], [p.accuracy for p in points], marker="o")
    used = report.abstention
    if used is not None and used.accuracy is not None:
        ax.plot([used.coverage], [used.accuracy], "s", markersize=9, label="threshold in use")
        ax.legend()
    ax.set_xlabel("coverage")
    ax.set_ylabel("top class right" if report.multi_label else "accuracy")
    return ax


def plot_range_test(test: Any, axes: "Axes | None" = None) -> "Axes":
    """Plot the losses of a learning-rate range test by rate, and the suggested rate.

    Args:
        test: a `training.RangeTest`.
    """
    ax = _axes(axes)
    ax.plot(test.rates, test.losses, alpha=0.3, label="loss of a step")
    ax.plot(test.rates, test.smoothed, label="moving mean")
    if test.suggestion is not None:
        ax.axvline(test.suggestion, linestyle=":", color="grey")
        ax.annotate(
            f"suggestion {test.suggestion:g}",
            (test.suggestion, ax.get_ylim()[1]),
            xytext=(-4, -4),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="top",
        )
    ax.set_xscale("log")
    # One loss before the test ends may be thousands of times the others.
    ax.set_ylim(0, 1.5 * max(test.smoothed))
    ax.set_xlabel("learning rate")
    ax.set_ylabel("training loss")
    ax.legend()
    return ax


def _axes(axes: "Axes | None") -> Any:
    """Return the axes, or those of a new figure."""
    if axes is not None:
        return axes
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]
