"""Small files that earlier runs have left: records of the store, numbers of threads, a digest of a model, manifests of
other programs, answers of a batch. What is no good is passed over, or told by one line.

The first byte chooses which file it is.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from localllm.runtime import tuned
from localllm.server.batch_file import open_answers
from localllm.store import records
from localllm.store.origins.files import read_json
from localllm.store.origins.ollama import _of_manifest
from tests.fuzz.mutators import NUMBERS, REALS, STRINGS, of_bytes, of_json
from tests.fuzz.target import Finding, Target, written

_JSON = of_json(("version", "machines", "decode", "prompt", 1, 2, "layers", "digest", "mediaType", "manifests"))
_MODEL = '{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:' + "a" * 64 + '"}'


def _records(path: Path) -> None:
    known = records.all_files()
    if not all(isinstance(p, str) and isinstance(used, int | float | None) for p, (_, used) in known.items()):
        raise Finding(f"{known}")
    for name in ("/m.gguf", *known):
        with contextlib.suppress(ValueError):  # a path with NUL in it
            records.owns(name)
            records.last_used(name)
    records.used("/m.gguf")
    records.pulled("/m.gguf", "m")


def _threads(path: Path) -> None:
    told: list[str] = []
    for found in tuned.kept(told.append).values():
        if not 0 < found.decode < 1 << 16 or not 0 < found.prompt < 1 << 16:
            raise Finding(f"{found}")
    if any(not text.isprintable() for text in told):
        raise Finding(f"{told}")


def _manifest(path: Path) -> None:
    told: list[str] = []
    read_json(path, told.append)
    list(_of_manifest("m", path, path.parent / "blobs", told.append))


def _answers(path: Path) -> None:
    with open_answers(path) as answers:
        if not all(isinstance(key, str | int) for key in answers.done):
            raise Finding(f"{answers.done}")


_FILES: tuple[tuple[str, Callable[[Path], None]], ...] = (
    ("records.sqlite", _records), ("threads.json", _threads), ("manifest", _manifest), ("answers.jsonl", _answers),
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    path = written(b"", "records.sqlite")
    path.unlink()
    with _home(path.parent):
        records.pulled("/m.gguf", "a/b:Q4_0", "etag")
        records.used("/n.gguf")
    yield b"\0" + path.read_bytes()
    machine = tuned.machine().replace('"', "")
    yield f'\1{{"version": 1, "machines": {{"{machine}": {{"over 2 GB": {{"decode": 1, "prompt": 1}}}}}}}}'.encode()
    yield f'\2{{"layers": [{_MODEL}]}}'.encode()
    answer = '{"status_code": 200, "request_id": "", "body": {}}'
    yield f'\3{{"id": "b", "custom_id": "a", "response": {answer}, "error": null}}\n'.encode()


def mutate(data: bytes, rng: random.Random) -> bytes:
    head, rest = data[:1], data[1:]
    if rng.random() < 0.4:
        return head + of_bytes(rest, rng)
    if head != b"\0":
        return head + _JSON(rest, rng)
    path = written(rest, "mutated.sqlite")
    db = sqlite3.connect(path, isolation_level=None)
    try:
        column = rng.choice(("path", "name", "etag", "pulled", "used"))
        value = rng.choice((None, rng.choice(REALS), rng.choice(STRINGS), b"\xff", float(rng.choice(NUMBERS))))
        db.execute(f"UPDATE files SET {column} = ?", (value,))
        if rng.random() < 0.2:
            db.execute("CREATE TRIGGER t AFTER INSERT ON files BEGIN SELECT RAISE(ABORT, '\x1b'); END")
    except (sqlite3.Error, UnicodeDecodeError):
        return head + of_bytes(rest, rng)
    finally:
        db.close()
    return head + path.read_bytes()


def run(data: bytes) -> None:
    name, read = _FILES[(data[0] if data else 0) % len(_FILES)]
    path = written(data[1:], name)
    with _home(path.parent):
        read(path)


@contextlib.contextmanager
def _home(folder: Path) -> Iterator[None]:
    before = os.environ.get("LOCALLLM_HOME")
    os.environ["LOCALLLM_HOME"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("LOCALLLM_HOME")
        if before is not None:
            os.environ["LOCALLLM_HOME"] = before


TARGET = Target(seeds, run, mutate)
