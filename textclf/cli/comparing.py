"""From many trainings to a verdict: `benchmark` and `compare`."""

import contextlib
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from textclf.cli import options, using
from textclf.cli.terminal import Progress, note_all, say, show_check, stop_on_interrupt
from textclf.errors import ArtifactError, DataError, TrainingError, check_all
from textclf.startup import import_tensorflow, show_status

if TYPE_CHECKING:
    from textclf.artifact import Card
    from textclf.study.grid import Grid, Run

# === benchmark ===


@click.command()
@click.argument("grid_file", metavar="CONFIG", type=options.path)
@click.argument("output", type=options.path)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Runs at a time; with more than one, times are measured again in the end.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be made, and make nothing.")
@click.option("--report-only", is_flag=True, help="Make nothing, and report what is finished.")
@click.option("--retry-failed", is_flag=True, help="Make runs again that failed before.")
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
    """Compare cells over seeds, by the grid that CONFIG describes.

    Every run is a training in a process of its own. Finished runs are kept in the folder OUTPUT,
    and the same command makes what is missing: after Ctrl-C, after a crash, or on several
    machines that share the folder. The verdicts go to stdout: as tables to a terminal, else as
    Markdown.

    \b
    Examples:
      textclf benchmark cells.yaml benchmarks/cells --dry-run
      textclf benchmark cells.yaml benchmarks/cells
      textclf benchmark cells.yaml benchmarks/cells --jobs 4 --json
      textclf benchmark cells.yaml benchmarks/cells --report-only
    """
    if report_only and (dry_run or retry_failed):
        raise click.UsageError("--report-only makes nothing; leave the other flags out")
    if dry_run and as_json:
        raise click.UsageError("--dry-run says what it finds in words; leave --json out")
    show_check()
    from textclf.study import grid as grids
    from textclf.study import output as outputs
    from textclf.study import running, summary, tables

    grid = grids.read(grid_file)
    note_all(grid.notices)
    running.check(grid, output)
    done = running.finished(grid, output)
    failed_before = running.failures(grid, output)
    failed = {} if retry_failed else failed_before
    # Every run is in one of four groups: finished, failed, impossible here, missing.
    without_result = [run for run in grid.runs if run.name not in done]
    not_failed = [run for run in without_result if run.name not in failed]
    missing = [run for run in not_failed if run.can_be_made]
    is_to_make = not report_only and bool(
        missing or failed_before.keys() - failed or running.unmeasured(grid, output)
    )
    if is_to_make:  # of finished runs a report can be made without their data
        _check(grid)
    counts = [
        f"{len(done)} finished",
        f"{len(without_result) - len(not_failed)} failed",
        f"{len(missing)} {'not made' if report_only else 'to make'}",
    ]
    if impossible := len(not_failed) - len(missing):
        counts.insert(2, f"{impossible} impossible here (fastText is not installed)")
    say(f"{len(grid.runs)} runs: {', '.join(counts)}")
    if dry_run:
        _estimate(grid, output, missing, jobs)
        return
    if is_to_make:
        _make(grid, output, missing, jobs, retry_failed)
    results, failed = running.finished(grid, output), running.failures(grid, output)
    if report_only and not results:
        raise ArtifactError(f"{output}: holds no finished run of {grid_file} yet")
    found = summary.summarize(grid, results, failed)
    written = outputs.write(grid, output, results, failed, found)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    elif sys.stdout.isatty():
        click.echo(tables.plain(found, width=shutil.get_terminal_size().columns), nl=False)
    else:
        click.echo(tables.markdown(found), nl=False)
    say(f"written: {', '.join(map(str, written))}")
    without = [run for run in grid.runs if run.can_be_made and run.name not in results]
    if without and not report_only:
        raise TrainingError(
            f"{len(without)} of {len(grid.runs)} runs have no result; the report "
            "says why" + ("; --retry-failed makes them again" if failed else "")
        )


def _check(grid: "Grid") -> None:
    """What can be refused before the first run."""
    from textclf import data
    from textclf.config import check_environment, with_paths

    sources, environments = {}, {}
    for run in grid.runs:
        settings = with_paths(run.config)
        sources[repr(settings.data)] = settings.data.to_dict()
        environments[repr(settings.model) + repr(settings.training.tensorboard)] = settings
    check_all(
        *(lambda arguments=a: data.check_sources(**arguments) for a in sources.values()),
        *(lambda settings=s: check_environment(settings) for s in environments.values()),
    )


