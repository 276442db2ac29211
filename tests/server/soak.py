"""A long load on `localllm serve`: many clients, random requests, random disconnects; every answer is compared.

    python -m tests.server.soak MODEL.gguf --clients 64 --requests 10000 --minutes 60

First each of a pool of requests is answered alone, by a client that has the server for itself, and some of them by
`Model.generate` in this process. Then the clients send them in random order, spread over the time; a part of them
leaves in the middle, while it waits, while the prompt is read, or between two tokens. Whoever stays compares what
comes, bit for bit: tokens, text and probabilities. At the end all slots must be free, and the memory what it was.
Exit status 1 where one of this does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import psutil

from tests.server.streaming_client import events, get_json
from tests.server.throughput import HOST, Server, free_port

N_SLOTS = 8
N_CTX = 1024
_PREFIXES = 12
"""Beginnings that many of the prompts share."""
_LEAVES = 0.2
"""Share of the requests whose client goes away."""
_SETTLED = 0.1
"""Share of the time after which the memory no longer grows."""
_GROWTH = 1.05
"""What it may grow by from then on."""


def pool(n: int, n_vocab: int, seed: int) -> list[dict[str, Any]]:
    """Requests to /completion with prompts of 2 to 600 tokens and answers of 1 to 40."""
    chosen = random.Random(seed)

    def ids(count: int) -> list[int]:
        return [chosen.randrange(min(300, n_vocab // 2), n_vocab) for _ in range(count)]

    prefixes = [ids(chosen.randrange(20, 500)) for _ in range(_PREFIXES)]
    requests = []
    for k in range(n):
        shared = chosen.choice(prefixes) if chosen.random() < 0.6 else []
        greedy = chosen.random() < 0.4
        requests.append({
            "prompt": shared + ids(chosen.randrange(2, 100)),
            "n_predict": chosen.randrange(1, 40),
            "temperature": 0.0 if greedy else 1.0,
            "repeat_penalty": chosen.choice([1.0, 1.1]),
            "seed": k,
            "n_probs": chosen.choice([0, 0, 3]),
            "ignore_eos": True,
            "return_tokens": True,
            "stream": True,
            "cache_prompt": chosen.random() < 0.9,
        })  # fmt: skip
    return requests


async def ask(port: int, body: dict[str, Any]) -> list[Any]:
    """What must not depend on the load: tokens, texts and probabilities of an answer, joined."""
    tokens: list[int] = []
    text, probabilities = "", []
    async for event in events(HOST, port, "/completion", body):
        tokens += event.get("tokens", ())
        text += event["content"]
        probabilities += event.get("completion_probabilities", ())
    return [tokens, text, probabilities]


async def leave(port: int, body: dict[str, Any], chosen: random.Random) -> None:
    """Ask, and go away after some time or some tokens."""
    n_events, seconds = chosen.randrange(0, 20), chosen.uniform(0.0, 3.0)
    try:
        async with asyncio.timeout(seconds), aclosing(events(HOST, port, "/completion", body)) as stream:
            async for _ in stream:
                n_events -= 1
                if n_events < 0:
                    return
    except TimeoutError:
        return


class Soak:
    def __init__(self, port: int, pid: int, requests: Sequence[dict[str, Any]], args: argparse.Namespace) -> None:
        self.port, self.requests, self.args = port, requests, args
        self.process = psutil.Process(pid)
        self.alone: list[list[Any]] = []
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.memory: list[tuple[float, int]] = []
        self._next = 0
        self._start = 0.0

    async def answer_alone(self) -> None:
        self.alone = [await ask(self.port, body) for body in self.requests]

    async def run(self) -> None:
        self._start = time.monotonic()
        watch = asyncio.create_task(self._watch())
        await asyncio.gather(*(self._client(i) for i in range(self.args.clients)))
        watch.cancel()

    async def _client(self, number: int) -> None:
        chosen = random.Random(f"client {number}")
        while self._next < self.args.requests:
            due = self._start + self._next * 60 * self.args.minutes / self.args.requests
            self._next += 1
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            i = chosen.randrange(len(self.requests))
            try:
                if chosen.random() < _LEAVES:
                    await leave(self.port, self.requests[i], chosen)
                    self.counts["left"] += 1
                    continue
                got = await ask(self.port, self.requests[i])
            except Exception as error:
                self.counts["failed"] += 1
                self.wrong.append(f"request {i}: {type(error).__name__}: {error}")
                continue
            self.counts["answered"] += 1
            if got != self.alone[i]:
                self.wrong.append(f"request {i}: {json.dumps(got)[:300]} instead of {json.dumps(self.alone[i])[:300]}")

    async def _watch(self) -> None:
        while True:
            self.memory.append((time.monotonic() - self._start, self.process.memory_info().rss))
            done = sum(self.counts.values())
            if len(self.memory) % 30 == 1:
                print(f"{self.memory[-1][0]:6.0f} s  {done} requests, {len(self.wrong)} wrong, "
                      f"{self.memory[-1][1] / 1e6:.0f} MB", flush=True)  # fmt: skip
            await asyncio.sleep(2.0)

    async def verdict(self) -> list[str]:
        """What does not hold."""
        for _ in range(50):  # those that left last may still be noticed
            slots = await get_json(HOST, self.port, "/slots")
            if not any(slot["is_processing"] for slot in slots):
                break
            await asyncio.sleep(0.1)
        busy = [slot["id"] for slot in slots if slot["is_processing"]]
        found = [f"slots {busy} are not free"] if busy or len(slots) != N_SLOTS else []
        settled = [rss for at, rss in self.memory if at > _SETTLED * self.memory[-1][0]]
        if settled and settled[-1] > _GROWTH * max(settled[: len(settled) // 4 + 1]):
            found.append(f"memory grew from {settled[0] / 1e6:.0f} to {settled[-1] / 1e6:.0f} MB")
        return found + self.wrong


def check_in_process(model_path: str, requests: Sequence[dict[str, Any]], alone: Sequence[list[Any]]) -> int:
    """Compare some of the server's answers with those of the Python interface; how many differ."""
    import localllm

    differ = 0
    with localllm.load(model_path, n_ctx=N_CTX) as model:
        assert model.tokenizer is not None
        ends = tuple(model.tokenizer.eog_ids)
        for body, (tokens, text, _) in list(zip(requests, alone, strict=True))[:20]:
            got = model.generate(
                body["prompt"], body["n_predict"], temperature=body["temperature"], seed=body["seed"],
                repeat_penalty=body["repeat_penalty"], bans=ends,
            )  # fmt: skip
            differ += "".join(got) != text or got.stats.answer_tokens != len(tokens)
    return differ


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--pool", type=int, default=300, help="different requests")
    return parser.parse_args()


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        return run(arguments(), folder)


