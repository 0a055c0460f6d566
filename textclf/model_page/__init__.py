"""Report page of a trained model: scores, curves, thresholds to try, mistakes, audit of the data.

    import textclf
    textclf.write_report("runs/reviews", "reviews.html")

The page is one HTML file that loads nothing. The folder `reviews_files` beside it has the pictures
as SVG and all figures in `report.json`. The plain text of an evaluation is in `textclf.report`.

    plan        arguments, checked without TensorFlow
    contents    everything that the page shows, as values
    curves      choice of the curves to show
    mistakes    worst mistakes and suspected label errors, with explanations
    plots       pictures
    page        contents to HTML, with page.html and its script page.js
"""

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from textclf import artifact, recalibration
from textclf.artifact import folders
from textclf.config import Overrides
from textclf.errors import ArtifactError
from textclf.evaluation import Report
from textclf.model_page.plan import REPORT, PagePlan, check
from textclf.progress import OnProgress, no_progress
from textclf.startup import import_tensorflow

if TYPE_CHECKING:
    from textclf.data import Dataset

__all__ = ["PagePlan", "WrittenReport", "check", "make_report", "write_report"]


class WrittenReport(msgspec.Struct, frozen=True):
    """Result of `write_report`.

    Attributes:
        page: path of the page.
        files: path of the folder with pictures and figures.
        split: the reported split.
        report: scores on the split.
        num_leaked: rows of the split whose text is in train too.
        num_mistakes: number of mistakes that are shown.
        num_suspects: number of suspected label errors; None without a search.
        num_findings: findings of the audit; None without it.
    """

    page: str
    files: str
    split: str
    report: Report
    num_leaked: int | None
    num_mistakes: int
    num_suspects: int | None
    num_findings: int | None


def write_report(
    model: str | os.PathLike,
    output: str | os.PathLike,
    *,
    split: str | None = None,
    by: Sequence[str] = (),
    audit: bool = True,
    overwrite: bool = False,
    overrides: Overrides = (),
    on_progress: OnProgress = no_progress,
) -> WrittenReport:
    """Write the report of a trained folder as one HTML page, with a folder of files beside it.

        textclf.write_report("runs/reviews", "reviews.html", audit=False).report.get("accuracy")

    Nothing is fitted or chosen. The new page and folder are complete before they replace existing
    ones. Suspected label errors need the package cleanlab.

    Args:
        model: a trained folder.
        output: the page, .html; its files are in `NAME_files` beside it.
        split: the split to report; None for test, or for validation without a test split. The
            thresholds to try are always those of validation.
        by: columns of the data whose values are scored too.
        audit: whether to read all data for the findings of `textclf data check`.
        overwrite: whether an existing page and its folder may be replaced.
        overrides: settings of section `data`, such as {"data.source": "moved/reviews.csv"}.
        on_progress: called with a stage, the number done and their total (0: unknown).

    Raises:
        ConfigError: an override is invalid.
        ArtifactError: the folder is not a trained folder or is damaged, or the output exists or
            cannot be written.
        DataError: the data are not those of the training, or have no such split or column.
    """
    plan = check(
        model, output, split=split, by=by, audit=audit, overwrite=overwrite, overrides=overrides
    )
    dataset = recalibration.open_data(plan.trained, on_progress)
    return make_report(plan, dataset, on_progress)


def make_report(
    plan: PagePlan,
    dataset: "Dataset",
    on_progress: OnProgress = no_progress,
) -> WrittenReport:
    """Write the page of a checked plan; see `write_report`.

    Args:
        plan: result of `check`.
        dataset: the data of the training, see `recalibration.open_data`.
    """
    dataset.check_split(plan.split)
    import_tensorflow()
    from textclf.model_page.contents import gather
    from textclf.model_page.page import render

    contents = gather(plan, dataset, on_progress)
    on_progress("writing the page", 0, 0)
    html, pictures = render(plan, contents)
    files = {name: picture.file for name, picture in pictures}
    figures = json.dumps(contents.to_dict(), ensure_ascii=False, indent=1)
    _write(plan, html, {**files, REPORT: figures + "\n"})
    suspects, audit = contents.suspects, contents.audit
    return WrittenReport(
        page=str(plan.page),
        files=str(plan.files),
        split=plan.split,
        report=contents.result.report,
        num_leaked=contents.result.num_leaked,
        num_mistakes=len(contents.mistakes),
        num_suspects=None if suspects.problem else suspects.count,
        num_findings=None if audit is None else len(audit.findings),
    )


def _write(plan: PagePlan, html: str, files: dict[str, str]) -> None:
    """Write the page and its folder; both are on the disk before one replaces an existing one."""
    page = plan.page.absolute()
    try:
        with folders.open_atomically(page, replace=plan.overwrite) as file:
            file.write(html.encode(errors="replace"))
            file.flush()
            os.fsync(file.fileno())
            with artifact.write_folder(plan.files, overwrite=plan.overwrite) as temporary:
                for name, content in files.items():
                    (temporary / name).write_text(content, encoding="utf-8", errors="replace")
    except FileExistsError:
        raise folders.existing_file(plan.page) from None
    except OSError as error:
        raise ArtifactError(
            f"{plan.page}: cannot be written ({error.strerror}); free some space or name another "
            "file"
        ) from None
