"""Fuzz test of `textclf serve`: malformed requests get the right error, and use no memory.

    python benchmarks/serve_fuzz.py [--model saved_models/reviews] [--requests 10000] [--json]

Sends requests drawn from fixed seeds with 8 clients, valid ones between them, and 8 clients whose
bodies arrive too slowly. Without --model it serves the network of serve_load.py. Exits with 1 if a
response has another code than expected or no JSON, if the server logs a traceback, or if its
memory grows by more than 30 MB after the first 1000 requests.
"""

import argparse
import asyncio
import json
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
from serve_load import Server, predict, print_table, request_bodies, running_server, served_folder

MAX_BODY_BYTES = 4 << 20  # the server's default
READ_SECONDS = 2
ALLOWED_MB = 30
VALID = b'{"instances": ["a"]}'
DEPTH = 100_000
VALUES: list[Any] = [
    None, True, -1, 0.5, 1e400, 10**30, "", "\0", "\ud800", [], {}, [[]], [[["a"]]], {"b64": 1},
    {"b64": "a"}, {"b64": "////"}, {"text": ["a"]}, {"text": {"b64": ""}}, ["a"], [{"text": "a"}],
    "serving_default", "classify", float("nan"), "x" * 1000,
]  # fmt: skip
VALID_BODIES = [
    ("predict", "serving_default", {"instances": ["not bad", "b"]}),
    ("predict", "serving_default", {"instances": [{"text": {"b64": "YWE="}}]}),
    ("predict", "encode", {"inputs": {"text": ["not bad", "\u597d"]}}),
    ("classify", "classify", {"examples": [{"text": "not bad", "n": [1, 2.5]}]}),
]
NUMBERS = [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"1" * 400]
SEGMENTS = ["%00", "%FF%FE", "%0A", "%0D%0A", "%C3%A9", "%2e%2e", "%", "%zz", "<b>", "x" * 4000]
PATHS = ["/no", "/v1", "/v1/", "/v1/models/", "//", "/v1/models/a/b", "/healthz%0A"]
METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"]


class Request(NamedTuple):
    """Request, and the codes that it may be answered with.

    Attributes:
        path: after the model's path, or a whole path if it begins with "//".
        content: bytes, or chunks of them.
    """

    path: str
    content: Any
    codes: tuple[int, ...] = (400,)
    method: str = "POST"
    headers: dict[str, str] = {}


def random_bytes(chance: random.Random) -> Request:
    return Request(":predict", chance.randbytes(chance.randrange(300)))


