"""From a trained folder on: `evaluate`, `export`, `verify` and `info`."""

import json
import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from textclf.cli import options
from textclf.cli.terminal import Progress, say, show_check
from textclf.errors import DataError, TextclfError
from textclf.startup import import_tensorflow, show_status

if TYPE_CHECKING:
    from textclf.artifact import Card
    from textclf.config import Config
    from textclf.evaluation import Report

# === evaluate ===


@click.command()
@click.argument("model", type=options.path)
@click.argument("source", metavar="[DATA]", required=False)
@options.split_option
@options.set_option
@options.json_option
@click.option(
    "--require",
    "requirements",
    multiple=True,
    metavar="METRIC=VALUE",
    help="Exit with 1 if METRIC is worse than VALUE; may be repeated.",
)
@click.pass_context
def evaluate(
    context: click.Context,
    model: Path,
    source: str | None,
    split: str,
    overrides: tuple[str, ...],
    as_json: bool,
    requirements: tuple[str, ...],
) -> None:
    """Report how good MODEL is on DATA.

    DATA defaults to the data the model was trained on. MODEL is a trained folder or an exported
    SavedModel. DATA is a file whose rows are all scored, or anything else that data.source may
    be. Classes are matched by name. What --require asks of a metric is the least it may be, of
    a loss or an error the most.

    \b
    Examples:
      textclf evaluate runs/reviews
      textclf evaluate runs/reviews new.csv --set data.label_column=stars
      textclf evaluate saved_models/reviews/1 --json --require macro_f1=0.85
    """
    show_check()
    options.check_sections(overrides, ("data", "evaluation"), "evaluate")
    card = options.read_card(model)
    needed = [_requirement(text, card) for text in requirements]
    from textclf.config import with_paths

    is_given = context.get_parameter_source("split") is ParameterSource.COMMANDLINE
    resolved, split, where = options.data_to_score(card, source, split, is_given, overrides)
    if source is None:
        check_trained_paths(
            resolved, overrides, f"`textclf evaluate {shlex.quote(str(model))} FILE`"
        )
    section = options.prepare_sources(with_paths(resolved))
    from textclf import data

    with Progress() as progress:
        progress.stage("reading the data")
        dataset = data.open_dataset(section, on_progress=progress.update)
        progress.clear()
        options.check_split(list(dataset.splits), split)
        dropped = dataset.findings.dropped_unknown_labels.get(split, 0)
        if dropped:
            rows = "1 row is" if dropped == 1 else f"{dropped:,} rows are"
            say(f"note: {rows} left out for labels that the model does not know")
        if source is None and dataset.fingerprint != card.data.fingerprint:
            say(
                "note: these are not the data of the training, or they changed since; rows of "
                "this split may have been trained on"
            )
        import_tensorflow()
        show_status("loading the model")
        from textclf import classifier

        predictor = classifier.load_predictor(model)
        scores = predictor.score(dataset, split, progress.update)
    settings = resolved.evaluation.to_dict()
    report = predictor.report(scores, **settings)
    leaked, clean = dataset.leaked(split), None
    if split != "train" and 0 < leaked.sum() < len(leaked):
        kept = classifier.Scores(*(values[~leaked] for values in scores))
        clean = predictor.report(kept, **settings)
    if as_json:
        values = {
            "model": str(model),
            "data": source,
            "split": split,
            "dropped_unknown_labels": dropped,
            "report": report.to_dict(),
            "without_leaked": None if clean is None else clean.to_dict(),
        }
        click.echo(json.dumps(values, ensure_ascii=False))
    else:
        from textclf.report import format_report

        click.echo(format_report(report, title=f"{model} on {where}"), nl=False)
        if clean is not None:
            first = "micro_f1" if card.multi_label else "accuracy"
            click.echo(
                f"\nWithout the {leaked.sum():,} rows whose text stands in train: "
                f"{first.replace('_f1', ' F1')} {clean.get(first):.4f}, "
                f"macro F1 {clean.get('macro_f1'):.4f}"
            )
    _check_requirements(report, needed)


