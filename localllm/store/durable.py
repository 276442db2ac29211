"""Files that are whole or not there, even after a power cut."""

from __future__ import annotations

import os
from pathlib import Path

from localllm.runtime.files import replace, sync, sync_file


def put(temporary: Path, path: Path) -> None:
    """Moves a finished file to its place on the same disk, in one step, replacing what was there."""
    sync_file(temporary)
    replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes names in a folder durable. Windows has no descriptor of a folder."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)
