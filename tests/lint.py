"""Lint and types, for tox, while TensorFlow is imported for the first time.

That import compiles three thousand modules; left to the processes that run the tests, each of them
would compile them all, at the same time.
"""

import subprocess
import sys

from textclf import startup

COMMANDS = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"])


def main() -> int:
    checks = [subprocess.Popen(command) for command in COMMANDS]
    startup.import_tensorflow()
    codes = [check.wait() for check in checks]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
