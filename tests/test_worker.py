"""The worker: data must not change between runs, arrays keep predictions, gradients are exact."""

from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import pytest
from studies import TINY, write_grids

from textclf import networks
from textclf.errors import DataError, TrainingError
from textclf.study import grid, measuring, worker
from textclf.study.records import Job, PackedArray, to_float16
from textclf.tasks import task_of


@pytest.fixture
def folder(reviews: Path, tmp_path: Path) -> Path:
    return write_grids(tmp_path, reviews)


def test_data_changed_between_runs_of_a_benchmark_are_refused(folder: Path, reviews: Path):
    rows = reviews.read_text(encoding="utf-8")
    changed = folder / "changed.csv"
    (folder / "tiny.yaml").write_text(TINY.format(reviews="changed.csv"))
    run = grid.read(folder / "grid.yaml").runs[0]
    job = Job(
        run=run.name, dataset=run.dataset, cell=run.cell, kind=run.kind, seed=run.seed,
        job=run.kind, config=run.config.to_dict(), fixed_paths=dict(run.config.fixed_paths), folder=str(folder),
    )  # fmt: skip
    changed.write_text(rows, encoding="utf-8")
    worker.execute(job, lambda *_: None)
    changed.write_text(rows + "one more,positive\n", encoding="utf-8")
    with pytest.raises(DataError, match="have changed since the first run"):
        worker.execute(job, lambda *_: None)
    changed.write_text(rows, encoding="utf-8")
    worker.execute(job, lambda *_: None)


def test_a_missing_or_damaged_linear_model_of_a_mixture_is_reported_with_its_file(folder: Path):
    text = (folder / "grid.yaml").read_text() + "settings: {model.linear: mixture}\n"
    (folder / "grid.yaml").write_text(text)
    run = grid.read(folder / "grid.yaml").runs[-1]
    path = folder / "linear.npz"
    job = Job(
        run=run.name, dataset=run.dataset, cell=run.cell, kind=run.kind, seed=run.seed,
        job=run.kind, config=run.config.to_dict(), fixed_paths=dict(run.config.fixed_paths), folder=str(folder),
        linear_model=str(path),
    )  # fmt: skip
    for content in (None, b"", b"PK no archive"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(TrainingError, match=r"linear\.npz: cannot be read; remove the result"):
            worker.execute(job, lambda *_: None)


def test_a_damaged_log_of_test_reads_is_continued(tmp_path: Path):
    (tmp_path / "test_reads.jsonl").write_text('{"run": "a", "ti')
    assert worker.log_test_read("b", tmp_path) == 1
    assert worker.log_test_read("b", tmp_path) == 2


@pytest.mark.parametrize("multi_label", [False, True], ids=["one-of", "multi-label"])
def test_rounding_of_stored_probabilities_changes_no_prediction(multi_label: bool):
    rng = np.random.default_rng(0)
    p = np.clip(0.5 + rng.normal(0, 1e-4, (1000, 3)), 0, 1).astype(np.float32)
    thresholds = np.array([0.5, 0.50001, 0.49999], np.float32) if multi_label else None
    task = task_of(multi_label=multi_label, num_classes=3)
    rounded = to_float16(task, p, thresholds)
    assert rounded.dtype == np.float16
    np.testing.assert_array_equal(task.select(rounded, thresholds), task.select(p, thresholds))
    np.testing.assert_allclose(rounded, p, atol=2e-3)
    if multi_label:
        certain = to_float16(task, np.full((1, 3), 0.9999, np.float32), thresholds)
        assert (certain < 1).all(), "a probability of 1 would change the log loss"
        assert (task.select(p.astype(np.float16), thresholds) != task.select(p, thresholds)).any()
    packed = PackedArray.pack(rounded)
    stored = msgspec.json.decode(msgspec.json.encode(packed), type=PackedArray)
    np.testing.assert_array_equal(stored.unpack(), rounded)
    damaged = msgspec.structs.replace(packed, zlib_base64="eJwDAAAAAAE=")
    with pytest.raises(ValueError, match="not an array"):
        damaged.unpack()


def test_gradients_by_distance_of_a_linear_network_match_the_formula(model: Any):
    # For h[t] = w h[t - 1] + v x[t], dh[n - 1] / dx[n - 1 - k] is v w^k.
    architecture = networks.Architecture(
        encoder="simple_rnn", bidirectional=False, units=1, num_layers=1, pooling="last",
        embedding_dim=1,
    )  # fmt: skip
    network = networks.build(
        architecture, vocabulary_size=model.text_encoder.vocabulary_size, num_classes=2
    )
    cell = network.encoder.recurrent_layers[0].cell
    cell.activation = keras.activations.linear
    for variable, value in zip(cell.weights, ([[3.0]], [[0.5]], [0.0]), strict=True):
        variable.assign(value)

    class LinearModel:
        text_encoder = model.text_encoder

    LinearModel.network = network  # type: ignore[attr-defined]
    gradients = measuring.gradient_by_distance(LinearModel, ["a b c d e f", "a b"])
    assert gradients == pytest.approx({"0": 3.0, "1": 1.5, "2": 0.75, "4": 3 / 16})
    assert measuring.gradient_by_distance(model, ["good"]).keys() == {"0"}
