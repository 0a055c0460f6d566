"""Card: description of a trained classifier, stored as `card.json`."""

import json
from typing import Any

import msgspec

from textclf.artifact.layout import FORMAT_VERSION
from textclf.evaluation.report import Gain, Report
from textclf.tasks import Decision, Mixture, Task, task_of


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Part of a card; unknown entries of a file are an error."""


class SplitSize(_Section, frozen=True):
    """Size of a split.

    Attributes:
        num_examples: number of examples.
        class_counts: examples of each class, in the order of `Card.class_names`.
    """

    num_examples: int
    class_counts: tuple[int, ...]


class DataSummary(_Section, frozen=True):
    """Data that a classifier was trained on.

    Attributes:
        fingerprint: changes with the examples, their order and the splits.
        splits: size of each split by name.
        findings: JSON of `data.Findings`; `msgspec.convert(findings, data.Findings)` reads it.
    """

    fingerprint: str = ""
    splits: dict[str, SplitSize] = {}
    findings: dict[str, Any] = {}


class TrainTokens(_Section, frozen=True):
    """Tokens of the training split.

    Attributes:
        num_tokens: tokens before the length limit.
        truncated_texts: texts of each class that exceed `text.sequence_length`; empty without a
            network, which alone has this limit.
        cut_tokens: tokens of each class that the limit removed; empty without a network.
    """

    num_tokens: int = 0
    truncated_texts: tuple[int, ...] = ()
    cut_tokens: tuple[int, ...] = ()


class TextSummary(_Section, frozen=True):
    """Vocabulary and tokens.

    Attributes:
        vocabulary_size: number of token ids, reserved ones and hash buckets included.
        pruned_tokens: distinct tokens dropped while counting; 0 if the counts are exact.
        unknown_fraction: unknown tokens among the kept tokens of validation, 0 to 1.
        train: tokens of the training split.
    """

    vocabulary_size: int = 0
    pruned_tokens: int = 0
    unknown_fraction: float | None = None
    train: TrainTokens = TrainTokens()


class TrainingSummary(_Section, frozen=True):
    """Result of a training.

    Attributes:
        best_epoch: the epoch that was kept, from 1.
        epochs: number of epochs trained.
        ended_by: reason why training ended.
        num_weights: number of trained values.
        is_average: whether the weights are an average over the training, see `training.average`.
    """

    best_epoch: int = 0
    epochs: int = 0
    ended_by: str = ""
    num_weights: int = 0
    is_average: bool = False


class Calibration(_Section, frozen=True):
    """A run of `textclf calibrate`.

    Attributes:
        created: UTC time, ISO 8601.
        options: options of `recalibration.calibrate`, where they were set.
    """

    created: str
    options: dict[str, float | str | bool] = {}


class PastDecision(_Section, frozen=True):
    """A decision that `textclf calibrate` has replaced.

    Attributes:
        decision: temperature, thresholds and abstention.
        created: UTC time at which it was fitted, ISO 8601.
        options: options of `textclf calibrate` that it was fitted with; empty for the training's.
    """

    decision: Decision
    created: str
    options: dict[str, float | str | bool] = {}


class LinearSummary(_Section, frozen=True):
    """The linear model of a classifier.

    Attributes:
        blocks: kind, shortest and longest n-gram of each block, see `text.NgramBlock`.
        num_buckets: hash buckets of each block.
        num_features: n-grams that have weights.
        weighting, strength, held_out: how it was fitted, see `linear.Selection`.
        num_texts_cut, truncated_texts, cut_tokens: training texts with more tokens than
            `text.linear_length`, see `linear.Selection`.
        notes: sentences on limits of the fit.
        decision: of the linear model of a mixture, if it answered alone; fitted on validation. None
            without a mixture.
    """

    blocks: tuple[tuple[str, int, int], ...]
    num_buckets: int
    num_features: int
    weighting: str
    strength: float
    held_out: str
    num_texts_cut: int
    truncated_texts: tuple[int, ...] = ()
    cut_tokens: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    decision: Decision | None = None


class Card(_Section, frozen=True):
    """Description of a trained classifier.

        card = artifact.read_card("runs/reviews")
        card.training.best_epoch

    Attributes:
        class_names: the classes, in the order of the columns of the probabilities.
        multi_label: True if a text can have several labels.
        config: the resolved configuration, as returned by `Config.to_dict`.
        temperature: divisor of the logits before the probabilities: one number, or one per class
            for multi-label tasks. 1.0 until it is fitted.
        thresholds: multi-label: smallest probability of each selected class. Two classes: that of
            the positive class, and 0 for the other, or None without a threshold. Otherwise None.
        abstain_below: the classifier abstains below this confidence; None: it never abstains.
        data: the data of the training.
        text: vocabulary and tokens.
        training: result of the training.
        validation: report of the best epoch on the validation split; None if there is none.
        versions: package to version: textclf, Python, TensorFlow, Keras and NumPy.
        created: UTC time of writing, ISO 8601.
        contract_version: exports only: the version of the contract in docs/saved_model.md.
        files: SHA-256 of every other file of the folder.
        format_version: version of this format.
        calibration: the run of `textclf calibrate` that fitted the decision; None: the training
            fitted it.
        history: the former decisions, the oldest first.
        linear: the linear model; None if there is none.
        mixture: how the logits of linear model and network are joined; None unless both exist.
        gain: what the network adds to the linear model on validation.
        network_decision: of the network of a mixture, if it answered alone; fitted on validation.
            None without a mixture, and in cards of older versions.
    """

    class_names: tuple[str, ...]
    multi_label: bool
    config: dict[str, Any]
    temperature: float | tuple[float, ...] = 1.0
    thresholds: tuple[float, ...] | None = None
    abstain_below: float | None = None
    data: DataSummary = DataSummary()
    text: TextSummary = TextSummary()
    training: TrainingSummary = TrainingSummary()
    validation: Report | None = None
    versions: dict[str, str] = {}
    created: str = ""
    contract_version: str = ""
    files: dict[str, str] = {}
    format_version: int = FORMAT_VERSION
    calibration: Calibration | None = None
    history: tuple[PastDecision, ...] = ()
    linear: LinearSummary | None = None
    mixture: Mixture | None = None
    gain: Gain | None = None
    network_decision: Decision | None = None

    @property
    def task(self) -> Task:
        """Task of the classifier."""
        return task_of(multi_label=self.multi_label, num_classes=len(self.class_names))

    @property
    def length_limits(self) -> dict[str, int]:
        """Setting -> number of tokens that the network or the linear model reads at most."""
        text = self.config.get("text", {})
        has_network = self.config.get("model", {}).get("encoder") != "none"
        settings = ["text.sequence_length"] if has_network else []
        settings += [] if self.linear is None else ["text.linear_length"]
        names = {setting: setting.partition(".")[2] for setting in settings}
        return {setting: text[name] for setting, name in names.items() if name in text}

    @property
    def decision(self) -> Decision:
        """Decision of the classifier; its fields are fields of the card."""
        return Decision(
            temperature=self.temperature,
            thresholds=self.thresholds,
            abstain_below=self.abstain_below,
        )

    def to_json(self) -> str:
        """Return the content of `card.json`, without the parts that the classifier lacks."""
        values = msgspec.to_builtins(self)
        if self.calibration is None and not self.history:
            del values["calibration"], values["history"]
        for name in ("linear", "mixture", "gain", "network_decision"):
            if values[name] is None:
                del values[name]
        return json.dumps(values, ensure_ascii=False, indent=2) + "\n"
