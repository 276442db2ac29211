"""Names of models, lists of a repository's files and answers to Range requests: what comes from users and from hubs.

The first line is a name, the second a Content-Range with the size that was announced, the rest are paths.
"""

from __future__ import annotations

import email.message
from collections.abc import Iterator
from pathlib import PurePosixPath

from localllm.errors import LocalllmError
from localllm.store import remote
from localllm.store.choice import choose
from localllm.store.hf_cache import is_safe
from localllm.store.names import parse
from localllm.store.web import Answer, part_urls
from tests.fuzz.mutators import of_text
from tests.fuzz.target import Finding, Target

_PATHS = (
    "m-Q4_K_M.gguf", "m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf", "mmproj-F16.gguf", "imatrix.gguf",
)  # fmt: skip
_WORDS = (
    *_PATHS, "/", "..", "../", "\\", ":", "@", "?", "#", "%2e%2e", "%00", "hf.co/", "https://", "http://user:pw@",
    "file:///etc/passwd", "huggingface.co/org/repo", "/resolve/main/", "/blob/", "org/repo", ":Q4_K_M", ":latest",
    "[::1]", ":99999", "00000-of-00000", "99999-of-99999", ".GGUF", "~", "C:\\", "bytes ", "0-0/1", "-", "/*",
    "18446744073709551616", "٣", "\x1b[2J", "\n", "ollama.com/x",
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    for name in (
        "org/repo:Q8_0",
        "hf.co/org/repo/m-Q4_K_M.gguf",
        "https://example.org/a/m-00001-of-00002.gguf?x=1",
        "qwen3:4b",
    ):
        yield "\n".join([name, "bytes 0-1048575/2000000", *_PATHS]).encode()


def run(data: bytes) -> None:
    name, told, *paths = (data.decode("utf-8", "replace") + "\n").split("\n")
    name = "".join(filter(str.isprintable, name))[:300]  # as a user types it: errors show it
    errors: list[LocalllmError] = []
    for check in (lambda: _check_name(name), lambda: _check_range(told), lambda: _check_paths(paths, name)):
        try:
            check()
        except LocalllmError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _check_name(name: str) -> None:
    found = parse(name)
    if found.hub is None:
        return
    for part in (found.hub.repo, found.hub.file or ""):
        if "\\" in part or ".." in PurePosixPath(part).parts or part.startswith("/") or not part.isprintable():
            raise Finding(f"{name!r} is {found.hub}")


def _check_range(told: str) -> None:
    headers = email.message.Message()
    headers["Content-Range"] = told.replace("\r", "").replace("\0", "")
    answer = Answer(206, headers, "http://example.org/x", None)
    reading = remote._Reading(remote._Part("http://example.org/x", "x", 2_000_000), 1 << 20)
    end = reading._end(answer, 0)
    if not 0 < end <= 1 << 20:
        raise Finding(f"{told!r} ends at {end}")


def _check_paths(paths: list[str], name: str) -> None:
    safe = [path for path in paths if is_safe(path)]
    if unsafe := [
        path for path in safe if ".." in path.split("/") or path.startswith("/") or "\\" in path or "\0" in path
    ]:
        raise Finding(f"{unsafe[0]!r} leaves its folder")
    for url in part_urls("http://example.org/" + (paths[0] if paths else "")):
        if not url.startswith("http://example.org"):
            raise Finding(f"another host: {url!r}")
    hub = parse(name).hub
    chosen = choose(safe, "org/repo", hub.quant if hub else "Q8_0")
    if not set(chosen.parts) <= set(safe):
        raise Finding(f"{chosen} is not among {safe}")


TARGET = Target(seeds, run, of_text(_WORDS), max_len=1 << 12)
