"""Write the verdicts of the runs under benchmarks/runs/ into docs/benchmark_results.md.

    python benchmarks/cells.py

The runs are executed with `textclf benchmark benchmarks/runs/NAME.yaml benchmarks/runs/NAME`. The
text above the mark is written by hand and is kept.
"""

import datetime
from collections.abc import Mapping
from pathlib import Path

from textclf.study import folder, grid, summary, tables
from textclf.study.records import Result

RUNS = Path(__file__).parent / "runs"
PAGE = Path(__file__).parents[1] / "docs" / "benchmark_results.md"
MARK = "<!-- Below this line: python benchmarks/cells.py -->\n"


def main() -> None:
    above, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    PAGE.write_text(above + MARK + results_section(), encoding="utf-8")


def results_section() -> str:
    """Return the verdicts and the table of each data set as Markdown."""
    parts = []
    for file in sorted(RUNS.glob("*.yaml")):
        name, benchmark = file.stem, grid.read(file)
        results = folder.finished(benchmark, RUNS / name)
        if not results:
            parts.append(f"## {name}\n\nNot executed yet.\n")
            continue
        failures = folder.failures(benchmark, RUNS / name)
        report = tables.markdown(summary.summarize(benchmark, results, failures))
        notes, heading, verdicts = report.partition("\n\n")[2].rstrip().partition(f"## {name}\n\n")
        command = f"textclf benchmark benchmarks/runs/{name}.yaml benchmarks/runs/{name}"
        parts.append(f"{heading}{notes}{verdicts}\n\n`{command}`, {_provenance(results)}.\n")
    return "\n" + "\n".join(parts)


def _provenance(results: Mapping[str, Result]) -> str:
    """Return the number of runs, dates, cores and library versions."""
    ended = sorted(result.ended for result in results.values())
    days = [str(datetime.datetime.fromtimestamp(t, datetime.UTC).date()) for t in ended]
    first_and_last = " to ".join(dict.fromkeys([days[0], days[-1]]))
    cores = min(result.machine.cpus or 0 for result in results.values())
    versions: dict[str, str] = {}
    for result in results.values():
        versions |= result.versions
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{len(results)} runs, {first_and_last}, {cores} cores, {libraries}"


if __name__ == "__main__":
    main()
