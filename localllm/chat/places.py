"""Where a chat keeps what it keeps."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from localllm.store.paths import store_dir


def database_path() -> Path:
    """The file of all conversations: $LOCALLLM_HOME/conversations.db, or in the user's data folder."""
    return store_dir().parent / "conversations.db"


def history_path(on_note: Callable[[str], None]) -> Path | None:
    """The file of past messages, $LOCALLLM_HOME/history or in the user's state folder; None and a note where none can
    be made."""
    from platformdirs import user_state_path

    home = os.environ.get("LOCALLLM_HOME")
    folder = Path(home).expanduser() if home else user_state_path("localllm", appauthor=False)
    path = folder / "history"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        on_note(f"{path}: messages are not kept: {error.strerror}")
        return None
    return path
