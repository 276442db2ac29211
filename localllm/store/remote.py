"""What a model that is not here is: the first bytes of its file, by Range requests (RFC 9110, section 14); no tensor.

A vocabulary stands before the tensors, so a header has a few megabytes. A hub's answer is believed in nothing but what
the reader of GGUF files checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from localllm.errors import NeedMoreError, StoreError
from localllm.gguf.reader import GGUFFile, join_headers, open_header
from localllm.gguf.split import part_names
from localllm.store import catalog, hf_cache, hub, retry, web
from localllm.store.choice import choose
from localllm.store.entry import UrlSource
from localllm.store.hub_address import HubAddress, address
from localllm.store.names import ModelName, parse

FIRST = 1 << 20
"""Bytes that are asked for first; then twice as many each time."""
CAP = 64 << 20
"""Bytes of a header at most."""
_CHUNK = 1 << 18
_FURTHER = 1 << 16
"""Bytes of parts after the first, which repeat no metadata."""


@dataclass(frozen=True)
class RemoteModel:
    """`name`: what MODEL may be. `host`: where it is. `file`: its header, of all parts. `sizes`: bytes of each part.
    `n_read`: bytes that were fetched."""

    name: str
    host: str
    file: GGUFFile
    sizes: tuple[int, ...]
    n_read: int


@dataclass(frozen=True)
class _Part:
    """A file to ask for; size 0: not known before."""

    url: str
    name: str
    size: int = 0
    token: str | None = None
    repo: str = ""


def has_remote(text: str) -> bool:
    """Whether a MODEL means something on the network: of a hub, at an address, or of the catalog."""
    return parse(text).kind in ("hub", "url", "catalog")


def open_remote(text: str) -> RemoteModel:
    """The header of a MODEL that is not here. Raises StoreError: offline, no such model, no answer, a server that sends
    no ranges; FormatError or UnsupportedError: what is there is no GGUF file that can be read."""
    name = parse(text)
    if hf_cache.is_offline():
        raise StoreError(f"{name.label} is not here, and HF_HUB_OFFLINE is set")
    parts = _parts(name)
    headers = [_Reading(part, FIRST if index == 0 else _FURTHER) for index, part in enumerate(parts)]
    files = [header.run() for header in headers]
    file = files[0] if len(files) == 1 else join_headers(files)
    host = urlsplit(parts[0].url).netloc
    return RemoteModel(name.label, host, file, tuple(file.size for file in files), sum(h.n_read for h in headers))


def _parts(name: ModelName) -> list[_Part]:
    if name.hub is not None:
        return _of_hub(name.hub)
    if name.kind == "url":
        return _of_address(name.text)
    entry = catalog.find_entry(name.text)
    links = [source.url for source in entry.sources if isinstance(source, UrlSource)] if entry else []
    if not links:
        raise StoreError(f"{name.text} is not here, and no address of it is known; `localllm pull {name.text}`")
    found = address(links[0])
    return _of_hub(found) if found else _of_address(links[0])


def _of_hub(where: HubAddress) -> list[_Part]:
    """The files of a model in their order, with their sizes."""
    repositories: Sequence[hub.Repository]
    if where.file:
        paths = part_names(where.file)
        repositories = [hub.one_file(where.repo, path, where.revision) for path in paths]
    else:
        listed = hub.list_repository(where.repo, where.revision)
        paths = choose(listed.files, where.repo, where.quant).parts
        repositories = [listed] * len(paths)
    token = hf_cache.token()
    return [
        _Part(one.url(path), f"{where.repo}/{path}", one.files[path].size, token, one.repo)
        for one, path in zip(repositories, paths, strict=True)
    ]


def _of_address(url: str) -> list[_Part]:
    return [_Part(part, urlsplit(part)._replace(query="").geturl()) for part in web.part_urls(url)]


class _Reading:
    """The beginning of one file, as far as its header goes."""

    def __init__(self, part: _Part, first: int) -> None:
        self._part, self._wanted = part, first
        self._data = b""
        self._size = part.size

    @property
    def n_read(self) -> int:
        return len(self._data)

    def run(self) -> GGUFFile:
        while True:
            self._fetch()
            try:
                return open_header(self._data, self._size, self._part.name)
            except NeedMoreError as error:
                if error.n_bytes > CAP or len(self._data) >= CAP:
                    raise self._problem(f"its header has more than {CAP >> 20} MB: it is not read from afar") from None
                self._wanted = min(CAP, max(error.n_bytes, 2 * len(self._data)))

    def _fetch(self) -> None:
        try:
            retry.patiently(self._grow)
        except web.StatusError as error:
            code = error.headers.get("X-Error-Code")
            why = hub.refusal(error.status, code, self._part.repo) if code else web.reason(error)
            raise self._problem(why) from None
        except web.BROKEN as error:
            raise self._problem(web.reason(error)) from None

    def _grow(self) -> None:
        """Until so many bytes are here as are wanted, or the file ends."""
        headers = {"Range": f"bytes={len(self._data)}-{self._wanted - 1}"}
        with web.request(self._part.url, self._part.token, headers) as answer:
            end = self._end(answer, len(self._data))
            while len(self._data) < end and (chunk := answer.read(min(_CHUNK, end - len(self._data)))):
                self._data += chunk
        if len(self._data) < end:
            raise ConnectionError(f"the connection broke after {len(self._data)} of {end} bytes")

    def _end(self, answer: web.Answer, begin: int) -> int:
        """Where the range ends that an answer brings."""
        told = answer.content_range()
        if told is None:
            raise self._problem("the server sends no ranges of a file: only a download would tell what it is")
        first, last, size = told
        if first != begin or not begin <= last < min(size, self._wanted) or size != (self._size or size):
            raise self._problem(web.other_range(answer))
        self._size = size
        return last + 1

    def _problem(self, text: str) -> StoreError:
        host = "" if "://" in self._part.name else f"{urlsplit(self._part.url).netloc}: "
        return StoreError(f"{host}{self._part.name}: {text}")
