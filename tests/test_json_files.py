"""JSON files: arrays and lines, and the lines of their errors."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from data_files import contents, error_of, write

from textclf import data
from textclf.errors import DataError


def test_lone_surrogates_in_json_become_replacement_characters(tmp_path: Path) -> None:
    lines = ['{"text": "\\ud83d\\ude00 \\ud83d!", "label": "a"}', '{"text": "b", "label": "b"}']
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    dataset = data.open_dataset(train=path, validation=path)
    assert contents(dataset, "train")[0] == ("😀 \ufffd!", ("a",))
    assert dataset.findings.broken_characters["train"].locations == (f"{path}:1",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"text": "a", "label": 1}\n{"text": "b"\n', "a.jsonl:2: not JSON"),
        ('{"text": "a", "label": 1}\n[]\n', "a.jsonl:2: a JSON array, not an object"),
        (
            '{"text": "a", "label": 1}\n\n{"text": "b"}\n',
            "a.jsonl:3: no key 'label'; the keys are text",
        ),
        ('{"text": "a", "label": 1}\n{"text": null, "label": 1}\n', "a.jsonl:2: 'text' holds noth"),
        ('{"text": "a", "label": 1.5}\n', "a.jsonl:1: 'label' holds 1.5; write a string or an"),
        ('{"text": "a", "label": null}\n', "a.jsonl:1: no label, expected one"),
        ('{"txt": "a", "label": 1}\n', "a.jsonl:1: no column 'text'; found txt, label; use --set"),
        ("\n", "a.jsonl: the file is empty"),
    ],
)
def test_invalid_json_lines_are_refused_with_file_and_line(
    tmp_path: Path, content: str, expected: str
) -> None:
    assert expected in error_of(source=write(tmp_path / "a.jsonl", content))


OBJECTS: list[dict[str, Any]] = [
    {"text": "fine ] } , [", "label": "pos", "more": {"a": [1, 2]}},
    {"text": 'bad\n"quoted" \\ 坏', "label": "neg", "more": None},
]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a.json.gz"])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps(OBJECTS),
        json.dumps(OBJECTS, indent=2, ensure_ascii=False),
        "\ufeff\n  " + json.dumps(OBJECTS) + "\n\n",
        "\n\n".join(map(json.dumps, OBJECTS)),
        "\r".join(map(json.dumps, OBJECTS)),
    ],
)
def test_json_arrays_and_json_lines_yield_equal_rows(
    tmp_path: Path, name: str, content: str
) -> None:
    encoded = content.encode()
    path = write(tmp_path / name, gzip.compress(encoded) if name.endswith(".gz") else encoded)
    assert [record for _, record in data.read_table(path)] == OBJECTS


def test_objects_of_a_json_array_have_the_number_of_their_first_line(tmp_path: Path) -> None:
    many = [{"text": f"text {number}\n", "label": "x" * 1000} for number in range(300)]
    content = json.dumps(many, indent=1)  # 300 KB: read in several parts
    found = list(data.read_table(write(tmp_path / "a.json", content)))
    assert [record for _, record in found] == many
    lines = content.split("\n")
    assert all(lines[line - 1].strip() == "{" for line, _ in found)
    assert [line for line, _ in found] == [2 + 4 * number for number in range(300)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"text": "a", "label": "x"},\n', "a.jsonl:1: not JSON (a comma follows the object)"),
        ('{"text": "a" "label": "x"}\n', "a.jsonl:1: not JSON (Expecting ',' delimiter)"),
        ('[\n{"text": "a", "label": "x"}\n{"text": "b"}]', "a.jsonl:3: not JSON (a comma is miss"),
        ('[\n{"text": "a", "label": "x"},\n', "a.jsonl:3: not JSON (Expecting value)"),
        ('[\n{"text": "a", "label": "x"},\n]', "a.jsonl:3: not JSON (Expecting value)"),
        ('[\n{"text": "a", "label": "x"},\n{"text": "b', "a.jsonl:3: not JSON (Unterminated str"),
        ('[{"text": "a", "label": "x"}]\n[{"text": "b"}]', "a.jsonl:1: not JSON (text follows"),
        ('[["a", "x"]]', "a.jsonl:1: a JSON array, not an object"),
        ('{\n "text": "a"\n}', "a.jsonl:1: not JSON (Expecting property name"),
    ],
)
def test_broken_json_arrays_are_refused_with_the_line(
    tmp_path: Path, content: str, expected: str
) -> None:
    path = write(tmp_path / "a.jsonl", content)
    with pytest.raises(DataError) as caught:
        list(data.read_table(path))
    assert expected in str(caught.value)
