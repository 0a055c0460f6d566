"""A SavedModel that other services can load, and that can check itself.

OUTPUT/VERSION/
├── saved_model.pb, variables/, assets/vocabulary.txt     loads with TensorFlow alone
└── assets.extra/
    ├── card.json         what the model is
    ├── card.md           the same for people
    ├── golden.json       texts with the answers that the trained model gave
    ├── tf_serving_warmup_requests
    └── checksums.json    SHA-256 of every other file

A version is written beside its place, answers its golden samples in a fresh process that has
neither textclf nor Keras, and only then gets its number.
"""

import base64
import copy
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from textclf import artifact, model_card
from textclf.errors import ArtifactError, ExportError

CHECKSUMS, GOLDEN = "assets.extra/checksums.json", "assets.extra/golden.json"
WARMUP = "assets.extra/tf_serving_warmup_requests"  # the name that TF Serving looks for
# Of what docs/saved_model.md promises: the first number changes when a client could break.
CONTRACT_VERSION = "1.0"
TOLERANCE = 1e-5  # between the trained model's probabilities and those of the SavedModel

# Typical and hostile texts; whatever a client sends, it must be answered.
GOLDEN_TEXTS: tuple[str | bytes, ...] = (
    "A wonderful film, I loved every minute of it!",
    "Not bad at all, although it took a while to begin.",
    "Terrible service and cold food; never again.",
    "这家酒店的房间很干净，服务也不错。",
    "质量太差了，一点也不好用！",
    "I asked for 大床房 and got two singles :(",
    "",
    " \t\n ",
    "?",
    "😀👍🏽❤️",
    "ＦＵＬＬ　ＷＩＤＴＨ！",
    "line\u2028separator\x00and\x07control",
    "&lt;b&gt;Tom &amp; Jerry&lt;/b&gt;<br />again",
    b"\xff\xfe broken \xe4\xbd bytes",
    "a long story " * 2000,
)

# Runs in a process of its own. Whatever is said on stdout is the list of problems, as JSON.
_VERIFIER = """
import sys
# None makes every import of it fail, as if it were not installed.
sys.modules["textclf"] = sys.modules["keras"] = None
import base64, gc, json
gc.disable()  # a quarter of the time goes into looking for garbage in TensorFlow itself
import tensorflow as tf
gc.freeze()
folder, tolerance = sys.argv[1], float(sys.argv[2])
golden = json.load(open(folder + "/assets.extra/golden.json", encoding="utf-8"))
loaded = tf.saved_model.load(folder)
serve = loaded.signatures["serving_default"]
problems = []
for sample in golden["samples"]:
    text = base64.b64decode(sample["text_base64"])
    answer = serve(text=tf.constant([text]))
    found = answer["probabilities"].numpy().tolist()[0]
    off = max(abs(a - b) for a, b in zip(found, sample["probabilities"], strict=True))
    if not off <= tolerance:
        problems.append("text %r: probabilities differ by %.3g" % (text[:60], off))
    for name, expected in sample.items():
        if name in ("text", "text_base64", "probabilities"):
            continue
        value = answer[name].numpy().tolist()[0]
        value = value.decode() if isinstance(value, bytes) else value
        is_number = isinstance(expected, float)
        if abs(value - expected) > tolerance if is_number else value != expected:
            problems.append("text %r: %s is %r, expected %r"
                            % (text[:60], name, value, expected))
texts = [base64.b64decode(sample["text_base64"]) for sample in golden["samples"]]
together = serve(text=tf.constant(texts))
for name, value in together.items():
    if value.shape[0] != len(texts):
        problems.append("output %s has no batch dimension" % name)
off = abs(together["probabilities"].numpy() - [s["probabilities"] for s in golden["samples"]]).max()
if not off <= tolerance:
    problems.append("probabilities differ by %.3g when all texts are sent at once" % off)
def example(text):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text]))
    return tf.train.Example(features=tf.train.Features(feature={"text": feature}))
examples = tf.constant([example(text).SerializeToString() for text in texts])
classified = loaded.signatures["classify"](inputs=examples)
if not abs(classified["scores"] - together["probabilities"]).numpy().max() <= tolerance:
    problems.append("signature classify has other scores than serving_default")
names = [name.encode() for name in golden["class_names"]]
labelled = loaded.signatures["labels"](text=tf.constant(texts))
for signature, found in (("serving_default", together["class_names"]),
                         ("classify", classified["classes"]),
                         ("labels", labelled["class_names"])):
    if found.numpy().tolist() != [names] * len(texts):
        problems.append("signature %s has other class names" % signature)
embedding = loaded.signatures["encode"](text=tf.constant(texts))["embedding"]
if embedding.shape[0] != len(texts) or not tf.reduce_all(tf.math.is_finite(embedding)):
    problems.append("signature encode gives no finite vector for each text")
print(json.dumps(problems))
"""


