"""Trained classifiers: load them, save them, and classify raw strings.

    from textclf import classifier
    model = classifier.load("runs/reviews")
    model.predict_proba(["not bad at all"])      # float32 [1, classes]

Prediction and export share `Classifier.answer`: text graph, network, temperature, thresholds and
abstention.
"""

import os
import shutil
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import tensorflow as tf

from textclf import analysis, artifact, evaluation, model_card, model_data, networks, text
from textclf.config import Config, to_yaml, write_trained_paths
from textclf.data import Dataset
from textclf.errors import ArtifactError, DataError
from textclf.linear import LinearModel
from textclf.progress import OnProgress, no_progress

# Names of the outputs of `Classifier.answer`, which are those of the served graph.
OUTPUTS = (
    "probabilities",
    "selected",
    "label",
    "label_id",
    "confidence",
    "abstain",
    "class_names",
    "num_tokens",
    "unknown_fraction",
    "truncated",
)


# Sizes of batches that are chosen by length: measured with a BiLSTM of 64 units on two cores.
_MIN_BATCH, _MAX_BATCH = 128, 512
_BATCH_BYTES = 1 << 18

# Prefix of the arrays of the linear model in the file of weights.
_LINEAR = "linear/"


class Scores(NamedTuple):
    """True classes and predicted probabilities of a split, in the order of the split.

    Attributes:
        y_true: int64 [n], or bool [n, classes] for multi-label tasks; ids of the model's classes.
        p: float32 [n, classes], probabilities.
        num_tokens: int64 [n], lengths of the texts before truncation.
        truncated: bool [n], True for texts longer than the length limit.
        linear_p: float32 [n, classes], probabilities of the linear model of a mixture alone; None
            without them, see `Predictor.linear_proba`.
        unknown_fraction: float32 [n], shares of unknown tokens; None if they were not kept.
    """

    y_true: np.ndarray
    p: np.ndarray
    num_tokens: np.ndarray
    truncated: np.ndarray
    linear_p: np.ndarray | None = None
    unknown_fraction: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> "Scores":
        """Return the scores of some rows, bool [n] or int64 [k]."""
        arrays = ((name, values) for name, values in self._asdict().items() if values is not None)
        return Scores(**{name: values[rows] for name, values in arrays})


