"""A data set of tensorflow-datasets as parts of a data set."""

import dataclasses
import os
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import msgspec

from textclf.config import Data
from textclf.data.column_names import suggest_column
from textclf.data.labels import Label
from textclf.errors import DataError, OnProblem, did_you_mean, format_list, raise_problem
from textclf.splits import SPLITS
from textclf.startup import import_tensorflow


def open_builder(source: str, data_dir: str | None) -> Any:
    """Return the `DatasetBuilder` of a data set that is on this machine.

    Nothing is downloaded: without a network a download waits for minutes before it fails.

    Args:
        source: the name, such as `imdb_reviews` or `glue/sst2`.
        data_dir: the folder of tensorflow-datasets; default: its own.

    Raises:
        DataError: the data set is unknown or not on this machine.
    """
    import_tensorflow()  # before tensorflow-datasets does, to suppress its log output
    import tensorflow_datasets as tfds

    folder = data_dir and os.path.expanduser(data_dir)
    try:
        builder = tfds.builder(source, data_dir=folder)
    except tfds.core.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        raise DataError(
            f"tfds:{source}: tensorflow-datasets has no data set of this name, and there is none "
            f"in data.data_dir={data_dir}{did_you_mean(source.split('/')[0], known)}"
        ) from None
    except (ValueError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:400]
        raise DataError(f"tfds:{source}: error of tensorflow-datasets: {reason}") from None
    if not builder.is_prepared():
        argument = f", data_dir={data_dir!r}" if data_dir else ""
        command = f"import tensorflow_datasets as tfds; tfds.load({source!r}{argument})"
        raise DataError(
            f"tfds:{source}: not in {data_dir or os.path.dirname(builder.data_dir)}, and "
            "textclf downloads nothing; set data.data_dir to the folder that holds it, or "
            f'run where there is a network: python -c "{command}"'
        )
    return builder


@dataclasses.dataclass(frozen=True)
class TfdsPart:
    """One split of a data set of tensorflow-datasets; a `Part`."""

    builder: Any
    source: str
    split: str
    settings: Data

    @property
    def name(self) -> str:
        return f"tfds:{self.source} {self.split}"

    @property
    def holds_names(self) -> bool:
        return self._class_label() is not None

    def check(self) -> None:
        features = self.builder.info.features
        problems = []
        for setting, names in (
            ("text_columns", self.settings.text_columns),
            ("label_column", [self.settings.label_column]),
        ):
            for name in names:
                if name not in features:
                    problems.append(
                        f"tfds:{self.source}: no feature {name!r}; found "
                        f"{format_list([*features])}; "
                        f"{suggest_column(name, setting, [*features], self.settings)}"
                    )
        if problems:
            raise DataError("\n".join(problems))
        try:
            self.builder.info.splits[self.split]
        except (KeyError, ValueError) as error:
            raise DataError(f"{self.name}: no such split: {error}") from None

    def rows(self, on_problem: OnProblem = raise_problem) -> Iterator[tuple[int, str, Label]]:
        import tensorflow_datasets as tfds

        texts, label = self.settings.text_columns, self.settings.label_column
        class_label = self._class_label()
        # One file after the other, so that the order is the same each time.
        dataset = self.builder.as_dataset(
            split=self.split,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(dict.fromkeys([*texts, label], True)),
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
        number = 0
        is_scalar = self.builder.info.features[label].shape == ()
        for values in tfds.as_numpy(dataset.batch(256) if is_scalar else dataset.batch(1)):
            for row, raw in enumerate(values[label]):
                number += 1
                try:
                    columns = [values[name][row].decode("utf-8") for name in texts]
                except (AttributeError, UnicodeDecodeError):
                    raise DataError(
                        f"{self.location(number)}: a feature of {texts} holds no text in UTF-8"
                    ) from None
                text = self.settings.text_separator.join(columns)
                if is_scalar:
                    yield number, text, self._label(class_label, raw, number)
                else:
                    yield number, text, tuple(self._label(class_label, i, number) for i in raw)

    def texts(self) -> Generator[str]:
        """Yield the texts alone; rows need no label."""
        settings = msgspec.structs.replace(self.settings, skip_unlabelled=True)
        for _, text, _ in dataclasses.replace(self, settings=settings).rows():
            yield text

    def column_names(self) -> tuple[str, ...]:
        return tuple(self.builder.info.features)

    def values(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        import tensorflow_datasets as tfds

        features = self.builder.info.features
        dataset = self.builder.as_dataset(
            split=self.split,
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(dict.fromkeys(columns, True)),
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
        for row in tfds.as_numpy(dataset):
            yield tuple(_plain_value(row[name], features[name]) for name in columns)

    def about_rows(self) -> int:
        return self.builder.info.splits[self.split].num_examples

    def location(self, line: int) -> str:
        return f"{self.name}:{line}"

    def stamp(self) -> object:
        return self.builder.info.splits[self.split].num_examples

    def _label(self, class_label: Any, value: Any, number: int) -> str:
        """Return the label for a value: a byte string, an integer or the index of a class."""
        if isinstance(value, bytes):
            return value.decode("utf-8").strip()
        if class_label is None:
            return str(int(value))
        if int(value) < 0:  # with which tensorflow-datasets marks rows without a label
            if self.settings.skip_unlabelled:
                return ""
            raise DataError(
                f"{self.location(number)}: no label (-1), expected one of "
                f"{format_list(class_label.names)}; choose another split with "
                f"data.{self._split_setting()}, or set data.skip_unlabelled=true"
            )
        return class_label.int2str(int(value))

    def _class_label(self) -> Any:
        """Return the ClassLabel feature that names the labels, or None."""
        features = dict(self.builder.info.features.items())
        feature = features.get(self.settings.label_column)
        feature = getattr(feature, "feature", feature)  # the element of a Sequence
        return feature if hasattr(feature, "int2str") else None

    def _split_setting(self) -> str:
        return next((s for s in SPLITS if getattr(self.settings, s) == self.split), "test")


def _plain_value(value: Any, feature: Any) -> Any:
    """Return a value of a feature as a string, a number or a list of them."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(feature, "int2str") and value.ndim == 0:
        return feature.int2str(int(value)) if int(value) >= 0 else ""
    return value.tolist()
