"""Language models: streams, sampled softmax, perplexity, resuming, and classifiers from them."""

import json
import math
import random
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from textclf import artifact, classifier, networks, pretraining, text, training
from textclf.cli import main
from textclf.config import Config
from textclf.data.unlabelled import open_texts
from textclf.errors import ArtifactError, ConfigError, DataError, TextclfError, TrainingError
from textclf.pretraining.model import LanguageModel, Perplexity, Step
from textclf.pretraining.tokens import END_ID, Streams, TokenFile, open_tokens, write_tokens

EACH_STEP = 1e-9  # minutes between checkpoints


@pytest.fixture(scope="module")
def settings(reviews: Path, tiny: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a language model that trains in seconds."""
    return {
        **tiny,
        "data": {"source": str(reviews)},
        "model": {"units": 6, "embedding_dim": 5, "linear": "none"},
        "pretraining": {
            "epochs": 2,
            "batch_size": 4,
            "window": 8,
            "num_candidates": 8,
            "held_out": 0.1,
            "learning_rate": 0.01,
        },
    }


@pytest.fixture(scope="module")
def pretrained(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a language model; tests must not change it."""
    folder = tmp_path_factory.mktemp("pretrained") / "lm"
    pretraining.pretrain(Config.from_dict(settings), folder)
    return folder


def file_of(texts: list[list[int]]) -> TokenFile:
    """Return the token file of texts of token ids."""
    tokens = [id_ for ids in texts for id_ in [*ids, END_ID]]
    return TokenFile(np.array(tokens, np.int32), np.cumsum([len(ids) + 1 for ids in texts]))


def small_model(
    *, encoder: str = "lstm", bidirectional: bool = True, num_layers: int = 1
) -> LanguageModel:
    """Return a language model of 12 token ids."""
    architecture = networks.Architecture(
        encoder=encoder,
        bidirectional=bidirectional,
        units=4,
        num_layers=num_layers,
        pooling="max",
        embedding_dim=3,
        layer_norm=num_layers > 1,
    )
    network = networks.build(architecture, vocabulary_size=12, num_classes=1, seed=1)
    return LanguageModel(network, seed=1)


def any_windows(model: LanguageModel, num_streams: int = 3, window: int = 5) -> np.ndarray:
    """Return windows of random tokens, int32 [directions, B, T + 1]."""
    shape = (len(model.directions), num_streams, window + 1)
    return np.random.default_rng(0).integers(0, 12, shape).astype(np.int32)


# === Tokens and streams ===


def test_encoded_texts_are_stored_with_an_end_after_each_and_empty_ones_are_left_out(
    tmp_path: Path,
) -> None:
    text.write_vocabulary(["good", "bad"], tmp_path / "vocabulary.txt")
    tokenizer = text.Tokenizer(unit="word", lowercase=True, fold_width=True, unescape_entities=True)
    encoder = text.TextEncoder(
        tokenizer, tmp_path / "vocabulary.txt", sequence_length=4, keep="start"
    )
    texts = ["good", "", "bad unheard good", " ", "bad bad bad bad bad bad"]
    sizes = write_tokens(texts, encoder, tmp_path / "tokens")
    file = open_tokens(tmp_path / "tokens")
    assert file.tokens.tolist() == [2, END_ID, 3, 1, 2, END_ID, 3, 3, 3, 3, END_ID]
    assert file.ends.tolist() == [2, 6, 11]
    assert sizes._asdict() == {"num_texts": 3, "num_tokens": 8, "num_unknown": 1, "num_cut": 1}


@pytest.mark.parametrize("is_reversed", [False, True])
def test_windows_of_a_stream_continue_each_other_and_read_every_text_once(
    is_reversed: bool,
) -> None:
    texts = [[2, 3], [4], [5, 6, 7, 8], [9, 10, 11]]
    streams = Streams(
        file_of(texts),
        num_streams=2,
        window=3,
        order=np.random.default_rng(3),
        is_reversed=is_reversed,
    )
    order = np.arange(4, dtype=np.int32)
    np.random.default_rng(3).shuffle(order)
    whole = [id_ for number in order for id_ in [*texts[number], END_ID]]
    if is_reversed:
        whole = whole[::-1]
    assert len(whole) == 14 and streams.num_steps == 2
    # 13 inputs in two streams of 6: the last token of a window is the first of the next.
    windows = [streams.windows(step).tolist() for step in range(2)]
    assert windows == [[whole[0:4], whole[6:10]], [whole[3:7], whole[9:13]]]


def test_another_epoch_reads_the_texts_in_another_order() -> None:
    file = file_of([[n] for n in range(2, 50)])
    orders = [
        Streams(file, num_streams=2, window=40, order=np.random.default_rng([0, epoch])).windows(0)
        for epoch in (1, 2, 1)
    ]
    assert (orders[0] != orders[1]).any()
    np.testing.assert_array_equal(orders[0], orders[2])


def test_fewer_tokens_than_a_step_are_an_error_that_names_the_settings() -> None:
    with pytest.raises(TrainingError, match=r"have 6 tokens, fewer than the 2 streams of 3") as e:
        Streams(file_of([[2, 3], [4, 5]]), num_streams=2, window=3)
    assert "pretraining.batch_size or pretraining.window" in str(e.value)


# === Model and step ===


@pytest.mark.parametrize("encoder", ["simple_rnn", "lstm", "gru"])
def test_a_state_carried_over_windows_gives_the_perplexity_of_one_long_window(
    encoder: str,
) -> None:
    model = small_model(encoder=encoder)
    windows = any_windows(model, window=8)
    whole = Perplexity(model)([windows])
    halves = Perplexity(model)([windows[:, :, :5], windows[:, :, 4:]])
    np.testing.assert_allclose(whole, halves, rtol=1e-5)
    assert (np.abs(np.array(whole) - 12) < 4).all(), "random weights are about uniform"


def test_perplexity_is_that_of_the_whole_softmax_of_each_direction() -> None:
    model = small_model(bidirectional=False, num_layers=2)
    model.head.output_bias.assign(np.random.default_rng(1).normal(size=12))
    windows = any_windows(model)
    encoder = model._encoder
    x = encoder.embedding.embeddings.numpy()[windows[0, :, :-1]]
    for layer, norm in zip(encoder.stack, [*encoder.norms, lambda x: x], strict=True):
        x = norm(layer(x)[0])
    (direction,) = model.directions
    weights = model.weights()
    kernel, bias = (weights[f"language_model/{direction.name}/{n}"] for n in ("kernel", "bias"))
    logits = (x.numpy() @ kernel + bias) @ model.table.numpy().T
    logits += weights["language_model/output_bias"]
    losses = keras.losses.sparse_categorical_crossentropy(
        windows[0, :, 1:], logits, from_logits=True
    )
    (perplexity,) = Perplexity(model)([windows])
    assert perplexity == pytest.approx(math.exp(float(tf.reduce_mean(losses))), rel=1e-5)


def test_training_lowers_the_perplexity_of_the_texts_it_reads() -> None:
    model = small_model()
    windows = any_windows(model)
    step = Step(model, num_candidates=8, dropout=0.0, clip_norm=1.0, seed=0)
    before, weights = Perplexity(model)([windows]), model.weights()
    for number in range(200):
        step(windows, model.initial_state(3), rate=0.03, number=number)
    step.flush()
    after = Perplexity(model)([windows])
    assert max(after) < 0.5 * min(before), (before, after)
    for name, values in model.weights().items():
        assert (values != weights[name]).any(), f"{name} was not trained"


def test_sampled_loss_with_all_tokens_as_candidates_is_the_whole_loss() -> None:
    model = small_model()
    windows = any_windows(model, num_streams=8)
    step = Step(model, num_candidates=20_000, dropout=0.0, clip_norm=1.0, seed=0)
    loss, _, _ = step(windows, model.initial_state(8), rate=0.0, number=0)
    assert loss == pytest.approx(np.mean(np.log(Perplexity(model)([windows]))), rel=1e-5)


def test_sampled_loss_corrects_each_token_by_its_probability_to_be_drawn() -> None:
    random = np.random.default_rng(0)
    vectors, biases = random.normal(size=(12, 3)), random.normal(size=12)
    candidates = networks.Candidates(num_tokens=12, number=4)
    model = small_model(bidirectional=False)
    model.table.assign(vectors)
    model.head.output_bias.assign(biases)
    step = Step(model, num_candidates=4, dropout=0.0, clip_norm=1.0, seed=0)
    windows = any_windows(model, num_streams=1)
    loss, _, _ = step(windows, model.initial_state(1), rate=0.0, number=3)

    drawn = candidates.draw([0, 2 * 3]).numpy()
    log_p = np.log(candidates.probability(tf.range(12)).numpy())
    (direction,) = model.directions
    x = direction.layers[0](vectors[windows[0, :, :-1]].astype(np.float32))[0][0]
    outputs = model.head.token_vectors(direction.name, x).numpy()
    scores = outputs @ vectors.T + biases - log_p
    expected = []
    for row, target in zip(scores, windows[0, 0, 1:], strict=True):
        others = [row[token] for token in drawn if token != target]
        expected.append(np.log(np.exp([row[target], *others]).sum()) - row[target])
    assert loss == pytest.approx(np.mean(expected), rel=1e-4)


def test_candidates_are_drawn_with_the_probability_that_corrects_the_loss() -> None:
    candidates = networks.Candidates(num_tokens=12, number=4)
    num_steps = 3000
    counts = np.zeros(12)
    draw = tf.function(lambda number: candidates.draw([0, number]))
    for number in tf.range(num_steps):
        counts[draw(number).numpy()] += 1
    expected = candidates.probability(tf.range(12)).numpy()
    np.testing.assert_allclose(counts / num_steps, expected, atol=0.03)


def test_a_loss_that_is_not_finite_changes_no_weights() -> None:
    model = small_model()
    model.head.named_variables["language_model/forward/bias"].assign([math.inf, 0, 0])
    before = model.weights()
    step = Step(model, num_candidates=8, dropout=0.0, clip_norm=1.0, seed=0)
    loss, norm, _ = step(any_windows(model), model.initial_state(3), rate=1.0, number=0)
    step.flush()
    assert not (math.isfinite(loss) and math.isfinite(norm))
    for name, values in model.weights().items():
        np.testing.assert_array_equal(values, before[name])


# === The whole training ===


def interrupt(config: Config, output: Path, *, after: int) -> None:
    """Train a language model and stop after a number of steps, with a checkpoint."""
    done: list[pretraining.Step] = []
    with pytest.raises(TrainingError, match=r"interrupted in epoch \d at step .*with --resume"):
        for event in pretraining.pretrain_events(
            config, output, should_stop=lambda: len(done) == after
        ):
            if isinstance(event, pretraining.Step):
                done.append(event)


def test_a_language_model_has_a_falling_perplexity_and_a_folder_after_each_epoch(
    pretrained: Path,
) -> None:
    card = artifact.read_language_model(pretrained)
    lines = [json.loads(line) for line in (pretrained / "history.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["share"]) for line in lines] == [
        (epoch, quarter / 4) for epoch in (1, 2) for quarter in (1, 2, 3, 4)
    ]
    assert lines[-1]["perplexity"] == card.perplexity
    for direction in ("forward", "backward"):
        assert card.perplexity[direction] < 0.8 * lines[0]["perplexity"][direction]
    artifact.check_files(pretrained, card.files)
    first, second = (artifact.read_language_model(pretrained / f"passes/{n}") for n in (1, 2))
    assert (first.epochs, second.epochs, card.epochs) == (1, 2, 2)
    assert first.perplexity == lines[3]["perplexity"]
    assert (pretrained / "passes/1/history.jsonl").read_text().count("\n") == 4
    assert first.files["weights.npz"] != second.files["weights.npz"] == card.files["weights.npz"]


def test_the_same_seed_gives_the_same_bytes(
    settings: dict[str, Any], pretrained: Path, tmp_path: Path
) -> None:
    card = pretraining.pretrain(Config.from_dict(settings), tmp_path / "lm")
    before = artifact.read_language_model(pretrained)
    assert card.files["weights.npz"] == before.files["weights.npz"]
    assert card.perplexity == before.perplexity
    other = Config.from_dict(settings, ["training.seed=1"])
    card = pretraining.pretrain(other, tmp_path / "other")
    assert card.files["weights.npz"] != before.files["weights.npz"]


def test_an_interrupted_training_continues_to_the_same_bytes(
    settings: dict[str, Any], pretrained: Path, tmp_path: Path
) -> None:
    expected = artifact.read_language_model(pretrained)
    config = Config.from_dict(settings)
    events = list(pretraining.pretrain_events(config, tmp_path / "whole"))
    num_steps = sum(isinstance(event, pretraining.Step) for event in events)
    for number in random.Random(5).sample(range(1, num_steps), 4):
        output = tmp_path / f"run-{number}"
        interrupt(config, output, after=number)
        with pytest.raises(ArtifactError, match="add --resume to continue it"):
            pretraining.pretrain(config, output)
        card = pretraining.pretrain(config, output, resume=True)
        assert card.files["weights.npz"] == expected.files["weights.npz"], number
        assert card.perplexity == expected.perplexity
        passes = [
            artifact.read_language_model(folder / "passes/1").files["weights.npz"]
            for folder in (output, pretrained)
        ]
        assert passes[0] == passes[1]
        assert [path.name for path in tmp_path.glob("run-*")].count(output.name) == 1
        assert not list(tmp_path.glob("*.unfinished"))


def test_checkpoints_change_nothing(
    settings: dict[str, Any], pretrained: Path, tmp_path: Path
) -> None:
    config = Config.from_dict(settings, [f"training.checkpoint_minutes={EACH_STEP}"])
    card = pretraining.pretrain(config, tmp_path / "lm")
    before = artifact.read_language_model(pretrained)
    assert card.files["weights.npz"] == before.files["weights.npz"]


def test_a_training_continues_only_with_its_settings_texts_and_command(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    config, output = Config.from_dict(settings), tmp_path / "lm"
    more = tmp_path / "more.txt"
    more.write_text("another text\n")
    interrupt(config, output, after=2)
    changed = Config.from_dict(settings, ["pretraining.window=4"])
    with pytest.raises(ConfigError, match=r"pretraining.window: is 4, .* has 8; restore it"):
        pretraining.pretrain(changed, output, resume=True)
    with pytest.raises(DataError, match="the data differ"):
        pretraining.pretrain(config, output, texts=[str(more)], resume=True)
    with pytest.raises(ArtifactError, match="was left by `textclf pretrain`"):
        training.train(config, output, resume=True)
    assert pretraining.pretrain(config, output, resume=True).epochs == 2


def test_texts_of_validation_and_test_are_left_out_and_counted(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    rows = {
        "train": ["good film", "bad film", "Ａ fine plot", "dull and slow"] * 10,
        "validation": ["a  FINE plot"],
        "test": ["seen only here", "dull and slow"],
    }
    for split, texts in rows.items():
        lines = [f"{value},{number % 2}" for number, value in enumerate(texts)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    (tmp_path / "more.txt").write_text("Seen only HERE\nunlabelled words\n" * 20)
    data = {split: str(tmp_path / f"{split}.csv") for split in rows}
    config = Config.from_dict(
        {**settings, "data": {**data, "class_names": ["0", "1"]}},
        ["pretraining.held_out=0.3", "pretraining.batch_size=1", "pretraining.window=4"],
    )
    (started,) = [
        event
        for event in pretraining.pretrain_events(
            config, tmp_path / "lm", texts=[str(tmp_path / "more.txt")]
        )
        if isinstance(event, pretraining.Started)
    ]
    assert started.num_removed == 10 + 10 + 20
    words = (tmp_path / "lm" / "vocabulary.txt").read_text().split()
    assert not {"fine", "dull", "seen"} & set(words)
    assert {"film", "unlabelled"} & set(words)


def test_classifier_begins_with_the_weights_of_the_language_model(
    settings: dict[str, Any], pretrained: Path, tmp_path: Path
) -> None:
    config = Config.from_dict(
        settings,
        {
            "training.init_from": str(pretrained / "passes/1"),
            "training.epochs": 3,
            "training.freeze_epochs": 1,
            "training.unfreezing": "gradual",
            "training.patience_epochs": 0,
        },
    )
    with np.load(pretrained / "passes/1" / "weights.npz") as arrays:
        initial = dict(arrays)
    seen: list[dict[str, float]] = []
    notices: tuple[str, ...] = ()
    for event in training.train_events(config, tmp_path / "run"):
        if isinstance(event, training.Started):
            notices = event.notices
        if isinstance(event, training.Epoch):
            seen.append(event.figures["gradient_norms"])
    assert any("the head begins at random: a language model has none" in n for n in notices)
    assert any(f"token vectors come from {pretrained}" in notice for notice in notices)
    trained_layers = [{name for name, norm in norms.items() if norm > 0} for norms in seen]
    assert len(trained_layers[0]) < len(trained_layers[1]) < len(trained_layers[2])
    assert trained_layers[0] == {"network/dense"}
    assert "network/embedding" not in trained_layers[1]
    frozen = Config.from_dict(settings, {"training.init_from": str(pretrained / "passes/1")})
    frozen = frozen.replace({"training.epochs": 1, "training.freeze_epochs": 1})
    training.train(frozen, tmp_path / "frozen")
    weights, _ = classifier.read_arrays(tmp_path / "frozen")
    for name, values in weights.items():
        if name != "network/dense/kernel" and name != "network/dense/bias":
            np.testing.assert_array_equal(values, initial[name])


# === Bad input ===


def test_every_mistake_is_reported_before_the_texts_are_read(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_text(" \n\n")
    (tmp_path / "table.csv").write_text("review,label\ngood,1\n")
    (tmp_path / "notes.pdf").write_text("good")
    config = Config.from_dict({**settings, "model": {"encoder": "bag", "pooling": "mean"}})
    sources = [
        str(tmp_path / name) for name in ("empty.txt", "table.csv", "missing.txt", "notes.pdf")
    ]
    with pytest.raises(TextclfError) as caught:
        pretraining.check(config, tmp_path / "lm", texts=[*sources, "tfds:imdb_reviews"])
    message = str(caught.value)
    for part in (
        "model.encoder: is bag, which has no recurrent layers",
        "empty.txt: holds no text",
        "table.csv:1: no column 'text'; found review, label",
        "missing.txt: no such file",
        "notes.pdf: no format is known",
        "tfds:imdb_reviews: names no split; add it, as in tfds:imdb_reviews:unsupervised",
    ):
        assert part in message, message


def test_texts_in_a_table_have_the_delimiter_of_labelled_data_in_the_same_format(
    tmp_path: Path,
) -> None:
    for name in ("train.csv", "more.csv"):
        (tmp_path / name).write_text("text;label\ngood, and warm;1\n")
    (tmp_path / "more.tsv").write_text("text\tlabel\ncold; and dull\t0\n")
    settings = Config.from_dict(
        {"data": {"train": str(tmp_path / "train.csv"), "delimiter": ";"}}
    ).data
    for name, expected in (("more.csv", "good, and warm"), ("more.tsv", "cold; and dull")):
        assert list(open_texts(str(tmp_path / name), settings).read()) == [expected]


def test_upper_bidirectional_layers_cannot_be_a_language_model(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    config = Config.from_dict(settings, ["model.num_layers=2"])
    with pytest.raises(ConfigError, match="model.num_layers: is 2, but the upper layers"):
        pretraining.check(config, tmp_path / "lm")


def test_a_language_model_does_not_fit_other_tokens_or_units(
    settings: dict[str, Any], pretrained: Path, tmp_path: Path
) -> None:
    config = Config.from_dict(
        settings,
        {
            "training.init_from": str(pretrained),
            "text.unit": "character",
            "model.embedding_dim": 7,
            "model.units": 9,
            "training.freeze_epochs": 1,
        },
    )
    with pytest.raises(ConfigError) as caught:
        training.check(config, tmp_path / "run")
    message = str(caught.value)
    assert "text.unit: is character, but the vocabulary of" in message
    assert "model.embedding_dim: is 7, but the vectors" in message
    assert "model.units: is 9" in message


def test_a_missing_folder_of_initial_weights_is_an_error_that_names_both_commands(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    config = Config.from_dict(settings, {"training.init_from": str(tmp_path / "lm")})
    with pytest.raises(
        ArtifactError, match=r"init_from: .*lm does not exist; .*`textclf pretrain`"
    ):
        training.check(config, tmp_path / "run")


def test_damaged_or_newer_language_models_are_refused(
    settings: dict[str, Any], pretrained: Path, tmp_path: Path
) -> None:
    import shutil

    folder = Path(shutil.copytree(pretrained, tmp_path / "lm"))
    config = Config.from_dict(settings, {"training.init_from": str(folder)})
    card = artifact.read_language_model(folder)
    newer = msgspec.structs.replace(card, format_version=99)
    (folder / "language_model.json").write_text(newer.to_json())
    with pytest.raises(ArtifactError, match="format 99 is newer .*; upgrade textclf"):
        training.check(config, tmp_path / "run")
    (folder / "language_model.json").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read .*; run `textclf pretrain` again"):
        training.check(config, tmp_path / "run")
    (folder / "language_model.json").write_text(card.to_json())
    (folder / "weights.npz").write_bytes(b"no weights")
    with pytest.raises(ArtifactError, match="weights.npz"):
        training.train(config, tmp_path / "run")


def test_info_prints_the_card_of_a_language_model(pretrained: Path) -> None:
    done = CliRunner().invoke(main, ["info", str(pretrained)])
    assert json.loads(done.stdout)["perplexity"].keys() == {"forward", "backward"}


def test_a_language_model_is_no_classifier(pretrained: Path) -> None:
    with pytest.raises(ArtifactError, match="is a language model; train a classifier from it"):
        classifier.load(pretrained)


# === Command ===


def test_pretrain_command_prints_sizes_perplexities_and_the_next_command(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "lm.yaml").write_text(json.dumps(settings))
    (tmp_path / "more.txt").write_text("good words\n" * 30)
    arguments = ["pretrain", str(tmp_path / "lm.yaml"), str(tmp_path / "lm")]
    arguments += ["--texts", str(tmp_path / "more.txt"), "--set", "pretraining.epochs=1"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path / 'lm'}\n"
    for part in (
        "tokens held out",
        "texts left out because they are in validation or test",
        "steps per epoch",
        "forward perplexity  backward perplexity",
        "\n   0.25 ",
        "\n   1.00 ",
        f"--set training.init_from={tmp_path / 'lm'}",
    ):
        assert part in done.stderr, done.stderr
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1 and "add --overwrite" in again.stderr
    resumed = CliRunner().invoke(main, [*arguments, "--resume"])
    assert resumed.exit_code == 0 and "nothing is left to do" in resumed.stderr
