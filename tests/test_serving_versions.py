"""Start of the server, replacement of versions under load, and shutdown."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from server import Server, running_server, wait_until

from textclf import classifier

# === Versions ===


class Load:
    """Context in which several threads send requests without a pause.

    Attributes:
        outcomes: the confidence of each answer, or the text of an error response.
    """

    def __init__(self, server: Server, num_threads: int = 4):
        self.outcomes: list[Any] = []
        self._server = server
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(num_threads)]

    def _send(self) -> None:
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


def test_replacing_a_served_version_under_load_loses_no_answer(exports, tmp_path):
    folder = tmp_path / "reviews"
    shutil.copytree(exports / "reviews", folder)
    confidences = [
        round(
            float(classifier.load_predictor(path).answers(["not bad at all"])["confidence"][0]), 4
        )
        for path in (exports / "reviews/1", exports / "next/2")
    ]
    assert abs(confidences[0] - confidences[1]) > 1e-3, "the versions must differ"
    with running_server(folder) as server:
        with Load(server) as load:
            wait_until(lambda: len(load.outcomes) > 20)
            shutil.copytree(exports / "next/2", tmp_path / "copy")
            os.rename(tmp_path / "copy", folder / "2")
            wait_until(lambda: server.metric("textclf_version") == 2)
            count = len(load.outcomes)
            wait_until(lambda: len(load.outcomes) > count + 20)
        rounded = {
            min(confidences, key=lambda c: abs(c - outcome))
            if isinstance(outcome, float)
            else outcome
            for outcome in load.outcomes
        }
        assert rounded == set(confidences)
        wait_until(lambda: server.metric("textclf_loaded_versions") == 1)
        states = httpx.get(server.model).json()["model_version_status"]
        assert [(s["version"], s["state"]) for s in states] == [("2", "AVAILABLE"), ("1", "END")]
        shutil.rmtree(folder / "2")  # the server returns to version 1
        wait_until(lambda: server.metric("textclf_version") == 1)
        code, stderr = server.stop()
    assert code == 0
    assert "version 2 replaces version 1\nversion 1 is released\n" in stderr


def test_a_damaged_served_version_is_skipped_until_its_files_change(exports, tmp_path):
    folder = tmp_path / "reviews"
    shutil.copytree(exports / "reviews", folder)
    with running_server(folder) as server:
        partial = tmp_path / "2"
        shutil.copytree(exports / "next/2", partial)
        shutil.rmtree(partial / "variables")
        os.rename(partial, folder / "2")
        wait_until(lambda: server.metric("textclf_failed_loads") == 1)
        assert server.post({"instances": ["a"]}).is_success
        states = httpx.get(server.model).json()["model_version_status"]
        assert [(s["version"], s["state"]) for s in states] == [("2", "END"), ("1", "AVAILABLE")]
        shutil.copytree(exports / "next/2/variables", folder / "2/variables")
        wait_until(lambda: server.metric("textclf_version") == 2)
        _, stderr = server.stop()
    assert "version 2 cannot be loaded (" in stderr
    assert "); version 1 stays in service until its files change\n" in stderr


# === Shutdown ===


def test_sigterm_loses_no_accepted_request(exports):
    with running_server(exports / "reviews", "--max-queue", "64") as server:
        body = {"instances": ["not bad " * 400] * 256}
        with ThreadPoolExecutor(12) as pool:
            futures = [pool.submit(server.post, body) for _ in range(12)]
            wait_until(lambda: server.metric("textclf_waiting_requests") >= 5)
            num_done = sum(future.done() for future in futures)
            code, stderr = server.stop()
            assert num_done < 12, "some requests must be in progress when the signal is sent"
            codes = [f.result().status_code for f in futures if f.exception() is None]
            errors = [f.exception() for f in futures if f.exception() is not None]
    assert (code, stderr) == (0, "")
    assert set(codes) == {200}
    assert all(isinstance(error, httpx.ConnectError) for error in errors), errors


def test_requests_shortly_after_sigterm_are_answered_and_close_their_connection(exports):
    with running_server(exports / "reviews") as server:

        def post(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
            connection.request("POST", "/v1/models/reviews:predict", b'{"instances": ["a"]}')
            response = connection.getresponse()
            assert response.status == 200 and b"predictions" in response.read()
            return response

        open_before, opened_after = (
            http.client.HTTPConnection("127.0.0.1", server.port, timeout=30) for _ in range(2)
        )
        assert post(open_before).getheader("connection") is None
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        health = httpx.get(server.root + "/healthz")
        assert (health.status_code, health.json()) == (503, {"status": "stopping"})
        for connection in (open_before, opened_after):
            assert post(connection).getheader("connection") == "close"
            connection.close()
        assert server.process.wait(60) == 0


def test_server_answers_only_accepted_connections_after_the_grace_period(exports):
    with running_server(exports / "reviews") as server:
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.7)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(b"GET /v1/models/reviews HTTP/1.1\r\nHost: x\r\n\r\n")
        with connection:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(60) == 0


def test_ctrl_c_ends_serving_with_exit_code_0_and_a_second_ctrl_c_at_once(exports):
    with running_server(exports / "reviews") as server:
        body = {"instances": ["not bad " * 400] * 1024}
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(server.post, body) for _ in range(8)]
            wait_until(lambda: server.metric("textclf_waiting_requests") >= 5)
            for _ in range(2):
                server.process.send_signal(signal.SIGINT)
                time.sleep(0.1)
            assert server.process.wait(60) == 0
            is_answered = [f.exception() is None and f.result().is_success for f in futures]
            assert not all(is_answered), [f.exception() or f.result() for f in futures]


# === Start ===


def test_serve_reports_a_missing_package_before_tensorflow_is_imported(exports):
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
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    message = (
        "textclf serve: required packages are not installed; install them with "
        "`.venv/bin/pip install '.[serve]'` in the checkout of textclf"
    )
    assert done.stderr == f"Error: {message}\n"


def test_serve_reports_a_port_in_use_in_one_sentence(exports):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        program = [sys.executable, "-m", "textclf", "serve", str(exports / "reviews")]
        done = subprocess.run([*program, "--port", str(port)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: 127.0.0.1:{port}: cannot listen (Address already in use); use "
        "another --port or --host\n"
    )
