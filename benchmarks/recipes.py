"""Measure training recipes on validation: the linear model, the network, and their mixture.

    python benchmarks/recipes.py run FOLDER sst2 --rows 200 1000 0 --seeds 0 1 2 --recipes dropout
    python benchmarks/recipes.py table FOLDER            # the tables of docs/recipes.md
    python benchmarks/recipes.py gains FOLDER            # points gained over the recipe "dropout"

Each run draws rows from the train split of a configuration (0: all), takes a tenth of them as its
own validation split, and is scored on the validation split of the configuration, which takes no
part in any choice. The test split is never read. Logits of every epoch are kept in FOLDER, so that
the table can compare ways to choose the epoch without another training. Runs that FOLDER holds are
skipped.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import techniques

ROOT = Path(__file__).resolve().parent.parent
VECTORS = "data/vectors/glove.6B.100d.top100k.txt"  # below TEXTCLF_DATA, for synonyms
MAX_EPOCHS_WITHOUT_GAIN = 3
DROPOUT = {
    "model.token_dropout": 0.1,
    "model.embedding_dropout": 0.4,
    "model.output_dropout": 0.5,
}
COSINE = {"training.learning_rate": 0.002, "training.schedule": "cosine"}
GLOVE = {"model.embedding_vectors": "${TEXTCLF_DATA}/" + VECTORS}
# Recipes that differ by the seed of the training only.
ENSEMBLE = ("dropout", "again1", "again2")
SAMPLED = "sampled"  # rows of a batch are drawn again, see `techniques.sample_balanced`
# Recipe -> settings that differ from the defaults.
RECIPES = {
    "plain": {},
    "dropout": DROPOUT,
    "gru": {**DROPOUT, "model.encoder": "gru"},
    "units128": {**DROPOUT, "model.units": 128},
    "units32": {**DROPOUT, "model.units": 32},
    "rate2": {**DROPOUT, "training.learning_rate": 0.002},
    "rate5": {**DROPOUT, "training.learning_rate": 0.005},
    "batch32": {**DROPOUT, "training.batch_size": 32},
    "batch16": {**DROPOUT, "training.batch_size": 16},
    "batch16rate2": {**DROPOUT, "training.batch_size": 16, "training.learning_rate": 0.002},
    "bag": {**DROPOUT, "model.encoder": "bag"},
    "dim200": {**DROPOUT, "model.embedding_dim": 200},
    "length200": {**DROPOUT, "text.sequence_length": 200},
    "smooth": {**DROPOUT, "training.label_smoothing": 0.1},
    "min_count1": {**DROPOUT, "text.min_count": 1},
    "cosine": {**DROPOUT, **COSINE},
    "cosine_swa": {**DROPOUT, **COSINE, "training.average": "swa"},
    "cosine_effective": {**DROPOUT, **COSINE, "training.class_weights": "effective"},
    "cosine_focal": {**DROPOUT, **COSINE, "technique": "focal"},
    "cosine5": {**DROPOUT, "training.learning_rate": 0.005, "training.schedule": "cosine"},
    "subwords": {**DROPOUT, "text.subwords": True},
    "token2": {**DROPOUT, "model.token_dropout": 0.2},
    "recurrent": {**DROPOUT, "model.recurrent_dropout": 0.2},
    "ema": {**DROPOUT, "training.average": "ema", "training.average_decay": 0.99},
    "swa": {**DROPOUT, "training.average": "swa"},
    "balanced": {**DROPOUT, "training.class_weights": "balanced"},
    "effective": {**DROPOUT, "training.class_weights": "effective"},
    "again1": {**DROPOUT, "training.seed": 1001},
    "again2": {**DROPOUT, "training.seed": 1002},
    "glove": {**DROPOUT, **GLOVE},
    "glove_gru": {**DROPOUT, **GLOVE, "model.encoder": "gru"},
    "glove128": {**DROPOUT, **GLOVE, "model.units": 128},
    "glove_frozen1": {**DROPOUT, **GLOVE, "training.freeze_epochs": 1},
    "glove_fixed": {**DROPOUT, **GLOVE, "model.train_embedding": False},
    "glove_2layers": {**DROPOUT, **GLOVE, "model.num_layers": 2},
    "glove_swa": {**DROPOUT, **GLOVE, "training.average": "swa"},
    "glove_rate2": {**DROPOUT, **GLOVE, "training.learning_rate": 0.002},
    "glove_cosine": {**DROPOUT, **GLOVE, **COSINE},
    "glove_weak": {**DROPOUT, **GLOVE, "model.embedding_dropout": 0.2},
    "glove_subwords": {**DROPOUT, **GLOVE, "text.subwords": True},
    "glove_count1": {**DROPOUT, **GLOVE, "text.min_count": 1},
    **{name: {**DROPOUT, "technique": name} for name in techniques.TECHNIQUES},
    **{name: {**DROPOUT, "augmentation": name} for name in (*techniques.AUGMENTATIONS, SAMPLED)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run")
    run_parser.add_argument("folder", type=Path)
    run_parser.add_argument("names", nargs="+")
    run_parser.add_argument("--rows", nargs="+", type=int, default=[0])
    run_parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    run_parser.add_argument("--recipes", nargs="+", choices=RECIPES, required=True)
    run_parser.add_argument("--epochs", type=int, default=15)
    printers = {"table": table, "gains": gains}
    for command in printers:
        commands.add_parser(command).add_argument("folder", type=Path)
    chosen = parser.parse_args()
    if chosen.command in printers:
        printers[chosen.command](chosen.folder)
        return
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for rows in chosen.rows:
        for name in chosen.names:
            for seed in chosen.seeds:
                run(chosen.folder, name, rows, seed, chosen.recipes, chosen.epochs)


def run(folder: Path, name: str, num_rows: int, seed: int, recipes: list[str], epochs: int) -> None:
    """Run the recipes that the folder does not hold on one sample."""
    stem = f"{name}-{num_rows}-{seed}"
    missing = [recipe for recipe in recipes if not (folder / f"{stem}-{recipe}.npz").exists()]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as work:
        configs = write_sample(Path(work), name, num_rows, seed)
        linear_file = folder / f"{stem}-linear.npz"
        if not linear_file.exists():
            save(linear_file, **fit_linear(configs["linear"], Path(work)))
        linear = dict(np.load(linear_file))
        for recipe in missing:
            values = fit_network(configs["network"], RECIPES[recipe], linear, Path(work), epochs)
            save(folder / f"{stem}-{recipe}.npz", **values)
            print(stem, recipe, summary(linear, values), flush=True)


def save(path: Path, **arrays: np.ndarray) -> None:
    np.savez(path.with_suffix(".part.npz"), **arrays)
    path.with_suffix(".part.npz").rename(path)


def write_sample(work: Path, name: str, num_rows: int, seed: int) -> dict:
    """Write the rows of a sample; return a configuration for the linear model and the network.

    That of the linear model has the rows that are scored as its test split. That of the network
    has them behind its validation rows, so that the logits of both come out of every epoch.
    """
    from textclf import data
    from textclf.config import Config, with_paths

    config = with_paths(Config.load(ROOT / "configs" / f"{name}.yaml"))
    dataset = data.open_dataset(config.data)
    multi_label = dataset.task.is_multi_label

    def rows_of(split: str) -> list[str]:
        return [
            json.dumps(
                {
                    "text": example.text,
                    "label": [dataset.class_names[i] for i in example.label_ids]
                    if multi_label
                    else dataset.class_names[example.label_ids[0]],
                },
                ensure_ascii=False,
            )
            for example in dataset.examples(split)
        ]

    train, scored = rows_of("train"), rows_of("validation")
    order = np.random.default_rng(seed).permutation(len(train))[: num_rows or None]
    train = [train[i] for i in order]
    num_validation = len(train) // 10
    parts = {
        "train": train[num_validation:],
        "validation": train[:num_validation],
        "both": train[:num_validation] + scored,
        "scored": scored,
    }
    for part, lines in parts.items():
        (work / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    (work / "num_validation").write_text(str(num_validation))
    settings = {
        "data": {
            "train": str(work / "train.jsonl"),
            "validation": str(work / "validation.jsonl"),
            "test": str(work / "scored.jsonl"),
            "class_names": list(dataset.class_names),
            "multi_label": multi_label,
        },
        "training": {"seed": seed},
    }
    both = {**settings, "data": {**settings["data"], "validation": str(work / "both.jsonl")}}
    return {"linear": Config.from_dict(settings), "network": Config.from_dict(both)}


def fit_linear(config, work: Path, *, balanced: bool = False) -> dict[str, np.ndarray]:
    """Fit the linear model; return its logits, on the run's own validation rows and those scored.

    Args:
        balanced: whether classes are weighed as by `training.class_weights: balanced`.
    """
    from textclf import classifier, data, linear, text
    from textclf.linear.fitting import predict_split
    from textclf.training.optimization import weigh_classes

    dataset = data.open_dataset(config.data)
    tokenizer = text.Tokenizer(**classifier.tokenizer_settings(config))
    folder = work / "linear"
    folder.mkdir(exist_ok=True)
    started = time.monotonic()
    weights = weigh_classes("balanced" if balanced else "none", dataset.task, dataset)
    fitted = linear.fit(
        dataset,
        tokenizer=tokenizer,
        folder=folder,
        seed=config.training.seed,
        class_weights=weights,
    )
    seconds = time.monotonic() - started
    y_scored, scored = predict_split(fitted.model, tokenizer, dataset, "test")
    return {
        "y": fitted.validation_classes,
        "logits": fitted.validation_logits,
        "y_scored": y_scored,
        "scored": scored,
        "seconds": np.array(seconds),
        "weighting": np.array(fitted.selection.weighting),
        "strength": np.array(fitted.selection.strength),
    }


def fit_network(
    config,
    recipe: dict,
    linear: dict[str, np.ndarray],
    work: Path,
    epochs: int,
    patience: int = MAX_EPOCHS_WITHOUT_GAIN,
) -> dict[str, np.ndarray]:
    """Train a network; return the logits of every epoch and the seconds of each."""
    import keras

    from textclf import text
    from textclf.training.cluster import open_cluster
    from textclf.training.optimization import learning_rate
    from textclf.training.run import set_up
    from textclf.training.work_folder import WorkFolder

    keras.utils.clear_session()
    recipe = dict(recipe)
    technique, augmentation = recipe.pop("technique", None), recipe.pop("augmentation", None)
    config = config.replace({**recipe, "training.epochs": epochs, "training.patience_epochs": 0})
    folder = Path(tempfile.mkdtemp(dir=work))
    started = time.monotonic()
    with open_cluster(config) as cluster:
        setup = set_up(config, WorkFolder(folder, folder / "checkpoints"), cluster, lambda *_: None)
    loop, task = setup.loop, setup.dataset.task
    if technique is not None:
        techniques.use(loop.train_step, technique, setup.dataset)
    change = None
    if augmentation == SAMPLED:
        counts = setup.dataset.splits["train"].class_counts
        change = techniques.sample_balanced(counts, config.training.seed)
    elif augmentation is not None:
        vectors = os.path.join(os.environ["TEXTCLF_DATA"], VECTORS)
        tokens = text.read_vocabulary(setup.prepared.vocabulary_path)
        change = techniques.augment(augmentation, tokens, config.training.seed, vectors)
    n = len(linear["y"])
    average = Average(loop)
    logits, seconds, losses, num_steps = [], [time.monotonic() - started], [], 0
    for epoch in range(1, epochs + 1):
        started = time.monotonic()
        rates = [
            learning_rate(
                config.training,
                step=num_steps + i,
                total_steps=loop.total_steps,
                steps_per_epoch=loop.steps_per_epoch,
                plateau_factor=1.0,
            )
            for i in range(loop.steps_per_epoch)
        ]
        batches = loop.training_batches(epoch)
        if change is not None:
            batches = batches.map(lambda batch, epoch=epoch: change(batch, epoch))
        loop.train_step(iter(batches), rates, step=num_steps, lowest=0)
        loop.optimizer.flush()
        num_steps += loop.steps_per_epoch
        average.add(losses)
        values = loop.validator.logits(average.weights())
        seconds.append(time.monotonic() - started)
        logits.append(values)
        own = logits[-1][:n]
        losses.append((log_loss(task, linear["y"], own), -accuracy(task, linear["y"], own)))
        best = [min(range(epoch), key=lambda i: losses[i][k]) for k in (0, 1)]
        if epoch - 1 - max(best) >= patience:
            break
    shutil.rmtree(folder)
    stacked = np.stack(logits)
    return {"logits": stacked[:, :n], "scored": stacked[:, n:], "seconds": np.array(seconds)}


class Average:
    """The weights that are scored: those of the network, or the average of the settings.

    A mean of epochs begins at the epoch of the lowest loss on the run's own validation rows, which
    alone decide; the validator's rows have those that are scored among them.
    """

    def __init__(self, loop):
        self._loop = loop
        self._last: dict[str, np.ndarray] = {}
        self._mean, self._number = self._last, 0

    def add(self, losses: list[tuple[float, float]]) -> None:
        """Take the weights after an epoch, given the losses of the epochs before."""
        from textclf import classifier
        from textclf.training.averaging import mean_of_epochs

        if losses and losses[-1] == min(losses):
            self._mean, self._number = self._last, 1
        self._last = classifier.get_weights(self._loop.network)
        self._number += 1
        self._mean = mean_of_epochs(self._mean, self._last, self._number) or self._last

    def weights(self) -> dict[str, np.ndarray]:
        """Return weights by name."""
        if self._loop.train_step.average is not None:
            return self._loop.train_step.average.weights(self._last)
        return self._mean if self._loop.settings.average == "swa" else self._last


def task_for(y: np.ndarray, num_classes: int):
    from textclf.tasks import task_of

    return task_of(multi_label=y.ndim == 2, num_classes=num_classes)


def log_loss(task, y: np.ndarray, logits: np.ndarray) -> float:
    from textclf import evaluation

    p = np.clip(task.probabilities(logits.astype(np.float32)).numpy(), 1e-7, 1 - 1e-7)
    return float(evaluation.scoring_of(task).log_losses(y, p.astype(np.float64)).mean())


def accuracy(task, y: np.ndarray, logits: np.ndarray, y_fit=None, fit=None) -> float:
    """Return accuracy, or the macro F1 of several labels with thresholds chosen on `fit`."""
    from textclf import evaluation

    if not task.is_multi_label:
        return float((logits.argmax(axis=1) == y).mean())
    p = task.probabilities(logits.astype(np.float32)).numpy()
    p_fit = p if fit is None else task.probabilities(fit.astype(np.float32)).numpy()
    thresholds = evaluation.fit_thresholds(task, y if fit is None else y_fit, p_fit)
    return float(evaluation.macro_f1(task, y, task.select(p, thresholds)))


def scores(linear: dict, values: dict, patience: int = 3) -> dict[str, tuple[float, ...]]:
    """Return the scores of linear model, network and mixture by each way to choose the epoch."""
    from textclf.evaluation.mixture import fit_mixture

    y, y_scored = linear["y"], linear["y_scored"]
    task = task_for(y, linear["scored"].shape[1])
    fit = (y, linear["logits"])
    result = {"linear": (accuracy(task, y_scored, linear["scored"], *fit),)}
    epochs = range(len(values["logits"]))
    mixtures = [fit_mixture(task, y, linear["logits"], values["logits"][i]) for i in epochs]
    monitors = {
        "loss": [-log_loss(task, y, values["logits"][i]) for i in epochs],
        "accuracy": [accuracy(task, y, values["logits"][i]) for i in epochs],
        "mixture": [
            -log_loss(task, y, mixtures[i].mix(linear["logits"], values["logits"][i]))
            for i in epochs
        ],
    }
    for monitor, figures in monitors.items():
        best = 0
        for i in epochs:
            if figures[i] > figures[best]:
                best = i
            if i - best >= patience:
                break
        mixed = [
            mixtures[best].mix(linear[part], values[part][best]) for part in ("scored", "logits")
        ]
        network = accuracy(task, y_scored, values["scored"][best], y, values["logits"][best])
        mixture = accuracy(task, y_scored, mixed[0], y, mixed[1])
        seconds = float(values["seconds"][: min(best + patience, len(epochs)) + 1].sum())
        result[monitor] = (network, mixture, mixtures[best].share, best + 1, seconds)
    return result


def ensemble(linear: dict, members: list[dict]) -> dict[str, np.ndarray]:
    """Return the mean logits of networks with other seeds, each at its epoch of the lowest loss."""
    task = task_for(linear["y"], linear["scored"].shape[1])
    chosen = [
        int(np.argmin([log_loss(task, linear["y"], logits) for logits in member["logits"]]))
        for member in members
    ]
    return {
        part: np.mean([m[part][i] for m, i in zip(members, chosen, strict=True)], axis=0)[None]
        for part in ("logits", "scored")
    } | {"seconds": np.array([0.0, sum(float(member["seconds"].sum()) for member in members)])}


def summary(linear: dict, values: dict) -> str:
    parts = []
    for name, figures in scores(linear, values).items():
        parts.append(f"{name} " + " ".join(f"{figure:.3f}" for figure in figures))
    return " | ".join(parts)


def table(folder: Path) -> None:
    """Print the mean scores of every data set, number of rows and recipe."""
    groups: dict[tuple[str, int, str], list[dict]] = {}
    for file in sorted(folder.glob("*.npz")):
        name, rows, seed, recipe = file.stem.split("-")
        if recipe == "linear" or recipe.endswith(".part"):
            continue
        stem = f"{name}-{rows}-{seed}"
        linear, values = dict(np.load(folder / f"{stem}-linear.npz")), dict(np.load(file))
        groups.setdefault((name, int(rows), recipe), []).append(scores(linear, values))
        members = [folder / f"{stem}-{member}.npz" for member in ENSEMBLE]
        if recipe == ENSEMBLE[0] and all(member.exists() for member in members):
            values = ensemble(linear, [dict(np.load(member)) for member in members])
            groups.setdefault((name, int(rows), "ensemble"), []).append(scores(linear, values))
    print(
        "| data | rows | recipe | seeds | linear | network | mixture: loss | accuracy | mixture "
        "| share | epoch | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for (name, rows, recipe), runs in sorted(groups.items()):
        means = {
            monitor: [
                statistics.mean(values) for values in zip(*(r[monitor] for r in runs), strict=True)
            ]
            for monitor in runs[0]
        }
        network, mixture, share, epoch, seconds = means["loss"]
        print(
            f"| {name} | {rows or 'all'} | {recipe} | {len(runs)} | {means['linear'][0]:.3f} "
            f"| {network:.3f} | {mixture:.3f} | {means['accuracy'][1]:.3f} "
            f"| {means['mixture'][1]:.3f} | {share:.2f} | {epoch:.0f} | {seconds:.0f} |"
        )


def gains(folder: Path) -> None:
    """Print the points of accuracy gained over "dropout" with the same seed, mean and interval.

    The best epoch is that of the lowest validation loss; the interval is Student's t of 95 %.
    """
    from scipy import stats

    runs: dict[tuple[str, int, str], dict[int, tuple[float, ...]]] = {}
    for file in sorted(folder.glob("*.npz")):
        name, rows, seed, recipe = file.stem.split("-")
        if recipe != "linear" and not recipe.endswith(".part"):
            linear = dict(np.load(folder / f"{name}-{rows}-{seed}-linear.npz"))
            chosen = scores(linear, dict(np.load(file)))["loss"]
            runs.setdefault((name, int(rows), recipe), {})[int(seed)] = chosen[:2]
    print("| data | rows | recipe | network | mixture |")
    print("|---|---|---|---|---|")
    for (name, rows, recipe), by_seed in sorted(runs.items()):
        base = runs.get((name, rows, "dropout"), {})
        seeds = sorted(base.keys() & by_seed.keys())
        if recipe == "dropout" or len(seeds) < 2:
            continue
        cells = []
        for model in range(2):
            points = [100 * (by_seed[seed][model] - base[seed][model]) for seed in seeds]
            half = stats.t.ppf(0.975, len(seeds) - 1) * statistics.stdev(points)
            cells.append(f"{statistics.mean(points):+.1f} ± {half / len(seeds) ** 0.5:.1f}")
        print(f"| {name} | {rows or 'all'} | {recipe} | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    main()
