"""The server over real HTTP: TF Serving's dialect, limits, new versions, and the end."""

import base64
import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import chromium
import httpx
import msgspec
import numpy as np
import pytest
import tensorflow as tf
from test_classifier import WEIRD

from textclf import classifier, export
from textclf.serving import _ignore_new

TEXTS = ["not bad at all", "", "一点也不差", "bad " * 500]


@pytest.fixture(scope="module")
def exports(model, tmp_path_factory):
    """A folder `reviews` with version 1, and beside it version 2 of another answer."""
    folder = tmp_path_factory.mktemp("exports")
    export.export(model, folder / "reviews", is_verified=False)
    card = msgspec.structs.replace(model.card, temperature=5.0)
    other = classifier.Classifier(model.text_encoder, model.network, card)
    export.export(other, folder / "next", version=2, is_verified=False)
    return folder


@pytest.fixture(scope="module")
def predictor(exports):
    return classifier.load_predictor(exports / "reviews")


class Server:
    """`textclf serve` in a process of its own, on a free port."""

    def __init__(self, place: Path, *options: str):
        program = [sys.executable, "-W", "error::ResourceWarning", "-m", "textclf", "serve"]
        self.process = subprocess.Popen(
            [*program, str(place), "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        address = self.process.stdout.readline().strip()
        assert address, self.process.communicate()[1]
        self.model = address
        self.root = address.partition("/v1/")[0]
        self.port = int(self.root.rpartition(":")[2])

    def ask(self, body: Any, verb: str = "predict", at: str = "", **more: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(f"{self.model}{at}:{verb}", content=content, timeout=60, **more)

    def metric(self, name: str) -> float:
        text = httpx.get(f"{self.root}/metrics").text
        return sum(float(m[1]) for m in re.finditer(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))

    def end(self) -> tuple[int, str]:
        """The exit code and what was said, after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        _, stderr = self.process.communicate(timeout=60)
        return self.process.returncode, stderr


@contextlib.contextmanager
def serving(place: Path, *options: str) -> Iterator[Server]:
    server = Server(place, *options)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


@pytest.fixture(scope="module")
def server(exports):
    with serving(exports / "reviews", "--label", "stable=1", "--label", "old=7") as server:
        yield server
        code, stderr = server.end()
        assert (code, stderr) == (0, ""), "a server that was asked odd things says nothing of it"


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def compare(found: dict[str, Any], expected: dict[str, np.ndarray], rows: int) -> None:
    assert set(found) == set(classifier.OUTPUTS)
    for name in ("probabilities", "confidence", "unknown_fraction"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    for name in ("label_id", "selected", "abstain", "num_tokens", "truncated"):
        assert found[name] == expected[name].tolist()
    assert found["label"] == [name.decode() for name in expected["label"]]
    assert len(found["class_names"]) == rows


# === The dialect ===


def test_rows_are_answered_as_the_predictor_answers(server, predictor):
    expected = predictor.answers(TEXTS)
    for instances in (TEXTS, [{"text": text} for text in TEXTS]):
        response = server.ask({"instances": instances})
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json"
        [rows] = response.json().values()
        assert set(response.json()) == {"predictions"}
        compare({name: [row[name] for row in rows] for name in rows[0]}, expected, 4)


def test_columns_are_answered_as_the_predictor_answers(server, predictor):
    expected = predictor.answers(TEXTS)
    for inputs in (TEXTS, {"text": TEXTS}):
        response = server.ask({"signature_name": "serving_default", "inputs": inputs})
        compare(response.json()["outputs"], expected, 4)


def test_one_output_is_a_bare_list_of_rows_and_a_bare_column(server):
    names = [["negative", "positive"]]
    asked = {"signature_name": "labels", "instances": ["x"]}
    assert server.ask(asked).json() == {"predictions": names}
    assert server.ask({"signature_name": "labels", "inputs": ["x"]}).json() == {"outputs": names}
    encoded = server.ask({"signature_name": "encode", "instances": ["good", "bad"]}).json()
    assert np.array(encoded["predictions"]).shape == (2, 24)


def test_bytes_come_as_base64_and_as_bytes_that_are_no_utf8(server, predictor):
    texts = [text if isinstance(text, bytes) else text.encode("utf-8", "replace") for text in WEIRD]
    texts = [text for text in texts if len(text) <= 100_000]
    assert b"\xff" in b"".join(texts), "some bytes must be no UTF-8"
    written = [{"b64": base64.b64encode(text).decode()} for text in texts]
    expected = predictor.answers(texts)
    for instances in (written, [{"text": text} for text in written]):
        rows = server.ask({"instances": instances}).json()["predictions"]
        np.testing.assert_allclose(
            [row["probabilities"] for row in rows], expected["probabilities"], atol=1e-5
        )
    [row] = server.ask(b'{"instances": ["good \xff\xfe film"]}').json()["predictions"]
    expected = predictor.predict_proba([b"good \xff\xfe film"])
    np.testing.assert_allclose([row["probabilities"]], expected, atol=1e-5)


def test_classify_gives_labels_with_scores(server, predictor):
    p = predictor.predict_proba(["not bad at all", "good"])
    asked = {
        "signature_name": "classify",
        "context": {"text": "good"},
        "examples": [{"text": "not bad at all", "stars": 3, "weight": 0.5}, {"other": ["a", "b"]}],
    }
    results = server.ask(asked, "classify").json()["results"]
    assert [[label for label, _ in row] for row in results] == [["negative", "positive"]] * 2
    np.testing.assert_allclose([[score for _, score in row] for row in results], p, atol=1e-5)


def test_serialized_examples_are_answered_by_predict(server, predictor):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"not bad at all"]))
    example = tf.train.Example(features=tf.train.Features(feature={"text": feature}))
    value = {"b64": base64.b64encode(example.SerializeToString()).decode()}
    asked = {"signature_name": "classify", "instances": [value]}
    [row] = server.ask(asked).json()["predictions"]
    expected = predictor.predict_proba(["not bad at all"])
    np.testing.assert_allclose([row["scores"]], expected, atol=1e-5)


def test_a_number_that_is_none_and_bytes_after_the_document_are_read_over(server):
    assert server.ask(b' {"x": NaN, "y": -Infinity, "instances": ["a"]} and more').is_success


DEEP = b'{"instances": ' + b"[" * 100_000
MISTAKES = [
    (b"", "JSON Parse error: The document is empty"),
    (b"{", "JSON Parse error: Expecting property name enclosed in double quotes. at offset: 1"),
    (b'{"\xe5\xa5\xbd": x}', "JSON Parse error: Expecting value. at offset: 8"),
    (b"[]", "JSON Value: [] Is not object"),
    (DEEP, "JSON Parse error: The document is nested too deeply."),
    (b'{"instances": [1' + b"0" * 5000 + b"]}", "JSON Parse error: Number too big to be stored."),
    (b'{"instances": ["\\ud800"]}', "JSON Parse error: The surrogate pair in string is invalid."),
    ({}, "Missing 'inputs' or 'instances' key"),
    ({"inputs": ["a"], "instances": ["a"]}, 'JSON Value: {"inputs": ["a"], "instances": ["a"]} Not formatted correctly expecting only one of \'inputs\' or \'instances\' keys to exist '),
    ({"instances": []}, "JSON Value: {\"instances\": []} No values in 'instances' array"),
    ({"instances": "a"}, "JSON Value: {\"instances\": \"a\"} Excepting 'instances' to be an list/array"),
    ({"instances": ["a", {"text": "b"}]}, "Expecting value/list but got object at item 1 of input list"),
    ({"instances": [{"text": "b"}, "a"]}, "Expecting object but got list at item 1 of input list"),
    ({"instances": [{"text": "a", "more": 1}]}, "Failed to process element: 0 of 'instances' list. JSON object: {\"text\": \"a\", \"more\": 1} keys must be equal to: text"),
    ({"instances": ["a", 3]}, "Failed to process element: 1 of 'instances' list. Error: JSON Value: 3 Type: Number is not of expected type: string"),
    ({"instances": [{"b64": "?"}]}, "Failed to process element: 0 of 'instances' list. Error: Unable to base64 decode {\"b64\": \"?\"}"),
    ({"inputs": {"texts": ["a"]}}, "Missing named input: text in 'inputs' object."),
    ({"inputs": "a"}, "'inputs' must be a list of texts, of shape [batch], found: \"a\""),
    ({"signature_name": 1}, "JSON Value: {\"signature_name\": 1} 'signature_name' key must be a string value."),
    ({"signature_name": "half", "instances": ["a"]}, 'Serving signature name: "half" not found in signature def'),
    ({"signature_name": "\ud800", "instances": ["a"]}, 'Serving signature name: "?" not found in signature def'),
]  # fmt: skip


@pytest.mark.parametrize(("body", "message"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_answered_in_tf_servings_words(server, body, message):
    response = server.ask(body)
    assert response.json() == {"error": message}
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"examples": [{"text": "a"}]}, "Expected classification signature"),
        ({"signature_name": "classify"}, "key 'examples' is expected"),
        ({"signature_name": "classify", "examples": ["a"]}, "must be an object"),
        ({"signature_name": "classify", "examples": [{"text": None}]}, "unexpected JSON type"),
        ({"signature_name": "classify", "examples": [{"a": ["x", 1]}]}, "Unexpected element type"),
        ({"signature_name": "classify", "examples": [{"a": 2**63}]}, "Only int64"),
        # Refused by the graph rather than by us.
        ({"signature_name": "classify", "examples": [{"text": 3}]}, "text"),
    ],
)
def test_a_mistake_of_classify_is_answered(server, body, words):
    response = server.ask(body, "classify")
    assert response.status_code == 400
    assert words in response.json()["error"]


def test_a_request_that_the_graph_refuses_does_not_fail_its_neighbours(server):
    good = {"signature_name": "classify", "instances": [{"b64": ""}]}
    bad = {"signature_name": "classify", "instances": [{"b64": "//8="}]}
    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(lambda body: server.ask(body).status_code, [good, bad] * 40))
    assert codes == [200, 400] * 40


def test_unknown_models_versions_labels_and_paths_are_named(server):
    def told(path: str, method: str = "POST") -> tuple[int, str]:
        response = httpx.request(method, server.root + path, content=b'{"instances": ["a"]}')
        return response.status_code, response.json()["error"]

    models = "/v1/models"
    missing = "Servable not found for request: "
    assert told(f"{models}/half:predict") == (404, missing + "Latest(half)")
    assert told(f"{models}/reviews/versions/7:predict") == (404, missing + "Specific(reviews, 7)")
    assert told(f"{models}/reviews/labels/old:predict") == (404, missing + "Specific(reviews, 7)")
    assert told(f"{models}/reviews/labels/x:predict")[0] == 400
    assert told(f"{models}/half", "GET") == (404, "Could not find any versions of model half")
    assert told(f"{models}/reviews/versions/7", "GET")[0] == 404
    assert told(f"{models}/half/metadata", "GET")[0] == 404
    for path, method in [("/v1/x", "POST"), (f"{models}/reviews:predict", "GET"), ("/v1/", "GET")]:
        assert told(path, method) == (400, f"Malformed request: {method} {path}")
    assert told(f"{models}/reviews:regress") == (
        400, "Expected regression signature; a classifier has none",
    )  # fmt: skip
    assert told("/nowhere", "GET") == (404, "Not Found: /nowhere")
    for path in (f"{models}/no%0A:predict", f"{models}/no%0D%0A:predict"):
        assert told(path)[0] == 404
    for method in ("TRACE", "FOO", "DELETE"):
        path = f"{models}/reviews:predict"
        assert told(path, method) == (400, f"Malformed request: {method} {path}")


def test_a_target_in_absolute_form_is_its_path_and_an_asterisk_is_none(server):
    end = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert raw(server, b"GET http://x/healthz" + end).startswith(b"HTTP/1.1 200 ")
    for method in (b"OPTIONS", b"GET"):
        told = raw(server, method + b" *" + end)
        assert told.startswith(b"HTTP/1.1 404 ") and b'{"error":' in told


def test_versions_and_labels_are_found(server):
    for at in ("/versions/1", "/labels/stable"):
        assert server.ask({"instances": ["a"]}, at=at).is_success


def test_the_status_and_the_metadata_have_tf_servings_form(server):
    state = {"version": "1", "state": "AVAILABLE"}
    state["status"] = {"error_code": "OK", "error_message": ""}
    for path in ("", "/versions/1", "/labels/stable"):
        assert httpx.get(server.model + path).json() == {"model_version_status": [state]}
    told = httpx.get(f"{server.model}/metadata").json()
    assert told["model_spec"] == {"name": "reviews", "signature_name": "", "version": "1"}
    signatures = told["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "classify", "encode", "labels"} <= set(signatures)
    text = signatures["serving_default"]["inputs"]["text"]
    assert text["dtype"] == "DT_STRING"
    dimensions = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert text["tensor_shape"] == dimensions
    assert signatures["classify"]["method_name"] == "tensorflow/serving/predict"


# === Besides ===


def test_the_page_needs_nothing_from_elsewhere(server):
    response = httpx.get(server.root + "/")
    assert response.status_code == 200
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert not re.findall(r"(?:https?:)?//[a-z]", response.text)
    assert "{{" not in response.text and '"name": "reviews"' in response.text
    assert "prefers-color-scheme: dark" in response.text


def test_health_and_metrics_are_told(server):
    assert httpx.get(server.root + "/healthz").json() == {"status": "ok", "version": "1"}
    before = server.metric("textclf_texts_total")
    server.ask({"instances": ["a", "b", "c"]})
    assert server.metric("textclf_texts_total") == before + 3
    assert server.metric("textclf_version") == server.metric("textclf_loaded_versions") == 1
    assert server.metric("textclf_requests_total") > 3


def test_requests_that_come_together_share_batches(server, predictor):
    texts = [f"good number {index} " * 40 for index in range(96)]
    batches = server.metric("textclf_batch_size_count")
    with httpx.Client(limits=httpx.Limits(max_connections=64)) as client:
        url = f"{server.model}:predict"

        def ask(text: str) -> list[float]:
            response = client.post(url, json={"instances": [text]}, timeout=60)
            return response.json()["predictions"][0]["probabilities"]

        with ThreadPoolExecutor(48) as pool:
            # The long request keeps the signature busy while the short ones gather.
            long = pool.submit(server.ask, {"instances": ["not bad " * 400] * 256})
            answers = list(pool.map(ask, texts))
            assert long.result().is_success
    np.testing.assert_allclose(answers, predictor.predict_proba(texts), atol=1e-5)
    assert server.metric("textclf_batch_size_count") - batches < 96 + 4


# === Limits ===


@pytest.fixture(scope="module")
def narrow(exports):
    limits = ["--max-body-bytes", "5000", "--max-texts", "4", "--max-text-bytes", "100"]
    limits += ["--read-seconds", "1"]
    with serving(exports / "next/2", *limits) as server:
        yield server


def test_one_version_is_served_under_the_name_of_its_folder(narrow):
    assert narrow.model.endswith("/v1/models/next")
    assert httpx.get(narrow.root + "/healthz").json()["version"] == "2"
    assert narrow.ask({"instances": ["a"]}, at="/versions/2").is_success


def test_too_much_is_refused_and_what_just_fits_is_not(narrow):
    assert narrow.ask({"instances": ["a" * 100] * 4}).is_success
    response = narrow.ask({"instances": ["a"] * 5})
    assert response.status_code == 400
    assert response.json() == {"error": "5 texts in a request; expected at most 4"}
    response = narrow.ask({"inputs": ["a", "好" * 34]})
    assert response.json() == {"error": "Text 1 has 102 bytes; expected at most 100"}


@pytest.mark.parametrize("size", [5001, 20_000_000])
def test_a_large_body_is_refused_with_413_and_the_sender_reads_it(narrow, size):
    for content in (b" " * size, iter([b" " * (size - 1), b" "])):  # with a length, and in chunks
        response = httpx.post(f"{narrow.model}:predict", content=content, timeout=60)
        assert response.status_code == 413
        assert response.json() == {"error": "The request is larger than 5000 bytes"}
    # A sender that does not look for an answer before it has sent everything.
    head = f"POST /v1/models/next:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
    told = raw(narrow, head.encode() + b" " * size)
    assert told.startswith(b"HTTP/1.1 413 ")


def test_a_large_body_that_is_announced_is_refused_before_it_is_sent(narrow):
    head = b"Host: x\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
    told = raw(narrow, b"POST /v1/models/next:predict HTTP/1.1\r\n" + head)
    assert told.startswith(b"HTTP/1.1 413 ")


def raw(server: Server, data: bytes) -> bytes:
    """What comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(data)
        told = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                told += part
        return told


def test_who_sends_too_slowly_is_cut_off(narrow):
    head = b"POST /v1/models/next:predict HTTP/1.1\r\nHost: x\r\n"
    assert raw(narrow, head).startswith(b"HTTP/1.1 408 ")
    told = raw(narrow, head + b'Content-Length: 90\r\n\r\n{"instances"')
    assert told.startswith(b"HTTP/1.1 408 ") and b"did not arrive within 1 seconds" in told
    assert raw(narrow, b"") == b""


def test_more_than_may_wait_is_refused_with_429_and_all_others_are_answered(exports):
    with serving(exports / "reviews", "--max-queue", "1") as server:
        body = {"instances": ["not bad " * 400] * 64}
        with ThreadPoolExecutor(32) as pool:
            responses = list(pool.map(lambda _: server.ask(body), range(64)))
        assert {response.status_code for response in responses} == {200, 429}
        refused = next(r for r in responses if r.status_code == 429)
        assert "queue" in refused.json()["error"]


ODD_NAME = "<!--<script> & 好"


def test_an_answer_that_takes_too_long_is_given_up_with_504(exports):
    with serving(exports / "reviews", "--answer-seconds", "0.1", "--name", ODD_NAME) as server:
        response = server.ask({"instances": ["not bad " * 400] * 1024})
        assert response.status_code == 504
        assert response.json() == {"error": "Timed out waiting for the answer"}
        until(lambda: server.ask({"instances": ["a"]}).is_success)
        page = httpx.get(server.root + "/").text
        assert page.count("<script>") == page.count("</script>") == 1, "the name is not escaped"


def hostile(seed: int) -> bytes:
    """Odd bodies: noise, broken and mutated JSON, wrong types at every place."""
    chance = random.Random(seed)
    values = [None, True, -1, 1e400, 10**30, "", "\0", "\ud800", [], {}, [[]], [[["a"]]], {"b64": 1},
              {"b64": "a"}, {"b64": "////"}, {"text": ["a"]}, {"text": {"b64": ""}}, "serving_default",
              "classify", ["a"], [{"text": "a"}], float("nan"), "x" * 1000]  # fmt: skip
    if chance.random() < 0.2:
        return chance.randbytes(chance.randrange(64))
    keys = ["signature_name", "instances", "inputs", "examples", "context", "other"]
    body = {key: chance.choice(values) for key in chance.sample(keys, chance.randrange(1, 4))}
    if chance.random() < 0.5:
        key = chance.choice(keys[1:4])
        body[key] = [chance.choice(values) for _ in range(chance.randrange(4))]
    written = bytearray(json.dumps(body).encode())
    for _ in range(chance.choice([0, 0, 1, 5])):
        written[chance.randrange(len(written))] = chance.randrange(256)
    return bytes(written)


def test_hostile_bodies_never_make_the_server_fail(server):
    codes = set()
    with httpx.Client(timeout=60) as client:
        for seed in range(600):
            verb = "classify" if seed % 3 == 0 else "predict"
            response = client.post(f"{server.model}:{verb}", content=hostile(seed))
            assert response.status_code in (200, 400), (seed, response.text)
            assert response.status_code == 200 or set(response.json()) == {"error"}
            codes.add(response.status_code)
    assert codes == {200, 400}, "some bodies must be readable"


def test_hostile_bytes_on_the_wire_never_make_the_server_fail(server):
    chance = random.Random(0)
    for _ in range(30):
        told = raw(server, chance.randbytes(200) + b"\r\n\r\n")
        assert not told.startswith(b"HTTP/1.1 5")
    assert server.ask({"instances": ["a"]}).is_success


# === New versions, and the end ===


class Load:
    """Requests without a pause from several threads, until the block ends."""

    def __init__(self, server: Server, threads: int = 4):
        self.outcomes: list[Any] = []
        self._server = server
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self._is_over.is_set():
                response = client.post(
                    f"{self._server.model}:predict", json={"instances": ["not bad at all"]}
                )
                if response.status_code == 200:
                    row = response.json()["predictions"][0]
                    self.outcomes.append(round(row["confidence"], 4))
                else:
                    self.outcomes.append(response.text)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()


def test_a_version_replaced_under_load_loses_no_answer(exports, tmp_path):
    place = tmp_path / "reviews"
    shutil.copytree(exports / "reviews", place)
    p = [
        round(
            float(classifier.load_predictor(path).answers(["not bad at all"])["confidence"][0]), 4
        )
        for path in (exports / "reviews/1", exports / "next/2")
    ]
    assert abs(p[0] - p[1]) > 1e-3, "the versions must differ for this test to mean anything"
    with serving(place) as server:
        with Load(server) as load:
            until(lambda: len(load.outcomes) > 20)
            shutil.copytree(exports / "next/2", tmp_path / "whole")
            os.rename(tmp_path / "whole", place / "2")
            until(lambda: server.metric("textclf_version") == 2)
            count = len(load.outcomes)
            until(lambda: len(load.outcomes) > count + 20)
        found = {
            min(p, key=lambda each: abs(each - c)) if isinstance(c, float) else c
            for c in load.outcomes
        }
        assert found == set(p)
        until(lambda: server.metric("textclf_loaded_versions") == 1)
        states = httpx.get(server.model).json()["model_version_status"]
        assert [(s["version"], s["state"]) for s in states] == [("2", "AVAILABLE"), ("1", "END")]
        shutil.rmtree(place / "2")  # back to what was before
        until(lambda: server.metric("textclf_version") == 1)
        code, stderr = server.end()
    assert code == 0
    assert "version 2 is served instead of 1\nversion 1 is released\n" in stderr


def test_a_version_that_cannot_be_loaded_is_left_out_until_its_files_change(exports, tmp_path):
    place = tmp_path / "reviews"
    shutil.copytree(exports / "reviews", place)
    with serving(place) as server:
        half = tmp_path / "2"
        shutil.copytree(exports / "next/2", half)
        shutil.rmtree(half / "variables")
        os.rename(half, place / "2")
        until(lambda: server.metric("textclf_failed_loads") == 1)
        assert server.ask({"instances": ["a"]}).is_success
        states = httpx.get(server.model).json()["model_version_status"]
        assert [(s["version"], s["state"]) for s in states] == [("2", "END"), ("1", "AVAILABLE")]
        shutil.copytree(exports / "next/2/variables", place / "2/variables")
        until(lambda: server.metric("textclf_version") == 2)
        _, stderr = server.end()
    assert "version 2 cannot be loaded and is left out" in stderr


def test_sigterm_loses_no_accepted_request(exports):
    with serving(exports / "reviews", "--max-queue", "64") as server:
        body = {"instances": ["not bad " * 400] * 256}
        with ThreadPoolExecutor(12) as pool:
            asked = [pool.submit(server.ask, body) for _ in range(12)]
            until(lambda: server.metric("textclf_waiting_requests") >= 5)
            done = sum(future.done() for future in asked)
            code, stderr = server.end()
            assert done < 12, "some must be unanswered when it is told to stop"
            # Those accepted by then: the queue held five at least, one was being answered.
            codes = [f.result().status_code for f in asked if f.exception() is None]
            lost = [f.exception() for f in asked if f.exception() is not None]
    assert (code, stderr) == (0, "")
    assert set(codes) == {200}
    assert all(isinstance(error, httpx.ConnectError) for error in lost), lost


def test_who_comes_or_asks_after_sigterm_is_answered_before_the_end(exports):
    with serving(exports / "reviews") as server:

        def ask(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
            connection.request("POST", "/v1/models/reviews:predict", b'{"instances": ["a"]}')
            response = connection.getresponse()
            assert response.status == 200 and b"predictions" in response.read()
            return response

        first, second = (
            http.client.HTTPConnection("127.0.0.1", server.port, timeout=30) for _ in range(2)
        )
        assert ask(first).getheader("connection") is None
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        for connection in (first, second):
            assert ask(connection).getheader("connection") == "close"
            connection.close()
        assert server.process.wait(60) == 0


def test_who_asks_when_no_more_are_taken_in_is_ignored_and_who_came_before_is_not():
    with socket.create_server(("127.0.0.1", 0)) as bound:
        before = socket.create_connection(bound.getsockname())
        _ignore_new(bound)
        with pytest.raises(TimeoutError):
            socket.create_connection(bound.getsockname(), timeout=0.3)
        with before, bound.accept()[0] as accepted:
            before.sendall(b"a request")
            assert accepted.recv(9) == b"a request"


def test_a_missing_package_is_one_sentence_without_tensorflow(exports):
    code = (
        "import sys\n"
        "import importlib.util as util\n"
        "real = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'uvicorn' else real(name, *rest)\n"
        "from textclf.cli import main\n"
        "try:\n"
        "    main(['serve', sys.argv[1]])\n"
        "finally:\n"
        "    assert 'tensorflow' not in sys.modules\n"
    )
    program = [sys.executable, "-c", code, str(exports / "reviews")]
    told = subprocess.run(program, capture_output=True, text=True)
    assert told.returncode == 1 and told.stdout == ""
    words = (
        "textclf serve: packages that it needs are not installed; install them with "
        "`.venv/bin/pip install '.[serve]'` in the checkout of textclf"
    )
    assert told.stderr == f"Error: {words}\n"


def test_a_port_that_is_taken_is_one_sentence(exports, server):
    program = [sys.executable, "-m", "textclf", "serve", str(exports / "reviews")]
    told = subprocess.run([*program, "--port", str(server.port)], capture_output=True, text=True)
    assert told.returncode == 1
    assert told.stderr == (
        f"Error: 127.0.0.1:{server.port}: cannot be listened at (Address already in use); use "
        "another --port or --host\n"
    )


# === The page, in a browser ===


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if chromium.PROGRAM is None:
        pytest.skip("no Chromium on this machine: this test looks at the page with one")
    with chromium.page(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.mark.parametrize(
    ("width", "height", "dark"), [(1280, 800, False), (360, 640, False), (360, 640, True)]
)
def test_the_page_shows_the_classes_while_a_person_types(
    server, predictor, page, width, height, dark
):
    page.open(server.root, width=width, height=height, dark=dark)
    page.type("#text", "not bad at all")
    page.until("document.querySelectorAll('#classes li').length == 2")
    answer = predictor.answers(["not bad at all"])
    label = answer["label"][0].decode()
    assert page.evaluate("document.querySelector('#label').textContent") == label
    chosen = page.evaluate("document.querySelector('li.selected').textContent")
    assert chosen == f"{label}{100 * answer['probabilities'][0].max():.1f} %"
    facts = page.evaluate("document.querySelector('#facts').textContent")
    assert facts.startswith(
        f"Confidence {100 * answer['confidence'][0]:.1f} % · 4 tokens · unknown"
    )
    page.type("#text", " <img src=x onerror=alert(1)> " + "qwertz" * 200 + " " + "无聊" * 300)
    page.until("/^Conf.* \\d{2,} tokens/.test(document.querySelector('#facts').textContent)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")
    page.evaluate("document.querySelector('textarea').value = ' '")
    page.evaluate("document.querySelector('textarea').dispatchEvent(new Event('input'))")
    page.until("document.querySelector('#label').textContent == ''")
    assert page.problems == []
