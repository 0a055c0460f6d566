"""Report files of a benchmark."""

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec

from textclf import artifact
from textclf.study import page, tables
from textclf.study.records import Result
from textclf.study.runs import Grid
from textclf.study.summary import Summary


def write(
    grid: Grid,
    folder: Path,
    results: Mapping[str, Result],
    failures: Mapping[str, str],
    summary: Summary,
) -> list[Path]:
    """Write report.html, report.md, results.csv and verdicts.json; return their paths.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    verdicts = json.dumps(msgspec.to_builtins(summary), ensure_ascii=False, indent=2)
    contents = {
        "report.html": page.render(grid, folder, results, summary),
        "report.md": tables.markdown(summary),
        "results.csv": tables.results_csv(grid, results, failures),
        "verdicts.json": f"{verdicts}\n",
    }
    for name, content in contents.items():
        artifact.write_file(folder / name, content)
    return [folder / name for name in contents]
