"""Tests of documents as text and as HTML."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import chromium
import numpy as np
import pytest
from rich.cells import cell_len

from textclf.display import Document, Notes, Table, excerpt, shorten, to_html, to_text
from textclf.evaluation import Report, evaluate
from textclf.report import format_report

NUMBERS = Table(
    ["class", "precision", "recall", "examples"],
    [["体育", "0.125", "1.000", "1,234,567"], ["a", "0.250", "0.500", "9"]],
    "n rr r",
)


def report(class_names: tuple[str, ...], n: int = 60) -> Report:
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.full(len(class_names), 0.5), n)
    y_true = rng.integers(0, len(class_names), n)
    known = {"class_names": class_names, "multi_label": False, "bootstrap_samples": 20}
    return evaluate(y_true, p, num_tokens=rng.integers(1, 99, n), **known)


# === Text ===


def test_table_aligns_numbers_to_the_right_and_names_to_the_left() -> None:
    assert to_text(Document("", [NUMBERS])).split("\n") == [
        "class  precision  recall   examples",
        "体育       0.125   1.000  1,234,567",
        "a          0.250   0.500          9",
        "",
    ]


@pytest.mark.parametrize("width", [60, 80, 96, 120, 200])
def test_text_of_a_report_fits_every_width_without_cut_numbers(width: int) -> None:
    names = tuple(f"客户服务/a long name shared by all/request {i}" for i in range(15))
    text = format_report(report(names), width=width)
    assert max(map(cell_len, text.split("\n"))) <= width
    full = format_report(report(names), width=400)
    numbers = re.compile(r"(?<=  )[\d.,+-]+(?= |$)", re.MULTILINE)
    assert sorted(numbers.findall(text)) == sorted(numbers.findall(full))


def test_a_list_of_names_keeps_its_rows() -> None:
    table = Table(["class"], [["a"], ["b"]], "n", num_totals=1)
    assert to_text(Document("", [table])) == "class\na\n-----\nb\n"


def test_the_rule_is_above_the_totals_where_other_rows_are_empty() -> None:
    rows = [["a", "1", ""], ["b", "2", "3"], ["all", "3", "3"]]
    table = Table(["class", "n" * 30, "m" * 30], rows, "n r r", num_totals=1)
    second = to_text(Document("", [table]), 50).split("\n\n")[1]
    name, rule = [line.split()[0] for line in second.splitlines()][1:3]
    assert (name, set(rule)) == ("b", {"-"})


def test_a_table_without_rows_and_header_is_empty() -> None:
    table = Table(["name", "value"], [], "n r", has_header=False, heading="Values")
    assert to_text(Document("", [table])) == "Values\n\n"


def test_numbers_and_texts_of_a_table_are_not_cut_if_the_width_is_too_small() -> None:
    table = Table(["range", "count"], [["1,000 to 2,000,000", "123,456,789,000"]], "tr")
    assert "1,000 to 2,000,000  123,456,789,000\n" in to_text(Document("", [table]), 20)


def test_a_wide_table_is_split_between_groups_and_repeats_the_first_group() -> None:
    long = [["a name of thirty-three characters", *row[1:]] for row in NUMBERS.rows]
    table = Table(NUMBERS.header, long, NUMBERS.layout, heading="Classes", remark="(two of 9)")
    first, second = to_text(Document("", [table]), 48).rstrip("\n").split("\n\n")
    assert [line.split("  ")[0] for line in second.split("\n")[1:3]] == [long[0][0]] * 2
    assert first.startswith("Classes\nclass ") and "1,234,567" not in first
    assert second.startswith("class ") and second.endswith("\n(two of 9)")


def test_names_are_shortened_before_a_table_is_split() -> None:
    table = Table(["class", "n"], [["x" * 30, "1"], ["y", "2"]], "n r")
    assert to_text(Document("", [table]), 25).split("\n")[1] == "x" * 11 + "…" + "x" * 10 + "  1"


def test_excerpt_begins_with_the_first_word() -> None:
    assert excerpt(" " * 400 + "good  film\n") == "good film"
    assert excerpt("word " * 100, 9) == "word wor…"


def test_shortened_names_remain_distinct() -> None:
    names = [f"prefix of every class/{i}/suffix of every class of this task" for i in range(3)]
    text = to_text(Document("", [Table(["class", "n"], [[n, "1"] for n in names], "n r")]), 49)
    rows = text.rstrip("\n").split("\n")[1:]
    assert all("…" in row for row in rows), "the names must be shortened for this test"
    assert len(set(rows)) == 3


def test_a_folded_name_loses_no_character() -> None:
    name = "".join(map(chr, range(0x61, 0x7B))) * 4
    text = to_text(Document("", [Table(["model", "n"], [[name, "0.5"]], "f r")]), 60)
    rows = text.rstrip("\n").split("\n")[1:]
    assert len(rows) > 1 and "".join(row.split(" ")[0] for row in rows) == name


def test_a_part_of_a_split_table_omits_totals_without_numbers() -> None:
    rows = [["x" * 30, "0.1", "0.2", "5"], ["average", "0.1", "0.2", ""]]
    table = Table(NUMBERS.header, rows, NUMBERS.layout, num_totals=1)
    first, second = to_text(Document("", [table]), 40).split("\n\n")
    assert "average" in first and "----" in first
    assert "average" not in second and "----" not in second


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 5, "short"),
        ("abcdefghij", 5, "ab…ij"),
        ("体育财经新闻", 5, "体…闻"),
        ("体育财经新闻", 6, "体…闻"),
        ("e\u0301" * 9, 4, "e\u0301e\u0301…e\u0301"),
    ],
)
def test_shorten_counts_columns_and_not_characters(text: str, width: int, expected: str) -> None:
    assert shorten(text, width).replace("…\u0301", "…") == expected
    assert cell_len(shorten(text, width)) <= width


def test_text_of_a_document_does_not_depend_on_terminal_or_environment() -> None:
    code = (
        "from textclf.display import *; print(to_text(Document('[bold]:smile: 体育', "
        "[Table(['a', 'b'], [['[red]x[/red] 1.5', '1']], 'n r', remark='[b]:+1:[/b]'), Notes('N', ['see http://x ' * 9])"
        "])), end='')"
    )
    plain, forced = (
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **extra},
            capture_output=True,
            check=True,
        ).stdout
        for extra in (
            {},
            {"FORCE_COLOR": "1", "TERM": "dumb", "COLUMNS": "10", "TTY_COMPATIBLE": "1"},
        )
    )
    assert plain == forced and b"\x1b" not in plain
    lines = plain.decode().splitlines()
    assert max(map(len, lines)) > 80 and "[b]:+1:[/b]" in lines
    assert plain.decode().startswith("[bold]:smile: 体育\n==================\n\na ")


@pytest.mark.parametrize("width", [20, 60, 80])
@pytest.mark.parametrize("has_bullets", [True, False])
def test_commands_in_notes_stay_on_one_line_so_that_they_can_be_copied(
    width: int, has_bullets: bool
) -> None:
    short, long = (
        "`textclf data check a.yaml`",
        f"`textclf data clean {'folder/' * 15}a.csv --near`",
    )
    sentence = f"Some words before it (or {short}): {long}; and some `textclf words after` it."
    text = to_text(Document("", [Notes("", [sentence], has_bullets=has_bullets)]), width=width)
    lines = text.splitlines()
    for command in (short, long, "`textclf words after`"):
        assert [line for line in lines if command in line], text
    assert " ".join(text.replace("\n", " ").split()).removeprefix("- ") == sentence
    assert all(cell_len(line) <= width for line in lines if "`" not in line)


def test_importing_display_loads_neither_rich_nor_jinja_nor_matplotlib() -> None:
    code = (
        "import sys, textclf.display, textclf.report; "
        "print({'rich', 'jinja2', 'matplotlib'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


# === HTML ===


class Tags(HTMLParser):
    """Parser that checks that tags are balanced and collects the texts."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1] != "style":
            self.texts.append(data.strip())


