"""REST API of the server, its other endpoints, and its page in a browser."""

import base64
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import chromium
import httpx
import numpy as np
import pytest
import tensorflow as tf
from server import running_server
from test_classifier import WEIRD

from textclf import classifier
from textclf.errors import TextclfError
from textclf.serving import listening

TEXTS = ["not bad at all", "", "一点也不差", "bad " * 500]


@pytest.fixture(scope="module")
def predictor(exports):
    return classifier.load_predictor(exports / "reviews")


@pytest.fixture(scope="module")
def server(exports):
    with running_server(exports / "reviews", "--label", "stable=1", "--label", "old=7") as server:
        yield server
        assert server.stop() == (0, ""), "invalid requests must not be logged"


def assert_equal_outputs(
    actual: dict[str, Any], expected: dict[str, np.ndarray], rows: int
) -> None:
    assert set(actual) == set(classifier.OUTPUTS)
    for name in ("probabilities", "confidence", "unknown_fraction"):
        np.testing.assert_allclose(actual[name], expected[name], atol=1e-5)
    for name in ("label_id", "selected", "abstain", "num_tokens", "truncated"):
        assert actual[name] == expected[name].tolist()
    assert actual["label"] == [name.decode() for name in expected["label"]]
    assert len(actual["class_names"]) == rows


# === TF Serving's API ===


def test_served_answers_in_row_format_equal_those_of_the_predictor(server, predictor):
    expected = predictor.answers(TEXTS)
    for instances in (TEXTS, [{"text": text} for text in TEXTS]):
        response = server.post({"instances": instances})
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json"
        [rows] = response.json().values()
        assert set(response.json()) == {"predictions"}
        assert_equal_outputs({name: [row[name] for row in rows] for name in rows[0]}, expected, 4)


def test_served_answers_in_column_format_equal_those_of_the_predictor(server, predictor):
    expected = predictor.answers(TEXTS)
    for inputs in (TEXTS, {"text": TEXTS}):
        response = server.post({"signature_name": "serving_default", "inputs": inputs})
        assert_equal_outputs(response.json()["outputs"], expected, 4)


def test_a_signature_with_one_output_is_answered_without_output_names(server):
    names = [["negative", "positive"]]
    asked = {"signature_name": "labels", "instances": ["x"]}
    assert server.post(asked).json() == {"predictions": names}
    assert server.post({"signature_name": "labels", "inputs": ["x"]}).json() == {"outputs": names}
    encoded = server.post({"signature_name": "encode", "instances": ["good", "bad"]}).json()
    assert np.array(encoded["predictions"]).shape == (2, 24)


def test_served_texts_may_be_base64_or_invalid_utf8(server, predictor):
    texts = [text if isinstance(text, bytes) else text.encode("utf-8", "replace") for text in WEIRD]
    texts = [text for text in texts if len(text) <= 100_000]
    assert b"\xff" in b"".join(texts), "some bytes must be invalid UTF-8"
    written = [{"b64": base64.b64encode(text).decode()} for text in texts]
    expected = predictor.answers(texts)
    for instances in (written, [{"text": text} for text in written]):
        rows = server.post({"instances": instances}).json()["predictions"]
        np.testing.assert_allclose(
            [row["probabilities"] for row in rows], expected["probabilities"], atol=1e-5
        )
    [row] = server.post(b'{"instances": ["good \xff\xfe film"]}').json()["predictions"]
    expected = predictor.predict_proba([b"good \xff\xfe film"])
    np.testing.assert_allclose([row["probabilities"]], expected, atol=1e-5)


def test_classify_returns_labels_with_scores(server, predictor):
    p = predictor.predict_proba(["not bad at all", "good"])
    asked = {
        "signature_name": "classify",
        "context": {"text": "good"},
        "examples": [{"text": "not bad at all", "stars": 3, "weight": 0.5}, {"other": ["a", "b"]}],
    }
    results = server.post(asked, "classify").json()["results"]
    assert [[label for label, _ in row] for row in results] == [["negative", "positive"]] * 2
    np.testing.assert_allclose([[score for _, score in row] for row in results], p, atol=1e-5)


