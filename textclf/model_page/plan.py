"""Plan of the page of a model: its arguments, checked without TensorFlow."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from textclf import artifact
from textclf.artifact import folders
from textclf.config import Overrides
from textclf.errors import DataError, check_all
from textclf.recalibration import Plan, plan_to_read

REPORT = "report.json"  # identifies the folder of the files


class PagePlan(NamedTuple):
    """A page that passed the checks; see `check`.

    Attributes:
        page: the page to write.
        files: the folder beside it.
        split: the split that is reported.
        by: columns of additional slices.
        has_audit: whether the page has the findings of an audit.
        overwrite: whether page and folder may be replaced.
        trained: the trained folder with its card, configuration and data.
        arguments: SETTING=VALUE of each override.
    """

    page: Path
    files: Path
    split: str
    by: tuple[str, ...]
    has_audit: bool
    overwrite: bool
    trained: Plan
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command that makes the page."""
        parts = ["textclf", "report", str(self.trained.folder), str(self.page)]
        parts += [] if self.split == _default_split(self.trained) else ["--split", self.split]
        for column in self.by:
            parts += ["--by", column]
        parts += [] if self.has_audit else ["--no-audit"]
        return shlex.join([*parts, *self.set_arguments])

    @property
    def set_arguments(self) -> list[str]:
        """The arguments of a command for the overrides."""
        return [part for argument in self.arguments for part in ("--set", argument)]


def check(
    model: str | os.PathLike,
    output: str | os.PathLike,
    *,
    split: str | None = None,
    by: Sequence[str] = (),
    audit: bool = True,
    overwrite: bool = False,
    overrides: Overrides = (),
) -> PagePlan:
    """Check the model, its data, the columns and the output.

    Args:
        model, output, split, by, audit, overwrite, overrides: see `write_report`.

    Raises:
        TextclfError: as for `write_report`.
    """
    page = Path(output)
    files = page.parent / f"{page.stem}_files"
    trained: list[Plan] = []
    check_all(
        lambda: trained.append(plan_to_read(model, overrides=overrides)),
        lambda: _check_outputs(page, files, overwrite=overwrite),
    )
    # Imported late: these modules import NumPy, which the checks above do not need.
    from textclf import data, scoring
    from textclf.model_data import set_values

    splits = trained[0].card.data.splits
    split = split or _default_split(trained[0])
    if splits and split not in splits:
        raise DataError(
            f"{model}: its data have no split {split}; use --split with one of {', '.join(splits)}"
        )
    columns = tuple(dict.fromkeys(by))
    if columns:
        section = trained[0].config.data
        data.check_columns(section, split, columns, others=scoring.COMPUTED)
    return PagePlan(
        page=page,
        files=files,
        split=split,
        by=columns,
        has_audit=audit,
        overwrite=overwrite,
        trained=trained[0],
        arguments=tuple(f"{name}={value}" for name, value in set_values(overrides).items()),
    )


def _default_split(trained: Plan) -> str:
    """Return test, or validation if the data have no test split."""
    splits = trained.card.data.splits
    return "validation" if splits and "test" not in splits else "test"


def _check_outputs(page: Path, files: Path, *, overwrite: bool) -> None:
    folders.restore_folder(files)  # first, so that a refused page keeps its files
    folders.check_nesting(page)
    folders.check_page(page, overwrite=overwrite)
    artifact.check_output(files, overwrite=overwrite, is_ours=(REPORT,))
