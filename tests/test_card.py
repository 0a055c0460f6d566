"""Card: written and read without loss; unusable cards are refused with the reason."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from textclf import artifact
from textclf.errors import ArtifactError
from textclf.tasks import Decision

CARD = artifact.Card(class_names=("no", "yes"), multi_label=False, config={"model": {"units": 3}})


def test_a_written_card_is_read_back_unchanged(tmp_path):
    card = msgspec.structs.replace(
        CARD,
        thresholds=(0.1, 0.30000001192092896),
        temperature=(1.0, 2.0),
        data=artifact.DataSummary("f", {"train": artifact.SplitSize(3, (1, 2))}, {"notes": ["x"]}),
        text=artifact.TextSummary(9, 0, 0.25, artifact.TrainTokens(20, (1, 0), (4, 0))),
        training=artifact.TrainingSummary(2, 3, "epochs", 100),
        versions={"textclf": "1"},
        files={"a": "b"},
    )
    (tmp_path / "card.json").write_text(card.to_json())
    assert artifact.read_card(tmp_path) == card


def test_the_card_of_a_trained_folder_is_rewritten_byte_for_byte(trained):
    card = artifact.read_card(trained)
    assert card.validation.metrics["accuracy"] > 0
    assert card.to_json() == (trained / "card.json").read_text(encoding="utf-8")


def test_a_written_card_with_a_calibration_is_read_back_unchanged(tmp_path):
    decision = Decision(temperature=(1.5, 2.0), thresholds=(0.1, 0.30000001192092896))
    card = msgspec.structs.replace(
        CARD,
        calibration=artifact.Calibration(created="2026-02-03", options={"maximize": "micro_f1"}),
        history=(artifact.PastDecision(decision=decision, created="2026-01-02"),),
    )
    (tmp_path / "card.json").write_text(card.to_json())
    assert artifact.read_card(tmp_path) == card
    assert list(json.loads(card.to_json()))[-2:] == ["calibration", "history"]


def test_card_json_has_the_documented_keys(trained):
    values = json.loads((trained / "card.json").read_text(encoding="utf-8"))
    assert list(values) == [
        *("class_names", "multi_label", "config", "temperature", "thresholds", "abstain_below"),
        *("data", "text", "training", "validation", "versions", "created", "contract_version"),
        *("files", "format_version"),
    ]
    assert list(values["data"]) == ["fingerprint", "splits", "findings"]
    assert list(values["data"]["splits"]["train"]) == ["num_examples", "class_counts"]
    assert list(values["text"]) == [
        *("vocabulary_size", "pruned_tokens", "unknown_fraction", "train"),
    ]
    assert list(values["text"]["train"]) == ["num_tokens", "truncated_texts", "cut_tokens"]
    assert list(values["training"]) == [
        *("best_epoch", "epochs", "ended_by", "num_weights", "is_average"),
    ]
    assert list(values["versions"]) == ["textclf", "python", "tensorflow", "keras", "numpy"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; `textclf train` writes such a folder"),
        ("", "cannot be read"),
        ("[1]", "is not a card of textclf"),
        ('{"format_version": 99}', "format 99 is newer than format 2"),
        ('{"format_version": 1}', "is damaged"),
    ],
)
def test_an_unreadable_card_is_refused_with_the_reason(tmp_path, content, message):
    folder = tmp_path / "run"
    if content is not None:
        folder.mkdir()
        (folder / "card.json").write_text(content)
    with pytest.raises(ArtifactError, match=message):
        artifact.read_card(folder)


@pytest.mark.parametrize(
    "change",
    [
        *({"files": None}, {"config": None}, {"validation": 3}, {"class_names": "no"}),
        *({"data": {"fingerprint": 3}}, {"training": {"epochs": "2"}}, {"text": {"other": 1}}),
        *({"thresholds": ["a"]}, {"other": 1}),
    ],
    ids=json.dumps,
)
def test_a_card_with_an_invalid_or_unknown_entry_is_reported_as_damaged(tmp_path, change):
    (tmp_path / "card.json").write_text(json.dumps(json.loads(CARD.to_json()) | change))
    (name,) = change
    with pytest.raises(ArtifactError, match=f"card.json: is damaged \\(.*{name}.*\\); restore"):
        artifact.read_card(tmp_path)


def test_read_card_of_an_export_names_the_kind_of_folder(tmp_path):
    (tmp_path / "saved_model.pb").write_text("")
    with pytest.raises(ArtifactError, match="is an exported SavedModel"):
        artifact.read_card(tmp_path)


def test_reading_a_card_imports_neither_numpy_nor_tensorflow(trained):
    code = (
        "import sys; from textclf import artifact; "
        "assert artifact.read_card(sys.argv[1]).validation; "
        "print(sorted({'numpy', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(trained)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def write_old_card(folder: Path, ngram_buckets: int) -> None:
    """Write a card whose configuration has a setting that no longer exists."""
    config = {"model": {**CARD.config["model"], "ngram_buckets": ngram_buckets}}
    card = msgspec.structs.replace(CARD, config=config)
    (folder / "card.json").write_text(card.to_json())


def test_a_removed_setting_without_effect_is_left_out_of_the_card_of_a_trained_folder(tmp_path):
    write_old_card(tmp_path, 0)
    (tmp_path / "weights.npz").touch()
    assert artifact.read_card(tmp_path) == CARD


def test_a_folder_trained_with_a_removed_setting_must_be_trained_again(tmp_path):
    write_old_card(tmp_path, 4096)
    (tmp_path / "weights.npz").touch()
    with pytest.raises(ArtifactError) as caught:
        artifact.read_card(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: was trained with model.ngram_buckets, which this textclf does not have; train "
        "the model again without it"
    )


def test_the_card_of_an_export_is_read_without_its_removed_settings(tmp_path):
    write_old_card(tmp_path, 4096)  # an export has no weights file: its graph is complete
    assert artifact.read_card(tmp_path) == CARD
