"""Card page: the contents of card.md."""

import msgspec
import pytest

from textclf import artifact, evaluation, model_card


def card(**changes):
    values = {
        "class_names": ("no", "yes"),
        "multi_label": False,
        "config": {
            "data": {"source": "a`b.csv"},
            "text": {"sequence_length": 4000, "keep": "end"},
            "model": {"encoder": "simple_rnn", "bidirectional": True},
        },
        "data": artifact.DataSummary(
            "f1", {"train": artifact.SplitSize(1200, (600, 600))},
            {"shared": {"train/test": {"count": 3, "locations": ["row 1"]}}},
        ),
        "text": artifact.TextSummary(9, 0, 0.125, artifact.TrainTokens(200, (1, 0), (10, 40))),
        "training": artifact.TrainingSummary(2, 3, "early stopping", 1234),
        "versions": {"textclf": "1.2", "numpy": "2.4"},
        "created": "2026-01-02",
    }  # fmt: skip
    return artifact.Card(**(values | changes))


def report():
    return evaluation.evaluate(
        [0, 0, 1, 1],
        [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]],
        class_names=("no", "yes"),
        multi_label=False,
        bootstrap_samples=20,
    )


def test_card_page_states_model_data_and_training():
    page = model_card.markdown(card())
    for line in (
        "A bidirectional SimpleRNN classifier trained with textclf: 2 classes, one class per text.",
        "Classes: `no`, `yes`.",
        "It reads at most 4,000 tokens of a text (`text.keep`: end). Longer texts are marked",
        "Source: ``a`b.csv``.",
        "| train | 1,200 |",
        "Texts of test that also occur in train: 3.",
        "Fingerprint: `f1`.",
        "Epoch 2 of 3 was kept (end of training: early stopping). Number of weights: 1,234.",
        "Written 2026-01-02 with textclf 1.2, numpy 2.4.",
    ):
        assert line in page
    assert page.endswith("\n") and not page.endswith("\n\n")


def test_card_page_has_scores_and_weaknesses_only_with_a_validation_report():
    page = model_card.markdown(card())
    assert "## Scores" not in page and "## Weaknesses" not in page
    page = model_card.markdown(card(validation=report()))
    for line in (
        "which was also used to choose the epoch and the temperature",
        "| accuracy | 0.750 |",
        "- `no`: F1 0.667 on 2 texts (precision 1.000, recall 0.500)",
        "- 12.5% of the tokens of validation are not in the vocabulary",
        "- 25.0% of the tokens of train exceed `text.sequence_length`",
    ):
        assert line in page
    assert page.index("- `no`") < page.index("- `yes`"), "the weakest class is first"


def test_card_page_states_a_calibration_and_its_options():
    assert "calibrate" not in model_card.markdown(card())
    calibration = artifact.Calibration(created="2026-02-03", options={"precision": 0.9})
    page = model_card.markdown(card(calibration=calibration))
    assert "fitted again 2026-02-03 by `textclf calibrate` with precision 0.9." in page
    page = model_card.markdown(card(calibration=artifact.Calibration(created="2026-02-03")))
    assert "by `textclf calibrate`. `card.json`" in page


def test_card_page_states_abstention_thresholds_and_contract_only_if_set():
    page = model_card.markdown(card())
    assert "abstain" not in page and "contract" not in page
    changed = msgspec.structs.replace(card(), abstain_below=0.625, contract_version="1.0")
    page = model_card.markdown(changed)
    assert "If its confidence is below 0.625, the prediction is marked `abstain`." in page
    assert "SavedModel contract 1.0." in page
    several = card(multi_label=True, thresholds=(0.5, 0.5), validation=report())
    page = model_card.markdown(several)
    assert "any number of classes per text" in page
    assert "the epoch, the temperature and the thresholds" in page
    assert "of the tokens of train exceed" not in page


def linear_summary() -> artifact.LinearSummary:
    return artifact.LinearSummary(
        blocks=(("tokens", 1, 3),), num_buckets=2, num_features=1, weighting="tfidf", strength=1.0,
        held_out="folds", num_texts_cut=1, truncated_texts=(0, 1), cut_tokens=(0, 20),
    )  # fmt: skip


def test_card_page_states_the_notes_on_the_linear_model():
    summary = msgspec.structs.replace(linear_summary(), notes=("C 100 is large",))
    page = model_card.markdown(card(linear=summary))
    assert "Note: C 100 is large." in page.splitlines()


@pytest.mark.parametrize(
    ("encoder", "limits"),
    [
        ("gru", {"text.sequence_length": "25.0%", "text.linear_length": "10.0%"}),
        ("none", {"text.linear_length": "10.0%"}),
    ],
)
def test_card_page_states_the_tokens_beyond_each_limit_of_the_models(encoder, limits):
    text = {"sequence_length": 4000, "keep": "start", "linear_length": 5000}
    config = {"text": text, "model": {"encoder": encoder}, "data": {}}
    made = card(config=config, linear=linear_summary(), validation=report())
    assert list(made.length_limits) == list(limits)
    page = model_card.markdown(made)
    lines = [line for line in page.splitlines() if "tokens of train exceed" in line]
    assert lines == [
        f"- {share} of the tokens of train exceed `{setting}`" for setting, share in limits.items()
    ]
