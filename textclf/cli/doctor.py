"""Command `doctor`: report on the machine, and on a configuration or a model on it."""

import json
from pathlib import Path
from typing import Any

import click

from textclf.cli import options
from textclf.cli.terminal import output_width, show_check
from textclf.startup import clear_status, show_status


@click.command()
@click.argument("source", metavar="[CONFIG|MODEL]", required=False, type=options.path)
@click.option("--quick", "is_quick", is_flag=True, help="Skip the parts that need TensorFlow.")
@options.json_option
def doctor(source: Path | None, is_quick: bool, as_json: bool) -> None:
    """Report on this machine, and on CONFIG or MODEL on it.

    Reports versions, processor, threads, memory, GPU libraries, and folders with their free space.
    With CONFIG or MODEL, a trained folder or an exported SavedModel, also reports its data, the
    disk space of a training, and which recurrent layers can use cuDNN on a GPU. Problems are listed
    at the end; the exit code is 0 unless CONFIG is invalid or MODEL is damaged.

    \b
    Examples:
      textclf doctor
      textclf doctor --quick
      textclf doctor reviews.yaml
      textclf doctor runs/reviews --json
    """
    show_check()
    from textclf.display import to_text
    from textclf.doctor import diagnose

    values: dict[str, Any] = {}
    width = output_width()
    for section in diagnose(source, is_quick=is_quick):
        clear_status()
        if not as_json:
            click.echo(("\n" if values else "") + to_text(section.document, width), nl=False)
        values[section.key] = section.values
        show_status("examining")
    if as_json:
        clear_status()
        click.echo(json.dumps(values, ensure_ascii=False))