def _estimate(grid: "Grid", output: Path, missing: "list[Run]", jobs: int) -> None:
    """Prints the runs that are to be made, and what the first steps of each cell tell of them."""
    from textclf.study import running

    found: dict[tuple[str, str], dict[str, float]] = {}
    with Progress() as progress:
        cells = dict.fromkeys((r.dataset, r.cell) for r in missing if r.kind == "network")
        for done, cell in enumerate(cells):
            progress.update("trying each cell", done, len(cells))
            first = next(run for run in missing if (run.dataset, run.cell) == cell)
            found[cell] = running.estimate(first)
            if first.minutes is not None:
                found[cell]["seconds"] = 60 * first.minutes
    settling = [
        60 * run.minutes
        for run in grid.calibrations
        if run.minutes is not None and not running.is_over(run, output)
    ]
    if settling:
        click.echo(f"{len(settling)} calibrations: {_duration(settling[0])} each")
    total = jobs * sum(settling)  # one at a time, whatever the jobs
    for run in missing:
        known = found.get((run.dataset, run.cell))
        total += known["seconds"] if known else 0
        about = f", {known['peak_memory_mb']:.0f} MiB" if known else ""
        click.echo(f"{run.name}" + (f": {_duration(known['seconds'])}{about}" if known else ""))
    say(
        f"about {_duration(total / jobs)} of training, as far as the first steps tell and without "
        "early stopping; each run also needs about half a minute for export and measuring"
    )


def _make(grid: "Grid", output: Path, missing: "list[Run]", jobs: int, retry_failed: bool) -> None:
    """Make the missing runs and report each one."""
    from textclf.study import running

    times: list[float] = []
    with Progress() as progress, contextlib.ExitStack() as stack:
        should_stop = stack.enter_context(stop_on_interrupt("stopping; finished runs are kept"))
        events = running.make(
            grid, output, jobs=jobs, retry_failed=retry_failed, should_stop=should_stop
        )
        # Its processes end and its claims go with it, also when Ctrl-C comes between two events.
        stack.enter_context(contextlib.closing(events))
        for event in events:
            if isinstance(event, running.Advanced):
                stage = f"{event.run.name}: {event.stage}"
                progress.update(stage, event.done, event.total)
                continue
            progress.clear()
            if isinstance(event, running.Begun):
                if event.taken_over:
                    say(f"{event.run.name}: taken over from {event.taken_over}")
                continue
            if event.run.kind in ("network", "baseline"):
                # Other processes that share the folder may have made some of them.
                over = sum(running.is_over(run, output) for run in missing)
                times.append(event.seconds)
                say(_ended(event, over, len(missing), times, jobs))
            else:
                say(_aside(event))
        if should_stop():
            raise TrainingError(
                "interrupted; what was finished is kept, and the same command goes on from there"
            )


def _ended(event: Any, over: int, total: int, times: list[float], jobs: int) -> str:
    left = (total - over) * sum(times) / len(times) / jobs
    what = f"failed: {event.reason}"
    if event.result is not None:
        name, value = next(iter(event.result["test"].items()))
        what = f"{name} {value:.4f}"
    eta = f", about {_duration(left)} left" if over < total else ""
    return f"{over}/{total} {event.run.name}: {what}, {_duration(event.seconds)}{eta}"


def _aside(event: Any) -> str:
    """What came of a run beside those of the grid."""
    found = f"failed: {event.reason}"
    if event.result is not None:
        found = "measured alone"
        if event.run.kind == "calibration":
            found = f"{event.result['steps']:,} steps in {event.result['seconds']:.0f} s"
    return f"{event.run.name}: {found}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# === compare ===


