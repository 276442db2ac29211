"""The Hugging Face cache on disk: where it is, what is in it, how a file is put there. Needs no huggingface_hub.

Layout (huggingface_hub, "Understand caching"): models--ORG--REPO/blobs/<etag>, snapshots/<commit>/<file> as relative
links to blobs, refs/<branch> with a commit. The variables are those of huggingface_hub/constants.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from localllm.runtime.files import replace
from localllm.store.durable import put, sync_folder

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ETAG = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_UNSAFE = re.compile(r"[\\:]")
_NOT_ON_WINDOWS = re.compile(
    r"""(?i)(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)[ ]*(?:\..*)?
    |.*[<>"|?*].*|.*[. ]""",
    re.VERBOSE,
)
"""Names that mean devices, or that no file can have there (Microsoft: "Naming Files, Paths, and Namespaces")."""
_YES = ("1", "on", "yes", "true")


def endpoint() -> str:
    """The hub's address, without a slash at its end: $HF_ENDPOINT."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def hf_home() -> Path:
    """The folder of all that Hugging Face's programs keep: $HF_HOME."""
    given = os.environ.get("HF_HOME")
    return _expanded(given) if given else _expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"


def cache_dir() -> Path:
    """The folder of downloaded repositories; it need not exist yet."""
    given = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return _expanded(given) if given else hf_home() / "hub"


def is_offline() -> bool:
    """Whether the network is not to be used: $HF_HUB_OFFLINE."""
    return (os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or "").lower() in _YES


def token() -> str | None:
    """The user's token for the hub: $HF_TOKEN, else what `hf auth login` wrote; None: there is none."""
    given = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    if not given:
        path = os.environ.get("HF_TOKEN_PATH")
        with contextlib.suppress(OSError, UnicodeDecodeError):
            given = (_expanded(path) if path else hf_home() / "token").read_text(encoding="utf-8")
    return "".join((given or "").split()) or None


def repo_dir(repo: str) -> Path:
    """The folder of a repository "org/repo" in the cache."""
    return cache_dir() / f"models--{repo.replace('/', '--')}"


def lock_path(repo: str, etag: str) -> Path:
    """The file that whoever downloads a blob locks: the same as huggingface_hub's."""
    return cache_dir() / ".locks" / f"models--{repo.replace('/', '--')}" / f"{etag}.lock"


def is_safe(path: str) -> bool:
    """Whether a path that a hub named stays in its folder, on every system, and can be shown: relative, no "..", no
    drive, no character that does not print; and whether this system can have such a file."""
    parts = path.split("/")
    if sys.platform == "win32" and any(map(_NOT_ON_WINDOWS.fullmatch, parts)):
        return False
    return (
        path.isprintable()
        and not _UNSAFE.search(path)
        and all(0 < len(part.encode()) < 256 and part not in (".", "..") for part in parts)
    )


def is_commit(text: str) -> bool:
    """Whether a text is a whole commit of git: 40 lower-case hexadecimal digits."""
    return bool(_COMMIT.fullmatch(text))


def is_etag(text: str) -> bool:
    """Whether a text can name a blob: git's SHA-1 of it, or its SHA-256."""
    return bool(_ETAG.fullmatch(text))


def commit_of(repo: str, revision: str) -> str | None:
    """The commit that a revision was when it was last asked for; None: it never was."""
    if is_commit(revision):
        return revision
    text = read_reference(repo_dir(repo) / "refs" / revision) if is_safe(revision) else ""
    return text if is_commit(text) else None


def read_reference(path: Path) -> str:
    """What a file below refs/ names; "" where it cannot be read. To open anything but a file might wait for ever."""
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            return file.read(64).decode("ascii", "replace").strip()
    except OSError:
        return ""


def snapshot(repo: str, commit: str) -> Path:
    """The folder with the files of a commit; it need not exist yet."""
    return repo_dir(repo) / "snapshots" / commit


def files_of(repo: str, commit: str) -> list[str]:
    """Paths in the repository of those files of a commit that are here."""
    root = snapshot(repo, commit)
    found = []
    for folder, _, names in os.walk(root):
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        paths = names if relative == "." else [f"{relative}/{name}" for name in names]
        found += [path for path in paths if (root / path).is_file()]
    return found


def blob_path(repo: str, etag: str) -> Path:
    """Where the content of a file is, or will be."""
    return repo_dir(repo) / "blobs" / etag


def link(repo: str, commit: str, path: str, etag: str) -> Path:
    """Shows a blob as a file of a commit; returns its path. Where links cannot be made the blob itself goes there, as
    huggingface_hub does it, or a copy if another commit may use it. For one process at a time."""
    blob, pointer = blob_path(repo, etag), snapshot(repo, commit) / path
    pointer.parent.mkdir(parents=True, exist_ok=True)
    if pointer.is_file() and (os.path.realpath(pointer) == os.path.realpath(blob) or not blob.exists()):
        return pointer
    temporary = pointer.with_name(f".{hashlib.sha256(path.encode()).hexdigest()[:16]}.incomplete")
    temporary.unlink(missing_ok=True)
    try:
        os.symlink(os.path.relpath(blob, pointer.parent), temporary)
    except (OSError, NotImplementedError):
        _move_or_copy(repo, blob, pointer, temporary)
    else:
        replace(temporary, pointer)
        sync_folder(pointer.parent)
    return pointer


def _move_or_copy(repo: str, blob: Path, pointer: Path, temporary: Path) -> None:
    snapshots = repo_dir(repo) / "snapshots"
    if len(list(snapshots.iterdir())) == 1:
        put(blob, pointer)
        return
    shutil.copyfile(blob, temporary)
    put(temporary, pointer)


def remember(repo: str, revision: str, commit: str) -> None:
    """Writes down which commit a branch or a tag is now. The commit's folder must exist: others read both. For one
    process at a time."""
    if not is_commit(revision) and is_safe(revision) and commit_of(repo, revision) != commit:
        path, temporary = repo_dir(repo) / "refs" / revision, repo_dir(repo) / ".ref.incomplete"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(commit, encoding="ascii")
        put(temporary, path)


def obsolete_parts(repo: str, etag: str, mark: str) -> Iterator[tuple[Path, str]]:
    """What was downloaded of other versions of a file and never finished, with their ETags; `mark` means the file."""
    for part in blob_path(repo, etag).parent.glob(f"*.{mark}.incomplete"):
        other = part.name.split(".")[0]
        if other != etag and is_etag(other):
            yield part, other


def _expanded(text: str) -> Path:
    return Path(os.path.expandvars(os.path.expanduser(text)))