class Predictor:
    """Trained folder or SavedModel that maps texts to `OUTPUTS`.

    Attributes:
        card: description of the model.
        class_names: the classes, in the order of the columns of the probabilities.
    """

    def __init__(self, answer: Callable[[tf.Tensor], dict[str, tf.Tensor]], card: artifact.Card):
        self._answer = answer
        self.card = card
        self.class_names = card.class_names

    def answers(
        self, texts: Iterable[str | bytes], batch_size: int | None = 64
    ) -> dict[str, np.ndarray]:
        """Return all `OUTPUTS` of texts, in the order of the texts.

        Args:
            texts: n strings, which may be empty; bytes are decoded as UTF-8.
            batch_size: number of texts in a batch; it does not change the result. None for large
                batches of short texts, the fastest for thousands of texts.

        Returns:
            An array with n rows by name of the output; see `Classifier.answer` for their shapes.

        Raises:
            DataError: `texts` is not a sequence of texts. The message has the positions of values
                that are not texts.
        """
        answers = _in_batches(self._answer, texts, batch_size)
        return {name: answers[name] for name in OUTPUTS}

    def predict_proba(self, texts: Iterable[str | bytes], batch_size: int = 64) -> np.ndarray:
        """Return probabilities, float32 [texts, classes]; rows sum to one unless multi-label."""
        return self.answers(texts, batch_size)["probabilities"]

    def linear_proba(self, texts: Iterable[str | bytes], batch_size: int = 64) -> np.ndarray | None:
        """Return the probabilities of the linear model of a mixture alone.

        Returns:
            float32 [texts, classes], with the temperature of the linear model alone; None without
            a mixture, and for an exported version, which only has the outputs of the mixture.
        """
        return None

    def explain(
        self,
        texts: Iterable[str | bytes],
        *,
        class_names: Sequence[str] | None = None,
        num_steps: int = analysis.NUM_STEPS,
        on_progress: OnProgress = no_progress,
    ) -> analysis.Explanations:
        """Return how much each word of each text adds to the score of its class.

        Only a trained folder can do this, see `Classifier.explain`.

        Raises:
            ArtifactError: the model is an exported version.
        """
        raise ArtifactError(analysis.EXPORT_NOT_EXPLAINED)

    def predict(self, texts: Iterable[str | bytes]) -> list[str] | list[tuple[str, ...]]:
        """Return the most probable class of each text; multi-label: its selected classes."""
        answers = self.answers(texts)
        return self.card.task.label_names(answers, self.class_names)

    def score(
        self,
        dataset: Dataset,
        split: str,
        on_progress: OnProgress = no_progress,
    ) -> Scores:
        """Predict the examples of a split, which is read as a stream.

        Classes are matched by name; their order in the data may differ from the model's.

        Args:
            on_progress: called with a description, the number of examples done and their total.

        Raises:
            DataError: the data have no such split, or a class that the model does not have.
        """
        dataset.check_split(split)
        model_ids = self._class_ids(dataset.class_names)
        n = dataset.splits[split].num_examples
        p = np.empty((n, len(self.class_names)), np.float32)
        num_tokens, truncated = np.empty(n, np.int64), np.empty(n, bool)
        unknown_fraction = np.empty(n, np.float32)
        task = self.card.task
        y_true = [task.classes_of([])]
        linear_p: list[np.ndarray] = []
        done = 0
        for chunk in chunks(dataset.examples(split), 1024):
            texts = [example.text for example in chunk]
            answers = self.answers(texts)
            if (of_linear := self.linear_proba(texts)) is not None:
                linear_p.append(of_linear)
            rows = slice(done, done + len(chunk))
            p[rows], num_tokens[rows] = answers["probabilities"], answers["num_tokens"]
            truncated[rows] = answers["truncated"]
            unknown_fraction[rows] = answers["unknown_fraction"]
            y_true.append(
                task.classes_of(
                    [[model_ids[label] for label in example.label_ids] for example in chunk]
                )
            )
            done += len(chunk)
            on_progress(f"answering {split}", done, n)
        return Scores(
            np.concatenate(y_true),
            p,
            num_tokens,
            truncated,
            np.concatenate(linear_p) if linear_p else None,
            unknown_fraction,
        )

    def evaluate(self, dataset: Dataset, split: str = "test", **settings: Any) -> evaluation.Report:
        """Return the report of one split; `settings` as in `evaluation.evaluate`."""
        return self.report(self.score(dataset, split), **settings)

    def report(self, scores: Scores, **settings: Any) -> evaluation.Report:
        """Return the report of scores; `settings` as in `evaluation.evaluate`."""
        linear = None if self.card.linear is None else self.card.linear.decision
        return evaluation.evaluate(
            scores.y_true,
            scores.p,
            class_names=self.class_names,
            multi_label=self.card.multi_label,
            num_tokens=scores.num_tokens,
            truncated=scores.truncated,
            length_limits=self.card.length_limits,
            linear_p=scores.linear_p,
            linear_thresholds=None if linear is None else linear.thresholds,
            **msgspec.structs.asdict(self.card.decision),
            **settings,
        )

    def _class_ids(self, names: Sequence[str]) -> list[int]:
        """Return the model's class ids of class names; DataError if the model lacks one."""
        ids = {name: index for index, name in enumerate(self.class_names)}
        unknown = [name for name in names if name not in ids]
        if unknown:
            raise DataError(
                f"the data have classes that the model does not have: {', '.join(unknown)}; the "
                f"model has {', '.join(self.class_names)}"
            )
        return [ids[name] for name in names]


class ReadTexts(NamedTuple):
    """Tokens of a batch of texts, and what the network and the linear model make of them.

    Attributes:
        tokens, positions: string [N] and int64 [N, 2], see `text.Tokenizer.split_tokens`.
        encoded: token ids; `truncated` is True where either model did not read all tokens.
        vectors: float32 [batch, width], of the network; without a network the logits.
        linear_logits: float32 [batch, classes], of the linear model, or None.
    """

    tokens: tf.Tensor
    positions: tf.Tensor
    encoded: text.Encoded
    vectors: tf.Tensor
    linear_logits: tf.Tensor | None


