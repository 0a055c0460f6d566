"""Texts and helpers shared by the tests of the package `text`."""

import functools

import tensorflow as tf
from hypothesis import strategies as st

from textclf import text

DEFAULTS = {"unit": "word", "lowercase": True, "fold_width": True, "unescape_entities": True}

# Texts that are hard for tokenizers, with their word tokens.
WEIRD = {
    "": [],
    " \t\r\n": [],
    "x": ["x"],
    "'": [],
    "...": [],
    b"\xff\xfe": [],
    b"caf\xc3 good\xed\xa0\x80film": ["caf", "good", "film"],
    "😀😂": ["😀", "😂"],
    "👍🏽": ["👍"],
    "❤️": ["❤"],
    "👨‍👩‍👧": ["👨", "👩", "👧"],
    "🇨🇳": ["🇨", "🇳"],
    "1️⃣": ["1\u20e3"],
    "\x00": [],
    "good\x00film\x01\x1f\x7f": ["good", "film"],
    "good\x85film": ["good", "film"],
    "good\u2028film\u2029good": ["good", "film", "good"],
    "good\x1cfilm\x1d\x1e\x0b\x0cgood": ["good", "film", "good"],
    "good\u200bfilm\ufeff": ["good", "film"],
    "good\u00a0film\u2003is": ["good", "film", "is"],
    "good\ufffdfilm\ufffcis\u2800good": ["good", "film", "is", "good"],
    "\ue000good\U000f0000": ["good"],
    "co\u00adoperate": ["cooperate"],
    "\u0915\u094d\u200d\u0937 \u0645\u06cc\u200c\u062e": [
        "\u0915\u094d\u0937",
        "\u0645\u06cc\u062e",
    ],
    "good\ud83dfilm": ["good", "film"],
    "ＧＯＯＤ　film！": ["good", "film", "!"],
    "我爱film，很好看！": ["我", "爱", "film", "很", "好", "看", "!"],
    "한국어 영화": ["한국어", "영화"],
    "ラーメンが好き": ["ラ", "ー", "メ", "ン", "が", "好", "き"],
    "すごーーい々": ["す", "ご", "ー", "ー", "い", "々"],
    "か\u3099": ["か\u3099"],
    "葛\U000e0100飾": ["葛", "飾"],
    "فيلم جيد؟": ["فيلم", "جيد", "؟"],
    "हिन्दी": ["हिन्दी"],
    "cafe\u0301 ÀÉ": ["cafe\u0301", "àé"],
    "$5 €3": ["$", "5", "€", "3"],
    "3.14 1,000": ["3", "14", "1", "000"],
    "good!!?": ["good", "!", "!", "?"],
    "snake_case C++ e-mail": ["snake", "case", "c", "e", "mail"],
    "good <br /><br>film<br/>bad<BR >": ["good", "film", "bad"],
    "Straße": ["straße"],
}

SPECIAL = "'’`&;<>:()=-/_^!?$DPTXo3\u0301\u200d\ufe0f\U0001f3fd😀\u3099好がー한İΣßＡ！\u3000\x85\u2028\xad\x00\ud83d "
UNICODE = st.text(st.one_of(st.sampled_from(SPECIAL), st.characters()), max_size=30).map(
    text.to_utf8
)
ANY_BYTES = st.one_of(UNICODE, st.binary(max_size=30), st.lists(UNICODE).map(b"\xff:".join))


@functools.cache
def tokenizer(**settings) -> text.Tokenizer:
    """Return a tokenizer with the default settings, except for those given."""
    return text.Tokenizer(**{**DEFAULTS, **settings})


def as_bytes(value: str | bytes) -> bytes:
    """Return the bytes for the graph."""
    return value if isinstance(value, bytes) else text.to_utf8(value)


def tokenize(*texts: str | bytes, **settings) -> list[list[str]]:
    """Return the tokens of each text."""
    batch = tf.constant([as_bytes(value) for value in texts], tf.string)
    rows = tokenizer(**settings)(batch).to_list()
    return [[token.decode() for token in row] for row in rows]


def words(value: str | bytes, **settings) -> list[str]:
    """Return the tokens of one text."""
    return tokenize(value, **settings)[0]
