"""What is compared: a grid of settings, data sets and seeds, read from YAML.

    datasets: {sst2: ../configs/sst2.yaml}     # configuration files, beside the grid's
    settings: {model.ngram_buckets: 0}         # what all runs have, over the files
    grid:
      model.encoder: [simple_rnn, lstm, gru]
      model.bidirectional: [false, true]
    exclude: [{model.encoder: simple_rnn, model.bidirectional: false}]
    seeds: 5                                   # 0 to 4, or a list
    budget: {weights: 50000}                   # or {minutes: 5}; without it: the same settings

Every combination of the grid is a *cell*; a cell with a seed on a data set is a *run*.
"""

import dataclasses
import difflib
import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from textclf import baselines, evaluation
from textclf.benchmark.budget import Budget, recurrent_weights, with_weights
from textclf.config import SETTINGS, Config, from_dict, holds_text, load, reading
from textclf.errors import ConfigError

BAG = "bag_of_embeddings"
MINUTES_PER_RUN = 240.0
_MOST = 1e9  # of any number in a grid
_LONGEST_NAME = 100  # bytes; the names of files hold more than a cell's, and 255 in all
METRICS = tuple(dict.fromkeys([*evaluation.contributed(False), *evaluation.contributed(True)]))

Kind = Literal["network", "baseline", "calibration", "measurement"]


