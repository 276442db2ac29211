"""A model at any address, into the store's own folder."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from localllm.errors import StoreError
from localllm.gguf.split import part_name, part_names
from localllm.store import records, web
from localllm.store.catalog import catalog
from localllm.store.download import Download, is_whole, need_space
from localllm.store.entry import Progress
from localllm.store.filenames import part_of, stem
from localllm.store.hf_cache import is_offline, is_safe
from localllm.store.paths import store_dir
from localllm.store.retry import patiently
from localllm.store.transfer import Remote, validator

_NO_HEAD = (400, 403, 404, 405, 501)
"""Statuses of servers that do not know HEAD, or have signed GET alone."""


@dataclass(frozen=True)
class _Facts:
    """What a server tells of a file. `validator`: what If-Range may carry, or ""."""

    size: int
    validator: str


def here(url: str) -> Path | None:
    """The model that was fetched from an address (the first part of a split one), if it is still here."""
    urls = web.part_urls(url)
    places = _places(urls)
    for part_url, place in zip(urls, places, strict=True):
        known = records.known(place) if place.is_file() else None
        if known is None or known.name != part_url:
            return None
    return places[0]


def fetch_url(url: str, report: Progress) -> Path:
    """Fetches a file into the store; of a split model all parts. The path of the first. Raises StoreError.

    One that is here is fetched again where the server has another by its size or ETag: there is no hash to compare it
    with.
    """
    if is_offline():
        found = here(url)
        if found is None:
            raise StoreError(f"{url} is not here, and HF_HUB_OFFLINE is set")
        return found
    urls = web.part_urls(url)
    places = _places(urls)
    for part_url, place in zip(urls, places, strict=True):
        fetch_to(place, part_url, report, part_url)
    return places[0]


def fetch_to(place: Path, url: str, report: Progress, name: str, size: int = 0, sha256: str = "") -> None:
    """Fetches the file at `url` to a place in the store. `size`, `sha256`: what it must be, where known."""
    facts = _asked(url, name) if not size else _Facts(size, "")
    key = hashlib.sha256(f"{url} {facts} {sha256}".encode()).hexdigest()[:12]
    part = place.with_name(f".{place.name}.{key}.incomplete")
    label = name if name != url else place.name

    def is_here() -> bool:
        if name == url and _is_taken(place, url):  # since the place was chosen
            raise StoreError(f"{place}: another process put another file there just now: try again")
        for other in place.parent.glob(f".{_escaped(place.name)}.*.incomplete"):
            if other != part or not (facts.validator or sha256):  # nothing says that it is of the same file
                other.unlink(missing_ok=True)
        if place.is_file() and _is_same(place, facts, sha256, label, report):
            return True
        need_space(place.parent, facts.size - (part.stat().st_size if part.exists() else 0))
        return False

    remote = Remote(url, facts.size, sha256, validator=facts.validator, name=label)
    lock = place.with_name(f".{place.name}.lock")
    Download(remote, place, part, lock, url, facts.validator).run(is_here, report)


def _is_same(place: Path, facts: _Facts, sha256: str, label: str, report: Progress) -> bool:
    known = records.known(place)
    if sha256 or known is None:
        return is_whole(place, facts.size, sha256, label, report)
    return place.stat().st_size == facts.size and known.etag == facts.validator


def _asked(url: str, name: str) -> _Facts:
    try:
        return patiently(lambda: _facts(url, "HEAD"))
    except web.StatusError as error:
        if error.status not in _NO_HEAD:
            raise StoreError(f"{_host(url)}: {name}: {error}") from None
    except web.BROKEN as error:
        raise StoreError(f"{_host(url)} cannot be reached: {web.reason(error)}") from None
    try:
        return patiently(lambda: _facts(url, "GET"))
    except (web.StatusError, *web.BROKEN) as error:
        raise StoreError(f"{_host(url)}: {name}: {web.reason(error)}") from None


def _facts(url: str, method: str) -> _Facts:
    with web.request(url, method=method) as answer:
        length = answer.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,15}", length) or not int(length):
            raise StoreError(f"{_host(url)}: {url}: the server does not say how large the file is")
        return _Facts(int(length), validator(answer.headers))


def _places(urls: list[str]) -> list[Path]:
    """Where files are, or will be: by the last name of the first address, unless that is taken."""
    name = unquote(urlsplit(urls[0]).path.rpartition("/")[2])
    mark = hashlib.sha256(urls[0].encode()).hexdigest()[:8]
    if not name.lower().endswith(".gguf") or not is_safe(name) or name.startswith("."):
        host = (urlsplit(urls[0]).hostname or "").replace(":", "-")  # of IPv6; no file of Windows has a colon
        return [store_dir() / f"{host}-{mark}.gguf"]
    first = store_dir() / name
    if name in {entry.file for entry in catalog().entries.values()} or _is_taken(first, urls[0]):
        part, marked = part_of(name), f"{stem(name)}-{mark}"
        name = part_name(marked, part.number, part.count) if part else f"{marked}.gguf"
    return [store_dir() / part for part in part_names(name)]


def _is_taken(place: Path, url: str) -> bool:
    known = records.known(place)
    return place.exists() and (known is None or known.name != url)


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _escaped(name: str) -> str:
    return re.sub(r"([\[*?])", r"[\1]", name)
