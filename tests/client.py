"""Client in Python that needs only TensorFlow, of any version.

    python tests/client.py saved_models/demo/1

Classifies the golden texts of an export one by one and in one batch, and fails if an answer differs
from the stored one.
Run by the tox environments `client-new` and `client-tf2.16`.
"""

import base64
import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf


def main(folder: str) -> None:
    golden = json.loads((Path(folder) / "assets.extra" / "golden.json").read_text("utf-8"))
    texts = [base64.b64decode(sample["text_base64"]) for sample in golden["samples"]]
    model = tf.saved_model.load(folder)
    serve = model.signatures["serving_default"]
    together = serve(text=tf.constant(texts))["probabilities"].numpy()
    for text, row, sample in zip(texts, together, golden["samples"], strict=True):
        answer = serve(text=tf.constant([text]))
        for found in (answer["probabilities"].numpy()[0], row):
            np.testing.assert_allclose(found, sample["probabilities"], atol=golden["tolerance"])
        assert answer["label"].numpy()[0].decode() == sample["label"], text[:60]
        assert answer["num_tokens"].numpy()[0] == sample["num_tokens"], text[:60]
    assert model.signatures["encode"](text=tf.constant(texts))["embedding"].shape[0] == len(texts)
    assert "textclf" not in sys.modules
    print(f"{len(texts)} golden answers with TensorFlow {tf.__version__}")


if __name__ == "__main__":
    main(sys.argv[1])
