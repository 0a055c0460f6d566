"""Export of a classifier as a SavedModel, and verification of an export.

OUTPUT/VERSION/
├── saved_model.pb, variables/, assets/vocabulary.txt     loads with TensorFlow alone
└── assets.extra/
    ├── card.json         description of the model
    ├── card.md           the same as a readable page
    ├── golden.json       texts with the outputs of the trained model
    ├── tf_serving_warmup_requests    requests that TF Serving sends itself at start-up
    └── checksums.json    SHA-256 of every other file

A version is written to a temporary folder and verified there: a new process without textclf and
Keras must reproduce its golden samples. Then the folder is renamed to OUTPUT/VERSION.
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

GOLDEN = "assets.extra/golden.json"
WARMUP = "assets.extra/tf_serving_warmup_requests"  # name required by TF Serving
# Version of the contract in docs/saved_model.md; the major number changes if a client could break.
CONTRACT_VERSION = "2.0"
TOLERANCE = 1e-5  # maximum difference of probabilities between trained model and SavedModel

# Typical and malformed texts; the export must accept every string.
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

# Program of the verification process. The last line of its output is a JSON list of problems.
_VERIFIER = """
import sys
# None makes imports of these packages fail, as if they were not installed.
sys.modules["textclf"] = sys.modules["keras"] = None
import base64, gc, json
gc.disable()  # garbage collection takes a quarter of the time of importing TensorFlow
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
    p = answer["probabilities"].numpy().tolist()[0]
    difference = max(abs(a - b) for a, b in zip(p, sample["probabilities"], strict=True))
    if not difference <= tolerance:
        problems.append("text %r: probabilities differ by %.3g" % (text[:60], difference))
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
batched = serve(text=tf.constant(texts))
for name, value in batched.items():
    if value.shape[0] != len(texts):
        problems.append("output %s has no batch dimension" % name)
expected = [sample["probabilities"] for sample in golden["samples"]]
difference = abs(batched["probabilities"].numpy() - expected).max()
if not difference <= tolerance:
    problems.append("probabilities differ by %.3g if all texts are in one batch" % difference)
def example(text):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text]))
    return tf.train.Example(features=tf.train.Features(feature={"text": feature}))
examples = tf.constant([example(text).SerializeToString() for text in texts])
classified = loaded.signatures["classify"](inputs=examples)
if not abs(classified["scores"] - batched["probabilities"]).numpy().max() <= tolerance:
    problems.append("signatures classify and serving_default have different scores")
embedding = loaded.signatures["encode"](text=tf.constant(texts))["embedding"]
if embedding.shape[0] != len(texts) or not tf.reduce_all(tf.math.is_finite(embedding)):
    problems.append("signature encode does not return a finite vector for each text")
explained = loaded.signatures["explain"](text=tf.constant(texts))
if not all(tf.reduce_all(tf.math.is_finite(explained[name])) for name in ("scores", "drops")):
    problems.append("signature explain returns a value that is not finite")
first = tf.gather(batched["probabilities"], tf.argmax(explained["scores"], 1), batch_dims=1)
if not (batched["confidence"] - first).numpy().max() <= tolerance:
    problems.append("signature explain has its highest score for another class")
names = [name.encode() for name in golden["class_names"]]
labelled = loaded.signatures["labels"](text=tf.constant(texts))
for signature, class_names in (("serving_default", batched["class_names"]),
                               ("classify", classified["classes"]),
                               ("explain", explained["class_names"]),
                               ("labels", labelled["class_names"])):
    if class_names.numpy().tolist() != [names] * len(texts):
        problems.append("signature %s has wrong class names" % signature)
