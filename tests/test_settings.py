"""Effects of settings: for each setting two values and an observation that differs.

An observation uses a whole configuration and the public functions that the commands call. So a
setting that no module reads, or that is not passed on, fails.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
import tensorflow as tf
from small_networks import features
from tensorflow.python.framework import config as framework

from textclf import artifact, classifier, config, data, evaluation, networks, pretraining, training
from textclf.errors import TextclfError
from textclf.training import optimization

# === Tiny data ===

GOOD = ("a lovely film", "LOVELY and warm", "I loved it &amp; them", "what a ｆｉｌｍ", "warm film")
BAD = ("a dull film", "DULL and cold", "I hated it &lt; you", "what a bore", "cold and dull film")
PROBES = (
    "Lovely dull FILM unheard ｆｉｌｍ",
    "a &amp; b",
    "what a dull and lovely cold film it is",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the data files; `FOLDER` in the configurations below."""
    folder = tmp_path_factory.mktemp("settings")

    def write(name: str, *lines: str, encoding: str = "utf-8") -> None:
        (folder / name).write_text("\n".join(lines) + "\n", encoding=encoding)

    rows = [
        # Texts of many lengths, so that there are several buckets.
        (f"{text} {'and ' * (i % 5)}{'it ' * (i % 3)}", label)
        for i in range(5)
        for texts, label in ((GOOD, "pos"), (BAD, "neg"))
        for text in texts
    ]
    write("train.csv", "text,label", *(f"{text},{label}" for text, label in rows))
    held_out = [*((text + " it", "pos") for text in GOOD), *((text + " it", "neg") for text in BAD)]
    write("validation.csv", "text,label", *(f"{text},{label}" for text, label in held_out))
    write("other.csv", "text,label", *(f"{text} today,{label}" for text, label in held_out))
    write("seen.csv", "text,label", *(f"{text},{label}" for text, label in rows[:4]))
    write("unknown.csv", "text,label", "a film,odd", *(f"{t},{lab}" for t, lab in held_out))
    write("semicolon.csv", "text;label", *(f"{text};{label}" for text, label in rows))
    write("quoted.tsv", "text\tlabel", *(f'"{text}"\t{label}' for text, label in rows))
    write(
        "columns.csv", "1,2,3,4", *(f"{t},{lab},title,{i % 2}" for i, (t, lab) in enumerate(rows))
    )
    write("many.csv", "text,label", *(f'{text},"{label},film"' for text, label in rows))
    write("ids.csv", "text,label", *(f"{text},{1 + (label == 'pos')}" for text, label in rows))
    write("accents.csv", "text,label", *(f"{text} é,{label}" for text, label in rows))
    write("unlabelled.csv", "text,label", *(f"{text},{label}" for text, label in rows), "odd,")
    write("names.txt", "pos", "neg")
    write("vectors.txt", "film 1 2", "dull 3 4")
    other = {"data": {"source": f"{folder}/other.csv"}, "model": TINY, "training": SHORT}
    training.train(config.Config.from_dict(other), folder / "trained")
    return folder


# === Observations ===


def _open(settings: config.Config) -> data.Dataset:
    return data.open_dataset(config.with_paths(settings).data)


def splits(settings: config.Config, output: Path) -> Any:
    """Return texts and label names of every split, or the message of the error."""
    try:
        data.check_sources(config.with_paths(settings).data)
        dataset = _open(settings)
    except TextclfError as error:
        return str(error)
    return dataset.class_names, {
        split: [
            (example.text, [dataset.class_names[label] for label in example.label_ids])
            for example in dataset.examples(split)
        ]
        for split in dataset.splits
    }


def token_ids(settings: config.Config, output: Path) -> Any:
    """Return the token ids of some texts, with a fixed vocabulary."""
    vocabulary = output.with_name(output.name + ".txt")
    vocabulary.write_text("film\ndull\na\n,\nl\nam\n&\nlovely\n")
    encoded = classifier.build_text_encoder(settings, vocabulary)(tf.constant(PROBES))
    return [None if value is None else value.numpy().tolist() for value in encoded]


