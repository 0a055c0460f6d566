"""A trained classifier's folder: its card, its files, and how they reach the disk whole.

FOLDER/
├── card.json         what the classifier is (`Card`), with a checksum of every other file
├── card.md           the same for people
├── config.yaml       the whole resolved configuration, ready for `textclf train`
├── vocabulary.txt    one token a line, in the order of their ids
├── weights.npz       the network's weights by name, readable with NumPy alone
├── history.jsonl     one line an epoch
└── tensorboard/      event files, where they were asked for

A folder is written beside its place and renamed when it is whole and on the disk, so that a
killed or failed save leaves what was there before.
"""

import contextlib
import ctypes
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from textclf.errors import ArtifactError

FORMAT_VERSION = 1
CARD, CARD_PAGE, CONFIG, VOCABULARY = "card.json", "card.md", "config.yaml", "vocabulary.txt"
WEIGHTS, HISTORY, TENSORBOARD = "weights.npz", "history.jsonl", "tensorboard"
BENCHMARK = "benchmark.json"  # a folder that holds it is a benchmark
_SAVED_MODEL = "saved_model.pb"


@dataclasses.dataclass(frozen=True)
class Card:
    """What a trained classifier is, as plain values.

    Attributes:
        class_names: the classes in the order of the probabilities' columns.
        multi_label: whether a text may have several labels.
        config: the resolved configuration, as `Config.to_dict` gives it.
        temperature: the logits are divided by it before the probabilities: one number, or one
            a class for multi-label tasks. 1.0 until it is fitted.
        thresholds: multi-label: a class is selected from this probability on; else None.
        abstain_below: the answer abstains below this confidence; None until it is fitted.
        data: fingerprint, split sizes and findings of the data set.
        text: vocabulary size, and per class what the length limit cut.
        training: epochs run, the best one, why it ended, seconds, number of weights.
        validation: metrics of the best epoch on the validation split.
        versions: of textclf, Python, TensorFlow, Keras and NumPy.
        created: UTC time of writing, ISO 8601.
        contract_version: of exports, the version of what docs/saved_model.md promises.
        files: SHA-256 of every other file of the folder.
    """

    class_names: tuple[str, ...]
    multi_label: bool
    config: dict[str, Any]
    temperature: float | tuple[float, ...] = 1.0
    thresholds: tuple[float, ...] | None = None
    abstain_below: float | None = None
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    text: dict[str, Any] = dataclasses.field(default_factory=dict)
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    validation: dict[str, Any] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    created: str = ""
    contract_version: str = ""
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=2) + "\n"


def read_card(folder: str | os.PathLike) -> Card:
    """Reads `card.json`, without TensorFlow.

    Raises:
        ArtifactError: no trained folder, a damaged card, or a newer format.
    """
    folder = Path(folder)
    path = folder / CARD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if os.path.exists(folder / _SAVED_MODEL):
            what = "is an exported SavedModel; a folder written by `textclf train` is needed here"
        elif not os.path.exists(folder):
            what = "does not exist; `textclf train` writes such a folder"
        else:
            what = f"is not a trained folder (it holds no {CARD}); `textclf train` writes one"
        raise ArtifactError(f"{folder}: {what}") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error}); restore it from a copy or train again"
        ) from None
    version = values.get("format_version") if isinstance(values, dict) else None
    if not isinstance(version, int):
        raise ArtifactError(f"{path}: holds no format_version, so it is not a card of textclf")
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: format {version} is newer than format {FORMAT_VERSION}, the newest this "
            "textclf reads; upgrade textclf"
        )
    try:
        values["class_names"] = tuple(values["class_names"])
        for name in ("config", "data", "text", "training", "validation", "versions", "files"):
            if not isinstance(values.get(name, {}), dict):
                raise TypeError(f"{name} is no object")
        for name in ("temperature", "thresholds"):
            if isinstance(values.get(name), list):
                values[name] = tuple(values[name])
        return Card(**values)
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path}: is damaged ({error}); restore it from a copy or train again"
        ) from None


