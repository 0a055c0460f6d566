"""Active learning: uncertain texts first, each once, from different clusters; files and refusals."""

import csv
import io
import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import textclf
from textclf import active_learning, classifier
from textclf.active_learning.diversity import choose_diverse
from textclf.active_learning.pool import Candidate, Pool
from textclf.active_learning.uncertainty import score, uncertainty
from textclf.cli import main
from textclf.errors import ArtifactError, DataError, TextclfError
from textclf.prediction import Row, reading
from textclf.tasks import Decision, MultiLabel, OneOf

WORDS = ("good", "bad", "film", "not", "at", "all", "一点", "也不", "差", "很好")
# Two topics of one class of words each, in many versions.
TOPICS = ("the plot of the film was {}", "the hotel room had a {} view", "一点也不差的 {} 手机")


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WINDOW_ROWS", 7)


def different_texts(number: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [f"{' '.join(rng.choice(WORDS, rng.integers(1, 12)))} {i}" for i in range(number)]


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["data", "next", *map(str, arguments)])


# === Uncertainty ===


def test_margin_is_the_difference_of_the_two_most_probable_classes() -> None:
    p = np.array([[0.2, 0.5, 0.3], [0.05, 0.9, 0.05], [1 / 3, 1 / 3, 1 / 3]])
    scores = score(OneOf(3), p, Decision(), "margin")
    np.testing.assert_allclose(scores, [0.2, 0.85, 0], atol=1e-12)
    assert np.argsort(-uncertainty(scores, "margin")).tolist() == [2, 0, 1]


def test_entropy_is_shannons_and_of_several_labels_the_sum_over_the_labels() -> None:
    p = np.array([[0.5, 0.5], [1, 0], [0.25, 0.75]])
    one = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    np.testing.assert_allclose(
        score(OneOf(2), p, Decision(), "entropy"), [np.log(2), 0, one], atol=1e-12
    )
    np.testing.assert_allclose(
        score(MultiLabel(2), p, Decision(), "entropy"), [2 * np.log(2), 0, 2 * one], atol=1e-12
    )


def test_margin_of_several_labels_is_the_smallest_one_to_a_threshold() -> None:
    decision = Decision(thresholds=(0.5, 0.1))
    p = np.array([[0.5, 0.9], [0.9, 0.1], [0.9, 0.5], [0.9, 0.0]])
    margins = score(MultiLabel(2), p, decision, "margin")
    # 0.9 and 0.5 are as far from 0.5 and 0.1 in log-odds: log 9.
    np.testing.assert_allclose(margins, [0, 0, 0.8, 0.8], atol=1e-12)


def test_margin_of_two_classes_with_a_threshold_is_that_to_the_threshold() -> None:
    p = np.array([[0.5, 0.5], [0.2, 0.8], [0.1, 0.9]])
    margins = score(OneOf(2), p, Decision(thresholds=(0, 0.8)), "margin")
    assert margins.argmin() == 1
    assert margins[1] == 0


@pytest.mark.parametrize("by", active_learning.MEASURES)
@pytest.mark.parametrize("thresholds", [(1e-9, 1.0), (0.5, 0.5)])
def test_probabilities_of_exactly_zero_and_one_have_a_finite_score(
    by: str, thresholds: tuple[float, ...]
) -> None:
    p = np.array([[0, 1], [1, 0], [0, 0], [1, 1]], float)
    scores = score(MultiLabel(2), p, Decision(thresholds=thresholds), by)
    assert np.isfinite(scores).all()
    assert (uncertainty(scores, by) >= 0).all()


# === The order of the texts ===


