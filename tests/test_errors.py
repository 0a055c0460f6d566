"""Errors: suggestions of similar names, lists in messages, and errors of rows."""

import pytest

from textclf.errors import (
    DataError,
    RowError,
    closest,
    closest_file,
    did_you_mean,
    format_list,
    raise_problem,
)


def test_did_you_mean_suggests_only_a_similar_name() -> None:
    assert did_you_mean("lable", ["text", "label"]) == "; did you mean 'label'?"
    assert did_you_mean("lable", ["text", "stars"]) == ""
    assert did_you_mean("unit", ["units"], prefix="model.") == "; did you mean model.units?"
    assert closest("lable", {"label": 1}) == "label"
    assert closest("lab", ["label"], cutoff=0.9) is None


def test_file_names_are_not_similar_because_of_their_extensions() -> None:
    names = ["nohead.tsv", "lines.txt", "nohead.yaml", "texts.txt"]
    for name in ("nope.csv", "nope.txt", "nope.yaml"):
        assert closest_file(name, names) is None
    assert closest_file("text.txt", names) == closest_file("texts.tx", names) == "texts.txt"
    assert closest_file("nohaed.yaml", names) == "nohead.yaml"


def test_format_list_cuts_long_values_and_counts_the_rest() -> None:
    assert format_list([]) == "nothing"
    assert format_list(["a", "b"]) == "a, b"
    assert format_list(["a", "b", "c"], limit=2) == "a, b and 1 more"
    assert format_list(["x" * 41]) == "x" * 37 + "..."


def test_a_row_error_is_a_data_error_with_place_problem_and_fix() -> None:
    error = RowError("a.csv:3", "no label", "add one")
    with pytest.raises(DataError, match="^a.csv:3: no label; add one$"):
        raise_problem(error)
    assert (error.location, error.problem, error.fix) == ("a.csv:3", "no label", "add one")
