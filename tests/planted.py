"""Texts with planted near-duplicates for tests of the audit."""

import random

_TEXT = """
the room was clean and quiet but breakfast took far too long for a hotel of this price we asked
twice whether somebody could repair the heating before evening nobody came until next morning staff
at reception smiled wrote down our number promised much delivered little still view over harbour
made up for some of it and beds were soft enough after long walks through narrow streets full of
cafes music bicycles children laughing loudly near an old fountain
"""
WORDS = _TEXT.split()
CHARACTERS = "房间很干净也安静但是早餐等了太久我们问过两次是否可以修理暖气没有人来前台微笑记下号码答应很多做得少"


def sentence(seed: int, length: int = 20) -> str:
    """Return an English text; texts of different seeds share few n-grams."""
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) + str(draw.randrange(100)) * (draw.random() < 0.3)
                    for _ in range(length))  # fmt: skip


def chinese(seed: int, length: int = 50) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice(CHARACTERS) for _ in range(length))


def edited(parts: list[str], seed: int, share: float = 0.1) -> list[str]:
    """Return parts after a share of them is replaced by `xy` and a number."""
    draw = random.Random(seed)
    places = draw.sample(range(len(parts)), round(share * len(parts)))
    return [f"xy{i}" if i in places else part for i, part in enumerate(parts)]
