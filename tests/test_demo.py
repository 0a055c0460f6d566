"""Demo data: reproducible, without leaks, balanced, and too hard for a linear model."""

import hashlib
import itertools
import os
import re
import subprocess
import sys
import unicodedata
from collections import Counter

import pytest

from textclf import demo

HAN = re.compile(r"[\u4e00-\u9fff]")
TOKEN = re.compile(r"[\u4e00-\u9fff]|[a-z0-9'-]+")
NUM_EXAMPLES = {"train": 6000, "validation": 1000, "test": 1000}


def tokens(text: str) -> list[str]:
    """Return the words in lower case; every Han character is one token."""
    return TOKEN.findall(text.lower())


def normalise(text: str) -> str:
    """Return the text without case and final mark."""
    return unicodedata.normalize("NFKC", text).casefold().rstrip(".!\u3002")


@pytest.fixture(scope="module")
def draws() -> dict[tuple[int, str], list[tuple[str, str]]]:
    """Return all examples by seed and split."""
    return {
        (seed, split): list(demo.examples(split, seed=seed))
        for seed, split in itertools.product(range(5), demo.NUM_EXAMPLES)
    }


@pytest.fixture(scope="module")
def splits(draws) -> dict[str, list[tuple[str, str]]]:
    """Return the examples of seed 0 by split."""
    return {split: draws[0, split] for split in demo.NUM_EXAMPLES}


# === Reproducible ===

DIGEST_PROGRAM = """
import hashlib, sys
from textclf import demo
digest = hashlib.sha256()
for split in demo.NUM_EXAMPLES:
    for example in demo.examples(split, seed=3):
        digest.update(repr(example).encode())
heavy = {"numpy", "tensorflow", "keras", "sklearn"} & set(sys.modules)
print(digest.hexdigest(), sorted(heavy))
"""


