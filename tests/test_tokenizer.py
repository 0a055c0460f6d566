"""Tokenizer: tokens of ordinary, foreign and broken texts."""

import itertools
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from texts import ANY_BYTES, DEFAULTS, WEIRD, tokenize, tokenizer, words

from textclf import text
from textclf.text import tokenizer as implementation


@pytest.mark.parametrize("value", WEIRD, ids=repr)
def test_unusual_texts_have_the_expected_tokens(value):
    assert words(value) == WEIRD[value]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("don't", ["don't"]),
        ("don’t don‘t donʼt don`t don´t don\x92t", ["don't"] * 6),
        ("‘good’ ’tis dogs’", ["good", "tis", "dogs"]),
        ("'good' ''film'' '!'", ["good", "film", "!"]),
        ("rock 'n' roll", ["rock", "n", "roll"]),
        ("'' ' ''' good ' '", ["good"]),
        ("L'Été", ["l'été"]),
        ("'好'a'", ["好", "a"]),
    ],
)
def test_words_keep_only_inner_apostrophes(value, expected):
    assert words(value) == expected


@pytest.mark.parametrize(
    ("value", "emoji"),
    [
        (":) :-) =) :)) ：） ：))", "🙂"),
        (";) ;-) ;-))", "😉"),
        (":( :-( =( :(( :-((", "🙁"),
        (":'( :’( :'-(", "😢"),
        ("T_T", "😢"),
        (":D :-D =D ;D XD xD XDDD", "😄"),
        (":P :p :-P =P ;p", "😛"),
        (":o :O :-o", "😮"),
        (":/ :-/ =/ :\\", "😕"),
        ("<3 <333", "❤"),
        ("^_^ ^.^ ^^", "😊"),
    ],
)
def test_emoticons_become_emoji(value, emoji):
    for emoticon in value.split():
        # Alone, repeated, and next to characters that may follow or precede it.
        assert words(emoticon) == [emoji]
        assert words(f"{emoticon} {emoticon}\n{emoticon}") == [emoji] * 3
        assert words(f"Good. {emoticon}\nFilm") == ["good", emoji, "film"]
        assert words(f'"{emoticon}! {emoticon}? {emoticon}"') == [emoji, "!", emoji, "?", emoji]
        assert words(f"好{emoticon}，好{emoticon}") == ["好", emoji, "好", emoji]
        assert words(f"GOOD {emoticon}", unit="character", lowercase=False)[-2:] == ["D", emoji]


def test_smiles_and_frowns_are_replaced_directly_after_a_word():
    assert words("Good:) bad:( bad:-(! GOOD:-)") == [
        *("good", "🙂", "bad", "🙁", "bad", "🙁", "!", "good", "🙂"),
    ]


@pytest.mark.parametrize(
    "value",
    [
        *(
            "http://a.b/c",
            "https://a",
            "8:0",
            "10:30",
            "1:(a)",
            "(a) 2:(b)",
            "(:",
            "C:\\dir C:\\ a",
        ),
        *(
            "::Discuss",
            "note:Paris",
            "a :Place",
            ":Over",
            "12:P",
            "x=(a)",
            "x=( a )",
            "f(x=)",
            "std::pair",
        ),
        *(
            "x<3",
            "<30",
            "<3x",
            "^",
            "a^b^c",
            "：（一）",
            "如下:(一)",
            "AXD",
            "XDA",
            "vitamin:D",
            "key:P",
            "x:o",
            "it_T_Ta",
        ),
        *(
            "said:'(what)'",
            ":-",
            "a=/b",
            "a==(b)",
            "x =-(b)",
            ":-(a",
            ":/a",
            "://a",
            "key=d",
            ";",
            "f();",
            "&amp;)",
            "&quot;)",
        ),
    ],
)
def test_addresses_times_and_formulas_contain_no_emoticons(value):
    emoji = {rewrite.split()[0] for _, rewrite in implementation._EMOTICONS}
    assert not emoji & set(words(value)), words(value)
    assert not emoji & set(words(value, unescape_entities=False))


def test_html_entities_are_unescaped_once():
    value = "&lt;b&gt; &amp; &quot;q&quot; it&apos;s it&#39;s &#34; &amp;lt; &nbsp;"
    character = {"unit": "character", "lowercase": False}
    assert "".join(words(value, **character)) == '<b>&"q"it\'sit\'s"&lt;&nbsp;'
    off = {"unescape_entities": False}
    assert "".join(words(value, **character, **off)) == value.replace(" ", "")
    assert words("I &lt;3 it&#39;s &lt;br /&gt;") == ["i", "❤", "it's"]
    assert words("it&#39;s", **off) == ["it", "39", "s"]


def test_tokenizer_settings_can_be_switched_off():
    assert words("ÀÉ Good", lowercase=False) == ["ÀÉ", "Good"]
    assert words("ＧＯＯＤ！ａ　？", fold_width=False) == ["ｇｏｏｄ", "！", "ａ", "？"]
    assert words("a＇b") == ["a'b"]
    assert words("a＇b don’t", fold_width=False) == ["a", "b", "don't"]
    assert words("&lt;", unescape_entities=False) == ["lt"]


def test_character_unit_makes_every_character_a_token():
    assert tokenize("！", "～", unit="character") == [["!"], ["~"]]  # the range's two ends
    assert words("Good, 好！ 3.14 'x'", unit="character") == list("good,好!3.14'x'")
    assert words("cafe\u0301 か\u3099 हिन्दी", unit="character") == [
        *("c", "a", "f", "e\u0301", "か\u3099", "हि", "न्", "दी"),
    ]
    assert words("a\x00b\u2028c\u200bd\x85\ue000❤️👍🏽\ufffd", unit="character") == list("abcd❤👍")
    assert words("<br />:)ＡＢ’", unit="character") == ["🙂", "a", "b", "'"]
    assert words("", unit="character") == []


