"""The sides of a comparison, each a child process: `python -m localllm.tools.peers NAME JOB`.

A side warms up, writes a line, and then measures once for each seed that it reads.
"""

from __future__ import annotations

import itertools
import json
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.util import find_spec

from localllm.errors import LocalllmError
from localllm.kernels.simd.targets import host_features
from localllm.tools import llamacpp_built

OURS = "localllm"
_SEED = 1


@dataclass(frozen=True)
class Peer:
    """Another runtime, as a package of Python."""

    package: str
    module: str
    install: str
    built_for: str
    """The newest instructions that it uses, whatever the processor; empty where that is not known."""

    @property
    def version(self) -> str | None:
        """None where it is not installed."""
        try:
            return metadata.version(self.package) if find_spec(self.module) else None
        except metadata.PackageNotFoundError:  # a folder of this name
            return None


@dataclass(frozen=True)
class BuiltPeer(Peer):
    """One that is built here, in a folder of its own."""

    @property
    def version(self) -> str | None:
        return llamacpp_built.version(self.built_for)


_WHEELS = "avx2" if platform.machine() in ("x86_64", "AMD64") else ""
_BUILT = {
    f"llamacpp-{build}": BuiltPeer(
        llamacpp_built.PACKAGE,
        llamacpp_built.MODULE,
        f"python -m {llamacpp_built.__name__} {build} builds it",
        build,
    )
    for build in llamacpp_built.BUILDS
}
PEERS = {
    "llamacpp": Peer("xllamacpp", "xllamacpp", "pip install 'localllm[peer]'", _WHEELS),
    **_BUILT,
    "ik": Peer("ik-llama-cpp-python", "ik_llama_cpp", "pip install ik-llama-cpp-python", _WHEELS),
}
"""Name on the command line -> what it needs. llamacpp is a wheel, whose kernels are for AVX2 (its own
`get_system_info()` says so); llamacpp-avx2, -avx512 and -native are built for those instructions; ik is ik_llama.cpp,
a fork with faster kernels for CPUs."""