@pytest.mark.parametrize("by", active_learning.MEASURES)
def test_most_uncertain_texts_of_several_windows_come_first(
    model: Any, by: str, small_windows: None
) -> None:
    texts = different_texts(60)
    # A low temperature, because the probabilities of the tiny network are all near a half.
    card = msgspec.structs.replace(model.card, temperature=0.1)
    model = classifier.Classifier(model.text_encoder, model.network, card)
    selection = textclf.select_next(model, texts, 9, by=by, diverse=False)
    p = model.predict_proba(texts)
    expected = -(p * np.log(p)).sum(axis=1) if by == "entropy" else np.abs(p[:, 0] - p[:, 1])
    certainty = -expected if by == "entropy" else expected
    chosen = certainty[[text.row for text in selection.texts]]
    # Probabilities differ by rounding between batches.
    least_certain = np.sort(certainty)
    assert least_certain[-1] - least_certain[8] > 0.05, "the texts must differ for this to matter"
    np.testing.assert_allclose(chosen, least_certain[:9], atol=1e-4)
    for text in selection.texts:
        assert text.score == pytest.approx(expected[text.row], abs=1e-4)


def test_row_numbers_and_probabilities_are_those_of_the_texts(
    model: Any, small_windows: None
) -> None:
    texts = different_texts(40)
    for text in textclf.select_next(model, texts, 10).texts:
        assert texts[text.row] == text.text
        p = model.predict_proba([text.text])[0]
        np.testing.assert_allclose(list(text.probabilities.values()), p, atol=1e-5)
        assert text.predicted == model.predict([text.text])[0]
        assert list(text.probabilities) == list(model.class_names)


def test_equal_texts_are_chosen_once_whatever_their_case_and_spaces(
    model: Any, small_windows: None
) -> None:
    texts = ["Not bad", " not  BAD ", "ｎｏｔ ｂａｄ", "good", "一点也不差"] * 10
    selection = textclf.select_next(model, texts, 20, diverse=False)
    assert sorted(text.row for text in selection.texts) == [0, 3, 4]
    assert selection.num_repeated == 47


def test_empty_texts_are_left_out_and_counted(model: Any) -> None:
    notes: list[str] = []
    selection = textclf.select_next(model, ["", "good", " \t", "bad"], 2, on_note=notes.append)
    assert sorted(text.row for text in selection.texts) == [1, 3]
    assert (selection.num_rows, selection.num_empty) == (4, 2)
    assert notes == ["texts: 2 of 4 rows are empty; they are left out"]


def test_fewer_texts_than_asked_for_are_all_in_the_list_with_a_note(model: Any) -> None:
    notes: list[str] = []
    selection = textclf.select_next(model, ["good", "bad"], 5, on_note=notes.append)
    assert len(selection.texts) == 2
    assert notes == ["texts: has 2 different texts, fewer than 5; all of them are in the list"]


def test_pool_keeps_the_most_uncertain_of_equal_texts() -> None:
    pool = Pool(1)
    for number, (text, value) in enumerate([("Great Film", 0.5), ("great film", 0.9), ("so", 0.6)]):
        pool.add(Candidate(value, number + 1, Row(text), value, np.zeros(2), (0,), False))
    assert [candidate.row.text for candidate in pool.ranked()] == ["great film"]
    assert pool.num_repeated == 1


def test_pool_never_holds_more_texts_than_its_size() -> None:
    pool, rng = Pool(5), np.random.default_rng(1)
    values = rng.permutation(500).astype(float)
    for number, value in enumerate(values):
        for _ in pool.select(np.array([value])):
            row = Row(f"text {number}")
            pool.add(Candidate(value, number + 1, row, value, np.zeros(2), (0,), False))
        assert len(pool._heap) == len(pool._hashes) <= 5
    assert [candidate.uncertainty for candidate in pool.ranked()] == [499, 498, 497, 496, 495]


def test_of_equally_uncertain_texts_the_first_rows_are_chosen(trained: Path) -> None:
    loaded = classifier.load(trained)
    # Texts without a known token have equal probabilities.
    texts = [f"qqq{i}" for i in range(30)]
    assert len(np.unique(loaded.predict_proba(texts))) == 2
    selection = textclf.select_next(loaded, texts, 4, diverse=False)
    assert [text.row for text in selection.texts] == [0, 1, 2, 3]


# === Diversity ===


