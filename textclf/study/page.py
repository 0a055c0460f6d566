"""The report of a benchmark as one page that needs nothing from elsewhere."""

import io
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textclf import evaluation
from textclf.study.grid import Grid
from textclf.study.summary import display_name
from textclf.study.tables import PARETO_WORDS, families, scores_table
from textclf.study.worker import unpack

_INK = "#010203"  # stands for the page's own colour, which follows light and dark
# Told apart by those who see few colours too (Okabe and Ito 2008), on white and on black.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b08c00", "#56b4e9", "#8a6fdf", "#7f7f7f")
_MARKS = "osD^vP*X"
_NUM_BINS = 8
_MOST_CLASSES = 20  # a matrix of more is no picture


def render(
    grid: Grid,
    folder: Path,
    results: Mapping[str, Mapping[str, Any]],
    summary: Mapping[str, Any],
) -> str:
    """The page, as HTML.

    Args:
        grid: what was to be made.
        folder: the benchmark's, for the command that is shown.
        results: the finished runs, by name.
        summary: what `summary.summarize` says of them.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    versions: dict[str, str] = {}
    for result in results.values():
        versions |= result["versions"]
    return environment.get_template("page.html").render(
        title=Path(grid.place).stem,
        summary=summary,
        confidence=f"{100 * grid.confidence:g}",
        datasets=[
            _dataset(name, found, [r for r in results.values() if r["dataset"] == name])
            for name, found in summary["datasets"].items()
        ],
        command=f"textclf benchmark {shlex.quote(grid.place)} {shlex.quote(str(folder))}",
        versions=versions,
        pareto_words=PARETO_WORDS,
    )


def _dataset(
    name: str, found: Mapping[str, Any], results: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    by_cell: dict[str, list[Mapping[str, Any]]] = {}
    for cell in found["cells"]:  # the best first
        by_cell[cell["cell"]] = [r for r in results if r["cell"] == cell["cell"]]
    header, rows = scores_table(found)
    y_true = unpack(results[0]["y_true"])
    return {
        **found,
        "name": name,
        "header": header,
        "rows": rows,
        "shared": any(cell["cost"].get("shared_cores") for cell in found["cells"]),
        "plots": list(_plots(found, by_cell, y_true)),
        "comparisons": families(found),
        "confusions": list(_confusions(found, by_cell, y_true)),
    }


def _confusions(
    found: Mapping[str, Any], by_cell: Mapping[str, Sequence[Mapping[str, Any]]], y_true: np.ndarray
) -> Any:
    if y_true.ndim == 2 or len(found["class_names"]) > _MOST_CLASSES:
        return
    num_classes = len(found["class_names"])
    for cell, results in by_cell.items():
        shares = np.zeros((num_classes, num_classes))
        for result in results:
            given = evaluation.select(unpack(result["probabilities"]))
            np.add.at(shares, (y_true, given), 1 / len(results))
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1)
        named = zip(found["class_names"], shares.round(4).tolist(), strict=True)
        yield {"name": display_name(cell), "rows": list(named)}


# === Plots ===


def _plots(
    found: Mapping[str, Any], by_cell: Mapping[str, Sequence[Mapping[str, Any]]], y_true: np.ndarray
) -> Any:
    metric = found["metric"]
    looks = {
        cell: {
            "color": _COLOURS[i % len(_COLOURS)],
            # Another one when the colours begin anew.
            "marker": _MARKS[(i + i // len(_COLOURS)) % len(_MARKS)],
        }
        for i, cell in enumerate(by_cell)
    }

    # The majority is so far below that nothing could be told of the others.
    from_below = [cell for cell in reversed(list(by_cell)) if cell != "majority"]

    def scores(axes: Any) -> str:
        for place, cell in enumerate(from_below):
            results = by_cell[cell]
            values = [r["test"][metric] for r in results]
            axes.plot(values, [place] * len(values), linestyle="", alpha=0.6, **looks[cell])
            axes.plot([np.mean(values)] * 2, [place - 0.3, place + 0.3], color=looks[cell]["color"])
        axes.set_yticks(range(len(from_below)), [display_name(cell) for cell in from_below])
        axes.set_xlabel(f"{metric} on test")
        return f"Every run by {metric}; the bar is the mean of the cell."

    def curves(axes: Any) -> str:
        name = "val_loss"
        for cell, results in by_cell.items():
            histories = [[e[name] for e in r["history"]] for r in results if "history" in r]
            if not histories:
                continue
            # As far as every seed went: the mean of fewer would be of other runs.
            shortest = min(map(len, histories))
            table = np.array([history[:shortest] for history in histories])
            epochs = np.arange(1, shortest + 1)
            axes.plot(
                epochs, table.mean(axis=0), label=display_name(cell), markersize=3, **looks[cell]
            )
            axes.fill_between(
                epochs, table.min(axis=0), table.max(axis=0), alpha=0.15, linewidth=0,
                color=looks[cell]["color"],
            )  # fmt: skip
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss on validation")
        axes.xaxis.get_major_locator().set_params(integer=True)
        return "Learning curves: the mean over seeds, and the range as a band."

    def lengths(axes: Any) -> str:
        num_tokens = next(unpack(r["num_tokens"]) for r in _networks(by_cell))
        edges = np.unique(np.quantile(num_tokens, np.linspace(0, 1, 6)[1:], method="inverted_cdf"))
        bins = np.searchsorted(edges, num_tokens)
        for cell in reversed(from_below):
            each = np.mean([_right(r, y_true) for r in by_cell[cell]], axis=0)
            by_bin = [each[bins == b].mean() for b in range(len(edges))]
            axes.plot(
                range(len(edges)), by_bin, label=display_name(cell), markersize=4, **looks[cell]
            )
        axes.set_xticks(range(len(edges)), [f"to {edge}" for edge in edges])
        axes.set_xlabel("tokens in the text")
        axes.set_ylabel(_share(y_true))
        return "By the length of the text, a fifth of the test texts at a point."

    def gradients(axes: Any) -> str:
        for cell, results in by_cell.items():
            each = [r["gradient_by_distance"] for r in results if r.get("gradient_by_distance")]
            each = [one for one in each if one["0"] > 0]  # nothing comes through a saturated cell
            if each:
                distances = [k for k in each[0] if all(k in one for one in each)]
                axes.plot(
                    [int(k) + 1 for k in distances],
                    [np.mean([one[k] / one["0"] for one in each]) for k in distances],
                    label=display_name(cell), markersize=4, **looks[cell],
                )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
        axes.set_xlabel("tokens from the end")
        axes.set_ylabel("gradient, last token 1")
        return (
            "What the last forward state owes to a token so far from the end: where the line "
            "falls, the cell forgets."
        )

    def calibration(axes: Any) -> str:
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.7, linestyle=":")
        edges = np.linspace(0, 1, _NUM_BINS + 1)
        for cell, results in by_cell.items():
            p = np.concatenate([unpack(r["probabilities"]).astype(float) for r in results])
            if y_true.ndim == 2:
                confidence, right = p.ravel(), np.tile(y_true, (len(results), 1)).ravel()
            else:
                confidence = p.max(axis=1)
                right = np.concatenate([_right(r, y_true) for r in results])
            bins = np.clip(np.digitize(confidence, edges[1:-1]), 0, _NUM_BINS - 1)
            kept = [b for b in range(_NUM_BINS) if (bins == b).sum() >= 20]
            axes.plot(
                [confidence[bins == b].mean() for b in kept],
                [right[bins == b].mean() for b in kept],
                label=display_name(cell), markersize=4, **looks[cell],
            )  # fmt: skip
        axes.set_xlabel("probability given")
        axes.set_ylabel("share that is right")
        return "Calibration: on the dotted line, probabilities are what they say."

    def pareto(cost: str, label: str) -> Callable[[Any], str]:
        def draw(axes: Any) -> str:
            from matplotlib import ticker

            for cell in found["cells"]:
                # The majority costs so little that the others would stand in one place.
                if cell["cost"].get(cost) and cell["cell"] != "majority":
                    axes.plot(
                        cell["cost"][cost], cell["mean"], linestyle="", label=cell["name"],
                        **looks[cell["cell"]],
                    )  # fmt: skip
            front = sorted(
                (cell["cost"][cost], cell["mean"])
                for cell in found["cells"]
                if cost in cell["pareto"] and cell["cell"] != "majority"
            )
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 3), numticks=8))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(ticker.NullFormatter())
            axes.set_xlabel(label)
            axes.set_ylabel(metric)
            better = "lower" if metric == "log_loss" else "upper"
            caption = f"By {metric} and cost: to the {better} left is the better bargain."
            if not front:
                return caption
            axes.plot(*zip(*front, strict=True), color=_INK, linewidth=0.7, linestyle=":")
            return f"{caption} Nothing is better than what the dotted line joins."

        return draw

    pictures: list[tuple[str, Callable[[Any], str], bool]] = [("scores", scores, False)]
    if _networks(by_cell):
        pictures += [("learning curves", curves, True), ("score by length", lengths, True)]
    if any(r.get("gradient_by_distance") for r in _networks(by_cell)):
        pictures.append(("gradient by distance", gradients, True))
    pictures += [
        ("calibration", calibration, True),
        ("score against training time", pareto("training_seconds", "seconds a training"), True),
        ("score against the time of an answer", pareto("latency_p50_ms", "ms an answer"), True),
    ]
    for title, draw, has_legend in pictures:
        yield _plot(title, draw, has_legend)


def _networks(by_cell: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    return [r for results in by_cell.values() for r in results if "num_tokens" in r]


def _right(result: Mapping[str, Any], y_true: np.ndarray) -> np.ndarray:
    """float64 [n]: whether a text is answered rightly; several labels: the share of its classes."""
    p = unpack(result["probabilities"])
    if y_true.ndim == 2:
        limits = np.array(result["thresholds"], np.float32)
        return (evaluation.select(p, limits) == y_true.astype(bool)).mean(axis=1)
    return (evaluation.select(p) == y_true).astype(float)


def _share(y_true: np.ndarray) -> str:
    return "share of labels right" if y_true.ndim == 2 else "accuracy"


def _plot(title: str, draw: Callable[[Any], str], has_legend: bool) -> dict[str, str]:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib.figure import Figure

    settings = {
        "svg.fonttype": "none",  # text of the page, in its fonts
        "svg.hashsalt": "textclf",
        "font.size": 9,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(4.8, 3.4 if has_legend else 2.8), layout="constrained")
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        figure.patch.set_alpha(0)
        caption = draw(axes)
        axes.grid(alpha=0.2, linewidth=0.5)
        if has_legend:
            handles, labels = axes.get_legend_handles_labels()
            columns = 2 if max(map(len, labels), default=0) > 14 else 3
            figure.legend(
                handles, labels, loc="outside lower center", ncols=columns, frameon=False,
                fontsize=8,
            )  # fmt: skip
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    # The size is the page's; ids would clash between plots.
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg)
    salt = re.sub(r"\W", "", title)
    svg = re.sub(r'\bid="', f'id="{salt}-', svg)
    svg = re.sub(r'href="#', f'href="#{salt}-', svg)
    svg = re.sub(r"url\(#", f"url(#{salt}-", svg)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{title}: {caption}" ', 1)
    return {"svg": svg, "caption": caption}
