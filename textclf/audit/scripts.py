"""Scripts of texts: Latin, Han, Cyrillic and so on, by the letters at their beginning."""

import collections
from collections.abc import Sequence

import numpy as np

from textclf.data.recognition.scripts import script_of_letter

_MAX_CHARACTERS = 200  # of a text
_NO_LETTER, _UNSEEN = 0, 255
# Names for users; Japanese texts mix kana and Han.
_NAMES = {"cjk": "han", "hiragana": "kana", "katakana": "kana"}


class ScriptCounts:
    """Counts of texts by the script of most of their letters.

    A text with some kana counts as `kana`, and one without a letter as `none`.
    """

    def __init__(self) -> None:
        self._names = ["none"]
        # Code point → index of its script; filled when a character is seen.
        self._scripts = np.full(0x110000, _UNSEEN, np.uint8)

    def scripts_of(self, texts: Sequence[str]) -> list[str]:
        """Return the script of each text."""
        cut = [text[:_MAX_CHARACTERS] for text in texts]
        codes = np.frombuffer("".join(cut).encode("utf-32-le", "surrogatepass"), np.uint32)
        self._learn(codes)
        rows = np.repeat(np.arange(len(cut)), [len(text) for text in cut])
        scripts = self._scripts[codes].astype(np.int64)
        width = len(self._names)
        counts = np.bincount(rows * width + scripts, minlength=len(cut) * width)
        counts = counts.reshape(len(cut), width)
        counts[:, _NO_LETTER] = 0
        if "kana" in self._names:
            kana = self._names.index("kana")
            is_japanese = counts[:, kana] * 6 > counts.sum(axis=1)
            counts[is_japanese, kana] = _MAX_CHARACTERS + 1
        return [self._names[index] for index in counts.argmax(axis=1).tolist()]

    def count(self, texts: Sequence[str]) -> collections.Counter[str]:
        """Return script → number of texts."""
        return collections.Counter(self.scripts_of(texts))

    def _learn(self, codes: np.ndarray) -> None:
        for code in np.unique(codes[self._scripts[codes] == _UNSEEN]).tolist():
            character = chr(code)
            name = "none"
            if character.isalpha():
                name = script_of_letter(character)
                name = _NAMES.get(name, name)
            if name not in self._names and len(self._names) < _UNSEEN:
                self._names.append(name)
            self._scripts[code] = self._names.index(name) if name in self._names else _NO_LETTER
