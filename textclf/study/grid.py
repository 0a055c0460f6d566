"""Reader of grid files: settings, data sets and seeds to compare, as YAML.

    datasets: {sst2: ../configs/sst2.yaml}     # configuration files, relative to the grid file
    settings: {model.linear: none}             # settings of all runs; they override the files
    grid:
      model.encoder: [simple_rnn, lstm, gru]
      model.bidirectional: [false, true]
    exclude: [{model.encoder: simple_rnn, model.bidirectional: false}]
    seeds: 5                                   # 0 to 4, or a list
    budget: {weights: 50000}                   # or {minutes: 5}; without it: equal settings

Each combination of the grid is a *cell*; a cell with a seed on a data set is a *run*.
"""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textclf import baselines
from textclf.config import REMOVED_SETTINGS, SETTINGS, Config, format_value, holds_text, reading
from textclf.errors import ConfigError, did_you_mean
from textclf.study.budget import Budget, recurrent_weights, with_weights
from textclf.study.runs import BAG, Grid, Run, cell_name, make_linear_run, make_run, override
from textclf.tasks import MultiLabel, OneOf, task_of

MINUTES_PER_RUN = 240.0
_MAX_NUMBER = 1e9  # upper bound of all numbers in a grid
METRICS = tuple(dict.fromkeys([*OneOf.comparison_metrics, *MultiLabel.comparison_metrics]))

# Entries of a grid file, with the description that messages show.
KEYS = {
    "datasets": "names of data sets with their configuration files",
    "settings": "settings of all runs, such as {training.epochs: 5}",
    "grid": "settings with lists of values, such as {model.encoder: [lstm, gru]}",
    "exclude": "a list of combinations to leave out",
    "seeds": "a number of seeds up to 1000, or a list of different ones",
    "budget": "{weights: N}, the weights of the recurrent layers, or {minutes: M} of training",
    "metric": f"one of {', '.join(METRICS)}",
    "confidence": "a number between 0.5 and 1",
    "smallest_difference": "a number above 0",
    "minutes_per_run": "a number above 0",
    "memory_mb_per_run": "a number above 0",
}
# Settings that a grid cannot contain, with the reason.
_RESERVED_SETTINGS = {
    "training.seed": "name it as `seeds`",
    "training.cache_dir": "the benchmark keeps one cache for each data set",
}