def mutated_json(chance: random.Random) -> Request:
    verb, name, values = chance.choice(VALID_BODIES)
    data = bytearray(json.dumps({"signature_name": name, **values}).encode())
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        start = chance.randrange(len(data) + 1)
        removed = bytes(data[start : start + chance.randrange(8)])
        sign = chance.choice([b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\"])
        data[start : start + len(removed)] = chance.choice(
            [removed * 2, b"", sign, chance.randbytes(1)]
        )
    return Request(f":{verb}", bytes(data), (200, 400))


def deep_json(chance: random.Random) -> Request:
    bodies = [
        b'{"instances": ' + b"[" * DEPTH,
        b'{"instances": ' + b"[" * DEPTH + b"]" * DEPTH + b"}",
        b'{"a":' * DEPTH + b"1" + b"}" * DEPTH,
    ]
    return Request(":predict", chance.choice(bodies))


def too_large(chance: random.Random) -> Request:
    size = chance.choice([MAX_BODY_BYTES + 1, 20_000_000])
    if chance.random() < 0.5:
        return Request(":predict", b" " * size, (413,))

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 65536 + 1):
            yield b" " * 65536

    return Request(":predict", chunks(), (413,))


def wrong_types(chance: random.Random) -> Request:
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
    return Request(f":{verb}", json.dumps(values).encode(), (200, 400))


def wrong_model(chance: random.Random) -> Request:
    return Request(f"//v1/models/no{chance.choice(SEGMENTS)}:predict", VALID, (400, 404))


def wrong_version(chance: random.Random) -> Request:
    numbers = ["777", "-1", "9" * 18, "9" * 40, "1.0", "", "%D9%A1", *SEGMENTS]
    return Request(f"/versions/{chance.choice(numbers)}:predict", VALID, (400, 404))


def wrong_label(chance: random.Random) -> Request:
    return Request(f"/labels/no{chance.choice(SEGMENTS)}:predict", VALID)


def wrong_signature(chance: random.Random) -> Request:
    name = chance.choice(["half", "regress", "__saved_model_init_op", "\ud800", "\0"])
    return Request(":predict", json.dumps({"signature_name": name, "instances": ["a"]}).encode())


def wrong_verb(chance: random.Random) -> Request:
    verb = chance.choice([":explain", ":", "::predict", "/predict", ":predict/", ":predict%0A"])
    return Request(verb, VALID)


def wrong_method(chance: random.Random) -> Request:
    return Request(":predict", VALID, method=chance.choice(METHODS))


def wrong_path(chance: random.Random) -> Request:
    path = chance.choice([*PATHS, *(f"/{segment}" for segment in SEGMENTS)])
    return Request(f"/{path}", b"", (400, 404), method=chance.choice(["GET", "POST", "OPTIONS"]))


def number_that_is_not_finite(chance: random.Random) -> Request:
    number = chance.choice(NUMBERS)
    if chance.random() < 0.5:
        return Request(":predict", b'{"x": %s, "instances": ["a"]}' % number, (200,))
    return Request(":predict", b'{"instances": ["a", %s]}' % number)


def bytes_after_document(chance: random.Random) -> Request:
    suffix = chance.choice([chance.randbytes(100), b"}", VALID, b"[" * DEPTH, b"\0"])
    return Request(":predict", VALID + suffix, (200,))


def compressed_body(chance: random.Random) -> Request:
    headers = {"Content-Encoding": chance.choice(["gzip", "deflate", "br", "x"])}
    return Request(":predict", chance.randbytes(100), headers=headers)


KINDS: tuple[Callable[[random.Random], Request], ...] = (
    *(random_bytes, mutated_json, deep_json, wrong_types, wrong_model, wrong_version, wrong_label),
    *(wrong_signature, wrong_verb, wrong_method, wrong_path, number_that_is_not_finite),
    *(bytes_after_document, compressed_body),
)


def find_violation(request: Request, response: httpx.Response) -> str:
    """Return what is wrong with a response, or an empty string."""
    if response.status_code not in request.codes:
        return f"expected {request.codes}"
    if request.method == "HEAD":
        return ""
    try:
        value = response.json()
    except ValueError:
        return "the response is not JSON"
    if not isinstance(value, dict) or len(value) != 1:
        return "expected an object with one key"
    if response.is_error and not isinstance(value.get("error"), str):
        return 'expected {"error": "..."}'
    return ""


class Fuzzer:
    """Clients that send malformed, valid and slow requests, and check every response.

    Args:
        server: the server.
        count: malformed requests.
        expected: the prediction of the valid request.
    """

    def __init__(self, server: Server, count: int, expected: dict[str, Any]):
        self._url = server.url
        self._process = psutil.Process(server.process.pid)
        self._count = count
        self._expected = expected
        self._seeds = iter(range(count))
        self._num_done = 0
        self._num_first = min(1000, max(count // 2, 1))  # memory grows while caches fill
        self._first_mb = 0.0
        self._codes: dict[str, Counter] = {}
        self._violations: Counter = Counter()
        self._examples: list[dict[str, str]] = []

    async def run(self) -> dict[str, Any]:
        """Send all requests and return the counts."""
        started = time.monotonic()
        await asyncio.gather(
            *(self._send_malformed() for _ in range(8)), *(self._send_slowly() for _ in range(8))
        )
        growth = self._resident_mb() - self._first_mb
        return {
            "requests": self._count,
            "seconds": round(time.monotonic() - started, 1),
            "first_mb": round(self._first_mb, 1),
            "growth_mb": round(growth, 1),
            "kinds": {
                kind: {"codes": dict(codes), "violations": self._violations[kind]}
                for kind, codes in sorted(self._codes.items())
            },
            "examples": self._examples,
        }

    def _resident_mb(self) -> float:
        return self._process.memory_info().rss / 2**20

    async def _send_malformed(self) -> None:
        async with httpx.AsyncClient(timeout=30, verify=False) as client:
            for seed in self._seeds:
                chance = random.Random(seed)
                is_large = seed % max(self._count // 20, 1) == 0
                make = too_large if is_large else chance.choice(KINDS)
                await self._send(client, make.__name__.replace("_", " "), make(chance))
                if seed % 500 == 0:
                    request = Request(":predict", request_bodies(1)[0], (200,))
                    response = await self._send(client, "valid", request)
                    self._check_prediction(response)
                self._num_done += 1
                if self._num_done == self._num_first:
                    self._first_mb = self._resident_mb()

    async def _send_slowly(self) -> None:
        async def drip() -> AsyncIterator[bytes]:
            yield b'{"instances": ['
            await asyncio.sleep(READ_SECONDS + 5)  # the server answers before

        async with httpx.AsyncClient(timeout=30, verify=False) as client:
            while self._num_done < self._count:
                await self._send(client, "slow body", Request(":predict", drip(), (408,)))

    async def _send(
        self, client: httpx.AsyncClient, kind: str, request: Request
    ) -> httpx.Response | None:
        path, root = request.path, self._url.partition("/v1/")[0]
        url = root + path[1:] if path.startswith("//") else self._url + path
        response, violation = None, ""
        try:
            response = await client.request(
                request.method, url, content=request.content, headers=request.headers
            )
            violation = find_violation(request, response)
        except httpx.TransportError as error:
            violation = f"no response: {error!r}"
        code = str(response.status_code) if response else "none"
        self._codes.setdefault(kind, Counter())[code] += 1
        if violation:
            self._note_violation(kind, request, response, violation)
        return response

    def _check_prediction(self, response: httpx.Response | None) -> None:
        if response is None or not response.is_success:
            return
        actual = response.json()["predictions"][0]
        is_close = abs(actual["confidence"] - self._expected["confidence"]) < 1e-4
        if not is_close or actual["label"] != self._expected["label"]:
            self._violations["valid"] += 1

    def _note_violation(
        self, kind: str, request: Request, response: httpx.Response | None, violation: str
    ) -> None:
        self._violations[kind] += 1
        if self._violations[kind] <= 3:
            content = repr(request.content)[:200]
            self._examples.append(
                {
                    "kind": kind,
                    "violation": violation,
                    "request": f"{request.method} {request.path[:200]} {content}",
                    "response": repr(response and response.content[:200]),
                }
            )


def print_report(results: dict[str, Any]) -> None:
    """Print the codes of each kind, the memory, and examples of violations."""
    print_table(
        [
            {
                "kind": kind,
                "codes": ", ".join(f"{code}: {n}" for code, n in sorted(row["codes"].items())),
                "violations": row["violations"],
            }
            for kind, row in results["kinds"].items()
        ]
    )
    print(
        f"\n{results['requests']} requests in {results['seconds']} s; the server used "
        f"{results['first_mb']} MB after the first ones and {results['growth_mb']:+.1f} MB more at "
        "the end"
    )
    for example in results["examples"]:
        print("\n" + "\n".join(f"{name}: {text}" for name, text in example.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, help="a folder of exported versions")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with served_folder(arguments.model) as (folder, versions):
        shutil.copytree(versions[-1], folder / versions[-1].name)
        with running_server(folder, "--read-seconds", str(READ_SECONDS)) as server:
            fuzzer = Fuzzer(server, arguments.requests, predict(server))
            results = asyncio.run(fuzzer.run())
            server.process.send_signal(signal.SIGTERM)
            results["exit_code"] = server.exit_code()
            results["tracebacks"] = server.num_tracebacks()
    if arguments.json:
        print(json.dumps(results))
    else:
        print_report(results)
    failures = {kind: row["violations"] for kind, row in results["kinds"].items()}
    failures |= {name: results[name] for name in ("exit_code", "tracebacks")}
    failures["memory"] = int(results["growth_mb"] > ALLOWED_MB)
    for name, count in failures.items():
        if count:
            print(f"BROKEN {name}: {count}", file=sys.stderr)
    sys.exit(1 if any(failures.values()) else 0)


if __name__ == "__main__":
    main()
