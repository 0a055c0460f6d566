"""Load test of `textclf serve`: throughput, latency, and requests lost when versions change.

    python benchmarks/serve_load.py [--model saved_models/reviews] [--seconds 10] [--json]

Without --model it serves a bidirectional LSTM of 64 units with random weights and 20,000 words, and
replaces it by a version with another temperature. With --model, the last version replaces the one
before; a single version is not replaced. The clients use httpx in this process, on the same
machine; `client_cores` is the CPU time that they use. Exits with 1 if an answer is lost that
docs/serving.md promises. Malformed requests are in serve_fuzz.py.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import httpx
import msgspec
import numpy as np

WORDS = [f"word{index}" for index in range(20_000)]
NUM_CLIENTS = 8  # where a version is replaced or the server is killed
# Requests sent up to here after SIGTERM must be answered: the server accepts connections for 0.5 s.
PROMISED_SECONDS = 0.4
TIMEOUT_SECONDS = 120


# === Model and server ===


def make_model(folder: Path) -> None:
    """Write versions 1 and 2 of a network with random weights; they differ in temperature."""
    from inference import untrained

    from textclf import classifier, saved_model

    model = untrained("lstm", bidirectional=True, units=64, folder=folder)
    for version, temperature in ((1, 1.0), (2, 5.0)):
        card = msgspec.structs.replace(model.card, temperature=temperature)
        variant = classifier.Classifier(model.text_encoder, model.network, card)
        saved_model.export(variant, folder / "model", version=version)


def find_versions(folder: Path) -> list[Path]:
    """Return the last two versions in a folder, in order."""
    versions = [path.parent for path in folder.glob("[0-9]*/saved_model.pb")]
    versions = [path for path in versions if path.name.isdecimal()]
    return sorted(versions, key=lambda path: int(path.name))[-2:]


@contextlib.contextmanager
def served_folder(model: Path | None) -> Iterator[tuple[Path, list[Path]]]:
    """Yield an empty folder to serve from, and the versions of a model; None makes a model."""
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        if model is None:
            # In a separate process, because TensorFlow uses memory and threads of this one.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply_async(make_model, (temporary,)).get(300)
        versions = find_versions(model or temporary / "model")
        if not versions:
            raise SystemExit(f"{model}: no exported version; textclf export writes one")
        (temporary / "served").mkdir()
        yield temporary / "served", versions


@dataclasses.dataclass(frozen=True)
class Server:
    """Running server; `url` is that of the model."""

    process: subprocess.Popen
    url: str
    started: float
    stderr: IO[bytes]

    def exit_code(self) -> int | str:
        """Wait for the end of the process."""
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            return "none in 60 s"

    def num_tracebacks(self) -> int:
        """Count the tracebacks in the server's stderr."""
        self.stderr.seek(0)
        return self.stderr.read().count(b"Traceback")


@contextlib.contextmanager
def running_server(folder: Path, *options: str) -> Iterator[Server]:
    """Yield a server that answers, in a separate process; kill it after the block."""
    with tempfile.TemporaryFile() as stderr:
        started = time.monotonic()
        program = [sys.executable, "-m", "textclf", "serve", str(folder), "--port", "0", *options]
        process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=stderr, text=True)
        limit = threading.Timer(TIMEOUT_SECONDS, process.kill)
        limit.start()
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            limit.cancel()
            if not url:
                stderr.seek(0)
                raise SystemExit(f"the server did not start: {stderr.read().decode()}")
            yield Server(process, url, started, stderr)
        finally:
            limit.cancel()
            process.kill()
            process.communicate()


# === Clients ===


def request_bodies(count: int) -> list[bytes]:
    """Return predict requests of one text with 40 tokens."""
    chance = random.Random(0)
    texts = [" ".join(chance.choices(WORDS, k=40)) for _ in range(count)]
    return [json.dumps({"instances": [text]}).encode() for text in texts]


def predict(server: Server) -> dict[str, Any]:
    """Return the prediction of the first request body."""
    response = httpx.post(f"{server.url}:predict", content=request_bodies(1)[0], timeout=60)
    return response.raise_for_status().json()["predictions"][0]


