"""The runs of a benchmark: one training, fit, calibration or measurement each."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from textclf import baselines
from textclf.config import SETTINGS, Config
from textclf.study.budget import Budget

BAG = "bag_of_embeddings"
LINEAR = "linear_model"
# Headings of the parts of a report about mixtures.
NETWORK_TITLE = "Network alone"
MIXTURE_TITLE = "Mixture with the linear model"
_MAX_NAME_BYTES = 100  # names of files add to the name of a cell and hold at most 255 bytes

Kind = Literal["network", "baseline", "linear", "calibration", "measurement"]

# Settings on which the linear model of a mixture depends, in addition to the data. It is
# fitted with the default seed for all runs.
_LINEAR_SETTINGS = (
    "text.unit",
    "text.lowercase",
    "text.fold_width",
    "text.unescape_entities",
    "text.linear_length",
    "training.class_weights",
)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One training, or one fit of a baseline.

    Attributes:
        name: unique in the grid and valid as a file name.
        dataset: name of the data set.
        cell: name of the combination of settings, or of the baseline.
        kind: "network"; "baseline" for one of `baselines.BASELINES`; "linear" for a fit of the
            linear model that the mixtures of a data set share; "calibration" for a training
            that counts the steps an architecture makes in `minutes`; "measurement" for measuring
            the cost of a finished run while no other run uses the cores.
        seed: of the training.
        config: complete configuration, except for the steps that a calibration determines.
        in_grid: True if the grid lists the cell; False for the simple classifiers, which every
            benchmark contains.
        minutes: training time allowed for the architecture, if the budget is a time.
        measured: name of the run whose cost a measurement measures.
        linear: the run that fits the linear model, if the classifier is a mixture.
    """

    name: str
    dataset: str
    cell: str
    kind: Kind
    seed: int
    config: Config
    in_grid: bool
    minutes: float | None = None
    measured: str = ""
    linear: "Run | None" = None

    @property
    def is_random(self) -> bool:
        """True if another seed gives another result."""
        return self.kind not in ("baseline", "linear") or self.cell in baselines.RANDOM

    @property
    def is_available(self) -> bool:
        """True if the libraries that the run needs are installed."""
        return self.kind != "baseline" or self.cell in baselines.available()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the settings that determine the result, in hexadecimal digits."""
        # Defaults are left out: a setting added by a later version does not change fingerprints.
        values: dict[str, Any] = {}
        for path, setting in SETTINGS.items():
            section, name = path.split(".")
            value = getattr(getattr(self.config, section), name)
            if value != setting.default:
                values.setdefault(section, {})[name] = value
        if self.kind == "baseline":  # does not depend on the settings of networks
            values = {name: values.get(name) for name in ("data", "evaluation")}
            values["unit"] = self.config.text.unit
            values["seed"] = self.seed
        parts = [self.kind, self.cell, values, self.minutes]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def calibration(self) -> "Run | None":
        """The run that determines the number of steps, if the budget is a time."""
        if self.kind != "network" or self.minutes is None:
            return None
        name = f"{self.dataset}.{self.cell}.calibration"
        return replace(self, name=name, kind="calibration")

    @property
    def prerequisites(self) -> "tuple[Run, ...]":
        """The runs whose results this one needs."""
        if self.kind != "network":
            return ()
        return tuple(run for run in (self.linear, self.calibration) if run is not None)

    @property
    def measurement(self) -> "Run":
        """The run that measures the cost of this one."""
        name = f"{self.name}.measurement"
        return replace(self, name=name, kind="measurement", measured=self.name)


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of a benchmark and the rules for comparing them.

    Attributes:
        path: path of the grid file, for messages.
        runs: in the order of execution: all cells with one seed come before the next seed, so that
            a slow hour of the machine affects all cells.
        metric: the metric of the comparison; None for the default of each task (accuracy, or macro
            F1 for multi-label data).
        confidence: level of the intervals; tests use the level 1 - confidence.
        smallest_difference: the smallest relevant difference, in the unit of the metric.
        minutes_per_run: a run that takes longer is stopped and counts as failed.
        memory_mb_per_run: a run with more resident memory (MiB) is stopped and counts as failed.
        budget: limit of each architecture.
        notices: settings of the configuration files that an entry of the grid disabled.
    """

    path: str
    runs: tuple[Run, ...]
    metric: str | None
    confidence: float
    smallest_difference: float
    minutes_per_run: float
    memory_mb_per_run: float
    budget: Budget
    notices: tuple[str, ...]

    @property
    def linear_models(self) -> tuple[Run, ...]:
        """The fits of the linear models that the mixtures need."""
        return tuple(run for run in self.runs if run.kind == "linear")

    @property
    def calibrations(self) -> tuple[Run, ...]:
        """One calibration for each cell of each data set, if the budget is a time."""
        runs: dict[str, Run] = {}
        for run in self.runs:
            if run.calibration is not None:
                runs.setdefault(run.calibration.name, run.calibration)
        return tuple(runs.values())


