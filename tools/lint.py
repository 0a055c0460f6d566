"""Check style, types and language of the project.

    python tools/lint.py               ruff, mypy and the language of docstrings and comments
    python tools/lint.py --language    the language only; also lists long functions and files

While ruff and mypy run, the tests are collected once: that compiles three and a half thousand
modules, which otherwise every process that runs tests would compile at the same time.
"""

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"])
COLLECT = [sys.executable, "-m", "pytest", "--collect-only", "--quiet"]

# Words with which no docstring begins: it begins with a verb or a noun.
FIRST_WORDS = {"What", "Which", "How", "Whether", "From", "Of", "Nor", "Among", "Whatever", "That"}
# Literary words, and the plain ones for them.
WORDS = {
    "anew": "again",
    "mend": "fix",
    "mends": "fixes",
    "mended": "fixed",
    "besides": "also",
    "whose it is": "(name the owner)",
    "stands in": "is in",
    "stand in": "are in",
    "nobody's": "abandoned",
    "somebody's": "(name whose)",
    "of which": "(begin a new sentence)",
    "as it stands": "(leave out)",
    "came of": "result of",
    "told by": "reported by",
    "for want of": "because there is no",
    "of its own": "separate",
    "of their own": "separate",
    "by itself": "separately",
    "likewise": "(repeat the words)",
    "alike": "equal or similar",
    "gone": "removed",
    "in turns": "alternating",
    "seldom": "rarely",
    "one a line": "one per line",
    "bytes a row": "bytes per row",
}
MAX_FUNCTION_LINES, MAX_FILE_LINES = 60, 500


def main() -> int:
    if sys.argv[1:] == ["--language"]:
        problems = list(language_problems())
        print("\n".join([*problems, *long_parts()]))
        return int(bool(problems))
    checks = [subprocess.Popen(command) for command in COMMANDS]
    # Errors in the tests are reported by the run of the tests.
    subprocess.run(COLLECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    codes = [check.wait() for check in checks]
    problems = list(language_problems())
    if problems:
        print("\n".join(problems))
    return int(any(codes) or bool(problems))


def python_files() -> Iterator[Path]:
    for folder in ("textclf", "tests", "benchmarks", "tools"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def pages() -> Iterator[Path]:
    """Yield the pages of documentation and the configurations."""
    yield from sorted(ROOT.glob("*.md"))
    for folder, pattern in (("docs", "*.md"), ("benchmarks", "*.md"), ("configs", "*.yaml")):
        yield from sorted((ROOT / folder).rglob(pattern))


def language_problems() -> Iterator[str]:
    """Yield a line for each docstring, comment or line of a page that breaks a rule."""
    for path in [*python_files(), *pages()]:
        name = str(path.relative_to(ROOT))
        if path == Path(__file__).resolve():
            continue
        problems = file_problems(path) if path.suffix == ".py" else page_problems(path)
        yield from (f"{name}:{line}: {problem}" for line, problem in problems)


def page_problems(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and problem for each line of a page that breaks a rule."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        # A rule broken across two lines is reported at the first one.
        following = lines[number] if number < len(lines) else ""
        own = {*word_problems(line)}
        joined = {*word_problems(f"{line} {following.strip()}")} - {*word_problems(following)}
        yield from ((number, problem) for problem in sorted(own | joined))
        heading = re.match(r"#+ (\S+)", line)
        if heading and heading[1] in FIRST_WORDS:
            yield number, f"the heading begins with {heading[1]!r}; name a task or a thing"


def file_problems(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and problem for each docstring and comment of a file that breaks a rule."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is None:
                continue
            line = getattr(node, "lineno", 1)
            first = re.split(r"\W", text.strip(), maxsplit=1)[0]
            if first in FIRST_WORDS and not isinstance(node, ast.Module):
                yield line, f"the docstring begins with {first!r}; begin with a verb or a noun"
            yield from ((line, problem) for problem in word_problems(text))
    with open(path, "rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield from ((token.start[0], problem) for problem in word_problems(token.string))


def word_problems(text: str) -> Iterator[str]:
    """Yield a problem for each literary word of a docstring or comment."""
    for word, plain in WORDS.items():
        if re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE):
            yield f"{word!r} is literary; write {plain}"


def long_parts() -> Iterator[str]:
    """Yield a line for each function and file of the package that is long; none is an error."""
    for path in sorted((ROOT / "textclf").rglob("*.py")):
        name, source = path.relative_to(ROOT), path.read_text(encoding="utf-8")
        if (count := source.count("\n")) > MAX_FILE_LINES:
            yield f"{name}: {count} lines, more than {MAX_FILE_LINES}"
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                count = (node.end_lineno or 0) - node.lineno + 1
                if count > MAX_FUNCTION_LINES:
                    yield f"{name}:{node.lineno}: {node.name} has {count} lines"


if __name__ == "__main__":
    sys.exit(main())
