"""Tests of reports as text: golden files, values, alignment and width."""

import re
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from textclf.display import WIDTH
from textclf.evaluation import Report, evaluate
from textclf.report import format_comparison, format_report

Golden = Callable[[str, str], None]


def example_report(class_names: tuple[str, ...], n: int = 200, **settings: Any) -> Report:
    """Evaluate random predictions that are correct in about two of three cases."""
    rng = np.random.default_rng(7)
    num_classes = len(class_names)
    p = rng.dirichlet(np.full(num_classes, 0.5), n)
    if settings.get("multi_label"):
        y_true = rng.random((n, num_classes)) < p
    else:
        settings["multi_label"] = False
        wrong = rng.integers(0, num_classes, n)
        y_true = np.where(rng.random(n) < 0.6, p.argmax(axis=1), wrong)
    num_tokens = rng.integers(1, 500, n)
    return evaluate(
        y_true, p, class_names=class_names, num_tokens=num_tokens, truncated=num_tokens > 400,
        **settings,
    )  # fmt: skip


def columns(text: str) -> int:
    """Return the width on a terminal, computed independently of the module under test."""
    return sum(
        0
        if unicodedata.category(c) in ("Mn", "Me")
        else 2
        if unicodedata.east_asian_width(c) in "WF"
        else 1
        for c in text
    )


def block(text: str, beginning: str) -> list[str]:
    """Return the lines of the section that starts with `beginning`."""
    (section,) = [part for part in text.split("\n\n") if part.startswith(beginning)]
    return section.rstrip("\n").split("\n")


# === Golden files ===


def test_format_report_of_two_classes_matches_golden_file(golden: Golden):
    golden("report_binary.txt", format_report(example_report(("negative", "positive"))))


def test_format_report_of_chinese_classes_matches_golden_file(golden: Golden):
    names = ("体育", "财经", "房产", "娱乐新闻", "AI 科技")
    golden("report_chinese.txt", format_report(example_report(names), title="新闻分类, test"))


def test_format_report_of_a_multi_label_task_matches_golden_file(golden: Golden):
    report = example_report(
        ("joy", "anger", "fear"), multi_label=True, thresholds=np.array([0.4, 0.5, 0.6])
    )
    golden("report_multi_label.txt", format_report(report, title="GoEmotions"))


def test_format_report_of_many_classes_matches_golden_file(golden: Golden):
    names = tuple(
        f"customer_support/{kind}/request_{i}" for kind in ("card", "loan") for i in range(9)
    )
    golden("report_many_classes.txt", format_report(example_report(names)))


def test_format_report_without_intervals_and_lengths_matches_golden_file(golden: Golden):
    report = evaluate(
        np.array([0, 0, 0]), np.tile([0.9, 0.1, 0.0], (3, 1)), class_names=("yes", "no", "maybe"),
        multi_label=False, bootstrap_samples=0,
    )  # fmt: skip
    golden("report_sparse.txt", format_report(report))


def test_format_comparison_matches_golden_file(golden: Golden):
    names = ("negative", "positive")
    rows = {
        "majority": evaluate(
            np.array([0, 1, 1]), np.tile([0.4, 0.6], (3, 1)), class_names=names, multi_label=False
        ),
        "tfidf_logistic_regression": example_report(names),
        "without intervals": example_report(names, bootstrap_samples=0),
    }
    golden("report_comparison.txt", format_comparison(rows))


# === Values and layout ===


def test_format_report_starts_with_accuracy_and_macro_f1():
    lines = format_report(example_report(("negative", "positive"))).split("\n")
    assert lines[0] == "Evaluation: 200 examples, 2 classes"
    assert re.fullmatch(r"accuracy +0\.\d{4}  95 % interval 0\.\d{4} to 0\.\d{4}", lines[3])
    assert re.fullmatch(r"macro F1 +0\.\d{4}  95 % interval 0\.\d{4} to 0\.\d{4}", lines[4])


