"""From finished runs to verdicts: what the comparison of cells says, and what it cannot say."""

import dataclasses
import itertools
import statistics as middle
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from textclf import baselines, evaluation
from textclf.errors import install_command
from textclf.study import significance
from textclf.study.grid import BAG, Grid
from textclf.study.significance import CellDifference
from textclf.study.worker import unpack

WANTED_POWER = 0.8
_NAMES = {
    "majority": "the majority class",
    "tfidf_logistic_regression": "TF-IDF + logistic regression",
    "fasttext": "fastText",
    BAG: "a bag of embeddings",
    "simple_rnn": "SimpleRNN",
    "bisimple_rnn": "BiSimpleRNN",
    "lstm": "LSTM",
    "bilstm": "BiLSTM",
    "gru": "GRU",
    "bigru": "BiGRU",
}


def display_name(cell: str) -> str:
    """As people write it: "BiLSTM" for "bilstm"."""
    first, dash, rest = cell.partition("-")
    return _NAMES.get(first, first) + dash + rest


def summarize(
    grid: Grid, results: Mapping[str, Mapping[str, Any]], failures: Mapping[str, str]
) -> dict[str, Any]:
    """All that the finished runs say, as plain values.

    Returns:
        `notes` on the benchmark as a whole, and by data set: `metric`, `cells` (scores, cost, and
        as `pareto` the costs below which no cell scores as high in the mean), `comparisons` of
        cells, comparisons `with_simple` classifiers, and `words`, the verdicts as sentences.
    """
    datasets = {}
    for dataset in dict.fromkeys(run.dataset for run in grid.runs):
        here = [
            results[run.name] for run in grid.runs if run.dataset == dataset and run.name in results
        ]
        if here:
            asked = {run.cell for run in grid.runs if run.dataset == dataset and run.is_asked}
            datasets[dataset] = _Summary(grid, here, asked).to_dict()
    return {
        "grid": grid.place,
        "confidence": grid.confidence,
        "smallest_difference": grid.smallest_difference,
        "notes": list(_notes(grid, results, failures)),
        "datasets": datasets,
    }


class Comparison:
    """Cells that were tested on the same examples, and what can be said of pairs of them."""

    def __init__(
        self,
        metric: str,
        contributions: Mapping[str, np.ndarray],
        *,
        fixed: Collection[str] = (),
        confidence: float = 0.95,
        smallest_difference: float = 0.01,
    ):
        """
        Args:
            metric: what the scores are.
            contributions: by cell, float64 [seeds, examples], as of `evaluation.contributions`.
            fixed: the cells that draw nothing at random.
            confidence: of the intervals.
            smallest_difference: the smallest one worth knowing, in the metric's unit.
        """
        self.metric = metric
        self.contributions = contributions
        self.fixed = fixed
        self.confidence = confidence
        self.smallest_difference = smallest_difference
        self.num_examples = next(iter(contributions.values())).shape[1]

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """Each pair with the better one first, corrected for their number."""
        sign = _sign(self.metric)
        found = []
        for a, b in pairs:
            if sign * (self.contributions[a].mean() - self.contributions[b].mean()) < 0:
                a, b = b, a
            difference = significance.compare_cells(
                self.contributions[a],
                self.contributions[b],
                confidence=self.confidence,
                is_random=(a not in self.fixed, b not in self.fixed),
            )
            found.append((a, b, difference))
        known = [difference.p_value for _, _, difference in found if difference.p_value is not None]
        corrected = iter(significance.holm(known))
        return [
            self._comparison(
                a, b, d, None if d.p_value is None else float(next(corrected)), len(known)
            )
            for a, b, d in found
        ]

    def _comparison(
        self, a: str, b: str, d: CellDifference, p_holm: float | None, num_comparisons: int
    ) -> dict[str, Any]:
        alpha, smallest = 1 - self.confidence, self.smallest_difference
        power = seeds_needed = sought = None
        if p_holm is None:
            verdict = "one seed"
        else:
            # Of the first and hardest step of Holm's procedure.
            power = d.power(smallest, alpha / num_comparisons)
            if p_holm < alpha:
                verdict = "better"
            elif power >= WANTED_POWER:
                verdict = "no difference shown"
            else:
                verdict = "test split too small"
                # What no number of seeds finds on these texts may be smaller than what was seen.
                for sought in sorted({smallest, max(smallest, abs(d.difference))}):
                    seeds_needed = d.seeds_needed(sought, alpha / num_comparisons, WANTED_POWER)
                    if seeds_needed is not None:
                        verdict = "too few seeds"
                        break
        return {
            "a": a,
            "b": b,
            "verdict": verdict,
            "difference": d.difference,
            "interval": None if d.interval is None else list(d.interval),
            "p_value": d.p_value,
            "p_value_holm": p_holm,
            "standard_error": d.standard_error,
            "degrees_of_freedom": _finite(d.degrees_of_freedom),
            "seed_variances": list(d.seed_variances),
            "test_variance": _finite(d.test_variance),
            "effect_size": d.effect_size,
            "power": power,
            "seeds_needed": seeds_needed,
            "difference_sought": sought,
            "words": self._words(a, b, verdict, d, p_holm, power, seeds_needed, sought),
        }

    def _words(
        self,
        a: str,
        b: str,
        verdict: str,
        d: CellDifference,
        p_holm: float | None,
        power: float | None,
        seeds_needed: int | None,
        sought: float | None,
    ) -> str:
        one, other = display_name(a), display_name(b)
        apart = f"they differ by {_amount(d.difference, self.metric)} in the mean"
        if d.interval is not None:
            apart += f" ({100 * d.confidence:g} % interval {_range(d.interval, self.metric)})"
        smallest = _amount(self.smallest_difference, self.metric)
        if verdict == "one seed":
            lacking = (
                "one test text says nothing about others"
                if self.num_examples == 1
                else "one seed says nothing about what another would have given"
            )
            return f"{one} against {other}: {lacking}; {apart}"
        assert p_holm is not None and power is not None
        if verdict == "better":
            return f"{one} is better than {other}: {apart}, p {_p(p_holm)} after Holm"
        if verdict == "no difference shown":
            return (
                f"no difference shown between {one} and {other}: {apart}; one of {smallest} "
                f"would have been found with a probability of {power:.2f}"
            )
        if verdict == "too few seeds":
            assert sought is not None
            return (
                f"too few seeds to tell {one} from {other}: {apart}; to find one of "
                f"{_amount(sought, self.metric)} with a probability of {WANTED_POWER:g}, "
                f"{seeds_needed} seeds a cell are needed"
            )
        return (
            f"the test split is too small to tell {one} from {other}: {apart}; no number of seeds "
            f"finds one of {smallest} with a probability of {WANTED_POWER:g} on "
            f"{self.num_examples:,} texts"
        )


