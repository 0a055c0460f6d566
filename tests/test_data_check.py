"""Lengths of the texts of a data set, from Python."""

import json
from pathlib import Path

import textclf
from textclf import data_check


def test_count_tokens_counts_the_lengths_of_the_texts_of_each_split(tmp_path: Path) -> None:
    rows = ["text,label", "one two three,a", "one,b", "one two three four five,a", "six,b"]
    (tmp_path / "train.csv").write_text("\n".join(rows), encoding="utf-8")
    values = {"data": {"train": str(tmp_path / "train.csv"), "validation_fraction": 0.5}}
    config = textclf.Config.from_dict({**values, "text": {"sequence_length": 2}})
    dataset = textclf.open_dataset(config.data)
    stages: list[tuple[str, int, int]] = []
    lengths = data_check.measure_lengths(
        config, dataset, on_progress=lambda *stage: stages.append(stage)
    )
    assert list(lengths) == list(dataset.splits)
    assert sum(split.num_tokens for split in lengths.values()) == 10
    assert sum(split.truncated_texts for split in lengths.values()) == 2
    assert sum(split.cut_tokens for split in lengths.values()) == 1 + 3
    sizes = sorted(len(e.text.split()) for e in dataset.examples("train"))
    quantiles = lengths["train"].length_quantiles
    assert (quantiles["min"], quantiles["max"]) == (sizes[0], sizes[-1])
    total = dataset.splits["train"].num_examples
    assert ("counting tokens of train", total, total) in stages
    summary = json.loads(json.dumps(data_check.summarize(dataset, lengths)))
    assert summary["splits"]["train"]["num_tokens"] == sum(sizes)
    assert summary["fingerprint"] == dataset.fingerprint
