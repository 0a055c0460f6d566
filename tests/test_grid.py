"""Grid files: each combination with each seed, all errors at once, equal budgets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from studies import CELLS, GRID, MIXTURES, TINY, run_benchmark, write_grids

from textclf import networks
from textclf.cli import main
from textclf.errors import ConfigError
from textclf.study import budget, grid


@pytest.fixture
def folder(reviews: Path, tmp_path: Path) -> Path:
    return write_grids(tmp_path, reviews)


def test_a_grid_contains_each_combination_with_each_seed_and_the_simple_classifiers(folder: Path):
    benchmark = grid.read(folder / "cells.yaml")
    names = [run.name for run in benchmark.runs]
    assert names[:9] == [
        "tiny.majority",
        "tiny.tfidf_logistic_regression",
        "tiny.fasttext.seed0",
        "tiny.fasttext.seed1",
        "tiny.fasttext.seed2",
        "tiny.bisimple_rnn.seed0",
        "tiny.gru.seed0",
        "tiny.bigru.seed0",
        "tiny.bag_of_embeddings.seed0",
    ], "all cells with one seed come before the next seed"
    assert len(names) == len(set(names)) == 2 + 3 * 5
    by_name = {run.name: run for run in benchmark.runs}
    assert by_name["tiny.bigru.seed2"].config.training.seed == 2
    assert by_name["tiny.bigru.seed2"].config.model.bidirectional is True
    assert by_name["tiny.gru.seed0"].config.model.embedding_dropout == 0.0
    assert by_name["tiny.bag_of_embeddings.seed1"].config.model.encoder == "bag"
    assert [run.cell for run in benchmark.runs if run.in_grid and run.seed == 1] == [
        "bisimple_rnn",
        "gru",
        "bigru",
    ]
    fingerprints = {run.fingerprint for run in benchmark.runs}
    assert len(fingerprints) == len(names)


def test_mixtures_with_the_same_settings_of_the_linear_model_share_one_fit(folder: Path):
    (folder / "cells.yaml").write_text(MIXTURES)
    first = grid.read(folder / "cells.yaml")
    [linear] = first.linear_models
    assert (linear.name, linear.in_grid, linear.is_random) == ("tiny.linear_model", False, False)
    networks_of_grid = [run for run in first.runs if run.kind == "network"]
    assert len(networks_of_grid) == 3 * 4 and all(run.linear == linear for run in networks_of_grid)
    assert linear.config.model.encoder == "none"
    changes = {
        "seeds: 3": "seeds: [7]",
        "model.embedding_dropout: 0.0": "training.epochs: 3",
        "[simple_rnn, gru]": "[lstm, simple_rnn]",
        "model.linear: mixture, ": "model.linear: mixture, text.max_tokens: 9, ",
    }
    for old, new in changes.items():
        (folder / "cells.yaml").write_text(MIXTURES.replace(old, new))
        [other] = grid.read(folder / "cells.yaml").linear_models
        assert other.fingerprint == linear.fingerprint, new
    for setting in ("text.lowercase: false", "text.linear_length: 9",
                    "training.class_weights: balanced"):  # fmt: skip
        text = MIXTURES.replace("model.linear: mixture", f"model.linear: mixture, {setting}")
        (folder / "cells.yaml").write_text(text)
        [other] = grid.read(folder / "cells.yaml").linear_models
        assert other.fingerprint != linear.fingerprint, setting
    (folder / "cells.yaml").write_text(CELLS)
    assert grid.read(folder / "cells.yaml").linear_models == ()


def test_cells_with_different_tokens_have_different_linear_models(folder: Path):
    text = MIXTURES.replace("grid:", "grid:\n  text.unit: [word, character]")
    (folder / "cells.yaml").write_text(text)
    benchmark = grid.read(folder / "cells.yaml")
    by_unit = {run.config.text.unit: run.name for run in benchmark.linear_models}
    assert by_unit == {
        "word": "tiny.linear_model-unit=word",
        "character": "tiny.linear_model-unit=character",
    }
    for run in benchmark.runs:
        if run.in_grid:
            assert run.linear.name == by_unit[run.config.text.unit]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "expected a benchmark with `datasets:` and `grid:`"),
        (GRID + "seed: 3", "grid.yaml:6: seed: no such entry; did you mean 'seeds'?"),
        (GRID.replace("tiny.yaml", "tini.yaml"), "no such configuration file; did you mean"),
        (GRID.replace("embedding_dim", "embeding_dim"), "did you mean 'model.embedding_dim'?"),
        (GRID + "settings: {model.ngram_buckets: 0}", "was replaced by model.linear; remove it"),
        (GRID.replace("[2, 3]", "[2, 2]"), "[2, 2] repeats a value"),
        (GRID.replace("[2, 3]", "3"), "expected a list of values, found 3"),
        (GRID.replace("[2, 3]", "[2, -3]"), "model.embedding_dim: expected"),
        (GRID.replace("seeds: 1", "seeds: -1"), "seeds: expected a number of seeds up to 1000"),
        (GRID.replace("seeds: 1", "seeds: [1, 1]"), "or a list of different ones"),
        (GRID.replace("model.embedding_dim: [2, 3]", "data.header: [true]"), "the same data"),
        (GRID.replace("model.embedding_dim: [2, 3]", "training.seed: [1]"), "name it as `seeds`"),
        (GRID + "metric: f1", "metric: expected one of accuracy, macro_f1"),
        (
            GRID + "metric: micro_f1",
            "micro_f1 is not available for tiny, which has one class per text; choose from accuracy",
        ),
        (GRID + "budget: 5", "budget: expected {weights: N}"),
        (GRID + "budget: {weights: 1.5}", "budget: expected {weights: N}"),
        (GRID + "budget: {minuts: 1}", "budget: expected {weights: N}"),
        (GRID + "budget: {minutes: .inf}", "budget: expected {weights: N}"),
        (GRID + "budget: {minutes: 240}", "leave no time of minutes_per_run 240"),
        (
            GRID.replace("embedding_dim: [2, 3]", "embedding_vectors: [v/a.txt, v_a.txt]"),
            "have the same name embedding_vectors=v_a.txt",
        ),
        (CELLS + "budget: {weights: 7}", "gru: expected 24 to 201,498,624 weights"),
        (
            CELLS.replace("{model.emb", "{model.units: 4, model.emb") + "budget: {weights: 999}",
            "weights determines model.units, which the grid also sets",
        ),
        (
            GRID + "settings: {training.epochs: 2}\nbudget: {minutes: 1}",
            "minutes determines training.epochs, which the grid also sets",
        ),
        (GRID + "confidence: 95", "confidence: expected a number between 0.5 and 1, found 95"),
        (GRID + "exclude: [{model.embedding_dim: 9}]", "is no combination of the grid"),
        (
            GRID + "exclude: [{model.embedding_dim: 2}, {model.embedding_dim: 3}]",
            "the exclusions remove every combination",
        ),
        (
            GRID.replace("[2, 3]", "[1, 2]") + "exclude: [{model.embedding_dim: true}]",
            "is no combination of the grid",
        ),
        (
            GRID.replace("model.embedding_dim: [2, 3]", "training.learning_rate: [1, 1.0]"),
            "learning_rate=1.0 is the same as learning_rate=1; remove one",
        ),
        (GRID + "smallest_difference: .inf", "smallest_difference: expected a number above 0"),
        (GRID + f"minutes_per_run: {'9' * 400}", "minutes_per_run: expected a number above 0"),
        (GRID + "datasets: {}", "datasets"),
        # A bag has no directions: an invalid combination.
        (
            GRID.replace("model.embedding_dim: [2, 3]", "model.bidirectional: [true, false]"),
            "model.bidirectional",
        ),
    ],
)
def test_an_error_in_a_grid_is_reported_before_any_run(folder: Path, text: str, message: str):
    (folder / "grid.yaml").write_text(text)
    result = run_benchmark(folder, "grid.yaml", "out")
    assert result.exit_code == 1 and message in result.stderr, result.output
    assert "Traceback" not in result.stderr and not (folder / "out").exists()


def test_all_errors_of_a_grid_are_reported_together(folder: Path):
    (folder / "grid.yaml").write_text(GRID.replace("seeds: 1", "seeds: x") + "metric: f\nodd: 1")
    with pytest.raises(ConfigError) as error:
        grid.read(folder / "grid.yaml")
    assert len(error.value.problems) == 3


def test_texts_in_a_grid_are_read_as_written(folder: Path):
    settings = "settings: {data.class_names: [007, 1.0], data.label_column: 02}\n"
    (folder / "grid.yaml").write_text(GRID + settings)
    for run in grid.read(folder / "grid.yaml").runs:
        assert run.config.data.class_names == ["007", "1.0"]
        assert run.config.data.label_column == "02"


def test_the_name_of_a_cell_with_a_long_value_is_short_and_unique(folder: Path):
    paths = [f"{'vectors/' * 30}{name}.txt" for name in "ab"]
    text = GRID.replace("model.embedding_dim: [2, 3]", f"model.embedding_vectors: {paths}")
    (folder / "grid.yaml").write_text(text)
    cells = {run.cell for run in grid.read(folder / "grid.yaml").runs if run.in_grid}
    assert len(cells) == 2 and all(len(cell) == 100 for cell in cells)


def test_data_without_a_test_split_are_reported_before_any_run(folder: Path, reviews: Path):
    (folder / "tiny.yaml").write_text(TINY.format(reviews=reviews).replace("source:", "train:"))
    result = run_benchmark(folder, "grid.yaml", "out")
    assert result.exit_code == 1, result.output
    assert "tiny has no test split to compare on; set data.test" in result.stderr
    assert not (folder / "out").exists()


def test_the_simple_classifiers_ignore_settings_of_recurrent_layers(folder: Path):
    text = CELLS.replace("settings: {", "settings: {model.units: 4, model.num_layers: 2, ")
    (folder / "cells.yaml").write_text(text)
    benchmark = grid.read(folder / "cells.yaml")
    cells = {run.cell: run.config for run in benchmark.runs}
    assert cells.keys() > {"majority", "tfidf_logistic_regression", "bag_of_embeddings"}
    assert cells["bag_of_embeddings"].model.embedding_dim == cells["gru"].model.embedding_dim
    assert cells["bag_of_embeddings"].model.pooling == "max_mean"
    assert benchmark.notices == (), "settings dropped for the bag are no notice"


def test_an_unwritable_output_of_a_benchmark_is_reported_before_any_run(folder: Path):
    for output in ("/proc/nowhere/out", str(folder / "tiny.yaml"), str(folder / "tiny.yaml/out")):
        result = CliRunner().invoke(main, ["benchmark", str(folder / "grid.yaml"), output])
        assert result.exit_code == 1 and isinstance(result.exception, SystemExit), output
        assert output in result.stderr and "name" in result.stderr


# === Budgets ===


@pytest.mark.parametrize("encoder", ["simple_rnn", "lstm", "gru"])
@pytest.mark.parametrize("changes", [{}, {"num_layers": 2}, {"reset_after": False}])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
def test_counted_recurrent_weights_equal_those_of_the_network(
    encoder: str, changes: dict[str, Any], bidirectional: bool
):
    model = {
        "encoder": encoder, "bidirectional": bidirectional, "units": 5, "num_layers": 1,
        "embedding_dim": 3, "reset_after": True, **changes,
    }  # fmt: skip
    architecture = networks.Architecture(pooling="last", **model)
    network = networks.build(architecture, vocabulary_size=9, num_classes=2)
    layers = network.encoder.recurrent_layers
    num_weights = sum(np.prod(w.shape) for layer in layers for w in layer.weights)
    assert budget.recurrent_weights(model) == num_weights


def test_a_budget_of_weights_is_refused_for_an_encoder_with_an_unknown_number_of_weights(
    folder: Path,
):
    text = CELLS.replace("gru", "some.module:function") + "budget: {weights: 5000}\n"
    (folder / "cells.yaml").write_text(text)
    with pytest.raises(ConfigError, match="the weights of some.module:function are not known"):
        grid.read(folder / "cells.yaml")


def test_a_budget_of_weights_gives_each_cell_the_nearest_number_of_units(folder: Path):
    (folder / "cells.yaml").write_text(CELLS + "budget: {weights: 5000}\n")
    benchmark = grid.read(folder / "cells.yaml")
    for run in benchmark.runs:
        model = run.config.model.to_dict()
        if run.kind == "network" and run.in_grid:
            distances = [
                abs(budget.recurrent_weights({**model, "units": model["units"] + more}) - 5000)
                for more in (-1, 0, 1)
            ]
            assert distances[1] == min(distances) and distances[1] < 250
            assert model["units"] != 64
    assert "gru: 37 units, 4,884 weights in the recurrent layers" in benchmark.notices


def test_a_calibration_of_a_time_budget_ends_only_by_its_time(folder: Path):
    config = grid.read(folder / "grid.yaml").runs[-1].config
    training = replace(config.training, max_steps=20, epochs=2)
    config = replace(config, training=training)
    endless = budget.without_end(config).training
    assert endless.max_steps is None and endless.patience_epochs == 0 and endless.epochs >= 10_000
    limited = budget.with_steps(config, 77).training
    assert limited.max_steps == 77 and limited.epochs >= 77
    assert limited.patience_epochs == config.training.patience_epochs
