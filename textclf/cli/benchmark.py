"""Command `benchmark`: compare architectures over seeds."""

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textclf.cli import options
from textclf.cli.terminal import (
    Progress,
    note_all,
    output_width,
    say,
    show_check,
    stop_on_interrupt,
)
from textclf.errors import ArtifactError, TrainingError

if TYPE_CHECKING:
    from textclf.study.folder import Status
    from textclf.study.running import Ended
    from textclf.study.runs import Grid, Run
    from textclf.study.summary import Summary


@click.command()
@click.argument("grid_file", metavar="CONFIG", type=options.path)
@click.argument("output", type=options.path)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Number of parallel runs. With more than one, times are measured again at the end.",
)
@click.option("--dry-run", is_flag=True, help="Print the missing runs and execute nothing.")
@click.option("--report-only", is_flag=True, help="Report the finished runs and execute nothing.")
@click.option("--retry-failed", is_flag=True, help="Execute failed runs again.")
@options.json_option
def benchmark(
    grid_file: Path,
    output: Path,
    jobs: int,
    dry_run: bool,
    report_only: bool,
    retry_failed: bool,
    as_json: bool,
) -> None:
    """Compare architectures over several seeds.

    CONFIG is a grid of settings, data sets and seeds. Each run is a training in its own process.
    Finished runs are kept in the folder OUTPUT. The same command executes the missing ones: after
    Ctrl-C, after a crash, or on several machines that share the folder. The verdicts go to stdout:
    tables on a terminal, otherwise Markdown.

    \b
    Examples:
      textclf benchmark cells.yaml benchmarks/cells --dry-run
      textclf benchmark cells.yaml benchmarks/cells
      textclf benchmark cells.yaml benchmarks/cells --jobs 4 --json
      textclf benchmark cells.yaml benchmarks/cells --report-only
    """
    if report_only and (dry_run or retry_failed):
        raise click.UsageError("--report-only executes nothing; omit the other flags")
    if dry_run and as_json:
        raise click.UsageError("--dry-run prints text; omit --json")
    show_check()
    from textclf.study import folder, running, summary
    from textclf.study import grid as grids
    from textclf.study import output as outputs

    grid = grids.read(grid_file)
    note_all(grid.notices)
    folder.check(grid, output)
    status = folder.status(grid, output, retry_failed=retry_failed)
    has_work = status.has_work and not report_only
    if has_work:  # a report of finished runs does not need their data
        running.check_data(grid)
    say(_counts(grid, status, "missing" if report_only else "to execute"))
    if dry_run:
        _print_plan(grid, output, status.missing, jobs)
        return
    if has_work:
        _execute(grid, output, status.missing, jobs, retry_failed)
    results, failures = folder.finished(grid, output), folder.failures(grid, output)
    if report_only and not results:
        raise ArtifactError(f"{output}: contains no finished run of {grid_file}")
    report = summary.summarize(grid, results, failures)
    written = outputs.write(grid, output, results, failures, report)
    _print_report(report, as_json)
    say(f"written: {', '.join(map(str, written))}")
    missing = [run for run in grid.runs if run.is_available and run.name not in results]
    if missing and not report_only:
        raise TrainingError(
            f"{len(missing)} of {len(grid.runs)} runs have no result; see the report for the "
            "reasons" + ("; --retry-failed executes them again" if failures else "")
        )


def _counts(grid: "Grid", status: "Status", missing: str) -> str:
    counts = [f"{len(status.finished)} finished", f"{len(status.failed)} failed"]
    if status.unavailable:
        counts.append(f"{len(status.unavailable)} not possible (fastText is not installed)")
    counts.append(f"{len(status.missing)} {missing}")
    return f"{len(grid.runs)} runs: {', '.join(counts)}"


def _print_plan(grid: "Grid", output: Path, missing: "list[Run]", jobs: int) -> None:
    """Print the missing runs with their estimated time and memory."""
    from textclf.study import running

    with Progress() as progress:
        plan = running.plan(grid, output, missing, jobs=jobs, on_progress=progress.update)
    if plan.calibration_seconds:
        duration = _duration(plan.calibration_seconds[0])
        click.echo(f"{len(plan.calibration_seconds)} calibrations: {duration} each")
    for run, estimate in plan.runs:
        if estimate is None:
            click.echo(run.name)
        else:
            duration = _duration(estimate.seconds)
            click.echo(f"{run.name}: {duration}, {estimate.peak_memory_mb:.0f} MiB")
    say(
        f"about {_duration(plan.total_seconds)} of training, estimated from the first steps and "
        "without early stopping; each run needs about half a minute more for export and measuring"
    )


def _execute(
    grid: "Grid", output: Path, missing: "list[Run]", jobs: int, retry_failed: bool
) -> None:
    """Execute the missing runs and report each of them on stderr."""
    from textclf.study import folder, running

    durations: list[float] = []
    with Progress() as progress, contextlib.ExitStack() as stack:
        should_stop = stack.enter_context(stop_on_interrupt("stopping; finished runs are kept"))
        events = running.execute(
            grid, output, jobs=jobs, retry_failed=retry_failed, should_stop=should_stop
        )
        # Closing kills the workers and releases their claims, also if Ctrl-C comes between events.
        stack.enter_context(contextlib.closing(events))
        for event in events:
            if isinstance(event, running.Advanced):
                progress.update(f"{event.run.name}: {event.stage}", event.done, event.total)
                continue
            progress.clear()
            if isinstance(event, running.Started):
                if event.taken_over:
                    say(f"{event.run.name}: taken over from {event.taken_over}")
            elif event.run.kind in ("network", "linear", "baseline"):
                # Other processes that share the folder may have executed some of them.
                num_over = sum(folder.is_over(run, output) for run in missing)
                durations.append(event.seconds)
                mean = sum(durations) / len(durations)
                seconds_left = (len(missing) - num_over) * mean / jobs
                eta = f", about {_duration(seconds_left)} left" if num_over < len(missing) else ""
                duration = _duration(event.seconds)
                say(f"{num_over}/{len(missing)} {_outcome(event)}, {duration}{eta}")
            else:
                say(_outcome(event))
        if should_stop():
            raise TrainingError(
                "interrupted; finished runs are kept, and the same command continues from there"
            )


def _outcome(event: "Ended") -> str:
    """Return the name of a run and its outcome."""
    from textclf.study.records import Calibration, Result

    outcome = "measured alone"
    if event.record is None:
        outcome = f"failed: {event.reason}"
    elif isinstance(event.record, Result):
        name, value = next(iter(event.record.test.items()))
        outcome = f"{name} {value:.4f}"
    elif isinstance(event.record, Calibration):
        outcome = f"{event.record.steps:,} steps in {event.record.seconds:.0f} s"
    return f"{event.run.name}: {outcome}"


def _print_report(report: "Summary", as_json: bool) -> None:
    from textclf.study import tables

    if as_json:
        import msgspec

        click.echo(json.dumps(msgspec.to_builtins(report), ensure_ascii=False))
    elif sys.stdout.isatty():
        click.echo(tables.plain(report, width=output_width()), nl=False)
    else:
        click.echo(tables.markdown(report), nl=False)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
