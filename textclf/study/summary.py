"""Summary of the finished runs: scores, cost and verdicts of each data set, and their limits."""

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from textclf import evaluation
from textclf.study.comparison import (
    BETTER,
    IDENTICAL,
    NO_DIFFERENCE,
    CellComparison,
    Comparison,
    enough_rows,
    sign,
)
from textclf.study.notes import notes
from textclf.study.records import Cost, Result
from textclf.study.runs import Grid, Kind, Run, display_name


class CellSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Scores and cost of a cell.

    Attributes:
        cell: name of the cell.
        name: name for people.
        kind: "network", "linear" or "baseline".
        is_random: True if another seed gives another result.
        seeds: of the finished runs.
        mean: of the scores.
        sd: standard deviation of the scores between seeds; None for one run.
        min: lowest score.
        max: highest score.
        cost: medians over the runs that had the cores to themselves, or over all runs; the time of
            training of a mixture includes the fit of its linear model. None if the cell is one of
            networks alone, whose cost is not measured.
        pareto: costs in which no other cell has an equal or better mean at lower cost.
    """

    cell: str
    name: str
    kind: Kind
    is_random: bool
    seeds: list[int]
    mean: float
    sd: float | None
    min: float
    max: float
    cost: Cost | None
    pareto: list[str]


class DatasetSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Scores and verdicts on one data set.

    Attributes:
        metric: by which cells are compared.
        num_test: number of test texts.
        leaked_test_rows: test texts that also occur in train.
        class_names: in the order of the probabilities.
        splits: number of examples by split.
        fingerprint: of the data.
        cells: the best one first.
        comparisons: of all pairs of cells of the grid.
        with_simple: of each cell of the grid with each simple classifier.
        words: the verdicts as sentences.
        network_alone: the same for the networks of the mixtures without the linear model, which
            have their own temperatures and thresholds; None without mixtures.
    """

    metric: str
    num_test: int
    leaked_test_rows: int
    class_names: list[str]
    splits: dict[str, int]
    fingerprint: str
    cells: list[CellSummary]
    comparisons: list[CellComparison]
    with_simple: list[CellComparison]
    words: list[str]
    network_alone: "DatasetSummary | None" = None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Content of verdicts.json.

    Attributes:
        grid: path of the grid file.
        confidence: of the intervals.
        smallest_difference: the smallest relevant difference, in the unit of the metric.
        notes: limits of the comparison.
        datasets: by name of the data set.
    """

    grid: str
    confidence: float
    smallest_difference: float
    notes: list[str]
    datasets: dict[str, DatasetSummary]


def summarize(grid: Grid, results: Mapping[str, Result], failures: Mapping[str, str]) -> Summary:
    """Return scores, cost and verdicts of the finished runs.

    Args:
        grid: the benchmark.
        results: the finished runs by name, see `folder.finished`.
        failures: the reasons of failed runs by name, see `folder.failures`.
    """
    datasets = {}
    for dataset in dict.fromkeys(run.dataset for run in grid.runs):
        runs = [run for run in grid.runs if run.dataset == dataset and run.name in results]
        if runs:
            datasets[dataset] = msgspec.structs.replace(
                _Dataset(grid, runs, results).summary(),
                network_alone=_of_networks(grid, runs, results),
            )
    return Summary(
        grid=grid.path,
        confidence=grid.confidence,
        smallest_difference=grid.smallest_difference,
        notes=list(notes(grid, results, failures)),
        datasets=datasets,
    )


def _of_networks(
    grid: Grid, runs: Sequence[Run], results: Mapping[str, Result]
) -> DatasetSummary | None:
    """Return the summary of the networks alone; None if no result has their answers."""
    if not any(results[run.name].network_alone for run in runs):
        return None
    alone = {run.name: results[run.name].of_network() for run in runs}
    known = [run for run in runs if run.linear is None or results[run.name].network_alone]
    return _Dataset(grid, known, alone, is_alone=True).summary()


class _Dataset:
    """Finished runs of one data set, by cell."""

    def __init__(
        self,
        grid: Grid,
        runs: Sequence[Run],
        results: Mapping[str, Result],
        *,
        is_alone: bool = False,
    ):
        """
        Args:
            grid: the benchmark.
            runs: the finished runs of the data set.
            results: by name of the run.
            is_alone: True for the results of the networks of mixtures alone.
        """
        self.by_cell: dict[str, list[Result]] = {}
        for run in runs:
            self.by_cell.setdefault(run.cell, []).append(results[run.name])
        grid_cells = {run.cell for run in runs if run.in_grid}
        self.grid_cells = [cell for cell in self.by_cell if cell in grid_cells]
        self.simple_cells = [cell for cell in self.by_cell if cell not in grid_cells]
        self.is_alone = is_alone
        self.linear_of = {run.cell: run.linear.cell for run in runs if run.linear is not None}
        first = results[runs[0].name]
        self.data = first.data
        self.hosts = {results[run.name].machine.host for run in runs}
        task = self.data.task
        self.metric = grid.metric or task.comparison_metrics[0]
        y_true = first.y_true.unpack()
        self.y_true = task.check_classes(y_true, len(y_true))
        self.comparison = Comparison(
            self.metric,
            {
                cell: np.stack([self._contributions(result) for result in cell_results])
                for cell, cell_results in self.by_cell.items()
            },
            fixed={run.cell for run in runs if not run.is_random},
            confidence=grid.confidence,
            smallest_difference=grid.smallest_difference,
            has_enough_rows=enough_rows(task, self.metric, self.y_true),
        )

    def _contributions(self, result: Result) -> np.ndarray:
        """Return the contribution of each test text, float64 [n]."""
        return evaluation.contributions(
            self.data.task,
            self.metric,
            self.y_true,
            result.probabilities.unpack().astype(np.float32),
            result.thresholds,
        )

    def summary(self) -> DatasetSummary:
        comparisons = self.comparison.pairs(list(itertools.combinations(self.grid_cells, 2)))
        with_simple = self.comparison.pairs(
            [
                (cell, simple)
                for cell in self.grid_cells
                for simple in self.simple_cells
                if simple != "majority"
            ]
        )
        cells = [self._cell(cell) for cell in self.by_cell]
        cells.sort(key=lambda cell: -sign(self.metric) * cell.mean)
        return DatasetSummary(
            metric=self.metric,
            num_test=len(self.y_true),
            leaked_test_rows=self.data.leaked_test_rows,
            class_names=self.data.class_names,
            splits=self.data.splits,
            fingerprint=self.data.fingerprint,
            cells=self._with_pareto(cells),
            comparisons=comparisons,
            with_simple=with_simple,
            words=[*self._verdict(comparisons), *self._simple_verdict(with_simple)],
        )

    def _cell(self, cell: str) -> CellSummary:
        results = self.by_cell[cell]
        scores = [result.test[self.metric] for result in results]
        return CellSummary(
            cell=cell,
            name=display_name(cell),
            kind=results[0].kind,
            is_random=cell not in self.comparison.fixed,
            seeds=[result.seed for result in results],
            mean=float(np.mean(scores)),
            sd=float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
            min=min(scores),
            max=max(scores),
            cost=None if self.is_alone else self._cost(cell),
            pareto=[],
        )

    def _cost(self, cell: str) -> Cost:
        """Return the median cost of a cell, with the fit of the linear model of a mixture."""
        cost = _median_cost([result.cost for result in self.by_cell[cell]])
        linear = self.by_cell.get(self.linear_of.get(cell, ""))
        if linear is None:
            return cost
        fit = _median_cost([result.cost for result in linear])
        return msgspec.structs.replace(
            cost,
            training_seconds=cost.training_seconds + fit.training_seconds,
            shared_cores=cost.shared_cores or fit.shared_cores,
        )

    def _with_pareto(self, cells: Sequence[CellSummary]) -> list[CellSummary]:
        """Return the cells with the costs in which they are on the Pareto front."""
        # Times on shared cores or of different machines are not comparable.
        if len(self.hosts) > 1 or any(c.cost is None or c.cost.shared_cores for c in cells):
            return list(cells)
        fronts = {}
        for cost in ("training_seconds", "latency_p50_ms"):
            points = [(-sign(self.metric) * c.mean, getattr(c.cost, cost)) for c in cells]
            fronts[cost] = [
                not any(o[0] <= point[0] and o[1] <= point[1] and o != point for o in points)
                for point in points
            ]
        return [
            msgspec.structs.replace(
                cell, pareto=[cost for cost, on_front in fronts.items() if on_front[index]]
            )
            for index, cell in enumerate(cells)
        ]

    def _verdict(self, comparisons: Sequence[CellComparison]) -> Iterator[str]:
        """Yield sentences on the cells of the grid."""
        if not self.grid_cells:
            yield "No cell of the grid has a finished run, so there is no verdict."
        if not comparisons:
            return
        better = [c for c in comparisons if c.verdict == BETTER]
        if not better:
            yield (
                f"No cell is shown to be better than another by {self.metric} on "
                f"{len(self.y_true):,} test texts."
            )
        for cell in self.grid_cells:
            worse = [display_name(c.b) for c in better if c.a == cell]
            if worse:
                yield f"{display_name(cell)} is better than {_enumerate(worse)}."
        decided = (BETTER, NO_DIFFERENCE, IDENTICAL)
        if undecided := sum(c.verdict not in decided for c in comparisons):
            noun = "comparison is" if undecided == 1 else "comparisons are"
            yield f"{undecided} {noun} undecided (too few seeds or test texts); details below."

    def _simple_verdict(self, with_simple: Sequence[CellComparison]) -> Iterator[str]:
        """Yield sentences on the cells of the grid and the simple classifiers."""
        better = [c for c in with_simple if c.verdict == BETTER]
        mixtures = set() if self.is_alone else self.linear_of.keys() & set(self.grid_cells)
        noun = "recurrent network"
        if mixtures:
            noun = "mixture" if len(mixtures) == len(self.grid_cells) else "cell"
        for simple in self.simple_cells:
            if simple == "majority" or not self.grid_cells:
                continue
            name = display_name(simple)
            winners = [display_name(c.a) for c in better if c.b == simple]
            losers = [display_name(c.b) for c in better if c.a == simple]
            if winners:
                verb = "are" if len(winners) > 1 else "is"
                yield f"{_enumerate(winners)} {verb} better than {name}."
            else:
                yield f"No {noun} is shown to be better than {name}."
            if losers:
                # Only an article is capitalised: "fastText" stays.
                has_article = name.startswith(("a ", "the "))
                first = name[0].upper() if has_article else name[0]
                yield f"{first}{name[1:]} is better than {_enumerate(losers)}."


def _median_cost(costs: Sequence[Cost]) -> Cost:
    """Return the medians of the costs, of those measured on free cores if there are any."""
    alone = [cost for cost in costs if not cost.shared_cores]
    measured = alone or costs
    medians = {}
    for name in Cost.__struct_fields__:
        values = [getattr(cost, name) for cost in measured]
        # Runs of another version may lack a cost.
        if name not in ("shared_cores", "code") and None not in values:
            medians[name] = statistics.median(values)
    codes = {cost.code for cost in measured}
    return Cost(**medians, shared_cores=not alone, code=codes.pop() if len(codes) == 1 else None)


def _enumerate(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
