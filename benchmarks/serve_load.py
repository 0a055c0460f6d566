"""What `textclf serve` keeps of its promises: under load, at its end, against hostile requests.

    python benchmarks/serve_load.py [--model saved_models/reviews] [--seconds 10]
        [--hostile 10000] [--json]

Without --model it serves a bidirectional LSTM of 64 units with random weights and 20,000 words, and
a version 2 of another temperature, so that an answer tells its version. Of a --model with several
versions the last two are used; with one, none is replaced. The load comes over loopback from a
process of its own, which writes HTTP/1.1 by hand; its share of a core is told beside the figures.
Ends with 1, and says which promise was broken, if a count that must be 0 is not.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
import numpy as np

WORDS = [f"word{index}" for index in range(20_000)]
LIMIT_BYTES, READ_SECONDS = 4 << 20, 2  # the server's default, and what it is given when attacked
MOST_SECONDS = 120  # for what should take a few
ALLOWED_MB = 30  # of growth under hostile requests, before it is called so


# === The model and the server ===


def make(folder: Path) -> None:
    """Versions 1 and 2 of a network with random weights."""
    from serving import untrained

    from textclf import classifier, export

    made = untrained("lstm", bidirectional=True, units=64, folder=folder)
    for version, temperature in ((1, 1.0), (2, 5.0)):
        card = msgspec.structs.replace(made.card, temperature=temperature)
        other = classifier.Classifier(made.text_encoder, made.network, card)
        export.export(other, folder / "made", version=version)


def versions_of(folder: Path) -> list[Path]:
    found = [path.parent for path in folder.glob("[0-9]*/saved_model.pb")]
    return sorted((path for path in found if path.name.isdecimal()), key=lambda p: int(p.name))[-2:]


@dataclasses.dataclass(frozen=True)
class Server:
    process: subprocess.Popen
    port: int
    path: str
    began: float
    said: IO[bytes]

    def exit_code(self) -> int | str:
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            return "none in 60 s"

    def tracebacks(self) -> int:
        self.said.seek(0)
        return self.said.read().count(b"Traceback")


@contextlib.contextmanager
def serving(place: Path, *options: str) -> Iterator[Server]:
    """`textclf serve` in a process of its own, until the block ends."""
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        program = [sys.executable, "-m", "textclf", "serve", str(place), *options]
        process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=said, text=True)
        limit = threading.Timer(MOST_SECONDS, process.kill)
        limit.start()
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            limit.cancel()
            if not address:
                said.seek(0)
                raise SystemExit(f"the server did not start: {said.read().decode()}")
            root, _, rest = address.partition("/v1/")
            yield Server(process, int(root.rpartition(":")[2]), f"/v1/{rest}", began, said)
        finally:
            limit.cancel()
            process.kill()
            process.communicate()


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


# === The client ===


class Answer(NamedTuple):
    code: int
    body: bytes
    closes: bool


class Connection:
    """A connection of a client, whose bytes are any.

    Raises:
        ConnectionRefusedError: nobody listens.
    """

    def __init__(self, port: int):
        # Blocks, which over loopback is shorter than a turn of the loop: so nothing comes between
        # connecting and sending, and a request that was sent late is no lost one.
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.setblocking(False)
        self._unread = b""

    async def send(self, data: bytes) -> None:
        # Who refuses may close before all is sent: the answer tells.
        with contextlib.suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def answer(self, to_head: bool = False) -> Answer | None:
        """The next answer; None where the connection ended before it was whole."""
        while True:
            while b"\r\n\r\n" not in self._unread:
                if not await self._more():
                    return None
            head, _, self._unread = self._unread.partition(b"\r\n\r\n")
            code = int(head.split(b" ", 2)[1])
            if code != 100:
                break
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        closes = length is None or b"\r\nconnection: close" in head.lower()
        if to_head:
            return Answer(code, b"", closes)
        if length is None:
            while await self._more():
                pass
            return Answer(code, self._unread, closes)
        size = int(length[1])
        while len(self._unread) < size:
            if not await self._more():
                return None
        body, self._unread = self._unread[:size], self._unread[size:]
        return Answer(code, body, closes)

    async def has_ended(self) -> bool:
        """Waits for the end, or for a byte that should not come."""
        return not self._unread and not await self._more()

    async def _more(self) -> bool:
        try:
            part = await asyncio.get_running_loop().sock_recv(self._socket, 1 << 16)
        except ConnectionError:
            return False
        self._unread += part
        return bool(part)

    def close(self) -> None:
        self._socket.close()


def request(path: str, body: bytes = b"", *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


def texts(path: str, count: int) -> list[bytes]:
    """Requests of one text of 40 tokens each."""
    chance = random.Random(0)
    bodies = ({"instances": [" ".join(chance.choices(WORDS, k=40))]} for _ in range(count))
    return [request(f"{path}:predict", json.dumps(body).encode()) for body in bodies]


async def asked(port: int, data: bytes) -> dict[str, Any]:
    """The prediction that a normal request is answered with."""
    connection = Connection(port)
    try:
        async with asyncio.timeout(MOST_SECONDS):
            await connection.send(data)
            answer = await connection.answer()
    finally:
        connection.close()
    if answer is None or answer.code != 200:
        raise SystemExit(f"a normal request was answered with {answer}")
    return json.loads(answer.body)["predictions"][0]


class Sample(NamedTuple):
    began: float
    ended: float
    code: int  # 0: the connection ended instead
    confidence: float


class Load:
    """Clients that each send one request after the other, until the block ends."""

    def __init__(self, port: int, bodies: list[bytes], clients: int):
        self.samples: list[Sample] = []
        self._port, self._bodies = port, bodies
        self._is_over = False
        self._clients = clients

    async def __aenter__(self) -> "Load":
        self.tasks = [asyncio.create_task(self._client(n)) for n in range(self._clients)]
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._is_over = True
        await asyncio.gather(*self.tasks)

    async def _client(self, seed: int) -> None:
        """Ends at the first error: the others go on, and every error is counted once."""
        chance = random.Random(seed)
        connection = Connection(self._port)
        try:
            while not self._is_over:
                began = time.monotonic()
                await connection.send(chance.choice(self._bodies))
                answer = await connection.answer()
                found = re.search(rb'"confidence":([^,}]+)', answer.body) if answer else None
                confidence = float(found[1]) if found else 0.0
                code = answer.code if answer else 0
                self.samples.append(Sample(began, time.monotonic(), code, confidence))
                if code != 200:
                    return
        finally:
            connection.close()


# === The parts, each in the client's process ===


async def sustained(port: int, path: str, clients: int, seconds: float) -> dict[str, Any]:
    """Answers a second, and how long they take, after three seconds of warming up."""
    async with Load(port, texts(path, 256), clients) as load:
        await asyncio.sleep(3)
        start, busy = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        end, busy = time.monotonic(), time.process_time() - busy
    good = [s for s in load.samples if s.code == 200 and start <= s.ended <= end]
    latencies = [1e3 * (s.ended - s.began) for s in good] or [float("inf")]
    return {
        "clients": clients,
        "requests_per_second": round(len(good) / (end - start), 1),
        "p50_ms": round(float(np.percentile(latencies, 50)), 2),
        "p99_ms": round(float(np.percentile(latencies, 99)), 2),
        "max_ms": round(max(latencies), 2),
        "errors": sum(s.code != 200 for s in load.samples),
        "client_cores": round(busy / (end - start), 2),
    }


async def replaced(port: int, path: str, staged: str, place: str, seconds: float) -> dict[str, Any]:
    """A version is renamed into its place under load."""
    async with Load(port, texts(path, 1), 8) as load:
        samples = load.samples

        def is_new(sample: Sample) -> bool:
            return sample.code == 200 and abs(sample.confidence - samples[0].confidence) > 1e-4

        await asyncio.sleep(seconds / 2)
        renamed = time.monotonic()
        os.rename(staged, place)
        while not is_new(samples[-1]) and time.monotonic() < renamed + MOST_SECONDS:
            await asyncio.sleep(0.01)
        await asyncio.sleep(seconds / 2)
    new = [sample.ended for sample in samples if is_new(sample)]
    ended = [sample.ended for sample in samples]
    return {
        "answers": sum(sample.code == 200 for sample in samples),
        "of_the_new_version": len(new),
        "lost": sum(sample.code != 200 for sample in samples),
        "seconds_to_new_version": round(new[0] - renamed, 2) if new else None,
        "longest_gap_ms": round(1e3 * float(max(np.diff(ended), default=0)), 1),
    }


async def killed(port: int, path: str, pid: int) -> dict[str, int]:
    """kill -9 under load: what is lost."""
    async with Load(port, texts(path, 256), 8) as load:
        await asyncio.sleep(1)
        os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*load.tasks)
    codes = Counter(s.code for s in load.samples)
    return {
        "answered": codes[200],
        "lost": codes[0],
        "errors": codes.total() - codes[200] - codes[0],
    }


async def stopped(port: int, path: str, pid: int, delay: float) -> dict[str, int]:
    """SIGTERM under load of new connections: what becomes of each."""
    bodies = texts(path, 256)
    found: list[tuple[float, int]] = []
    refused = 0

    async def client(seed: int) -> None:
        nonlocal refused
        chance = random.Random(seed)
        while True:
            try:
                connection = Connection(port)
            except (ConnectionRefusedError, ConnectionResetError):
                # Reset: the listener closed during the handshake, so nothing was accepted.
                refused += 1
                return
            try:
                await connection.send(chance.choice(bodies))
                sent = time.monotonic()
                answer = await connection.answer()
                found.append((sent, answer.code if answer else 0))
            finally:
                connection.close()

    tasks = [asyncio.create_task(client(seed)) for seed in range(16)]
    await asyncio.sleep(delay)
    told, before = time.monotonic(), len(found)
    os.kill(pid, signal.SIGTERM)
    await asyncio.gather(*tasks)
    codes = Counter(code for _, code in found)
    return {
        "answered": codes[200],
        "answered_after_sigterm": sum(code == 200 for _, code in found[before:]),
        "refused": refused,
        "lost": codes[0],
        "lost_of_those_sent_before_sigterm": sum(not code and sent < told for sent, code in found),
        "errors": codes.total() - codes[200] - codes[0],
    }


# === Hostile requests ===


class Case(NamedTuple):
    """A request, and what it may be answered with.

    Attributes:
        is_http: otherwise a 400 in any form and the end of the connection are fine.
    """

    data: bytes
    codes: tuple[int, ...]
    is_http: bool = True
    is_head: bool = False


TOO_LARGE = "too large"
KINDS = (
    "random bytes",
    "mutated JSON",
    "deep JSON",
    "wrong types",
    "wrong model",
    "wrong version",
    "wrong label",
    "wrong signature",
    "wrong verb",
    "wrong method",
    "wrong path",
    "NaN and Infinity",
    "bytes after the document",
    "compressed body",
    "malformed HTTP",
)
VALUES: list[Any] = [
    None, True, -1, 0.5, 1e400, 10**30, "", "\0", "\ud800", [], {}, [[]], [[["a"]]], {"b64": 1},
    {"b64": "a"}, {"b64": "////"}, {"text": ["a"]}, {"text": {"b64": ""}}, ["a"], [{"text": "a"}],
    "serving_default", "classify", float("nan"), "x" * 1000,
]  # fmt: skip
NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 400]
ODD = ["%00", "%FF%FE", "%0A", "%0D%0A", "%C3%A9", "..", "%2e%2e", "%", "%zz", "<b>", "x" * 4000]
PATHS = ["*", "http://x/no", "/v1", "/v1/", "/v1/models/", "//", "/../etc/passwd"]
NOT_HEADERS = ["no colon", " folded: x", "bad name: x", ": x", "X\0: y", "X: \0", "Host: another",
               "X: " + "x" * 1_000_000, "Content-Length: 1", "Content-Length: x",
               "Transfer-Encoding: gzip"]  # fmt: skip
NOT_LENGTHS = ["", "-1", "+5", "1e3", "0x10", "abc", "5 5", "5, 6", "9" * 30, "\xb2"]
NOT_CHUNKS = [b"zz\r\n", b"-1\r\na\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"f" * 21 + b"\r\n", b";\r\n"]
NOT_LINES = ["GET", "GET /", "GET / HTTX/1.1", "GET / HTTP/1", "GET  / HTTP/1.1", "{} / HTTP/1.1",
             "GET / / HTTP/1.1", "G\0T / HTTP/1.1", "GET /\xe9 HTTP/1.1"]  # fmt: skip


def hostile(kind: str, chance: random.Random, model: str) -> Case:
    """A request of a kind."""
    values: Any
    predict, good = f"{model}:predict", b'{"instances": ["a"]}'
    odd = chance.choice([*ODD, "".join(chance.choices("abcXYZ019-._~!$&'()*+,;=@", k=12))])
    match kind:
        case "random bytes":
            return Case(request(predict, chance.randbytes(chance.randrange(300))), (400,))
        case "mutated JSON":
            verb, name, values = chance.choice(
                [
                    ("predict", "serving_default", {"instances": ["not bad", "b"]}),
                    ("predict", "serving_default", {"instances": [{"text": {"b64": "YWE="}}]}),
                    ("predict", "encode", {"inputs": {"text": ["not bad", "\u597d"]}}),
                    ("classify", "classify", {"examples": [{"text": "not bad", "n": [1, 2.5]}]}),
                ]
            )
            written = bytearray(json.dumps({"signature_name": name, **values}).encode())
            for _ in range(chance.choice([1, 1, 1, 2, 5])):
                at = chance.randrange(len(written) + 1)
                cut = bytes(written[at : at + chance.randrange(8)])
                sign = chance.choice([b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\"])
                new = chance.choice([cut * 2, b"", sign, chance.randbytes(1)])
                written[at : at + len(cut)] = new
            return Case(request(f"{model}:{verb}", bytes(written)), (200, 400))
        case "deep JSON":
            half, depth = 50_000, 100_000
            body = chance.choice(
                [
                    b'{"instances": ' + b"[" * depth,
                    b'{"instances": ' + b"[" * depth + b"]" * depth + b"}",
                    b'{"a":' * depth + b"1" + b"}" * depth,
                    b'{"instances": ["a"], "x": ' + b'[{"a":' * half + b"1" + b"}]" * half + b"}",
                ]
            )
            return Case(request(predict, body), (400,))
        case "too large":
            size = chance.choice([LIMIT_BYTES + 1, 20_000_000])
            form = chance.randrange(3)
            if form == 0:
                return Case(request(predict, b" " * size), (413,))
            head = f"POST {predict} HTTP/1.1\r\nHost: localhost\r\n".encode()
            if form == 1:  # announced, and the sender waits for a word
                head += b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % size
                return Case(head, (413,))
            chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            head += b"Transfer-Encoding: chunked\r\n\r\n"
            return Case(head + chunk * (size // 0x10000 + 1) + b"0\r\n\r\n", (413,))
        case "wrong types":
            value, verb = chance.choice(VALUES), chance.choice(["predict", "classify", "regress"])
            values = chance.choice(
                [
                    {"signature_name": value, "instances": ["a"]},
                    {"instances": value},
                    {"instances": ["a", value]},
                    {"instances": [{"text": value}]},
                    {"instances": [{"text": {"b64": value}}]},
                    {"inputs": value},
                    {"inputs": {"text": value}},
                    {"inputs": {"text": ["a", value]}},
                    {"signature_name": "classify", "examples": value},
                    {"signature_name": "classify", "examples": [value]},
                    {"signature_name": "classify", "examples": [{"text": value, "x": [value]}]},
                    {"signature_name": "classify", "examples": [{"text": "a"}], "context": value},
                    {key: chance.choice(VALUES) for key in ("instances", "inputs", "examples")},
                ]
            )
            return Case(request(f"{model}:{verb}", json.dumps(values).encode()), (200, 400))
        case "wrong model":
            return Case(request(f"/v1/models/no{odd}:predict", good), (400, 404))
        case "wrong version":
            number = chance.choice(["777", "-1", "9" * 18, "9" * 40, "1.0", "", "%D9%A1", odd])
            return Case(request(f"{model}/versions/{number}:predict", good), (400, 404))
        case "wrong label":
            return Case(request(f"{model}/labels/no{odd}:predict", good), (400,))
        case "wrong signature":
            name = chance.choice(["half", "regress", "__saved_model_init_op", "\ud800", "\0", odd])
            values = {"signature_name": name, "instances": ["a"]}
            return Case(request(predict, json.dumps(values).encode()), (400,))
        case "wrong verb":
            verb = chance.choice([":explain", ":", "::predict", "/predict", ":predict/", ":" + odd])
            return Case(request(model + verb, good), (400,))
        case "wrong method":
            names = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO", "post"]
            method = chance.choice(names)
            data = request(predict, good, method=method)
            return Case(data, (400, 405), is_head=method == "HEAD")
        case "wrong path":
            path = chance.choice([*PATHS, "/" + odd])
            method = chance.choice(["GET", "POST", "OPTIONS"])
            return Case(request(path, method=method), (400, 404))
        case "NaN and Infinity":
            token = chance.choice(NUMBERS).encode()
            if chance.random() < 0.5:
                return Case(request(predict, b'{"x": %s, "instances": ["a"]}' % token), (200,))
            return Case(request(predict, b'{"instances": ["a", %s]}' % token), (400,))
        case "bytes after the document":
            after = chance.choice([chance.randbytes(100), b"}", good, b"[" * 100_000, b"\0"])
            return Case(request(predict, good + after), (200,))
        case "compressed body":
            coding = f"Content-Encoding: {chance.choice(['gzip', 'deflate', 'br', 'x'])}"
            return Case(request(predict, chance.randbytes(100), coding), (400,))
        case "malformed HTTP":
            head = f"POST {predict} HTTP/1.1\r\nHost: localhost\r\n".encode()
            data = chance.choice(
                [
                    chance.randbytes(chance.randint(1, 300)) + b"\r\n\r\n",
                    chance.choice(NOT_LINES).encode("latin-1") + b"\r\nHost: localhost\r\n\r\n",
                    request(predict, good, chance.choice(NOT_HEADERS)),
                    head
                    + f"Content-Length: {chance.choice(NOT_LENGTHS)}\r\n\r\n".encode("latin-1"),
                    head + b"Transfer-Encoding: chunked\r\n\r\n" + chance.choice(NOT_CHUNKS),
                    f"POST {predict} HTTP/1.1\r\n\r\n".encode(),
                ]
            )
            return Case(data, (400,), is_http=False)
    raise ValueError(kind)


def mistake(case: Case, answer: Answer | None) -> str:
    """What is wrong with an answer; empty where nothing is."""
    if answer is None:
        return "no answer" if case.is_http else ""
    if answer.code not in (*case.codes, 503, 504):
        return f"expected {case.codes}"
    if not case.is_http or case.is_head or answer.code == 503:  # 503 is in plain text
        return ""
    try:
        told = json.loads(answer.body)
    except ValueError:
        return "the answer is no JSON"
    if answer.code == 200:
        return "" if isinstance(told, dict) and len(told) == 1 else "one key was expected"
    is_error = isinstance(told, dict) and set(told) == {"error"} and isinstance(told["error"], str)
    return "" if is_error else 'expected {"error": "..."}'


class Attack:
    """Hostile requests of 8 clients, with normal ones between and 20 slow senders beside them."""

    def __init__(self, port: int, path: str, pid: int, count: int, expected: dict[str, Any]):
        self._port, self._path, self._pid = port, path, pid
        self._count, self._expected = count, expected
        self._indices = iter(range(count))
        self._done = 0
        self._first = min(1000, max(count // 2, 1))
        self._normal = texts(path, 1)[0]
        self.codes: dict[str, Counter] = {}
        self.violations: Counter = Counter()
        self.examples: list[dict[str, str]] = []
        self.memory: dict[str, float] = {}

    async def run(self) -> dict[str, Any]:
        began = time.monotonic()
        clients = [asyncio.create_task(self._client()) for _ in range(8)]
        slow = [asyncio.create_task(self._slow(number)) for number in range(20)]
        await asyncio.gather(*clients, *slow)
        seconds = time.monotonic() - began
        self.memory["end_mb"] = resident_mb(self._pid)
        return {
            "requests": self._count,
            "seconds": round(seconds, 1),
            "first": self._first,
            **{name: round(mb, 1) for name, mb in self.memory.items()},
            "kinds": {
                kind: {"answers": dict(codes), "violations": self.violations[kind]}
                for kind, codes in sorted(self.codes.items())
            },
            "examples": self.examples,
        }

    def _note(self, kind: str, data: bytes, answer: Answer | None, wrong: str) -> None:
        code = str(answer.code) if answer else "closed"
        self.codes.setdefault(kind, Counter())[code] += 1
        if wrong:
            self.violations[kind] += 1
            if self.violations[kind] <= 3:
                told = repr(answer.body[:200]) if answer else "-"
                shown = {"kind": kind, "wrong": wrong, "request": repr(data[:300])}
                self.examples.append({**shown, "code": code, "answer": told})

    async def _client(self) -> None:
        connection: Connection | None = None
        for index in self._indices:
            chance = random.Random(index)
            huge = index % max(self._count // 20, 1) == 0
            kind = TOO_LARGE if huge else chance.choice(KINDS)
            cases = [(kind, hostile(kind, chance, self._path))]
            if index % 500 == 0:
                cases.append(("normal ones between", Case(self._normal, (200,))))
            for kind, case in cases:
                connection = connection or Connection(self._port)
                answer, wrong = None, ""
                try:
                    async with asyncio.timeout(30):
                        await connection.send(case.data)
                        answer = await connection.answer(case.is_head)
                except TimeoutError:
                    wrong = "nothing came for 30 seconds"
                wrong = wrong or mistake(case, answer)
                if case.data is self._normal and not wrong and answer is not None:
                    wrong = self._mislabelled(answer)
                self._note(kind, case.data, answer, wrong)
                if answer is None or answer.closes or wrong or not case.is_http:
                    connection.close()
                    connection = None
            self._done += 1
            if self._done == self._first:
                self.memory["first_mb"] = resident_mb(self._pid)
        if connection:
            connection.close()

    def _mislabelled(self, answer: Answer) -> str:
        found = json.loads(answer.body)["predictions"][0]
        close = abs(found["confidence"] - self._expected["confidence"]) < 1e-4
        return "" if close and found["label"] == self._expected["label"] else "another label"

    async def _slow(self, number: int) -> None:
        """Stops in the middle, or goes on a byte at a time, which must not help."""
        line = f"POST {self._path}:predict HTTP/1.1\r\nHost: localhost\r\n".encode()
        kind, data, drips = [
            ("nothing sent", b"", False),
            ("slow head", line[: 3 + number], False),
            ("slow head", line + b"X: ", True),
            ("slow body", line + b'Content-Length: 900\r\n\r\n{"instances"', number >= 10),
            ("slow body", line + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{", number >= 10),
        ][number % 5]
        case = Case(data, (408,), is_http=bool(data))
        while True:
            connection = Connection(self._port)
            answering = asyncio.create_task(connection.answer())
            answer, wrong = None, ""
            try:
                async with asyncio.timeout(READ_SECONDS + 10):
                    await connection.send(data)
                    while not answering.done():
                        await asyncio.wait({answering}, timeout=0.25)
                        if drips and not answering.done():
                            await connection.send(b"x")
                    answer = answering.result()
                    if answer and not await connection.has_ended():
                        wrong = "the connection went on"
            except TimeoutError:
                wrong = "the connection was not ended"
            finally:
                answering.cancel()
                connection.close()
            self._note(kind, data, answer, wrong or mistake(case, answer))
            if self._done >= self._count:
                return


async def attacked(*arguments: Any) -> dict[str, Any]:
    return await Attack(*arguments).run()


# === All of it ===

SPAWN = multiprocessing.get_context("spawn")


def _run(work: Any, limit: float, arguments: tuple) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(limit):
            return await work(*arguments)

    return asyncio.run(limited())


def measure(places: list[Path], folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """All parts; the folder is for what is served."""
    place = folder / "served"
    shutil.copytree(places[0], place / "1")
    results: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(SPAWN.Pool(1))

        def apart(work: Any, limit: float, *arguments: Any) -> Any:
            try:
                return pool.apply_async(_run, (work, limit, arguments)).get(limit + 30)
            except (TimeoutError, multiprocessing.TimeoutError):
                raise SystemExit(f"BROKEN {work.__name__}: not done in {limit:g} s") from None

        with serving(place, "--port", "0") as server:
            port, path, pid = server.port, server.path, server.process.pid
            normal = texts(path, 1)[0]
            asyncio.run(asked(port, normal))
            first_start = time.monotonic() - server.began
            results["sustained"] = [
                apart(sustained, chosen.seconds + 60, port, path, clients, chosen.seconds)
                for clients in (1, 8, 64)
            ]
            if len(places) > 1:
                shutil.copytree(places[1], folder / "staged")
                moved = (str(folder / "staged"), str(place / "2"))
                limit = chosen.seconds + MOST_SECONDS + 60
                found = apart(replaced, limit, port, path, *moved, chosen.seconds)
                results["replaced"] = found
            expected = asyncio.run(asked(port, normal))
            found = apart(killed, 60, port, path, pid)
        with serving(place, "--port", str(port)) as server:
            answer = asyncio.run(asked(port, normal))
            again = time.monotonic() - server.began
        results["killed"] = {
            **found,
            "start_seconds": round(first_start, 2),
            "restart_seconds": round(again, 2),
            "other_answers": int(answer["label"] != expected["label"]),
        }

        results["stopped"] = []
        for index in range(5):
            with serving(place, "--port", "0") as server:
                # Not always at the same point of the server's tenths of a second.
                delay = 1 + 0.023 * index
                found = apart(stopped, 60, server.port, path, server.process.pid, delay)
                found |= {"exit_code": server.exit_code(), "tracebacks": server.tracebacks()}
                results["stopped"].append(found)

        if chosen.hostile:
            with serving(place, "--port", "0", "--read-seconds", str(READ_SECONDS)) as server:
                arguments = (server.port, path, server.process.pid, chosen.hostile, expected)
                found = apart(attacked, 120 + chosen.hostile / 20, *arguments)
                server.process.send_signal(signal.SIGTERM)
                found["exit_code"] = server.exit_code()
                results["hostile"] = {**found, "tracebacks": server.tracebacks()}
    return results


def broken(results: dict[str, Any]) -> list[str]:
    """The promises that were not kept."""
    counts = [(f"{row['clients']} clients: errors", row["errors"]) for row in results["sustained"]]
    if "replaced" in results:
        row = results["replaced"]
        counts += [
            ("a version replaced: lost answers", row["lost"]),
            ("a version replaced: the new one never answered", int(not row["of_the_new_version"])),
        ]
    row = results["killed"]
    counts += [
        ("kill -9: more lost than were in flight", max(row["lost"] - 8, 0)),
        ("kill -9: errors", row["errors"]),
        ("kill -9: another answer after the restart", row["other_answers"]),
    ]
    for index, row in enumerate(results["stopped"], start=1):
        names = ("lost", "errors", "exit_code", "tracebacks")
        counts += [(f"SIGTERM {index}: {name}", row[name]) for name in names]
    if "hostile" in results:
        row = results["hostile"]
        counts += [(f"hostile: {name}", row[name]) for name in ("exit_code", "tracebacks")]
        counts += [
            (f"hostile, {kind}: violations", each["violations"])
            for kind, each in row["kinds"].items()
        ]
    return [f"{what}: {count}" for what, count in counts if count]


def table(rows: list[dict[str, Any]]) -> None:
    print(f"\n| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(str(value) for value in row.values())} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, help="a folder of exported versions")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--hostile", type=int, default=10_000, help="requests")
    parser.add_argument("--json", action="store_true", help="JSON instead of tables")
    chosen = parser.parse_args()
    # As Ctrl-C does: what is ended in its middle leaves no server and no folder behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if chosen.model is None:
            # In a process that ends: TensorFlow would stay beside the server.
            with SPAWN.Pool(1) as pool:
                pool.apply_async(make, (folder,)).get(300)
        places = versions_of(chosen.model or folder / "made")
        if not places:
            parser.error(f"{chosen.model}: holds no exported version")
        results = measure(places, folder, chosen)
    failures = broken(results)
    if chosen.json:
        print(json.dumps({**results, "broken": failures}))
    else:
        table(results["sustained"])
        for part in ("replaced", "killed"):
            if part in results:
                table([{"part": part, **results[part]}])
        table([{"part": f"SIGTERM {n}", **row} for n, row in enumerate(results["stopped"], 1)])
        if "hostile" in results:
            report(results["hostile"])
    for failure in failures:
        print(f"BROKEN {failure}", file=sys.stderr)
    sys.exit(1 if failures else 0)


def report(found: dict[str, Any]) -> None:
    rows = []
    for kind, row in found["kinds"].items():
        answers = ", ".join(f"{code}: {count}" for code, count in sorted(row["answers"].items()))
        rows.append({"hostile": kind, "answers": answers, "violations": row["violations"]})
    table(rows)
    more = found["end_mb"] - found["first_mb"]
    verdict = "flat" if more < ALLOWED_MB else "NOT FLAT"
    print(
        f"\n{found['requests']} hostile requests in {found['seconds']} s; resident after "
        f"{found['first']}: {found['first_mb']} MB, at the end: {found['end_mb']} MB, "
        f"{more:+.1f} MB: {verdict}"
    )
    for example in found["examples"]:
        print("\n" + "\n".join(f"{name}: {text}" for name, text in example.items()))


if __name__ == "__main__":
    main()