def test_served_explanations_equal_those_of_python_and_are_limited_to_few_texts(server, model):
    texts = [*TEXTS[:3], *["good"] * 5]
    expected = model.leave_one_out(tf.constant(texts))
    asked = {"signature_name": "explain", "inputs": texts}
    outputs = server.post(asked).json()["outputs"]
    np.testing.assert_allclose(outputs["drops"], expected["drops"], atol=1e-5)
    tokens = [[token.decode() for token in row] for row in expected["tokens"].numpy()]
    assert outputs["tokens"] == tokens and tokens[1] == [""] * 5
    refused = server.post(asked | {"inputs": [*texts, "good"]})
    assert refused.status_code == 400
    assert refused.json() == {"error": "9 texts in a request; expected at most 8"}


def test_predict_accepts_serialized_examples(server, predictor):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"not bad at all"]))
    example = tf.train.Example(features=tf.train.Features(feature={"text": feature}))
    value = {"b64": base64.b64encode(example.SerializeToString()).decode()}
    asked = {"signature_name": "classify", "instances": [value]}
    [row] = server.post(asked).json()["predictions"]
    expected = predictor.predict_proba(["not bad at all"])
    np.testing.assert_allclose([row["scores"]], expected, atol=1e-5)


def test_server_ignores_nan_and_bytes_after_the_json_document(server):
    assert server.post(b' {"x": NaN, "y": -Infinity, "instances": ["a"]} and more').is_success


DEEP = b'{"instances": ' + b"[" * 100_000
INVALID = [
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


@pytest.mark.parametrize(("body", "message"), INVALID, ids=[ascii(m[:60]) for _, m in INVALID])
def test_an_invalid_predict_request_gets_the_message_of_tf_serving(server, body, message):
    response = server.post(body)
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
        # Rejected by the graph.
        ({"signature_name": "classify", "examples": [{"text": 3}]}, "text"),
    ],
)
def test_an_invalid_classify_request_is_answered_with_400(server, body, words):
    response = server.post(body, "classify")
    assert response.status_code == 400
    assert words in response.json()["error"]


def test_a_request_rejected_by_the_graph_does_not_fail_its_batch(server):
    valid = {"signature_name": "classify", "instances": [{"b64": ""}]}
    invalid = {"signature_name": "classify", "instances": [{"b64": "//8="}]}
    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(lambda body: server.post(body).status_code, [valid, invalid] * 40))
    assert codes == [200, 400] * 40


def test_an_unknown_model_version_label_path_or_method_is_named_in_json(server):
    def request(path: str, method: str = "POST") -> tuple[int, str]:
        response = httpx.request(method, server.root + path, content=b'{"instances": ["a"]}')
        return response.status_code, response.json()["error"]

    models = "/v1/models"
    missing = "Servable not found for request: "
    assert request(f"{models}/half:predict") == (404, missing + "Latest(half)")
    assert request(f"{models}/reviews/versions/7:predict") == (
        404,
        missing + "Specific(reviews, 7)",
    )
    assert request(f"{models}/reviews/labels/old:predict") == (
        404,
        missing + "Specific(reviews, 7)",
    )
    assert request(f"{models}/reviews/labels/x:predict")[0] == 400
    assert request(f"{models}/half", "GET") == (404, "Could not find any versions of model half")
    assert request(f"{models}/reviews/versions/7", "GET")[0] == 404
    assert request(f"{models}/half/metadata", "GET")[0] == 404
    for path, method in [("/v1/x", "POST"), (f"{models}/reviews:predict", "GET"), ("/v1/", "GET")]:
        assert request(path, method) == (400, f"Malformed request: {method} {path}")
    assert request(f"{models}/reviews:regress") == (
        400, "Expected regression signature; a classifier has none",
    )  # fmt: skip
    assert request("/nowhere", "GET") == (404, "Not Found: /nowhere")
    assert request("/healthz%0A", "GET") == (404, "Not Found: /healthz\n")
    path = f"{models}/reviews:predict%0A"
    assert request(path) == (400, f"Malformed request: POST {models}/reviews:predict\n")
    for path in (f"{models}/no%0A:predict", f"{models}/no%0D%0A:predict"):
        assert request(path)[0] == 404
    for method in ("TRACE", "FOO", "DELETE"):
        path = f"{models}/reviews:predict"
        assert request(path, method) == (400, f"Malformed request: {method} {path}")