class _Summary:
    """One data set."""

    def __init__(self, grid: Grid, results: Sequence[Mapping[str, Any]], asked: set[str]):
        self.grid = grid
        self.by_cell: dict[str, list[Mapping[str, Any]]] = {}
        for result in results:
            self.by_cell.setdefault(result["cell"], []).append(result)
        self.asked = [cell for cell in self.by_cell if cell in asked]
        self.simple = [cell for cell in self.by_cell if cell not in asked]
        self.data = results[0]["data"]
        self.hosts = {result["machine"]["host"] for result in results}
        multi_label = self.data["multi_label"]
        self.metric = grid.metric or evaluation.contributed(multi_label)[0]
        self.y_true = unpack(results[0]["y_true"])
        self.y_true = self.y_true.astype(bool if multi_label else np.int64)
        self.contributions = {
            cell: np.stack([self._contributions(result) for result in found])
            for cell, found in self.by_cell.items()
        }  # float64 [seeds, examples]
        self.comparison = Comparison(
            self.metric,
            self.contributions,
            fixed=set(baselines.BASELINES) - baselines.RANDOM,
            confidence=grid.confidence,
            smallest_difference=grid.smallest_difference,
        )

    def _contributions(self, result: Mapping[str, Any]) -> np.ndarray:
        thresholds = result["thresholds"]
        return evaluation.contributions(
            self.metric,
            self.y_true,
            unpack(result["probabilities"]).astype(np.float32),
            None if thresholds is None else np.array(thresholds, np.float32),
        )

    def to_dict(self) -> dict[str, Any]:
        pairs = list(itertools.combinations(self.asked, 2))
        comparisons = self.comparison.pairs(pairs)
        with_simple = self.comparison.pairs(
            [
                (cell, simple)
                for cell in self.asked
                for simple in self.simple
                if simple != "majority"
            ]
        )
        cells = [self._cell(cell) for cell in self.by_cell]
        sign = _sign(self.metric)
        cells.sort(key=lambda cell: -sign * cell["mean"])
        # Times on shared cores or of different machines compare with nothing.
        compare = len(self.hosts) == 1 and not any(cell["cost"]["shared_cores"] for cell in cells)
        for cell in cells:
            cell["pareto"] = []
            for cost in ("training_seconds", "latency_p50_ms") if compare else ():
                mine = -sign * cell["mean"], cell["cost"][cost]
                others = [(-sign * other["mean"], other["cost"][cost]) for other in cells]
                if not any(o[0] <= mine[0] and o[1] <= mine[1] and o != mine for o in others):
                    cell["pareto"].append(cost)
        return {
            "metric": self.metric,
            "num_test": len(self.y_true),
            "leaked_test_rows": self.data["leaked_test_rows"],
            "class_names": self.data["class_names"],
            "splits": self.data["splits"],
            "fingerprint": self.data["fingerprint"],
            "cells": cells,
            "comparisons": comparisons,
            "with_simple": with_simple,
            "words": [*self._verdict(comparisons), *self._earned(with_simple)],
        }

    def _cell(self, cell: str) -> dict[str, Any]:
        found = self.by_cell[cell]
        scores = [result["test"][self.metric] for result in found]
        cost: dict[str, Any] = {}
        alone = [result for result in found if not result["cost"]["shared_cores"]]
        costs = [result["cost"] for result in alone or found]
        for name in costs[0]:
            if all(name in each for each in costs):  # another version may measure something else
                cost[name] = middle.median(each[name] for each in costs)
        cost["shared_cores"] = not alone
        return {
            "cell": cell,
            "name": display_name(cell),
            "kind": found[0]["kind"],
            "is_random": cell not in self.comparison.fixed,
            "seeds": [result["seed"] for result in found],
            "mean": float(np.mean(scores)),
            "sd": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
            "min": min(scores),
            "max": max(scores),
            "cost": cost,
        }

    def _verdict(self, comparisons: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """Which cell, in a sentence or two."""
        if not self.asked:
            yield "No cell of the grid has a finished run: nothing can be said of any."
        if not comparisons:
            return
        better = [c for c in comparisons if c["verdict"] == "better"]
        if not better:
            yield (
                f"No cell is shown to be better than another by {self.metric} on "
                f"{len(self.y_true):,} test texts."
            )
        for cell in self.asked:
            beaten = [display_name(c["b"]) for c in better if c["a"] == cell]
            if beaten:
                yield f"{display_name(cell)} is better than {_listed(beaten)}."
        unclear = [c for c in comparisons if c["verdict"] not in ("better", "no difference shown")]
        if unclear:
            yield (
                f"{len(unclear)} of {len(comparisons)} comparisons are open, for want of seeds or "
                "of test texts: see each."
            )

    def _earned(self, with_simple: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """Whether the networks are worth their cost beside the simple classifiers."""
        for simple in self.simple:
            if simple == "majority" or not self.asked:
                continue
            mine = [c for c in with_simple if simple in (c["a"], c["b"])]
            better = [
                display_name(c["a"]) for c in mine if c["verdict"] == "better" and c["b"] == simple
            ]
            worse = [
                display_name(c["b"]) for c in mine if c["verdict"] == "better" and c["a"] == simple
            ]
            name = display_name(simple)
            if better:
                yield f"{_listed(better)} {_be(better)} better than {name}."
            else:
                yield f"No recurrent network here is shown to be better than {name}."
            if worse:
                first = name[0].upper() if name[:2] == "a " else name[0]  # a name stays as it is
                yield f"{first}{name[1:]} is better than {_listed(worse)}."


def _notes(
    grid: Grid, results: Mapping[str, Mapping[str, Any]], failures: Mapping[str, str]
) -> Iterator[str]:
    if grid.budget.weights is not None:
        yield f"every cell has about {grid.budget.weights:,} weights in its recurrent layers"
    if grid.budget.minutes is not None:
        yield (
            f"every cell trains at most the steps that it made in {grid.budget.minutes:g} minutes"
        )
    missing = [run for run in grid.runs if run.name not in results and run.name not in failures]
    if not_yet := sum(run.can_be_made for run in missing):
        yield f"{not_yet} of {len(grid.runs)} runs are not made yet"
    if not_yet < len(missing):
        yield (
            "fastText is not compared, because it is not installed; install it with "
            f"{install_command('fasttext')}"
        )
    calibrated = {
        r["calibration"]["machine"]["host"] for r in results.values() if "calibration" in r
    }
    if len(calibrated) > 1:
        yield (
            f"times were turned into steps on {len(calibrated)} machines, so the budgets "
            "are not quite the same"
        )
    for name, reason in failures.items():
        yield f"{name} failed: {reason}"
    for name, result in results.items():
        if result.get("ended_by") == "not finite":
            yield f"{name} ended early, because its loss or a gradient was not finite"
    code = {result["code"] for result in results.values()}
    if len(code) > 1:
        yield f"the runs were made by {len(code)} different versions of textclf's code"
    if any(r["cost"].get("code", r["code"]) != r["code"] for r in results.values()):
        yield "times were measured with another version of textclf's code than the runs were made"
    versions = {
        tuple(sorted(r["versions"].items())) for r in results.values() if r["kind"] == "network"
    }
    if len(versions) > 1:
        yield f"the runs were made with {len(versions)} different sets of library versions"
    hosts = {result["machine"]["host"] for result in results.values()}
    if len(hosts) > 1:
        yield f"the runs were made on {len(hosts)} machines; their times do not compare"
    cells: dict[tuple[str, str], list[bool]] = {}
    for result in results.values():
        cell = result["dataset"], result["cell"]
        cells.setdefault(cell, []).append(result["cost"]["shared_cores"])
    if any(all(shared) for shared in cells.values()):
        yield "some times and latencies were measured on shared cores and do not compare"
    elif any(any(shared) for shared in cells.values()):
        yield "times and latencies are those of the runs that had the cores to themselves"
    for name, result in results.items():
        if result["test_reads"] > 1:
            yield (
                f"the test split was read {result['test_reads']} times for {name}, which was "
                "begun anew"
            )
    vocabularies: dict[str, set[str]] = {}
    for run in grid.runs:
        if run.name in results and run.kind == "network":
            text = str(sorted(run.config.text.to_dict().items()))
            key = f"{run.dataset} {text}"
            vocabularies.setdefault(key, set()).add(results[run.name]["vocabulary"])
    if any(len(found) > 1 for found in vocabularies.values()):
        yield "runs of one data set have different vocabularies"


def _sign(metric: str) -> float:
    """What makes more of a metric better."""
    return -1.0 if metric == "log_loss" else 1.0


def _amount(difference: float, metric: str) -> str:
    """A difference of two scores, with its unit."""
    return f"{difference:.3f}" if metric == "log_loss" else f"{100 * difference:.1f} points"


def _range(interval: tuple[float, float], metric: str) -> str:
    low, high = (_amount(end, metric) for end in interval)
    return f"{low.partition(' ')[0]} to {high}"


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else value


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def _be(names: Sequence[str]) -> str:
    return "are" if len(names) > 1 else "is"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# === Single models ===


def compare_models(
    scores: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]],
    *,
    cells: Mapping[str, str],
    metric: str,
    confidence: float,
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Compares trained models on the same texts, and their cells where there are several seeds.

    Args:
        scores: by model, its true classes, probabilities and thresholds, classes in one order.
        cells: the cell of each model.
        metric: one of those `evaluation.contributed` to.
        confidence: of the intervals.
        num_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Plain values: `models` with their scores, `comparisons` of two models each, and `cells`,
        comparisons of cells, empty where every cell has one seed.
    """
    contributions = {
        name: evaluation.contributions(metric, y_true, p, thresholds)
        for name, (y_true, p, thresholds) in scores.items()
    }
    right = {
        # McNemar's test is one of accuracy.
        name: evaluation.select(p) == y_true if metric == "accuracy" else None
        for name, (y_true, p, _) in scores.items()
    }
    sign = _sign(metric)
    ordered = sorted(contributions, key=lambda name: -sign * contributions[name].mean())
    found = []
    for a, b in itertools.combinations(ordered, 2):
        one, other = right[a], right[b]
        difference = significance.compare_models(
            contributions[a],
            contributions[b],
            right=None if one is None or other is None else (one, other),
            confidence=confidence,
            num_resamples=num_resamples,
            seed=seed,
        )
        found.append((a, b, difference))
    known = [d.mcnemar_p_value for _, _, d in found if d.mcnemar_p_value is not None]
    corrected = iter(significance.holm(known))
    comparisons = []
    for a, b, d in found:
        low, high = d.interval
        p_holm = None if d.mcnemar_p_value is None else float(next(corrected))
        is_better = not low <= 0 <= high and (p_holm is None or p_holm < 1 - confidence)
        words = (
            f"{a} is better than {b} on these texts"
            if is_better
            else f"no difference shown between {a} and {b}"
        )
        words += (
            f": they differ by {_amount(d.difference, metric)} ({100 * confidence:g} % interval "
            f"{_range(d.interval, metric)})"
        )
        if p_holm is not None:
            words += (
                f"; only {a} is right on {d.only_a_right:,} texts, only {b} on "
                f"{d.only_b_right:,} (McNemar, p {_p(p_holm)} after Holm)"
            )
        comparisons.append(
            {
                "a": a,
                "b": b,
                "verdict": "better" if is_better else "no difference shown",
                **dataclasses.asdict(d),
                "mcnemar_p_value_holm": p_holm,
                "words": words,
            }
        )
    by_cell: dict[str, list[np.ndarray]] = {}
    for name in scores:
        by_cell.setdefault(cells[name], []).append(contributions[name])
    stacked = {cell: np.stack(each) for cell, each in by_cell.items()}
    has_seeds = any(len(each) > 1 for each in stacked.values()) and len(stacked) > 1
    comparison = Comparison(metric, stacked, confidence=confidence)
    return {
        "metric": metric,
        "num_test": len(next(iter(contributions.values()))),
        "models": [
            {"name": name, "cell": cells[name], "score": float(contributions[name].mean())}
            for name in ordered
        ],
        "comparisons": comparisons,
        "cells": comparison.pairs(list(itertools.combinations(stacked, 2))) if has_seeds else [],
    }
