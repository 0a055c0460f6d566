"""Command `calibrate`: fit the decision of a trained folder again, without training."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textclf.cli import options
from textclf.cli.terminal import Progress, note_all, output_width, show_check
from textclf.startup import import_tensorflow, show_status

if TYPE_CHECKING:
    from textclf.recalibration import CalibrationResult

_SHARE = click.FloatRange(0, 1, min_open=True)
# Those of `tasks`, whose import would slow down the help.
_THRESHOLD_METRICS = ("macro_f1", "micro_f1")
_NAMES = ("precision", "coverage", "maximize", "positive", "each_label", "recall", "beta", "cost")


@click.command()
@click.argument("model", type=options.path)
@click.option(
    "--precision",
    type=_SHARE,
    help="Abstain so that at least this share of the answers on validation is correct. With "
    "--positive or --each-label: minimum precision of the class or of each label.",
)
@click.option(
    "--coverage",
    type=_SHARE,
    help="Abstain so that at least this share of validation is answered.",
)
@click.option(
    "--maximize",
    type=click.Choice(_THRESHOLD_METRICS),
    help="Multi-label: metric of the thresholds.  [default: macro_f1]",
)
@click.option(
    "--positive",
    metavar="CLASS",
    help="Two classes: predict CLASS at or above a threshold; needs one of --precision, --recall, "
    "--beta and --cost.",
)
@click.option("--each-label", is_flag=True, help="Multi-label: apply --precision to each label.")
@click.option("--recall", type=_SHARE, help="Minimum recall of the class or of each label.")
@click.option(
    "--beta",
    type=click.FloatRange(0, min_open=True),
    help="Maximize F-beta; above 1, recall matters more than precision.",
)
@click.option(
    "--cost",
    type=(click.FloatRange(0, min_open=True), click.FloatRange(0, min_open=True)),
    metavar="FALSE_POSITIVE FALSE_NEGATIVE",
    help="Minimize the sum of the costs of errors.",
)
@click.option(
    "--output", type=options.path, metavar="FOLDER", help="Write a copy and do not change MODEL."
)
@click.option("--overwrite", is_flag=True, help="Replace FOLDER if it is a trained folder.")
@options.set_option
@options.json_option
def calibrate(
    model: Path,
    precision: float | None,
    coverage: float | None,
    maximize: str | None,
    positive: str | None,
    each_label: bool,
    recall: float | None,
    beta: float | None,
    cost: tuple[float, float] | None,
    output: Path | None,
    overwrite: bool,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Fit the decision of MODEL again, without training.

    The decision is the temperature, the thresholds and the confidence below which MODEL abstains;
    without --precision and --coverage, MODEL never abstains. MODEL is a trained folder. Its card is
    replaced and keeps the former decision under "history"; its weights do not change. The decision
    is fitted to the validation split of the training data; if the data were moved, add --set
    data.source=PATH. Export the folder again to serve the new decision.

    With two classes, --positive CLASS and a target choose the threshold at which CLASS is
    predicted; without them, the most probable class is predicted. With several labels, a target
    chooses the threshold of each label. --precision 0.9 and --recall 0.9 mean that the one-sided
    90 % lower bound on validation is at least 0.9. `textclf thresholds` prints the figures at many
    thresholds.

    \b
    Examples:
      textclf calibrate runs/reviews --precision 0.95
      textclf calibrate runs/reviews --coverage 0.9 --output runs/careful
      textclf calibrate runs/topics --maximize micro_f1
      textclf calibrate runs/spam --positive spam --precision 0.98
      textclf calibrate runs/spam --positive spam --cost 1 20
    """
    show_check()
    options.check_sections(overrides, ("data",), "calibrate")
    if precision is not None and coverage is not None:
        raise click.UsageError("use either --precision or --coverage, not both")
    if overwrite and output is None:
        raise click.UsageError("--overwrite applies only to --output; omit it")
    from textclf import recalibration

    if positive is not None:
        positive = options.argument_text(positive, "--positive")
    with options.errors_with_options(*_NAMES):
        plan = recalibration.check(
            model,
            precision=precision,
            coverage=coverage,
            maximize=maximize,
            positive=positive,
            each_label=each_label,
            recall=recall,
            beta=beta,
            cost=cost,
            output=output,
            overwrite=overwrite,
            overrides=overrides,
        )
    note_all(plan.notices)
    with Progress() as progress:
        progress.stage("reading the data")
        dataset = recalibration.open_data(plan, progress.update)
        progress.clear()
        import_tensorflow()
        show_status("loading the model")
        result = recalibration.refit(plan, dataset, progress.update)
    note_all(result.notices[len(plan.notices) :])
    _print(model, result, as_json=as_json)


def _print(model: Path, result: "CalibrationResult", *, as_json: bool) -> None:
    if as_json:
        import msgspec

        values = {"model": str(model), **msgspec.to_builtins(result, enc_hook=str)}  # a path
        click.echo(json.dumps(values, ensure_ascii=False))
        return
    from textclf.report import format_calibration

    text = format_calibration(
        (result.former, result.former_report),
        (result.decision, result.report),
        title=str(result.folder),
        width=output_width(),
    )
    click.echo(text, nl=False)
