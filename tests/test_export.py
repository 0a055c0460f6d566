"""A SavedModel that stands alone, answers as the classifier does, and notices damage."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from test_classifier import WEIRD

from textclf import classifier, export, training
from textclf.config import from_dict
from textclf.errors import ArtifactError, ExportError


@pytest.fixture(scope="module")
def trained(reviews, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "trained"
    values = {**tiny, "data": {"source": str(reviews)}, "export": {"golden_texts": ["my own"]}}
    # Vectors wide enough that weights, and not the graph, make the size of the variables.
    values["model"] = tiny["model"] | {"embedding_dim": 64, "ngram_buckets": 4096}
    for _ in training.train(from_dict(values)[0], folder):
        pass
    return folder


@pytest.fixture(scope="module")
def model(trained):
    return classifier.load(trained)


@pytest.fixture(scope="module")
def version(model, tmp_path_factory):
    return export.export(model, tmp_path_factory.mktemp("exports"), golden_texts=["my own"])


def test_the_saved_model_answers_as_the_classifier_does(model, version):
    loaded = classifier.load_predictor(version)
    one, two = model.answers(WEIRD), loaded.answers(WEIRD)
    np.testing.assert_allclose(one["probabilities"], two["probabilities"], atol=1e-5)
    for name in classifier.OUTPUTS:
        if name not in ("probabilities", "confidence"):
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_padding_and_neighbours_change_nothing_in_the_saved_model(version):
    loaded = classifier.load_predictor(version)
    texts = ["good", "not " * 399 + "good", "", "很好看！"]
    together = loaded.answers(texts, batch_size=4)["probabilities"]
    alone = np.concatenate([loaded.answers([text])["probabilities"] for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_it_loads_and_answers_with_tensorflow_alone(model, version):
    code = (
        "import sys; sys.modules['textclf'] = sys.modules['keras'] = None\n"
        "import tensorflow as tf, json\n"
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


def test_the_signature_is_the_contract(version):
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    [(name, spec)] = signature.structured_input_signature[1].items()
    assert (name, spec.dtype, spec.shape.as_list()) == ("text", tf.string, [None])
    assert {
        name: (spec.dtype.name, spec.shape.as_list())
        for name, spec in signature.structured_outputs.items()
    } == {
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
    }


def test_weights_are_stored_once(model, version):
    size = sum(variable.numpy().nbytes for variable in model.network.parameters)
    assert size > 64_000, "smaller weights would hide a second copy"
    stored = sum(path.stat().st_size for path in (version / "variables").glob("variables.data*"))
    assert stored < 1.05 * size + 16_384
    assert (version / "saved_model.pb").stat().st_size < 1_000_000


def test_the_vocabulary_is_an_asset_and_its_size_no_matter_to_the_graph(version):
    words = (version / "assets" / "vocabulary.txt").read_text().splitlines()
    assert len(words) > 100
    assert words[-1].encode() + b"\n" not in (version / "saved_model.pb").read_bytes()


def operations(version):
    graph = tf.saved_model.load(str(version)).signatures["serving_default"].graph.as_graph_def()
    return {node.op for node in graph.node} | {
        node.op for function in graph.library.function for node in function.node_def
    }


def test_an_export_made_where_a_gpu_is_seen_holds_no_operation_that_needs_one(
    reviews, tiny, tmp_path, monkeypatch
):
    values = {**tiny, "data": {"source": str(reviews)}}
    for _ in training.train(from_dict(values, ["training.epochs=1"])[0], tmp_path / "run"):
        pass
    model = classifier.load(tmp_path / "run")
    model.answers(["traced while no GPU is there, which could not run here"])
    real = tf.config.list_logical_devices
    gpu = tf.config.LogicalDevice("/GPU:0", "GPU")
    monkeypatch.setattr(
        tf.config, "list_logical_devices", lambda kind=None: [gpu] if kind == "GPU" else real(kind)
    )
    signature = [tf.TensorSpec([None], tf.string)]
    unprotected = tf.function(model.answer, input_signature=signature).get_concrete_function()
    functions = unprotected.graph.as_graph_def().library.function
    found = {node.op for node in unprotected.graph.as_graph_def().node}
    found |= {node.op for function in functions for node in function.node_def}
    assert "CudnnRNNV3" in found, "without protection it must be there, or this test says nothing"
    version = export.export(model, tmp_path / "exports")
    assert not {op for op in operations(version) if "Cudnn" in op}


def test_versions_count_from_one_and_the_next_is_one_more_than_the_largest(model, version):
    output = version.parent
    assert version.name == "1"
    assert export.next_version(output) == 2
    seventh = export.export(model, output, version=7)
    assert export.next_version(output) == 8
    with pytest.raises(ArtifactError, match="7: exists already"):
        export.export(model, output, version=7)
    shutil.rmtree(seventh)


def test_golden_samples_hold_typical_hostile_and_own_texts(version):
    golden = json.loads((version / export.GOLDEN).read_text())
    texts = [sample.get("text") for sample in golden["samples"]]
    assert {"", "my own"} <= set(texts)
    assert any(sample["truncated"] for sample in golden["samples"])
    assert export.verify(version) == len(golden["samples"]) == len(export.GOLDEN_TEXTS) + 1


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "assets/vocabulary.txt", "variables/variables.data-00000-of-00001"]
)
def test_a_flipped_byte_is_noticed(version, tmp_path, name):
    copy = shutil.copytree(version, tmp_path / "1")
    damaged = bytearray((copy / name).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (copy / name).write_bytes(damaged)
    with pytest.raises(ExportError, match=f"{name}: differs from its checksum"):
        export.verify(copy)


def test_a_missing_and_an_added_file_are_noticed(version, tmp_path):
    copy = shutil.copytree(version, tmp_path / "1")
    (copy / "assets" / "vocabulary.txt").unlink()
    (copy / "assets" / "new").write_text("")
    with pytest.raises(ExportError, match="is missing[^\0]*was added after the export"):
        export.verify(copy)


def test_an_export_that_answers_otherwise_is_not_published(model, tmp_path, monkeypatch):
    class Other(classifier.Classifier):
        """Answers in Python as the model does, but not in the graph that is exported."""

        def answer(self, texts):
            answers = super().answer(texts)
            return answers | {"probabilities": answers["probabilities"] + 1e-3}

    other = Other(model.text_encoder, model.network, model.card)
    other._answer = model._answer
    with pytest.raises(ExportError, match="probabilities differ by 0.001[^\0]*not published"):
        export.export(other, tmp_path / "exports")
    assert not (tmp_path / "exports").exists()


def test_what_is_no_export_is_named_as_such(tmp_path):
    with pytest.raises(ExportError, match="is not an export of textclf"):
        export.verify(tmp_path)


FULL_DISK = """
import resource, signal, sys
from textclf import classifier, export
from textclf.errors import ArtifactError
model = classifier.load(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    export.export(model, sys.argv[2])
except ArtifactError as error:
    print(error)
"""


def test_a_full_disk_publishes_nothing_and_says_so(trained, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(trained), str(tmp_path / "exports")],
        capture_output=True,
        text=True,
    )
    assert "cannot be written" in done.stdout, done.stderr
    assert not (tmp_path / "exports").exists()
