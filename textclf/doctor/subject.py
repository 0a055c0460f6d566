"""The configuration or the model that is examined."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from textclf import artifact
from textclf import config as configuration
from textclf.artifact import Card
from textclf.config import Config, data_format
from textclf.display import Table
from textclf.doctor.disk_need import DiskNeed, data_size, estimate_need
from textclf.doctor.section import Section, format_bytes, list_table
from textclf.errors import ArtifactError, ConfigError, DataError


class Subject(NamedTuple):
    """A configuration, or a model with its configuration.

    Attributes:
        name: path as the user wrote it.
        config: the configuration; a model that `textclf` cannot train any more has one too.
        resolved: the configuration with resolved paths.
        card: card of a model; None for a configuration.
        trained_paths: setting -> path in the training of a model.
        num_files: number of files of a model that fit their checksums.
    """

    name: str
    config: Config
    resolved: Config
    card: Card | None = None
    trained_paths: dict[str, str] = {}
    num_files: int = 0

    @property
    def needs_tensorflow(self) -> bool:
        """True if only TensorFlow can read the data."""
        return data_format(self.config.data.to_dict()) == "tfds"


def read_subject(source: str | os.PathLike) -> Subject:
    """Read a configuration, or the card of a model and check its files.

    Raises:
        TextclfError: the configuration is invalid, or the model is damaged or no model.
    """
    path = Path(source)
    is_data = configuration.holds_data(path) and not path.is_dir()  # has its own message
    if path.suffix in (".yaml", ".yml") or path.is_file() or is_data:
        config = Config.load(path)
        return Subject(str(source), config, configuration.with_paths(config))
    card = artifact.read_model_card(path)
    version = artifact.exported_version(path)
    files = card.files if version is None else _export_files(version)
    artifact.check_files(version or path, files)
    trained_paths = configuration.read_trained_paths(path)
    existing = configuration.existing_paths(trained_paths)
    config = Config.from_dict(card.config, fixed_paths=existing)
    resolved = configuration.with_paths(config)
    return Subject(str(source), config, resolved, card, trained_paths, len(files))


def _export_files(version: Path) -> dict[str, str]:
    """Return the SHA-256 of the files of an exported version."""
    path = version / artifact.CHECKSUMS
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); export the model again") from None


def disk_need(subject: Subject) -> DiskNeed:
    """Return the bytes that a training of the configuration writes."""
    num_weights = subject.card.training.num_weights if subject.card else None
    return estimate_need(subject.resolved, data_size(subject.resolved), num_weights)


def examine_subject(subject: Subject, need: DiskNeed) -> Section:
    """Return the origin of a model, and the disk space for a training."""
    values: dict[str, Any] = {"path": subject.name, "kind": "config"}
    rows = []
    if (card := subject.card) is not None:
        values |= {
            "kind": "model",
            "created": card.created,
            "versions": card.versions,
            "num_files": subject.num_files,
        }
        rows += [[f"written with {name}", version] for name, version in card.versions.items()]
        rows.append(["written at", card.created])
        rows.append(["checksums", f"{subject.num_files} files fit"])
    values["disk_bytes"] = need._asdict()
    parts = {name.replace("_", " "): size for name, size in need._asdict().items() if size}
    is_known = data_size(subject.resolved) is not None
    rows.append(
        [
            "a training writes",
            f"about {format_bytes(sum(need))}"
            + ("" if is_known else " and the encoded texts, whose size is unknown"),
        ]
    )
    rows += [[f"  {name}", format_bytes(size)] for name, size in parts.items()]
    heading = "Model" if subject.card else "Configuration"
    return Section("subject", values, [list_table(f"{heading} {subject.name}", rows)])


def examine_data(subject: Subject) -> Section:
    """Return the data of a configuration, with all that prevents a training from reading them.

    Data sets of tensorflow-datasets are opened with TensorFlow.
    """
    from textclf import data, model_data  # they import NumPy

    problems: list[str] = []
    try:
        if subject.card is not None:
            model_data.check_trained_paths(subject.config, subject.trained_paths, (), advice="DATA")
        data.check_sources(subject.resolved.data)
    except DataError as error:
        problems += str(error).split("\n")
    is_readable = not problems
    try:
        configuration.check_environment(subject.resolved)
    except ConfigError as error:
        problems += error.problems
    size = data_size(subject.resolved)
    paths = {
        setting: path
        for setting, path in configuration.paths(subject.resolved).items()
        if setting.startswith("data.")
    }
    source = subject.config.data.source
    if "data.source" not in paths and source is not None:
        paths = {"data.source": source, **paths}
    values = {
        "format": data_format(subject.config.data.to_dict()),
        "paths": paths,
        "size_bytes": size,
        "is_readable": is_readable,
    }
    rows = [[setting, path] for setting, path in paths.items()]
    rows.append(["size", "unknown" if size is None else f"about {format_bytes(size)}"])
    rows.append(["first rows", "readable" if is_readable else "not readable, see the problems"])
    table = Table(["", ""], rows, "tf", heading="Data", has_header=False)
    return Section("data", values, [table], problems)
