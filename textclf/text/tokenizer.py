"""Tokenizer: strings to tokens."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import tensorflow as tf

# The signature of every graph that reads texts.
TEXTS = tf.TensorSpec([None], tf.string)

# Characters that go through the graph at once. The graph needs about ten times as many bytes of
# memory. Smaller chunks are slower, larger ones are not faster.
_CHUNK_CHARACTERS = 4_000_000

_Item = TypeVar("_Item")

# The named entities, and the two numeric ones that HTML writers produce. & comes last, so that
# "&amp;lt;" becomes "&lt;" and is not unescaped twice.
_ENTITIES = (
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;|&#34;", '"'),
    ("&apos;|&#39;", "'"),
    ("&amp;", "&"),
)
_LINE_BREAK = r"(?i)<br\s*/?>"

# (pattern, replacement). RE2 has no look-around; its only zero-width boundaries are \b and \B, and
# both know ASCII words only. \B before a colon excludes "http:/", "8:0" and "C:\"; \b after a
# letter excludes ":Paris". Where neither helps, the pattern matches the following character and
# the replacement restores it (\1). No pattern matches a character before the emoticon, so two
# adjacent emoticons are both replaced.
_FOLLOWS = r"([\s.,!?\"，。！？]|$)"
_EMOTICONS = (
    (r":['’]-?\(+" + _FOLLOWS, r" 😢 \1"),
    (r"\bT_T\b", " 😢 "),
    # Chinese texts use the full-width smile. The full-width frown often opens a parenthesis.
    (r"[:：]-?[)）]+|\B=-?\)+", " 🙂 "),
    (r"\B;-?\)+|;-\)+", " 😉 "),
    (r"(?::|\B=)-?\(+" + _FOLLOWS, r" 🙁 \1"),
    (r"\B[:=;]-?D+\b|\b[xX]D+\b", " 😄 "),
    (r"\B[:=;]-?[pP]\b", " 😛 "),
    (r"\B[:=]-?[oO]\b", " 😮 "),
    (r"\B[:=]-?[/\\]+" + _FOLLOWS, r" 😕 \1"),
    (r"\B<3+\b", " ❤ "),
    (r"\^[_.-]\^|\B\^\^\B", " 😊 "),
)

# Typographic apostrophes, the Windows apostrophe (decoded as Latin-1) and the two accents that are
# typed instead. In IMDB these are together more frequent than the curly apostrophe.
_APOSTROPHES = (0x2018, 0x2019, 0x02BC, 0x92, 0xB4, 0x60)
_BLANK = 0x20
# Symbols by category that count as blanks: the blank Braille cell, the object replacement
# character and the replacement character.
_BLANK_SYMBOLS = (0x2800, 0xFFFC, 0xFFFD)
# Characters that only change how their neighbours are drawn, and the soft hyphen.
_DROPPED = (
    r"\x{AD}\x{200C}\x{200D}\x{FE00}-\x{FE0F}\x{180B}-\x{180D}\x{E0100}-\x{E01EF}"
    r"\x{1F3FB}-\x{1F3FF}"
)
# \p{So} of this RE2 follows Unicode 15; the emoji planes are listed so that later emoji count too.
_SYMBOLS = r"\p{So}\p{Sc}\x{1F300}-\x{1FAFF}"
# Exclamation and question marks: Latin, Arabic, doubled, and full-width (where not folded).
_MARKS = r"!?\x{061F}\x{203C}\x{2047}-\x{2049}\x{FF01}\x{FF1F}"
# Scripts written without blanks. The prolonged sound mark and similar marks have no single script.
_IDEOGRAPHS = r"\p{Han}\p{Hiragana}\p{Katakana}\x{3006}\x{303C}\x{30FC}\x{FF70}\x{FF9E}\x{FF9F}"


def to_utf8(text: str) -> bytes:
    """Return the bytes of a text for the graph.

    JSON can hold half of a surrogate pair. It has no UTF-8 form, and TensorFlow refuses such a
    string. Here it becomes invalid bytes, which the tokenizer reads as blanks.
    """
    return text.encode("utf-8", "surrogatepass")


def chunk_texts(
    items: Iterable[_Item], max_items: int, text_of: Callable[[_Item], str] = str
) -> Iterator[list[_Item]]:
    """Yield lists of items that are short enough for one call of the graph.

    A list ends after `max_items` items or four million characters, whichever comes first. A longer
    text is a list of one item.

    Args:
        items: texts, or items that have one.
        max_items: largest number of items in a list.
        text_of: returns the text of an item.
    """
    chunk: list[_Item] = []
    num_characters = 0
    for item in items:
        length = len(text_of(item))
        if chunk and (len(chunk) == max_items or num_characters + length > _CHUNK_CHARACTERS):
            yield chunk
            chunk, num_characters = [], 0
        chunk.append(item)
        num_characters += length
    if chunk:
        yield chunk


class Tokenizer(tf.Module):
    r"""Graph that splits texts into tokens.

        tokenizer = Tokenizer(unit="word", lowercase=True, fold_width=True, unescape_entities=True)
        tokenizer(tf.constant(["Not bad!"]))        # [[b"not", b"bad", b"!"]]

    Input: string [B], UTF-8; invalid bytes count as blanks. Output: ragged string [B, None], in
    the order of the text. A scalar or a matrix of texts is refused.

    Steps for both units, in this order:

    - `<br>`, `<br/>` and `<br />` become blanks.
    - `unescape_entities`: `&lt; &gt; &amp; &quot; &apos; &#34; &#39;` are unescaped, once:
      `&amp;lt;` becomes `&lt;`. Other entities are unchanged.
    - Common emoticons become emoji: `:) ;) :( :'( :D :P :o :/ <3 ^_^` and their usual variants
      (`:-)`, `=)`, `:)))`, `XD`, `：）`). Not inside words, addresses or times.
    - Curly apostrophes (U+2018, U+2019, U+02BC) become `'`, and so do the accents typed instead
      (U+0060, U+00B4) and the Windows apostrophe of a wrongly decoded text (U+0092).
    - `fold_width`: the full-width forms U+FF01 to U+FF5E become ASCII. The full-width blank is
      always a blank.
    - Emoji modifiers (skin tones), variation selectors, zero-width joiners and non-joiners and
      soft hyphens are dropped. An emoji is therefore one token per code point: a flag is two
      tokens, a family is one token per member.
    - Control, format, private-use, unassigned and separator characters (`\pC`, `\pZ`: U+0085,
      U+00A0, U+200B, U+2028, ...) become blanks. No token contains them. Assigned are the
      characters that Unicode 15.0 assigns, and all of the emoji planes.
    - `lowercase`: all of Unicode (`ß` stays `ß`).

    Unit `word`: a word is a run of letters, combining marks, digits and inner apostrophes
    (`don't`, `l'été`); outer apostrophes are removed. A separate token, with its combining marks,
    is every Han, Hiragana and Katakana character, `!`, `?`, every emoji and other symbol
    (`\p{So}`) and every currency sign; `!!!` is three tokens. Every other character separates and
    is lost: `3.14` becomes `3 14`, `e-mail` `e mail`, `snake_case` `snake case`, `C++` `c`. Hangul,
    Arabic and all other scripts are split at blanks only. A Thai, Lao, Khmer or Burmese sentence
    is therefore a single word: use `character` for these languages.

    Unit `character`: every character that is not a blank is a token, with its combining marks.
    Punctuation is kept.

    Not folded: all other changes of NFKC (half-width Katakana, ligatures, circled and superscript
    digits, composed against decomposed accents), full case folding, accents, traditional against
    simplified Chinese, spelling.

    Args:
        unit: "word" or "character".
        lowercase, fold_width, unescape_entities: see above.

    Raises:
        ValueError: `unit` is neither.
    """

    def __init__(self, *, unit: str, lowercase: bool, fold_width: bool, unescape_entities: bool):
        if unit not in ("word", "character"):
            raise ValueError(f"unit is {unit!r}; expected 'word' or 'character'")
        super().__init__()
        self.unit = unit
        self.lowercase = lowercase
        self.fold_width = fold_width
        self.unescape_entities = unescape_entities

    @tf.function(input_signature=[TEXTS], autograph=False)
    def __call__(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Return the tokens of texts: string [B] to ragged string [B, None]."""
        tokens, positions = self.split_tokens(text)
        return tf.RaggedTensor.from_value_rowids(
            tokens, positions[:, 0], nrows=tf.shape(text, tf.int64)[0], validate=False
        )  # [B, None]

    def split_tokens(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the tokens of texts without building a ragged tensor.

        Args:
            text: string [B].

        Returns:
            The tokens, string [N], and their positions, int64 [N, 2]: the number of the text and
            the number of the token within that text.
        """
        replace = tf.strings.regex_replace
        text = replace(text, _LINE_BREAK, " ")
        # Decoding is ten times slower than a regular expression, and most Latin texts do not need
        # it. `_fold` would not change the texts that skip it (a test holds that).
        rows = tf.where(self._needs_folding(text))  # [F, 1]
        text = tf.cond(
            tf.size(rows) > 0,
            lambda: tf.tensor_scatter_nd_update(text, rows, self._fold(tf.gather_nd(text, rows))),
            lambda: text,
        )
        punctuation = r"\pP\pS" if self.unit == "character" else f"'{_MARKS}"
        text = replace(text, rf"[^\pL\pM\pN {_SYMBOLS}{punctuation}]+", " ")
        if self.lowercase:  # after NUL became a blank: tf.strings.lower ends a text at a NUL
            text = tf.strings.lower(text, encoding="utf-8")
        if self.unit == "character":
            text = replace(text, r"[^ ]\pM*", r"\0 ")
        else:
            text = replace(text, rf"[{_IDEOGRAPHS}{_SYMBOLS}{_MARKS}]\pM*", r" \0 ")
            # Apostrophes next to a blank, or at either end of a text, are quotation marks.
            text = replace(text, r"^'+|'+$|'+ [ ']*| [ ]*'[ ']*", " ")
        split = tf.raw_ops.StringSplitV2(input=text, sep="")
        return split.values, split.indices

    def _needs_folding(self, text: tf.Tensor) -> tf.Tensor:
        """Return True, bool [B], for every text that `_fold` changes, and for a few others."""
        special = rf"\x{{D800}}-\x{{DFFF}}{_DROPPED}"
        special += "".join(rf"\x{{{code:X}}}" for code in (*_APOSTROPHES, *_BLANK_SYMBOLS))
        if self.fold_width:
            special += r"\x{FF01}-\x{FF5E}"
        if self.unescape_entities:
            special += "&"
        # Invalid UTF-8 matches neither pattern, so it is folded.
        is_simple = tf.strings.regex_full_match(text, f"[^{special}]*")
        emoticon = "|".join(pattern for pattern, _ in _EMOTICONS)
        has_emoticon = tf.strings.regex_full_match(text, f"(?s).*(?:{emoticon}).*")
        return tf.logical_or(tf.logical_not(is_simple), has_emoticon)

    def _fold(self, text: tf.Tensor) -> tf.Tensor:
        """Replace entities, emoticons, widths, apostrophes, dropped characters: [B] to [B]."""
        replace = tf.strings.regex_replace
        if self.unescape_entities:
            for pattern, character in _ENTITIES:
                text = replace(text, pattern, character)
            text = replace(text, _LINE_BREAK, " ")
        for pattern, emoji in _EMOTICONS:
            text = replace(text, pattern, emoji)
        codes = tf.strings.unicode_decode(text, "UTF-8", errors="replace", replacement_char=_BLANK)
        values = codes.flat_values  # int32 [code points]
        if self.fold_width:
            is_wide = (values >= 0xFF01) & (values <= 0xFF5E)
            values = tf.where(is_wide, values - 0xFEE0, values)
        for code in _APOSTROPHES:
            values = tf.where(values == code, ord("'"), values)
        for code in _BLANK_SYMBOLS:
            values = tf.where(values == code, _BLANK, values)
        text = tf.strings.unicode_encode(codes.with_flat_values(values), "UTF-8")
        return replace(text, f"[{_DROPPED}]+", "")