def test_a_request_target_may_be_an_absolute_url_but_not_an_asterisk(server):
    end = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert server.send_bytes(b"GET http://x/healthz" + end).startswith(b"HTTP/1.1 200 ")
    for method in (b"OPTIONS", b"GET"):
        received = server.send_bytes(method + b" *" + end)
        assert received.startswith(b"HTTP/1.1 404 ") and b'{"error":' in received


def test_request_paths_may_name_a_version_or_a_label(server):
    for version in ("/versions/1", "/labels/stable"):
        assert server.post({"instances": ["a"]}, version=version).is_success


def test_fixed_parts_of_a_request_path_ignore_case_and_model_names_do_not(server):
    shouted = server.model.replace("/v1/models/", "/V1/MODELS/")
    body = b'{"instances": ["a"]}'
    assert httpx.post(f"{shouted}/VERSIONS/1:Predict", content=body).is_success
    assert httpx.get(f"{shouted}/Metadata").is_success
    response = httpx.post(f"{server.model.upper()}:predict", content=body)
    assert response.json() == {"error": "Servable not found for request: Latest(REVIEWS)"}


def test_status_and_metadata_have_the_format_of_tf_serving(server):
    state = {"version": "1", "state": "AVAILABLE"}
    state["status"] = {"error_code": "OK", "error_message": ""}
    for path in ("", "/versions/1", "/labels/stable"):
        assert httpx.get(server.model + path).json() == {"model_version_status": [state]}
    metadata = httpx.get(f"{server.model}/metadata").json()
    assert metadata["model_spec"] == {"name": "reviews", "signature_name": "", "version": "1"}
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "classify", "encode", "explain", "labels"} <= set(signatures)
    text = signatures["serving_default"]["inputs"]["text"]
    assert text["dtype"] == "DT_STRING"
    dimensions = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert text["tensor_shape"] == dimensions
    assert signatures["classify"]["method_name"] == "tensorflow/serving/predict"


# === Other endpoints ===


def test_served_page_loads_no_external_resources(server):
    response = httpx.get(server.root + "/")
    assert response.status_code == 200
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert not re.findall(r"(?:https?:)?//[a-z]", response.text)
    assert "{{" not in response.text and '"name": "reviews"' in response.text
    assert "prefers-color-scheme: dark" in response.text


def test_served_page_explains_itself_and_links_the_paths_of_the_api(server, predictor):
    html = httpx.get(server.root + "/").text
    assert '<label for="text">Text to classify</label>' in html and "placeholder=" in html
    assert "The answer appears while you type." in html
    assert f"2 classes:\n{', '.join(predictor.class_names)}</p>" in html
    assert "<code>POST /v1/models/reviews:predict</code>" in html
    links = re.findall(r'<a href="([^"]*)"', html)
    path = "v1/models/reviews"
    assert links == [f"{path}/metadata", path, "healthz", "metrics"]
    for link in links:
        assert httpx.get(f"{server.root}/{link}").is_success


def test_server_reports_health_and_metrics(server):
    assert httpx.get(server.root + "/healthz").json() == {"status": "ok", "version": "1"}
    before = server.metric("textclf_texts_total")
    server.post({"instances": ["a", "b", "c"]})
    assert server.metric("textclf_texts_total") == before + 3
    assert server.metric("textclf_version") == server.metric("textclf_loaded_versions") == 1
    assert server.metric("textclf_requests_total") > 3