def make_run(
    *,
    dataset: str,
    cell: str,
    kind: Kind,
    seed: int,
    config: Config,
    in_grid: bool,
    minutes: float | None = None,
    linear: Run | None = None,
) -> Run:
    """Return a run with its name; a run that does not depend on a seed has the seed 0."""
    run = Run(
        name=f"{dataset}.{cell}",
        dataset=dataset,
        cell=cell,
        kind=kind,
        seed=seed,
        config=config,
        in_grid=in_grid,
        minutes=minutes,
        linear=linear,
    )
    if run.is_random:
        return replace(run, name=f"{run.name}.seed{seed}")
    return replace(run, seed=0)


def make_linear_run(dataset: str, combination: Mapping[str, Any], config: Config) -> Run | None:
    """Return the run that fits the linear model of a mixture; None without a mixture.

    Cells with the same settings of the linear model have the same run.

    Args:
        dataset: name of the data set.
        combination: of the grid, for the name of the run.
        config: of a run of the cell.
    """
    if config.model.encoder == "none" or config.model.linear == "none":
        return None
    settings = config.to_dict()
    values: dict[str, dict[str, Any]] = {name: settings[name] for name in ("data", "evaluation")}
    for path in _LINEAR_SETTINGS:
        section, name = path.split(".")
        values.setdefault(section, {})[name] = settings[section][name]
    values["model"] = {"encoder": "none"}
    paths = {name: path for name, path in config.fixed_paths.items() if name.startswith("data.")}
    varied = {name: value for name, value in combination.items() if name in _LINEAR_SETTINGS}
    return make_run(
        dataset=dataset,
        cell="-".join([LINEAR, *([cell_name(varied)] if varied else [])]),
        kind="linear",
        seed=0,
        config=Config.from_dict(values, fixed_paths=paths),
        in_grid=False,
    )


def override(name: str, value: Any) -> str:
    """Return `section.setting=value` in the syntax of `--set`."""
    if value is None:
        return f"{name}="
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
        return f"{name}={escaped}"
    return f"{name}={json.dumps(value, ensure_ascii=False)}"


def cell_name(combination: Mapping[str, Any]) -> str:
    """Return a name such as "bilstm" or "gru-units=64" that is valid as a file name.

    A name of more than 100 bytes is cut and ends with a hash.
    """
    parts: list[str] = []
    for name, value in combination.items():
        if name == "model.encoder":
            direction = "bi" if combination.get("model.bidirectional") else ""
            parts.insert(0, f"{direction}{value}")
        elif name != "model.bidirectional" or "model.encoder" not in combination:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            valid = re.sub(r"[^-+.\w]+", "_", text)
            parts.append(f"{name.partition('.')[2]}={valid}")
    whole = "-".join(parts)
    if len(whole.encode()) <= _MAX_NAME_BYTES:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{whole.encode()[: _MAX_NAME_BYTES - 9].decode(errors='ignore')}-{digest}"


_DISPLAY_NAMES = {
    "majority": "the majority class",
    "tfidf_logistic_regression": "TF-IDF + logistic regression",
    "fasttext": "fastText",
    BAG: "a bag of embeddings",
    LINEAR: "the linear model",
    "simple_rnn": "SimpleRNN",
    "bisimple_rnn": "BiSimpleRNN",
    "lstm": "LSTM",
    "bilstm": "BiLSTM",
    "gru": "GRU",
    "bigru": "BiGRU",
}


def display_name(cell: str) -> str:
    """Return the name for people, such as "BiLSTM" for "bilstm"."""
    first, dash, rest = cell.partition("-")
    return _DISPLAY_NAMES.get(first, first) + dash + rest
