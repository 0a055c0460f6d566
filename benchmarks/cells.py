"""Writes what the finished runs under benchmarks/runs/ say into docs/benchmark_results.md.

    python benchmarks/cells.py

The runs are made by `textclf benchmark benchmarks/runs/NAME.yaml benchmarks/runs/NAME`. What stands
above the mark is written by hand and stays.
"""

import datetime
from pathlib import Path

from textclf.study import grid, running, summary, tables

FOLDER = Path(__file__).parent / "runs"
PAGE = Path(__file__).parents[1] / "docs" / "benchmark_results.md"
MARK = "<!-- Below this line: python benchmarks/cells.py -->\n"


def main() -> None:
    above, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    PAGE.write_text(above + MARK + measured(), encoding="utf-8")


def measured() -> str:
    """The verdicts and the table of every data set, as Markdown."""
    parts = []
    for file in sorted(FOLDER.glob("*.yaml")):
        name, described = file.stem, grid.read(file)
        results = running.finished(described, FOLDER / name)
        if not results:
            parts.append(f"## {name}\n\nNot made yet.\n")
            continue
        said = summary.summarize(described, results, running.failures(described, FOLDER / name))
        report = tables.markdown(said).partition("\n\n")[2].rstrip()
        notes, heading, found = report.partition(f"## {name}\n\n")
        command = f"textclf benchmark benchmarks/runs/{name}.yaml benchmarks/runs/{name}"
        parts.append(f"{heading}{notes}{found}\n\n`{command}`, {_made(results)}.\n")
    return "\n" + "\n".join(parts)


def _made(results: dict) -> str:
    ended = sorted(result["ended"] for result in results.values())
    days = [str(datetime.datetime.fromtimestamp(t, datetime.UTC).date()) for t in ended]
    first_and_last = " to ".join(dict.fromkeys([days[0], days[-1]]))
    cpus = {result["machine"]["cpus"] for result in results.values()}
    versions: dict[str, str] = {}
    for result in results.values():
        versions |= result["versions"]
    made_with = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{len(results)} runs, {first_and_last}, {min(cpus)} cores, {made_with}"


if __name__ == "__main__":
    main()
