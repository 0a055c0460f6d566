"""Text graph: strings to token ids, in operations of core TensorFlow only.

The same graph serves training, prediction and the exported SavedModel, so a text has the same ids
everywhere. Any text is answered: empty, a megabyte, invalid UTF-8, emoji, Chinese.

    tokenizer.py    Tokenizer: strings to tokens
    vocabulary.py   count the tokens of a training split; build, write and read the vocabulary
    encoder.py      TextEncoder: strings to padded token ids; number of tokens of each text
    ngrams.py       character n-grams of tokens, hashed
    vectors.py      pre-trained vectors of the tokens of a vocabulary
"""

from textclf.text.encoder import Encoded, TextEncoder, token_lengths
from textclf.text.ngrams import SUBWORDS_PER_TOKEN, NgramBlock, subwords_of_vocabulary
from textclf.text.tokenizer import Tokenizer, chunk_texts, to_utf8
from textclf.text.vectors import read_vectors
from textclf.text.vocabulary import (
    NUM_RESERVED,
    PADDING_ID,
    UNKNOWN_ID,
    TokenCounts,
    build_vocabulary,
    count_tokens,
    read_vocabulary,
    write_vocabulary,
)

__all__ = [
    "NgramBlock",
    "NUM_RESERVED",
    "PADDING_ID",
    "SUBWORDS_PER_TOKEN",
    "UNKNOWN_ID",
    "Encoded",
    "TextEncoder",
    "TokenCounts",
    "Tokenizer",
    "build_vocabulary",
    "chunk_texts",
    "count_tokens",
    "read_vectors",
    "read_vocabulary",
    "subwords_of_vocabulary",
    "to_utf8",
    "token_lengths",
    "write_vocabulary",
]
