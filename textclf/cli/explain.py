"""Command `explain`: print how much each word of a text adds to the score of its class."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textclf.cli import options
from textclf.cli.terminal import Progress, output_width, say
from textclf.errors import ArtifactError
from textclf.startup import import_tensorflow, show_status

if TYPE_CHECKING:
    from textclf.analysis import Explanations

# That of `analysis.NUM_STEPS`, whose import would slow down the help.
_NUM_STEPS = 32


@click.command(cls=options.TextCommand)
@click.argument("model", type=options.path)
@click.argument("texts", metavar="TEXT...", nargs=-1, required=True)
@click.option(
    "--class",
    "class_names",
    metavar="NAME",
    multiple=True,
    help="Explain this class; may be repeated.  [default: the predicted class; multi-label: those "
    "that are selected]",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=_NUM_STEPS,
    show_default=True,
    help="Steps of the integrated gradients; more steps reduce the completeness error.",
)
@click.option(
    "--html", type=options.path, metavar="FILE", help="Write a page with coloured texts instead."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing --html FILE.")
@options.json_option
def explain(
    model: Path,
    texts: tuple[str, ...],
    class_names: tuple[str, ...],
    steps: int,
    html: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Print what each word of each TEXT adds to the score of a class.

    MODEL is a trained folder. The parts of all words, the start (a text without words) and the
    completeness error add up to the score of the class: its log-odds; with more than two classes,
    log p minus the mean log p of the other classes. On a terminal, words are coloured. --json
    prints a line of JSON for each text. Put -- before texts that begin with a dash.

    \b
    Examples:
      textclf explain runs/reviews "not bad at all"
      textclf explain runs/topics --class sport --class economy "The club sold its stadium"
      textclf explain runs/reviews --html words.html "not bad at all" "never again"
    """
    texts = tuple(options.argument_text(text, "TEXT") for text in texts)
    names = tuple(options.argument_text(name, "--class") for name in class_names)
    if overwrite and html is None:
        raise click.UsageError("--overwrite applies only to --html; omit it")
    if as_json and html is not None:
        raise click.UsageError("use either --json or --html, not both")
    _check(model, names, html, overwrite=overwrite)
    import_tensorflow()
    show_status("loading the model")
    from textclf import classifier

    loaded = classifier.load(model)
    with Progress() as progress:
        if len(texts) > 1:
            progress.stage("explaining texts")
        else:
            show_status("explaining the text")
        explanations = loaded.explain(
            texts,
            class_names=names or None,
            num_steps=steps,
            on_progress=progress.update if len(texts) > 1 else lambda *counts: None,
        )
    if html is not None:
        _write_page(explanations, html, title=str(model), overwrite=overwrite)
        return
    _print(explanations, as_json=as_json)


def _check(model: Path, class_names: Sequence[str], html: Path | None, *, overwrite: bool) -> None:
    """Check the folder, the names of classes and the output, without TensorFlow."""
    from textclf import analysis, artifact
    from textclf.artifact.folders import check_page
    from textclf.errors import check_all

    def check_model() -> None:
        version = artifact.exported_version(model)
        if version is not None:
            raise ArtifactError(f"{version}: {analysis.EXPORT_NOT_EXPLAINED}")
        analysis.class_ids_of(class_names, artifact.read_card(model).class_names)

    checks = [check_model]
    if html is not None:
        checks.append(lambda: check_page(html, overwrite=overwrite))
    check_all(*checks)


def _write_page(explanations: "Explanations", html: Path, *, title: str, overwrite: bool) -> None:
    from textclf import analysis, artifact
    from textclf.artifact.folders import existing_file
    from textclf.display import count_of

    page = analysis.explanation_page(explanations, title)
    if not artifact.write_file(html, page, replace=overwrite):
        raise existing_file(html)
    say(f"{html}: {count_of(len(explanations), 'text')}")


def _print(explanations: "Explanations", *, as_json: bool) -> None:
    if as_json:
        for explanation in explanations:
            click.echo(json.dumps(explanation.to_dict(), ensure_ascii=False))
        return
    from textclf import analysis
    from textclf.analysis.coloured import LEGEND

    has_colours = _has_colours()
    parts = [
        analysis.format_explanation(explanation, width=output_width(), has_colours=has_colours)
        for explanation in explanations
    ]
    click.echo("\n".join(parts), nl=False, color=has_colours)
    if has_colours:
        say(LEGEND)
    for sentence in _notes(explanations):
        say(f"note: {sentence}")


def _has_colours() -> bool:
    """Return whether stdout is a terminal with colours; see https://no-color.org."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _notes(explanations: "Sequence") -> list[str]:
    """Return sentences on errors of the attribution."""
    notes = []
    attributions = [part for explanation in explanations for part in explanation.attributions]
    # Relative to the parts: a score near zero can be the sum of large ones.
    if any(
        abs(part.completeness_error) > 0.05 * max(sum(map(abs, part.totals)), 0.1)
        for part in attributions
    ):
        notes.append("a completeness error is above 5 % of the parts; use more --steps")
    return notes
