"""Examples to shards to batches: nothing lost, little padding, an order that a seed decides."""

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


def rows(found):
    return np.concatenate([batch.rows.numpy() for batch in found]).tolist()


@pytest.fixture(scope="module")
def dataset(reviews):
    return data.open_dataset(source=str(reviews))


@pytest.fixture(scope="module")
def prepared(dataset, tmp_path_factory):
    return prepare(dataset, tmp_path_factory.mktemp("batches"))


def test_every_example_comes_once_an_epoch_with_its_own_tokens_and_class(dataset, prepared):
    encoder = text.TextEncoder(text.Tokenizer(**TOKENIZER), prepared.vocabulary_path, **ENCODER)
    examples = list(dataset.examples("train"))
    found = epoch(prepared.train)
    assert sorted(rows(found)) == list(range(len(examples)))
    for batch in found:
        own = [examples[row] for row in batch.rows.numpy()]
        encoded = encoder(tf.constant([example.text for example in own]))
        width = encoded.token_ids.shape[1]
        np.testing.assert_array_equal(batch.token_ids[:, :width], encoded.token_ids)
        assert not batch.token_ids[:, width:].numpy().any()
        np.testing.assert_array_equal(batch.lengths, encoded.lengths)
        labels = [example.label_ids[0] for example in own]
        np.testing.assert_array_equal(batch.targets, np.eye(2, dtype=np.float32)[labels])


def test_the_number_of_steps_is_known_before_the_epoch(prepared):
    for size, buckets in [(16, 4), (7, 1), (64, 12), (1000, 5)]:
        found = epoch(prepared.train, batch_size=size, length_buckets=buckets)
        assert len(found) == prepared.train.num_batches(size, buckets)


def test_widths_are_bucket_boundaries_so_that_few_shapes_exist(prepared):
    bounds = prepared.train.boundaries(4)
    widths = {batch.token_ids.shape[1] for batch in epoch(prepared.train)}
    assert len(bounds) == 4 and widths <= set(bounds) and len(widths) > 1
    assert bounds[-1] == ENCODER["sequence_length"], "the demo has longer texts"


@pytest.mark.parametrize("num_buckets", [1, 2, 3, 9])
def test_no_other_boundaries_compute_less_padding(num_buckets):
    counts = np.array([0, 7, 0, 1, 4, 4, 0, 9, 2])
    statistics = batches.TextStatistics(counts, 0, 0, 0, *np.zeros((4, 2), np.int64))
    bounds = batches.Shards((), int(counts.sum()), 2, statistics).boundaries(num_buckets)

    def computed(bounds):
        return sum(counts[n] * min(b for b in bounds if b >= n) for n in np.flatnonzero(counts))

    others = itertools.combinations(range(1, 8), min(num_buckets, 6) - 1)
    assert computed(bounds) == min(computed([*other, 8]) for other in others)
    assert bounds == sorted(set(bounds)) and bounds[-1] == 8 and len(bounds) <= num_buckets


def test_the_order_is_the_seeds_and_the_epochs_alone(prepared):
    order = rows(epoch(prepared.train))
    assert order == rows(epoch(prepared.train))
    assert order != rows(epoch(prepared.train, epoch=2))
    assert order != rows(epoch(prepared.train, seed=1))


def test_classes_in_sorted_order_are_mixed_in_a_buffer_much_smaller_than_the_data(tmp_path):
    path = tmp_path / "sorted.csv"
    # One word each, so that the order is the shuffle's alone and not that of length buckets.
    lines = [f"word{index % 7},{'first' if index < 500 else 'second'}" for index in range(1000)]
    path.write_text("\n".join(["text,label", *lines]))
    dataset = data.open_dataset(source=str(path))
    shards = prepare(dataset, tmp_path / "batches", shuffle_buffer=50).train
    assert len(shards.paths) > 20, "the buffer must be small for this test to mean anything"
    shares = [float(b.targets.numpy()[:, 0].mean()) for b in epoch(shards, shuffle_buffer=50)]
    assert np.std(shares) < 0.2 and 0.2 < np.mean(shares[:5]) < 0.8


