"""CSV and TSV files: quoting, delimiters, headers and line ends."""

from pathlib import Path
from typing import Any

import pytest
from data_files import errors_of, write

from textclf import data
from textclf.data import delimited_files, tables
from textclf.errors import DataError


def rows(path: str, **options: Any) -> list[tuple[int, list[Any]]]:
    return [(line, list(record.values())) for line, record in data.read_table(path, **options)]


def test_quoted_field_may_have_thousands_of_lines(tmp_path: Path) -> None:
    poem = "\n".join(f"line {number}" for number in range(5000))
    path = write(tmp_path / "a.csv", f'text,label\n"{poem}",long\nshort,short\n')
    assert rows(path) == [(2, [poem, "long"]), (5002, ["short", "short"])]


def test_unclosed_quote_is_an_error_after_a_limited_number_of_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited_files, "MAX_FIELD_CHARACTERS", 2000)
    path = write(tmp_path / "a.csv", 'text,label\na,x\n"b,y\n' + "c,z\n" * 1000)
    (error,) = errors_of(source=path)
    assert error.startswith(f"{path}:3: a quote is opened and not closed within 2,000 characters")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("text,label\na,x,\nb,y,\n", [(2, ["a", "x"]), (3, ["b", "y"])]),
        ("text,label\na,x,, \nb,y\n", [(2, ["a", "x"]), (3, ["b", "y"])]),
        ("text,label,\na,x\nb,y,z\n", [(2, ["a", "x", ""]), (3, ["b", "y", "z"])]),
        ('"text","label",\r\n"a","x"\r\n', [(2, ["a", "x", ""])]),
    ],
)
def test_delimiters_at_the_end_of_rows_are_ignored(
    tmp_path: Path, content: str, expected: list[tuple[int, list[str]]]
) -> None:
    assert rows(write(tmp_path / "a.csv", content)) == expected


def test_error_of_rows_longer_than_the_header_names_the_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n1,good,pos\n2,bad,neg\n3,fine,pos\n")
    (error,) = errors_of(source=path)
    assert error.startswith(f"{path}:1: the header has 2 fields, and the rows have 3; complete")


def test_backslash_escapes_quotes_and_delimiters_only_if_set(tmp_path: Path) -> None:
    content = 'text,label\n"he said \\"no\\", twice",neg\none\\, two,pos\n'
    path = write(tmp_path / "a.csv", content)
    assert rows(path, quoting="backslash") == [
        (2, ['he said "no", twice', "neg"]),
        (3, ["one, two", "pos"]),
    ]
    with pytest.raises(DataError, match="a.csv:2: text follows the closing quote"):
        rows(path)


@pytest.mark.parametrize("quoting", ["minimal", "none"])
@pytest.mark.parametrize("first_line", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_first_line_with_sep_is_not_a_row(tmp_path: Path, quoting: str, first_line: str) -> None:
    path = write(tmp_path / "a.csv", f"\ufeff{first_line}\r\ntext;label\r\na;x\r\nb;y\r\n")
    expected = [(3, ["a", "x"]), (4, ["b", "y"])]
    assert rows(path, delimiter=";", quoting=quoting) == expected
    assert tables.open_table(path, delimiter=";").columns() == (2, ("text", "label"))


@pytest.mark.parametrize("quoting", ["minimal", "none"])
def test_carriage_returns_without_line_feeds_end_rows(tmp_path: Path, quoting: str) -> None:
    path = write(tmp_path / "a.csv", "text,label\ra,x\rb,y\r")
    assert rows(path, quoting=quoting) == [(2, ["a", "x"]), (3, ["b", "y"])]
    assert tables.open_table(path).about_rows() in (3, 4)


def test_carriage_return_within_a_text_of_an_unquoted_file_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "text\tlabel\na\rb\tx\n")
    assert rows(path) == [(2, ["a\rb", "x"])]


def test_columns_without_a_name_never_get_an_existing_column_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "2,,2_,text,text\na,b,c,d,e\n")
    assert tables.open_table(path).columns()[1] == ("2", "2__", "2_", "4", "5")