def test_texts_are_chosen_from_different_clusters() -> None:
    texts = [topic.format(i) for topic in TOPICS for i in range(20)]
    values = np.linspace(1, 0.5, len(texts))
    chosen = choose_diverse(texts, values, 3)
    assert [i // 20 for i in chosen] == [0, 1, 2]


def test_uncertain_texts_of_one_topic_leave_room_for_another_topic(model: Any) -> None:
    texts = different_texts(50)
    p = model.predict_proba(texts)
    uncertain = texts[int(np.abs(p[:, 0] - 0.5).argmin())].rpartition(" ")[0]
    other = texts[int(np.abs(p[:, 0] - 0.5).argmax())]
    pool = [uncertain + "." * i for i in range(39)] + [other]
    plain = textclf.select_next(model, pool, 4, diverse=False)
    assert other not in {text.text for text in plain.texts}, "the other text must be less uncertain"
    diverse = textclf.select_next(model, pool, 4)
    assert other in {text.text for text in diverse.texts}


def test_a_more_uncertain_text_has_more_weight_in_its_cluster() -> None:
    texts = ["red apple", "red apple pie", "red apple pie hot"]
    likely = {tuple(choose_diverse(texts, np.array(v), 1)) for v in ([9, 0, 0], [0, 0, 9.0])}
    assert likely == {(0,), (2,)}


@pytest.mark.parametrize(
    "texts",
    [["same"] * 6, ["?", "!!", "...", "-", "😀", "_"], ["a b", "a b", "a b", "c", "c", "d"]],
)
def test_texts_without_words_and_equal_vectors_still_give_the_number_of_texts(
    texts: list[str],
) -> None:
    chosen = choose_diverse(texts, np.arange(6.0), 4)
    assert len(set(chosen.tolist())) == 4


def test_same_seed_chooses_the_same_texts_in_another_process() -> None:
    code = """
    import numpy as np
    from textclf.active_learning.diversity import choose_diverse
    rng = np.random.default_rng(5)
    texts = [" ".join(rng.choice(list("abcdefgh"), 6)) + f" w{i % 17}" for i in range(300)]
    texts = [" ".join(c * 3 for c in text.split()) for text in texts]
    print(*(choose_diverse(texts, rng.random(300), 25, seed=s).tolist() for s in (3, 4)), sep="|")
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in "12"
    )
    assert first == second
    third, fourth = first.split("|")
    assert third != fourth.strip(), "another seed must choose other texts for this test to matter"


# === Kinds of models and of texts ===


def test_exports_choose_the_texts_of_their_trained_folder(model: Any, exports: Path) -> None:
    texts = different_texts(40)
    of_folder = textclf.select_next(model, texts, 6)
    of_export = textclf.select_next(exports / "reviews" / "1", texts, 6)
    assert [text.row for text in of_export.texts] == [text.row for text in of_folder.texts]


@pytest.mark.parametrize("by", active_learning.MEASURES)
def test_texts_of_several_labels_have_the_labels_of_the_model(several: Path, by: str) -> None:
    loaded = textclf.load(several)
    texts = ["a b", "c", "a", "b c n1", "zzz", "a c"]
    selection = textclf.select_next(loaded, texts, 6, by=by)
    p = loaded.predict_proba(texts)
    scores = uncertainty(score(loaded.card.task, p, loaded.card.decision, by), by)
    assert [text.row for text in selection.texts] == np.argsort(-scores).tolist()
    for text in selection.texts:
        assert text.predicted == tuple(loaded.predict([text.text])[0])


def test_chinese_texts_are_chosen_from_different_clusters_and_written_whole(
    model: Any, tmp_path: Path
) -> None:
    topics = ("这家酒店的房间很干净{}", "手机的电池太差了{}", "这本书的故事很好看{}")
    numerals = "一二三四五六七八九十"
    texts = [topic.format(numeral) for topic in topics for numeral in numerals]
    chosen = choose_diverse(texts, np.ones(30), 3)
    assert [i // 10 for i in chosen] == [0, 1, 2]
    (tmp_path / "new.txt").write_text("\n".join(texts), encoding="utf-8")
    textclf.select_next(model, tmp_path / "new.txt", 3, output=tmp_path / "next.csv")
    assert {row["text"] for row in read_csv(tmp_path / "next.csv")} <= set(texts)


def test_texts_from_which_the_model_abstains_are_chosen_and_counted(model: Any) -> None:
    card = msgspec.structs.replace(model.card, abstain_below=0.999)
    careful = classifier.Classifier(model.text_encoder, model.network, card)
    notes: list[str] = []
    selection = textclf.select_next(careful, different_texts(8), 3, on_note=notes.append)
    assert selection.num_abstained == 3
    assert notes == ["the model abstains from 3 of the 3 texts; label them like the others"]


def test_a_model_with_one_class_is_refused(model: Any) -> None:
    card = msgspec.structs.replace(model.card, class_names=("spam",))
    with pytest.raises(ArtifactError, match="has one class, spam, so it is sure of every text"):
        textclf.select_next(classifier.Classifier(model.text_encoder, model.network, card), ["a"])


# === Files ===


def test_csv_has_the_columns_of_the_input_an_empty_label_and_the_answers(
    model: Any, tmp_path: Path
) -> None:
    texts = different_texts(30)
    rows = [[f"id{i}", text, 'x,\n"y"'] for i, text in enumerate(texts)]
    new = write_csv(tmp_path / "new.csv", [["row", "text", "note"], *rows])
    selection = textclf.select_next(model, new, 5, output=tmp_path / "next.csv")
    written = read_csv(tmp_path / "next.csv")
    first, second = model.class_names
    assert list(written[0]) == [
        *("row", "text", "note", "label", "rank", "row_", "margin", "predicted"),
        *(f"p_{first}", f"p_{second}"),
    ]
    for rank, (text, cells) in enumerate(zip(selection.texts, written, strict=True), 1):
        assert [cells["row"], cells["text"], cells["note"]] == rows[text.row]
        assert (cells["label"], cells["rank"], cells["row_"]) == ("", str(rank), str(text.row))
        assert float(cells["margin"]) == text.score
        assert float(cells[f"p_{first}"]) == text.probabilities[first]


def test_columns_of_answers_that_collide_with_the_input_have_names_of_their_own(
    tmp_path: Path,
) -> None:
    text = active_learning.NextText(1, "good", 0.1, "a", {"a": 0.75, "a_": 0.25}, {"p_a": "mine"})
    selection = active_learning.Selection(
        by="margin",
        is_diverse=False,
        texts=(text,),
        text_column="text",
        label_column="label",
        num_rows=1,
        num_empty=0,
        num_repeated=0,
        num_candidates=1,
        num_abstained=0,
    )
    active_learning.write_selection(selection, tmp_path / "next.csv")
    (row,) = read_csv(tmp_path / "next.csv")
    assert (row["p_a"], row["p_a_"], row["p_a__"]) == ("mine", "0.75", "0.25")


def test_filled_in_csv_is_training_data(model: Any, tmp_path: Path, reviews: Path) -> None:
    (tmp_path / "new.txt").write_text("\n".join(different_texts(40)), encoding="utf-8")
    textclf.select_next(model, tmp_path / "new.txt", 12, output=tmp_path / "next.csv")
    rows = read_csv(tmp_path / "next.csv")
    for i, row in enumerate(rows):
        row["label"] = model.class_names[i % 2]
    write_csv(tmp_path / "filled.csv", [rows[0].keys(), *(row.values() for row in rows)])
    dataset = textclf.open_dataset(
        train=str(tmp_path / "filled.csv"), validation=str(reviews), class_names=None
    )
    assert dataset.splits["train"].num_examples == 12
    assert tuple(dataset.class_names) == tuple(model.class_names)


def test_labels_that_the_input_has_already_are_kept(model: Any, tmp_path: Path) -> None:
    new = write_csv(tmp_path / "new.csv", [["label", "text"], ["positive", "good"], ["", "bad"]])
    textclf.select_next(model, new, 2, output=tmp_path / "next.csv")
    assert {row["text"]: row["label"] for row in read_csv(tmp_path / "next.csv")} == {
        "good": "positive",
        "bad": "",
    }


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_json_lines_have_all_columns_with_their_types(
    model: Any, tmp_path: Path, kind: str
) -> None:
    records = [{"text": text, "stars": i, "tags": ["a", str(i)]}
               for i, text in enumerate(different_texts(20))]  # fmt: skip
    new = tmp_path / f"new.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(records), new)
    else:
        new.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    output = tmp_path / "next.jsonl"
    selection = textclf.select_next(model, new, 4, output=output)
    written = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    for text, record in zip(selection.texts, written, strict=True):
        expected = records[text.row]
        assert {name: record[name] for name in expected} == expected
        assert record["label"] is None
        assert (record["row"], record["margin"]) == (text.row, text.score)
        assert record["probabilities"] == text.probabilities


def test_csv_of_json_objects_with_different_keys_has_the_columns_of_all(
    model: Any, tmp_path: Path
) -> None:
    new = tmp_path / "new.jsonl"
    new.write_text('{"text": "good", "a": {"b": 1}}\n{"text": "bad", "c": true}\n')
    textclf.select_next(model, new, 2, output=tmp_path / "next.csv")
    rows = {row["text"]: row for row in read_csv(tmp_path / "next.csv")}
    assert rows["good"]["a"] == '{"b": 1}'
    assert (rows["bad"]["a"], rows["bad"]["c"]) == ("", "True")


def test_an_existing_file_is_refused_before_the_texts_are_scored(
    model: Any, tmp_path: Path
) -> None:
    (tmp_path / "next.csv").write_text("old")
    scored: list[str] = []
    with pytest.raises(DataError, match=r"next.csv: exists already; .* add --overwrite"):
        textclf.select_next(
            model, ["a"], output=tmp_path / "next.csv", on_progress=lambda s, *_: scored.append(s)
        )
    assert not scored
    assert (tmp_path / "next.csv").read_text() == "old"
    textclf.select_next(model, ["a"], output=tmp_path / "next.csv", overwrite=True)
    assert read_csv(tmp_path / "next.csv")[0]["text"] == "a"


def test_the_input_is_never_replaced(model: Any, tmp_path: Path) -> None:
    new = write_csv(tmp_path / "new.csv", [["text"], ["good"]])
    with pytest.raises(DataError, match="is the input; write the answers to another file"):
        textclf.select_next(model, new, output=new, overwrite=True)
    assert new.read_text() == "text\ngood\n"


@pytest.mark.parametrize("name", ["next.csv", "next.jsonl"])
def test_a_killed_writing_leaves_the_former_file(tmp_path: Path, name: str) -> None:
    code = """
    import os, signal, sys
    from textclf.active_learning import NextText, Selection, write_selection

    class Deadly:
        def __str__(self):
            os.kill(os.getpid(), signal.SIGKILL)

    texts = tuple(
        NextText(i, "a", 0.5, "x", {"x": 1.0}, {"a": "x" * 100_000 if i < 9 else Deadly()})
        for i in range(1, 11)
    )
    selection = Selection(
        by="margin", is_diverse=False, texts=texts, text_column="text", label_column="label",
        num_rows=10, num_empty=0, num_repeated=0, num_candidates=10, num_abstained=0,
    )
    write_selection(selection, sys.argv[1], overwrite=True)
    """
    (tmp_path / name).write_text("old")
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / name).read_text() == "old"


# === The command ===


def test_command_prints_the_first_twenty_texts_and_writes_all(
    trained: Path, tmp_path: Path
) -> None:
    texts = ["", *different_texts(60)]
    new = write_csv(tmp_path / "new.csv", [["id", "text"], *enumerate(texts)])
    result = run(trained, new, "-n", 25, "--output", tmp_path / "next.csv")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["rank", "row", "margin", "predicted", "text"]
    assert [line.split()[0] for line in lines[1:21]] == [str(rank) for rank in range(1, 21)]
    assert lines[21:] == ["", "and 5 more"]
    assert max(map(len, lines)) <= 96
    assert result.stderr.splitlines() == [
        f"note: {new}: 1 of 61 rows are empty; they are left out",
        f"{tmp_path / 'next.csv'}: 25 of 61 rows; fill in the column 'label'",
    ]
    assert len(read_csv(tmp_path / "next.csv")) == 25


def test_json_of_the_command_has_the_values_of_the_function(
    trained: Path, model: Any, tmp_path: Path
) -> None:
    (tmp_path / "new.txt").write_text("\n".join(different_texts(30)), encoding="utf-8")
    result = run(trained, tmp_path / "new.txt", "-n", 3, "--by", "entropy", "--json")
    values = json.loads(result.stdout)
    expected = textclf.select_next(model, tmp_path / "new.txt", 3, by="entropy").to_dict()
    assert values == json.loads(json.dumps(expected))
    assert list(values["texts"][0]) == [
        "row", "text", "entropy", "predicted", "probabilities", "columns",
    ]  # fmt: skip


def test_command_reads_lines_of_stdin(trained: Path) -> None:
    result = CliRunner().invoke(
        main, ["data", "next", str(trained), "-", "-n", "2", "--json"], input="good\nbad\n很好\n"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_rows"] == 3


def test_a_text_on_the_terminal_is_one_line_without_control_characters(model: Any) -> None:
    texts = ["good\nfilm\x1b[31m " + "很好" * 100, "bad"]
    table = active_learning.format_selection(textclf.select_next(model, texts, 2), width=80)
    assert "\x1b" not in table
    assert len(table.splitlines()) == 3
    from rich.cells import cell_len

    assert max(map(cell_len, table.splitlines())) <= 80


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("new.csv", b"", "new.csv: the file is empty, expected rows"),
        ("new.csv", b"text\n", "new.csv: has no text to label; name a file with texts"),
        ("new.csv", b'text\n \n""\n', "new.csv: has no text to label; name a file with texts"),
        ("new.txt", b"", "new.txt: has no text to label; name a file with texts"),
        (
            "new.csv",
            b"id,words\n1,good\n",
            "new.csv: no column 'text'; found id, words; use --set ",
        ),
        ("new.csv", b"text\ncaf\xe9\n", "new.csv:2: "),
        ("new.txt", b"good\ncaf\xe9\n", "new.txt:2: is not utf-8"),
        ("new.docx", b"good", "new.docx: no format is known for the ending '.docx'"),
    ],
)
def test_an_input_without_usable_texts_is_one_sentence(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    name: str, content: bytes, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    result = run(trained, name, "--output", "next.csv")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: {message}"), result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not Path("next.csv").exists()


def test_errors_of_input_and_output_are_reported_together(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(TextclfError) as error:
        textclf.select_next(trained, tmp_path / "no.csv", output=tmp_path / "next.xlsx")
    first, second = str(error.value).splitlines()
    assert "next.xlsx: the texts are CSV or JSON lines; name a file .csv or .jsonl" in first
    assert "no.csv" in second


def test_settings_that_have_no_effect_and_overwrite_without_output_are_wrong_usage(
    trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "new.txt").write_text("good\n")
    result = run(trained, tmp_path / "new.txt", "--overwrite")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--overwrite applies only to --output; omit it" in result.stderr
    result = run(trained, tmp_path / "new.txt", "--set", "data.text_columns=review")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "only data.encoding applies to lines" in result.stderr


@pytest.mark.parametrize("arguments", [{"n": 0}, {"n": 10_001}, {"by": "variance"}])
def test_arguments_out_of_range_are_value_errors(model: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        textclf.select_next(model, ["good"], **arguments)


def test_a_missing_text_in_a_list_is_an_error_with_its_position(model: Any) -> None:
    with pytest.raises(DataError, match=r"texts\[1\] is NoneType: expected a text"):
        textclf.select_next(model, ["good", None])  # type: ignore[list-item]


def test_measures_and_limits_of_the_command_are_those_of_the_library() -> None:
    from textclf.cli import data_next

    assert data_next._MEASURES == active_learning.MEASURES
    assert data_next._MAX_TEXTS == active_learning.MAX_TEXTS


def test_a_stream_of_bytes_is_read_as_lines(model: Any) -> None:
    selection = textclf.select_next(model, io.BytesIO("good\n很好\n".encode()), 2)
    assert {text.text for text in selection.texts} == {"good", "很好"}
