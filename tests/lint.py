"""Lint and types, for tox, while what the tests import is imported for the first time.

That compiles three and a half thousand modules; left to the processes that run the tests, each of
them would compile them all, at the same time.
"""

import subprocess
import sys

COMMANDS = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"])
COLLECT = [sys.executable, "-m", "pytest", "--collect-only", "--quiet"]


def main() -> int:
    checks = [subprocess.Popen(command) for command in COMMANDS]
    # Whatever is wrong with it, the run of the tests tells.
    subprocess.run(COLLECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    codes = [check.wait() for check in checks]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