def test_an_interrupted_iterator_goes_on_where_it_was(prepared, tmp_path):
    def iterator():
        return iter(
            batches.training_batches(
                prepared.train, batch_size=8, length_buckets=4, shuffle_buffer=40, seed=3, epoch=2
            )
        )

    whole = [batch.rows.numpy().tolist() for batch in iterator()]
    first = iterator()
    begun = [next(first).rows.numpy().tolist() for _ in range(5)]
    path = tf.train.Checkpoint(iterator=first).write(str(tmp_path / "it"))
    second = iterator()
    tf.train.Checkpoint(iterator=second).read(path).assert_consumed()
    assert begun + [batch.rows.numpy().tolist() for batch in second] == whole


def test_what_the_length_limit_cuts_is_counted_by_class(tmp_path):
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


def test_several_labels_become_a_multi_hot_row_and_none_an_empty_one(tmp_path):
    path = tmp_path / "tags.tsv"
    path.write_text("text\tlabel\n" + "a b\tred,blue\nc d e\t\nb\tgreen\n" * 10)
    dataset = data.open_dataset(train=str(path), validation=str(path), multi_label=True)
    found = epoch(prepare(dataset, tmp_path / "b").train)
    names = dataset.class_names
    by_row = {}
    for batch in found:
        for row, target in zip(batch.rows.numpy(), batch.targets.numpy(), strict=True):
            by_row[int(row)] = {name for name, value in zip(names, target, strict=True) if value}
    assert [by_row[row] for row in range(3)] == [{"red", "blue"}, set(), {"green"}]


def test_a_word_seen_only_in_validation_or_test_is_unknown(tmp_path):
    for split, word in (("train", "seen"), ("validation", "later"), ("test", "last")):
        (tmp_path / f"{split}.csv").write_text(f"text,label\n{word} a,x\n{word} b,y\n")
    dataset = data.open_dataset(
        **{split: str(tmp_path / f"{split}.csv") for split in ("train", "validation", "test")}
    )
    prepared = prepare(dataset, tmp_path / "b")
    assert set(text.read_vocabulary(prepared.vocabulary_path)) == {"seen", "a", "b"}
    ids = next(iter(batches.ordered_batches(prepared.validation, batch_size=8))).token_ids
    assert (ids.numpy() == text.UNKNOWN_ID).sum(axis=1).tolist() == [1, 1]


def test_a_cache_is_read_again_only_for_the_same_data_and_settings(dataset, tmp_path):
    def stages(**changes):
        seen = []
        progress = {"on_progress": lambda stage, done, total: seen.append(stage)}
        found = prepare(dataset, tmp_path, cache_dir=tmp_path / "cache", **progress, **changes)
        return found, bool(seen)

    first, made = stages()
    again, made_again = stages()
    assert made and not made_again
    assert rows(epoch(first.train)) == rows(epoch(again.train))
    np.testing.assert_array_equal(
        first.train.statistics.length_counts, again.train.statistics.length_counts
    )
    assert stages(min_count=2)[1]
    assert stages(encoder=ENCODER | {"keep": "end"})[1]
    assert stages(tokenizer=TOKENIZER | {"lowercase": False})[1]
    assert stages(max_tokens=50)[1]
    assert stages(shuffle_buffer=77)[1]


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_cache_is_made_anew(dataset, tmp_path, how):
    first = prepare(dataset, tmp_path, cache_dir=tmp_path / "cache")
    shard = Path(first.validation.paths[0])
    whole = shard.read_bytes()
    shard.write_bytes(b"") if how == "cut" else shard.unlink()
    again = prepare(dataset, tmp_path, cache_dir=tmp_path / "cache")
    assert Path(again.validation.paths[0]).read_bytes() == whole


def test_a_cache_of_other_data_is_not_read(reviews, tmp_path):
    for seed in (0, 1):
        dataset = data.open_dataset(source=str(reviews), split_seed=seed)
        prepared = prepare(dataset, tmp_path, cache_dir=tmp_path / "cache")
        for batch in batches.ordered_batches(prepared.validation, batch_size=64):
            labels = [e.label_ids[0] for e in dataset.examples("validation")]
            assert batch.targets.numpy().argmax(axis=1).tolist() == [
                labels[row] for row in batch.rows.numpy()
            ]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_an_unfinished_cache_is_not_used(dataset, tmp_path):
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
    found = epoch(shards, batch_size=64, length_buckets=12, shuffle_buffer=20_000)
    cells = sum(int(tf.size(batch.token_ids)) for batch in found)
    tokens = sum(int(tf.reduce_sum(batch.lengths)) for batch in found)
    assert 1 - tokens / cells < 0.08