def read(path: Path) -> Grid:
    """Read a grid file and resolve the configuration of each run.

    Raises:
        ConfigError: with all errors of the grid and of its configuration files.
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


class _Reader:
    """Parser of the entries that collects all problems before it reports them."""

    def __init__(self, path: Path, parsed: reading.Parsed):
        self.path = path
        self.locations = parsed.locations
        self.problems = list(parsed.problems)
        self.entries: dict[str, Any] = {}
        if not isinstance(parsed.value, Mapping):
            self.problems.append(f"{path}: expected a benchmark with `datasets:` and `grid:`")
            return
        for key, value in parsed.value.items():
            if key in KEYS:
                self.entries[key] = value
            else:
                hint = did_you_mean(str(key), KEYS) or f"; choose from {', '.join(KEYS)}"
                self.report(str(key), f"no such entry{hint}")

    def grid(self) -> Grid:
        """Return the grid.

        Raises:
            ConfigError: with all problems.
        """
        datasets = self._datasets()
        seeds = self._seeds()
        combinations = self._combinations()
        settings = self._mapping("settings")
        for name in settings:
            self._check_setting("settings", name)
        budget = self._budget([*settings, *self._mapping("grid")])
        numbers = {
            name: self._number(name, default, below)
            for name, default, below in (
                ("confidence", 0.95, 1.0),
                ("smallest_difference", 0.01, None),
                ("minutes_per_run", MINUTES_PER_RUN, None),
                ("memory_mb_per_run", 16_384.0, None),
            )
        }
        metric = self.entries.get("metric")
        if metric is not None and metric not in METRICS:
            self._report_type("metric", metric)
        expansion = _Expansion(self, settings, budget, metric)
        runs = [] if self.problems else expansion.runs(datasets, combinations, seeds)
        if self.problems:
            raise ConfigError(list(dict.fromkeys(self.problems)))
        return Grid(
            path=str(self.path),
            runs=tuple(runs),
            metric=metric,
            **numbers,
            budget=budget,
            notices=tuple(expansion.notices),
        )

    def _datasets(self) -> dict[str, Path]:
        entry = self.entries.get("datasets")
        if not isinstance(entry, Mapping) or not entry:
            self._report_type("datasets", entry)
            return {}
        files = {}
        for name, file in entry.items():
            if not isinstance(file, str) or re.fullmatch(r"[\w-]+", str(name)) is None:
                self.report(
                    f"datasets.{name}",
                    "expected a name of letters, digits, `_` and `-` with a configuration file",
                )
            else:
                files[str(name)] = self.path.parent / file
        return files

    def _seeds(self) -> list[int]:
        entry = self.entries.get("seeds", 5)
        if isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry <= 1000:
            return list(range(entry))
        is_list = isinstance(entry, list) and all(
            isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in entry
        )
        if not is_list or len(set(entry)) < len(entry):
            self._report_type("seeds", entry)
            return []
        return entry

    def _combinations(self) -> list[dict[str, Any]]:
        lists = self._mapping("grid")
        if not lists:
            self._report_type("grid", self.entries.get("grid"))
        for name, values in lists.items():
            self._check_setting("grid", name)
            if not isinstance(values, list) or not values:
                self.report(f"grid.{name}", f"expected a list of values, found {values!r}")
                lists = {}
            elif len({json.dumps(value) for value in values}) < len(values):
                self.report(f"grid.{name}", f"{values!r} repeats a value; remove one")
        if self.problems:
            return []
        products = itertools.product(*lists.values())
        combinations = [dict(zip(lists, values, strict=True)) for values in products]
        excluded = self.entries.get("exclude") or []
        if not isinstance(excluded, list) or not all(isinstance(e, Mapping) for e in excluded):
            self._report_type("exclude", excluded)
            return []
        for exclusion in excluded:
            if not any(_matches(combination, exclusion) for combination in combinations):
                self.report("exclude", f"{dict(exclusion)!r} is no combination of the grid")
        kept = [c for c in combinations if not any(_matches(c, e) for e in excluded)]
        if not kept:
            self.report("exclude", "the exclusions remove every combination; remove one of them")
        return kept

    def _budget(self, named_settings: Sequence[str]) -> Budget:
        entry = self._mapping("budget")
        weights, minutes = entry.get("weights"), entry.get("minutes")
        is_valid = all(
            value is None
            or (
                isinstance(value, kind) and not isinstance(value, bool) and 0 < value <= _MAX_NUMBER
            )
            for value, kind in ((weights, int), (minutes, int | float))
        )
        if not is_valid or not entry.keys() <= {"weights", "minutes"}:
            self._report_type("budget", entry)
            return Budget()
        limit = self._number("minutes_per_run", MINUTES_PER_RUN, None)
        if minutes is not None and minutes >= limit:
            self.report(
                "budget",
                f"{minutes:g} minutes of training leave no time of minutes_per_run {limit:g} for "
                "the rest of a run; raise minutes_per_run or lower the budget",
            )
        budget = Budget(weights, None if minutes is None else float(minutes))
        for name in named_settings:
            if name in budget.derived_settings:
                self.report(
                    "budget",
                    f"{budget.derived_settings[name]} determines {name}, which the grid also "
                    "sets; remove one of them",
                )
        return budget

    def _mapping(self, key: str) -> dict[str, Any]:
        entry = self.entries.get(key)
        if entry is None:
            return {}
        if not isinstance(entry, Mapping):
            self._report_type(key, entry)
            return {}
        return dict(entry)

    def _number(self, key: str, default: float, below: float | None) -> float:
        value = self.entries.get(key, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        above = 0.5 if key == "confidence" else 0
        if (
            not is_number
            or not above < value <= _MAX_NUMBER
            or (below is not None and not value < below)
        ):
            self._report_type(key, value)
            return default
        return float(value)

    def _check_setting(self, key: str, name: str) -> None:
        if name in _RESERVED_SETTINGS:
            self.report(f"{key}.{name}", f"cannot be set here; {_RESERVED_SETTINGS[name]}")
        elif key == "grid" and name.partition(".")[0] in ("data", "evaluation"):
            self.report(
                f"{key}.{name}",
                "all runs of a data set use the same data and evaluation; vary settings of text, "
                "model or training",
            )
        elif name in REMOVED_SETTINGS:
            self.report(f"{key}.{name}", REMOVED_SETTINGS[name].advice)
        elif name not in SETTINGS:
            hint = did_you_mean(name, SETTINGS) or "; `textclf config schema` lists all"
            self.report(f"{key}.{name}", f"no such setting{hint}")

    def _report_type(self, key: str, value: Any) -> None:
        self.report(key, f"expected {KEYS[key]}, found {format_value(value)}")

    def report(self, path: str, message: str) -> None:
        """Add a problem, with the line of the entry if it is known."""
        location = (
            self.locations.get(path) or self.locations.get(path.partition(".")[0]) or self.path
        )
        self.problems.append(f"{location}: {path}: {message}")


class _Expansion:
    """Expansion of the entries into runs."""

    def __init__(
        self, reader: _Reader, settings: Mapping[str, Any], budget: Budget, metric: str | None
    ):
        self._reader = reader
        self._common = [override(name, value) for name, value in settings.items()]
        self._budget = budget
        self._metric = metric
        self.notices: dict[str, None] = {}  # in order and without duplicates

    def runs(
        self,
        datasets: Mapping[str, Path],
        combinations: Sequence[Mapping[str, Any]],
        seeds: Sequence[int],
    ) -> list[Run]:
        """Return the runs in the order of execution; without seeds, those that need none."""
        cells = self._cells(combinations)
        baseline_runs: list[Run] = []
        linear_runs: dict[str, Run] = {}
        network_runs: list[Run] = []
        # Without seeds the configurations are checked with the seed 0.
        for index, seed in enumerate(seeds or [0]):
            for dataset, file in datasets.items():
                configs = self._configs(file, cells, seed)
                if not configs:
                    continue
                first = next(iter(configs.values()))
                if index == 0:
                    self._check_metric(dataset, first)
                    self._check_test_split(dataset, first)
                baseline_runs += [
                    make_run(dataset=dataset, cell=name, kind="baseline", seed=seed, config=first,
                             in_grid=False)
                    for name in baselines.BASELINES
                    if index == 0 or name in baselines.RANDOM
                ]  # fmt: skip
                new_runs = self._network_runs(dataset, configs, cells, seed)
                linear_runs |= {run.linear.name: run.linear for run in new_runs if run.linear}
                network_runs += new_runs
        runs = (*baseline_runs, *linear_runs.values(), *network_runs)
        return [run for run in runs if seeds or not run.is_random]

    def _cells(self, combinations: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        cells: dict[str, Mapping[str, Any]] = {}
        for combination in combinations:
            name = cell_name(combination)
            if name in cells:
                self._reader.report(
                    "grid",
                    f"{dict(combination)} and {dict(cells[name])} have the same name {name}; "
                    "remove one, or rename a file",
                )
            cells[name] = combination
        return cells

    def _configs(
        self, file: Path, cells: Mapping[str, Mapping[str, Any]], seed: int
    ) -> dict[str, Config]:
        configs: dict[str, Config] = {}
        for cell, combination in cells.items():
            overrides = [override(name, value) for name, value in combination.items()]
            config = self._load(file, [*self._common, *overrides], seed)
            if config is None:
                continue
            config = self._apply_weights(cell, config)
            same = next((name for name in configs if configs[name] == config), None)
            if same is not None:
                self._reader.report("grid", f"{cell} is the same as {same}; remove one")
            configs[cell] = config
        return configs

    def _network_runs(
        self,
        dataset: str,
        configs: Mapping[str, Config],
        cells: Mapping[str, Mapping[str, Any]],
        seed: int,
    ) -> list[Run]:
        runs = [
            make_run(dataset=dataset, cell=cell, kind="network", seed=seed, config=config,
                     in_grid=True, minutes=self._budget.minutes,
                     linear=make_linear_run(dataset, cells[cell], config))
            for cell, config in configs.items()
        ]  # fmt: skip
        if all(config.model.encoder != "bag" for config in configs.values()):
            # Same text and training settings; settings of recurrent layers are dropped.
            first = next(iter(configs.values()))
            bag = first.replace({"model.encoder": "bag", "model.pooling": "max_mean"})
            runs.append(
                make_run(dataset=dataset, cell=BAG, kind="network", seed=seed, config=bag,
                         in_grid=False, minutes=self._budget.minutes, linear=runs[0].linear)
            )  # fmt: skip
        return runs

    def _load(self, file: Path, overrides: Sequence[str], seed: int) -> Config | None:
        try:
            config = Config.load(file, [*overrides, f"training.seed={seed}"])
        except ConfigError as error:
            self._reader.problems += [
                re.sub(r"^--set ", f"{self._reader.path}: ", problem) for problem in error.problems
            ]
            return None
        self.notices |= dict.fromkeys(config.notices)
        return config

    def _apply_weights(self, cell: str, config: Config) -> Config:
        if self._budget.weights is None:
            return config
        try:
            solved = with_weights(config, self._budget.weights)
        except ValueError as error:
            self._reader.report("budget.weights", f"{cell}: {error}")
            return config
        model = solved.model.to_dict()
        if model["encoder"] != "bag":
            self.notices[
                f"{cell}: {model['units']} units, {recurrent_weights(model):,} weights in the "
                "recurrent layers"
            ] = None
        return solved

    def _check_metric(self, dataset: str, config: Config) -> None:
        # The number of classes is not known before the data are read.
        task = task_of(multi_label=config.data.multi_label, num_classes=0)
        available = task.comparison_metrics
        if self._metric is not None and self._metric not in available:
            self._reader.report(
                "metric",
                f"{self._metric} is not available for {dataset}, which has {task.phrase}; "
                f"choose from {', '.join(available)}",
            )

    def _check_test_split(self, dataset: str, config: Config) -> None:
        if config.data.source is None and config.data.test is None:
            self._reader.report(
                "datasets",
                f"{dataset} has no test split to compare on; set data.test in its configuration",
            )


def _matches(combination: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    """Decide whether the combination has the values of `part`; True is not 1."""
    return all(
        name in combination
        and combination[name] == value
        and isinstance(combination[name], bool) == isinstance(value, bool)
        for name, value in part.items()
    )