def test_format_report_shows_the_values_of_the_report():
    report = example_report(("a", "b", "c"))
    text = format_report(report)
    for line, scores in zip(block(text, "Classes")[2:5], report.classes, strict=True):
        assert line.split() == [
            scores.name, f"{scores.precision:.3f}", f"{scores.recall:.3f}", f"{scores.f1:.3f}",
            "{:.3f}-{:.3f}".format(*scores.f1_interval),
            str(scores.support), str(scores.num_predicted),
        ]  # fmt: skip
    macro = [line for line in block(text, "Classes") if line.startswith("macro average")]
    expected = [f"{report.metrics[f'macro_{kind}']:.3f}" for kind in ("precision", "recall", "f1")]
    assert macro[0].split()[2:] == expected
    assert report.confusion_matrix is not None
    for line, row in zip(block(text, "Confusion matrix")[2:], report.confusion_matrix, strict=True):
        assert line.split()[1:] == [str(count) for count in row]
    pairs = [line.split()[:3] for line in block(text, "Most frequent")[2:]]
    assert [int(count) for *_, count in pairs] == sorted(
        (report.confusion_matrix[t][p] for t in range(3) for p in range(3) if t != p), reverse=True
    )[:5]
    for true, predicted, count in pairs:
        assert report.confusion_matrix["abc".index(true)]["abc".index(predicted)] == int(count)


def test_format_report_of_two_classes_shows_precision_and_recall_intervals():
    report = example_report(("a", "b"))
    rows = block(format_report(report), "95 % intervals")
    assert rows[1].split() == ["class", "precision", "recall"]
    for line, scores in zip(rows[2:], report.classes, strict=True):
        ends = (scores.precision_interval, scores.recall_interval)
        assert line.split() == [scores.name, *("{:.3f}-{:.3f}".format(*pair) for pair in ends)]


def test_format_report_shows_too_few_examples_in_place_of_an_interval():
    report = evaluate(np.array([0, 1]), np.eye(2), class_names=("a", "b"), multi_label=False)
    text = format_report(report)
    assert re.search(r"macro F1 +1\.0000  too few examples for an interval\n", text)
    assert "accuracy           1.0000  95 % interval 0.3424 to 1.0000\n" in text
    without = evaluate(
        np.array([0, 1]), np.eye(2), class_names=("a", "b"), multi_label=False, bootstrap_samples=0
    )
    assert "interval" not in format_report(without)


def test_coverage_table_shows_points_with_equal_figures_once():
    p = np.tile([0.9, 0.1], (4, 1))
    known: dict[str, Any] = {"class_names": ("a", "b"), "multi_label": False}
    report = evaluate(np.zeros(4, int), p, **known)
    assert len(report.coverage) == 6, "the JSON has a point for each share"
    assert len(block(format_report(report), "Coverage")) == 3
    # The point of the model's threshold is marked, also if it equals another point.
    rows = block(
        format_report(evaluate(np.zeros(4, int), p, abstain_below=0.0, **known)), "Coverage"
    )
    assert [row.split() for row in rows[2:]] == [["100.0", "%", "(in", "use)", "0.000", "1.000"]]


def test_format_report_shows_calibration_error_once_if_temperature_has_no_effect():
    y_true, p = np.arange(40) % 2, np.tile([0.6, 0.4], (40, 1))
    known: dict[str, Any] = {"class_names": ("a", "b"), "multi_label": False}
    text = format_report(evaluate(y_true, p, temperature=1.0, **known))
    assert "calibration error  0.1000  the same at temperature 1\n" in text
    assert text.count("at temperature 1") == 1
    text = format_report(evaluate(y_true, p, temperature=3.0, **known))
    assert re.search(r"calibration error +0\.1000\n +at temperature 1 +0\.2714\n", text)