def network(settings: config.Config, output: Path) -> Any:
    """Return weights, trained variables, penalty, and outputs with and without training."""
    built = networks.build(
        networks.Architecture.from_settings(settings.model.to_dict()),
        vocabulary_size=9,
        num_classes=2,
        seed=settings.training.seed,
    )
    texts = features([[2, 3, 4, 5], [6, 7, 8, 0]], [4, 3])
    return (
        {name: value.tolist() for name, value in classifier.get_weights(built).items()},
        [variable.path for variable in built.trainable_variables],
        float(tf.add_n(built.losses)) if built.losses else 0.0,
        built(texts, training=True).numpy().tolist(),
        built(texts).numpy().tolist(),
    )


def start(settings: config.Config, output: Path) -> Any:
    """Return the first event of a training, and the cached files after its end."""
    events = training.train_events(settings, output)
    first = next(events)
    events.close()  # type: ignore[attr-defined]
    assert isinstance(first, training.Started)
    cache_dir = settings.training.cache_dir
    return first, cache_dir and sorted(path.name for path in Path(cache_dir).iterdir())


def run(settings: config.Config, output: Path) -> Any:
    """Return losses of all steps, the history, the reason of the end, and the saved weights."""
    events = list(training.train_events(settings, output))
    finished = events[-1]
    assert isinstance(finished, training.Finished)
    return (
        [event.loss for event in events if isinstance(event, training.Step)],
        [event.figures for event in events if isinstance(event, training.Epoch)],
        (finished.best_epoch, finished.epochs, finished.why),
        {name: weights.tolist() for name, weights in np.load(output / artifact.WEIGHTS).items()},
    )


def mixture(settings: config.Config, output: Path) -> Any:
    """Return what `run` returns, for a network with a linear model beside it."""
    return run(settings, output)


def recurrent_run(settings: config.Config, output: Path) -> Any:
    """Return what `run` returns, for a network with a recurrent layer."""
    return run(settings, output)


def lowest_depths(settings: config.Config, output: Path) -> Any:
    """Return the lowest trained layer of the first epochs of a recurrent network."""
    built = networks.build(
        networks.Architecture.from_settings(settings.model.to_dict()),
        vocabulary_size=9,
        num_classes=2,
    )
    optimizer = optimization.Optimizer(built, settings.training)
    return [optimizer.lowest_depth(epoch) for epoch in range(1, 5)]


def language_model(settings: config.Config, output: Path) -> Any:
    """Return losses, perplexities and sizes of a language model."""
    events = list(pretraining.pretrain_events(settings, output))
    return [
        msgspec.structs.replace(event, seconds=0)
        if isinstance(event, pretraining.Measured)
        else event
        for event in events
        if not isinstance(event, pretraining.Finished)
    ]


def dropout_masks(settings: config.Config, output: Path) -> Any:
    """Return what `run` returns, for a network with dropout, whose masks differ in each part."""
    return run(settings, output)


def determinism(settings: config.Config, output: Path) -> bool:
    """Return whether TensorFlow is asked for deterministic kernels."""
    framework.disable_op_determinism()
    start(settings, output)
    return framework.is_op_determinism_enabled()


def num_mirrored(settings: config.Config, output: Path) -> int:
    """Return the number of mirrored strategies of a training; one device gives equal results."""
    made = []

    class Strategy(tf.distribute.MirroredStrategy):
        def __init__(self, *args: Any, **kwargs: Any):
            made.append(args)
            super().__init__(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.distribute, "MirroredStrategy", Strategy)
        start(settings, output)
    return len(made)


