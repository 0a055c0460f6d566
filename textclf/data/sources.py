"""Sources: from the settings of section `data` to the parts that hold the splits."""

import os
from collections.abc import Mapping, Sequence

from textclf import demo
from textclf.config import Data
from textclf.data.encodings import codec_of
from textclf.data.files import subfolders
from textclf.data.folder_part import FolderPart
from textclf.data.parts import DemoPart, Part
from textclf.data.table_part import TablePart
from textclf.data.tables import TABLE_FORMATS, Table, open_table
from textclf.data.tfds_part import TfdsPart, open_builder
from textclf.errors import DataError, did_you_mean, format_list
from textclf.splits import SPLITS

# Usual names of the splits in a folder or a data set of tensorflow-datasets.
_USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}


def find_parts(settings: Data) -> dict[str, Part]:
    """Return the checked parts of a data set by split; the key of a file to be split is "all".

    Raises:
        DataError: all errors that are visible without reading all rows, one per line.
    """
    problems: list[str] = []
    parts: dict[str, Part] = {}
    try:
        codec_of(settings.encoding)
        parts = _open_source(settings)
    except DataError as error:
        problems += str(error).split("\n")
    for part in parts.values():
        try:
            part.check()
        except DataError as error:
            problems += str(error).split("\n")
    if "all" in parts and settings.validation_fraction + settings.test_fraction >= 1:
        problems.append(
            f"data.validation_fraction={settings.validation_fraction} and "
            f"data.test_fraction={settings.test_fraction} leave nothing for train"
        )
    try:
        class_names = read_class_names(settings)
        hold_names = bool(parts) and all(part.holds_names for part in parts.values())
        if class_names is None and settings.label_ids != "names" and not hold_names:
            problems.append(
                f"data.label_ids={settings.label_ids} needs the names that the ids count; "
                "set data.class_names or data.class_names_file"
            )
        if class_names is None and not problems and not {"train", "all"} & set(parts):
            problems.append(
                "data.train is missing: without train the classes are not known; set data.train, "
                "or data.class_names"
            )
    except DataError as error:
        problems += str(error).split("\n")
    if problems:
        raise DataError("\n".join(dict.fromkeys(problems)))
    return parts


def read_class_names(settings: Data) -> tuple[str, ...] | None:
    """Return the class names of `class_names` or `class_names_file` in their order, or None.

    Raises:
        DataError: both are set, the file cannot be read, or a name is repeated.
    """
    setting, names = "data.class_names", settings.class_names
    if settings.class_names_file is not None:
        if names is not None:
            raise DataError("data.class_names and data.class_names_file are both set; drop one")
        setting = settings.class_names_file
        # Read as a table of one column, which also reports wrong files and bytes.
        table = Table(setting, "tsv", "\n", "none", False, "utf-8")
        table.check_file()
        lines = (cells[0].strip() for _, cells in table.cells())
        names = [name for name in lines if name]
    if names is None:
        return None
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise DataError(f"{setting}: the class {repeated!r} is listed twice; remove one of them")
    if len(names) < 2 and not settings.multi_label:
        raise DataError(f"{setting}: {len(names)} class name, expected at least two")
    return tuple(names)


# === Kinds of sources ===


def _open_source(settings: Data) -> dict[str, Part]:
    source = settings.source
    named = {split: getattr(settings, split) for split in SPLITS}
    names = {split: name for split, name in named.items() if name is not None}
    if source is None:
        if settings.format in ("folder", "tfds", "demo"):
            raise DataError(f"data.format={settings.format} needs data.source")
        if not names:
            raise DataError("no data: set data.source, or data.train, data.validation, data.test")
        return _files(settings, names)
    is_auto = settings.format == "auto"
    if settings.format == "tfds" or (is_auto and source.startswith("tfds:")):
        return _tfds_parts(settings, source.removeprefix("tfds:"), names)
    if settings.format == "demo" or (is_auto and source == "demo"):
        names = split_names("demo", list(demo.NUM_EXAMPLES), names)
        return {split: DemoPart(name) for split, name in names.items()}
    if settings.format == "folder" or (is_auto and os.path.isdir(os.path.expanduser(source))):
        return _folder_parts(settings, source, names)
    if names:
        raise DataError(
            f"data.source={source} is one file for all splits, and data.{next(iter(names))} is set "
            "too; name the files of the splits in data.train, data.validation and data.test instead"
        )
    return {"all": _table_part(settings, source)}


def _files(settings: Data, paths: Mapping[str, str]) -> dict[str, Part]:
    """Return the part of each split's file.

    Raises:
        DataError: with the errors of all files.
    """
    parts: dict[str, Part] = {}
    problems: list[str] = []
    for split, path in paths.items():
        try:
            if path.startswith("tfds:") or path == "demo":
                raise DataError(f"data.{split}={path} is not a file; set data.source={path}")
            parts[split] = _table_part(settings, path)
        except DataError as error:
            problems.append(str(error))
    if problems:
        for part in parts.values():
            try:
                part.check()
            except DataError as error:
                problems.append(str(error))
        raise DataError("\n".join(dict.fromkeys(problems)))
    return parts


def split_names(
    source: str, existing: Sequence[str], chosen: Mapping[str, str], kind: str = "split"
) -> dict[str, str]:
    """Return split → its name in a source.

    Args:
        source: the source, for messages.
        existing: the names in the source.
        chosen: split → name, from the settings; other splits are found by their usual names.
        kind: the word for a split in messages, `split` or `folder`.

    Raises:
        DataError: a chosen name does not exist, or train is not found.
    """
    names: dict[str, str] = {}
    problems = []
    for split in SPLITS:
        usual = next((name for name in _USUAL_NAMES[split] if name in existing), None)
        name = chosen.get(split, usual)
        if name is None:
            if split == "train" and not chosen:
                problems.append(
                    f"{source}: no {kind} named train; found {format_list(existing)}; "
                    "set data.train to one of them"
                )
            continue
        # tensorflow-datasets also accepts slices and sums of splits: "train[:80%]+test".
        if name not in existing and not (kind == "split" and set(name) & set("[+")):
            problems.append(
                f"{source}: no {kind} named {name!r} (data.{split}); "
                f"found {format_list(existing)}{did_you_mean(name, existing)}"
            )
        names[split] = name
    if problems:
        raise DataError("\n".join(problems))
    return names


def _table_part(settings: Data, path: str) -> TablePart:
    if os.path.isdir(os.path.expanduser(path)) and settings.format not in TABLE_FORMATS:
        raise DataError(
            f"{path}: a folder, expected a file; a folder of split/label/*.txt goes into "
            "data.source"
        )
    table = open_table(
        path,
        format=settings.format,
        delimiter=settings.delimiter,
        quoting=settings.quoting,
        header=settings.header,
        encoding=settings.encoding,
    )
    return TablePart(table, settings)


def _folder_parts(settings: Data, source: str, chosen: Mapping[str, str]) -> dict[str, Part]:
    folders = subfolders(source)
    if not folders:
        raise DataError(
            f"{source}: no folders in it, expected split/label/*.txt; name files in data.train, "
            "data.validation and data.test"
        )
    names = split_names(source, folders, chosen, kind="folder")
    return {
        split: FolderPart(os.path.join(source, name), settings.encoding)
        for split, name in names.items()
    }


def _tfds_parts(settings: Data, source: str, chosen: Mapping[str, str]) -> dict[str, Part]:
    builder = open_builder(source, settings.data_dir)
    names = split_names(f"tfds:{source}", [*builder.info.splits], chosen)
    return {split: TfdsPart(builder, source, name, settings) for split, name in names.items()}