def test_confusion_share_is_relative_to_the_true_class():
    p = np.array([[0.1, 0.9], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
    report = evaluate(np.array([0, 0, 0, 0, 1]), p, class_names=("a", "b"), multi_label=False)
    assert block(format_report(report), "Most frequent")[2].split() == ["a", "b", "1", "25.0", "%"]


ANY_NAME = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
    st.text("猫ａ가éb\u0301ｶ☺\ufe0f", min_size=1, max_size=40),
)


@given(names=st.lists(ANY_NAME, min_size=2, max_size=14, unique=True), multi_label=st.booleans())
@settings(max_examples=60, deadline=None)
def test_tables_are_aligned_and_within_the_width_for_any_class_names(
    names: list[str], multi_label: bool
):
    report = example_report(tuple(names), n=40, multi_label=multi_label, bootstrap_samples=5)
    text = format_report(report, title=names[0])
    lines = text.split("\n")
    assert all(cell_len(line) <= WIDTH for line in lines)
    assert all(c.isprintable() for line in lines for c in line)
    assert text.endswith("\n") and not text.endswith("\n\n")
    _, head, *rows = block(text, "Classes")
    end = cell_len(head)
    for row in rows[: len(names)]:
        assert cell_len(row) == end, "the last column is right-aligned and never empty"
    comparison = format_comparison(dict.fromkeys(names, report)).split("\n")
    assert all(cell_len(line) <= WIDTH for line in comparison)
    assert len({cell_len(line) for line in comparison[:-1]}) == 1


def test_confusion_table_is_aligned_with_chinese_names():
    report = format_report(example_report(("体育", "财经新闻", "ab")))
    _, head, *rows = block(report, "Most frequent")
    for row in rows:
        assert columns(row) == columns(head)
        predicted = [name for name in ("体育", "财经新闻", "ab") if f"  {name}  " in row]
        assert columns(row.partition(f"  {predicted[-1]}  ")[0]) + 2 == head.index(
            "predicted class"
        )


def test_format_report_shortens_long_class_names_in_the_middle():
    names = tuple(f"a_very_long_prefix_shared_by_all_classes_{end}" for end in ("refund", "cancel"))
    lines = block(format_report(example_report(names)), "Classes")
    assert re.match(r"a_very_long_.*….*_refund  ", lines[2])
    assert re.match(r"a_very_long_.*….*_cancel  ", lines[3])


def test_format_report_replaces_control_characters_in_names():
    text = format_report(example_report(("two\nlines", "\x1b[31mred")), title="a\tb\nc")
    assert text.startswith("a b c: ")
    assert "two lines" in text and "?[31mred" in text


def test_confusion_matrix_is_shown_for_at_most_twelve_classes():
    twelve = format_report(example_report(tuple("abcdefghijkl")))
    assert len(block(twelve, "Confusion matrix")) == 14
    assert len(block(twelve, "Most frequent")) == 7
    thirteen = format_report(example_report(tuple("abcdefghijklm")))
    assert "Confusion matrix" not in thirteen
    assert len(block(thirteen, "Most frequent")) == 12


def test_confusion_matrix_with_wide_names_has_numbered_columns():
    names = tuple(f"category {letter}{letter}" for letter in "abcdefghijkl")
    _, head, first, *_ = block(format_report(example_report(names)), "Confusion matrix")
    assert head.split()[3:] == [str(number) for number in range(1, 13)]
    assert first.startswith("1 category aa")


def test_class_table_shows_the_lowest_f1_of_more_than_sixty_classes():
    names = tuple(f"class{i}" for i in range(70))
    report = example_report(names, n=150)
    assert min(scores.support for scores in report.classes) == 0, (
        "the test needs a class without examples"
    )
    lines = block(format_report(report), "Classes")
    shown = [line.split()[0] for line in lines[2:32]]
    by_name = {scores.name: scores for scores in report.classes}
    assert min(by_name[name].support for name in shown) > 0
    limit = max(by_name[name].f1 for name in shown)
    rest = [scores for scores in report.classes if scores.name not in shown]
    assert all(scores.f1 >= limit for scores in rest if scores.support)
    assert lines[-1] == "(the 30 classes with the lowest F1; the JSON has 40 more)"
    sixty = format_report(example_report(names[:60], n=600))
    assert len(block(sixty, "Classes")) == 2 + 60 + 1 + 2


def test_report_of_perfect_predictions_has_no_confusion_table():
    report = evaluate(np.array([0, 1]), np.eye(2), class_names=("a", "b"), multi_label=False)
    text = format_report(report)
    assert "Most frequent" not in text


def test_format_report_wraps_and_indents_long_notes():
    report = evaluate(
        np.array([0]), np.eye(30)[[0]], class_names=[f"a class {i}" for i in range(30)],
        multi_label=False,
    )  # fmt: skip
    notes = block(format_report(report), "Notes")[1:]
    assert len(notes) > len(report.notes)
    assert all(line.startswith(("- ", "  ")) for line in notes)
    assert sum(line.startswith("- ") for line in notes) == len(report.notes)
    assert " ".join(line[2:] for line in notes) == " ".join(report.notes)


def test_notes_of_a_report_break_names_wider_than_a_line_without_losing_characters():
    names = ("a", "b", "长" * 150)
    report = evaluate(np.array([0, 1]), np.eye(3)[:2], class_names=names, multi_label=False)
    notes = block(format_report(report), "Notes")
    assert all(columns(line) <= WIDTH for line in notes)
    assert "".join(notes).count("长") >= 150, "no character of the name may be lost"


def test_report_without_lengths_has_no_length_table():
    report = evaluate(np.array([0, 1]), np.eye(2), class_names=("a", "b"), multi_label=False)
    assert "Text length" not in format_report(report)


def test_report_without_lengths_shows_truncated_texts():
    report = evaluate(
        np.array([0, 1]), np.eye(2), class_names=("a", "b"), multi_label=False,
        truncated=np.array([True, False]),
    )  # fmt: skip
    assert block(format_report(report), "Text length")[2].split() == [
        "truncated",
        "texts",
        "1",
        "1.000",
    ]


def test_report_names_the_limit_that_cut_texts():
    report = evaluate(
        np.array([0, 1]), np.eye(2), class_names=("a", "b"), multi_label=False,
        num_tokens=np.array([5, 20]), truncated=np.array([True, True]),
        length_limits={"text.sequence_length": 4, "text.linear_length": 10},
    )  # fmt: skip
    lines = [line.split() for line in block(format_report(report), "Text length")[-2:]]
    assert lines == [
        ["cut", "by", "text.sequence_length", "2", "1.000"],
        ["cut", "by", "text.linear_length", "1", "1.000"],
    ]


def test_format_comparison_rejects_zero_reports_and_reports_of_different_tasks():
    one_of = example_report(("a", "b"))
    multi_label = example_report(("a", "b"), multi_label=True)
    with pytest.raises(ValueError, match="different metrics"):
        format_comparison({"one-of": one_of, "multi-label": multi_label})
    with pytest.raises(ValueError, match="no report to compare"):
        format_comparison({})


def test_format_report_explains_a_calibration_error_that_is_larger_than_at_temperature_1():
    y_true = np.arange(40) % 2
    known: dict[str, Any] = {"class_names": ("a", "b"), "multi_label": False}
    words = (
        "\n(the temperature minimises the log loss on validation; the calibration error can grow)\n"
    )
    # Half of the answers are correct, so the probability nearer to 0.5 has the smaller error.
    for p, temperature, is_larger in ((0.6, 3.0, False), (0.9, 0.5, True)):
        report = evaluate(y_true, np.tile([p, 1 - p], (40, 1)), temperature=temperature, **known)
        error, at_one = (report.metrics[f"{k}_error"] for k in ("calibration", "uncalibrated"))
        assert error is not None and at_one is not None and (error > at_one) == is_larger
        assert (words in format_report(report)) == is_larger