def watchdog_minutes(settings: config.Config, output: Path) -> str:
    """Return the limit of the watchdog that a worker starts before it connects to the others."""
    commands = []

    class Popen(subprocess.Popen):
        def __init__(self, command: Any, **kwargs: Any):
            commands.append(command)
            super().__init__(command, **kwargs)

    workers = {"worker": ["localhost:1", "localhost:2"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "TF_CONFIG", json.dumps({"cluster": workers, "task": {"type": "worker", "index": 0}})
        )
        patch.setattr(subprocess, "Popen", Popen)
        # Workers can connect before TensorFlow has computed something, and here it has.
        with pytest.raises(TextclfError, match="start the training in a new process"):
            start(settings, output)
    [command] = commands
    return command[-2]


def event_files(settings: config.Config, output: Path) -> Any:
    """Return the number of TensorBoard files, or the message about the missing extra."""
    try:
        run(settings, output)
    except TextclfError as error:
        assert "pip install '.[tensorboard]'" in str(error)
        return "not installed"
    return len(list(output.rglob("events.out.*")))


def tracked_runs(settings: config.Config, output: Path) -> Any:
    """Return the number of runs in MLflow, or the message about the missing extra."""
    store = f"sqlite:///{output.with_suffix('.db')}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            run(settings, output)
        except TextclfError as error:
            assert "pip install '.[mlflow]'" in str(error)
            return "not installed"
        if not settings.training.mlflow:
            return 0
        import mlflow

        client = mlflow.MlflowClient(store)
        return len(client.search_runs([e.experiment_id for e in client.search_experiments()]))


def checkpoints(settings: config.Config, output: Path) -> Any:
    """Return the names of the checkpoints at the last step of the first epoch."""
    for event in training.train_events(settings, output):
        if isinstance(event, training.Step) and event.step == event.steps_per_epoch:
            folder = output.with_name(f"{output.name}.unfinished") / "checkpoints"
            return sorted(path.name for path in folder.glob("*"))
    raise AssertionError("no epoch ended")


def report(settings: config.Config, output: Path) -> Any:
    """Return the report on 100 random answers."""
    random = np.random.default_rng(0)
    y_true, p = random.integers(2, size=100), random.random(100)
    found = evaluation.evaluate(
        y_true,
        np.stack([p, 1 - p], axis=1),
        class_names=("neg", "pos"),
        multi_label=False,
        num_tokens=random.integers(1, 50, size=100),
        **settings.evaluation.to_dict(),
    )
    return found.to_dict()


# === Two values of every setting, and where they differ ===

Observation = Callable[[config.Config, Path], Any]
FILES: dict[str, Any] = {"train": "FOLDER/train.csv", "validation": "FOLDER/validation.csv"}
SINGLE: dict[str, Any] = {"source": "FOLDER/train.csv"}
COLUMNS: dict[str, Any] = {
    "source": "FOLDER/columns.csv",
    "text_columns": ["1"],
    "label_column": "2",
}
MANY: dict[str, Any] = {"source": "FOLDER/many.csv", "multi_label": True}
# The smallest network; the text settings leave some words unknown.
TINY: dict[str, Any] = {"encoder": "bag", "pooling": "mean", "embedding_dim": 2}
TINY |= {"linear": "none", "embedding_dropout": 0.0, "output_dropout": 0.0}
RECURRENT: dict[str, Any] = {"encoder": "gru", "units": 2, "embedding_dim": 2, "pooling": "max"}
SHORT: dict[str, Any] = {"epochs": 1, "batch_size": 20, "learning_rate": 0.05, "clip_norm": 0.02}
SMALL_LANGUAGE_MODEL: dict[str, Any] = {"batch_size": 2, "window": 8, "num_candidates": 4}
SMALL_LANGUAGE_MODEL |= {"held_out": 0.2, "clip_norm": 0.01}
# Encoded once for all runs of the same text settings.
CACHED: dict[str, Any] = {"cache_dir": "FOLDER/cache"}
# Weights that do not move: no epoch is better than the first.
STILL: dict[str, Any] = {"learning_rate": 1e-30, "patience_epochs": 0, "epochs": 3}


class Row(NamedTuple):
    observe: Observation
    one: Any
    other: Any
    base: dict[str, Any] = {}  # further settings of the section, equal for both values
    data: dict[str, Any] = FILES


def table() -> Iterator[tuple[str, Row]]:
    name: str
    one: Any
    other: Any
    base: dict[str, Any]
    for name, one, other, base in (
        ("source", "FOLDER/train.csv", "FOLDER/other.csv", {}),
        ("train", "FOLDER/train.csv", "FOLDER/other.csv", {}),
        ("validation", "FOLDER/validation.csv", "FOLDER/other.csv", {"train": FILES["train"]}),
        ("test", None, "FOLDER/other.csv", FILES),
        ("format", "csv", "tsv", SINGLE),
        ("delimiter", ",", ";", {"source": "FOLDER/semicolon.csv"}),
        ("quoting", "minimal", "none", {"source": "FOLDER/quoted.tsv"}),
        ("header", True, False, COLUMNS),
        ("text_columns", ["1"], ["1", "3"], COLUMNS),
        ("text_separator", " ", "", COLUMNS | {"text_columns": ["1", "3"]}),
        ("label_column", "2", "4", COLUMNS),
        ("multi_label", False, True, {"source": "FOLDER/many.csv"}),
        ("label_separator", ",", "|", MANY),
        ("class_names", None, ["pos", "neg"], SINGLE),
        ("class_names_file", None, "FOLDER/names.txt", SINGLE),
        ("label_ids", "from_zero", "from_one", {"class_names": ["x", "y", "z"]}),
        ("rename_labels", {}, {"pos": "good"}, SINGLE),
        ("encoding", "utf-8", "latin-1", {"source": "FOLDER/accents.csv"}),
        ("data_dir", "FOLDER/here", "FOLDER/there", {"source": "tfds:imdb_reviews"}),
        ("validation_fraction", 0.1, 0.3, SINGLE),
        ("test_fraction", 0.1, 0.3, SINGLE),
        ("split_seed", 0, 1, SINGLE),
        ("in_memory_rows", 1000, 0, SINGLE),
        ("skip_unlabelled", False, True, {"source": "FOLDER/unlabelled.csv"}),
        ("drop_unknown_labels", False, True, FILES | {"validation": "FOLDER/unknown.csv"}),
        ("drop_leaked_train", False, True, FILES | {"validation": "FOLDER/seen.csv"}),
    ):
        if name == "label_ids":
            base = base | {"source": "FOLDER/ids.csv"}
        yield f"data.{name}", Row(splits, one, other, data=base)
    for name, one, other in (
        ("unit", "word", "character"),
        ("lowercase", True, False),
        ("fold_width", True, False),
        ("unescape_entities", True, False),
        ("hash_buckets", 0, 50),
        ("subwords", False, True),
        ("sequence_length", 400, 4),
    ):
        yield f"text.{name}", Row(token_ids, one, other)
    yield "text.subword_buckets", Row(token_ids, 50, 60, {"subwords": True})
    yield "text.linear_length", Row(mixture, 5000, 2)
    yield "text.keep", Row(token_ids, "start", "both", {"sequence_length": 4})
    yield "text.max_tokens", Row(start, 20_000, 3)
    yield "text.min_count", Row(start, 2, 12)
    for name, one, other in (
        ("encoder", "gru", "lstm"),
        ("bidirectional", True, False),
        ("units", 2, 3),
        ("num_layers", 1, 2),
        ("pooling", "max", "mean"),
        ("embedding_dim", 2, 3),
        ("token_dropout", 0, 0.9),
        ("embedding_dropout", 0, 0.9),
        ("input_dropout", 0, 0.9),
        ("recurrent_dropout", 0, 0.9),
        ("output_dropout", 0, 0.9),
        ("l1", 0, 0.1),
        ("l2", 0, 0.1),
        ("kernel_initializer", "glorot_uniform", "he_normal"),
        ("recurrent_initializer", "orthogonal", "normal"),
        ("reset_after", True, False),
    ):
        yield f"model.{name}", Row(network, one, other, RECURRENT)
    yield "model.linear", Row(run, "none", "mixture", TINY)
    yield "model.layer_norm", Row(network, False, True, RECURRENT | {"num_layers": 2})
    vectors = {"embedding_vectors": "FOLDER/vectors.txt"}
    yield "model.embedding_vectors", Row(run, None, "FOLDER/vectors.txt", TINY)
    yield "model.train_embedding", Row(run, True, False, TINY | vectors)
    for name, one, other, base in (
        ("epochs", 1, 2, {}),
        ("max_steps", None, 1, {}),
        ("batch_size", 20, 10, {}),
        ("layer_decay", 1, 0.1, {}),
        ("average", "none", "ema", {}),
        ("average_decay", 0.9, 0.01, {"average": "ema"}),
        ("init_from", None, "FOLDER/trained", {}),
        ("init_vocabulary", "keep", "new", {"init_from": "FOLDER/trained"}),
        ("freeze_epochs", 0, 1, {"init_from": "FOLDER/trained"}),
        ("precision", "float32", "mixed_bfloat16", {}),
        ("optimizer", "adam", "sgd", {}),
        ("learning_rate", 0.05, 0.01, {}),
        ("momentum", 0, 0.9, {"optimizer": "sgd"}),
        ("weight_decay", 0.01, 0.5, {"optimizer": "adamw"}),
        ("clip_norm", 0.02, None, {"optimizer": "sgd"}),
        ("clip_value", None, 1e-4, {"optimizer": "sgd", "clip_norm": None}),
        ("schedule", "constant", "exponential", {}),
        ("warmup_steps", 0, 5, {}),
        ("decay_rate", 0.8, 0.2, {"schedule": "exponential"}),
        ("plateau_factor", 0.5, 0.1, STILL | {"schedule": "plateau"}),
        ("plateau_patience_epochs", 1, 2, STILL | {"schedule": "plateau"}),
        ("monitor", "val_loss", "val_accuracy", {"learning_rate": 1e-4, "epochs": 2}),
        ("patience_epochs", 0, 1, STILL),
        ("class_weights", "none", {"pos": 1.0, "neg": 3.0}, {}),
        ("label_smoothing", 0, 0.3, {}),
        ("seed", 0, 1, {}),
        ("length_buckets", 12, 1, {}),
        ("shuffle_buffer", 20_000, 1, {}),
    ):
        yield f"training.{name}", Row(run, one, other, base)
    frozen = {"init_from": "FOLDER/trained", "freeze_epochs": 1}
    yield "training.unfreezing", Row(lowest_depths, "at_once", "gradual", frozen)
    yield "training.language_model_weight", Row(recurrent_run, 0, 0.5)
    for name, one, other in (
        ("epochs", 1, 2),
        ("batch_size", 2, 3),
        ("window", 8, 5),
        ("num_candidates", 4, 8),
        ("learning_rate", 0.01, 0.02),
        ("clip_norm", 0.01, 0.001),
        ("dropout", 0.1, 0.5),
        ("held_out", 0.2, 0.5),
    ):
        yield f"pretraining.{name}", Row(language_model, one, other)
    yield "training.accumulate_steps", Row(dropout_masks, 1, 2)
    yield "training.deterministic", Row(determinism, True, False)
    yield "training.strategy", Row(num_mirrored, "one_device", "mirrored")
    workers = {"strategy": "multi_worker"}
    yield "training.worker_timeout_minutes", Row(watchdog_minutes, 10.0, 0.5, workers)
    yield "training.cache_dir", Row(start, None, "FOLDER/new")
    yield "training.checkpoint_minutes", Row(checkpoints, 10, 1e-9)
    yield "training.tensorboard", Row(event_files, False, True)
    yield "training.mlflow", Row(tracked_runs, False, True)
    for name, one, other in (
        ("bootstrap_samples", 100, 200),
        ("confidence", 0.95, 0.8),
        ("calibration_bins", 15, 5),
        ("length_bins", 4, 2),
        ("seed", 0, 1),
    ):
        yield f"evaluation.{name}", Row(report, one, other, {"bootstrap_samples": 100})


ROWS = dict(table())


@pytest.fixture(scope="module")
def observed(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Observation, dict[str, dict[str, Any]]], Any]:
    """Return a function that caches observations: `observed(observe, values)`."""

    made: dict[tuple[Observation, str], Any] = {}

    def make(observe: Observation, values: dict[str, dict[str, Any]]) -> Any:
        text = json.dumps(values).replace("FOLDER", str(folder))
        settings = config.Config.from_dict(json.loads(text))
        assert settings.notices == ()
        key = observe, json.dumps(settings.to_dict())
        if key not in made:
            # As text, because NaN differs from itself.
            made[key] = repr(observe(settings, tmp_path_factory.mktemp("run") / "out"))
        return made[key]

    return make


