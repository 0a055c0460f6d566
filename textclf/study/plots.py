"""Plots of a benchmark as SVG."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from textclf import evaluation
from textclf.pages import COLOURS, INK, MARKERS, Picture, draw
from textclf.study.records import Result
from textclf.study.runs import display_name
from textclf.study.summary import DatasetSummary
from textclf.tasks import Task

_NUM_BINS = 8
_MIN_BIN_TEXTS = 20


class Plots:
    """Plots of one data set; a method draws into axes and returns the caption."""

    def __init__(
        self,
        task: Task,
        dataset: DatasetSummary,
        by_cell: Mapping[str, Sequence[Result]],
        y_true: np.ndarray,
        heading: str = "",
    ):
        """
        Args:
            task: of the data set.
            dataset: the summary.
            by_cell: the finished runs of each cell, the best cell first.
            y_true: int64 [n], or bool [n, C] for multi-label data.
            heading: of the part of the page, if it has several.
        """
        self._heading = heading
        self._task = task
        self._scoring = evaluation.scoring_of(task)
        self._dataset = dataset
        self._metric = dataset.metric
        self._by_cell = by_cell
        self._y_true = y_true
        self._styles = {
            cell: {
                "color": COLOURS[i % len(COLOURS)],
                # Another marker for each colour that is used a second time.
                "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
            }
            for i, cell in enumerate(by_cell)
        }
        # The majority class scores so low that the others would be indistinguishable.
        self._plotted = [cell for cell in by_cell if cell != "majority"]

    def draw_all(self) -> Iterator[Picture]:
        """Yield each plot that the results allow."""
        networks = [r for rs in self._by_cell.values() for r in rs if r.num_tokens is not None]
        yield self._svg("scores", self._scores, has_legend=False)
        if networks:
            yield self._svg("learning curves", self._learning_curves)
            yield self._svg("score by length", self._scores_by_length)
        if any(result.gradient_by_distance for result in networks):
            yield self._svg("gradient by distance", self._gradients)
        yield self._svg("calibration", self._calibration)
        yield self._svg("score and training time", self._training_pareto)
        yield self._svg("score and answer time", self._answer_pareto)

    def draw_answers(self) -> Iterator[Picture]:
        """Yield the plots that depend on the answers alone, of networks with their lengths."""
        yield self._svg("scores", self._scores, has_legend=False)
        yield self._svg("score by length", self._scores_by_length)
        yield self._svg("calibration", self._calibration)

    def _svg(
        self, title: str, draw_axes: Callable[[Any], str], *, has_legend: bool = True
    ) -> Picture:
        title = f"{self._heading}: {title}" if self._heading else title
        return draw(title, draw_axes, has_legend=has_legend)

    def _scores(self, axes: Any) -> str:
        from_below = self._plotted[::-1]
        for y, cell in enumerate(from_below):
            values = [result.test[self._metric] for result in self._by_cell[cell]]
            style = self._styles[cell]
            axes.plot(values, [y] * len(values), linestyle="", alpha=0.6, **style)
            axes.plot([np.mean(values)] * 2, [y - 0.3, y + 0.3], color=style["color"])
        axes.set_yticks(range(len(from_below)), [display_name(cell) for cell in from_below])
        axes.set_xlabel(f"{self._metric} on test")
        return f"Scores: {self._metric} of each run; the bar is the mean of the cell."

    def _learning_curves(self, axes: Any) -> str:
        most_seeds = most_epochs = 1
        has_band = False
        for cell, results in self._by_cell.items():
            losses = [
                [np.nan if epoch["val_loss"] is None else epoch["val_loss"] for epoch in history]
                for history in (result.history for result in results)
                if history is not None
            ]
            if not losses:
                continue
            # Up to the shortest run: later means would be of other seeds.
            shortest = min(map(len, losses))
            table = np.array([values[:shortest] for values in losses])  # [seeds, epochs]
            epochs = np.arange(1, shortest + 1)
            most_seeds, most_epochs = max(most_seeds, len(losses)), max(most_epochs, shortest)
            has_band |= min(table.shape) > 1
            self._line(axes, cell, epochs, table.mean(axis=0), markersize=3)
            axes.fill_between(
                epochs, table.min(axis=0), table.max(axis=0), alpha=0.15, linewidth=0,
                color=self._styles[cell]["color"],
            )  # fmt: skip
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss on validation")
        axes.xaxis.get_major_locator().set_params(integer=True)
        if most_epochs == 1:  # else the ticks are fractions of an epoch
            axes.set_xticks([1])
        if has_band:
            return "Learning curves: mean over the seeds; the band is the range."
        return "Learning curves: mean over the seeds." if most_seeds > 1 else "Learning curves."

    def _scores_by_length(self, axes: Any) -> str:
        num_tokens = next(
            result.num_tokens.unpack()
            for results in self._by_cell.values()
            for result in results
            if result.num_tokens is not None
        )
        edges = np.unique(np.quantile(num_tokens, np.linspace(0, 1, 6)[1:], method="inverted_cdf"))
        bins = np.searchsorted(edges, num_tokens)
        for cell in self._plotted:
            scores = np.mean(
                [
                    self._scoring.correctness(self._y_true, self._predicted(result))
                    for result in self._by_cell[cell]
                ],
                axis=0,
            )
            by_bin = [scores[bins == b].mean() for b in range(len(edges))]
            self._line(axes, cell, range(len(edges)), by_bin)
        axes.set_xticks(range(len(edges)), [f"to {edge}" for edge in edges])
        axes.set_xlabel("tokens in the text")
        axes.set_ylabel(self._scoring.correctness_name)
        return "Score by length of the text; each point is a fifth of the test texts."

    def _gradients(self, axes: Any) -> str:
        for cell, results in self._by_cell.items():
            gradients = [
                norms
                for norms in (result.gradient_by_distance for result in results)
                if norms and norms["0"] > 0  # 0 for saturated units
            ]
            if gradients:
                distances = [k for k in gradients[0] if all(k in norms for norms in gradients)]
                self._line(
                    axes,
                    cell,
                    [int(k) + 1 for k in distances],
                    [np.mean([norms[k] / norms["0"] for norms in gradients]) for k in distances],
                )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
        axes.set_xlabel("tokens from the end")
        axes.set_ylabel("gradient, last token 1")
        return (
            "Influence of a token on the final state, by distance from the end. A falling line "
            "means that the network forgets."
        )

    def _calibration(self, axes: Any) -> str:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.7, linestyle=":")
        edges = np.linspace(0, 1, _NUM_BINS + 1)
        for cell, results in self._by_cell.items():
            confidence, correct = map(
                np.concatenate,
                zip(
                    *(
                        self._scoring.confidences(
                            self._y_true,
                            self._predicted(result),
                            result.probabilities.unpack().astype(float),
                        )
                        for result in results
                    ),
                    strict=True,
                ),
            )
            bins = np.clip(np.digitize(confidence, edges[1:-1]), 0, _NUM_BINS - 1)
            kept = [b for b in range(_NUM_BINS) if (bins == b).sum() >= _MIN_BIN_TEXTS]
            self._line(
                axes,
                cell,
                [confidence[bins == b].mean() for b in kept],
                [correct[bins == b].mean() for b in kept],
            )
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("share of correct answers")
        return "Calibration: on the dotted line, probabilities equal the share of correct answers."

    def _training_pareto(self, axes: Any) -> str:
        return self._pareto(axes, "training_seconds", "training time, seconds")

    def _answer_pareto(self, axes: Any) -> str:
        return self._pareto(axes, "latency_p50_ms", "time of one answer, ms")

    def _pareto(self, axes: Any, cost: str, label: str) -> str:
        # The majority class costs so little that the others would be indistinguishable.
        cells = [cell for cell in self._dataset.cells if cell.cell != "majority"]
        for cell in cells:
            value = getattr(cell.cost, cost)
            if value:
                self._line(axes, cell.cell, value, cell.mean, markersize=None, linestyle="")
        front = sorted((getattr(c.cost, cost), c.mean) for c in cells if cost in c.pareto)
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.set_ylabel(self._metric)
        corner = "lower" if self._metric == "log_loss" else "upper"
        caption = (
            f"Score and cost: {self._metric} by {label.partition(',')[0]}; "
            f"the {corner} left is better."
        )
        if len(set(front)) < 2:  # no line
            return caption
        axes.plot(*zip(*front, strict=True), color=INK, linewidth=0.7, linestyle=":")
        return f"{caption} The dotted line is the Pareto front."

    def _line(
        self, axes: Any, cell: str, x: Any, y: Any, *, markersize: float | None = 4, **style: Any
    ) -> None:
        """Plot a line with the label and the style of a cell."""
        axes.plot(
            x, y, label=display_name(cell), markersize=markersize, **style, **self._styles[cell]
        )

    def _predicted(self, result: Result) -> np.ndarray:
        """Return the predicted classes of a run."""
        return self._task.select(result.probabilities.unpack(), result.thresholds)
