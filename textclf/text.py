"""Strings to token ids, in operations of core TensorFlow only.

One body serves training, prediction and the exported SavedModel: `Tokenizer` cuts texts into
tokens, `TextEncoder` turns them into ids. The rest of the module counts the tokens of a training
split and makes, writes and reads the vocabulary that a `TextEncoder` looks words up in.
"""

import collections
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from textclf.errors import ArtifactError, DataError

PADDING_ID = 0  # what tf.scatter_nd leaves, too
UNKNOWN_ID = 1
_NUM_RESERVED = 2

# How many characters go through the graph at once. The graph holds about ten times that for a
# moment; smaller batches are slower, larger ones no faster.
_BATCH_CHARACTERS = 4_000_000

_Item = TypeVar("_Item")

# The named entities, and the two numeric ones that HTML writers really emit. & comes last, so
# that "&amp;lt;" becomes "&lt;" and is not unescaped twice.
_ENTITIES = (
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;|&#34;", '"'),
    ("&apos;|&#39;", "'"),
    ("&amp;", "&"),
)
_LINE_BREAK = r"(?i)<br\s*/?>"

# (pattern, what stands there instead). RE2 has no look-around: its only zero-width boundaries are
# \b and \B, and they know ASCII words only. \B before a colon keeps "http:/", "8:0" and "C:\" out,
# \b behind a letter keeps ":Paris" out. Where neither serves, the character that must follow is
# matched and put back (\1). Nothing before an emoticon is matched, so two in a row are both found.
_FOLLOWS = r"([\s.,!?\"，。！？]|$)"
_EMOTICONS = (
    (r":['’]-?\(+" + _FOLLOWS, r" 😢 \1"),
    (r"\bT_T\b", " 😢 "),
    # The full-width form is how Chinese texts smile; its frowning twin often opens a remark.
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

# The typographic ones, the Windows one (read as Latin-1) and the two accents that stand in for
# it: together they make more of IMDB's apostrophes than the curly one.
_APOSTROPHES = (0x2018, 0x2019, 0x02BC, 0x92, 0xB4, 0x60)
_BLANK = 0x20
# Symbols by their category, blanks by what they mean: the blank Braille cell, the ideographic
# space, and the two characters that stand where another one was lost.
_BLANK_SYMBOLS = (0x2800, 0xFFFC, 0xFFFD)
# What only changes how the characters beside it are drawn, and the soft hyphen.
_DROPPED = (
    r"\x{AD}\x{200C}\x{200D}\x{FE00}-\x{FE0F}\x{180B}-\x{180D}\x{E0100}-\x{E01EF}"
    r"\x{1F3FB}-\x{1F3FF}"
)
# \p{So} of this RE2 is of Unicode 15; the emoji planes are named so that later emoji count too.
_SYMBOLS = r"\p{So}\p{Sc}\x{1F300}-\x{1FAFF}"
# Exclamation and question marks: Latin, Arabic, doubled, and full-width (where not folded).
_MARKS = r"!?\x{061F}\x{203C}\x{2047}-\x{2049}\x{FF01}\x{FF1F}"
# Scripts written without blanks. The prolonged sound mark and its kin belong to no one script.
_IDEOGRAPHS = r"\p{Han}\p{Hiragana}\p{Katakana}\x{3006}\x{303C}\x{30FC}\x{FF70}\x{FF9E}\x{FF9F}"

_TEXTS = tf.TensorSpec([None], tf.string)


def to_utf8(text: str) -> bytes:
    """The bytes that go into the graph.

    Half a surrogate pair, which JSON can hold, has no UTF-8 form and TensorFlow refuses such a
    string; here it becomes invalid bytes, and those are blanks to the tokenizer.
    """
    return text.encode("utf-8", "surrogatepass")


class Tokenizer(tf.Module):
    r"""Cuts texts into tokens.

    Input: string [B], UTF-8; invalid bytes count as blanks. Output: string [B, None], ragged, in
    the order of the text. The graph knows its rank: a scalar or a matrix of texts is refused.

    In both units, in this order:

    - `<br>`, `<br/>` and `<br />` are blanks.
    - `unescape_entities`: `&lt; &gt; &amp; &quot; &apos; &#34; &#39;` become what they stand for
      (once: `&amp;lt;` becomes `&lt;`). Other entities stay as they are.
    - Common emoticons become emoji: `:) ;) :( :'( :D :P :o :/ <3 ^_^` and their usual variants
      (`:-)`, `=)`, `:)))`, `XD`, `：）`). Not inside words, addresses or times.
    - Curly apostrophes (U+2018, U+2019, U+02BC) become `'`, and so do the accents that people
      type for it (U+0060, U+00B4) and the Windows apostrophe of a wrongly decoded text (U+0092).
    - `fold_width`: the full-width forms U+FF01 to U+FF5E become ASCII (the full-width blank is
      always a blank).
    - Emoji modifiers (skin tones), variation selectors, zero-width joiners and non-joiners and
      soft hyphens are dropped, so an emoji is one token a code point: a flag is two, a family is
      its members.
    - Control, format, private-use, unassigned and separator characters (`\pC`, `\pZ`: U+0085,
      U+00A0, U+200B, U+2028, ...) are blanks. None of them is ever part of a token. What is
      assigned is what Unicode 15.0 assigns, emoji aside.
    - `lowercase`: all of Unicode (`ß` stays `ß`).

    Unit `word`: a word is a run of letters, combining marks, digits and inner apostrophes
    (`don't`, `l'été`); outer apostrophes go. Every Han, Hiragana and Katakana character is a token
    of its own, with its combining marks, as are `!`, `?`, every emoji and other symbol (`\p{So}`)
    and every currency sign; `!!!` is three tokens. All else separates and is lost: `3.14` becomes
    `3 14`, `e-mail` `e mail`, `snake_case` `snake case`, `C++` `c`. Hangul, Arabic and all other
    scripts are cut at blanks only, so Thai, Lao, Khmer and Burmese sentences are single words: use
    `character` for them.

    Unit `character`: every character that is not a blank is a token, with its combining marks;
    punctuation stays.

    Not folded: whatever else NFKC would (half-width Katakana, ligatures, circled and superscript
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

    @tf.function(input_signature=[_TEXTS], autograph=False)
    def __call__(self, text: tf.Tensor) -> tf.RaggedTensor:
        values, at = self.cut(text)
        return tf.RaggedTensor.from_value_rowids(
            values, at[:, 0], nrows=tf.shape(text, tf.int64)[0], validate=False
        )  # [B, None]

    def cut(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The tokens, string [N], and where each stands, int64 [N, 2]: text and place in it.

        What a call gives, without the operations that make a ragged tensor of it.
        """
        replace = tf.strings.regex_replace
        text = replace(text, _LINE_BREAK, " ")
        # Decoding is ten times slower than a regular expression, and most Latin texts do not need
        # it. Folding changes nothing in the rows that are left out here (a test holds that).
        rows = tf.where(self._needs_folding(text))  # [F, 1]
        text = tf.cond(
            tf.size(rows) > 0,
            lambda: tf.tensor_scatter_nd_update(text, rows, self._fold(tf.gather_nd(text, rows))),
            lambda: text,
        )
        punctuation = r"\pP\pS" if self.unit == "character" else f"'{_MARKS}"
        text = replace(text, rf"[^\pL\pM\pN {_SYMBOLS}{punctuation}]+", " ")
        if self.lowercase:  # only now: tf.strings.lower ends a text at its first NUL
            text = tf.strings.lower(text, encoding="utf-8")
        if self.unit == "character":
            text = replace(text, r"[^ ]\pM*", r"\0 ")
        else:
            text = replace(text, rf"[{_IDEOGRAPHS}{_SYMBOLS}{_MARKS}]\pM*", r" \0 ")
            # Apostrophes that touch a blank or an end are quotation marks.
            text = replace(text, r"^'+|'+$|'+ [ ']*| [ ]*'[ ']*", " ")
        split = tf.raw_ops.StringSplitV2(input=text, sep="")
        return split.values, split.indices

    def _needs_folding(self, text: tf.Tensor) -> tf.Tensor:
        """Which rows `_fold` would change: bool [B] (a few more do no harm, fewer would)."""
        special = rf"\x{{D800}}-\x{{DFFF}}{_DROPPED}"
        special += "".join(rf"\x{{{code:X}}}" for code in (*_APOSTROPHES, *_BLANK_SYMBOLS))
        if self.fold_width:
            special += r"\x{FF01}-\x{FF5E}"
        if self.unescape_entities:
            special += "&"
        # A row of invalid UTF-8 matches neither pattern, so it is folded.
        simple = tf.strings.regex_full_match(text, f"[^{special}]*")
        emoticon = "|".join(pattern for pattern, _ in _EMOTICONS)
        smiling = tf.strings.regex_full_match(text, f"(?s).*(?:{emoticon}).*")
        return tf.logical_or(tf.logical_not(simple), smiling)

    def _fold(self, text: tf.Tensor) -> tf.Tensor:
        """Entities, emoticons, widths, apostrophes, dropped characters: string [B] to [B]."""
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
            wide = (values >= 0xFF01) & (values <= 0xFF5E)
            values = tf.where(wide, values - 0xFEE0, values)
        for code in _APOSTROPHES:
            values = tf.where(values == code, ord("'"), values)
        for code in _BLANK_SYMBOLS:
            values = tf.where(values == code, _BLANK, values)
        text = tf.strings.unicode_encode(codes.with_flat_values(values), "UTF-8")
        return replace(text, f"[{_DROPPED}]+", "")


class Encoded(NamedTuple):
    """A batch of texts as ids, padded on the right to the longest of them."""

    token_ids: tf.Tensor  # int32 [B, W], W >= 1; PADDING_ID behind each row's end
    lengths: tf.Tensor  # int32 [B], 1 to sequence_length; a text without tokens has one unknown
    num_tokens: tf.Tensor  # int64 [B], before the length limit; 0 for a text without tokens
    num_unknown: tf.Tensor  # int64 [B], among the tokens kept; hashed words count
    truncated: tf.Tensor  # bool [B], the length limit cut something


class _VocabularyInitializer(tf.lookup.TextFileInitializer):
    """Names the table by what the file holds instead of by where it lies.

    Tables of one name are one table within a process. By TensorFlow's own naming a vocabulary
    written anew to the same place would go unseen there, and the place, a path of the machine
    that trained, would stand in every exported graph and make it differ.
    """

    def __init__(self, path: str, **kwargs: Any):
        self._content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        super().__init__(path, **kwargs)

    @property
    def _shared_name(self) -> str:
        return f"vocabulary_{self._content}"


class TextEncoder(tf.Module):
    """Texts to token ids: tokenizer, length limit and vocabulary in one graph.

    Ids: 0 is padding, 1 an unknown word, the word of line i of the vocabulary (from 0) is i + 2,
    and behind the words come `hash_buckets` ids that unknown words share by their hash. Under
    `tf.saved_model.save` the vocabulary becomes an asset, and the original file may go.

    Args:
        tokenizer: what cuts the texts.
        vocabulary_path: a file as `write_vocabulary` writes it.
        sequence_length: the most tokens kept of a text, at least 1.
        keep: which tokens of a longer text stay: "start", "end", or "both" (half of them each;
            the first half has the odd one).
        hash_buckets: how many ids unknown words share; with 0 they are all UNKNOWN_ID.

    Raises:
        ArtifactError: the vocabulary cannot be read, or is empty.
        ValueError: another argument is out of range.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        vocabulary_path: str | os.PathLike[str],
        *,
        sequence_length: int,
        keep: str,
        hash_buckets: int = 0,
    ):
        if sequence_length < 1:
            raise ValueError(f"sequence_length is {sequence_length}; expected at least 1")
        if keep not in ("start", "end", "both"):
            raise ValueError(f"keep is {keep!r}; expected 'start', 'end' or 'both'")
        if hash_buckets < 0:
            raise ValueError(f"hash_buckets is {hash_buckets}; expected at least 0")
        words = read_vocabulary(vocabulary_path)
        if not words:
            raise ArtifactError(
                f"{vocabulary_path}: the vocabulary holds no word; build it from texts that have"
                " tokens, with a lower minimum count"
            )
        super().__init__()
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length
        self.keep = keep
        self.hash_buckets = hash_buckets
        self._first_bucket = _NUM_RESERVED + len(words)
        self.vocabulary_size = self._first_bucket + hash_buckets
        self._head = {"start": sequence_length, "end": 0, "both": (sequence_length + 1) // 2}[keep]
        self.table = tf.lookup.StaticHashTable(
            _VocabularyInitializer(
                os.fspath(vocabulary_path),
                key_dtype=tf.string,
                key_index=tf.lookup.TextFileIndex.WHOLE_LINE,
                value_dtype=tf.int64,
                value_index=tf.lookup.TextFileIndex.LINE_NUMBER,
                vocab_size=len(words),
                value_index_offset=_NUM_RESERVED,
            ),
            default_value=UNKNOWN_ID,
        )

    @tf.function(input_signature=[_TEXTS], autograph=False)
    def __call__(self, text: tf.Tensor) -> Encoded:
        num_texts = tf.shape(text, tf.int64)[0]
        tokens, at = self.tokenizer.cut(text)
        row, position = tf.unstack(at, axis=1)  # int64 [tokens]
        num_tokens = tf.math.unsorted_segment_sum(tf.ones_like(row), row, num_texts)  # int64 [B]
        num_kept = tf.minimum(num_tokens, self.sequence_length)
        is_kept = position < self._head
        if self.keep != "start":
            # What is cut is one piece behind the head, empty in most texts.
            num_cut = tf.gather(num_tokens - num_kept, row)
            is_head, is_kept = is_kept, is_kept | (position >= self._head + num_cut)
            at = tf.stack([row, tf.where(is_head, position, position - num_cut)], axis=1)
        kept = tf.where(is_kept)[:, 0]

        ids = self._look_up(tf.gather(tokens, kept))  # int32 [kept tokens]
        width = tf.maximum(tf.reduce_max(num_kept), 1)
        token_ids = tf.scatter_nd(tf.gather(at, kept), ids, tf.stack([num_texts, width]))  # [B, W]
        unknown = token_ids == UNKNOWN_ID
        if self.hash_buckets:
            unknown |= token_ids >= self._first_bucket
        num_unknown = tf.reduce_sum(tf.cast(unknown, tf.int64), axis=1)
        # A text without tokens becomes one unknown token: a recurrent layer, its pooling and
        # cuDNN are defined for rows of at least one step only.
        empty = tf.cast(num_tokens == 0, tf.int32)[:, tf.newaxis] * (UNKNOWN_ID - PADDING_ID)
        token_ids += tf.pad(empty, [[0, 0], [0, tf.cast(width, tf.int32) - 1]])
        return Encoded(
            token_ids=token_ids,
            lengths=tf.cast(tf.maximum(num_kept, 1), tf.int32),
            num_tokens=num_tokens,
            num_unknown=num_unknown,
            truncated=num_tokens > self.sequence_length,
        )

    def _look_up(self, tokens: tf.Tensor) -> tf.Tensor:
        """Ids of tokens: string [N] to int32 [N]."""
        ids = self.table.lookup(tokens)
        if self.hash_buckets:
            buckets = tf.strings.to_hash_bucket_fast(tokens, self.hash_buckets)
            ids = tf.where(ids == UNKNOWN_ID, self._first_bucket + buckets, ids)
        return tf.cast(ids, tf.int32)


@dataclasses.dataclass(frozen=True)
class TokenCounts:
    """How often each token occurs in a set of texts.

    Attributes:
        counts: token to its number of occurrences.
        num_texts: how many texts were read.
        num_tokens: how many tokens they hold, pruned ones included.
        num_pruned: how many entries were dropped to bound the memory; 0 means that `counts` is
            exact. Otherwise rare tokens are missing and the counts of others may be too small,
            but frequent tokens are there.
    """

    counts: collections.Counter[str]
    num_texts: int
    num_tokens: int
    num_pruned: int


def count_tokens(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    *,
    batch_size: int = 1024,
    prune_above: int = 2_000_000,
) -> TokenCounts:
    """Counts the tokens of texts, which are read once and may be more than fits into memory.

    Memory is bounded: the texts are `grouped`, and whenever more than `prune_above` distinct
    tokens are known, the rarest are dropped until a quarter of the room is free (lossy counting,
    Manku and Motwani 2002).
    """

    @tf.function(input_signature=[_TEXTS], autograph=False)
    def count(batch):
        # Counting within the batch first: only distinct tokens cross over to Python.
        return tf.unique_with_counts(tokenizer(batch).flat_values, out_idx=tf.int64)

    counts: collections.Counter[bytes] = collections.Counter()
    num_texts = num_tokens = num_pruned = 0
    for batch in grouped(texts, batch_size):
        encoded = tf.constant([to_utf8(text) for text in batch])
        tokens, _, batch_counts = (part.numpy() for part in count(encoded))
        for token, token_count in zip(tokens.tolist(), batch_counts.tolist(), strict=True):
            counts[token] += token_count
        num_texts += len(batch)
        num_tokens += int(batch_counts.sum())
        if len(counts) > prune_above:
            num_pruned += _prune(counts, prune_above - prune_above // 4)
    decoded: collections.Counter[str] = collections.Counter()
    while counts:  # emptied on the way: two million tokens need not be there twice
        token, token_count = counts.popitem()
        decoded[token.decode()] = token_count
    return TokenCounts(
        counts=decoded,
        num_texts=num_texts,
        num_tokens=num_tokens,
        num_pruned=num_pruned,
    )


def grouped(
    items: Iterable[_Item], batch_size: int, text_of: Callable[[_Item], str] = str
) -> Iterator[list[_Item]]:
    """Lists of items, short enough that very long texts do not fill the memory.

    A list ends after `batch_size` items or four million characters, whichever comes first.
    """
    batch: list[_Item] = []
    num_characters = 0
    for item in items:
        length = len(text_of(item))
        if batch and (len(batch) == batch_size or num_characters + length > _BATCH_CHARACTERS):
            yield batch
            batch, num_characters = [], 0
        batch.append(item)
        num_characters += length
    if batch:
        yield batch


def _prune(counts: collections.Counter[bytes], max_left: int) -> int:
    """Drops the tokens seen once, then those seen twice, and so on; returns how many went."""
    by_count = collections.Counter(counts.values())
    left, threshold = len(counts), 0
    for threshold in sorted(by_count):
        left -= by_count[threshold]
        if left <= max_left:
            break
    dropped = [token for token, count in counts.items() if count <= threshold]
    for token in dropped:
        del counts[token]
    return len(dropped)


def build_vocabulary(
    counts: collections.Counter[str], *, min_count: int, max_tokens: int
) -> list[str]:
    """The words to keep: the most frequent first, equally frequent ones by their code points.

    Args:
        counts: what `count_tokens` found in the training split, and only there.
        min_count: how often a token must occur to be kept.
        max_tokens: how many are kept at most (padding, unknown and hash buckets come on top).
    """
    words = [token for token, count in counts.items() if count >= min_count]
    words.sort(key=lambda token: (-counts[token], token))
    return words[:max_tokens]


def write_vocabulary(tokens: Iterable[str], path: str | os.PathLike[str]) -> None:
    r"""Writes one token a line, UTF-8, `\n` only.

    Raises:
        ValueError: a token is empty, is there twice, or would not be one line when read again.
    """
    tokens = list(tokens)
    for token in tokens:
        if token.splitlines() != [token]:
            raise ValueError(f"token {token!r} is not one line of text; a Tokenizer makes no such")
    if len(set(tokens)) != len(tokens):
        twice = next(token for token, count in collections.Counter(tokens).items() if count > 1)
        raise ValueError(f"token {twice!r} is twice in the vocabulary; expected each once")
    Path(path).write_bytes("".join(f"{token}\n" for token in tokens).encode())


def read_vocabulary(path: str | os.PathLike[str]) -> list[str]:
    r"""The tokens of a vocabulary file, in order.

    Raises:
        ArtifactError: the file cannot be read, is not UTF-8, or has a line that is no token or
            is there twice.
    """
    try:
        lines = Path(path).read_bytes().decode().split("\n")
    except OSError as error:
        raise ArtifactError(
            f"{path}: the vocabulary cannot be read ({error.strerror}); expected a file with one"
            " token a line, train again to make it"
        ) from error
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"{path}: the vocabulary is not UTF-8 at byte {error.start}; train again to make it"
        ) from error
    if lines[-1] == "":
        lines.pop()
    first_at: dict[str, int] = {}
    for number, token in enumerate(lines, start=1):
        if token in first_at or token.splitlines() != [token]:
            found = f"repeats line {first_at[token]}" if token in first_at else "holds no token"
            raise ArtifactError(
                f"{path}:{number}: the line {found}; expected one token a line, each once, train"
                " again to make the vocabulary"
            )
        first_at[token] = number
    return lines


def token_lengths(texts: Iterable[str], tokenizer: Tokenizer) -> np.ndarray:
    """How many tokens each text has, before any limit: int64 [texts]."""
    lengths = tf.function(
        lambda batch: tokenizer(batch).row_lengths(), input_signature=[_TEXTS], autograph=False
    )
    parts = [
        lengths(tf.constant([to_utf8(text) for text in batch])).numpy()
        for batch in grouped(texts, 1024)
    ]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def read_vectors(
    path: str | os.PathLike[str],
    vocabulary: Sequence[str],
    *,
    dim: int,
    hash_buckets: int = 0,
    seed: int = 0,
) -> tuple[np.ndarray, int]:
    """Initial token vectors from a GloVe, word2vec or fastText text file.

    A line is a token and `dim` numbers, with blanks between; a first line of two numbers (word2vec,
    fastText) is passed over. Tokens without a vector begin at random, as wide as those found.

    Args:
        path: UTF-8 text; read as a stream.
        vocabulary: the tokens, in the order of their ids.
        dim: numbers in a vector.
        hash_buckets: ids behind the vocabulary's.
        seed: of the random vectors.

    Returns:
        float32 [2 + vocabulary + hash_buckets, dim], and how many tokens of the vocabulary have
        a vector in the file.

    Raises:
        DataError: the file cannot be read, a line does not hold `dim` numbers, or no token of
            the vocabulary is in it.
    """
    rows = {token: row for row, token in enumerate(vocabulary, start=_NUM_RESERVED)}
    found: dict[int, np.ndarray] = {}
    number = 0
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                # From the right: a token of some files holds blanks itself.
                fields = line.rstrip(" \r\n").rsplit(" ", dim)
                if number == 1 and len(line.split()) == 2:
                    continue
                row = rows.get(fields[0])
                if len(fields) == dim + 1 and row is None:
                    continue
                vector = np.array(fields[1:], np.float32)
                if len(vector) != dim or " " in fields[0]:
                    raise ValueError
                if row is not None and row not in found:  # the first of equal tokens counts
                    found[row] = vector
    except OSError as error:
        raise DataError(
            f"{path}: the vectors cannot be read ({error.strerror}); model.embedding_vectors must "
            "be a GloVe, word2vec or fastText text file"
        ) from None
    except ValueError:
        raise DataError(
            f"{path}:{number}: expected a token and {dim} numbers, found "
            f"{len(line.split()) - 1} fields after the token; set model.embedding_dim to the width "
            "of the vectors"
        ) from None
    if not found:
        raise DataError(
            f"{path}: holds no token of the vocabulary; give vectors of the language and the "
            "case of the texts (text.lowercase)"
        )
    spread = float(np.std(np.stack(list(found.values()))))
    size = _NUM_RESERVED + len(vocabulary) + hash_buckets
    matrix = np.random.default_rng(seed).normal(0, spread, (size, dim)).astype(np.float32)
    matrix[PADDING_ID] = 0
    for row, vector in found.items():
        matrix[row] = vector
    return matrix, len(found)