print(json.dumps(problems))
"""


def next_version(output: str | os.PathLike) -> int:
    """Return one more than the largest version in a folder of exports; 1 if there is none."""
    output = Path(output)
    names = [path.name for path in output.iterdir()] if output.is_dir() else []
    return max((int(name) for name in names if name.isdecimal()), default=0) + 1


def check(output: str | os.PathLike, version: int | None = None) -> int:
    """Check that a version can be written, without writing it.

    Args:
        output: folder of versions.
        version: a positive integer; default: `next_version(output)`.

    Returns:
        The version.

    Raises:
        ArtifactError: the version exists, or the folder cannot be written.
    """
    version = next_version(output) if version is None else version
    folder = Path(output) / str(version)
    if os.path.exists(folder):
        raise ArtifactError(
            f"{folder}: exists already; leave the version out to write the next one"
        )
    artifact.check_output(folder, overwrite=False, is_ours=("saved_model.pb",))
    return version


def export(
    model: Any,
    output: str | os.PathLike,
    *,
    version: int | None = None,
    golden_texts: Sequence[str] = (),
    is_verified: bool = True,
) -> Path:
    """Write `OUTPUT/VERSION`, verified before it is moved there.

        textclf.export("runs/reviews", "saved_models/reviews")
        textclf.export(model, "saved_models/reviews", version=7)

    Args:
        model: a loaded `classifier.Classifier`, or a trained folder.
        output: folder of versions, `saved_models/NAME`.
        version: a positive integer; default: `next_version(output)`.
        golden_texts: texts to verify in addition to `GOLDEN_TEXTS`.
        is_verified: False skips the verification process, which takes most of the time; use it
            only for exports that are not served.

    Returns:
        The folder of the version.

    Raises:
        ArtifactError: the model is an exported version, the version exists, or the folder cannot
            be written.
        DataError: a golden text is not a text.
        ExportError: the outputs of the export differ from those of the model; no version is
            written.
    """
    from textclf import classifier

    classifier.encode_texts(golden_texts, name="golden_texts")
    output = Path(output)
    version = check(output, version)
    folder = output / str(version)
    model = _trained(model)
    with artifact.write_folder(folder, overwrite=False) as temporary:
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
        (temporary / artifact.CHECKSUMS).write_text(
            json.dumps(sums, indent=1) + "\n", encoding="utf-8"
        )
        problems = _run_verifier(temporary) if is_verified else []
        if problems:
            raise ExportError(
                "\n".join(f"{folder}: {problem}" for problem in problems)
                + f"\n{folder}: not published, because its outputs differ from those of the model"
            )
    return folder


def verify(folder: str | os.PathLike) -> int:
    """Verify the checksums of all files, then the golden samples in a new process.

    Args:
        folder: folder of a version.

    Returns:
        The number of golden samples.

    Raises:
        ExportError: the folder is not an export of textclf, or differs from what was exported. The
            message has every difference.
    """
    folder = Path(folder)
    try:
        sums = json.loads((folder / artifact.CHECKSUMS).read_text(encoding="utf-8"))
        golden = json.loads((folder / GOLDEN).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExportError(
            f"{folder}: is not an export of textclf ({Path(str(error.filename)).name} is missing); "
            "`textclf export` writes one"
        ) from None
    except (OSError, ValueError) as error:
        raise ExportError(f"{folder}: cannot be verified ({error}); export it again") from None
    present = artifact.checksums(folder, without=(artifact.CHECKSUMS,))
    problems = [
        f"{folder / name}: "
        + ("is missing" if name not in present else "differs from its checksum")
        for name in sums
        if present.get(name) != sums[name]
    ]
    problems += [f"{folder / name}: was added after the export" for name in present.keys() - sums]
    if not problems:
        problems = [f"{folder}: {problem}" for problem in _run_verifier(folder)]
    if problems:
        raise ExportError("\n".join(problems) + "; export it again")
    return len(golden["samples"])


def _run_verifier(folder: Path) -> list[str]:
    """Run the verification program in a new process and return the problems."""
    # The conditions of another service: a different working folder, which is not on the path (-P),
    # and no GPU. Not -I, because TensorFlow may be on PYTHONPATH or in the user's site-packages.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-P", "-c", _VERIFIER, str(folder.resolve()), str(TOLERANCE)]
    with tempfile.TemporaryDirectory() as working_folder:
        process = subprocess.run(
            command, cwd=working_folder, env=environment, capture_output=True, text=True
        )
    if process.returncode != 0:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        return [f"cannot be used in a new process with TensorFlow alone ({last})"]
    return json.loads(process.stdout.strip().splitlines()[-1])


def _save(model: Any, folder: Path) -> None:
    """Write the SavedModel files to a folder; OSError if TensorFlow cannot write them."""
    import tensorflow as tf

    from textclf import networks

    module = tf.Module()
    # Only the table and the variables. Saving the modules would trace their functions and write
    # their Keras layers a second time.
    module.vocabulary = model.text_encoder.table
    names = tf.constant(model.class_names)
    strings = [tf.TensorSpec([None], tf.string, name="text")]
    served = copy.copy(model)
    module.parameters = [] if model.linear is None else list(model.linear.variables)
    if model.network is not None:
        served.network = networks.ServingNetwork(model.network)
        module.parameters += served.network.variables
        # The signature `explain` calls it a second time, with the same types and shapes.
        served.network.encode = tf.function(served.network.encode, autograph=False)
    # Traced once and called by every signature, so that the graph contains the network once.
    traced = functools.partial(tf.function, autograph=False)
    read = traced(served.read, input_signature=strings)
    answer = traced(lambda text: served.answer_from(read(text)), input_signature=strings)

    @traced(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        feature = tf.io.FixedLenFeature([], tf.string, default_value="")
        answers = answer(tf.io.parse_example(inputs, {"text": feature})["text"])
        return {"classes": answers["class_names"], "scores": answers["probabilities"]}

    @traced(input_signature=strings)
    def encode(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"embedding": read(text).vectors}

    @traced(input_signature=strings)
    def explain(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return served.leave_one_out_from(read(text))

    @traced(input_signature=strings)
    def labels(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"class_names": tf.tile(names[tf.newaxis, :], [tf.shape(text)[0], 1])}

    functions = {
        "serving_default": answer,
        "classify": classify,
        "encode": encode,
        "explain": explain,
        "labels": labels,
    }
    signatures = {name: function.get_concrete_function() for name, function in functions.items()}
    networks.check_portable(signatures.values())
    try:
        tf.saved_model.save(module, str(folder), signatures=signatures)
    except tf.errors.OpError as error:  # for example a full disk
        reason = re.sub(r"^(\{\{.*?\}\} *)+", "", str(error.message).split("\n")[0])
        raise OSError(None, reason) from error


def _trained(model: Any) -> Any:
    """Return a classifier with its network, loaded from its folder if `model` is a path.

    Raises:
        ArtifactError: the model is an exported version.
    """
    from textclf import classifier

    if isinstance(model, str | os.PathLike):
        return classifier.load(model)
    if not isinstance(model, classifier.Classifier):
        raise ArtifactError(
            "the model is an exported version, which does not contain the network; export the "
            "trained folder"
        )
    return model


def _golden_samples(model: Any, texts: Sequence[str | bytes]) -> dict[str, Any]:
    """Return texts with the outputs of the model, as JSON types."""
    from textclf import classifier
    from textclf.text import to_utf8

    answers = model.answers(texts)
    samples = []
    for index, text in enumerate(texts):
        data = text if isinstance(text, bytes) else to_utf8(text)
        sample: dict[str, Any] = {"text_base64": base64.b64encode(data).decode()}
        if isinstance(text, str) and len(text) <= 200:
            sample["text"] = text  # for readers; text_base64 is the input
        for name in classifier.OUTPUTS:
            if name == "class_names":
                continue  # stored once, next to the samples
            value = np.asarray(answers[name][index]).tolist()
            sample[name] = value.decode() if isinstance(value, bytes) else value
        samples.append(sample)
    return {"class_names": list(model.class_names), "tolerance": TOLERANCE, "samples": samples}


def _write_warmup(path: Path, name: str, golden: dict[str, Any]) -> None:
    """Write requests that TF Serving sends itself before it accepts clients.

    The first call of a graph takes a hundred times as long as later calls. There is a request for
    each signature and batch size.

    Args:
        name: name of the model; TF Serving sends the requests to any version that it loads.
        golden: golden samples; their texts are in the requests.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    texts = [base64.b64decode(sample["text_base64"]) for sample in golden["samples"]]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature in ("serving_default", "encode", "explain", "labels"):
            # The time of an explanation grows with the square of the length; the first texts are
            # short.
            for batch in (texts[:1], texts[:2] if signature == "explain" else texts):
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