def test_an_unknown_unit_is_refused():
    with pytest.raises(ValueError, match="'words'; expected 'word' or 'character'"):
        text.Tokenizer(**{**DEFAULTS, "unit": "words"})


# Categories that no token may contain: control, format, surrogate, private use, separators.
# (Unassigned characters are left out: this Python and RE2 have different versions of Unicode.)
FORBIDDEN = {"Cc", "Cf", "Cs", "Co", "Zs", "Zl", "Zp"}
UNITS = st.sampled_from(["word", "character"])


@settings(max_examples=80, deadline=None)
@given(st.lists(ANY_BYTES, min_size=1, max_size=8), UNITS, st.booleans(), st.booleans())
def test_tokens_are_one_line_without_control_or_separator_characters(
    values, unit, lowercase, fold_width
):
    rows = tokenize(*values, unit=unit, lowercase=lowercase, fold_width=fold_width)
    for token in itertools.chain.from_iterable(rows):  # tokenize() has decoded it: valid UTF-8
        assert not FORBIDDEN & {unicodedata.category(character) for character in token}, token
        assert token.splitlines() == [token]
        assert token.split() == [token]


@settings(max_examples=80, deadline=None)
@given(st.lists(ANY_BYTES, min_size=1, max_size=8), UNITS, st.booleans())
def test_tokenizing_a_token_returns_the_same_token(values, unit, fold_width):
    # Lower-cased only: "X\u00adD" gives the token "XD", which as a text is an emoticon.
    changed = {"unit": unit, "fold_width": fold_width}
    rows = tokenize(*values, **changed)
    assert tokenize(*(" ".join(row) for row in rows), **changed) == rows
    tokens = sorted({token for row in rows for token in row})
    assert tokenize(*tokens, **changed) == [[token] for token in tokens]


@settings(max_examples=80, deadline=None)
@given(st.lists(ANY_BYTES, min_size=1, max_size=8), st.booleans(), st.booleans())
@example([text.to_utf8("\ud83d")], True, True)  # RE2 accepts half a pair as a character
def test_folding_would_not_change_texts_without_folding(values, fold_width, unescape_entities):
    one = tokenizer(fold_width=fold_width, unescape_entities=unescape_entities)
    batch = tf.constant(values, tf.string)
    changes = (one._fold(batch) != batch).numpy()
    assert not np.any(changes & ~one._needs_folding(batch).numpy())


@pytest.mark.parametrize(("unit", "kept"), [("word", "LN"), ("character", "LNPS")])
def test_every_unicode_character_is_kept_or_removed_by_its_category(unit, kept):
    categories = {chr(code): unicodedata.category(chr(code)) for code in range(0xF0000)}
    assigned = [character for character, category in categories.items() if category != "Cn"]
    assert len(assigned) > 140_000
    rows = words(
        " ".join(f"x{it}y" for it in assigned), unit=unit, lowercase=False, fold_width=False
    )
    kept_characters = set("".join(rows))
    assert not FORBIDDEN & {categories.get(character) for character in kept_characters}
    if unit == "word":
        kinds = {character: categories.get(character, "Cn") for character in kept_characters}
        assert {it for it, kind in kinds.items() if kind[0] == "P"} == set("'!?؟‼⁇⁈⁉！？")
        assert "Sm" not in kinds.values()
    lost = {
        character
        for character in assigned
        if (categories[character][0] in kept or categories[character] in ("So", "Sc"))
        and character not in kept_characters
    }
    # Apostrophes become ', three symbols become blanks, skin tones are dropped.
    apostrophes = {chr(code) for code in implementation._APOSTROPHES}
    # Unicode 15.1: assigned in Python 3.13, but not in the regular expressions of TensorFlow.
    newer = {*range(0x2EBF0, 0x2EE5E), *range(0x2FFC, 0x3000), 0x31EF}
    lost -= apostrophes | set("🏻🏼🏽🏾🏿") | {chr(code) for code in newer}
    assert lost == {"\u2800", "\ufffc", "\ufffd"}


def test_chunks_end_at_the_number_of_texts_or_of_characters():
    sizes = [10, 10, 10, 3_999_990, 10, 1, 5_000_000, 9_000_000, 1]
    chunks = list(text.chunk_texts(("x" * size for size in sizes), 2))
    assert [[len(value) for value in chunk] for chunk in chunks] == [
        *([10, 10], [10, 3_999_990], [10, 1], [5_000_000], [9_000_000], [1]),
    ]


def test_chinese_reviews_have_one_token_per_character(real_data):
    lines = (real_data / "data/chnsenticorp/train.tsv").read_text("utf-8").splitlines()[1:2001]
    texts = [line.split("\t", 1)[1] for line in lines]
    counted = text.count_tokens(texts, tokenizer())
    han = sum("\u4e00" <= character <= "\u9fff" for value in texts for character in value)
    assert counted.num_texts == 2000
    assert han < counted.num_tokens < 1.15 * han
    assert [len(token) for token, _ in counted.counts.most_common(50)] == [1] * 50
    assert counted.counts.most_common(1)[0][0] == "的"
    assert counted.counts["!"] > 500, "full-width exclamation marks must be folded"
