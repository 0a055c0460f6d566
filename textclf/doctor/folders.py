"""Folders in which textclf writes or reads much, with the free space of their file systems."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from textclf import artifact
from textclf.config import Config
from textclf.display import Table
from textclf.doctor.disk_need import DiskNeed, tfds_folder
from textclf.doctor.section import Section, format_bytes
from textclf.errors import ArtifactError


class Folder(NamedTuple):
    """A folder and its file system.

    Attributes:
        purpose: content of the folder.
        path: the folder.
        exists: whether it exists.
        free_bytes: free space that this user may fill.
        device: number of the file system.
    """

    purpose: str
    path: str
    exists: bool
    free_bytes: int
    device: int


def find_folder(purpose: str, path: str) -> Folder:
    """Return a folder, which need not exist."""
    existing = os.path.abspath(path)
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    return Folder(
        purpose,
        path,
        os.path.isdir(path),
        shutil.disk_usage(existing).free,
        os.stat(existing).st_dev,
    )


def examine_folders(config: Config | None, need: DiskNeed | None) -> Section:
    """Return the folders of a machine, and of a configuration if there is one.

    Args:
        config: a configuration with resolved paths.
        need: bytes that its training writes.
    """
    try:
        temporary = tempfile.gettempdir()
        problems = []
    except FileNotFoundError:  # no folder for temporary files can be written
        temporary = os.environ.get("TMPDIR", "/tmp")
        problems = [f"{temporary}: no temporary file can be written; set TMPDIR to another folder"]
    output = find_folder("outputs", "runs" if os.path.isdir("runs") else os.curdir)
    cache = None
    if config is not None and config.training.cache_dir is not None:
        cache = find_folder("training.cache_dir", os.path.expanduser(config.training.cache_dir))
    folders = [
        find_folder("tensorflow-datasets", tfds_folder(config)),
        find_folder("temporary files", temporary),
        *([cache] if cache else []),
        output,
    ]
    for folder in filter(None, (cache, output)):
        try:
            artifact.check_writable(Path(folder.path), within=Path(os.path.abspath(folder.path)))
        except ArtifactError as error:
            problems.append(str(error))
    if need is not None:
        problems += _full_disks(need, output, cache)
    rows = [
        [
            folder.purpose,
            folder.path if folder.path != os.curdir else ". (the current folder)",
            f"{format_bytes(folder.free_bytes)} free",
            "" if folder.exists else "absent",
        ]
        for folder in folders
    ]
    values = [
        {name: value for name, value in folder._asdict().items() if name != "device"}
        for folder in folders
    ]
    table = Table(["", "", "", ""], rows, "tftt", heading="Folders", has_header=False)
    return Section("folders", values, [table], problems)


def _full_disks(need: DiskNeed, output: Folder, cache: Folder | None) -> list[str]:
    """Return a sentence for each file system without the space for a training."""
    beside_output = need.ngrams + need.checkpoints + need.model
    needs = [(output, beside_output + (0 if cache else need.encoded_texts))]
    if cache is not None:
        needs.append((cache, need.encoded_texts))
        if cache.device == output.device:
            needs = [(output, sum(need))]
    return [
        f"{folder.path}: {format_bytes(folder.free_bytes)} are free, and a training writes about "
        f"{format_bytes(size)} there; free some space or name a folder on another disk"
        for folder, size in needs
        if folder.free_bytes < size
    ]