@dataclasses.dataclass(frozen=True)
class Run:
    """One training, or one fit of a baseline.

    Attributes:
        name: unique in the grid, fit for a file.
        dataset: the name of its data set.
        cell: the name of its combination of settings, or of a baseline.
        kind: "network"; "baseline" for one of `baselines.BASELINES`; "calibration" for a training
            that only shows how many steps a cell makes in `minutes`; "measurement" of what a run
            costs that has the cores to itself.
        seed: of the training.
        config: whole, but for the steps that a calibration settles.
        is_asked: whether the grid names its cell, and not only the rule that simple classifiers
            are always there.
        minutes: how long its cell may train, if the budget is a time.
        measured: the name of the run that is measured.
    """

    name: str
    dataset: str
    cell: str
    kind: Kind
    seed: int
    config: Config
    is_asked: bool
    minutes: float | None = None
    measured: str = ""

    @property
    def is_random(self) -> bool:
        """Whether another seed would give another result."""
        return self.kind != "baseline" or self.cell in baselines.RANDOM

    @property
    def can_be_made(self) -> bool:
        """Whether what it needs is installed here."""
        return self.kind != "baseline" or self.cell in baselines.available()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the run is, in hexadecimal digits."""
        # Without defaults: a setting that a later version adds changes nothing here.
        values: dict[str, Any] = {}
        for path, setting in SETTINGS.items():
            section, name = path.split(".")
            value = getattr(getattr(self.config, section), name)
            if value != setting.default:
                values.setdefault(section, {})[name] = value
        if self.kind == "baseline":  # reads nothing of networks
            values = {name: values.get(name) for name in ("data", "evaluation")}
            values["unit"] = self.config.text.unit
            values["seed"] = self.seed
        parts = [self.kind, self.cell, values, self.minutes]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def calibration(self) -> "Run | None":
        """The run that settles its number of steps, if something has to."""
        if self.kind != "network" or self.minutes is None:
            return None
        name = f"{self.dataset}.{self.cell}.calibration"
        return dataclasses.replace(self, name=name, kind="calibration")

    @property
    def measurement(self) -> "Run":
        """A run that measures the cost of this one."""
        name = f"{self.name}.measurement"
        return dataclasses.replace(self, name=name, kind="measurement", measured=self.name)


@dataclasses.dataclass(frozen=True)
class Grid:
    """What a benchmark compares.

    Attributes:
        place: the file.
        runs: in the order in which they are made: all cells with one seed before the next seed,
            so that a slow hour of the machine is shared by all cells.
        metric: by which cells are compared; None for each task's own (accuracy, or macro F1
            where a text may have several labels).
        confidence: of the intervals; 1 - confidence is the level of the tests.
        smallest_difference: the smallest difference worth knowing, in the metric's unit.
        minutes_per_run: a run that takes longer is stopped and counts as failed.
        memory_mb_per_run: a run that takes more resident memory (MiB), likewise.
        budget: what every cell may use up.
        notices: what was dropped from the files because the grid made it meaningless.
    """

    place: str
    runs: tuple[Run, ...]
    metric: str | None
    confidence: float
    smallest_difference: float
    minutes_per_run: float
    memory_mb_per_run: float
    budget: Budget
    notices: tuple[str, ...]

    @property
    def calibrations(self) -> tuple[Run, ...]:
        """One for each cell, if the budget is a time."""
        found: dict[str, Run] = {}
        for run in self.runs:
            if run.calibration is not None:
                found.setdefault(run.calibration.name, run.calibration)
        return tuple(found.values())


def read(path: Path) -> Grid:
    """Reads a grid and resolves every run.

    Raises:
        ConfigError: with every mistake of the grid and of the configurations in it.
    """
    try:
        parsed = reading.parse(reading.read_text(path), str(path), holds_text)
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file; expected a benchmark as YAML"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})"]) from None
    except ValueError as error:
        raise ConfigError([str(error)]) from None
    return _Reader(path, parsed).grid()


# What a grid may hold, with what messages say of it.
KEYS = {
    "datasets": "names of data sets with their configuration files",
    "settings": "settings that all runs have, such as {training.epochs: 5}",
    "grid": "settings with lists of values, such as {model.encoder: [lstm, gru]}",
    "exclude": "a list of combinations to leave out",
    "seeds": "a number of seeds up to 1000, or a list of different ones",
    "budget": "{weights: N}, the numbers in the recurrent layers, or {minutes: M} of training",
    "metric": f"one of {', '.join(METRICS)}",
    "confidence": "a number between 0.5 and 1",
    "smallest_difference": "a number above 0",
    "minutes_per_run": "a number above 0",
    "memory_mb_per_run": "a number above 0",
}
_OWN = {
    "training.seed": "name it as `seeds`",
    "training.cache_dir": "the benchmark keeps one for each data set",
}


class _Reader:
    def __init__(self, path: Path, parsed: reading.Parsed):
        self.path = path
        self.places = parsed.locations
        self.problems = list(parsed.problems)
        self.notices: dict[str, None] = {}
        self.values: dict[str, Any] = {}
        if not isinstance(parsed.value, Mapping):
            self.problems.append(f"{path}: expected a benchmark with `datasets:` and `grid:`")
            return
        for key, value in parsed.value.items():
            if key in KEYS:
                self.values[key] = value
            else:
                near = difflib.get_close_matches(str(key), KEYS, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KEYS)}"
                self._wrong(str(key), f"no such entry; {hint}")

    def grid(self) -> Grid:
        datasets = self._datasets()
        seeds = self._seeds()
        combinations = self._combinations()
        settings = self._mapping("settings")
        for name in settings:
            self._check_name("settings", name)
        self.budget = self._budget([*settings, *self._mapping("grid")])
        numbers = {
            name: self._number(name, default, most)
            for name, default, most in (
                ("confidence", 0.95, 1.0),
                ("smallest_difference", 0.01, None),
                ("minutes_per_run", MINUTES_PER_RUN, None),
                ("memory_mb_per_run", 16_384.0, None),
            )
        }
        metric = self.values.get("metric")
        if metric is not None and metric not in METRICS:
            self._expected("metric", metric)
        runs = [] if self.problems else self._runs(datasets, settings, combinations, seeds)
        if self.problems:
            raise ConfigError(list(dict.fromkeys(self.problems)))
        return Grid(
            str(self.path),
            tuple(runs),
            metric,
            **numbers,
            budget=self.budget,
            notices=tuple(self.notices),
        )

    # === The entries ===

    def _datasets(self) -> dict[str, Path]:
        found = self.values.get("datasets")
        if not isinstance(found, Mapping) or not found:
            self._expected("datasets", found)
            return {}
        files = {}
        for name, file in found.items():
            if not isinstance(file, str) or not _is_name(str(name)):
                self._wrong(
                    f"datasets.{name}",
                    "expected a name of letters, digits, `_` and `-` with a configuration file",
                )
            else:
                files[str(name)] = self.path.parent / file
        return files

    def _seeds(self) -> list[int]:
        found = self.values.get("seeds", 5)
        if isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= 1000:
            return list(range(found))
        is_list = isinstance(found, list) and all(
            isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in found
        )
        if not is_list or len(set(found)) < len(found):
            self._expected("seeds", found)
            return []
        return found

    def _combinations(self) -> list[dict[str, Any]]:
        lists = self._mapping("grid")
        if not lists:
            self._expected("grid", self.values.get("grid"))
        for name, values in lists.items():
            self._check_name("grid", name)
            if not isinstance(values, list) or not values:
                self._wrong(f"grid.{name}", f"expected a list of values, found {values!r}")
                lists = {}
            elif len({json.dumps(value) for value in values}) < len(values):
                self._wrong(f"grid.{name}", f"a value stands twice in {values!r}; remove one")
        if self.problems:
            return []
        products = itertools.product(*lists.values())
        every = [dict(zip(lists, values, strict=True)) for values in products]
        excluded = self.values.get("exclude") or []
        if not isinstance(excluded, list) or not all(isinstance(e, Mapping) for e in excluded):
            self._expected("exclude", excluded)
            return []
        for one in excluded:
            if not any(_matches(combination, one) for combination in every):
                self._wrong("exclude", f"{dict(one)!r} is no combination of the grid")
        kept = [c for c in every if not any(_matches(c, one) for one in excluded)]
        if not kept:
            self._wrong("exclude", "nothing of the grid is left")
        return kept

    def _budget(self, named: Sequence[str]) -> Budget:
        found = self._mapping("budget")
        weights, minutes = found.get("weights"), found.get("minutes")
        is_sound = all(
            value is None
            or (isinstance(value, kind) and not isinstance(value, bool) and 0 < value <= _MOST)
            for value, kind in ((weights, int), (minutes, int | float))
        )
        if not is_sound or not found.keys() <= {"weights", "minutes"}:
            self._expected("budget", found)
            return Budget()
        limit = self._number("minutes_per_run", MINUTES_PER_RUN, None)
        if minutes is not None and minutes >= limit:
            self._wrong(
                "budget",
                f"minutes {minutes:g} of training leave nothing of minutes_per_run {limit:g} for "
                "the rest of a run; allow more, or train less",
            )
        budget = Budget(weights, None if minutes is None else float(minutes))
        for name in named:
            if name in budget.settled:
                self._wrong(
                    "budget", f"{budget.settled[name]} settles {name}, which stands here too"
                )
        return budget

    def _mapping(self, key: str) -> dict[str, Any]:
        found = self.values.get(key)
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            self._expected(key, found)
            return {}
        return dict(found)

    def _number(self, key: str, default: float, most: float | None) -> float:
        found = self.values.get(key, default)
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        low = 0.5 if key == "confidence" else 0
        if not is_number or not low < found <= _MOST or (most is not None and not found < most):
            self._expected(key, found)
            return default
        return float(found)

    def _check_name(self, key: str, name: str) -> None:
        if name in _OWN:
            self._wrong(f"{key}.{name}", f"cannot be set here; {_OWN[name]}")
        elif key == "grid" and name.partition(".")[0] in ("data", "evaluation", "export"):
            self._wrong(
                f"{key}.{name}",
                "all runs of a data set have the same data and are scored alike; name a setting "
                "of text, model or training",
            )
        elif name not in SETTINGS:
            near = difflib.get_close_matches(name, SETTINGS, 1)
            hint = f"did you mean {near[0]!r}?" if near else "`textclf config schema` lists all"
            self._wrong(f"{key}.{name}", f"no such setting; {hint}")

    def _expected(self, key: str, found: Any) -> None:
        self._wrong(key, f"expected {KEYS[key]}, found {reading.format_value(found)}")

    def _wrong(self, path: str, message: str) -> None:
        place = self.places.get(path) or self.places.get(path.partition(".")[0]) or self.path
        self.problems.append(f"{place}: {path}: {message}")

    # === The runs ===

    def _runs(
        self,
        datasets: Mapping[str, Path],
        settings: Mapping[str, Any],
        combinations: Sequence[Mapping[str, Any]],
        seeds: Sequence[int],
    ) -> list[Run]:
        common = [_override(name, value) for name, value in settings.items()]
        cells: dict[str, Mapping[str, Any]] = {}
        for combination in combinations:
            name = _cell_name(combination)
            if name in cells:
                self._wrong(
                    "grid",
                    f"{dict(combination)} and {dict(cells[name])} would both be called {name}; "
                    "leave one out, or rename a file",
                )
            cells[name] = combination
        runs, fixed = [], []
        tried = seeds or [0]
        for seed in tried:
            for dataset, file in datasets.items():
                configs: dict[str, Config] = {}
                for cell, combination in cells.items():
                    overrides = [_override(name, value) for name, value in combination.items()]
                    config = self._config(file, [*common, *overrides], seed)
                    if config is not None:
                        config = self._within_budget(cell, config)
                        same = next((name for name in configs if configs[name] == config), None)
                        if same is not None:
                            self._wrong("grid", f"{cell} is the same as {same}; leave one out")
                        configs[cell] = config
                if not configs:
                    continue
                minutes = self.budget.minutes
                runs += [
                    _run(dataset, cell, "network", seed, config, True, minutes)
                    for cell, config in configs.items()
                ]
                first = next(iter(configs.values()))
                if seed == tried[0]:
                    self._check_metric(dataset, first)
                    self._check_test(dataset, first)
                fixed += [
                    _run(dataset, name, "baseline", seed, first, False)
                    for name in baselines.BASELINES
                    if seed == tried[0] or name in baselines.RANDOM
                ]
                if all(config.model.encoder != "bag" for config in configs.values()):
                    # The same text and training; what only recurrence reads is left out.
                    bag, _ = from_dict(
                        first.to_dict(), ["model.encoder=bag", "model.pooling=max_mean"]
                    )
                    runs.append(_run(dataset, BAG, "network", seed, bag, False, minutes))
        return [run for run in (*fixed, *runs) if seeds or not run.is_random]

    def _within_budget(self, cell: str, config: Config) -> Config:
        if self.budget.weights is None:
            return config
        try:
            solved = with_weights(config, self.budget.weights)
        except ValueError as error:
            self._wrong("budget.weights", f"{cell}: {error}")
            return config
        model = solved.model.to_dict()
        if model["encoder"] != "bag":
            self.notices[
                f"{cell}: {model['units']} units, {recurrent_weights(model):,} weights in the "
                "recurrent layers"
            ] = None
        return solved

    def _check_metric(self, dataset: str, config: Config) -> None:
        metric, own = self.values.get("metric"), evaluation.contributed(config.data.multi_label)
        if metric is not None and metric not in own:
            labels = "several labels" if config.data.multi_label else "one label"
            self._wrong(
                "metric",
                f"{metric} is not of {dataset}, where a text has {labels}; expected one of "
                f"{', '.join(own)}",
            )

    def _check_test(self, dataset: str, config: Config) -> None:
        if config.data.source is None and config.data.test is None:
            self._wrong(
                "datasets",
                f"{dataset} has no test split, on which cells are compared; set data.test in its "
                "configuration",
            )

    def _config(self, file: Path, overrides: Sequence[str], seed: int) -> Config | None:
        try:
            config, notices = load(file, [*overrides, f"training.seed={seed}"])
        except ConfigError as error:
            self.problems += [
                re.sub(r"^--set ", f"{self.path}: ", problem) for problem in error.problems
            ]
            return None
        self.notices |= dict.fromkeys(notices)
        return config


def _run(
    dataset: str,
    cell: str,
    kind: Kind,
    seed: int,
    config: Config,
    is_asked: bool,
    minutes: float | None = None,
) -> Run:
    run = Run("", dataset, cell, kind, seed, config, is_asked, minutes)
    if run.is_random:
        return dataclasses.replace(run, name=f"{dataset}.{cell}.seed{seed}")
    return dataclasses.replace(run, name=f"{dataset}.{cell}", seed=0)


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[\w-]+", name) is not None


def _matches(combination: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    return all(
        name in combination
        and combination[name] == value
        and isinstance(combination[name], bool) == isinstance(value, bool)
        for name, value in part.items()
    )


def _override(name: str, value: Any) -> str:
    """`section.setting=value` as `--set` reads it."""
    if value is None:
        return f"{name}="
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
        return f"{name}={escaped}"
    return f"{name}={json.dumps(value, ensure_ascii=False)}"


def _cell_name(combination: Mapping[str, Any]) -> str:
    """Such as "bilstm" or "gru-units=64", fit for a file; what would be too long ends in a hash."""
    parts: list[str] = []
    for name, value in combination.items():
        if name == "model.encoder":
            direction = "bi" if combination.get("model.bidirectional") else ""
            parts.insert(0, f"{direction}{value}")
        elif name != "model.bidirectional" or "model.encoder" not in combination:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            fit = re.sub(r"[^-+.\w]+", "_", shown)
            parts.append(f"{name.partition('.')[2]}={fit}")
    whole = "-".join(parts)
    if len(whole.encode()) <= _LONGEST_NAME:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{whole.encode()[: _LONGEST_NAME - 9].decode(errors='ignore')}-{digest}"
