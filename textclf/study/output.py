"""The files that a benchmark leaves for people and machines."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textclf import artifact
from textclf.study import page, tables
from textclf.study.grid import Grid


def write(
    grid: Grid,
    folder: Path,
    results: Mapping[str, Mapping[str, Any]],
    failures: Mapping[str, str],
    summary: Mapping[str, Any],
) -> list[Path]:
    """Writes report.html, report.md, results.csv and verdicts.json; returns where.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    contents = {
        "report.html": page.render(grid, folder, results, summary),
        "report.md": tables.markdown(summary),
        "results.csv": tables.results_csv(grid, results, failures),
        "verdicts.json": json.dumps(summary, ensure_ascii=False, indent=2) + "\n",
    }
    for name, content in contents.items():
        artifact.write_file(folder / name, content)
    return [folder / name for name in contents]
