"""Initial weights from a trained folder or a language model: `training.init_from`.

`check` compares the settings before the data are read and needs no TensorFlow; `copy_weights`
copies what fits into a new network.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from textclf import artifact, model_data
from textclf.config import Config
from textclf.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from textclf import networks

# Settings that decide the shapes of an encoder's weights, and which tokens a text has.
_SHAPES = ("encoder", "bidirectional", "units", "num_layers")
_TOKENS = ("unit", "lowercase", "fold_width", "unescape_entities", "hash_buckets")


def check(config: Config, output: str | os.PathLike | None = None) -> None:
    """Check that a training can begin with the weights of the folder that it names.

    Args:
        config: the experiment, with resolved paths.
        output: the folder to write, if there is one.

    Raises:
        ArtifactError: the folder is neither a trained one nor a language model, or is the output.
        ConfigError: its network or its tokens do not fit the configuration.
    """
    folder = initial_folder(config)
    if folder is None:
        return
    if not folder.exists():
        raise ArtifactError(
            f"training.init_from: {folder} does not exist; `textclf train` and `textclf pretrain` "
            "write such folders"
        )
    try:
        source = _read_source(folder)
    except ArtifactError as error:
        raise ArtifactError(f"training.init_from: {error}") from None
    if output is not None and os.path.realpath(folder) == os.path.realpath(output):
        raise ArtifactError(
            f"training.init_from: {folder} is also the output, which is replaced at the end; "
            "choose another output"
        )
    former = source.config
    if former.model.encoder == "none":
        raise ConfigError(
            [f"training.init_from: {folder} is a linear model alone; name a folder with a network"]
        )
    problems = []
    if former.model.embedding_dim != config.model.embedding_dim:
        problems.append(
            f"model.embedding_dim: is {config.model.embedding_dim}, but the vectors in {folder} "
            f"have {former.model.embedding_dim} numbers; set it to {former.model.embedding_dim}"
        )
    # The vector of a token is a sum: its own part alone would be another vector.
    if former.text.subwords and not config.text.subwords:
        problems.append(
            f"text.subwords: is false, but the token vectors of {folder} need those of n-grams; "
            "set it to true"
        )
    elif former.text.subwords and former.text.subword_buckets != config.text.subword_buckets:
        number = former.text.subword_buckets
        problems.append(
            f"text.subword_buckets: is {config.text.subword_buckets}, but {folder} has {number} "
            f"vectors of n-grams; set it to {number}"
        )
    if config.training.init_vocabulary == "keep":
        before, after = former.text.to_dict(*_TOKENS), config.text.to_dict(*_TOKENS)
        problems += [
            f"text.{name}: is {after[name]}, but the vocabulary of {folder} was made with "
            f"{before[name]}; set it to that value, or set training.init_vocabulary: new"
            for name in _TOKENS
            if before[name] != after[name]
        ]
    if config.training.freeze_epochs:
        before, after = former.model.to_dict(*_SHAPES), config.model.to_dict(*_SHAPES)
        problems += [
            f"model.{name}: is {after[name]}, but {folder} has {before[name]}, so "
            f"training.freeze_epochs would freeze random weights; set it to {before[name]}, or "
            "remove training.freeze_epochs"
            for name in _SHAPES
            if before[name] != after[name]
        ]
    if problems:
        raise ConfigError(problems)


class _Source(NamedTuple):
    """Description of the weights in a folder.

    Attributes:
        config: of its training.
        files: checksums of its files.
        class_names, multi_label: of its head; empty for a language model, which has none.
    """

    config: Config
    files: dict[str, str]
    class_names: tuple[str, ...] = ()
    multi_label: bool = False


def _read_source(folder: Path) -> _Source:
    """Read the card of a trained folder or of a language model.

    Raises:
        ArtifactError: it is neither, or damaged.
    """
    if artifact.is_language_model(folder):
        model_card = artifact.read_language_model(folder)
        return _Source(Config.from_dict(model_card.config), model_card.files)
    card = artifact.read_card(folder)
    config = model_data.card_config(folder, card)
    return _Source(config, card.files, card.class_names, card.multi_label)


def initial_folder(config: Config) -> Path | None:
    """Return the folder whose weights are the initial ones; None without one, or a network."""
    path = config.training.init_from
    return None if path is None or config.model.encoder == "none" else Path(path)


def kept_vocabulary(config: Config) -> Path | None:
    """Return the vocabulary file that the training keeps; None if it makes a new one."""
    folder = initial_folder(config)
    if folder is None or config.training.init_vocabulary == "new":
        return None
    return folder / artifact.VOCABULARY


def weights_checksum(config: Config) -> str:
    """Return the SHA-256 of the weights in `training.init_from`; "" if it is not set."""
    folder = initial_folder(config)
    return "" if folder is None else artifact.sha256(folder / artifact.WEIGHTS)


def copy_weights(
    network: "networks.Network",
    folder: Path,
    *,
    vocabulary: Sequence[str],
    hash_buckets: int,
    class_names: tuple[str, ...],
    multi_label: bool,
) -> list[str]:
    """Copy the weights of a trained folder or language model into a network, as far as they fit.

    Token vectors are copied by token, those of n-grams all or none, weights between the embedding
    and the pooling where name and shape agree, and the head if the classes are the same, in any
    order.

    Args:
        network: just built; what does not fit keeps its initial values.
        folder: the trained folder or language model.
        vocabulary: tokens of the new network, in the order of their ids.
        hash_buckets: ids of the new network for unknown tokens.
        class_names, multi_label: of the new data.

    Returns:
        A sentence each for the token vectors, those of n-grams, the encoder and the head.

    Raises:
        ArtifactError: the folder is damaged.
    """
    from textclf import classifier  # TensorFlow, which `check` does not need

    source = _read_source(folder)
    artifact.check_files(folder, source.files)
    stored, _ = classifier.read_arrays(folder)
    names = {id(variable): name for name, variable in network.named_parameters.items()}
    embedding = network.encoder.embedding.embeddings
    num_copied = _copy_vectors(
        embedding,
        stored.pop(names[id(embedding)]),
        vocabulary,
        hash_buckets=hash_buckets,
        folder=folder,
        former_buckets=source.config.text.hash_buckets,
    )
    notices = [f"{num_copied:,} of {len(vocabulary):,} token vectors come from {folder}"]
    ngrams = None
    if (subwords := network.encoder.subwords) is not None:
        ngrams = subwords.table.embeddings
        if names[id(ngrams)] in stored:
            ngrams.assign(stored.pop(names[id(ngrams)]))
            notices.append(f"the vectors of n-grams come from {folder}")
        else:
            notices.append(f"the vectors of n-grams begin at zero: {folder} has none")
    head = {id(variable) for layer in network.head.layers for variable in layer.variables}
    encoder_weights = [
        variable
        for variable in network.parameters
        if id(variable) not in head and variable is not embedding and variable is not ngrams
    ]
    fitting = [v for v in encoder_weights if _shape_of(stored, names[id(v)]) == tuple(v.shape)]
    for variable in fitting:
        variable.assign(stored[names[id(variable)]])
    if encoder_weights:
        notices.append(
            f"the encoder: {len(fitting)} of {len(encoder_weights)} weights come from {folder}"
            + ("" if len(fitting) == len(encoder_weights) else "; the shapes of the others differ")
        )
    if not source.class_names:
        return [*notices, "the head begins at random: a language model has none"]
    if sorted(source.class_names) != sorted(class_names) or source.multi_label != multi_label:
        return [*notices, "the head begins at random, because the classes differ"]
    order = [source.class_names.index(name) for name in class_names]
    weights = {names[id(v)]: v for v in network.parameters if id(v) in head}
    if any(_shape_of(stored, name) != tuple(v.shape) for name, v in weights.items()):
        return [*notices, "the head begins at random, because the shapes differ"]
    dense = {id(variable) for variable in network.head.dense.variables}
    for name, variable in weights.items():
        values = stored[name]
        if id(variable) in dense and values.shape[-1] == len(order):
            values = values[..., order]
        variable.assign(values)
    return [*notices, f"the head comes from {folder}"]


def _shape_of(arrays: dict[str, np.ndarray], name: str) -> tuple[int, ...] | None:
    return arrays[name].shape if name in arrays else None


def _copy_vectors(
    embedding: Any,
    former: np.ndarray,
    vocabulary: Sequence[str],
    *,
    hash_buckets: int,
    folder: Path,
    former_buckets: int,
) -> int:
    """Copy the vectors of reserved ids, known tokens and equal hash buckets.

    Returns:
        The number of tokens whose vector was copied.
    """
    from textclf import text  # TensorFlow too

    reserved = text.NUM_RESERVED
    matrix = embedding.numpy()
    matrix[:reserved] = former[:reserved]
    row_of = {
        token: row
        for row, token in enumerate(text.read_vocabulary(folder / artifact.VOCABULARY), reserved)
    }
    copied = [(row, row_of[t]) for row, t in enumerate(vocabulary, reserved) if t in row_of]
    if copied:
        rows, former_rows = np.array(copied).T
        matrix[rows] = former[former_rows]
    if hash_buckets and hash_buckets == former_buckets:
        matrix[-hash_buckets:] = former[-hash_buckets:]
    embedding.assign(matrix)
    return len(copied)