def next_version(output: str | os.PathLike) -> int:
    """One more than the largest version in a folder of exports; 1 for none."""
    output = Path(output)
    names = [path.name for path in output.iterdir()] if output.is_dir() else []
    return max((int(name) for name in names if name.isdecimal()), default=0) + 1


def check(output: str | os.PathLike, version: int | None = None) -> int:
    """The version that `export` would write, checked before the long work.

    Raises:
        ArtifactError: the version exists, or the folder cannot be written.
    """
    version = next_version(output) if version is None else version
    place = Path(output) / str(version)
    if os.path.exists(place):
        raise ArtifactError(f"{place}: exists already; leave the version out to write the next one")
    artifact.check_output(place, overwrite=False, is_ours=("saved_model.pb",))
    return version


def export(
    model: Any,
    output: str | os.PathLike,
    *,
    version: int | None = None,
    golden_texts: Sequence[str] = (),
    is_verified: bool = True,
) -> Path:
    """Writes `OUTPUT/VERSION` and verifies it before it becomes visible.

    Args:
        model: a `classifier.Classifier`.
        output: the folder of versions, `saved_models/NAME`.
        version: a positive integer; default: one more than the largest there.
        golden_texts: texts that the export must answer as the model does, besides
            `GOLDEN_TEXTS`.
        is_verified: False for a version that nobody is to be served with, as one that is only
            measured: the fresh process takes longer than all the rest.

    Returns:
        The version's folder.

    Raises:
        ArtifactError: the version exists, or the folder cannot be written.
        DataError: a golden text is not a text.
        ExportError: the export does not answer as the model does; nothing is published.
    """
    from textclf import classifier

    classifier.encode_texts(golden_texts, name="golden_texts")
    output = Path(output)
    version = check(output, version)
    place = output / str(version)
    with artifact.write_folder(place, overwrite=False) as temporary:
        _save(model, temporary)
        extra = temporary / "assets.extra"
        extra.mkdir(exist_ok=True)
        card = msgspec.structs.replace(model.card, contract_version=CONTRACT_VERSION)
        (extra / artifact.CARD).write_text(card.to_json(), encoding="utf-8")
        (extra / artifact.CARD_PAGE).write_text(model_card.markdown(card), encoding="utf-8")
        golden = _golden_samples(model, [*GOLDEN_TEXTS, *golden_texts])
        (temporary / GOLDEN).write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
        _write_warmup(temporary / WARMUP, output.name, golden)
        sums = artifact.checksums(temporary)
        (temporary / CHECKSUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
        problems = _run_verifier(temporary) if is_verified else []
        if problems:
            raise ExportError(
                "\n".join(f"{place}: {problem}" for problem in problems)
                + f"\n{place}: not published, because it does not answer as the model does"
            )
    return place


def verify(folder: str | os.PathLike) -> int:
    """Checks every file's checksum and re-runs the golden samples in a fresh process.

    Returns:
        The number of golden samples.

    Raises:
        ExportError: it is no export of textclf, or with everything that differs.
    """
    folder = Path(folder)
    try:
        sums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        golden = json.loads((folder / GOLDEN).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExportError(
            f"{folder}: is not an export of textclf ({Path(str(error.filename)).name} is missing); "
            "`textclf export` writes one"
        ) from None
    except (OSError, ValueError) as error:
        raise ExportError(f"{folder}: cannot be verified ({error}); export it again") from None
    found = artifact.checksums(folder, without=(CHECKSUMS,))
    problems = [
        f"{folder / name}: " + ("is missing" if name not in found else "differs from its checksum")
        for name in sums
        if found.get(name) != sums[name]
    ]
    problems += [f"{folder / name}: was added after the export" for name in found.keys() - sums]
    if not problems:
        problems = [f"{folder}: {problem}" for problem in _run_verifier(folder)]
    if problems:
        raise ExportError("\n".join(problems) + "; export it again")
    return len(golden["samples"])


def _run_verifier(folder: Path) -> list[str]:
    # In another folder that is not on the path (-P), and without a GPU, as a service elsewhere
    # would load it. Not -I: TensorFlow may have been found by PYTHONPATH or for this user alone.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-P", "-c", _VERIFIER, str(folder.resolve()), str(TOLERANCE)]
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            command, cwd=elsewhere, env=environment, capture_output=True, text=True
        )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return [f"a fresh process with TensorFlow alone cannot answer with it ({last})"]
    return json.loads(done.stdout.strip().splitlines()[-1])


def _save(model: Any, folder: Path) -> None:
    import tensorflow as tf

    from textclf import networks

    module = tf.Module()
    # The table and the variables alone, not the modules around them: their functions would be
    # traced once more and their Keras layers written once more.
    module.vocabulary = model.text_encoder.table
    names = tf.constant(model.class_names)
    strings = [tf.TensorSpec([None], tf.string, name="text")]
    network = networks.ServingNetwork(model.network)
    module.parameters = network.variables
    served = copy.copy(model)
    served.network = network
    # Both traced once and called by every signature: one graph of the text and of the network.
    traced = functools.partial(tf.function, autograph=False)
    read = traced(served.read, input_signature=strings)
    answer = traced(lambda text: served.answer_from(*read(text)), input_signature=strings)

    @traced(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        feature = tf.io.FixedLenFeature([], tf.string, default_value="")
        answers = answer(tf.io.parse_example(inputs, {"text": feature})["text"])
        return {"classes": answers["class_names"], "scores": answers["probabilities"]}

    @traced(input_signature=strings)
    def encode(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"embedding": read(text)[1]}

    @traced(input_signature=strings)
    def labels(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"class_names": tf.tile(names[tf.newaxis, :], [tf.shape(text)[0], 1])}

    functions = {
        "serving_default": answer,
        "classify": classify,
        "encode": encode,
        "labels": labels,
    }
    signatures = {name: each.get_concrete_function() for name, each in functions.items()}
    networks.check_portable(signatures.values())
    try:
        tf.saved_model.save(module, str(folder), signatures=signatures)
    except tf.errors.OpError as error:  # a full disk, say: TensorFlow has errors of its own
        reason = re.sub(r"^(\{\{.*?\}\} *)+", "", str(error.message).split("\n")[0])
        raise OSError(None, reason) from error


def _golden_samples(model: Any, texts: Sequence[str | bytes]) -> dict[str, Any]:
    from textclf import classifier
    from textclf.text import to_utf8

    answers = model.answers(texts)
    samples = []
    for index, text in enumerate(texts):
        data = text if isinstance(text, bytes) else to_utf8(text)
        sample: dict[str, Any] = {"text_base64": base64.b64encode(data).decode()}
        if isinstance(text, str) and len(text) <= 200:
            sample["text"] = text  # for people; the bytes above are what counts
        for name in classifier.OUTPUTS:
            if name == "class_names":
                continue  # they stand beside the samples, once
            value = np.asarray(answers[name][index]).tolist()
            sample[name] = value.decode() if isinstance(value, bytes) else value
        samples.append(sample)
    return {"class_names": list(model.class_names), "tolerance": TOLERANCE, "samples": samples}


def _write_warmup(path: Path, name: str, golden: dict[str, Any]) -> None:
    """Requests that TF Serving sends itself before it lets clients in, one a signature and size.

    The first answer of a graph takes a hundred times as long as the others.

    Args:
        name: of the model; TF Serving sends them to the version that it loads, whatever it is.
        golden: the samples whose texts they hold.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    texts = [base64.b64decode(sample["text_base64"]) for sample in golden["samples"]]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature in ("serving_default", "encode", "labels"):
            for batch in (texts[:1], texts):
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.name = name
                request.model_spec.signature_name = signature
                request.inputs["text"].CopyFrom(tf.make_tensor_proto(batch, tf.string))
                writer.write(log.SerializeToString())
        for batch in (texts[:1], texts):
            log = prediction_log_pb2.PredictionLog()
            classification = log.classify_log.request
            classification.model_spec.name = name
            classification.model_spec.signature_name = "classify"
            for text in batch:
                example = classification.input.example_list.examples.add()
                example.features.feature["text"].bytes_list.value.append(text)
            writer.write(log.SerializeToString())
