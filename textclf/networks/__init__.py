"""Token ids to logits: recurrent encoders, poolings, and the networks made of them.

    token_ids [B, T] ── embedding ── recurrent layers ── pooling ── dense ──┐
        │                                                                   + ── logits [B, C]
        └── hashed 1-, 2- and 3-grams (`ngram_buckets` > 0) ────────────────┘

B texts, T token positions, E = embedding_dim, D = features of one position after the encoder,
C classes. Rows are padded on the right, and `lengths` says how many positions of each row are
real (at least one). **Padding and the other rows of a batch change nothing**, although no layer
is given a mask:

- Forward, the padding comes after the real tokens, so it cannot touch their outputs.
- Backward, a row is first reversed *within its own length*. Reversing the whole row, as
  `keras.layers.Bidirectional` does without a mask, would read the padding first:

      row            [a b c 0 0]     length 3
      whole row      [0 0 c b a]     the state is spoilt before the first real token
      within length  [c b a 0 0]     what `tf.reverse_sequence` gives; undone after the layer

- The outputs at padded positions are meaningless, and every pooling leaves them out.

This is exact for every real position, faster than masking on a CPU, and free of the assertions
about masks that cuDNN kernels bring along.
"""

from textclf.networks.initial import INITIALIZERS
from textclf.networks.layers import BidirectionalWithinLengths, HashedNgrams
from textclf.networks.network import ENCODERS, Network, build, portable
from textclf.networks.poolings import (
    POOLINGS,
    AttentionPooling,
    LastPooling,
    MaxMeanPooling,
    MaxPooling,
    MeanPooling,
    Pooling,
)

__all__ = [
    "ENCODERS",
    "INITIALIZERS",
    "POOLINGS",
    "AttentionPooling",
    "BidirectionalWithinLengths",
    "HashedNgrams",
    "LastPooling",
    "MaxMeanPooling",
    "MaxPooling",
    "MeanPooling",
    "Network",
    "Pooling",
    "build",
    "portable",
]