def test_demo_texts_are_equal_in_all_processes_and_need_no_heavy_import(draws):
    outputs = set()
    for hash_seed in ("0", "1", "4242"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        run = subprocess.run(
            [sys.executable, "-c", DIGEST_PROGRAM],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        outputs.add(run.stdout)
    digest = hashlib.sha256()
    for split in demo.NUM_EXAMPLES:
        for example in draws[3, split]:
            digest.update(repr(example).encode())
    assert outputs == {f"{digest.hexdigest()} []\n"}


def test_demo_seeds_give_different_texts_and_default_to_zero():
    first = list(itertools.islice(demo.examples("test"), 20))
    assert first == list(itertools.islice(demo.examples("test", seed=0), 20))
    assert first != list(itertools.islice(demo.examples("test", seed=1), 20))


def test_two_iterators_over_demo_texts_are_independent(splits):
    one, other = demo.examples("train"), demo.examples("train")
    for expected in splits["train"][:30]:
        assert next(one) == next(other) == expected


@pytest.mark.parametrize("split", ["dev", "", "Train"])
def test_an_unknown_demo_split_is_refused_at_the_call(split):
    with pytest.raises(ValueError, match=f"no split {split!r}; it has train, validation, test"):
        demo.examples(split)


# === Balanced ===


def test_demo_classes_and_languages_have_fixed_shares_in_every_hundred_texts(splits):
    assert {split: len(examples) for split, examples in splits.items()} == NUM_EXAMPLES
    for examples in splits.values():
        for start in range(0, len(examples), 100):
            counts = Counter(
                (bool(HAN.search(text)), label) for text, label in examples[start : start + 100]
            )
            assert counts == {
                (False, "negative"): 30, (False, "positive"): 30,
                (True, "negative"): 20, (True, "positive"): 20,
            }  # fmt: skip


def test_order_of_demo_labels_has_no_pattern(splits):
    blocks = {
        tuple(label for _, label in splits["train"][start : start + 10])
        for start in range(0, 6000, 10)
    }
    assert len(blocks) > 150  # 252 orders of five and five exist


# === No leaks ===


def test_demo_texts_are_unique_across_splits_and_seeds_without_case_and_final_mark(draws):
    texts = {key: {normalise(text) for text, _ in examples} for key, examples in draws.items()}
    for (_, split), unique in texts.items():
        assert len(unique) == NUM_EXAMPLES[split]
    for ((_, split), one), ((_, other_split), other) in itertools.combinations(texts.items(), 2):
        assert split == other_split or not one & other


def test_neutral_words_of_the_demo_differ_between_splits(splits):
    fillers = {
        split: {token for table in tables.values() for word in table for token in tokens(word)}
        for split, tables in demo.FILLERS.items()
    }
    assert all(len(words) > 40 for words in fillers.values())
    for one, other in itertools.combinations(demo.NUM_EXAMPLES, 2):
        assert not fillers[one] & fillers[other]

    def used(split: str) -> set[str]:
        return {word for text, _ in splits[split] for word in re.findall("[a-z0-9]+", text.lower())}

    for split, other in itertools.permutations(demo.NUM_EXAMPLES, 2):
        english = {word for word in fillers[split] if word.isascii()}
        assert english <= used(split), "every neutral word must be used for this test to be valid"
        assert not english & used(other)
        numbers = {word for word in used(split) if word.isdecimal()}
        assert len(numbers) > 100
        assert not numbers & used(other)


def test_most_numbers_in_demo_texts_occur_once(splits):
    counts = Counter(
        word for text, _ in splits["train"] for word in tokens(text) if word.isdecimal()
    )
    assert sum(count == 1 for count in counts.values()) > 500


# === Well written ===


def test_demo_texts_have_no_unfilled_slot_and_the_punctuation_of_their_language(splits):
    for text, _ in itertools.chain.from_iterable(splits.values()):
        assert not re.search(r"[\[\]<>{}|+]", text), text
        assert text == text.strip() and "  " not in text and not re.search(r"\s[,.!]", text), text
        if HAN.search(text):
            assert re.fullmatch(r"[\u4e00-\u9fff0-9\uff0c\u3002\uff01]+", text), text
        else:
            assert re.fullmatch(r"[A-Za-z0-9 ,.!'-]+", text), text
            assert not re.search(r"\b[Aa] [aeio]|\b[Aa]n [^aeiou]|\b[Aa]n use", text), text


def test_frame_and_cue_of_demo_texts_are_often_ten_words_apart(splits):
    frame = re.compile(
        "(?:what i expected|i would (?:not|always) say|i was not in|nobody|everybody|it is .*true,"
        "|i (?:never|often) thought|there was|we did)(.*)"
    )
    for examples in splits.values():
        matches = [frame.match(text.lower()) for text, _ in examples]
        distant = [match for match in matches if match and len(tokens(match[1])) >= 10]
        assert len(distant) >= 0.12 * len(examples)


def test_demo_texts_are_short_and_of_many_lengths(splits):
    lengths = sorted(len(tokens(text)) for text, _ in splits["train"])
    assert lengths[0] == 1
    assert 12 <= lengths[len(lengths) // 2] <= 20
    assert lengths[-1] <= 60


# === Labels ===

NEGATIVE = "bad|poor|terrible|awful|boring|slow|差|糟|烂|难看|难吃"
POSITIVE = "good|nice|great|excellent|funny|fast|好|棒|赞|好看|好吃"
THING = "(?:(?:it|(?:the|this) [a-z]+) )"
# Every pattern has one cue; the text has the polarity of that cue (SAME) or the opposite one.
SAME = [
    "(?:really |so )?CUE",
    "a CUE [a-z]+",
    f"{THING}(?:is|was) (?:really |so |very )?CUE",
    "[a-z]+ at first, then CUE(?:, .*)?",
    "CUE in the end, (?:but|though) [a-z]+ at first(?:, .*)?",
    "what i expected to be CUE,? .*turned out to be exactly that",
    "i would always say, .* was CUE",
    "i was not in a hurry, .* was CUE",
    "a CUE [a-z]+, said my friends.* i fully agree",
    "everybody called it CUE, .*",
    "[^不没]{0,4}(?:很|非常|真)CUE",
    ".{0,4}开始很.{1,4},后来很CUE",
    ".{0,4}后来很CUE,虽然.*",
    "本来以为.*会很CUE,.*果然如此",
    "大家说.{1,4}很CUE。.*我也完全同意",
]
OPPOSITE = [
    f"(?:{THING}(?:is|was) )?not (?:really |very |that )?CUE(?: at all)?",
    "not a CUE [a-z]+(?: at all)?",
    f"{THING}(?:isn't|wasn't) (?:that )?CUE(?: at all)?",
    "CUE at first, then .*",
    ".* in the end, (?:but|though) CUE at first(?:, .*)?",
    "what i expected to be CUE,? .*turned out to be anything but",
    "i would not say, .* was CUE",
    "i would not say, .* was CUE, but i was in a hurry",
    "a CUE [a-z]+, said my friends.* i cannot agree",
    "nobody called it CUE, .*",
    ".{0,4}一点(?:也|都|儿也)不CUE",
    ".{0,4}(?:不|并不|不太)CUE",
    ".{0,4}开始很CUE,后来很.*",
    "本来以为.*会很CUE,.*完全相反",
    "大家说.{1,4}很CUE。.*我完全不同意",
]


@pytest.fixture(scope="module")
def labels(draws) -> dict[str, str]:
    """Return the label of every normalised text of all seeds; a text has one label only."""
    labels: dict[str, str] = {}
    for text, label in itertools.chain.from_iterable(draws.values()):
        assert labels.setdefault(normalise(text), label) == label, text
    return labels


@pytest.mark.parametrize("pattern", SAME)
def test_an_unreversed_cue_determines_the_demo_label(labels, pattern):
    assert_labels(labels, pattern, negative="negative", positive="positive")


@pytest.mark.parametrize("pattern", OPPOSITE)
def test_a_reversed_cue_gives_the_opposite_demo_label(labels, pattern):
    assert_labels(labels, pattern, negative="positive", positive="negative")


def assert_labels(labels: dict[str, str], pattern: str, **expected: str) -> None:
    for polarity, cues in (("negative", NEGATIVE), ("positive", POSITIVE)):
        rule = re.compile(pattern.replace("CUE", f"(?:{cues})"))
        matching = {text: label for text, label in labels.items() if rule.fullmatch(text)}
        assert matching, f"no text with a {polarity} cue matches"
        assert {t: label for t, label in matching.items() if label != expected[polarity]} == {}


def test_common_short_opinions_of_the_demo_have_correct_labels(labels):
    expected = dict.fromkeys(
        ["i loved it", "i liked it", "i enjoyed it", "i love it", "i like it", "good", "great",
         "perfect", "not bad", "not bad at all", "it is good", "it was great", "a good film",
         "five stars", "buy it", "不错", "很好", "很喜欢", "不差", "一点也不差", "推荐"],
        "positive",
    ) | dict.fromkeys(
        ["i hated it", "i disliked it", "i hate it", "bad", "terrible", "awful", "boring",
         "not good", "not good at all", "it is bad", "it was awful", "a bad film", "one star",
         "avoid it", "不好", "很差", "不喜欢", "不推荐", "一点也不好", "没意思"],
        "negative",
    )  # fmt: skip
    common = {text: label for text, label in labels.items() if text in expected}
    assert len(common) > 25
    assert {text: label for text, label in common.items() if label != expected[text]} == {}


# === Too hard for a linear model ===


def test_a_linear_model_of_words_and_pairs_cannot_solve_the_demo(splits):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts = {split: [text for text, _ in examples] for split, examples in splits.items()}
    y_true = {split: [label for _, label in examples] for split, examples in splits.items()}
    vectorizer = TfidfVectorizer(
        tokenizer=tokens, token_pattern=None, ngram_range=(1, 2), sublinear_tf=True, min_df=2
    )
    features = vectorizer.fit_transform(texts["train"])
    model = LogisticRegression(C=10, max_iter=1000).fit(features, y_true["train"])
    accuracy = {
        split: model.score(vectorizer.transform(texts[split]), y_true[split])
        for split in ("validation", "test")
    }
    # An LSTM has more than 0.95. Plain texts are meant to be easy for both.
    assert 0.55 < accuracy["validation"] < 0.72
    assert 0.55 < accuracy["test"] < 0.72
