"""The other doors by which a file comes in: models for other commands, folders of Hugging Face, importance matrices,
kept prompts, settings, conversations, records and caches. A sample of each."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.contained import command
from tests.malformed import folders
from tests.malformed.architecture import KEYS
from tests.malformed.base import model
from tests.malformed.call import Call, Make
from tests.malformed.parser import CASES

TEXT = "one two three. " * 40


def good(folder: Path) -> str:
    """A whole model."""
    path = folder / "good.gguf"
    path.write_bytes(model().bytes())
    return str(path)


def text(folder: Path) -> str:
    path = folder / "text.txt"
    path.write_text(TEXT)
    return str(path)


def run(path: str, *more: str) -> list[str]:
    return ["run", path, "--raw", "-n", "1", "-t", "1", "-c", "600", *more]


# models, for commands that only some people use
COMMANDS: dict[str, Callable[[Path, str], list[str]]] = {
    "quantize": lambda folder, path: ["quantize", path, str(folder / "out.gguf"), "Q8_0"],
    "bench": lambda folder, path: ["bench", "-m", path, "-p", "4", "-n", "2", "-r", "1", "-t", "1"],
    "embed": lambda folder, path: ["embed", path, "a"],
    "perplexity": lambda folder, path: ["perplexity", path, "-f", text(folder), "-c", "16"],
    "calibrate": lambda folder, path: ["calibrate", path, "-o", str(folder / "out.imatrix.gguf"), "-f", text(folder)],
    "batch": lambda folder, path: ["batch", text(folder), str(folder / "out.jsonl"), path],
    "compare": lambda folder, path: ["compare", path, good(folder), "-f", text(folder)],
}
PARSED = ("empty", "n_kv 2^63", "array of 2^63", "alignment 0", "overlap", "end past the file")
NUMBERS = ("2^32-1 layers", "no heads", "width 2^63", "epsilon NaN")


def of_file(content: bytes | Callable[[], bytes], words: Callable[[Path, str], list[str]]) -> Make:
    def make(folder: Path) -> Call:
        path = folder / "bad.gguf"
        path.write_bytes(content() if callable(content) else content)
        return Call(words(folder, str(path)))

    return make


def models() -> Iterator[tuple[str, Make]]:
    parsed = {case.name: case.content for case in CASES}
    for verb, words in COMMANDS.items():
        for name in PARSED:
            content = parsed[name]
            assert content is not None
            yield f"{verb}: {name}", of_file(content, words)
        for name in NUMBERS if verb != "quantize" else ():
            yield f"{verb}: {name}", of_file(model().with_keys(**KEYS[name][1]).bytes, words)


# importance matrices
MATRICES: dict[str, bytes | Callable[[], bytes]] = {
    "empty": b"",
    "3 bytes": b"abc",
    "no GGUF": bytes(100),
    "GGUF without a matrix": lambda: model().bytes(),
    "GGUF that is cut": lambda: model().bytes()[:5000],
    "2^31-1 entries": struct.pack("<i", 2**31 - 1),
    "-1 entries": struct.pack("<i", -1) + bytes(100),
    "a name of 2^31-1 bytes": struct.pack("<ii", 1, 2**31 - 1) + bytes(100),
    "a name of -1 bytes": struct.pack("<ii", 1, -1) + bytes(100),
    "2^31-1 values": struct.pack("<ii1sii", 1, 1, b"a", 1, 2**31 - 1) + bytes(100),
    "-1 values": struct.pack("<ii1sii", 1, 1, b"a", 1, -1) + bytes(100),
    "values of NaN": struct.pack("<ii1sii2f", 1, 1, b"a", 1, 2, float("nan"), 1.0),
}


def of_matrix(content: bytes | Callable[[], bytes]) -> Make:
    def make(folder: Path) -> Call:
        path = folder / "bad.imatrix"
        path.write_bytes(content() if callable(content) else content)
        return Call(["quantize", good(folder), str(folder / "out.gguf"), "Q4_0", "--imatrix", str(path)])

    return make


# settings
SETTINGS: dict[str, bytes] = {
    "not UTF-8": b"\xff\xfe",
    "no TOML": b"[[[",
    "a NUL": b"a = \0",
    "10,000 deep": b"a = " + b"[" * 10_000 + b"]" * 10_000,
    "a section that is a number": b"run = 7",
    "an option that is none": b"[run]\nnothing = 1",
    "a value of another type": b"[run]\nthreads = [1, {a = 2}]",
    "a number of 5,000 digits": b"[run]\nthreads = " + b"9" * 5000,
    "a date": b"[run]\ntemp = 1979-05-27",
    "a text that steers the terminal": b'[run]\ntemp = "\\u001b[2J"',
}


def of_settings(content: bytes) -> Make:
    def make(folder: Path) -> Call:
        path = folder / "bad.toml"
        path.write_bytes(content)
        return Call(run(good(folder), "-p", "a"), (1, 2), environment={"LOCALLLM_CONFIG": str(path)})

    return make


def _settings_pipe(folder: Path) -> Call:
    os.mkfifo(folder / "bad.toml")
    return Call(run(good(folder), "-p", "a"), environment={"LOCALLLM_CONFIG": str(folder / "bad.toml")})


def _settings_device(folder: Path) -> Call:
    (folder / "bad.toml").symlink_to("/dev/zero")
    return Call(run(good(folder), "-p", "a"), environment={"LOCALLLM_CONFIG": str(folder / "bad.toml")})


def _settings_folder(folder: Path) -> Call:
    (folder / "bad.toml").mkdir()
    return Call(run(good(folder), "-p", "a"), environment={"LOCALLLM_CONFIG": str(folder / "bad.toml")})


# what is beside: never a reason to fail
DATABASES: dict[str, bytes] = {
    "no database": b"no database at all" * 100,
    "an empty file": b"",
    "a header alone": b"SQLite format 3\0" + bytes(84),
    "a page of ones": b"SQLite format 3\0" + b"\xff" * 4080,
}


def of_conversations(content: bytes) -> Make:
    """The chat tells of it, or goes on without it."""

    def make(folder: Path) -> Call:
        (folder / "conversations.db").write_bytes(content)
        words = ["chat", good(folder), "-n", "1", "-t", "1", "-c", "128"]
        return Call(words, (0, 1), "", {"LOCALLLM_HOME": str(folder)}, b"a\n")

    return make


def of_records(content: bytes) -> Make:
    def make(folder: Path) -> Call:
        (folder / "models").mkdir()
        (folder / "records.sqlite").write_bytes(content)
        return Call(run(good(folder), "-p", "a", "--no-cache"), (0,), "", {"LOCALLLM_HOME": str(folder)})

    return make


def _kept(damage: Callable[[bytes], bytes]) -> Make:
    """What was kept of a prompt is damaged: the answer comes all the same."""

    def make(folder: Path) -> Call:
        cache = folder / "cache"
        words = run(good(folder), "-p", TEXT, "--cache-dir", str(cache))
        assert command(*words, seconds=300).status == 0
        kept = [path for path in cache.rglob("*") if path.is_file()]
        assert kept
        for path in kept:
            path.write_bytes(damage(path.read_bytes()))
        return Call(words, (0,), "")

    return make


KEPT: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut in the middle": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "another bit in the middle": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1])
    + data[len(data) // 2 + 1 :],
    "ones": lambda data: b"\xff" * len(data),
    "a length of 2^63": lambda data: struct.pack("<Q", 2**63) * (len(data) // 8),
    "twice": lambda data: data * 2,
}  # fmt: skip


def _store(edit: Callable[[Path], object]) -> Make:
    """What lies in the folders of models, as `list` sees it."""

    def make(folder: Path) -> Call:
        hub, models_dir = folder / "hf" / "hub", folder / "models"
        for made in (hub, models_dir):
            made.mkdir(parents=True)
        edit(folder)
        environment = {"LOCALLLM_HOME": str(folder), "HF_HOME": str(folder / "hf"), "HF_HUB_CACHE": str(hub)}
        return Call(["list"], (0,), "", environment)

    return make


def _repository(folder: Path) -> Path:
    path = folder / "hf" / "hub" / "models--a--b"
    for name in ("refs", "snapshots", "blobs"):
        (path / name).mkdir(parents=True)
    return path


def _ref(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (_repository(folder) / "refs" / "main").write_bytes(content)


def _snapshot(target: str) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        path = _repository(folder)
        (path / "refs" / "main").write_text("abc")
        (path / "snapshots" / "abc").mkdir()
        (path / "snapshots" / "abc" / "bad.gguf").symlink_to(target)

    return edit


def _model_file(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "models" / name).write_bytes(content)


STORES: dict[str, Callable[[Path], object]] = {
    "a ref that leaves the folder": _ref(b"../../../../etc"),
    "a ref of 10 MB": _ref(b"a" * 10_000_000),
    "a ref that is not UTF-8": _ref(b"\xff\xfe\0"),
    "a ref that is empty": _ref(b""),
    "a snapshot that is a device": _snapshot("/dev/zero"),
    "a snapshot that is a link to itself": _snapshot("bad.gguf"),
    "a snapshot that leads to a folder": _snapshot("/etc"),
    "a snapshot of a secret": _snapshot("/etc/passwd"),
    "a repository that is a file": lambda folder: (folder / "hf" / "hub" / "models--a--c").write_text("a"),
    "a model that is empty": _model_file("bad.gguf", b""),
    "a model of which the header lies": _model_file("bad.gguf", b"GGUF" + b"\xff" * 100),
    "a model whose name steers the terminal": _model_file("bad\x1b[2J\n.gguf", b"GGUF"),
    "a model whose name is not UTF-8": lambda folder: Path(
        os.fsdecode(os.fsencode(folder / "models") + b"/bad\xff.gguf")
    ).write_bytes(b"GGUF"),
    "a folder that is a model": lambda folder: (folder / "models" / "bad.gguf").mkdir(),
    "a pipe that is a model": lambda folder: os.mkfifo(folder / "models" / "bad.gguf"),
    "a link to the folder that it is in": lambda folder: (folder / "models" / "loop").symlink_to(folder / "models"),
}


def calls() -> Iterator[tuple[str, Make]]:
    """Name -> what makes the files in a folder of its own, and the command."""
    yield from models()
    yield from folders.calls()
    for name, content in MATRICES.items():
        yield f"imatrix: {name}", of_matrix(content)
    for name, raw in SETTINGS.items():
        yield f"settings: {name}", of_settings(raw)
    for name, raw in DATABASES.items():
        yield f"conversations: {name}", of_conversations(raw)
        yield f"records: {name}", of_records(raw)
    for name, store in STORES.items():
        yield f"store: {name}", _store(store)
    yield "settings: a pipe", _settings_pipe
    yield "settings: a device", _settings_device
    yield "settings: a folder", _settings_folder
    for name, damage in KEPT.items():
        yield f"kept prompts: {name}", _kept(damage)
