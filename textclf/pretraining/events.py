"""Events of the training of a language model, in the order in which they happen."""

from pathlib import Path

import msgspec


class Started(msgspec.Struct, frozen=True):
    """Texts and network are ready.

    Attributes:
        num_texts, num_tokens: trained texts and their tokens.
        num_removed: texts left out because they are in validation or test.
        num_held_out: tokens of the held-out texts.
        vocabulary_size: number of token ids.
        num_weights: number of scalars in the language model.
        directions: "forward", or "forward" and "backward".
        steps_per_epoch: steps of one pass.
        total_steps: steps of all passes.
        step: steps done before; 0 unless the training continues.
        num_measurements: times that the perplexity will be computed.
        notices: sentences for the user.
    """

    num_texts: int
    num_tokens: int
    num_removed: int
    num_held_out: int
    vocabulary_size: int
    num_weights: int
    directions: tuple[str, ...]
    steps_per_epoch: int
    total_steps: int
    step: int
    num_measurements: int
    notices: tuple[str, ...]


class Step(msgspec.Struct, frozen=True):
    """One step is done.

    Attributes:
        epoch: from 1.
        step: from 1, within the epoch.
        steps_per_epoch: see `Started`.
        loss: sampled loss of the step, in nats a token. It is below the logarithm of the
            perplexity, because each target is compared with some wrong tokens only.
        mean_loss: its mean over the epoch so far.
    """

    epoch: int
    step: int
    steps_per_epoch: int
    loss: float
    mean_loss: float


class Measured(msgspec.Struct, frozen=True):
    """The perplexity on the held-out texts is computed.

    Attributes:
        epoch: from 1.
        share: of the epoch that is done, above 0 and up to 1.
        loss: mean sampled loss of the epoch so far.
        perplexity: direction -> perplexity.
        seconds: duration of the epoch so far.
    """

    epoch: int
    share: float
    loss: float
    perplexity: dict[str, float]
    seconds: float


class Finished(msgspec.Struct, frozen=True):
    """The folder is written.

    Attributes:
        folder: its path.
        perplexity: direction -> perplexity at the end.
        was_finished: whether it was finished before.
    """

    folder: Path
    perplexity: dict[str, float]
    was_finished: bool = False


Event = Started | Step | Measured | Finished