def test_html_of_a_report_shows_metrics_classes_matrix_and_notes() -> None:
    made = report(("yes", "no", "never"))
    texts = Tags(made._repr_html_()).texts
    assert texts[0] == "Evaluation: 60 examples, 3 classes"
    low, high = made.intervals["accuracy"]
    assert f"95 % interval {low:.4f} to {high:.4f}" in texts
    for scores in made.classes:
        start = texts.index(scores.name)
        assert texts[start + 1] == f"{scores.precision:.3f}"
    assert made.confusion_matrix is not None
    cells = texts[texts.index("Confusion matrix") + 5 :][:12]
    assert [cells[i : i + 4] for i in (0, 4, 8)] == [
        [name, *map(str, row)]
        for name, row in zip(made.class_names, made.confusion_matrix, strict=True)
    ]
    sparse = evaluate(np.array([0]), np.eye(3)[[0]], class_names="abc", multi_label=False)
    assert sparse.notes and set(sparse.notes) < set(Tags(sparse._repr_html_()).texts)


def test_html_escapes_names_of_classes_and_notes() -> None:
    name = "<script>alert('x')</script> & \"q\""
    html = report((name, "b"))._repr_html_()
    assert "<script" not in html and "&lt;script&gt;" in html and "&amp;" in html
    assert name in Tags(html).texts
    html = to_html(Document("<b>", [Notes("<i>", ["<u>"]), Notes("", ["<p>"], has_bullets=False)]))
    assert not re.search("<[biu]>|<p><p>", html)


