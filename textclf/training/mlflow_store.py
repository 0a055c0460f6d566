"""A run in MLflow, which receives the values of a training; the only module that imports MLflow.

The store is that of MLflow's own variables `MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_NAME` and
`MLFLOW_EXPERIMENT_ID`, or of `mlflow.set_tracking_uri`; by default the SQLite file `mlruns.db` in
the current folder, with the artefacts in `mlruns/`, and the experiment `textclf`.

Nothing here imports TensorFlow.
"""

import contextlib
import importlib.util
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from textclf.errors import TrainingError

if TYPE_CHECKING:
    import mlflow

DEFAULT_FILE = "mlruns.db"
DEFAULT_EXPERIMENT = "textclf"
# MLflow's limits: metrics, parameters or tags of a request, and characters of a parameter.
_MAX_METRICS, _MAX_PARAMETERS, _MAX_CHARACTERS = 1000, 100, 6000
# BAD_REQUEST is not a rejection: a damaged database returns it too.
_REJECTION = "INVALID_PARAMETER_VALUE"
# By default, MLflow repeats a request for minutes while the training waits.
_REQUESTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    # The standard output is for the result of a command.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# After a failure, the values of the epochs in between are kept and sent together.
_SECONDS_TO_RETRY = 60.0


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """Values that a run receives together.

    Attributes:
        parameters: by name; the value of a known parameter becomes a tag, as MLflow has no way to
            change it.
        tags: by name.
        metrics: by name.
        step: of the metrics; the epoch.
        is_once: whether to omit metrics if a continued run has the first of them at this step.
        files: folder whose files become artefacts; None without them.
    """

    parameters: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    metrics: Mapping[str, float] = {}
    step: int = 0
    is_once: bool = True
    files: Path | None = None


def is_installed() -> bool:
    """Return whether MLflow can be imported, without importing it."""
    return importlib.util.find_spec("mlflow") is not None


def check_store() -> None:
    """Check that MLflow's store answers; without MLflow, return at once.

    Raises:
        TrainingError: it does not, or its experiment is deleted.
    """
    if not is_installed():  # `config.check_environment` reports it
        return
    uri = _tracking_uri()
    if (path := _sqlite_path(uri)) is not None:
        # MLflow tries to open a database for minutes, and creates missing folders.
        target = path if path.exists() else path.parent
        if not os.access(target, os.W_OK) or not path.parent.is_dir() or path.is_dir():
            raise _error(uri, f"{path} cannot be written")
    try:
        with _short_requests({**_REQUESTS, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}):
            experiment = _experiment(_client(uri))
    except Exception as error:  # from any package behind a store
        raise _error(uri, _cause(error)) from error
    if experiment is not None and experiment.lifecycle_stage != "active":
        raise _error(uri, f"the experiment {experiment.name} is deleted")


class Run:
    """A run in MLflow; values that could not be sent are kept.

        run = Run("reviews", id_file=Path("runs/reviews.unfinished/mlflow_run"))
        problem = run.send([Values(metrics={"val_loss": 0.4}, step=1)])
        problem = run.end("FINISHED")

    MLflow's fluent interface is not used, so runs that the caller has started are not affected.

    Args:
        name: of the run.
        id_file: file with the id of the run, to continue it after an interruption. If the store
            does not have this run, a new one begins.
    """

    def __init__(self, name: str, id_file: Path):
        self._name, self._id_file = name, id_file
        self._uri = _tracking_uri()
        self._id = ""  # until the store has answered
        self._is_continued = False
        self._waiting: list[tuple[int, Values]] = []  # with their time in milliseconds
        self._is_reported = False
        self._retry_at = 0.0

    def send(self, values: Iterable[Values]) -> str | None:
        """Send the waiting values and new ones; on a failure, keep them for the next call.

        Returns:
            A sentence for the user, at the first failure; otherwise None.
        """
        self._waiting += [(int(time.time() * 1000), part) for part in values]
        if time.monotonic() < self._retry_at:
            return None
        return self._try(None)

    def end(self, status: str, values: Values | None = None) -> str | None:
        """Send the waiting values and set the state of the run, in one last attempt.

        Args:
            status: "FINISHED", "FAILED" or "KILLED".
            values: the last ones.

        Returns:
            A sentence for the user, if this fails; otherwise None.
        """
        if values is not None:
            self._waiting.append((int(time.time() * 1000), values))
        return self._try(status)

    def _try(self, status: str | None) -> str | None:
        rejected = None
        try:
            with _short_requests(_REQUESTS):
                client = _client(self._uri)
                self._begin(client)
                while self._waiting:
                    # Rejected values are dropped: the store would reject them again.
                    rejected = self._send_or_reject(client) or rejected
                    del self._waiting[0]
                if status is not None:
                    client.set_terminated(self._id, status)
        except Exception as error:  # a tracker must not end a training
            self._retry_at = time.monotonic() + _SECONDS_TO_RETRY
            return self._describe(error, is_last=status is not None)
        if rejected is None:
            return None
        store = _public(self._uri)
        return f"MLflow's store {store} rejects values; the run is incomplete ({_cause(rejected)})"

    def _send_or_reject(self, client: "mlflow.MlflowClient") -> Exception | None:
        """Send the first waiting values; return the error if the store rejects them permanently."""
        from mlflow.exceptions import MlflowException

        try:
            self._send(client, *self._waiting[0])
        except MlflowException as error:
            if error.error_code != _REJECTION:
                raise
            return error
        return None

    def _describe(self, error: Exception, *, is_last: bool) -> str | None:
        """Return a sentence on the first failure and on one that loses values, otherwise None."""
        problem = f"MLflow's store {_public(self._uri)} does not accept values ({_cause(error)})"
        if is_last:
            return f"{problem}; the run there is not complete, but the trained folder is"
        if self._is_reported:
            return None
        self._is_reported = True
        return f"{problem}; the training continues, and the values are sent again later"

    def _begin(self, client: "mlflow.MlflowClient") -> None:
        """Continue the run whose id is in the file, or create one; later calls do nothing."""
        if self._id:
            return
        from mlflow.exceptions import MlflowException

        with contextlib.suppress(FileNotFoundError):
            former = self._id_file.read_text(encoding="utf-8")
            try:
                if client.get_run(former).info.lifecycle_stage == "active":
                    client.update_run(former, status="RUNNING")
                    self._id, self._is_continued = former, True
                    return
            except MlflowException as error:  # for instance another store than before
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        self._id = client.create_run(_experiment_id(client), run_name=self._name).info.run_id
        with contextlib.suppress(FileNotFoundError):  # the training is over, its folder removed
            self._id_file.write_text(self._id, encoding="utf-8")

    def _send(self, client: "mlflow.MlflowClient", milliseconds: int, values: Values) -> None:
        from mlflow.entities import Metric, Param, RunTag

        parameters, tags = (
            {name: value[:_MAX_CHARACTERS] for name, value in named.items()}
            for named in (values.parameters, values.tags)
        )
        if parameters and self._is_continued:
            known = client.get_run(self._id).data.params
            changed = {name: value for name, value in parameters.items() if name in known}
            tags |= {name: value for name, value in changed.items() if value != known[name]}
            parameters = {name: value for name, value in parameters.items() if name not in known}
        for part in _parts(parameters.items(), _MAX_PARAMETERS):
            params = [Param(_name(name), value) for name, value in part]
            client.log_batch(self._id, params=params)
        for part in _parts(tags.items(), _MAX_PARAMETERS):
            client.log_batch(self._id, tags=[RunTag(_name(name), value) for name, value in part])
        if not self._has(client, values):
            # The first metric is sent last: a run that has it has them all.
            for part in reversed(list(_parts(values.metrics.items(), _MAX_METRICS))):
                metrics = [Metric(_name(name), v, milliseconds, values.step) for name, v in part]
                client.log_batch(self._id, metrics=metrics)
        if values.files is not None:
            client.log_artifacts(self._id, str(values.files))

    def _has(self, client: "mlflow.MlflowClient", values: Values) -> bool:
        """Return whether a continued run has the metrics already."""
        if not (self._is_continued and values.is_once and values.metrics):
            return False
        first = _name(next(iter(values.metrics)))
        return any(m.step == values.step for m in client.get_metric_history(self._id, first))


