"""Batches: no example is lost, little padding, an order determined by the seed, a safe cache."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from textclf import batches, data, text

TOKENIZER = {"unit": "word", "lowercase": True, "fold_width": True, "unescape_entities": True}
ENCODER = {"sequence_length": 12, "keep": "start", "hash_buckets": 0}


def prepare(dataset, folder, **changes):
    settings = {
        "folder": folder,
        "cache_dir": None,
        "tokenizer": TOKENIZER,
        "encoder": ENCODER,
        "min_count": 1,
        "max_tokens": 1000,
        "shuffle_buffer": 40,
    }
    return batches.prepare(dataset, **(settings | changes))


def epoch(shards, **changes):
    settings = {"batch_size": 16, "length_buckets": 4, "shuffle_buffer": 40, "seed": 0, "epoch": 1}
    return list(batches.training_batches(shards, **(settings | changes)))


def rows(epoch_batches):
    return np.concatenate([batch.rows.numpy() for batch in epoch_batches]).tolist()


@pytest.fixture(scope="module")
def dataset(reviews):
    return data.open_dataset(source=str(reviews))


@pytest.fixture(scope="module")
def prepared(dataset, tmp_path_factory):
    return prepare(dataset, tmp_path_factory.mktemp("batches"))


def test_an_epoch_has_every_example_once_with_its_tokens_and_class(dataset, prepared):
    encoder = text.TextEncoder(text.Tokenizer(**TOKENIZER), prepared.vocabulary_path, **ENCODER)
    examples = list(dataset.examples("train"))
    epoch_batches = epoch(prepared.train)
    assert sorted(rows(epoch_batches)) == list(range(len(examples)))
    for batch in epoch_batches:
        batch_examples = [examples[row] for row in batch.rows.numpy()]
        encoded = encoder(tf.constant([example.text for example in batch_examples]))
        width = encoded.token_ids.shape[1]
        token_ids = batch.features["token_ids"]
        np.testing.assert_array_equal(token_ids[:, :width], encoded.token_ids)
        assert not token_ids[:, width:].numpy().any()
        np.testing.assert_array_equal(batch.features["lengths"], encoded.lengths)
        labels = [example.label_ids[0] for example in batch_examples]
        np.testing.assert_array_equal(batch.targets, np.eye(2, dtype=np.float32)[labels])


def test_batches_of_text_have_the_documented_features_shapes_and_types(prepared):
    batch = epoch(prepared.train)[0]
    size = len(batch.rows)
    assert batch._fields == ("features", "targets", "weights", "rows")
    assert {name: (values.dtype, values.shape.rank) for name, values in batch.features.items()} == {
        "token_ids": (tf.int32, 2),
        "lengths": (tf.int32, 1),
    }
    assert (batch.targets.dtype, batch.targets.shape) == (tf.float32, (size, 2))
    assert (batch.rows.dtype, batch.rows.shape) == (tf.int32, (size,))
    assert (batch.weights.dtype, batch.weights.numpy().tolist()) == (tf.float32, [1.0] * size)
    assert {len(values) for values in batch.features.values()} == {size}


def test_number_of_batches_of_an_epoch_is_known_before_the_epoch(prepared):
    for size, buckets in [(16, 4), (7, 1), (64, 12), (1000, 5)]:
        epoch_batches = epoch(prepared.train, batch_size=size, length_buckets=buckets)
        assert len(epoch_batches) == prepared.train.num_batches(size, buckets)


def test_widths_of_batches_are_bucket_boundaries(prepared):
    bounds = prepared.train.boundaries(4)
    widths = {batch.features["token_ids"].shape[1] for batch in epoch(prepared.train)}
    assert len(bounds) == 4 and widths <= set(bounds) and len(widths) > 1
    assert bounds[-1] == ENCODER["sequence_length"], "some texts must exceed the limit"


@pytest.mark.parametrize("num_buckets", [1, 2, 3, 9])
def test_bucket_boundaries_give_the_least_padding(num_buckets):
    counts = np.array([0, 7, 0, 1, 4, 4, 0, 9, 2])
    statistics = batches.TextStatistics(counts, 0, 0, 0, *np.zeros((4, 2), np.int64))
    bounds = batches.Shards((), int(counts.sum()), 2, statistics).boundaries(num_buckets)

    def computed(bounds):
        return sum(counts[n] * min(b for b in bounds if b >= n) for n in np.flatnonzero(counts))

    others = itertools.combinations(range(1, 8), min(num_buckets, 6) - 1)
    assert computed(bounds) == min(computed([*other, 8]) for other in others)
    assert bounds == sorted(set(bounds)) and bounds[-1] == 8 and len(bounds) <= num_buckets


def test_order_of_training_batches_depends_only_on_seed_and_epoch(prepared):
    order = rows(epoch(prepared.train))
    assert order == rows(epoch(prepared.train))
    assert order != rows(epoch(prepared.train, epoch=2))
    assert order != rows(epoch(prepared.train, seed=1))


def test_data_sorted_by_class_are_mixed_with_a_small_shuffle_buffer(tmp_path):
    path = tmp_path / "sorted.csv"
    # All texts have one word, so that the order does not depend on length buckets.
    lines = [f"word{index % 7},{'first' if index < 500 else 'second'}" for index in range(1000)]
    path.write_text("\n".join(["text,label", *lines]))
    dataset = data.open_dataset(source=str(path))
    shards = prepare(dataset, tmp_path / "batches", shuffle_buffer=50).train
    assert len(shards.paths) > 20, "the buffer must be small for this test to mean anything"
    shares = [float(b.targets.numpy()[:, 0].mean()) for b in epoch(shards, shuffle_buffer=50)]
    assert np.std(shares) < 0.2 and 0.2 < np.mean(shares[:5]) < 0.8


def test_a_restored_iterator_of_batches_continues_at_the_saved_position(prepared, tmp_path):
    def iterator():
        return iter(
            batches.training_batches(
                prepared.train, batch_size=8, length_buckets=4, shuffle_buffer=40, seed=3, epoch=2
            )
        )

    whole = [batch.rows.numpy().tolist() for batch in iterator()]
    first = iterator()
    before = [next(first).rows.numpy().tolist() for _ in range(5)]
    path = tf.train.Checkpoint(iterator=first).write(str(tmp_path / "it"))
    second = iterator()
    tf.train.Checkpoint(iterator=second).read(path).assert_consumed()
    assert before + [batch.rows.numpy().tolist() for batch in second] == whole


def test_tokens_cut_by_the_length_limit_are_counted_by_class(tmp_path):
    path = tmp_path / "long.csv"
    rows = [("a b c d e", "x"), ("a b", "x"), ("a b c", "y"), ("a", "y"), ("b c", "y")]
    path.write_text("text,label\n" + "".join(f"{t},{label}\n" for t, label in rows * 4))
    dataset = data.open_dataset(train=str(path), validation=str(path))
    encoder = ENCODER | {"sequence_length": 2}
    statistics = prepare(dataset, tmp_path / "b", encoder=encoder).train.statistics
    assert statistics.texts.tolist() == [8, 12]
    assert statistics.truncated_texts.tolist() == [4, 4]
    assert statistics.tokens.tolist() == [28, 24]
    assert statistics.cut_tokens.tolist() == [12, 4]
    assert statistics.length_counts.tolist() == [0, 4, 16]


def test_targets_of_several_labels_are_multi_hot_and_of_no_label_zero(tmp_path):
    path = tmp_path / "tags.tsv"
    path.write_text("text\tlabel\n" + "a b\tred,blue\nc d e\t\nb\tgreen\n" * 10)
    dataset = data.open_dataset(train=str(path), validation=str(path), multi_label=True)
    epoch_batches = epoch(prepare(dataset, tmp_path / "b").train)
    names = dataset.class_names
    by_row = {}
    for batch in epoch_batches:
        for row, target in zip(batch.rows.numpy(), batch.targets.numpy(), strict=True):
            by_row[int(row)] = {name for name, value in zip(names, target, strict=True) if value}
    assert [by_row[row] for row in range(3)] == [{"red", "blue"}, set(), {"green"}]


def test_words_only_in_validation_or_test_are_unknown(tmp_path):
    for split, word in (("train", "seen"), ("validation", "later"), ("test", "last")):
        (tmp_path / f"{split}.csv").write_text(f"text,label\n{word} a,x\n{word} b,y\n")
    dataset = data.open_dataset(
        **{split: str(tmp_path / f"{split}.csv") for split in ("train", "validation", "test")}
    )
    prepared = prepare(dataset, tmp_path / "b")
    assert set(text.read_vocabulary(prepared.vocabulary_path)) == {"seen", "a", "b"}
    batch = next(iter(batches.ordered_batches(prepared.validation, batch_size=8)))
    ids = batch.features["token_ids"]
    assert (ids.numpy() == text.UNKNOWN_ID).sum(axis=1).tolist() == [1, 1]


def test_cached_shards_are_used_only_for_equal_data_and_settings(dataset, tmp_path):
    def prepare_cached(**changes):
        stages = []
        progress = {"on_progress": lambda stage, done, total: stages.append(stage)}
        result = prepare(dataset, tmp_path, cache_dir=tmp_path / "cache", **progress, **changes)
        return result, bool(stages)

    first, is_written = prepare_cached()
    again, is_written_again = prepare_cached()
    assert is_written and not is_written_again
    assert rows(epoch(first.train)) == rows(epoch(again.train))
    np.testing.assert_array_equal(
        first.train.statistics.length_counts, again.train.statistics.length_counts
    )
    assert prepare_cached(min_count=2)[1]
    assert prepare_cached(encoder=ENCODER | {"keep": "end"})[1]
    assert prepare_cached(tokenizer=TOKENIZER | {"lowercase": False})[1]
    assert prepare_cached(max_tokens=50)[1]
    assert prepare_cached(shuffle_buffer=77)[1]


@pytest.mark.parametrize("damage", ["shard empty", "shard missing", "manifest not JSON"])
def test_damaged_cached_shards_are_written_again(dataset, tmp_path, damage):
    first = prepare(dataset, tmp_path, cache_dir=tmp_path / "cache")
    shard = Path(first.validation.paths[0])
    content = shard.read_bytes()
    if damage == "shard empty":
        shard.write_bytes(b"")
    elif damage == "shard missing":
        shard.unlink()
    else:
        (shard.parent / "statistics.json").write_bytes(b'{"sizes": "\xff')
    again = prepare(dataset, tmp_path, cache_dir=tmp_path / "cache")
    assert Path(again.validation.paths[0]).read_bytes() == content


def test_cached_shards_of_different_data_are_not_read(reviews, tmp_path):
    for seed in (0, 1):
        dataset = data.open_dataset(source=str(reviews), split_seed=seed)
        prepared = prepare(dataset, tmp_path, cache_dir=tmp_path / "cache")
        for batch in batches.ordered_batches(prepared.validation, batch_size=64):
            labels = [example.label_ids[0] for example in dataset.examples("validation")]
            assert batch.targets.numpy().argmax(axis=1).tolist() == [
                labels[row] for row in batch.rows.numpy()
            ]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_unfinished_cached_shards_are_not_used(dataset, tmp_path):
    class Stop(Exception):
        pass

    def stop(stage, done, total):
        if stage.startswith("encoding"):
            raise Stop

    with pytest.raises(Stop):
        prepare(dataset, tmp_path, cache_dir=tmp_path / "cache", on_progress=stop)
    assert not (tmp_path / "cache").exists()


def test_at_most_eight_percent_of_an_imdb_epoch_is_padding(real_data, tmp_path):
    dataset = data.open_dataset(
        source="tfds:imdb_reviews",
        data_dir=str(real_data / "tfds"),
        train="train[:20%]",
        validation="train[20%:21%]",
        test="train[21%:22%]",
    )
    shards = prepare(
        dataset, tmp_path, encoder=ENCODER | {"sequence_length": 400}, shuffle_buffer=20_000
    ).train
    epoch_batches = epoch(shards, batch_size=64, length_buckets=12, shuffle_buffer=20_000)
    computed = sum(int(tf.size(batch.features["token_ids"])) for batch in epoch_batches)
    tokens = sum(int(tf.reduce_sum(batch.features["lengths"])) for batch in epoch_batches)
    assert 1 - tokens / computed < 0.08
