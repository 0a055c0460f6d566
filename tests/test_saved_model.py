"""Tests of exports: signatures, outputs, verification, versions and clients."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import small_networks
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from test_classifier import WEIRD

from textclf import classifier, saved_model, training
from textclf.config import Config
from textclf.errors import ArtifactError, DataError, ExportError


@pytest.fixture(scope="module")
def trained(reviews, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "trained"
    values = {**tiny, "data": {"source": str(reviews)}}
    # Wide vectors, so that the weights make up most of the size of the variables.
    values["model"] = tiny["model"] | {"embedding_dim": 64}
    for _ in training.train_events(Config.from_dict(values), folder):
        pass
    return folder


@pytest.fixture(scope="module")
def model(trained):
    return classifier.load(trained)


@pytest.fixture(scope="module")
def version(model, tmp_path_factory):
    return saved_model.export(model, tmp_path_factory.mktemp("exports"), golden_texts=["my own"])


def test_saved_model_outputs_equal_the_outputs_of_the_classifier(model, version):
    loaded = classifier.load_predictor(version)
    expected, outputs = model.answers(WEIRD), loaded.answers(WEIRD)
    np.testing.assert_allclose(expected["probabilities"], outputs["probabilities"], atol=1e-5)
    for name in classifier.OUTPUTS:
        if name not in ("probabilities", "confidence"):
            np.testing.assert_array_equal(expected[name], outputs[name], err_msg=name)


def test_saved_model_probabilities_do_not_depend_on_padding_or_neighbouring_texts(version):
    loaded = classifier.load_predictor(version)
    texts = ["good", "not " * 399 + "good", "", "很好看！"]
    batched = loaded.answers(texts, batch_size=4)["probabilities"]
    alone = np.concatenate([loaded.answers([text])["probabilities"] for text in texts])
    np.testing.assert_allclose(batched, alone, atol=1e-5)


def test_saved_model_works_in_a_process_without_textclf_and_keras(model, version):
    code = (
        "import sys; sys.modules['textclf'] = sys.modules['keras'] = None\n"
        "import gc, json; gc.disable()\n"
        "import tensorflow as tf; gc.freeze()\n"
        "loaded = tf.saved_model.load(sys.argv[1])\n"
        "serve = loaded.signatures['serving_default']\n"
        "p = serve(text=tf.constant(['not bad at all', '']))['probabilities']\n"
        "print(json.dumps(p.numpy().tolist()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(version)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(
        json.loads(done.stdout), model.predict_proba(["not bad at all", ""]), atol=1e-5
    )


SIGNATURES = {
    "serving_default": {
        "probabilities": ("float32", [None, 2]),
        "selected": ("bool", [None, 2]),
        "label": ("string", [None]),
        "label_id": ("int64", [None]),
        "confidence": ("float32", [None]),
        "abstain": ("bool", [None]),
        "class_names": ("string", [None, 2]),
        "num_tokens": ("int64", [None]),
        "unknown_fraction": ("float32", [None]),
        "truncated": ("bool", [None]),
    },
    "classify": {"classes": ("string", [None, 2]), "scores": ("float32", [None, 2])},
    "encode": {"embedding": ("float32", [None, 24])},
    "explain": {
        "tokens": ("string", [None, None]),
        "drops": ("float32", [None, None, 2]),
        "scores": ("float32", [None, 2]),
        "class_names": ("string", [None, 2]),
        "num_tokens": ("int64", [None]),
    },
    "labels": {"class_names": ("string", [None, 2])},
}


def test_saved_model_signatures_have_the_documented_names_dtypes_and_shapes(version):
    loaded = tf.saved_model.load(str(version))
    assert set(loaded.signatures) == set(SIGNATURES)
    for name, outputs in SIGNATURES.items():
        signature = loaded.signatures[name]
        [(key, spec)] = signature.structured_input_signature[1].items()
        assert (key, spec.dtype, spec.shape.as_list()) == (
            "inputs" if name == "classify" else "text", tf.string, [None],
        )  # fmt: skip
        specs = signature.structured_outputs.items()
        assert {k: (spec.dtype.name, spec.shape.as_list()) for k, spec in specs} == outputs


def example(**features):
    values = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in features.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()


def test_saved_model_signatures_agree_with_the_classifier(model, version):
    loaded = tf.saved_model.load(str(version))
    texts = ["not bad at all", "", "一点也不差", "bad " * 500]
    p = model.predict_proba(texts)
    classified = loaded.signatures["classify"](
        inputs=tf.constant([example(text=text.encode(), other=b"ignored") for text in texts])
    )
    np.testing.assert_allclose(classified["scores"], p, atol=1e-5)
    names = [name.encode() for name in model.class_names]
    assert classified["classes"].numpy().tolist() == [names] * 4
    missing = loaded.signatures["classify"](inputs=tf.constant([example()]))
    np.testing.assert_allclose(missing["scores"], p[1:2], atol=1e-5)
    labels = loaded.signatures["labels"](text=tf.constant(["ignored", "too"]))
    assert labels["class_names"].numpy().tolist() == [names] * 2
    embedding = loaded.signatures["encode"](text=tf.constant(texts))["embedding"]
    encoded = model.text_encoder(tf.constant(texts))
    expected = model.network.encode({"token_ids": encoded.token_ids, "lengths": encoded.lengths})
    np.testing.assert_allclose(embedding, expected, atol=1e-5)


def test_saved_model_signatures_return_empty_outputs_for_zero_texts(version):
    loaded = tf.saved_model.load(str(version))
    for name, outputs in SIGNATURES.items():
        key = "inputs" if name == "classify" else "text"
        answer = loaded.signatures[name](**{key: tf.constant([], tf.string)})
        assert {output: value.shape[0] for output, value in answer.items()} == dict.fromkeys(
            outputs, 0
        )


def test_saved_model_graph_applies_temperature_and_abstention(model, tmp_path):
    card = msgspec.structs.replace(model.card, temperature=2.5, abstain_below=0.6)
    changed = classifier.Classifier(model.text_encoder, model.network, card)
    version = saved_model.export(changed, tmp_path / "exports", version=7)
    assert version == tmp_path / "exports" / "7"
    serve = tf.saved_model.load(str(version)).signatures
    texts = ["not bad at all", "not good at all", "", "splendid"]
    answers = {k: v.numpy() for k, v in serve["serving_default"](text=tf.constant(texts)).items()}
    plain = msgspec.structs.replace(card, temperature=1.0)
    p = classifier.Classifier(model.text_encoder, model.network, plain).predict_proba(texts)
    expected = p ** (1 / 2.5)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-5)
    np.testing.assert_array_equal(answers["abstain"], answers["confidence"] < np.float32(0.6))


def test_export_contains_the_card_as_json_and_as_markdown(model, version):
    card = json.loads((version / "assets.extra/card.json").read_text())
    assert card["contract_version"] == saved_model.CONTRACT_VERSION == "2.0"
    page = (version / "assets.extra/card.md").read_text()
    for words in ("# Text classifier", "`negative`, `positive`", "## Weaknesses", "Fingerprint"):
        assert words in page
    assert model.card.data.fingerprint in page


def test_export_stores_the_weights_once(model, version):
    size = sum(variable.numpy().nbytes for variable in model.network.parameters)
    assert size > 64_000, "the test needs weights that are larger than the tolerance"
    stored = sum(path.stat().st_size for path in (version / "variables").glob("variables.data*"))
    assert stored < 1.05 * size + 16_384
    assert (version / "saved_model.pb").stat().st_size < 1_000_000


def test_export_stores_the_vocabulary_as_an_asset_and_not_in_the_graph(version):
    words = (version / "assets" / "vocabulary.txt").read_text().splitlines()
    assert len(words) > 100
    assert words[-1].encode() + b"\n" not in (version / "saved_model.pb").read_bytes()


def operations(version):
    graph = tf.saved_model.load(str(version)).signatures["serving_default"].graph.as_graph_def()
    return {node.op for node in graph.node} | {
        node.op for function in graph.library.function for node in function.node_def
    }


def test_export_on_a_machine_with_a_gpu_contains_no_gpu_operation(trained, tmp_path, monkeypatch):
    model = classifier.load(trained)
    model.answers(["this text is traced while no GPU is visible"])
    real = tf.config.list_logical_devices
    gpu = tf.config.LogicalDevice("/GPU:0", "GPU")
    monkeypatch.setattr(
        tf.config, "list_logical_devices", lambda kind=None: [gpu] if kind == "GPU" else real(kind)
    )
    signature = [tf.TensorSpec([None], tf.string)]
    unprotected = tf.function(model.answer, input_signature=signature).get_concrete_function()
    functions = unprotected.graph.as_graph_def().library.function
    unprotected_ops = {node.op for node in unprotected.graph.as_graph_def().node}
    unprotected_ops |= {node.op for function in functions for node in function.node_def}
    assert "CudnnRNNV3" in unprotected_ops, "without protection the graph needs a GPU"
    version = saved_model.export(model, tmp_path / "exports", is_verified=False)
    assert not {op for op in operations(version) if "Cudnn" in op}


def test_next_version_of_an_export_is_the_largest_plus_1_and_starts_at_1(model, version, tmp_path):
    assert version.name == "1"
    assert saved_model.next_version(version.parent) == 2
    shutil.copytree(version, tmp_path / "7")
    assert saved_model.next_version(tmp_path) == 8
    with pytest.raises(ArtifactError, match="7: exists already"):
        saved_model.export(model, tmp_path, version=7)


def test_export_into_a_trained_folder_is_rejected(model, trained, tmp_path):
    (tmp_path / "link").symlink_to(trained)
    before = sorted(trained.rglob("*"))
    for output in (trained, trained / "exports", tmp_path / "link", trained / ".." / "trained"):
        with pytest.raises(ArtifactError, match="is inside the trained folder"):
            saved_model.export(model, output)
    assert sorted(trained.rglob("*")) == before


def test_export_rejects_golden_texts_of_other_types(model, tmp_path):
    for golden_texts, message in (
        ("not bad", "golden_texts: expected a list of texts, found a single one"),
        (["good", None], r"golden_texts\[1\] is None: expected a text"),
    ):
        with pytest.raises(DataError, match=message):
            saved_model.export(model, tmp_path / "exports", golden_texts=golden_texts)
    assert list(tmp_path.iterdir()) == []


def test_golden_samples_contain_the_built_in_and_the_configured_texts(version):
    golden = json.loads((version / saved_model.GOLDEN).read_text())
    texts = [sample.get("text") for sample in golden["samples"]]
    assert {"", "my own"} <= set(texts)
    assert any(sample["truncated"] for sample in golden["samples"])
    assert (
        saved_model.verify(version) == len(golden["samples"]) == len(saved_model.GOLDEN_TEXTS) + 1
    )


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "assets/vocabulary.txt", "variables/variables.data-00000-of-00001"]
)
def test_verify_reports_a_flipped_byte(version, tmp_path, name):
    copy = shutil.copytree(version, tmp_path / "1")
    damaged = bytearray((copy / name).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (copy / name).write_bytes(damaged)
    with pytest.raises(ExportError, match=f"{name}: differs from its checksum"):
        saved_model.verify(copy)


def test_verify_reports_missing_and_added_files(version, tmp_path):
    copy = shutil.copytree(version, tmp_path / "1")
    (copy / "assets" / "vocabulary.txt").unlink()
    (copy / "assets" / "new").write_text("")
    with pytest.raises(ExportError, match="is missing[^\0]*was added after the export"):
        saved_model.verify(copy)


def test_export_with_different_probabilities_is_not_published(model, tmp_path, monkeypatch):
    class ShiftedClassifier(classifier.Classifier):
        """Classifier whose exported graph returns other probabilities than the Python object."""

        def answer_from(self, *values):
            answers = super().answer_from(*values)
            return answers | {"probabilities": answers["probabilities"] + 1e-3}

    shifted = ShiftedClassifier(model.text_encoder, model.network, model.card)
    shifted._answer = model._answer
    with pytest.raises(ExportError, match="probabilities differ by 0.001[^\0]*not published"):
        saved_model.export(shifted, tmp_path / "exports")
    assert not (tmp_path / "exports").exists()


def test_export_with_python_code_in_the_graph_is_not_published(model, tmp_path):
    network = small_networks.make(
        "encoder_plugins:python_code",
        vocabulary_size=model.text_encoder.vocabulary_size,
        num_classes=len(model.class_names),
    )
    changed = classifier.Classifier(model.text_encoder, network, model.card)
    with pytest.raises(ExportError, match="the graph contains PyFunc"):
        saved_model.export(changed, tmp_path / "exports")
    assert not (tmp_path / "exports").exists()


def test_verify_rejects_a_folder_without_an_export(tmp_path):
    with pytest.raises(ExportError, match="is not an export of textclf"):
        saved_model.verify(tmp_path)


def test_export_to_a_full_disk_fails_and_publishes_nothing(model, tmp_path, full_disk):
    with full_disk(20_000), pytest.raises(ArtifactError, match="cannot be written"):
        saved_model.export(model, tmp_path / "exports")
    assert not (tmp_path / "exports").exists()


# === Clients ===


def test_exported_model_answers_its_warmup_requests_for_tf_serving(version):
    from tensorflow_serving.apis import prediction_log_pb2

    loaded = tf.saved_model.load(str(version))
    requests = set()
    for record in tf.data.TFRecordDataset(str(version / saved_model.WARMUP)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        if log.WhichOneof("log_type") == "classify_log":
            request = log.classify_log.request
            examples = request.input.example_list.examples
            inputs = {"inputs": tf.constant([example.SerializeToString() for example in examples])}
        else:
            request = log.predict_log.request
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            inputs = {name: tf.constant(value) for name, value in inputs.items()}
        [num_texts] = {len(value) for value in inputs.values()}
        answer = loaded.signatures[request.model_spec.signature_name](**inputs)
        assert {value.shape[0] for value in answer.values()} == {num_texts}
        requests.add((request.model_spec.signature_name, num_texts))
    many = len(saved_model.GOLDEN_TEXTS) + 1
    sizes = {name: (1, 2 if name == "explain" else many) for name in SIGNATURES}
    assert requests == {(name, size) for name in SIGNATURES for size in sizes[name]}


def test_export_follows_the_signature_rules_of_tf_serving(version):
    meta = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    signatures = dict(meta.meta_graphs[0].signature_def)
    assert set(signatures) - {"__saved_model_init_op"} == set(SIGNATURES)
    classify = signatures["classify"]
    assert set(classify.inputs) == {"inputs"} and set(classify.outputs) == {"classes", "scores"}
    for name in SIGNATURES:  # batching needs a first dimension of unknown size
        assert signatures[name].inputs, "a signature without inputs cannot be called over REST"
        for info in (*signatures[name].inputs.values(), *signatures[name].outputs.values()):
            assert info.tensor_shape.dim[0].size == -1
    assert [path.name for path in version.parent.iterdir() if path.name.isdecimal()]


TEXTS = ["not bad at all", "", "一点也不差", "very 好看 film", "word " * 3000]


@pytest.fixture(scope="module")
def c_client(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler; this test compiles a client")
    library = Path(tf.sysconfig.get_lib())
    program = tmp_path_factory.mktemp("client") / "client"
    names = [f"-l:{path.name}" for path in sorted(library.glob("libtensorflow_*.so.2"))]
    # The default linker reads every symbol of the library, which has a gigabyte.
    linker = ["-fuse-ld=gold"] if shutil.which("ld.gold") else []
    assert len(names) == 2, "expected the C library of the TensorFlow wheel in two files"
    subprocess.run(
        [
            *(compiler, "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1"),
            *(f"-I{tf.sysconfig.get_include()}", str(Path(__file__).with_name("client.c"))),
            *("-o", str(program), f"-L{library}", *names, f"-Wl,-rpath,{library}", *linker),
        ],
        check=True,
    )
    return program


def test_c_client_gets_the_predictions_of_the_classifier(c_client, model, version):
    process = subprocess.run(
        [str(c_client), str(version)], input="\n".join(TEXTS).encode() + b"\n\xff\xfe broken\n",
        capture_output=True, check=True,
    )  # fmt: skip
    lines = [line.split("\t") for line in process.stdout.decode().splitlines()]
    texts = [*TEXTS, b"\xff\xfe broken"]
    p = model.predict_proba(texts)
    assert [line[0] for line in lines] == model.predict(texts)
    np.testing.assert_allclose([[float(x) for x in line[2:]] for line in lines], p, atol=1e-5)
    np.testing.assert_allclose([float(line[1]) for line in lines], p.max(axis=1), atol=1e-5)


def test_c_client_reports_a_folder_without_a_saved_model(c_client, tmp_path):
    process = subprocess.run([str(c_client), str(tmp_path)], input=b"", capture_output=True)
    assert process.returncode == 1 and b"Could not find SavedModel" in process.stderr


SAVED_MODEL_CLI = """
import gc, json, sys
gc.disable()
from absl import flags
from tensorflow.python.tools import saved_model_cli
gc.freeze()
for arguments in json.loads(sys.argv[1]):
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    sys.argv[1:] = arguments
    try:
        saved_model_cli.main()
    except SystemExit as end:
        assert not end.code, end.code
    print("=== end ===", flush=True)
"""


def test_saved_model_cli_shows_all_signatures_and_runs_serving_default_and_classify(model, version):
    at = ["--dir", str(version)]
    run = ["run", *at, "--tag_set", "serve", "--signature_def"]
    commands = [
        ["show", *at, "--all"],
        [*run, "serving_default", "--input_exprs", 'text=["not bad at all"]'],
        [*run, "classify", "--input_examples", 'inputs=[{"text":["not bad at all"]}]'],
    ]
    # All commands run in one process, because importing TensorFlow takes seconds.
    process = subprocess.run(
        [sys.executable, "-c", SAVED_MODEL_CLI, json.dumps(commands)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    shown, answer, classified = process.stdout.split("=== end ===\n")[:3]
    for name, outputs in SIGNATURES.items():
        assert f"signature_def['{name}']" in shown
        assert all(f"outputs['{output}']" in shown for output in outputs)
    assert model.predict(["not bad at all"])[0] in answer
    assert "Result for output key scores" in classified