def check_trained_paths(config: "Config", overrides: Sequence[str], other_data: str) -> None:
    """Check that the files and folders of the training are where a card says.

    Args:
        config: of the card, with the overrides.
        other_data: the command that names other data, for the message.

    Raises:
        DataError: with every path of the card that does not exist; paths of overrides are the
            user's own.
    """
    from textclf.config import paths, resolve_path

    overridden = {override.partition("=")[0].strip() for override in overrides}
    missing = {
        setting: path
        for setting, path in paths(config).items()
        if setting.startswith("data.")
        and setting not in overridden
        and not os.path.exists(resolve_path(path, setting))
    }
    if not missing:
        return
    is_relative = any(
        not os.path.isabs(resolve_path(path, setting)) for setting, path in missing.items()
    )
    sets = " ".join(f"--set {setting}=PATH" for setting in missing)
    raise DataError(
        f"{', '.join(missing.values())}: no such file or folder"
        + (f" in {os.getcwd()}" if is_relative else "")
        + f"; the model was trained with {' and '.join(missing)} at this path; "
        + ("run the command in the folder of the training, or " if is_relative else "")
        + f"name the data: {other_data} or {sets}"
    )


def _requirement(text: str, card: "Card") -> tuple[str, float]:
    """A metric's name and the value it has to reach, checked before the long work."""
    name, _, written = text.partition("=")
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise click.UsageError(
            f"--require {text}: expected METRIC=VALUE, for instance macro_f1=0.85"
        )
    known = card.validation.metrics if card.validation else {}
    if known and name not in known:
        raise click.UsageError(
            f"--require {text}: no metric {name!r}; there are {', '.join(known)}"
        )
    if name != "log_loss" and not 0 <= value <= 1:
        raise click.UsageError(f"--require {text}: {name} lies between 0 and 1")
    return name, value


def _check_requirements(report: "Report", needed: list[tuple[str, float]]) -> None:
    failed = []
    for name, value in needed:
        try:
            found = report.get(name)
        except DataError as error:  # no ROC-AUC of one class
            failed.append(f"{name}={value:g} is required: {error}")
            continue
        if name.endswith(("_loss", "_error")):
            if not found <= value:
                failed.append(f"{name} is {found:.4f}, above the required {value:g}")
        elif not found >= value:
            failed.append(f"{name} is {found:.4f}, below the required {value:g}")
    if failed:
        raise TextclfError("\n".join(failed))


# === export, verify, info ===


@click.command()
@click.argument("model", type=options.path)
@click.argument("output", type=options.path)
@click.option("--version", type=click.IntRange(min=1), help="Default: the largest there + 1.")
def export(model: Path, output: Path, version: int | None) -> None:
    """Write MODEL as the verified SavedModel OUTPUT/VERSION.

    MODEL is a trained folder. The SavedModel takes raw strings, loads with TensorFlow alone, and
    is verified in a fresh process before it appears. Prints its path.

    \b
    Examples:
      textclf export runs/reviews saved_models/reviews
      textclf export runs/reviews saved_models/reviews --version 7
    """
    click.echo(run_export(model, output, version))


def run_export(model: Path, output: Path, version: int | None) -> Path:
    """Exports and verifies; returns the version's folder."""
    show_status("checking the model and the output")
    from textclf import artifact

    card = artifact.read_card(model)
    from textclf import saved_model

    saved_model.check(output, version)
    import_tensorflow()
    show_status("loading the model")
    from textclf import classifier

    loaded = classifier.load(model)
    say("writing the SavedModel and verifying it in a fresh process")
    golden = card.config["export"]["golden_texts"]
    return saved_model.export(loaded, output, version=version, golden_texts=golden)


@click.command("verify")
@click.argument("saved_model", type=options.path)
def verify_command(saved_model: Path) -> None:
    """Check the files and the golden samples of SAVED_MODEL.

    SAVED_MODEL is a version, or a folder of versions, of which the newest is checked.

    \b
    Examples:
      textclf verify saved_models/reviews/1
      textclf verify saved_models/reviews
    """
    with Progress() as progress:
        progress.update("answering the golden samples in a fresh process", 0, 0)
        from textclf import artifact
        from textclf.saved_model import CHECKSUMS, verify

        is_version = os.path.exists(saved_model / CHECKSUMS)
        version = saved_model if is_version else artifact.find_export(saved_model)
        count = verify(version)
    click.echo(f"{version}: verified, {count} golden samples")


@click.command()
@click.argument("model", type=options.path)
def info(model: Path) -> None:
    """Print the card of MODEL as JSON.

    MODEL is a trained folder or an exported SavedModel.

    \b
    Examples:
      textclf info runs/reviews
      textclf info saved_models/reviews/1
    """
    click.echo(options.read_card(model).to_json(), nl=False)
