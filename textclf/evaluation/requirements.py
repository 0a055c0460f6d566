"""Requirements on the metrics of a report, as of `textclf evaluate --require macro_f1=0.85`."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from textclf.errors import DataError, TextclfError
from textclf.evaluation.report import Report


class Requirement(NamedTuple):
    """Limit of a metric: a minimum of a score, a maximum of a loss or an error."""

    metric: str
    limit: float

    @classmethod
    def parse(cls, text: str, known: Sequence[str] = ()) -> "Requirement":
        """Return the requirement in a text.

            Requirement.parse("macro_f1=0.85")

        Args:
            text: METRIC=VALUE.
            known: the metrics of the model; empty if they are not known.

        Raises:
            ValueError: the text is malformed, or the model does not have the metric.
        """
        metric, _, written = text.partition("=")
        try:
            limit = float(written)
        except ValueError:
            limit = math.nan
        if not math.isfinite(limit):
            raise ValueError(f"{text}: expected METRIC=VALUE, for instance macro_f1=0.85")
        if known and metric not in known:
            raise ValueError(f"{text}: unknown metric {metric!r}; choose from {', '.join(known)}")
        lowest = -1 if metric in ("cohen_kappa", "mcc") else 0
        if metric != "log_loss" and not lowest <= limit <= 1:
            raise ValueError(f"{text}: expected a value between {lowest} and 1 for {metric}")
        return cls(metric, limit)


def check_requirements(report: Report, requirements: Iterable[Requirement]) -> None:
    """Check the metrics of a report.

        check_requirements(report, [Requirement("macro_f1", 0.85), Requirement("log_loss", 0.5)])

    Raises:
        TextclfError: with each requirement that is not met; a metric that is undefined for these
            examples does not meet it.
    """
    failed = []
    for metric, limit in requirements:
        try:
            value = report.get(metric)
        except DataError as error:  # ROC-AUC is undefined for one class
            failed.append(f"{metric}={limit:g} is required: {error}")
            continue
        if metric.endswith(("_loss", "_error")):
            if not value <= limit:
                failed.append(f"{metric} is {value:.4f}, above the required {limit:g}")
        elif not value >= limit:
            failed.append(f"{metric} is {value:.4f}, below the required {limit:g}")
    if failed:
        raise TextclfError("\n".join(failed))