@dataclass(frozen=True)
class Job:
    """What both sides do: `n_depth` tokens first, uncounted, then n_prompt and n_gen counted ones."""

    model: str
    n_threads: int
    n_prompt: int
    n_gen: int
    n_depth: int
    n_threads_batch: int = 0
    """For prompts; 0: as many as for generation."""

    @property
    def n_ctx(self) -> int:
        return -(-(self.n_depth + self.n_prompt + self.n_gen + 8) // 256) * 256


def _tokens(job: Job, n_vocab: int, seed: int) -> tuple[list[int], list[int]]:
    """Depth and prompt; the same on both sides."""
    import random

    chance = random.Random(seed)
    depth = random.Random(_SEED)
    # Ids above a few thousand: special tokens stand at the ends of most vocabularies.
    low, high = min(1000, n_vocab // 4), n_vocab - n_vocab // 16
    return (
        [depth.randrange(low, high) for _ in range(job.n_depth)],
        [chance.randrange(low, high) for _ in range(job.n_prompt)],
    )


def _ours(job: Job) -> Callable[[int], dict[str, float]]:
    from localllm.generate.session import Model

    model = Model.load(job.model, n_threads=job.n_threads, n_threads_batch=job.n_threads_batch or None)
    context = model.context(n_ctx=job.n_ctx)

    def feed(ids: Sequence[int]) -> int:
        for start in range(0, len(ids), context.n_batch):
            logits = context.forward(ids[start : start + context.n_batch])
        return int(logits[-1].argmax())

    def measure(seed: int) -> dict[str, float]:
        depth, prompt = _tokens(job, model.config.n_vocab, seed)
        if context.n_past() < job.n_depth:
            feed(depth)
        context.cut(0, job.n_depth)
        start = time.perf_counter()
        token = feed(prompt or depth[-1:])
        middle = time.perf_counter()
        for _ in range(job.n_gen):
            token = int(context.forward([token])[-1].argmax())
        end = time.perf_counter()
        return {"pp": job.n_prompt / (middle - start), "tg": job.n_gen / (end - middle) if job.n_gen else 0.0}

    return measure


def _file(job: Job) -> tuple[int, str]:
    """Rows of the embedding matrix, and the path of the (first) file."""
    from localllm.gguf.reader import open_gguf

    with open_gguf(job.model) as file:
        return file.tensors["token_embd.weight"].shape[1], file.path


def _llamacpp(job: Job) -> Callable[[int], dict[str, float]]:
    import xllamacpp

    n_vocab, first = _file(job)
    params = xllamacpp.CommonParams()
    params.model.path = first
    params.n_ctx, params.n_parallel, params.warmup = job.n_ctx, 1, True
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = job.n_threads, job.n_threads_batch or job.n_threads
    server = xllamacpp.Server(params)

    def complete(ids: list[int], n_predict: int) -> dict[str, float]:
        request = {
            "prompt": ids,
            "n_predict": n_predict,
            "cache_prompt": job.n_depth > 0,
            "temperature": 0.0,
            "ignore_eos": True,
        }
        answer = server.handle_completions(request)
        timings: dict[str, float] = (json.loads(answer) if isinstance(answer, str) else answer)["timings"]
        return timings

    def measure(seed: int) -> dict[str, float]:
        depth, prompt = _tokens(job, n_vocab, seed)
        if depth:
            complete(depth, 1)
        # llama.cpp draws the first token from the prompt's logits: n_gen steps take one more.
        t = complete(depth + prompt, job.n_gen + 1)
        if abs(t["prompt_n"] - job.n_prompt) > 1:
            raise LocalllmError(f"bench: the peer evaluated {t['prompt_n']} tokens of prompt, not {job.n_prompt}")
        return {"pp": t["prompt_per_second"], "tg": t["predicted_per_second"] if job.n_gen else 0.0}

    return measure


def _llamacpp_built(build: str, job: Job) -> Callable[[int], dict[str, float]]:
    """Through the C interface of llama.cpp, with its default of flash attention (on, where it can)."""
    sys.path.insert(0, str(llamacpp_built.folder(build)))
    import llama_cpp as api

    n_vocab, first = _file(job)
    api.llama_backend_init()
    model = api.llama_model_load_from_file(first.encode(), api.llama_model_default_params())
    params = api.llama_context_default_params()
    params.n_ctx, params.n_batch = job.n_ctx, 512
    params.n_threads, params.n_threads_batch = job.n_threads, job.n_threads_batch or job.n_threads
    context = api.llama_init_from_model(model, params) if model else None
    if not context:
        raise LocalllmError("bench: the peer could not load the model")

    def decode(ids: Sequence[int]) -> None:
        for i in range(0, len(ids), params.n_batch):
            part = ids[i : i + params.n_batch]
            tokens = (api.llama_token * len(part))(*part)  # alive until they are evaluated
            if api.llama_decode(context, api.llama_batch_get_one(tokens, len(part))):
                raise LocalllmError("bench: the peer could not evaluate a batch")
        api.llama_synchronize(context)

    kept: list[int] = []

    def measure(seed: int) -> dict[str, float]:
        depth, prompt = _tokens(job, n_vocab, seed)
        if kept != depth:
            decode(depth)
            kept[:] = depth
        api.llama_memory_seq_rm(api.llama_get_memory(context), 0, job.n_depth, -1)
        return _timed(job, lambda: decode(prompt or depth[-1:]), lambda i: decode([(prompt or depth)[i]]))

    return measure


def _timed(job: Job, prompt: Callable[[], None], token: Callable[[int], None]) -> dict[str, float]:
    """Tokens a second of a prompt and of the tokens after it; token(i): one of them."""
    start = time.perf_counter()
    prompt()
    middle = time.perf_counter()
    for i in range(job.n_gen):
        token(i % max(1, job.n_prompt or job.n_depth))
    end = time.perf_counter()
    return {"pp": job.n_prompt / (middle - start), "tg": job.n_gen / (end - middle) if job.n_gen else 0.0}


def _ik(job: Job) -> Callable[[int], dict[str, float]]:
    """Through the package's own bindings, which have no call that cuts a cache: what comes before is read each time."""
    from ik_llama_cpp import _ctypes_api as api
    from ik_llama_cpp import _internals as ik

    n_vocab, first = _file(job)
    # The flash attention of its default asserts on long prompts without AVX-VNNI, as the package says.
    context = ik.IkContext(
        ik.IkModel(first),
        n_ctx=job.n_ctx,
        n_threads=job.n_threads,
        flash_attn="avxvnni" in host_features(),
    )

    def decode(ids: Sequence[int], start: int) -> None:
        for i in range(0, len(ids), context._n_ubatch):
            batch = ik.make_batch_range(ids[i : i + context._n_ubatch], pos_start=start + i)
            if context.decode(batch):
                raise LocalllmError("bench: the peer could not evaluate a batch")
            api.llama_batch_free(batch)
        context.get_logits(-1)  # waits

    def measure(seed: int) -> dict[str, float]:
        depth, prompt = _tokens(job, n_vocab, seed)
        context.kv_cache_clear()
        decode(depth, 0)
        positions = itertools.count(job.n_depth + max(1, job.n_prompt))
        return _timed(
            job,
            lambda: decode(prompt or depth[-1:], job.n_depth),
            lambda i: decode([(prompt or depth)[i]], next(positions)),
        )

    return measure


_SIDES: dict[str, Callable[[Job], Callable[[int], dict[str, float]]]] = {
    OURS: _ours, "llamacpp": _llamacpp, "ik": _ik,
    **{name: partial(_llamacpp_built, peer.built_for) for name, peer in _BUILT.items()},
}  # fmt: skip


def main() -> None:
    """Child process: warm up, then measure once for each seed that comes in."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    job = Job(**json.loads(sys.argv[2]))
    measure = _SIDES[sys.argv[1]](job)
    measure(_SEED)
    print(json.dumps({"pp": 0.0, "tg": 0.0}), flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(int(line))), flush=True)


if __name__ == "__main__":
    main()
