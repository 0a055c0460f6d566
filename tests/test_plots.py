"""Tests of the plots: the drawn values are those of the history and of the report."""

from collections.abc import Iterator

import matplotlib
import numpy as np
import pytest

from textclf import plots
from textclf.evaluation import Report, evaluate

HISTORY = [{"epoch": e, "loss": 1 / e, "val_loss": 0.5 + 0.1 * e} for e in (1, 2, 3)]


@pytest.fixture(autouse=True)
def figures() -> Iterator[None]:
    matplotlib.use("agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def report(multi_label: bool = False) -> Report:
    rng = np.random.default_rng(5)
    p = rng.dirichlet([1, 1, 1], 200)
    y_true = rng.integers(0, 3, 200)
    return evaluate(
        np.eye(3, dtype=bool)[y_true] if multi_label else y_true, p, multi_label=multi_label,
        class_names=("体$育", "_b", "c"), bootstrap_samples=0, abstain_below=0.6,
    )  # fmt: skip


def test_plot_losses_draws_both_losses_by_epoch() -> None:
    axes = plots.plot_losses(HISTORY)
    training, validation = axes.get_lines()
    assert (training.get_label(), validation.get_label()) == ("training", "validation")
    assert training.get_xdata().tolist() == [1, 2, 3]
    assert validation.get_ydata().tolist() == [h["val_loss"] for h in HISTORY]


def test_plot_confusion_matrix_writes_the_counts_at_true_row_and_predicted_column() -> None:
    made = report()
    axes = plots.plot_confusion_matrix(made)
    drawn = {(*text.get_position(),): text.get_text() for text in axes.texts}
    assert made.confusion_matrix is not None
    for true, row in enumerate(made.confusion_matrix):
        for predicted, count in enumerate(row):
            assert drawn[predicted, true] == str(count)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(made.class_names)
    with pytest.raises(ValueError, match="multi-label report has no confusion matrix"):
        plots.plot_confusion_matrix(report(multi_label=True))


@pytest.mark.parametrize("multi_label", [False, True], ids=["one-of", "multi-label"])
def test_plot_calibration_draws_only_bins_with_examples(multi_label: bool) -> None:
    made = report(multi_label)
    _, line = plots.plot_calibration(made).get_lines()
    expected = [(b.mean_confidence, b.accuracy) for b in made.calibration if b.count]
    assert np.column_stack(line.get_data()).tolist() == [list(pair) for pair in expected]


def test_plot_coverage_marks_the_threshold_in_use() -> None:
    made = report()
    curve, used = plots.plot_coverage(made).get_lines()
    assert curve.get_xdata().tolist() == [point.coverage for point in made.coverage]
    assert made.abstention is not None
    assert (*used.get_xdata(), *used.get_ydata()) == (
        made.abstention.coverage,
        made.abstention.accuracy,
    )


def test_plot_coverage_of_a_multi_label_report_does_not_call_its_measure_accuracy() -> None:
    assert plots.plot_coverage(report(multi_label=True)).get_ylabel() == "top class right"
    assert plots.plot_coverage(report()).get_ylabel() == "accuracy"


def test_a_plot_is_drawn_into_the_axes_of_the_caller_and_saved(tmp_path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    assert plots.plot_losses(HISTORY, axes=axes) is axes
    assert plots.plot_confusion_matrix(report()).figure is not figure
    figure.savefig(tmp_path / "losses.png")
