"""The script of texts, and the unit of tokens that fits it."""

import collections
import functools
import re
import unicodedata
from collections.abc import Iterable

# Scripts without blanks between words, which `text.Tokenizer` does not split with unit `word`.
UNSPACED_SCRIPTS = ("thai", "lao", "khmer", "myanmar")
# If runs of such letters are longer on average, they are not single words.
_MAX_WORD_CHARACTERS = 8


@functools.cache
def script_of_letter(letter: str) -> str:
    """Return the script of a letter in lower case, such as `latin`, `cjk` (Han) or `hiragana`."""
    words = unicodedata.name(letter, "other").lower().split()
    return words[1] if words[0] in ("halfwidth", "fullwidth") and len(words) > 1 else words[0]


def script_and_unit(texts: Iterable[str], notes: list[str]) -> tuple[str, str]:
    """Return the script of most letters and the unit of tokens, `word` or `character`.

    Args:
        texts: some of the texts.
        notes: receives remarks for the user.

    Returns:
        The script in lower case (`latin`, `han`, `kana`, and so on), `mixed`, or `none` without
        letters; and the unit.
    """
    sample = "\n".join(text[:500] for text in texts)[:50_000]
    counts: collections.Counter[str] = collections.Counter()
    unspaced_letters: set[str] = set()
    for character in sample:
        if character.isalpha():
            name = script_of_letter(character)
            counts[name] += 1
            if name in UNSPACED_SCRIPTS:
                unspaced_letters.add(character)
    total = counts.total()
    if not total:
        return "none", "word"
    # Some texts separate words by a zero-width space, which the tokenizer takes as a blank.
    runs = [run for run in re.split(r"[\s\u200b]+", sample) if unspaced_letters & set(run)]
    is_separated = sum(map(len, runs)) <= _MAX_WORD_CHARACTERS * len(runs)
    num_unspaced = 0 if is_separated else sum(counts[script] for script in UNSPACED_SCRIPTS)
    unit = "character" if num_unspaced > 0.5 * total else "word"
    if num_unspaced > 0.1 * total and unit == "word":
        script = max(UNSPACED_SCRIPTS, key=lambda name: counts[name])
        notes.append(
            f"a part of the letters is {script}, which has no blanks between words, so a sentence "
            "becomes one token; try text.unit: character"
        )
    # A Han character is a word or half of one, a Latin letter a fifth, so 40 % are the majority.
    if counts["hiragana"] + counts["katakana"] > 0.15 * total:
        return "kana", unit
    if counts["cjk"] > 0.1 * total:
        return ("han" if counts["cjk"] > 0.4 * total else "mixed"), unit
    script, count = counts.most_common(1)[0]
    return (script if count > 0.7 * total else "mixed"), unit


def script_of(text: str) -> str:
    """Return the script of one text, as `script_and_unit` does.

    script_of("一点也不差")    # "han"
    """
    return script_and_unit([text], [])[0]