def values_with(path: str, row: Row, value: Any) -> dict[str, dict[str, Any]]:
    """Return the configuration of a row with this value of the setting."""
    section, name = path.split(".")
    values: dict[str, dict[str, Any]] = {"data": dict(row.data)}
    if row.observe in (
        start,
        run,
        mixture,
        dropout_masks,
        determinism,
        num_mirrored,
        watchdog_minutes,
        event_files,
        checkpoints,
    ):
        values |= {"model": dict(TINY), "training": dict(SHORT)}
        values["evaluation"] = {"bootstrap_samples": 100}
    if row.observe in (recurrent_run, lowest_depths, language_model):
        values |= {"model": RECURRENT | {"linear": "none"}, "training": dict(SHORT)}
        values["evaluation"] = {"bootstrap_samples": 100}
    if row.observe is language_model:
        values["pretraining"] = dict(SMALL_LANGUAGE_MODEL)
    if row.observe is mixture:
        values["model"]["linear"] = "mixture"
    if row.observe is dropout_masks:
        values["model"]["output_dropout"] = 0.5
    if row.observe is run:
        values["training"] |= CACHED
    values[section] = {**values.get(section, {}), **row.base, name: value}
    return values


def test_table_of_observable_effects_has_a_row_for_every_setting() -> None:
    assert set(ROWS) == set(config.SETTINGS)