def run(args: argparse.Namespace, folder: str) -> int:
    """The exit status. folder: of the server's cache."""
    port = free_port()
    command = [sys.executable, "-m", "localllm.cli.main", "serve", args.model, "--port", str(port)]
    command += ["--parallel", str(N_SLOTS), "-c", str(N_CTX), "--cache-dir", folder]
    server = Server("localllm", command, port)
    try:
        server.wait()
        with_vocab = asyncio.run(get_json(HOST, port, "/v1/models"))
        n_vocab = with_vocab["data"][0]["meta"]["n_vocab"]
        soak = Soak(port, server.pid, pool(args.pool, n_vocab, 1), args)
        asyncio.run(soak.answer_alone())
        differ = check_in_process(args.model, soak.requests, soak.alone)
        print(f"{len(soak.alone)} requests answered alone; {differ} of 20 differ from Model.generate", flush=True)
        asyncio.run(soak.run())
        found = asyncio.run(soak.verdict())
        print(
            dict(soak.counts), f"memory {[rss // 10**6 for _, rss in soak.memory[:: max(1, len(soak.memory) // 12)]]}"
        )
    except subprocess.SubprocessError as error:
        found, differ = [str(error)], 0
    finally:
        server.close()
    for line in found[:20]:
        print("WRONG:", line)
    return 1 if found or differ else 0


if __name__ == "__main__":
    sys.exit(main())
