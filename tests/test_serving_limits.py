"""Limits of the server: sizes, numbers, times, connections and malformed requests."""

import contextlib
import http.client
import json
import random
import select
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import tensorflow as tf
from server import running_server, wait_until


@pytest.fixture(scope="module")
def limited(exports):
    options = ["--max-body-bytes", "5000", "--max-texts", "4", "--max-text-bytes", "100"]
    options += ["--read-seconds", "1", "--max-connections", "30"]
    with running_server(exports / "next/2", *options) as server:
        yield server


# === Sizes and numbers ===


def test_a_single_version_is_served_under_the_name_of_its_parent_folder(limited):
    assert limited.model.endswith("/v1/models/next")
    assert httpx.get(limited.root + "/healthz").json()["version"] == "2"
    assert limited.post({"instances": ["a"]}, version="/versions/2").is_success


def test_server_accepts_texts_at_the_limits(limited):
    assert limited.post({"instances": ["a" * 100] * 4}).is_success
    response = limited.post({"instances": ["a"] * 5})
    assert response.status_code == 400
    assert response.json() == {"error": "5 texts in a request; expected at most 4"}
    response = limited.post({"inputs": ["a", "好" * 34]})
    assert response.status_code == 400
    assert response.json() == {"error": "Text 1 has 102 bytes; expected at most 100"}


@pytest.mark.parametrize("size", [5001, 20_000_000])
def test_a_request_body_over_the_limit_is_answered_with_413(limited, size):
    for content in (b" " * size, iter([b" " * (size - 1), b" "])):  # with a length, and in chunks
        response = httpx.post(f"{limited.model}:predict", content=content, timeout=60)
        assert response.status_code == 413
        assert response.json() == {"error": "The request is larger than 5000 bytes"}
    # A client that reads the response only after it has sent the whole body.
    head = f"POST /v1/models/next:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
    assert limited.send_bytes(head.encode() + b" " * size).startswith(b"HTTP/1.1 413 ")


def test_a_request_body_announced_over_the_limit_is_refused_before_its_transfer(limited):
    head = b"Host: x\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
    received = limited.send_bytes(b"POST /v1/models/next:predict HTTP/1.1\r\n" + head)
    assert received.startswith(b"HTTP/1.1 413 ")


def test_a_full_queue_is_answered_with_429_and_the_queued_requests_with_200(exports):
    with running_server(exports / "reviews", "--max-queue", "1") as server:
        body = {"instances": ["not bad " * 400] * 64}
        with ThreadPoolExecutor(32) as pool:
            responses = list(pool.map(lambda _: server.post(body), range(64)))
        assert {response.status_code for response in responses} == {200, 429}
        refused = next(r for r in responses if r.status_code == 429)
        assert "queue" in refused.json()["error"]


def test_more_than_the_allowed_connections_are_answered_with_503(limited):
    with contextlib.ExitStack() as stack:
        for _ in range(29):
            stack.enter_context(socket.create_connection(("127.0.0.1", limited.port)))
        wait_until(lambda: limited.post({"instances": ["a"]}).status_code == 503)
    wait_until(lambda: limited.post({"instances": ["a"]}).is_success)


# === Times ===


def test_a_slow_request_body_is_answered_with_408(limited):
    head = b"POST /v1/models/next:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n"
    received = limited.send_bytes(head + b'{"instances"')
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within 1 seconds" in received

    # The limit is on the whole body, not on the pauses in it.
    with socket.create_connection(("127.0.0.1", limited.port), timeout=30) as connection:
        connection.sendall(head)
        for _ in range(20):
            if select.select([connection], [], [], 0.2)[0]:
                break
            connection.sendall(b" ")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed_after_read_seconds(limited):
    connection = http.client.HTTPConnection("127.0.0.1", limited.port, timeout=4)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read()
    assert connection.sock.recv(1) == b"", "uvicorn's default would be 5 seconds"
    connection.close()


ODD_NAME = "<!--<script> & 好"


def test_an_answer_after_the_timeout_is_replaced_by_504(exports):
    options = ["--answer-seconds", "0.1", "--name", ODD_NAME]
    with running_server(exports / "reviews", *options) as server:
        response = server.post({"instances": ["not bad " * 400] * 1024})
        assert response.status_code == 504
        assert response.json() == {"error": "Timed out waiting for the answer"}
        wait_until(lambda: server.post({"instances": ["a"]}).is_success)
        page = httpx.get(server.root + "/").text
        assert page.count("<script>") == page.count("</script>") == 1, "the name is not escaped"


# === Malformed requests, and errors of the graph ===


def malformed_body(seed: int) -> bytes:
    """Return random bytes, or JSON with wrong types and changed bytes."""
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
    data = bytearray(json.dumps(body).encode())
    for _ in range(chance.choice([0, 0, 1, 5])):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def test_malformed_request_bodies_are_never_answered_with_5xx(limited):
    codes = set()
    with httpx.Client(timeout=60) as client:
        for seed in range(600):
            verb = "classify" if seed % 3 == 0 else "predict"
            response = client.post(f"{limited.model}:{verb}", content=malformed_body(seed))
            assert response.status_code in (200, 400), (seed, response.text)
            assert response.status_code == 200 or set(response.json()) == {"error"}
            codes.add(response.status_code)
    assert codes == {200, 400}, "some bodies must be valid"


def test_malformed_http_is_never_answered_with_5xx(limited):
    chance = random.Random(0)
    for _ in range(30):
        received = limited.send_bytes(chance.randbytes(200) + b"\r\n\r\n")
        assert not received.startswith(b"HTTP/1.1 5")
    assert limited.post({"instances": ["a"]}).is_success


def test_an_unexpected_error_is_answered_with_json_500_and_logged(exports, tmp_path):
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(text):
        def read_or_copy(value):
            # Reading a missing file is an error that is not the client's.
            return tf.cond(value == b"fail", lambda: tf.io.read_file("/nowhere"), lambda: value)

        return {"text": tf.map_fn(read_or_copy, text)}

    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": serve})
    card = exports / "reviews/1/assets.extra/card.json"
    (tmp_path / "1/assets.extra").mkdir(exist_ok=True)
    (tmp_path / "1/assets.extra/card.json").write_bytes(card.read_bytes())
    with running_server(tmp_path) as server:
        response = server.post({"instances": ["fail"]})
        assert response.status_code == 500
        assert response.headers["content-type"] == "application/json"
        assert response.json() == {"error": "Internal error"}
        assert server.post({"instances": ["a"]}).json() == {"predictions": ["a"]}
        assert 'code="500",method="predict"' in httpx.get(server.root + "/metrics").text
        code, stderr = server.stop()
    assert code == 0
    assert stderr.startswith("a request failed\nTraceback") and "NotFoundError" in stderr