def test_concurrent_requests_share_batches(server, predictor):
    texts = [f"good number {index} " * 40 for index in range(96)]
    batches = server.metric("textclf_batch_size_count")
    with httpx.Client(limits=httpx.Limits(max_connections=64)) as client:
        url = f"{server.model}:predict"

        def post(text: str) -> list[float]:
            response = client.post(url, json={"instances": [text]}, timeout=60)
            return response.json()["predictions"][0]["probabilities"]

        with ThreadPoolExecutor(48) as pool:
            # A long request keeps the signature busy while short ones fill the queue.
            long = pool.submit(server.post, {"instances": ["not bad " * 400] * 256})
            answers = list(pool.map(post, texts))
            assert long.result().is_success
    np.testing.assert_allclose(answers, predictor.predict_proba(texts), atol=1e-5)
    assert server.metric("textclf_batch_size_count") - batches < 96 + 4


# === Page ===


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if chromium.PROGRAM is None:
        pytest.skip("Chromium is not installed; this test opens the page in it")
    with chromium.page(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.mark.parametrize(
    ("width", "height", "dark"), [(1280, 800, False), (360, 640, False), (360, 640, True)]
)
def test_served_page_shows_the_prediction_during_typing(
    server, predictor, page, width, height, dark
):
    page.open(server.root, width=width, height=height, dark=dark)
    page.type("#text", "not bad at all")
    page.until("document.querySelectorAll('#classes li').length == 2")
    answer = predictor.answers(["not bad at all"])
    label = answer["label"][0].decode()
    assert page.evaluate("document.querySelector('#label').textContent") == label
    selected = page.evaluate("document.querySelector('li.selected').textContent")
    assert selected == f"{label}{100 * answer['probabilities'][0].max():.1f} %"
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


COLOURS = """[...document.querySelectorAll('#words span')].map(word =>
    [word.textContent, word.style.background.match(/\\d+/)[0]])"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_served_page_colours_words_by_their_effect_on_the_score_of_the_class(
    server, model, page, dark
):
    text = "The film is not bad at all, 一点也不差"
    outputs = model.leave_one_out(tf.constant([text]))
    names = list(model.class_names)
    shown = names[int(outputs["scores"].numpy()[0].argmax())]
    page.open(server.root, width=360, height=640, dark=dark)
    page.type("#text", text)
    page.until("document.querySelectorAll('#words span').length == 12")
    for name in (shown, *(name for name in names if name != shown)):
        button = (
            f"[...document.querySelectorAll('button.name')].find(b => b.textContent == '{name}')"
        )
        if name != shown:
            page.evaluate(f"{button}.click()")
        assert page.evaluate(f"{button}.getAttribute('aria-pressed')") == "true"
        title = page.evaluate("document.querySelector('#words-title').textContent")
        assert title == f"{name}: blue words raise the score, orange ones lower it"
        drops = outputs["drops"].numpy()[0, :, names.index(name)]
        tokens = [token.decode() for token in outputs["tokens"].numpy()[0]]
        expected = [[t, "30" if drop > 0 else "225"] for t, drop in zip(tokens, drops, strict=True)]
        assert page.evaluate(COLOURS) == expected
    words = page.evaluate("document.querySelector('#words').textContent")
    assert words == "the film is not bad at all 一点也不差"
    page.evaluate("document.querySelector('textarea').value = ''")
    page.evaluate("document.querySelector('textarea').dispatchEvent(new Event('input'))")
    page.until("document.querySelector('#words').textContent == ''")
    page.type("#text", "good")
    page.until("document.querySelector('#words').textContent == 'good'")
    assert page.problems == []


def test_a_second_server_is_refused_the_port_before_the_first_one_is_ready() -> None:
    with listening.listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(TextclfError, match=f"127.0.0.1:{port}: cannot listen"):
            listening.listen("127.0.0.1", port).close()
