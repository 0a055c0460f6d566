"""Usual names of text and label columns, for suggestions in messages and for recognition."""

import re
import shlex
import unicodedata
from collections.abc import Sequence

from textclf.config import Data
from textclf.errors import closest

TEXT_NAMES = (
    *("text", "review", "sentence", "content", "body", "comment", "message", "tweet", "question"),
    *("document", "review_text", "text_a", "description", "summary", "title", "v2"),
    *("texte", "texto", "testo", "текст", "文本", "内容", "评论", "正文", "句子", "本文", "텍스트"),
)
LABEL_NAMES = (
    *("label", "labels", "class", "category", "sentiment", "target", "stars", "rating"),
    *("polarity", "intent", "topic", "tag", "tags", "emotion", "score", "v1"),
    *("categoría", "categoria", "catégorie", "kategorie", "klasse", "etiqueta", "étiquette"),
    *("метка", "класс", "标签", "标注", "类别", "分类", "情感", "极性", "评分"),
    *("ラベル", "라벨", "레이블"),
)
OTHER_NAMES = (
    *("id", "idx", "index", "guid", "uuid", "name", "date", "time", "timestamp", "created_at"),
    *("user", "author", "url", "link", "lang", "language", "country", "source", "split", "fold"),
)
# A column with one of these words in its name describes labels but holds none.
_NOT_LABELS = frozenset({"count", "num", "date", "time", "url", "confidence", "len", "length"})

# Written by `textclf init` for a column that the user must choose.
TO_CHOOSE = "CHANGE_ME"


def plain_name(name: str) -> str:
    """Return a name in lower case, with `_` between its words and without brackets.

    plain_name("Review Text (en)")    # "review_text_en"
    """
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", unicodedata.normalize("NFKC", name))
    return "_".join(re.findall(r"[^\W_]+", name.casefold()))


def is_usual_name(name: str) -> bool:
    """Return whether a name is a usual one for a column of texts, labels or other values."""
    if plain_name(name) in {*TEXT_NAMES, *LABEL_NAMES, *OTHER_NAMES}:
        return True
    return "_" in name and " " not in name and label_rank(name) is not None


def label_rank(name: str) -> tuple[int, int] | None:
    """Return the similarity of a name to those of label columns.

    Returns:
        A tuple that is smaller for a likelier name and (0, ...) for a usual name; None if the name
        is not like that of a label column.
    """
    plain = plain_name(name)
    if plain in LABEL_NAMES:
        return 0, LABEL_NAMES.index(plain)
    words = [word.rstrip("0123456789") for word in plain.split("_")]
    words = [word for word in words if word]
    if not words or _NOT_LABELS & set(words):
        return None
    for word in (words[-1], words[0]):
        if word in LABEL_NAMES:
            return 1, LABEL_NAMES.index(word)
    if words[0] in ("is", "has") and len(words) > 1:
        return 1, len(LABEL_NAMES)
    for rank, usual in enumerate(LABEL_NAMES):
        if not usual.isascii() and usual in plain:
            return 1, rank
    return None


def suggest_column(wanted: str, setting: str, names: Sequence[str], settings: Data) -> str:
    """Return the advice for a column that does not exist: an option that sets another column.

    Args:
        wanted: the missing column.
        setting: `text_columns` or `label_column`.
        names: the columns that exist.
        settings: section `data`.
    """
    usual = TEXT_NAMES if setting == "text_columns" else LABEL_NAMES
    taken = {settings.label_column, *settings.text_columns}
    free = [name for name in names if name not in taken]
    if not free:
        return f"the file has no column for it; add one, or set data.{setting}"
    similar = closest(wanted, names) or next(
        (name for name in free if wanted.casefold() in name.casefold()), None
    )
    known = next((name for name in usual if name in free), None)
    suggestion = similar or known or (free[0] if setting == "text_columns" else free[-1])
    value = f"[{suggestion}]" if setting == "text_columns" else suggestion
    return f"use --set {shlex.quote(f'data.{setting}={value}')}"
