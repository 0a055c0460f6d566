"""From the settings of section `data` to the parts that hold the splits."""

import os
from collections.abc import Mapping, Sequence

from textclf import demo
from textclf.data.parts import (
    SPLITS,
    DemoPart,
    FolderPart,
    Part,
    Settings,
    TablePart,
    TfdsPart,
    folders,
    listed,
)
from textclf.data.tables import TABLE_FORMATS, Table, codec_of, did_you_mean, open_table
from textclf.errors import DataError

# By these names a split is found in a folder or a tensorflow-datasets data set.
_SPLIT_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}


def find_parts(settings: Settings) -> dict[str, Part]:
    """The parts of the data set, checked; a key "all" stands for a file yet to be split.

    Raises:
        DataError: all the mistakes that can be seen without reading the data, one a line.
    """
    problems: list[str] = []
    parts: dict[str, Part] = {}
    try:
        codec_of(settings.encoding)
        parts = _named_parts(settings)
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
        class_names = given_class_names(settings)
        if class_names is None and settings.label_ids != "names" and not _all_names(parts):
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


def given_class_names(settings: Settings) -> tuple[str, ...] | None:
    """The class names of `class_names` or `class_names_file`, in their order, or None.

    Raises:
        DataError: both are given, the file cannot be read, or a name stands twice.
    """
    where, names = "data.class_names", settings.class_names
    if settings.class_names_file is not None:
        if names is not None:
            raise DataError("data.class_names and data.class_names_file are both set; drop one")
        where = settings.class_names_file
        # One column without delimiter: the table reader's messages about files apply here too.
        table = Table(where, "tsv", "\n", "none", False, "utf-8")
        table.check_file()
        names = [cells[0].strip() for _, cells in table.cells()]
        names = [name for name in names if name]
    if names is None:
        return None
    names = tuple(str(name) for name in names)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{where}: the class {twice!r} stands twice; every class needs its name")
    if len(names) < 2 and not settings.multi_label:
        raise DataError(f"{where}: {len(names)} class name, expected at least two")
    return names


def _all_names(parts: Mapping[str, Part]) -> bool:
    return bool(parts) and all(part.holds_names for part in parts.values())


def _named_parts(settings: Settings) -> dict[str, Part]:
    source = None if settings.source is None else os.fspath(settings.source)
    named = {split: getattr(settings, split) for split in SPLITS}
    given = {split: os.fspath(name) for split, name in named.items() if name is not None}
    if source is None:
        if settings.format in ("folder", "tfds", "demo"):
            raise DataError(f"data.format={settings.format} needs data.source")
        if not given:
            raise DataError("nothing to read: set data.source, or data.train and its fellows")
        return _files(settings, given)
    if settings.format == "tfds" or (settings.format == "auto" and source.startswith("tfds:")):
        return _tfds_parts(settings, source.removeprefix("tfds:"), given)
    if settings.format == "demo" or (settings.format == "auto" and source == "demo"):
        names = split_names("demo", demo.SPLITS, given)
        return {split: DemoPart(name) for split, name in names.items()}
    folder = os.path.expanduser(source)
    if settings.format == "folder" or (settings.format == "auto" and os.path.isdir(folder)):
        return _folder_parts(settings, source, given)
    if given:
        raise DataError(
            f"data.source={source} is one file for all splits, and data.{next(iter(given))} is set "
            "too; name the files of the splits in data.train, data.validation and data.test instead"
        )
    return {"all": _table_part(settings, source)}


def _files(settings: Settings, given: Mapping[str, str]) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    problems: list[str] = []
    for split, path in given.items():
        try:
            if path.startswith("tfds:") or path == "demo":
                raise DataError(f"data.{split}={path} is no file; set data.source={path}")
            parts[split] = _table_part(settings, path)
        except DataError as error:
            problems.append(str(error))
    if problems:
        # The other files are looked at too, so that all mistakes come out together.
        for part in parts.values():
            try:
                part.check()
            except DataError as error:
                problems.append(str(error))
        raise DataError("\n".join(dict.fromkeys(problems)))
    return parts


def split_names(
    source: str, found: Sequence[str], given: Mapping[str, str], where: str = "split"
) -> dict[str, str]:
    """Our split → its name in the source: as given, else by the usual names."""
    names: dict[str, str] = {}
    problems = []
    for split in SPLITS:
        usual = next((name for name in _SPLIT_NAMES[split] if name in found), None)
        name = given.get(split, usual)
        if name is None:
            if split == "train":
                problems.append(
                    f"{source}: no {where} named train; found {listed(found)}; "
                    "say which one it is with data.train"
                )
            continue
        # tensorflow-datasets takes parts of splits too: "train[:80%]+test".
        if name not in found and not (where == "split" and set(name) & set("[+")):
            problems.append(
                f"{source}: no {where} named {name!r} (data.{split}); "
                f"found {listed(found)}{did_you_mean(name, found)}"
            )
        names[split] = name
    if problems and given and "train" not in given:
        problems = [problem for problem in problems if "data.train" not in problem]
    if problems:
        raise DataError("\n".join(problems))
    return names


def _table_part(settings: Settings, path: str) -> TablePart:
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


def _folder_parts(settings: Settings, source: str, given: Mapping[str, str]) -> dict[str, Part]:
    if not (found := folders(source)):
        raise DataError(
            f"{source}: no folders in it, expected split/label/*.txt; name files in data.train, "
            "data.validation and data.test"
        )
    names = split_names(source, found, given, where="folder")
    return {
        split: FolderPart(os.path.join(source, name), settings.encoding)
        for split, name in names.items()
    }


def _tfds_parts(settings: Settings, source: str, given: Mapping[str, str]) -> dict[str, Part]:
    import tensorflow_datasets as tfds

    data_dir = settings.data_dir and os.path.expanduser(settings.data_dir)
    try:
        builder = tfds.builder(source, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        raise DataError(
            f"tfds:{source}: tensorflow-datasets has no data set of this name, and there is none "
            f"in data.data_dir={settings.data_dir}{did_you_mean(source.split('/')[0], known)}"
        ) from None
    except (ValueError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:400]
        raise DataError(f"tfds:{source}: tensorflow-datasets says: {reason}") from None
    # Never downloads: without a network that would hang for minutes before it fails.
    if not builder.is_prepared():
        where = f", data_dir={settings.data_dir!r}" if settings.data_dir else ""
        command = f"import tensorflow_datasets as tfds; tfds.load({source!r}{where})"
        raise DataError(
            f"tfds:{source}: not in {settings.data_dir or os.path.dirname(builder.data_dir)}, and "
            "nothing is downloaded by itself; set data.data_dir to the folder that holds it, or "
            f'run where there is a network: python -c "{command}"'
        )
    names = split_names(f"tfds:{source}", [*builder.info.splits], given)
    return {split: TfdsPart(builder, source, name, settings) for split, name in names.items()}
