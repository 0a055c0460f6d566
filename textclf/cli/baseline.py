"""Command `baseline`: fit and evaluate simple classifiers."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textclf.cli import options
from textclf.cli.terminal import Progress, say, show_check

if TYPE_CHECKING:
    from textclf.config import Config
    from textclf.data import Dataset


@click.command()
@click.argument("config_file", metavar="CONFIG", type=options.path)
@options.set_option
@options.split_option
@options.json_option
def baseline(config_file: Path, overrides: tuple[str, ...], split: str, as_json: bool) -> None:
    """Fit and evaluate simple classifiers for comparison.

    These are the majority class, TF-IDF + logistic regression, and fastText if it is installed,
    on the data of CONFIG. No files are written.

    \b
    Examples:
      textclf baseline reviews.yaml
      textclf baseline reviews.yaml --json --split validation
    """
    show_check()
    from textclf.config import with_paths

    resolved = options.load_config(config_file, overrides)
    section = options.prepare_sources(with_paths(resolved))
    from textclf import baselines, data
    from textclf.report import format_comparison, format_report

    with Progress() as progress:
        progress.stage("reading the data")
        dataset = data.open_dataset(section, on_progress=progress.update)
        options.check_split(list(dataset.splits), split)
        texts, y = baselines.texts_and_classes(dataset, "train", progress.update)
        split_texts, y_true = baselines.texts_and_classes(dataset, split, progress.update)
    leaked = dataset.leaked(split)
    has_leaked = 0 < leaked.sum() < len(leaked)
    reports, described, without_leaked, seconds = {}, {}, {}, {}
    for name in baselines.available():
        started = time.monotonic()
        say(f"fitting {name} on {len(texts):,} texts")
        model = baselines.fit(
            name,
            texts,
            y,
            class_names=dataset.class_names,
            multi_label=dataset.multi_label,
            unit="character" if resolved.text.unit == "character" else "auto",
            seed=resolved.training.seed,
        )
        p = model.predict_proba(split_texts)
        seconds[name] = time.monotonic() - started
        described[name] = model.describe()
        reports[name] = _report(dataset, y_true, p, resolved)
        if has_leaked:
            without_leaked[name] = _report(dataset, y_true[~leaked], p[~leaked], resolved)
    if as_json:
        values = {
            name: {
                "description": described[name],
                "seconds": round(seconds[name], 1),
                "report": report.to_dict(),
                "without_leaked": without_leaked[name].to_dict() if has_leaked else None,
            }
            for name, report in reports.items()
        }
        click.echo(json.dumps({"split": split, "baselines": values}, ensure_ascii=False))
        return
    click.echo(format_comparison(reports), nl=False)
    if has_leaked:
        click.echo(f"\nWithout the {leaked.sum():,} {split} rows whose text is also in train:\n")
        click.echo(format_comparison(without_leaked), nl=False)
    click.echo(f"\nmajority: {described['majority']}")
    for name, report in reports.items():
        if name == "majority":  # a whole page of one answer says no more
            continue
        click.echo("\n" + format_report(report, title=f"{name}, {described[name]}"), nl=False)


def _report(dataset: "Dataset", y_true: Any, p: Any, config: "Config") -> Any:
    from textclf import evaluation

    return evaluation.evaluate(
        y_true,
        p,
        class_names=dataset.class_names,
        multi_label=dataset.multi_label,
        **config.evaluation.to_dict(),
    )
