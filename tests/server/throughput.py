"""localllm's server beside llama.cpp's: the same model, prompts and clients, in alternating rounds.

    python -m tests.server.throughput MODEL.gguf --clients 1 4 8 16

Each client sends one request after the other to /completion: a prompt of its own of random ids, greedy, no end token,
no reuse of earlier prompts. The peer is the xllamacpp wheel (extra `peer`); each server runs in a process of its own
and idles while the other is measured. Printed are, for each number of clients, the medians over the rounds: tokens
generated a second by all clients together, milliseconds to the first token, the time between two tokens (99th
percentile), and the ratios round by round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from tests.server.streaming_client import HttpError, events, get_json

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Round:
    """What one round of one server gave."""

    tokens: int
    seconds: float
    first: list[float]
    """Seconds to the first token, a request."""
    gaps: list[float]
    """Seconds between tokens of one answer."""

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def peer(model: str, port: int, n_threads: int, n_parallel: int, n_ctx: int) -> None:
    """Serve by llama.cpp until standard input ends."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_parallel, params.n_ctx, params.n_predict = n_parallel, n_ctx * n_parallel, -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = n_threads
    params.port, params.hostnames, params.warmup = port, [HOST], True
    server = xllamacpp.Server(params)
    print(json.dumps({"address": server.listening_address}), flush=True)
    sys.stdin.read()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


class Server:
    """A server in a process of its own."""

    def __init__(self, name: str, command: Sequence[str], port: int) -> None:
        self.name, self.port = name, port
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def wait(self, seconds: float = 120.0) -> None:
        """Until it can answer."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                asyncio.run(get_json(HOST, self.port, "/health"))
                return
            except (OSError, IndexError, ValueError, HttpError) as error:
                if self._process.poll() is not None:
                    raise SystemExit(f"{self.name} ended with {self._process.returncode}") from error
                time.sleep(0.2)
        raise SystemExit(f"{self.name} does not answer on port {self.port}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)


async def measure(port: int, n_clients: int, n_requests: int, n_prompt: int, n_gen: int, seed: int) -> Round:
    """One round: each client sends n_requests."""
    first: list[float] = []
    gaps: list[float] = []
    tokens = 0

    async def client(number: int) -> None:
        nonlocal tokens
        for k in range(n_requests):
            chosen = random.Random(f"{seed} {number} {k}")
            body = {
                "prompt": [chosen.randrange(1000, 30000) for _ in range(n_prompt)],
                "n_predict": n_gen, "ignore_eos": True, "temperature": 0.0, "stream": True, "cache_prompt": False,
            }  # fmt: skip
            start, last, final = time.perf_counter(), 0.0, None
            async for event in events(HOST, port, "/completion", body):
                now = time.perf_counter()
                if event.get("stop"):
                    final = event
                elif not last:
                    first.append(now - start)
                else:
                    gaps.append(now - last)
                last = now
            assert final is not None
            tokens += int(final["tokens_predicted"])

    start = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(n_clients)))
    return Round(tokens, time.perf_counter() - start, first, gaps)


def row(n_clients: int, name: str, rounds: Sequence[Round]) -> str:
    gaps = sorted(gap for r in rounds for gap in r.gaps)
    late = quantiles(gaps, n=100)[98] if len(gaps) > 1 else 0.0
    first = median(median(r.first) for r in rounds)
    worst = median(max(r.first) for r in rounds)
    return (
        f"{n_clients:3} clients  {name:9} {median(r.rate for r in rounds):8.1f} t/s   "
        f"first token {first * 1e3:7.0f} ms (slowest {worst * 1e3:7.0f})   gap p99 {late * 1e3:6.0f} ms"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=2, help="requests of each client in a round")
    parser.add_argument("-p", "--n-prompt", type=int, default=256)
    parser.add_argument("-n", "--n-gen", type=int, default=64)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--peer-port", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    n_parallel, n_ctx = max(args.clients), -(-(args.n_prompt + args.n_gen + 8) // 256) * 256
    if args.peer_port:
        peer(args.model, args.peer_port, args.threads, n_parallel, n_ctx)
        return
    threads, port, peer_port = str(args.threads), free_port(), free_port()
    ours = [sys.executable, "-m", "localllm.cli.main", "serve", args.model, "--port", str(port), "--parallel"]
    ours += [str(n_parallel), "-c", str(n_ctx), "-t", threads, "--no-cache"]
    theirs = [sys.executable, "-m", "tests.server.throughput", args.model, "--peer-port", str(peer_port)]
    theirs += ["-t", threads, "-p", str(args.n_prompt), "-n", str(args.n_gen), "--clients", str(n_parallel)]
    servers = [Server("localllm", ours, port), Server("llama.cpp", theirs, peer_port)]
    try:
        run(servers, args)
    finally:
        for server in servers:
            server.close()


def run(servers: Sequence[Server], args: Any) -> None:
    for server in servers:
        server.wait()
        asyncio.run(measure(server.port, 1, 1, 32, 8, 0))
    for n_clients in args.clients:
        rounds: dict[str, list[Round]] = {server.name: [] for server in servers}
        for k in range(args.rounds):
            for server in servers if k % 2 == 0 else servers[::-1]:
                made = measure(server.port, n_clients, args.requests, args.n_prompt, args.n_gen, k + 1)
                rounds[server.name].append(asyncio.run(made))
        for name, done in rounds.items():
            print(row(n_clients, name, done))
        a, b = (rounds[server.name] for server in servers)
        rates = [x.rate / y.rate for x, y in zip(a, b, strict=True)]
        firsts = [median(y.first) / median(x.first) for x, y in zip(a, b, strict=True)]
        print(
            f"{n_clients:3} clients  {median(rates):.2f} times the tokens, the first {median(firsts):.2f} times as soon"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