class Outcome(NamedTuple):
    """Result of a request: its times, and the code and confidence or the connection's error."""

    sent: float
    ended: float
    code: int = 0
    confidence: float = 0.0
    error: type[httpx.TransportError] | None = None


class Clients:
    """Concurrent clients that each send one request after the other, until the block ends.

    A client stops at its first error, so that each error is counted once.

    Attributes:
        outcomes: in order of their ends.
    """

    def __init__(self, server: Server, bodies: list[bytes], count: int, **headers: str):
        self.outcomes: list[Outcome] = []
        self._url = f"{server.url}:predict"
        self._bodies = bodies
        self._count = count
        self._headers = headers
        self._is_over = False

    async def __aenter__(self) -> "Clients":
        self.tasks = [asyncio.create_task(self._send(seed)) for seed in range(self._count)]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._is_over = True
        await asyncio.gather(*self.tasks)

    async def _send(self, seed: int) -> None:
        chance = random.Random(seed)
        # Without TLS there is nothing to verify, and loading the certificates takes time.
        async with httpx.AsyncClient(timeout=60, verify=False, headers=self._headers) as client:
            while not self._is_over:
                sent = time.monotonic()
                try:
                    response = await client.post(self._url, content=chance.choice(self._bodies))
                except httpx.TransportError as error:
                    self.outcomes.append(Outcome(sent, time.monotonic(), error=type(error)))
                    return
                ended, confidence = time.monotonic(), 0.0
                if response.is_success:
                    confidence = response.json()["predictions"][0]["confidence"]
                self.outcomes.append(Outcome(sent, ended, response.status_code, confidence))
                if not response.is_success:
                    return


# === Parts of the test ===


async def measure_load(server: Server, count: int, seconds: float) -> dict[str, Any]:
    """Measure throughput and latency, after three seconds of warm-up."""
    async with Clients(server, request_bodies(256), count) as clients:
        await asyncio.sleep(3)
        start, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        end, cpu = time.monotonic(), time.process_time() - cpu
    answers = [o for o in clients.outcomes if o.code == 200 and start <= o.ended <= end]
    latencies = [1e3 * (o.ended - o.sent) for o in answers] or [float("inf")]
    return {
        "clients": count,
        "requests_per_second": round(len(answers) / (end - start), 1),
        "p50_ms": round(float(np.percentile(latencies, 50)), 2),
        "p99_ms": round(float(np.percentile(latencies, 99)), 2),
        "errors": sum(outcome.code != 200 for outcome in clients.outcomes),
        "client_cores": round(cpu / (end - start), 2),
    }


async def replace_version(
    server: Server, staged: Path, destination: Path, seconds: float
) -> dict[str, Any]:
    """Rename a version into the served folder under load; count the lost answers."""
    async with Clients(server, request_bodies(1), NUM_CLIENTS) as clients:
        outcomes = clients.outcomes

        def is_new(outcome: Outcome) -> bool:
            return outcome.code == 200 and abs(outcome.confidence - outcomes[0].confidence) > 1e-4

        await asyncio.sleep(seconds / 2)
        renamed = time.monotonic()
        os.rename(staged, destination)
        while not is_new(outcomes[-1]) and time.monotonic() < renamed + TIMEOUT_SECONDS:
            await asyncio.sleep(0.01)
        await asyncio.sleep(seconds / 2)
    new = [outcome.ended for outcome in outcomes if is_new(outcome)]
    gaps = np.diff([outcome.ended for outcome in outcomes])
    return {
        "answers": sum(outcome.code == 200 for outcome in outcomes),
        "of_new_version": len(new),
        "lost": sum(outcome.code != 200 for outcome in outcomes),
        "seconds_to_new_version": round(new[0] - renamed, 2) if new else None,
        "longest_gap_ms": round(1e3 * float(max(gaps, default=0)), 1),
    }


async def kill(server: Server) -> dict[str, int]:
    """Kill the server under load; count the lost requests, which were in progress."""
    async with Clients(server, request_bodies(256), NUM_CLIENTS) as clients:
        await asyncio.sleep(1)
        server.process.kill()
        await asyncio.gather(*clients.tasks)
    codes = Counter(outcome.code for outcome in clients.outcomes)
    return {
        "answers": codes[200],
        "lost": codes[0],
        "errors": codes.total() - codes[200] - codes[0],
    }