@click.command()
@click.argument("models", metavar="MODEL MODEL...", nargs=-1, required=True, type=options.path)
@click.option(
    "--data",
    "source",
    metavar="DATA",
    help="What to score them on; default: the data that all of them were trained on.",
)
@options.split_option
@options.set_option
@click.option(
    "--metric",
    help="By what: accuracy (the default where a text has one label), macro_f1 (where it may have "
    "several), micro_f1 (there alone), or log_loss.",
)
@options.json_option
@click.pass_context
def compare(
    context: click.Context,
    models: tuple[Path, ...],
    source: str | None,
    split: str,
    overrides: tuple[str, ...],
    metric: str | None,
    as_json: bool,
) -> None:
    """Compare trained models on the same texts.

    Each MODEL is a trained folder or an exported SavedModel. What is said of two models holds for
    these two. Models that differ in their seed alone are seen as runs of one cell, and where a
    cell has two of them or more, cells are compared too.

    \b
    Examples:
      textclf compare runs/lstm runs/gru
      textclf compare runs/lstm saved_models/gru/1 --data new.csv
      textclf compare runs/lstm-0 runs/lstm-1 runs/gru-0 runs/gru-1 --metric macro_f1
    """
    show_check()
    options.check_sections(overrides, ("data", "evaluation"), "compare")
    names = [str(model) for model in models]
    if len(names) < 2 or len(set(names)) < len(names):
        raise click.UsageError("expected at least two models, each of them once")
    cards = {name: options.read_card(model) for name, model in zip(names, models, strict=True)}
    first = cards[names[0]]
    _check_comparable(cards, source)
    from textclf.config import with_paths

    is_given = context.get_parameter_source("split") is ParameterSource.COMMANDLINE
    resolved, split, where = options.data_to_score(first, source, split, is_given, overrides)
    if source is None:
        using.check_trained_paths(resolved, overrides, "`--data FILE`")
    arguments = options.prepare_sources(with_paths(resolved))
    from textclf.evaluation import contributed

    own = contributed(first.multi_label)
    metric = metric or own[0]
    if metric not in own:
        raise click.UsageError(f"--metric {metric}: not of this task; one of {', '.join(own)} is")
    from textclf import data

    with Progress() as progress:
        progress.stage("reading the data")
        dataset = data.open_dataset(on_progress=progress.update, **arguments)
        progress.clear()
        options.check_split(list(dataset.splits), split)
        import_tensorflow()
        show_status("loading the models")
        from textclf import classifier

        scores = {}
        for name, model in zip(names, models, strict=True):
            predictor = classifier.load_predictor(model)
            scores[name] = _in_order_of(first, predictor, dataset, split, progress)
    from textclf.study import summary

    found = summary.compare_models(
        scores,
        cells=_cells(cards),
        metric=metric,
        confidence=resolved.evaluation.confidence,
        num_resamples=resolved.evaluation.bootstrap_samples,
        seed=resolved.evaluation.seed,
    )
    if as_json:
        click.echo(json.dumps({"data": source, "split": split, **found}, ensure_ascii=False))
        return
    click.echo(f"{metric} on {where}, {found['num_test']:,} texts:\n")
    width = max(map(len, names))
    for model in found["models"]:
        click.echo(f"  {model['name']:<{width}}  {model['score']:.4f}")
    click.echo("\nWhich of these models? (other trainings of the same cells may differ)\n")
    for one in found["comparisons"]:
        click.echo(f"- {one['words']}")
    if found["cells"]:
        click.echo("\nWhich cell? (a run is a training with a seed of its own)\n")
        for one in found["cells"]:
            click.echo(f"- {one['words']}")


def _check_comparable(cards: "dict[str, Card]", source: str | None) -> None:
    """Refuses models that cannot be scored on the same texts.

    Raises:
        DataError: with what differs.
    """
    names = list(cards)
    first = cards[names[0]]
    for name in names[1:]:
        card = cards[name]
        if set(card.class_names) != set(first.class_names) or card.multi_label != first.multi_label:
            raise DataError(
                f"{name}: knows the classes {', '.join(card.class_names)}, and {names[0]} knows "
                f"{', '.join(first.class_names)}; models of one task can be compared"
            )
        if source is None and card.data.get("fingerprint") != first.data.get("fingerprint"):
            raise DataError(
                f"{name}: was trained on other data than {names[0]}; name what to score them on "
                "as --data"
            )


def _in_order_of(
    card: "Card", predictor: Any, dataset: Any, split: str, progress: Progress
) -> tuple[Any, Any, Any]:
    """True classes, probabilities and thresholds, with the classes in the order of a card."""
    import numpy as np

    scores = predictor.score(dataset, split, progress.update)
    order = [predictor.class_names.index(name) for name in card.class_names]
    thresholds = predictor.card.thresholds
    if card.multi_label:
        return scores.y_true[:, order], scores.p[:, order], np.asarray(thresholds)[order]
    place = np.argsort(order)
    return place[scores.y_true], scores.p[:, order], None


def _cells(cards: "dict[str, Card]") -> dict[str, str]:
    """The cell of each model: what differs in nothing but the seed is one."""
    from textclf.study.summary import display_name

    cells: dict[str, str] = {}
    known: dict[str, str] = {}
    for name, card in cards.items():
        training = {
            key: value
            for key, value in card.config["training"].items()
            if key not in ("seed", "cache_dir")
        }
        # The same settings on other data are another cell.
        fingerprint = card.data.get("fingerprint")
        values = repr([card.config["text"], card.config["model"], training, fingerprint])
        if values not in known:
            model = card.config["model"]
            direction = "bi" if model.get("bidirectional") and model["encoder"] != "bag" else ""
            cell = display_name(direction + model["encoder"])
            known[values] = f"{cell} of {name}" if cell in known.values() else cell
        cells[name] = known[values]
    return cells