def _client(uri: str) -> "mlflow.MlflowClient":
    import mlflow

    return mlflow.MlflowClient(uri)


def _tracking_uri() -> str:
    import mlflow

    if mlflow.is_tracking_uri_set():
        return mlflow.get_tracking_uri()
    # Absolute: MLflow keeps an open store by its URI, and the current folder may change.
    return f"sqlite:///{Path(DEFAULT_FILE).absolute()}"


def _experiment(client: "mlflow.MlflowClient") -> Any:
    """Return the experiment; None if it does not exist."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if not name and (number := os.environ.get("MLFLOW_EXPERIMENT_ID")):
        return client.get_experiment(number)
    return client.get_experiment_by_name(name or DEFAULT_EXPERIMENT)


def _experiment_id(client: "mlflow.MlflowClient") -> str:
    """Return the id of the experiment; create it if it does not exist."""
    from mlflow.exceptions import MlflowException

    if (experiment := _experiment(client)) is None:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT
        try:
            return client.create_experiment(name)
        except MlflowException as error:  # another training of a benchmark was faster
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        experiment = _experiment(client)
    return experiment.experiment_id


@contextlib.contextmanager
def _short_requests(variables: Mapping[str, str]) -> Iterator[None]:
    """Limit the time of MLflow's requests, and hide its messages on the creation of tables.

    Args:
        variables: values for those of MLflow's variables that the user has not set.
    """
    added = {name: value for name, value in variables.items() if name not in os.environ}
    logger = logging.getLogger("mlflow")
    level = logger.level
    os.environ.update(added)
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name in added:
            os.environ.pop(name, None)


def _parts(items: Iterable[tuple[str, Any]], size: int) -> Iterator[list[tuple[str, Any]]]:
    listed = list(items)
    for start in range(0, len(listed), size):
        yield listed[start : start + size]


def _name(name: str) -> str:
    """Return a name with the characters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name).strip("/")[:250]


def _sqlite_path(uri: str) -> Path | None:
    """Return the file of an SQLite store; None for another store."""
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix).partition("?")[0]) if uri.startswith(prefix) else None


def _public(uri: str) -> str:
    """Return a URI without user and password, for messages."""
    user, at, host = urlsplit(uri).netloc.rpartition("@")
    return uri.replace(f"{user}{at}", "", 1) if at else uri


def _error(uri: str, problem: str) -> TrainingError:
    return TrainingError(
        f"training.mlflow: MLflow's store {_public(uri)} cannot be used ({problem}); start its "
        "server, set MLFLOW_TRACKING_URI to another one, or remove the setting"
    )


def _cause(error: Exception) -> str:
    """Return the cause of an error in one line, without the requests that led to it."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"//[^/@\s]+@", "//", text)  # user and password of an address
    if match := re.search(r"\[Errno -?\d+\] ([^'\")]+)", text):
        return match[1]
    return text if len(text) <= 200 else f"{text[:197]}..."