def exported_version(folder: str | os.PathLike) -> Path | None:
    """The exported version that a path means: itself, or the newest below it; else None."""
    folder = Path(folder)
    if os.path.exists(folder / _SAVED_MODEL):
        return folder
    versions = [path for path in folder.glob("[0-9]*") if os.path.exists(path / _SAVED_MODEL)]
    numbered = [path for path in versions if path.name.isdecimal()]
    return max(numbered, key=lambda path: int(path.name), default=None)


def find_export(folder: str | os.PathLike) -> Path:
    """The exported version that a path means, which must be there.

    Raises:
        ArtifactError: it is not.
    """
    version = exported_version(folder)
    if version is None:
        if os.path.exists(folder):
            what = "holds no exported version; `textclf export` writes one"
        else:
            what = "does not exist; `textclf export` writes such a folder"
        raise ArtifactError(f"{folder}: {what}")
    return version


def check_files(folder: str | os.PathLike, files: dict[str, str]) -> None:
    """Compares files with their SHA-256.

    Raises:
        ArtifactError: with every file that is missing or differs.
    """
    folder = Path(folder)
    problems = []
    for name, expected in files.items():
        try:
            found = sha256(folder / name)
        except OSError:
            problems.append(f"{folder / name}: is missing; restore it from a copy")
            continue
        if found != expected:
            problems.append(
                f"{folder / name}: differs from its checksum in the card; restore it from a copy"
            )
    if problems:
        raise ArtifactError("\n".join(problems))


def checksums(folder: str | os.PathLike, *, without: tuple[str, ...] = ()) -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path, in sorted order."""
    folder = Path(folder)
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    return {name: sha256(folder / name) for name in names if name not in without}


def sha256(path: str | os.PathLike) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_nesting(folder: str | os.PathLike, *, is_version: bool = False) -> None:
    """Check that a new folder is not inside one that is replaced or verified as a whole.

    Args:
        is_version: the folder is an exported version, which may stand beside others.

    Raises:
        ArtifactError: it is inside a trained folder, an exported version or, if it is not a
            version, a folder of exported versions.
    """
    for outer in Path(os.path.realpath(folder)).parents:
        if _is_trained(outer):
            raise ArtifactError(
                f"{folder}: is inside the trained folder {outer}, which `textclf train "
                "--overwrite` replaces as a whole; name a folder outside it"
            )
        if os.path.exists(outer / _SAVED_MODEL):
            raise ArtifactError(
                f"{folder}: is inside the exported version {outer}, whose files `textclf verify` "
                "checks as a whole; name a folder outside it"
            )
        # Where the user works, versions may lie beside everything else.
        is_working_folder = Path(os.path.realpath(os.curdir)).is_relative_to(outer)
        if not is_version and not is_working_folder and exported_version(outer) is not None:
            raise ArtifactError(
                f"{folder}: is inside {outer}, a folder of exported versions; name a folder "
                "outside it"
            )


def _is_trained(folder: Path) -> bool:
    return os.path.exists(folder / CARD) and os.path.exists(folder / WEIGHTS)


def _inner_artifact(folder: Path) -> Path | None:
    """Return a trained folder, an exported version or a benchmark below a folder, if any."""
    for inner in sorted(path for path in folder.rglob("*") if path.is_dir()):
        if _is_trained(inner) or any(
            os.path.exists(inner / name) for name in (_SAVED_MODEL, BENCHMARK)
        ):
            return inner
    return None


def check_output(folder: str | os.PathLike, *, overwrite: bool, is_ours: tuple[str, ...]) -> None:
    """Check, before the long work, that `write_folder` will be able to put a folder there.

    Args:
        is_ours: files of which one must stand in an existing folder for it to be replaced, so
            that `--overwrite` never removes somebody's home folder.

    Raises:
        ArtifactError: it exists and may not be replaced, is inside another artefact, or its
            parent cannot be written.
    """
    folder = Path(os.path.abspath(folder))
    # os.path rather than Path: without permission to look, Path.exists raises.
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ArtifactError(f"{folder}: is a file; name a folder that can be written")
    if os.path.ismount(folder):
        raise ArtifactError(
            f"{folder}: a file system is mounted there, which no folder can replace; name a folder "
            "below it"
        )
    check_nesting(folder, is_version=_SAVED_MODEL in is_ours)
    if os.path.isdir(folder) and os.listdir(folder):
        if exported_version(folder) is not None:
            raise ArtifactError(f"{folder}: holds an exported model; name another folder")
        if not any((folder / name).exists() for name in is_ours):
            raise ArtifactError(
                f"{folder}: exists and was not written by textclf; name another folder"
            )
        if not overwrite:
            raise ArtifactError(f"{folder}: exists already; name another folder or add --overwrite")
        inner = _inner_artifact(folder)
        if inner is not None:
            raise ArtifactError(
                f"{folder}: --overwrite would remove {inner} too; move that folder, or name "
                "another one for the training"
            )
    check_writable(folder, within=Path(os.path.realpath(folder)).parent)


def check_writable(folder: Path, *, within: Path) -> None:
    """Makes sure that `folder` can be written: in `within`, or in what it will be made in.

    Raises:
        ArtifactError: it cannot.
    """
    while not os.path.exists(within):
        within = within.parent
    try:
        with tempfile.TemporaryDirectory(dir=within, prefix=".textclf-"):
            pass
    except OSError as error:
        raise ArtifactError(
            f"{folder}: cannot be written, because {within} does not allow it "
            f"({error.strerror}); name another folder"
        ) from None


def write_file(path: Path, content: str, *, replace: bool = True) -> bool:
    """Writes a file at once and whole; False if one is there already that may not be replaced.

    Raises:
        ArtifactError: it cannot be written.
    """
    name = None
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        if replace:
            os.replace(name, path)
        else:
            os.link(name, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be written ({error.strerror}); free some space or name another place"
        ) from None
    finally:
        if name is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
    return True


def _umask() -> int:
    """What the user does not want new files to allow; the private `mkstemp` knows nothing of it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


