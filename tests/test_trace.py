"""Stages of a command, printed with `TEXTCLF_TRACE=1`."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

FIRST = ["start of Python", "imports of textclf and checks", "import of TensorFlow"]
LAST = ["the rest", "total"]
LINE = re.compile(r"(.+?) +\d+\.\d\d s +\d+%")
IS_LINUX = sys.platform == "linux"  # elsewhere the start of the process is not known


def run(*arguments: str, trace: str = "1") -> tuple[str, list[str]]:
    """Run textclf with `TEXTCLF_TRACE`; return stdout and the lines of stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "textclf", *arguments],
        env=os.environ | {"TEXTCLF_TRACE": trace},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr.splitlines()


def stages(lines: Sequence[str]) -> list[str]:
    """Return the names of stages in lines of stderr."""
    return [match[1] for line in lines if (match := LINE.fullmatch(line))]


def test_trace_prints_the_stages_of_predict_on_stderr_alone(trained: Path) -> None:
    stdout, stderr = run("predict", str(trained), "not bad at all")
    assert stdout in ("positive\n", "negative\n")
    assert stages(stderr) == [
        *FIRST,
        *("imports of textclf that need it", "reading the model", "reading the texts"),
        *("first answers", *LAST),
    ]
    assert len(stages(stderr)) == len(stderr)


def test_trace_prints_the_stages_of_train_in_order(reviews: Path, tmp_path: Path) -> None:
    config = tmp_path / "reviews.yaml"
    config.write_text(
        f"data: {{source: {reviews}}}\nmodel: {{units: 4, linear: none}}\n"
        "training: {epochs: 1, max_steps: 2}\n"
    )
    _, stderr = run("train", str(config), str(tmp_path / "run"))
    assert stages(stderr) == [
        *FIRST,
        *("imports of textclf that need it", "reading the data", "counting tokens"),
        *("encoding train", "encoding validation", "building the network", "first step"),
        *("further steps", "validation", "saving", *LAST),
    ]


@pytest.mark.parametrize("trace", ["", "0"])
def test_nothing_is_traced_without_the_variable(trace: str) -> None:
    assert run("config", "schema", trace=trace)[1] == []


def test_trace_of_a_command_without_tensorflow_has_no_stage_of_it() -> None:
    expected = [*(FIRST[:1] if IS_LINUX else ()), *LAST]
    assert stages(run("config", "schema")[1]) == expected
