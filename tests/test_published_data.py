"""Published data sets are read in full."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from data_files import error_of, sizes

from textclf import data


def published(real_data: Path, folder: str, **files: str) -> dict[str, str]:
    return {split: str(real_data / "data" / folder / name) for split, name in files.items()}


def test_every_row_of_sst2_is_read(real_data: Path) -> None:
    files = published(real_data, "sst2", train="train.tsv", validation="dev.tsv", test="test.tsv")
    dataset = data.open_dataset(**files, text_columns=["sentence"])
    assert sizes(dataset) == {"train": 6920, "validation": 872, "test": 1821}
    assert dataset.class_names == ("neg", "pos")
    phrases = published(real_data, "sst2", train="train_phrases.tsv", test="test.tsv")
    dataset = data.open_dataset(
        **phrases, text_columns=["sentence"], class_names=["0", "1", "neg", "pos"]
    )
    assert sum(sizes(dataset).values()) == 67_349 + 1821
    # Six if punctuation is ignored; one in the normal form used here.
    shared = dataset.findings.shared
    assert [finding.count for pair, finding in shared.items() if pair.endswith("/test")] == [1]


def test_every_row_of_trec_is_read(real_data: Path) -> None:
    dataset = data.open_dataset(**published(real_data, "trec", train="train.csv", test="test.csv"))
    result = sizes(dataset)
    assert result["train"] + result["validation"] == 5452 and result["test"] == 500
    counts = dataset.splits["train"].class_counts + dataset.splits["validation"].class_counts
    assert counts[dataset.class_names.index("ABBR")] == 86
    # Ten are equal verbatim; another one differs only in case.
    shared = dataset.findings.shared
    assert shared["train/test"].count + shared["validation/test"].count == 11


def test_every_row_of_ag_news_is_read(real_data: Path) -> None:
    dataset = data.open_dataset(
        **published(real_data, "ag_news", train="train.csv", test="test.csv"),
        **published(real_data, "ag_news", class_names_file="classes.txt"),
        header=False,
        text_columns=["2", "3"],
        label_column="1",
        label_ids="from_one",
    )
    result = sizes(dataset)
    assert result["train"] + result["validation"] == 30_027 and result["test"] == 7600
    assert dataset.class_names == ("World", "Sports", "Business", "Sci/Tech")
    assert dataset.splits["test"].class_counts.tolist() == [1900] * 4
    text = next(dataset.examples("test")).text
    assert text.startswith("Fears for T N pension after talks Unions representing workers")


def test_every_row_of_chnsenticorp_is_read(real_data: Path) -> None:
    files = published(
        real_data, "chnsenticorp", train="train.tsv", validation="dev.tsv", test="test.tsv"
    )
    dataset = data.open_dataset(**files, text_columns=["text_a"])
    assert sizes(dataset) == {"train": 9600, "validation": 1200, "test": 1200}
    # All of them are equal verbatim.
    assert dataset.leaked("test").sum() == 331 and dataset.leaked("validation").sum() == 338
    swallowed = error_of(**files, text_columns=["text_a"], quoting="minimal")
    assert "train.tsv:" in swallowed and "use data.quoting=none" in swallowed
    clean = data.open_dataset(**files, text_columns=["text_a"], drop_leaked_train=True)
    assert clean.findings.dropped_leaked_train == 9600 - clean.splits["train"].num_examples > 600
    assert not clean.leaked("test").any()


def test_every_row_of_sms_spam_is_read(real_data: Path) -> None:
    source = published(real_data, "sms_spam", source="SMSSpamCollection.tsv")
    dataset = data.open_dataset(**source, header=False, text_columns=["2"], label_column="1")
    counts = np.sum([summary.class_counts for summary in dataset.splits.values()], axis=0)
    assert dict(zip(dataset.class_names, counts.tolist(), strict=True)) == {
        "ham": 4827,
        "spam": 747,
    }
    # 403 rows are equal verbatim; twelve differ in case or blanks.
    assert sum(finding.count for finding in dataset.findings.duplicates.values()) == 415


def test_every_row_of_goemotions_is_read(real_data: Path) -> None:
    dataset = data.open_dataset(
        **published(
            real_data, "goemotions", train="train.tsv", validation="dev.tsv", test="test.tsv"
        ),
        **published(real_data, "goemotions", class_names_file="labels.txt"),
        header=False,
        text_columns=["1"],
        label_column="2",
        multi_label=True,
        label_ids="from_zero",
    )
    assert sizes(dataset) == {"train": 43_410, "validation": 5426, "test": 5427}
    assert len(dataset.class_names) == 28 and dataset.class_names[27] == "neutral"
    several = sum(len(example.label_ids) > 1 for example in dataset.examples("test"))
    assert several == 837 and dataset.findings.missing_classes == {}


@pytest.mark.slow
def test_every_row_of_imdb_is_read(real_data: Path) -> None:
    dataset = data.open_dataset(source="tfds:imdb_reviews", data_dir=str(real_data / "tfds"))
    result = sizes(dataset)
    assert result["train"] + result["validation"] == 25_000 and result["test"] == 25_000
    assert dataset.class_names == ("neg", "pos")
    shared = dataset.findings.shared
    assert shared["train/test"].count + shared["validation/test"].count == 123
    assert dataset.splits["test"].class_counts.tolist() == [12_500, 12_500]
    assert "<br />" in "".join(e.text for e in itertools.islice(dataset.examples("test"), 9))
