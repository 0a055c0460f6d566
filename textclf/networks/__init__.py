"""Networks: features of texts to logits.

    token_ids [R, T] ── embedding ── stack ── pooling ── dense ── logits [B, C]
                        └──── Encoder ───┘    └──── Head ───┘

R rows, one for each of B texts; T token positions, E = embedding_dim, D = features of a position
after the encoder, C classes. Rows are padded on the right, and `lengths` holds the number of real
positions of each row (at least one). **Padding and the other rows of a batch change nothing**,
although no layer has a mask:

- Forward, the padding comes after the real tokens, so it cannot affect their outputs.
- Backward, a row is first reversed *within its own length*. Reversing the whole row, as
  `keras.layers.Bidirectional` does without a mask, would read the padding first:

      row            [a b c 0 0]     length 3
      whole row      [0 0 c b a]     the padding changes the state before the first real token
      within length  [c b a 0 0]     as `tf.reverse_sequence` does; undone after the layer

- Outputs at padded positions are meaningless, and every pooling ignores them.

This is exact at every real position, faster than masking on a CPU, and free of the assertions
about masks that cuDNN kernels need.
"""

from textclf.networks.cudnn import Obstacle, cudnn_obstacles, recurrent_layers
from textclf.networks.encoder import ENCODERS, BidirectionalWithinLengths, Encoder
from textclf.networks.features import Features
from textclf.networks.head import POOLINGS, Head, Pooling
from textclf.networks.inference import ServingNetwork, check_portable
from textclf.networks.initializers import INITIALIZERS
from textclf.networks.language_model import (
    Candidates,
    Compared,
    LanguageModelHead,
    sampled_losses,
)
from textclf.networks.network import Architecture, Network, build
from textclf.networks.plugin import PluginEncoder, check_padding_invariance, is_plugin

__all__ = [
    "ENCODERS",
    "INITIALIZERS",
    "POOLINGS",
    "Architecture",
    "BidirectionalWithinLengths",
    "Candidates",
    "Compared",
    "Encoder",
    "Features",
    "Head",
    "LanguageModelHead",
    "Network",
    "Obstacle",
    "PluginEncoder",
    "Pooling",
    "ServingNetwork",
    "build",
    "check_padding_invariance",
    "check_portable",
    "cudnn_obstacles",
    "is_plugin",
    "recurrent_layers",
    "sampled_losses",
]
