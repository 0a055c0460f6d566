"""Commands `config show`, `config check` and `config schema`."""

import json
from pathlib import Path

import click

from textclf.cli import options
from textclf.errors import ConfigError


@click.group()
def config() -> None:
    """Show, check and describe configurations.

    \b
    Examples:
      textclf config check configs/*.yaml
      textclf config show reviews.yaml --set model.encoder=gru
      textclf config schema > textclf.schema.json
    """


@config.command("show")
@click.argument("file", metavar="CONFIG", type=options.path)
@options.set_option
@options.json_option
def config_show(file: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print all settings of CONFIG, including defaults.

    \b
    Examples:
      textclf config show reviews.yaml
      textclf config show reviews.yaml --set model.encoder=gru --json
    """
    from textclf.config import to_yaml

    values = options.load_config(file, overrides).to_dict()
    text = json.dumps(values, ensure_ascii=False) if as_json else to_yaml(values).rstrip("\n")
    click.echo(text)


@config.command("check")
@click.argument("files", metavar="CONFIG...", nargs=-1, required=True, type=options.path)
@options.set_option
def config_check(files: tuple[Path, ...], overrides: tuple[str, ...]) -> None:
    """Check configurations and report all errors; the data are not read.

    \b
    Examples:
      textclf config check reviews.yaml
      textclf config check configs/*.yaml --set training.epochs=3
    """
    problems: list[str] = []
    for file in files:
        try:
            options.load_config(file, overrides)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    for file in files:
        click.echo(f"{file}: ok")


@config.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of a configuration, for editors.

    \b
    Examples:
      textclf config schema > textclf.schema.json
    """
    from textclf.config import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
