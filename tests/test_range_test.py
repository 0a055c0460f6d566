"""Learning-rate range test: rates, suggestion, the end at a loss that diverges, and its command."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from textclf import training
from textclf.cli import main
from textclf.config import Config
from textclf.errors import ConfigError, TextclfError, TrainingError
from textclf.training.range_test import summarise


@pytest.fixture(scope="module")
def settings(reviews: Path, tiny: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a network that trains in seconds."""
    return {**tiny, "data": {"source": str(reviews)}}


def test_rates_rise_geometrically_and_the_network_learns_at_the_suggested_one(
    settings: dict[str, Any],
) -> None:
    test = training.find_learning_rate(Config.from_dict(settings), num_steps=60)
    ratios = np.divide(test.rates[1:], test.rates[:-1])
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-6)
    assert test.rates[0] == pytest.approx(1e-5)
    assert test.suggestion is not None and 1e-4 < test.suggestion < test.highest
    rates = {"good": test.suggestion, "small": test.suggestion / 1000}
    losses = {name: _first_losses(settings, rate, num_steps=30) for name, rate in rates.items()}
    assert losses["good"][-1] < 0.9 * losses["small"][-1], "the suggested rate learns faster"


def _first_losses(settings: dict[str, Any], rate: float, *, num_steps: int) -> list[float]:
    test = training.find_learning_rate(
        Config.from_dict(settings), min_rate=rate, max_rate=rate * 1.0001, num_steps=num_steps
    )
    return list(test.smoothed)


def test_the_test_gives_the_same_losses_twice_and_reads_no_other_split(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    config = Config.from_dict(settings)
    first, second = (training.find_learning_rate(config, num_steps=12) for _ in range(2))
    assert first == second
    assert len(first.losses) == 12 and not first.diverged


def test_the_test_ends_when_the_loss_diverges(settings: dict[str, Any]) -> None:
    config = Config.from_dict(settings, {"training.optimizer": "sgd", "training.clip_norm": None})
    test = training.find_learning_rate(config, min_rate=1.0, max_rate=1e9, num_steps=200)
    assert test.diverged and len(test.losses) < 200
    assert all(map(math.isfinite, test.losses))
    assert test.highest < test.rates[-1]


def test_suggestion_is_where_the_loss_falls_fastest() -> None:
    rates = np.geomspace(1e-5, 1, 101).tolist()
    losses = [1 / (1 + math.exp(2 * (math.log10(rate) + 3))) + 0.1 for rate in rates[:80]]
    test = summarise(rates[:80], losses + [], diverged=True)
    # The moving mean is late by some steps.
    assert test.suggestion is not None and 1e-3 <= test.suggestion < 3e-3


def test_a_loss_that_hardly_falls_gives_no_suggestion() -> None:
    rates = np.geomspace(1e-5, 1, 50).tolist()
    assert summarise(rates, [0.69] * 50, diverged=False).suggestion is None


@pytest.mark.parametrize("num_losses", [0, 4])
def test_a_loss_that_is_not_finite_at_the_start_is_an_error(num_losses: int) -> None:
    with pytest.raises(TrainingError, match=rf"not finite after {num_losses} steps .*data check"):
        summarise([0.1] * num_losses, [0.7] * num_losses, diverged=True)


def test_wrong_arguments_are_reported_before_the_data_are_read(settings: dict[str, Any]) -> None:
    missing = Config.from_dict({**settings, "data": {"source": "missing.csv"}})
    with pytest.raises(ConfigError, match=r"from 1 to 0.1 in 200 steps: expected a first rate"):
        training.find_learning_rate(missing, min_rate=1, max_rate=0.1)
    with pytest.raises(ConfigError, match="a linear model has no learning rate"):
        training.find_learning_rate(
            Config.from_dict({"data": settings["data"], "model": {"encoder": "none"}})
        )
    with pytest.raises(TextclfError, match=r"missing.csv: no such file"):
        training.find_learning_rate(missing)


def test_lr_find_command_prints_a_suggestion_and_writes_a_picture(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "reviews.yaml").write_text(json.dumps(settings))
    arguments = ["lr-find", str(tmp_path / "reviews.yaml"), "--steps", "120"]
    done = CliRunner().invoke(main, [*arguments, "--plot", str(tmp_path / "rates.png")])
    assert done.exit_code == 0, done.output
    assert "configured rate     0.01" in done.stdout
    assert "suggestion          0." in done.stdout
    assert "--set training.learning_rate=" in done.stderr
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
    as_json = CliRunner().invoke(main, [*arguments, "--json"])
    assert len(json.loads(as_json.stdout)["losses"]) <= 120
    for name, message in (
        ("rates.doc", "is not a picture by its ending"),
        ("no/a.png", "does not exist"),
    ):
        wrong = CliRunner().invoke(main, [*arguments, "--plot", str(tmp_path / name)])
        assert wrong.exit_code == 1 and message in wrong.stderr, wrong.stderr
