"""A model of a hub into the Hugging Face cache, where other programs find it, too."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from localllm.errors import StoreError
from localllm.gguf.split import part_names
from localllm.store import hf_cache, hub, records
from localllm.store.cached import cached
from localllm.store.choice import choose
from localllm.store.download import RESUMES, Download, is_whole, need_space
from localllm.store.entry import Progress
from localllm.store.hub_address import HubAddress
from localllm.store.lock import is_free, locked
from localllm.store.transfer import Remote


def fetch_hub(
    address: HubAddress, report: Progress, check: bool = False, size: int = 0, sha256: str = "", name: str = ""
) -> Path:
    """Asks the hub what the model is now, fetches what is missing of it, and returns the path of its first part.

    `check`: what is here is compared with its hash, and fetched again if it was damaged. `size`, `sha256`: what the
    file must be, where known. `name`: what people call it. Raises StoreError.
    """
    if hf_cache.is_offline():
        return _offline(address)
    repository, tag = _asked(address)
    files = list(repository.files.values())
    name = name or f"{address.repo}:{tag}"
    _require_known(name, files, size, sha256)
    try:
        return _Fetch(repository, files, name, report, check).run(address.revision)
    except OSError as error:
        raise StoreError(f"{error.filename or hf_cache.cache_dir()}: {error.strerror or error}") from None


def _offline(address: HubAddress) -> Path:
    here = cached(address)
    if here is None:
        raise StoreError(f"{address.label} is not in {hf_cache.cache_dir()}, and HF_HUB_OFFLINE is set")
    return here[0]


def _asked(address: HubAddress) -> tuple[hub.Repository, str]:
    """The repository with nothing but the files of the model, in their order; and the model's tag."""
    if address.file:
        parts = part_names(address.file)
        found = [hub.one_file(address.repo, part, address.revision) for part in parts]
        if len({one.commit for one in found}) > 1:
            raise StoreError(f"{address.label}: the repository was changed just now: try again")
        files = {path: one.files[path] for path, one in zip(parts, found, strict=True)}
        return hub.Repository(address.repo, address.revision, found[0].commit, files), address.file
    listed = hub.list_repository(address.repo, address.revision)
    choice = choose(listed.files, address.repo, address.quant)
    files = {part: listed.files[part] for part in choice.parts}
    return hub.Repository(listed.repo, listed.revision, listed.commit, files), choice.tag


def _require_known(name: str, files: Sequence[hub.HubFile], size: int, sha256: str) -> None:
    there = sum(file.size for file in files)
    if size and there != size:
        raise StoreError(f"{name}: the file has {there} bytes there, expected {size}")
    if sha256 and files[0].etag != sha256:
        raise StoreError(f"{name}: what is there is not the model: SHA-256 {files[0].etag}, expected {sha256}")


class _Fetch:
    def __init__(
        self, repository: hub.Repository, files: Sequence[hub.HubFile], name: str, report: Progress, check: bool
    ) -> None:
        self._repository, self._files, self._report, self._check = repository, files, report, check
        self._name = name
        self._size = sum(file.size for file in files)

    def run(self, revision: str) -> Path:
        self._need_space()
        done, fetched = 0, False
        for file in self._files:
            try:
                fetched |= self._blob(file, done)
            except StoreError as error:
                raise StoreError(f"{error}; {RESUMES}" if done and RESUMES not in str(error) else str(error)) from None
            done += file.size
        return self._show(revision, fetched)

    def _need_space(self) -> None:
        """For all parts together, less what is here."""
        folder = hf_cache.repo_dir(self._repository.repo)
        (folder / "blobs").mkdir(parents=True, exist_ok=True)
        (folder / "snapshots").mkdir(exist_ok=True)  # without it, other programs call the repository broken
        here = 0
        for file in self._files:
            for path in (self._place(file), self._part(file), self._pointer(file)):
                if path.is_file():
                    here += path.stat().st_size
                    break
        if here < self._size:
            need_space(folder, self._size - here)

    def _place(self, file: hub.HubFile) -> Path:
        return hf_cache.blob_path(self._repository.repo, file.etag)

    def _pointer(self, file: hub.HubFile) -> Path:
        return hf_cache.snapshot(self._repository.repo, self._repository.commit) / file.path

    def _part(self, file: hub.HubFile) -> Path:
        return self._place(file).with_name(f"{file.etag}.{_mark(file)}.incomplete")

    def _blob(self, file: hub.HubFile, before: int) -> bool:
        """Makes the content of a file be in the cache; whether it was fetched. `before`: bytes of the parts so far."""

        def report(text: str, done: int, total: int) -> None:
            of_file = total == file.size
            self._report(text, before + done if of_file else done, self._size if of_file else total)

        def is_here() -> bool:
            self._clear(file)
            # Where no links can be made, the blob itself stands among the files of the commit.
            path = next((path for path in (self._place(file), self._pointer(file)) if path.is_file()), None)
            if path is None:
                return False
            if path.stat().st_size == file.size and not self._check:
                return True
            if is_whole(path, file.size, file.etag, self._name, report):
                return True
            self._report(f"{self._name}: the file here is damaged, fetching it again", 0, 0)
            return False

        repo = self._repository.repo
        url, place = self._repository.url(file.path), self._place(file)
        explain = partial(hub.refusal_of_file, repo=repo)
        remote = Remote(url, file.size, file.etag, hf_cache.token(), name=self._name, explain=explain)
        lock = hf_cache.lock_path(repo, file.etag)
        return Download(remote, place, self._part(file), lock, self._name, file.etag).run(is_here, report)

    def _clear(self, file: hub.HubFile) -> None:
        """Removes what was fetched of earlier versions of a file and never finished, unless somebody is at it."""
        repo = self._repository.repo
        for part, etag in hf_cache.obsolete_parts(repo, file.etag, _mark(file)):
            with is_free(hf_cache.lock_path(repo, etag)) as free:
                if free:
                    part.unlink(missing_ok=True)

    def _show(self, revision: str, fetched: bool) -> Path:
        """The files of the commit, all at once for those who look for the first part last; its path."""
        repo, commit = self._repository.repo, self._repository.commit
        with locked(hf_cache.lock_path(repo, "snapshots"), lambda: None):
            for file in reversed(self._files):
                pointer = hf_cache.link(repo, commit, file.path, file.etag)
                if fetched and not pointer.is_symlink():
                    records.pulled(pointer, self._name, file.etag)
            hf_cache.remember(repo, revision, commit)
        return pointer


def _mark(file: hub.HubFile) -> str:
    """Stands for the path of a file in the name of its part."""
    return hashlib.sha256(file.path.encode()).hexdigest()[:8]
