"""Files of other kinds are refused with their kind."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from data_files import write

from textclf import data
from textclf.errors import DataError


def _zip(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, "text,label\na,x\n" * 100)
    return stream.getvalue()


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.csv", _zip("a.csv"), "a zip archive, expected text; unpack it"),
        ("a.csv", _zip("xl/workbook.xml"), "an Excel file, expected text; export the table"),
        ("a.tsv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an old Excel or Word file"),
        ("a.csv", gzip.compress(b"text,label\na,x\n"), "compressed with gzip, expected text; give"),
        ("a.csv.gz", gzip.compress(_tar()), "a tar archive"),
        ("a.csv.gz", gzip.compress(_zip("a.csv")), "a zip archive"),
        ("a.jsonl", b"BZh91AY&SY", "compressed with bzip2"),
        ("a.csv", b"%PDF-1.7\n", "a PDF file"),
        ("a.csv", b"\n<!DOCTYPE html>\n<html>", "a web page (HTML)"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("a.csv", b"\x80\x04\x95\x10\0\0", "a Python pickle"),
        ("a.csv", b"PAR1\x15\x04", "Parquet, expected csv; set data.format=parquet"),
        ("a.csv", "text,label\na,x\n".encode("utf-16-le"), "UTF-16-LE, not utf-8; set data.enc"),
    ],
    # Archives contain the time, so test ids made of their bytes would differ between processes.
    ids=lambda value: value if isinstance(value, str) else "content",
)
def test_error_of_a_binary_file_names_its_kind(
    tmp_path: Path, name: str, content: bytes, kind: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError) as caught:
        list(data.read_table(path))
    assert str(caught.value).startswith(f"{path}: the file is {kind}")
