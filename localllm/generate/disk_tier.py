"""The files behind a prefix tree: what it keeps is written by a thread of its own, and what lies there joins the tree.

Nothing is awaited: as long as the digest of the model is not known nothing is found, and what was saved waits for it.
Whatever fails is a note, and the cache goes on in memory.
"""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from localllm.errors import LocalllmError
from localllm.generate import model_digest
from localllm.generate.prefix_tree import Ids, Kept, KeptMoment, Node, PrefixTree
from localllm.generate.saved_file import Header
from localllm.generate.saved_folder import SavedFolder, make_private
from localllm.model.sequences import Moment, Span

_MOST_WAITING = 1 << 30
"""Bytes that may wait to be written, beyond the budget of memory."""
_PAUSE = 60.0
"""Seconds without writing after the disk refused it."""
_log = logging.getLogger(__name__)


class Layout(model_digest.DigestedContext, Protocol):
    """What it needs of a context beside."""

    def span_bytes(self, start: int, stop: int) -> int: ...
    def moment_bytes(self, position: int) -> list[int]: ...


class DiskTier:
    """`lock` guards the tree; on_written() is called when something need not stay in memory any more."""

    def __init__(
        self,
        context: Layout,
        tree: PrefixTree,
        lock: threading.RLock,
        folder: Path,
        limit: int,
        on_written: Callable[[], None],
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        self._context, self._tree, self._lock = context, tree, lock
        self._folder, self._limit = folder, limit
        self._on_written, self._on_note = on_written, on_note
        self.note = ""
        """What went wrong last, for people."""
        self._saved: SavedFolder | None = None
        self._seen = -1
        self._begun = False
        self._pause_until = 0.0
        self._waiting_bytes = 0
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    # --- called with the lock held

    def refresh(self) -> None:
        """Let what lies in the folder join the tree; the first time, find out which files are this model's."""
        if not self._begun:
            self._begun = True
            try:
                make_private(self._folder)
                content = model_digest.known_content(self._context.model.file, self._folder)
            except (OSError, LocalllmError) as error:
                self._complain("prompts are not kept on disk", error)
                return
            if content:
                self._open(content)
            else:
                self._submit(self._find_content)
        elif self._saved:
            self._adopt(self._saved)

    def use(self, path: Sequence[Node], moment: KeptMoment | None) -> None:
        """A way was used or is new: write what is not there, and note the time."""
        kept = [k for k in (*path, *([moment] if moment else ())) if k.file or k.content is not None]
        if not self._begun or (self._saved is None and self._thread is None) or not self._is_running():
            return
        for k in kept:
            if not k.file and not k.is_waiting and self._waiting_bytes < _MOST_WAITING:
                k.is_waiting = True
                self._waiting_bytes += k.n_bytes
        now = time.time_ns()
        self._submit(lambda: self._write(kept, now))

    def discard(self, kept: Kept) -> None:
        """Forget something that came out of a file, and the file."""
        if self._saved and kept.file:
            self._saved.remove(kept.file)
            self._tree.prune(kept)

    # --- called from any thread

    def load(self, kept: Kept) -> Span | Moment | None:
        """What a file holds; None where it is gone or damaged: then it leaves the tree."""
        saved, name = self._saved, kept.file
        parts = saved.read(name, self._sizes(kept)) if saved and name else None
        if parts is None:
            with self._lock:
                kept.file = ""
                if kept.is_gone:
                    self._tree.prune(kept)
            return None
        if isinstance(kept, Node):
            return Span(kept.start, kept.stop, parts[0])
        assert isinstance(kept, KeptMoment)
        return Moment(kept.then.position, kept.then.written, tuple(part.tobytes() for part in parts))

    @property
    def n_bytes(self) -> int:
        """Of all files of the folder, of any model, when they were last counted."""
        return self._saved.total if self._saved else 0

    @property
    def is_open(self) -> bool:
        """It is known which files are this model's."""
        return self._saved is not None

    def close(self, seconds: float) -> None:
        """Wait for what is still to be written, so long at most."""
        if self._thread:
            self._jobs.put(None)
            self._thread.join(seconds)
            self._stop.set()

    # --- the thread

    def _submit(self, job: Callable[[], None]) -> None:
        if self._is_running():
            self._jobs.put(job)

    def _is_running(self) -> bool:
        """Start the thread, if need be; False where the system lets none start."""
        if self._thread is not None:
            return True
        thread = threading.Thread(target=self._work, name="prompt cache", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._complain("prompts are not kept on disk", error)
            return False
        self._thread = thread
        return True

    def _work(self) -> None:
        if sys.platform == "linux":  # there it is this thread alone
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while job := self._jobs.get():
            if self._stop.is_set():
                return
            try:
                job()
            except Exception as error:
                self._complain("prompts are not kept on disk", error)

    def _find_content(self) -> None:
        content = model_digest.find_content(self._context.model.file, self._folder, self._stop)
        if content:
            with self._lock:
                self._open(content)

    def _open(self, content: str) -> None:
        self._saved = SavedFolder(self._folder, model_digest.key(self._context, content), self._limit)
        self._adopt(self._saved)
        self._saved.make_room(0)

    def _write(self, kept: Sequence[Kept], now: int) -> None:
        """Each after what it hangs on, and looking older: what is last used goes last."""
        try:
            for i, k in enumerate(kept):
                if not self._write_one(k, now - 1000 * i):
                    return
        except OSError as error:
            self._pause_until = time.monotonic() + _PAUSE
            self._complain("a prompt is not kept on disk", error)
        finally:
            with self._lock:
                for k in kept:
                    if k.is_waiting:
                        k.is_waiting = False
                        self._waiting_bytes -= k.n_bytes
                self._on_written()

    def _write_one(self, kept: Kept, time_ns: int) -> bool:
        saved = self._saved
        if saved is None or (kept.file and saved.touch(kept.file, time_ns)):
            return saved is not None
        with self._lock:
            kept.file = ""
            node = kept.node if isinstance(kept, KeptMoment) else kept
            if not isinstance(node, Node) or node.parent is None:
                return False
            if (content := kept.content) is None:
                self._tree.prune(kept)
                return False
            header = self._describe(saved.key, kept, node)
            above = self._tree.names.get(header.parent)
            if header.parent and (above is None or not above.file):
                return False
            self._tree.name(kept, header.name)
        if saved.touch(header.name, time_ns):  # another process has written it
            kept.file = header.name
            return True
        if time.monotonic() < self._pause_until:
            return False
        parts = [content.content] if isinstance(content, Span) else [np.frombuffer(p, np.uint8) for p in content.parts]
        ids = kept.ids if isinstance(kept, Node) else np.empty(0, np.int32)
        if not saved.write(header, ids, parts, time_ns):
            return False
        kept.file = header.name
        return True

    def _complain(self, what: str, error: Exception) -> None:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        self.note = f"{self._folder}: {what}: {reason}"
        _log.info("%s", self.note)
        if self._on_note:
            self._on_note(self.note)

    # --- files and the tree

    def _adopt(self, saved: SavedFolder) -> None:
        """Bring the tree up to what the folder holds."""
        try:
            changed = saved.changed()
            if changed == self._seen:
                return
            names = saved.names()
        except FileNotFoundError:  # somebody has removed the folder
            changed, names = -1, set()
        except OSError as error:
            self._complain("saved prompts cannot be read", error)
            return
        self._seen = changed
        for name, kept in list(self._tree.names.items()):
            if kept.file and name not in names:
                kept.file = ""
                if kept.is_gone:
                    self._tree.prune(kept)
        headers = [found for name in names - self._tree.names.keys() if (found := saved.header(name))]
        for header, ids in sorted(headers, key=lambda found: (not found[0].is_cells, found[0].start)):
            if not self._place(saved.key, header, ids):
                saved.remove(header.name)

    def _place(self, key: str, header: Header, ids: Ids) -> bool:
        """Put a file's tokens or states in their place in the tree; False where there is none: a file whose parent was
        removed, or one that is not what it says."""
        parent = self._tree.names.get(header.parent) if header.parent else self._tree.root
        if not isinstance(parent, Node) or header.stop > 1 << 30:
            return False
        kept: Kept
        if header.is_cells:
            if not len(ids) or not parent.start <= header.start <= parent.stop or (header.start and not header.parent):
                return False
            kept = node = Node(0, start=header.start, ids=ids, parent=parent)
        else:
            if not parent.start < header.start <= parent.stop:
                return False
            kept, node = KeptMoment(0, node=parent, then=Moment(header.start, header.written)), parent
        sizes = self._sizes(kept)
        if self._describe(key, kept, node).name != header.name or sizes != list(header.sizes):
            return False
        kept.n_bytes, kept.file = sum(sizes) + ids.nbytes, header.name
        if isinstance(kept, Node):
            self._tree.add(parent, kept)
        elif isinstance(kept, KeptMoment):
            self._tree.add_moment(parent, kept)
        self._tree.name(kept, header.name)
        return True

    def _sizes(self, kept: Kept) -> list[int]:
        if isinstance(kept, Node):
            return [self._context.span_bytes(kept.start, kept.stop)]
        assert isinstance(kept, KeptMoment)
        return self._context.moment_bytes(kept.then.position)

    def _describe(self, key: str, kept: Kept, node: Node) -> Header:
        """The header of a file, but for what is known of its content. The name tells all tokens up to its end."""
        start, stop, parent, written = node.start, node.stop, node.parent, -1
        if isinstance(kept, KeptMoment):
            start = stop = kept.then.position
            parent, written = node, kept.then.written
        tokens = self._tree.prefix(node)[:stop].astype("<i4").tobytes()
        name = hashlib.sha256(f"{key} {start} {stop} {written >= 0} ".encode() + tokens).hexdigest()[:32]
        above = parent if parent is not None and parent is not self._tree.root else None
        return Header(key, name, above.name if above else "", start, stop, written)