@pytest.mark.parametrize("path", ROWS)
def test_every_setting_has_an_observable_effect(path: str, observed: Callable) -> None:
    row = ROWS[path]
    one = observed(row.observe, values_with(path, row, row.one))
    other = observed(row.observe, values_with(path, row, row.other))
    assert one != other, f"{path}: {row.one!r} and {row.other!r} give the same"


@pytest.mark.parametrize("observe", [splits, token_ids, network, start, run, report])
def test_equal_settings_have_equal_effects(
    observe: Observation, observed: Callable, folder: Path, tmp_path: Path
) -> None:
    """Exclude that the observations above differ by chance."""
    path = next(path for path, row in ROWS.items() if row.observe is observe)
    values = values_with(path, ROWS[path], ROWS[path].one)
    again = json.loads(json.dumps(values).replace("FOLDER", str(folder)))
    found = observe(config.Config.from_dict(again), tmp_path / "out")
    assert repr(found) == observed(observe, values)


# === Choices of settings with more than two ===

_STILL: dict[str, Any] = {
    "model": TINY,
    "training": SHORT | CACHED | STILL,
    "evaluation": {"bootstrap_samples": 100},
}
_MOVING: dict[str, Any] = _STILL | {"training": SHORT | CACHED}
_WORDS: dict[str, tuple[Observation, dict[str, dict[str, Any]]]] = {
    "data.label_ids": (
        splits,
        {"data": {"source": "FOLDER/ids.csv", "class_names": ["2", "1", "0"]}},
    ),
    "text.keep": (token_ids, {"text": {"sequence_length": 4}}),
    "model.encoder": (network, {"model": {"embedding_dim": 2, "pooling": "max"}}),
    "model.pooling": (network, {"model": RECURRENT}),
    "model.linear": (run, {"model": TINY, "training": SHORT | CACHED}),
    "model.kernel_initializer": (network, {"model": RECURRENT}),
    "model.recurrent_initializer": (network, {"model": RECURRENT}),
    "training.optimizer": (run, _MOVING),
    "training.schedule": (run, _STILL),
    "training.monitor": (
        run,
        {**_MOVING, "training": SHORT | CACHED | {"learning_rate": 1e-4, "epochs": 2}},
    ),
}


@pytest.mark.parametrize("path", _WORDS)
def test_choices_of_a_setting_have_different_effects(path: str, observed: Callable) -> None:
    section, name = path.split(".")
    observe, base = _WORDS[path]
    base = {"data": FILES, **base}
    found = {
        word: observed(observe, base | {section: {**base[section], name: word}})
        for word in config.choices(path)
        if (path, word) != ("model.encoder", "none")  # no network to observe
    }
    # Accuracy and F1 may well agree on the best epoch.
    allowed = {("val_accuracy", "val_macro_f1")}
    pairs = [(one, other) for one in found for other in found if one < other]
    assert not [p for p in pairs if found[p[0]] == found[p[1]] and p not in allowed]
