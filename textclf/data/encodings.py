"""Encodings of text files: names, guesses from bytes, and messages about wrong bytes."""

import codecs
import contextlib
import re
from collections.abc import Callable

from textclf.errors import DataError, RowError, did_you_mean

_DETECTION_BYTES = 1 << 16  # bytes of non-ASCII lines that are given to charset-normalizer
_KNOWN = ("utf-8", "utf-16", "gb18030", "gbk", "big5", "shift_jis", "euc-kr", "cp1252")
_RARE = ("latin-1", "cp1251", "koi8-r")

# Encodings that can be guessed, the most common first.
_CANDIDATES = (
    *("cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("gb18030", "big5", "cp949", "cp932", "euc_jp", "iso2022_jp", "utf_16_le", "utf_16_be"),
    "mac_roman",
)
_JAPANESE = ("cp932", "euc_jp")

# Name of the error handler that decodes each wrong byte as the lone surrogate U+D800 + byte.
MARK_ERRORS = "textclf.mark"
# A character that this handler writes; valid text holds none.
MARKED_BYTE = re.compile("[\ud800-\ud8ff]")


def codec_of(encoding: str) -> str:
    """Return the codec for an encoding; that of UTF-8 accepts a byte order mark.

        codec_of("UTF-8")    # "utf-8-sig"

    Raises:
        DataError: Python has no text encoding of this name.
    """
    try:
        "".encode(encoding)
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise DataError(
            f"data.encoding: Python has no text encoding {encoding!r}; usual ones are "
            f"{', '.join(_KNOWN)}{did_you_mean(encoding.lower(), [*_KNOWN, *_RARE])}"
        ) from None
    return "utf-8-sig" if name == "utf-8" else name


# === Guesses ===


def guess_encoding(sample: bytes) -> str:
    """Return an encoding that fits the bytes.

    The result is certain for UTF-8 and for byte order marks; otherwise it is a suggestion. If no
    candidate fits, the result is `cp1252`, which then cannot decode the bytes.

    Args:
        sample: the beginning of a file; it may end within a character.
    """
    if sample.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if encoding := utf_16_without_mark(sample):
        return encoding
    with contextlib.suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        if b"\x1b$" not in sample:  # the escape sequence that begins Japanese in ISO-2022-JP
            return "utf-8"
    import charset_normalizer

    # ASCII lines carry no information, and the last line may be incomplete.
    lines = [line for line in sample.split(b"\n") if not line.isascii() or b"\x1b" in line]
    foreign = b"\n".join(lines[:-1] or lines)[:_DETECTION_BYTES]
    foreign = foreign[: foreign.rfind(b"\n") + 1] or foreign
    matches = charset_normalizer.from_bytes(
        foreign, cp_isolation=list(_CANDIDATES), preemptive_behaviour=False, enable_fallback=False
    )
    best = matches.best()
    if best is None:
        return "cp1252"
    # Hiragana is half of every Japanese text and does not appear by chance.
    for match in matches:
        for encoding in match.could_be_from_charset:
            if encoding in _JAPANESE and _is_japanese(foreign.decode(encoding, "ignore")):
                return encoding
    tied = {
        encoding
        for match in matches
        if (match.chaos, match.coherence) == (best.chaos, best.coherence)
        for encoding in match.could_be_from_charset
    }
    for encoding, is_plausible in _PLAUSIBLE.items():
        if encoding in tied and is_plausible(foreign.decode(encoding, "ignore")):
            return encoding
    return next(encoding for encoding in _CANDIDATES if encoding in tied)


def utf_16_without_mark(sample: bytes) -> str | None:
    """Return `utf-16-le` or `utf-16-be` if NUL bytes show one of them, else None."""
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if even + odd < max(1, len(sample) / 50) or min(even, odd) * 10 > max(even, odd):
        return None
    encoding = "utf-16-le" if odd > even else "utf-16-be"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return None
    return encoding if "\0" not in text else None


def is_mostly_utf_8(sample: bytes) -> bool:
    """Return whether nearly all non-ASCII characters are UTF-8 and only a few bytes are not."""
    text = sample.decode("utf-8", "replace")
    wrong = text.count("\ufffd") - sample.count("\ufffd".encode())
    foreign = len(text) - len(text.encode("ascii", "ignore"))
    return foreign - wrong > 10 * wrong


def _is_japanese(text: str) -> bool:
    foreign = [character for character in text if not character.isascii()]
    return sum("\u3041" <= character <= "\u3096" for character in foreign) > 0.1 * len(foreign)


def _is_common_chinese(text: str) -> bool:
    """Return whether most non-ASCII characters are in GB 2312, the set of common characters.

    Any two bytes may be a rare Han character ("\xe9u" is one), but rarely a common one.
    """
    foreign = "".join(character for character in text if not character.isascii())
    return len(foreign.encode("gb2312", "ignore")) > len(foreign)


def _is_korean(text: str) -> bool:
    foreign = [character for character in text if not character.isascii()]
    hangul = sum("\uac00" <= character <= "\ud7a3" for character in foreign)
    return hangul > 0.9 * len(foreign)


# Nearly any bytes fit these encodings, so the text is checked too, in this order.
_PLAUSIBLE: dict[str, Callable[[str], bool]] = {
    "cp949": _is_korean,
    "gb18030": _is_common_chinese,
}


# === Wrong bytes ===


def _mark_bytes(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    wrong = error.object[error.start : error.end]
    return "".join(chr(0xD800 + byte) for byte in wrong), error.end


codecs.register_error(MARK_ERRORS, _mark_bytes)


def byte_of_mark(mark: str) -> int:
    """Return the byte for which `MARK_ERRORS` wrote a character."""
    return ord(mark) - 0xD800


def wrong_byte(location: str, byte: int, encoding: str, sample: bytes) -> RowError:
    """Return the error for a byte that is invalid in an encoding.

    Args:
        location: file and line.
        byte: the invalid byte.
        encoding: the encoding of the file according to the settings.
        sample: bytes of the file, from which the right encoding is guessed.
    """
    guess = guess_encoding(sample)
    if codec_of(encoding) == "utf-8-sig" and is_mostly_utf_8(sample):
        fix = "most of the file is UTF-8: fix these bytes"
    elif codec_of(guess) == codec_of(encoding):
        fix = "save the file as UTF-8 or set data.encoding"
    else:
        fix = f"name the encoding of the file, perhaps data.encoding={guess}"
    return RowError(location, f"byte 0x{byte:02x} is not {encoding}", fix)
