"""The command line.

Each command is in the file with its name: it reads its arguments, calls a function of the library
and prints the result.

    options     options that commands share, and the decoding of arguments
    terminal    progress, notes, time left, Ctrl-C

Results go to stdout, everything else to stderr. Exit codes: 0 success; 1 failure; 2 wrong usage.
A command imports TensorFlow only after all checks that do not need it, so that errors are reported
quickly.
"""

import errno
from typing import Any

import click

import textclf
from textclf import trace
from textclf.cli import (
    baseline,
    benchmark,
    calibrate,
    compare,
    config,
    data,
    demo,
    doctor,
    evaluate,
    explain,
    export,
    info,
    init,
    lr_find,
    predict,
    pretrain,
    report,
    serve,
    thresholds,
    train,
    verify,
)
from textclf.cli.terminal import use_utf8
from textclf.errors import TextclfError
from textclf.startup import clear_status


class _Group(click.Group):
    """Group whose commands report errors of the user as a message with exit code 1."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        use_utf8()
        try:
            return super().main(*args, **{**kwargs, "prog_name": "textclf"})
        finally:
            trace.write()

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TextclfError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            raise click.ClickException("interrupted") from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise  # Click handles the closed pipe of `| head`
            raise click.ClickException(f"{error.strerror}; free some space") from error
        finally:
            clear_status()


@click.group(cls=_Group, context_settings={"help_option_names": ["--help", "-h"]})
@click.version_option(textclf.__version__, prog_name="textclf")
def main() -> None:
    """Train, evaluate and export recurrent text classifiers.

    \b
    Examples:
      textclf demo
      textclf init reviews.csv reviews.yaml
      textclf train reviews.yaml runs/reviews
      textclf evaluate runs/reviews
      textclf predict runs/reviews "not bad at all"
      textclf export runs/reviews saved_models/reviews
    """


for command in (
    *(init.init, config.config, data.data, demo.demo),
    *(pretrain.pretrain, lr_find.lr_find, train.train, baseline.baseline),
    *(
        evaluate.evaluate,
        predict.predict,
        explain.explain,
        calibrate.calibrate,
        thresholds.thresholds,
        report.report,
        export.export,
        verify.verify,
        info.info,
    ),
    *(serve.serve, benchmark.benchmark, compare.compare, doctor.doctor),
):
    main.add_command(command)
