"""Command `lr-find`: suggest a learning rate from the loss at rising rates."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textclf.cli import options
from textclf.cli.terminal import Progress, say, show_check
from textclf.errors import ConfigError
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.training import RangeTest


@click.command("lr-find")
@click.argument("config_path", metavar="CONFIG", type=options.path)
@options.set_option
@click.option("--plot", type=options.path, help="Write the losses as a picture (.png or .svg).")
@click.option("--from", "min_rate", type=float, default=1e-5, show_default=True)
@click.option("--to", "max_rate", type=float, default=1.0, show_default=True)
@click.option("--steps", type=int, default=200, show_default=True)
@options.json_option
def lr_find(
    config_path: Path,
    overrides: tuple[str, ...],
    plot: Path | None,
    min_rate: float,
    max_rate: float,
    steps: int,
    as_json: bool,
) -> None:
    """Train for some steps with a rising learning rate and suggest a rate.

    The suggestion is where the training loss falls fastest. Above the highest stable rate, the loss
    rises. The test reads the training split only, and writes nothing but the picture.

    \b
    Examples:
      textclf lr-find reviews.yaml
      textclf lr-find reviews.yaml --plot rates.png --steps 300
      textclf lr-find reviews.yaml --set training.optimizer=sgd --from 1e-3 --to 100
    """
    show_check()
    config = options.load_config(config_path, overrides)
    if plot is not None and plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ConfigError([f"{plot}: is not a picture by its ending; use .png or .svg"])
    if plot is not None and not plot.parent.is_dir():
        raise ConfigError([f"{plot}: the folder {plot.parent} does not exist; create it first"])
    import_tensorflow()
    from textclf import training

    with Progress() as progress:
        progress.stage("reading the data")
        test = training.find_learning_rate(
            config,
            min_rate=min_rate,
            max_rate=max_rate,
            num_steps=steps,
            on_progress=progress.update,
        )
    if plot is not None:
        _write_plot(test, plot)
        say(f"losses: {plot}")
    if as_json:
        import msgspec

        click.echo(json.dumps(msgspec.to_builtins(test), indent=2))
        return
    end = f"the loss diverged at {test.rates[-1]:.2g}" if test.diverged else "no divergence"
    click.echo(f"steps               {len(test.losses)} of {steps}, {end}")
    click.echo(f"highest stable rate {test.highest:g}")
    current = config.training.learning_rate
    click.echo(f"configured rate     {current:g}")
    if test.suggestion is None:
        click.echo("suggestion          none: the loss hardly falls; try more steps")
        return
    click.echo(f"suggestion          {test.suggestion:g}")
    if current > test.highest:
        say("note: the configured rate is above the highest stable one")
    argument = shlex.quote(f"training.learning_rate={test.suggestion:g}")
    say(f"next: textclf train {shlex.quote(str(config_path))} OUTPUT --set {argument}")


def _write_plot(test: "RangeTest", path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    from textclf import plots

    figure, axes = pyplot.subplots(layout="constrained")
    plots.plot_range_test(test, axes)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be written ({error.strerror})"]) from None
    finally:
        pyplot.close(figure)