def test_html_shades_a_count_by_its_share_of_the_row() -> None:
    table = Table(["t", "a", "b"], [["a", "3", "1"], ["b", "0", "0"]], "n r r", is_matrix=True)
    assert table.shares() == [[0.75, 0.25], [0.0, 0.0]]
    html = to_html(Document("", [table]))
    assert re.findall(r"220, ([\d.]+)\)\">(\d)", html) == [
        ("0.41", "3"), ("0.14", "1"), ("0.00", "0"), ("0.00", "0"),
    ]  # fmt: skip


HEAD = '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'


@pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium")
def test_html_of_a_report_fits_a_phone_and_is_readable_in_dark_notebooks(tmp_path: Path) -> None:
    names = tuple(f"a long name of a class, number {i}" for i in range(12))
    file = tmp_path / "report.html"
    style = "margin:8px; color:#ddd; background:#111"
    file.write_text(f'{HEAD}<body style="{style}">{report(names)._repr_html_()}', encoding="utf-8")
    with chromium.page(tmp_path / "profile") as page:
        for width in (390, 1000):
            page.open(file.as_uri(), width=width, height=800, dark=True)
            assert page.problems == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        colours = (
            "[...new Set([...document.querySelectorAll('td, th, li')]"
            ".map(e => getComputedStyle(e).color))].join()"
        )
        assert page.evaluate(colours) == "rgb(221, 221, 221)"


@pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium")
def test_html_tables_of_a_report_fit_a_phone_and_wider_ones_scroll_visibly(tmp_path: Path) -> None:
    made, file = report(("negative", "positive")), tmp_path / "report.html"
    file.write_text(f'{HEAD}<body style="margin:8px">{made._repr_html_()}', encoding="utf-8")
    boxes = (
        "[...document.querySelectorAll('.textclf-scroll')].map(e => [e.ariaLabel, "
        "e.scrollWidth > e.clientWidth, e.offsetHeight - e.clientHeight >= 6])"
    )
    with chromium.page(tmp_path / "profile") as page:
        page.open(file.as_uri(), width=390, height=800)
        tables = {name: shown for name, *shown in page.evaluate(boxes)}
    assert tables.pop("Classes") == [True, True], "seven columns scroll"
    assert len(tables) == 7 and not any(scrolls for scrolls, _ in tables.values()), tables


@pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium")
def test_html_of_a_report_indents_the_calibration_error_at_temperature_1(tmp_path: Path) -> None:
    y_true, p = np.arange(40) % 2, np.tile([0.6, 0.4], (40, 1))
    made = evaluate(y_true, p, temperature=3.0, class_names="ab", multi_label=False)
    file = tmp_path / "report.html"
    file.write_text(HEAD + made._repr_html_(), encoding="utf-8")
    left = (
        "(text => {const range = document.createRange(); range.selectNodeContents("
        "[...document.querySelectorAll('th')].find(e => e.textContent.trim() === text)); "
        "return range.getBoundingClientRect().left})"
    )
    with chromium.page(tmp_path / "profile") as page:
        page.open(file.as_uri(), width=1000, height=800)
        indented, above = (
            page.evaluate(f"{left}('{name}')") for name in ("at temperature 1", "calibration error")
        )
    assert indented - above >= 10
