"""The command `aider`: a file of a git repository is edited, with streams, in two edit formats."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.clients.script import Given, main

BEFORE = 'def greet():\n    print("hello")\n'
REQUEST = 'In greet.py, change the text "hello" to "goodbye". Change nothing else.'
IDENTITY = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org"}
IDENTITY |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in IDENTITY.items()}


def git(folder: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=folder, env=os.environ | IDENTITY, check=True, capture_output=True, text=True
    ).stdout


def edit(given: Given, form: str) -> None:
    """It asks, streams, and applies the edit, or says that it could not: how good the model is, is not the matter."""
    folder = Path(given.folder, form)
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "greet.py").write_text(BEFORE)
    git(folder, "add", "greet.py")
    git(folder, "commit", "-qm", "first")
    command = [
        sys.executable, "-m", "aider", "--model", f"openai/{given.model}", "--edit-format", form, "--message", REQUEST,
        "--yes-always", "--no-check-update", "--no-show-model-warnings", "--no-show-release-notes",
        "--analytics-disable", "--no-gitignore", "--map-tokens", "0", "--no-pretty", "--timeout", "300", "greet.py",
    ]  # fmt: skip
    env = os.environ | IDENTITY | {"OPENAI_API_BASE": f"{given.url}/v1", "OPENAI_API_KEY": given.key}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Tokens: " in said, said
    assert "litellm." not in said, said
    after = (folder / "greet.py").read_text()
    assert (after != BEFORE) == ("Applied edit to greet.py" in said), said
    n_commits = len(git(folder, "log", "--oneline").splitlines())
    assert n_commits == (2 if after != BEFORE else 1), said
    print(f"{form}: {'edited' if after != BEFORE else 'not edited'}")


def whole(given: Given) -> None:
    edit(given, "whole")


def diff(given: Given) -> None:
    edit(given, "diff")


if __name__ == "__main__":
    main("aider-chat", whole, diff)
