"""Notes on the limits of a benchmark: missing runs, failures, different code or machines."""

from collections.abc import Iterator, Mapping

from textclf.errors import install_command
from textclf.study.records import Result
from textclf.study.runs import Grid


def notes(grid: Grid, results: Mapping[str, Result], failures: Mapping[str, str]) -> Iterator[str]:
    """Yield the limits of the comparison as sentences without a full stop.

    Args:
        grid: the benchmark.
        results: the finished runs by name.
        failures: the reasons of failed runs by name.
    """
    yield from _budget_notes(grid, results)
    yield from _missing_notes(grid, results, failures)
    yield from _mixture_notes(grid, results)
    for name, reason in failures.items():
        yield f"{name} failed: {reason}"
    for name, result in results.items():
        if result.ended_by == "not finite":
            yield f"{name} ended early because its loss or a gradient was not finite"
    yield from _version_notes(results)
    yield from _machine_notes(results)
    for name, result in results.items():
        if result.test_reads > 1:
            yield (
                f"{name} read the test split {result.test_reads} times, because it was started "
                "again"
            )
    yield from _vocabulary_notes(grid, results)


def _budget_notes(grid: Grid, results: Mapping[str, Result]) -> Iterator[str]:
    if grid.budget.weights is not None:
        yield f"each cell has about {grid.budget.weights:,} weights in its recurrent layers"
    if grid.budget.minutes is not None:
        yield (
            f"each cell trains for at most the steps that it made in {grid.budget.minutes:g} "
            "minutes"
        )
    calibrations = [r.calibration for r in results.values() if r.calibration is not None]
    if (num_hosts := len({c.machine.host for c in calibrations})) > 1:
        yield (
            f"times were converted to steps on {num_hosts} machines, so the budgets differ slightly"
        )


def _missing_notes(
    grid: Grid, results: Mapping[str, Result], failures: Mapping[str, str]
) -> Iterator[str]:
    missing = [run for run in grid.runs if run.name not in results and run.name not in failures]
    if num_available := sum(run.is_available for run in missing):
        yield f"{num_available} of {len(grid.runs)} runs are missing"
    if num_available < len(missing):
        yield (
            "fastText is not compared because it is not installed; install it with "
            f"{install_command('fasttext')}"
        )


def _mixture_notes(grid: Grid, results: Mapping[str, Result]) -> Iterator[str]:
    mixtures = [results[run.name] for run in grid.runs if run.linear and run.name in results]
    if num_old := sum(result.network_alone is None for result in mixtures):
        yield (
            f"{num_old} of {len(mixtures)} mixtures were trained by an older version, which did "
            "not score the network alone"
        )


def _version_notes(results: Mapping[str, Result]) -> Iterator[str]:
    code = {result.code for result in results.values()}
    if len(code) > 1:
        yield f"the runs were executed with {len(code)} versions of the code of textclf"
    if any(r.cost.code not in (None, r.code) for r in results.values()):
        yield "the cost was measured with another version of the code of textclf than the scores"
    versions = {tuple(sorted(r.versions.items())) for r in results.values() if r.kind == "network"}
    if len(versions) > 1:
        yield f"the runs were executed with {len(versions)} sets of library versions"


def _machine_notes(results: Mapping[str, Result]) -> Iterator[str]:
    hosts = {result.machine.host for result in results.values()}
    if len(hosts) > 1:
        yield f"the runs were executed on {len(hosts)} machines; their times are not comparable"
    is_shared: dict[tuple[str, str], list[bool]] = {}
    for result in results.values():
        is_shared.setdefault((result.dataset, result.cell), []).append(result.cost.shared_cores)
    if any(all(cell) for cell in is_shared.values()):
        yield "some times and latencies were measured on shared cores and are not comparable"
    elif any(any(cell) for cell in is_shared.values()):
        yield "times and latencies are those of the runs that had the cores to themselves"


def _vocabulary_notes(grid: Grid, results: Mapping[str, Result]) -> Iterator[str]:
    vocabularies: dict[tuple[str, str], set[str | None]] = {}
    for run in grid.runs:
        if run.name in results and run.kind == "network":
            key = run.dataset, str(sorted(run.config.text.to_dict().items()))
            vocabularies.setdefault(key, set()).add(results[run.name].vocabulary)
    if any(len(hashes) > 1 for hashes in vocabularies.values()):
        yield "runs of one data set have different vocabularies"