@contextlib.contextmanager
def write_folder(folder: str | os.PathLike, *, overwrite: bool) -> Iterator[Path]:
    """A temporary sibling that takes `folder`'s place, at once and whole, when the block ends.

    If the block fails, or the process dies, what stood at `folder` stands there still. A link
    stays one: the folder that it leads to is replaced.

    Args:
        overwrite: whether a folder that holds something may be replaced.

    Raises:
        ArtifactError: the disk is full or does not allow writing, or a folder that may not be
            replaced has come to stand there.
    """
    shown, folder = os.path.abspath(folder), Path(os.path.realpath(folder))
    temporary, had_parent = None, folder.parent.exists()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        for path in [*temporary.rglob("*"), temporary]:
            _sync(path)
        if overwrite:
            _put(temporary, folder)
        else:
            os.rename(temporary, folder)  # refuses a folder that is not empty
        _sync(folder.parent)
    except OSError as error:
        raise ArtifactError(
            f"{shown}: cannot be written ({error.strerror or error}); what was there before is "
            "unchanged; free some space or name another folder"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if not had_parent:
            with contextlib.suppress(OSError):  # it holds the new folder
                folder.parent.rmdir()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put(new: Path, place: Path) -> None:
    """Moves `new` to `place`; what stood there takes the place of `new`."""
    if not place.exists():
        os.rename(new, place)
        return
    if not _exchange(new, place):
        # Without an atomic exchange (not Linux) there is an instant without either.
        aside = new.with_name(new.name + ".old")
        os.rename(place, aside)
        try:
            os.rename(new, place)
        except OSError:
            os.rename(aside, place)
            raise
        os.rename(aside, new)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two paths atomically with Linux' renameat2; False where that is not to be had."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    at_fdcwd, rename_exchange = -100, 2
    return renameat2(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), rename_exchange) == 0
