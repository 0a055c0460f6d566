"""Encodings: guesses from bytes, and messages about wrong bytes."""

from pathlib import Path

import pytest
from data_files import errors_of, write

from textclf.data import encodings

TEXTS = {
    "cp932": "この映画は本当に面白かったです。また見たい",
    "euc_jp": "この映画は本当に面白かったです。また見たい",
    "utf-16-le": "plain English",
    "utf-16-be": "这家酒店房间很大",
    "gb18030": "这家酒店房间很大，早餐也不错",
    "big5": "這家酒店房間很大，早餐也不錯，服務態度差",
    "cp949": "이 영화 정말 재미있었어요 음식이 맛이 없고",
    "cp1252": "Très bon film, l'été à la mer était génial",
    "cp1250": "Źle, nie polecam, zły dźwięk, słaba jakość",
    "cp1251": "Очень хороший фильм, рекомендую всем",
    "koi8_r": "Очень хороший фильм, рекомендую всем",
    "utf-8": "naïve 坏",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_guessed_encoding_decodes_the_text_correctly(encoding: str) -> None:
    content = f"text,label\n{TEXTS[encoding]},pos\nplain,neg\n" * 3
    encoded = content.encode(encoding)
    assert encoded.decode(encodings.guess_encoding(encoded)) == content


def test_guess_encoding_recognises_japanese_bytes_valid_in_a_korean_encoding() -> None:
    encoded = "text,label\nこの映画はとても面白かったです,pos\n".encode("cp932")
    assert encodings.guess_encoding(encoded) == "cp932"


def test_error_of_an_invalid_byte_in_a_utf_8_file_suggests_no_encoding(tmp_path: Path) -> None:
    lines = [f"好的 {number},{'pos' if number % 2 else 'neg'}" for number in range(40)]
    content = "\n".join(["text,label", *lines, ""]).encode() + b"caf\xe9,pos\n"
    assert errors_of(source=write(tmp_path / "a.csv", content)) == [
        f"{tmp_path}/a.csv:42: byte 0xe9 is not utf-8; most of the file is UTF-8: fix these bytes"
    ]
