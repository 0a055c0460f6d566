"""Tracking of a training in MLflow: send the values of its events to a run, and pass them on.

Only the chief tracks. Tracking does not change a training: events are only read, and a store that
fails is reported by one `TrackingFailed`.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import msgspec

import textclf
from textclf import artifact
from textclf.config import Config
from textclf.display import to_html, to_text
from textclf.evaluation.document import document
from textclf.training.checks import flat_settings
from textclf.training.events import (
    Epoch,
    Event,
    Finished,
    LinearFitted,
    Started,
    TrackingFailed,
)
from textclf.training.history import scalars
from textclf.training.loop import Interrupted
from textclf.training.mlflow_store import Run, Values

# How a training ended -> state of its run; otherwise FINISHED.
_STATES = {"interrupted": "KILLED", "not finite": "FAILED"}


def track(
    events: Generator[Event, None, None], config: Config, output: Path, id_file: Path
) -> Generator[Event, None, None]:
    """Yield the events of a training and send their values to a run in MLflow.

    Args:
        events: of a training; closed at the end.
        config: the experiment.
        output: the folder that it writes; the run has its name.
        id_file: see `mlflow_store.Run`; used from the first event on.

    Yields:
        The events, and a `TrackingFailed` before the one whose values could not be sent.
    """
    run = None
    try:
        with contextlib.closing(events):
            for event in events:
                message = None
                if isinstance(event, Started):
                    run = Run(output.name, id_file)
                if run is not None and isinstance(event, Finished):
                    message = _end(run, event)
                    run = None
                elif run is not None and (values := values_of(event, config, output)):
                    message = run.send(values)
                if message is not None:
                    yield TrackingFailed(message)
                yield event
    except BaseException as error:
        if run is not None:
            run.end(_state_of(error))
        raise


def values_of(event: Event, config: Config, output: Path) -> list[Values]:
    """Return the values of an event for a run; none for a step.

    Metrics have the names of TensorBoard's scalars. Those of a report have a prefix: `linear/` for
    the linear model alone, `validation/` for the classifier that is saved.
    """
    match event:
        case Started():
            tags = {
                "textclf.version": textclf.__version__,
                "textclf.num_classes": str(len(event.class_names)),
                "textclf.output": str(output),
            }
            first = Values(parameters=parameters(config), tags=tags)
            return [first, *map(_epoch_values, event.history)]
        case LinearFitted():
            return [Values(metrics=_prefixed("linear", event.validation.metrics))]
        case Epoch():
            return [_epoch_values(event.figures)]
        case Finished():
            return [_result_values(event)]
    return []


def parameters(config: Config) -> dict[str, str]:
    """Return every setting that a training reads, by its path: text as it is, the rest as JSON."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in flat_settings(config).items()
        if not name.startswith("pretraining.")
    }


def write_artifacts(finished: Finished, folder: Path) -> None:
    """Write the artefacts of a run: card, configuration, and validation report, also as HTML."""
    for name in (artifact.CARD, artifact.CARD_PAGE, artifact.CONFIG):
        shutil.copy(finished.folder / name, folder)
    page = document(finished.validation, "Validation")
    html = f'<!DOCTYPE html>\n<meta charset="utf-8">\n<title>Validation</title>\n{to_html(page)}'
    texts = {
        "validation.txt": to_text(page),
        "validation.json": json.dumps(finished.validation.to_dict(), indent=1) + "\n",
        "validation.html": html,
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", errors="replace")


def _end(run: Run, event: Finished) -> str | None:
    """Send the result and end the run; return a sentence on a failure."""
    state, values = _STATES.get(event.why, "FINISHED"), _result_values(event)
    with tempfile.TemporaryDirectory(prefix="textclf-") as temporary:
        try:
            write_artifacts(event, Path(temporary))
        except Exception as error:  # the trained folder is complete
            run.end(state, values)
            return f"the artefacts for MLflow cannot be written ({error})"
        return run.end(state, msgspec.structs.replace(values, files=Path(temporary)))


def _result_values(finished: Finished) -> Values:
    metrics = _prefixed("validation", finished.validation.metrics)
    metrics["best_epoch"] = finished.best_epoch
    if finished.share is not None:
        metrics["mixture/linear_share"] = finished.share
    if (gain := finished.gain) is not None:
        figures = {"difference": gain.difference, "low": gain.low, "high": gain.high}
        metrics |= _prefixed("gain", figures)
    tags = {"textclf.ended_by": finished.why}
    # A continued run may already have such values at the same step.
    return Values(metrics=metrics, tags=tags, step=finished.epochs, is_once=False)


def _epoch_values(figures: Mapping[str, Any]) -> Values:
    return Values(metrics=scalars(figures), step=figures["epoch"])


def _prefixed(prefix: str, metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return metrics with a prefix, without those that are undefined."""
    return {f"{prefix}/{name}": v for name, v in metrics.items() if v is not None}


def _state_of(error: BaseException) -> str:
    """Return the state of a run that an error has ended."""
    # The cause if a training is stopped before the end of its first epoch.
    cause = error.__cause__
    if isinstance(cause, Interrupted):
        return _STATES[cause.why]
    # GeneratorExit: the caller reads no further events.
    return "KILLED" if isinstance(error, KeyboardInterrupt | GeneratorExit) else "FAILED"
