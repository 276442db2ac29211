"""Where models are kept: $LOCALLLM_HOME/models, or the user's data folder as the system names it."""

from __future__ import annotations

import os
from pathlib import Path


def store_dir() -> Path:
    """The folder of fetched models; it need not exist yet."""
    home = os.environ.get("LOCALLLM_HOME")
    if home:
        return Path(home).expanduser() / "models"
    from platformdirs import user_data_path

    return user_data_path("localllm", appauthor=False) / "models"
