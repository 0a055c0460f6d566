"""Shared fixtures: the folder of real data, small files, and one trained classifier."""

import contextlib
import csv
import io
import itertools
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from textclf import demo, startup


def pytest_configure(config: pytest.Config) -> None:
    """Import TensorFlow in the processes that run tests, without its graph optimiser.

    This saves a quarter of the time, because most tests trace many graphs and run each a few times.
    Commands, servers, clients and verification in separate processes use the optimiser.
    """
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        startup.import_tensorflow()
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of `TEXTCLF_DATA`; skip the test if it is not set."""
    folder = os.environ.get("TEXTCLF_DATA")
    if not folder:
        pytest.skip("TEXTCLF_DATA is not set: this test reads published data sets")
    return Path(folder).resolve()


# The slowest files run first, so that no worker of `pytest -n` begins one of them at the end.
LONGEST = (
    *("runner", "cli", "training", "inference", "networks", "serving_versions"),
    *("serving_limits", "serving", "settings", "saved_model", "invariance", "docs", "config"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite tests/golden instead of comparing"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Return a check that a text equals a golden file: `golden(name, text)`."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text.encode())
            return
        assert path.is_file(), f"tests/golden/{name} is missing: run pytest --update-golden"
        assert text == path.read_bytes().decode(), "if wanted: pytest --update-golden, then review"

    return compare


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a folder that other users can enter, unlike `tmp_path`: for tests of permissions."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def full_disk() -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """Return a context in which no file can grow beyond a size: `with full_disk(num_bytes)`."""

    @contextlib.contextmanager
    def limit(room: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a CSV file of 300 English and Chinese opinions, with the columns text and label."""
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(itertools.islice(demo.examples("train"), 300))
    return path


@pytest.fixture(scope="session")
def tiny() -> dict[str, dict[str, object]]:
    """Return settings of a network that trains in seconds; a test adds its data."""
    return {
        "model": {"units": 6, "embedding_dim": 5, "linear": "none"},
        "training": {"epochs": 2, "batch_size": 32, "learning_rate": 0.01, "length_buckets": 4},
        "evaluation": {"bootstrap_samples": 100},
    }


@pytest.fixture(scope="session")
def bag(
    tiny: dict[str, dict[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, object]]:
    """Return `tiny` with the fastest network, without recurrence, and with cached shards."""
    model = {"encoder": "bag", "pooling": "mean", "embedding_dim": 5, "linear": "none"}
    model |= {"embedding_dropout": 0.0, "output_dropout": 0.0}
    return {
        **tiny,
        "model": model,
        "training": {**tiny["training"], "cache_dir": str(tmp_path_factory.mktemp("cache"))},
    }


@pytest.fixture(scope="session")
def trained(
    reviews: Path, tiny: dict[str, dict[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder of `tiny` trained on `reviews`; tests must not change it."""
    from textclf import config, training

    folder = tmp_path_factory.mktemp("runs") / "trained"
    resolved = config.Config.from_dict({**tiny, "data": {"source": str(reviews)}})
    for _ in training.train_events(resolved, folder):
        pass
    return folder


@pytest.fixture(scope="session")
def model(trained: Path) -> Any:
    """Return the loaded classifier of `trained`."""
    from textclf import classifier

    return classifier.load(trained)


@pytest.fixture(scope="session")
def several(bag: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the trained folder of a multi-label model with classes of different frequency."""
    folder = tmp_path_factory.mktemp("several")
    import numpy as np

    import textclf

    random = np.random.default_rng(0)
    rows = []
    for number in range(300):
        labels = [name for name, share in (("a", 0.5), ("b", 0.2), ("c", 0.1))
                  if random.random() < share]  # fmt: skip
        words = [label if random.random() < 0.7 else random.choice(list("abc")) for label in labels]
        rows.append(f"{' '.join([*words, f'n{number}'])}\t{','.join(labels)}\n")
    (folder / "rows.tsv").write_text("text\tlabel\n" + "".join(rows))
    values: dict[str, Any] = {
        **bag,
        "data": {"source": str(folder / "rows.tsv"), "multi_label": True},
    }
    values["data"]["validation_fraction"] = 0.3
    textclf.train(textclf.Config.from_dict(values), folder / "run")
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of the trained folder of a model with one label per text."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def several_run(several: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder of `several`."""
    shutil.copytree(several, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="session")
def exports(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with exports of `model`: reviews/1, and next/2 with another temperature."""
    from textclf import classifier, saved_model

    folder = tmp_path_factory.mktemp("exports")
    saved_model.export(model, folder / "reviews", is_verified=False)
    card = msgspec.structs.replace(model.card, temperature=5.0)
    other = classifier.Classifier(model.text_encoder, model.network, card)
    saved_model.export(other, folder / "next", version=2, is_verified=False)
    return folder


class DemoRun(NamedTuple):
    """Result of `textclf demo`; `folder` contains runs/demo and saved_models/demo/1."""

    folder: Path
    stdout: str
    stderr: str
    cpu_seconds: float


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """Run the demo once, in a new process and a new folder, and return its result."""
    folder = tmp_path_factory.mktemp("demo")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "textclf", "demo"], cwd=folder, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    # CPU time, because wall time depends on other work on the machine.
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return DemoRun(folder, done.stdout, done.stderr, cpu_seconds)


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that raises KeyboardInterrupt when a text is written to stderr."""

    def interrupt(awaited: str) -> None:
        class Interrupting(io.StringIO):
            def write(self, text: str) -> int:
                if awaited in text:
                    raise KeyboardInterrupt
                return super().write(text)

        monkeypatch.setattr(sys, "stderr", Interrupting())

    return interrupt


@pytest.fixture
def float64() -> Iterator[None]:
    """Let Keras layers that are created in the test compute in float64."""
    import keras

    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before)
    keras.config.set_dtype_policy(before)


@pytest.fixture
def visible_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let TensorFlow report a GPU, so that Keras traces cuDNN kernels."""
    import tensorflow as tf

    list_logical_devices = tf.config.list_logical_devices
    monkeypatch.setattr(
        tf.config,
        "list_logical_devices",
        lambda device_type=None: (
            [tf.config.LogicalDevice("/GPU:0", "GPU")]
            if device_type == "GPU"
            else list_logical_devices(device_type)
        ),
    )