async def stop(server: Server, delay: float) -> dict[str, Any]:
    """Send SIGTERM while clients connect for every request; count what happens to each."""
    async with Clients(server, request_bodies(256), 16, Connection="close") as clients:
        await asyncio.sleep(delay)
        signalled = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*clients.tasks)
    outcomes = clients.outcomes
    lost = [o for o in outcomes if o.error not in (None, httpx.ConnectError)]
    return {
        "answers": sum(o.code == 200 for o in outcomes),
        "answers_after_sigterm": sum(o.code == 200 and o.sent > signalled for o in outcomes),
        "refused": sum(o.error is httpx.ConnectError for o in outcomes),
        "lost": sum(o.sent < signalled + PROMISED_SECONDS for o in lost),
        "lost_when_listening_ended": sum(o.sent >= signalled + PROMISED_SECONDS for o in lost),
        "errors": sum(o.code not in (0, 200) for o in outcomes),
        "exit_code": server.exit_code(),
        "tracebacks": server.num_tracebacks(),
    }


def measure(folder: Path, versions: list[Path], seconds: float) -> dict[str, Any]:
    """Run all parts, with version 1 and then 2 in the served folder."""
    shutil.copytree(versions[0], folder / "1")
    results: dict[str, Any] = {}
    with running_server(folder) as server:
        predict(server)
        start_seconds = time.monotonic() - server.started
        results["load"] = [
            asyncio.run(measure_load(server, count, seconds)) for count in (1, 8, 64)
        ]
        if len(versions) > 1:
            staged = folder.parent / "staged"
            shutil.copytree(versions[1], staged)
            results["replaced"] = asyncio.run(
                replace_version(server, staged, folder / "2", seconds)
            )
        expected = predict(server)
        results["killed"] = asyncio.run(kill(server))
    with running_server(folder) as server:
        is_same = predict(server)["label"] == expected["label"]
        restart_seconds = time.monotonic() - server.started
    results["killed"] |= {
        "start_seconds": round(start_seconds, 2),
        "restart_seconds": round(restart_seconds, 2),
        "other_answers": int(not is_same),
    }
    results["stopped"] = []
    for index in range(5):
        with running_server(folder) as server:
            # uvicorn looks for the stop every 0.1 s: at another point of that interval each time.
            results["stopped"].append(asyncio.run(stop(server, 1 + 0.023 * index)))
    return results


# === Report ===


def broken_promises(results: dict[str, Any]) -> list[str]:
    """Return a line for each count that must be 0 and is not."""
    counts = [(f"{row['clients']} clients: errors", row["errors"]) for row in results["load"]]
    if "replaced" in results:
        row = results["replaced"]
        counts += [
            ("version replaced: lost answers", row["lost"]),
            ("version replaced: no answer of the new one", int(not row["of_new_version"])),
        ]
    row = results["killed"]
    counts += [
        ("kill -9: lost requests that were not in progress", max(row["lost"] - NUM_CLIENTS, 0)),
        ("kill -9: errors", row["errors"]),
        ("kill -9: other answers after the restart", row["other_answers"]),
    ]
    for index, row in enumerate(results["stopped"], start=1):
        names = ("lost", "errors", "exit_code", "tracebacks")
        counts += [(f"SIGTERM {index}: {name}", row[name]) for name in names]
    return [f"{name}: {count}" for name, count in counts if count]


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print a Markdown table."""
    print(f"\n| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(str(value) for value in row.values())} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, help="a folder of exported versions")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", action="store_true", help="JSON instead of tables")
    arguments = parser.parse_args()
    # SIGTERM stops the server and removes the temporary folder, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with served_folder(arguments.model) as (folder, versions):
        results = measure(folder, versions, arguments.seconds)
    failures = broken_promises(results)
    if arguments.json:
        print(json.dumps({**results, "broken": failures}))
    else:
        print_table(results["load"])
        for part in ("replaced", "killed"):
            if part in results:
                print_table([{"part": part, **results[part]}])
        print_table(
            [{"part": f"SIGTERM {n}", **row} for n, row in enumerate(results["stopped"], 1)]
        )
    for failure in failures:
        print(f"BROKEN {failure}", file=sys.stderr)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