class Classifier(Predictor):
    """Text graph and network with the card that describes them.

    Attributes:
        text_encoder: maps strings to token ids.
        network: maps token ids to logits; None if the linear model is alone.
        linear: maps tokens to logits; None without a linear model.
    """

    def __init__(
        self,
        text_encoder: text.TextEncoder,
        network: networks.Network | None,
        card: artifact.Card,
        linear: LinearModel | None = None,
    ):
        self.text_encoder = text_encoder
        self.network = network
        self.linear = linear
        self.card = card
        signature = [tf.TensorSpec([None], tf.string, name="text")]
        super().__init__(tf.function(self.answer, input_signature=signature, autograph=False), card)
        self._linear_answer = tf.function(
            self._answer_of_linear, input_signature=signature, autograph=False
        )

    def linear_logits(self, texts: Iterable[str | bytes], batch_size: int = 64) -> np.ndarray:
        """Return the logits of the linear model alone, float32 [texts, classes].

            classifier.load("runs/reviews").linear_logits(["not bad at all"])

        Args:
            texts, batch_size: as for `answers`.

        Raises:
            ValueError: the classifier has no linear model.
            DataError: `texts` is not a sequence of texts.
        """
        if self.linear is None:
            raise ValueError("this classifier has no linear model; train it with model.linear")
        return _in_batches(self._linear_answer, texts, batch_size)["logits"]

    def linear_proba(self, texts: Iterable[str | bytes], batch_size: int = 64) -> np.ndarray | None:
        if self.card.linear is None or (decision := self.card.linear.decision) is None:
            return None
        logits = self.linear_logits(texts, batch_size)
        return self.card.task.probabilities(tf.constant(logits), decision.temperature).numpy()

    def explain(
        self,
        texts: Iterable[str | bytes],
        *,
        class_names: Sequence[str] | None = None,
        num_steps: int = analysis.NUM_STEPS,
        on_progress: OnProgress = no_progress,
    ) -> analysis.Explanations:
        """Return how much each word of each text adds to the score of its class.

            classifier.load("runs/reviews").explain(["not bad at all"])

        The parts of the network are integrated gradients on the token vectors, those of the linear
        model are exact; see `analysis.attribution`. The last value of a notebook's cell is shown
        as coloured text.

        Args:
            texts: n strings or bytes, as for `answers`.
            class_names: classes to explain; None for the predicted class, or the selected ones of a
                multi-label task (the most probable one if none is selected).
            num_steps: number of steps of the integrated gradients; more make the completeness error
                smaller.
            on_progress: called with a description, the number of texts done and their total.

        Returns:
            n explanations.

        Raises:
            DataError: `texts` is not a sequence of texts, or a class name is not one of the model.
            ValueError: `num_steps` is less than 1.
        """
        return analysis.explain_texts(
            encode_texts(texts),
            text_encoder=self.text_encoder,
            network=self.network,
            linear=self.linear,
            card=self.card,
            class_names=class_names,
            num_steps=num_steps,
            on_progress=on_progress,
        )

    def leave_one_out(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Compute the change of the scores without each token, with core TensorFlow operations.

        Exported versions have it as the signature `explain`.

            model.leave_one_out(tf.constant(["not bad at all"]))["drops"]

        Args:
            texts: string [batch].

        Returns:
            tokens: string [batch, T], the tokens that are read, the first 512 of a longer text; ""
                after the last one.
            drops: float32 [batch, T, classes], score of the text minus the score without the token;
                0 after the last one.
            scores: float32 [batch, classes], see `tasks.Task.score_weights`.
            class_names: string [batch, classes].
            num_tokens: int64 [batch], number of all tokens of the text.
        """
        return self.leave_one_out_from(self.read(texts))

    def leave_one_out_from(self, read: "ReadTexts") -> dict[str, tf.Tensor]:
        """Compute the outputs of `leave_one_out` from the values of `read`."""
        outputs = analysis.leave_one_out(
            read.tokens,
            read.positions,
            read.encoded,
            linear_logits=read.linear_logits,
            network_logits=None if self.network is None else self.network.logits(read.vectors),
            text_encoder=self.text_encoder,
            network=self.network,
            linear=self.linear,
            card=self.card,
        )
        return {**outputs, "class_names": self._names_of_rows(outputs["num_tokens"])}

    def _names_of_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Return the class names for each row of a tensor, string [batch, classes]."""
        names = tf.constant(self.class_names)
        return tf.tile(names[tf.newaxis, :], [tf.shape(rows)[0], 1])

    def network_alone(self) -> "Classifier":
        """Return the network of a mixture as a classifier without the linear model.

            textclf.load("runs/reviews").network_alone().predict_proba(["not bad at all"])

        Its temperature and thresholds were fitted to its own logits of the validation split. Its
        card has no report of validation. A classifier without a linear model is returned itself.

        Raises:
            ArtifactError: the classifier has no network, or its folder does not hold the decision
                of the network alone.
        """
        if self.linear is None:
            return self
        if self.network is None:
            raise ArtifactError(
                "a linear model has no network; train it with model.linear: mixture"
            )
        decision = self.card.network_decision
        if decision is None:
            raise ArtifactError(
                "the card has no temperature of the network alone, because an older version of "
                "textclf wrote it; `textclf calibrate FOLDER` adds it"
            )
        config = Config.from_dict(self.card.config).replace({"model.linear": "none"})
        card = msgspec.structs.replace(
            self.card,
            **msgspec.structs.asdict(decision),
            config=config.to_dict(),
            validation=None,
            calibration=None,
            history=(),
            linear=None,
            mixture=None,
            gain=None,
            network_decision=None,
        )
        return Classifier(self.text_encoder, self.network, card)

    def _answer_of_linear(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Compute the logits of the linear model in the graph."""
        assert self.linear is not None
        tokens, positions = self.text_encoder.tokenizer.split_tokens(texts)
        return {"logits": self.linear(tokens, positions, tf.shape(texts, tf.int64)[0])[0]}

    def answer(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Compute the outputs of texts with core TensorFlow operations.

        Args:
            texts: string [batch].

        Returns:
            probabilities: float32 [batch, classes], calibrated by the temperature.
            selected: bool [batch, classes]; one-of: the arg max; multi-label: every class whose
                probability is at least its threshold.
            label, label_id: string and int64 [batch], the most probable class.
            confidence: float32 [batch], the probability of that class.
            abstain: bool [batch], True if the confidence is below the card's `abstain_below`.
            class_names: string [batch, classes].
            num_tokens: int64 [batch], lengths before truncation.
            unknown_fraction: float32 [batch], share of unknown tokens among the tokens after
                truncation; 0 for a text without tokens.
            truncated: bool [batch], True for texts that a length limit cut.
        """
        return self.answer_from(self.read(texts))

    def read(self, texts: tf.Tensor) -> "ReadTexts":
        """Return what the network and the linear model read in texts, string [batch]."""
        num_texts = tf.shape(texts, tf.int64)[0]
        tokens, positions = self.text_encoder.tokenizer.split_tokens(texts)
        encoded = self.text_encoder.encode_tokens(tokens, positions, num_texts)
        linear_logits = None
        if self.linear is not None:
            linear_logits, is_cut = self.linear(tokens, positions, num_texts)
            if self.network is not None:
                is_cut |= encoded.truncated
            encoded = encoded._replace(truncated=is_cut)
        if self.network is None:
            return ReadTexts(tokens, positions, encoded, linear_logits, linear_logits)
        vectors = self.network.encode(encoded.features())
        return ReadTexts(tokens, positions, encoded, vectors, linear_logits)

    def answer_from(self, read: "ReadTexts") -> dict[str, tf.Tensor]:
        """Compute the outputs of `answer` from the values of `read`."""
        encoded, vectors, logits = read.encoded, read.vectors, read.linear_logits
        if self.network is not None:
            network_logits = self.network.logits(vectors)
            mixture = self.card.mixture
            logits = network_logits if mixture is None else mixture.mix(logits, network_logits)
        answer = self.card.task.decide(logits, self.card.decision)
        names = tf.constant(self.class_names)
        # The encoder adds an unknown token to an empty text; do not count it.
        kept = tf.minimum(encoded.num_tokens, tf.cast(encoded.lengths, tf.int64))
        unknown_fraction = tf.math.divide_no_nan(
            tf.cast(encoded.num_unknown, tf.float32), tf.cast(kept, tf.float32)
        )
        return {
            **answer,
            "label": tf.gather(names, answer["label_id"]),
            "class_names": self._names_of_rows(vectors),
            "num_tokens": encoded.num_tokens,
            "unknown_fraction": unknown_fraction,
            "truncated": encoded.truncated,
        }


def _in_batches(
    answer: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    texts: Iterable[str | bytes],
    batch_size: int | None,
) -> dict[str, np.ndarray]:
    """Return the outputs of texts in their order, computed in batches.

    Args:
        batch_size: number of texts; None to choose it by their length.
    """
    encoded = encode_texts(texts)
    # Batches contain texts of similar length, so that there is little padding.
    lengths = np.array([len(text) for text in encoded], np.int64)
    order = np.argsort(lengths, kind="stable")
    ascending = lengths[order]
    parts: list[dict[str, tf.Tensor]] = []
    start = 0
    while start < len(encoded) or not parts:
        size = batch_size or _best_batch_size(ascending, start)
        batch = [encoded[index] for index in order[start : start + size]]
        parts.append(answer(tf.constant(batch, tf.string, shape=[len(batch)])))
        start += size
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return {
        name: np.concatenate([part[name].numpy() for part in parts])[inverse] for name in parts[0]
    }


def _best_batch_size(lengths: np.ndarray, start: int) -> int:
    """Return the number of texts of the next batch, given the ascending lengths in bytes.

    A step of a recurrent layer costs the same for one text and for several, so that short texts go
    in larger batches; the tensors of larger batches of long texts do not fit into the caches.
    """
    size = _MIN_BATCH
    while size < _MAX_BATCH and start + 2 * size <= len(lengths):
        if 2 * size * lengths[start + 2 * size - 1] > _BATCH_BYTES:
            break
        size *= 2
    return size


def encode_texts(texts: Iterable[str | bytes], *, name: str = "texts") -> list[bytes]:
    """Encode texts as UTF-8 bytes, the input of the graph.

    Args:
        texts: one-dimensional iterable of strings or bytes, for example a list, a generator, a
            NumPy array, or a column of a table of pandas or pyarrow.
        name: name of the argument in messages.

    Raises:
        DataError: `texts` is not a sequence of texts. The message has the positions of values that
            are not texts.
    """
    if isinstance(texts, tf.Tensor):
        texts = texts.numpy()
    if isinstance(texts, str | bytes | bytearray):
        raise DataError(f"{name}: expected a list of texts, found a single one; put it in a list")
    # Iteration over a data frame or a dictionary yields column names.
    is_table = isinstance(texts, Mapping) or getattr(texts, "ndim", 1) != 1
    if is_table or not isinstance(texts, Iterable):
        raise DataError(
            f"{name}: expected a list of texts, found {type(texts).__name__}; give the texts "
            "alone, in one dimension"
        )
    encoded: list[bytes] = []
    invalid: list[tuple[int, Any]] = []
    for position, value in enumerate(texts):
        if hasattr(value, "as_py"):
            value = value.as_py()  # a scalar of an Arrow column
        if isinstance(value, str):
            encoded.append(text.to_utf8(value))
        elif isinstance(value, bytes):
            encoded.append(value)
        else:
            invalid.append((position, value))
    if invalid:
        shown = "; ".join(
            f"{name}[{position}] is {_shown(value)}" for position, value in invalid[:3]
        )
        more = f"; and {len(invalid) - 3} more" if len(invalid) > 3 else ""
        raise DataError(
            f"{shown}{more}: expected a text (str or UTF-8 bytes); leave it out, replace a missing "
            "text by '' or convert the value with str()"
        )
    return encoded


def _shown(value: Any) -> str:
    """Format a value that is not a text as one short line for a message."""
    if value is None:
        return "None"
    shown = " ".join(repr(value).split())
    return f"{shown if len(shown) <= 40 else shown[:37] + '...'} ({type(value).__name__})"


def tokenizer_settings(config: Config) -> dict[str, Any]:
    """Return the arguments of `text.Tokenizer`."""
    return config.text.to_dict("unit", "lowercase", "fold_width", "unescape_entities")


def encoder_settings(config: Config) -> dict[str, Any]:
    """Return the arguments of `text.TextEncoder` except tokenizer and vocabulary."""
    settings = config.text.to_dict("sequence_length", "keep", "hash_buckets")
    # Only with subwords: the settings are part of the key of a cache.
    return settings | (
        {"subword_buckets": _subword_buckets(config)} if config.text.subwords else {}
    )


def _subword_buckets(config: Config) -> int:
    return config.text.subword_buckets if config.text.subwords else 0


def token_arguments(config: Config, vocabulary: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of `networks.build` that depend on the tokens, and the seed.

    Args:
        vocabulary: the tokens, in the order of their ids.
    """
    num_buckets = _subword_buckets(config)
    return {
        "vocabulary_size": text.NUM_RESERVED + len(vocabulary) + config.text.hash_buckets,
        "subword_ids": text.subwords_of_vocabulary(vocabulary, num_buckets)
        if num_buckets
        else None,
        "subword_buckets": num_buckets,
        "seed": config.training.seed,
    }


def build_text_encoder(config: Config, vocabulary_path: str | os.PathLike) -> text.TextEncoder:
    """Build the text graph of a configuration and a vocabulary."""
    tokenizer = text.Tokenizer(**tokenizer_settings(config))
    return text.TextEncoder(tokenizer, vocabulary_path, **encoder_settings(config))


def save(
    folder: str | os.PathLike,
    *,
    config: Config,
    card: artifact.Card,
    vocabulary_path: str | os.PathLike,
    weights: dict[str, np.ndarray],
    linear_arrays: Mapping[str, np.ndarray] = types.MappingProxyType({}),
    extra_files: Mapping[str, str | os.PathLike],
    paths: Mapping[str, str],
    overwrite: bool,
    staging: Path | None = None,
) -> None:
    """Write a trained folder atomically.

    Args:
        card: description of the model; `files` is filled in here.
        weights: weights of the network by name.
        linear_arrays: arrays of the linear model by name.
        extra_files: files and folders to copy, by their name in the trained folder.
        paths: setting -> absolute path of the training, as of `config.absolute_paths`.
        overwrite: replace an existing trained folder.
        staging: see `artifact.write_folder`.

    Raises:
        ArtifactError: the folder cannot be written; an existing one is unchanged.
    """
    with artifact.write_folder(folder, overwrite=overwrite, staging=staging) as temporary:
        shutil.copyfile(vocabulary_path, temporary / artifact.VOCABULARY)
        # NumPy writes a fixed date into the archive, so equal weights give equal bytes.
        arrays = {**weights, **{_LINEAR + name: array for name, array in linear_arrays.items()}}
        np.savez(temporary / artifact.WEIGHTS, **arrays)  # type: ignore[arg-type]
        (temporary / artifact.CONFIG).write_text(to_yaml(config.to_dict()), encoding="utf-8")
        for name, path in extra_files.items():
            copy = shutil.copytree if Path(path).is_dir() else shutil.copyfile
            copy(path, temporary / name)
        page = model_card.markdown(card)
        (temporary / artifact.CARD_PAGE).write_text(page, encoding="utf-8")
        card = msgspec.structs.replace(card, files=artifact.checksums(temporary))
        (temporary / artifact.CARD).write_text(card.to_json(), encoding="utf-8")
        write_trained_paths(temporary, paths)  # after the checksums, which do not contain it


def load(folder: str | os.PathLike) -> Classifier:
    """Load a trained folder.

    Raises:
        ArtifactError: the folder is not a trained folder, is damaged, or was written by a newer
            textclf.
    """
    folder = Path(folder)
    card = artifact.read_card(folder)
    artifact.check_files(folder, card.files)
    config = model_data.card_config(folder, card)
    text_encoder = build_text_encoder(config, folder / artifact.VOCABULARY)
    network, linear = None, None
    weights, linear_arrays = read_arrays(folder)
    if card.linear is not None:
        linear = LinearModel(
            [text.NgramBlock(*block) for block in card.linear.blocks],
            linear_arrays,
            num_buckets=card.linear.num_buckets,
            max_tokens=config.text.linear_length,
        )
    if config.model.encoder != "none":
        vocabulary = text.read_vocabulary(folder / artifact.VOCABULARY)
        network = networks.build(
            networks.Architecture.from_settings(config.model.to_dict()),
            num_classes=len(card.class_names),
            **token_arguments(config, vocabulary),
        )
        set_weights(network, weights, folder)
    return Classifier(text_encoder, network, card, linear)


def read_arrays(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the weights of the network and the arrays of the linear model, each by name."""
    weights, linear_arrays = {}, {}
    with np.load(folder / artifact.WEIGHTS, allow_pickle=False) as arrays:
        for name in arrays:
            if name.startswith(_LINEAR):
                linear_arrays[name.removeprefix(_LINEAR)] = arrays[name]
            else:
                weights[name] = arrays[name]
    return weights, linear_arrays


def evaluate(
    model: Predictor | str | os.PathLike, dataset: Dataset, split: str = "test", **settings: Any
) -> evaluation.Report:
    """Return the report of a model on one split of a data set.

        textclf.evaluate("runs/reviews", dataset).get("accuracy")

    Args:
        model: a loaded model, a trained folder, or an exported version.
        settings: keyword arguments of `evaluation.evaluate`.

    Raises:
        DataError: the data have no such split, or a class that the model does not have.
        ArtifactError: the folder does not contain a model.
    """
    predictor = model if isinstance(model, Predictor) else load_predictor(model)
    return predictor.evaluate(dataset, split, **settings)


def load_predictor(folder: str | os.PathLike) -> Predictor:
    """Load a trained folder, an exported version, or the newest version in a folder of versions.

        textclf.load("runs/reviews").predict(["not bad at all"])

    Raises:
        ArtifactError: the folder is none of these, or is damaged.
    """
    version = artifact.exported_version(folder)
    if version is None:
        return load(folder)
    card = artifact.read_card(version / "assets.extra")
    loaded = tf.saved_model.load(version)
    signature = loaded.signatures["serving_default"]

    def answer(texts: tf.Tensor) -> dict[str, tf.Tensor]:
        assert loaded is not None  # a reference; the signature does not keep its variables alive
        return signature(text=texts)

    return Predictor(answer, card)


def get_weights(network: networks.Network) -> dict[str, np.ndarray]:
    """Return the weights of a network by name, in the order of its parameters."""
    return {name: variable.numpy() for name, variable in network.named_parameters.items()}


def set_weights(network: networks.Network, weights: Any, folder: Path) -> None:
    """Assign weights to a network by name.

    Args:
        weights: mapping of names to arrays, for example an open `.npz` file.
        folder: trained folder, for messages.

    Raises:
        ArtifactError: names or shapes differ from those of the network.
    """
    parameters = network.named_parameters
    expected = {name: tuple(variable.shape) for name, variable in parameters.items()}
    stored = {name: tuple(weights[name].shape) for name in weights}
    if expected != stored:
        differing = sorted(set(expected.items()) ^ set(stored.items()))
        raise ArtifactError(
            f"{folder / artifact.WEIGHTS}: does not fit the network of the card "
            f"({differing[0][0]} differs); restore the folder from a copy"
        )
    for name, variable in parameters.items():
        variable.assign(weights[name])


def chunks(items: Iterable, size: int) -> Iterator[list]:
    """Yield lists of `size` items; the last one may be shorter. Read at most one list ahead."""
    chunk: list = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
