"""`python -m tests.terminal.in_steps FILE FOLDER STEPS`: shows a file in so many steps. Each begins when there is
FOLDER/<number> and the terminal has the size that stands there; FOLDER/<number>.done tells that it was shown."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from localllm.terminal.answer import AnswerView
from localllm.terminal.screen import Screen


def is_time(file, screen):
    """Whether the file is there, and the terminal has the size that it tells: tmux takes a while."""
    return file.exists() and file.read_text() == f"{screen.width} {screen.height}"


def main():
    text, folder, steps = Path(sys.argv[1]).read_text(encoding="utf-8"), Path(sys.argv[2]), int(sys.argv[3])
    screen = Screen()
    view = AnswerView(screen)
    for step in range(steps):
        while not is_time(folder / str(step), screen):
            time.sleep(0.01)
        part = text[len(text) * step // steps : len(text) * (step + 1) // steps]
        for i in range(0, len(part), 3):
            view.content(part[i : i + 3])
        (folder / f"{step}.done").touch()
    view.end()
    (folder / "end").touch()


if __name__ == "__main__":
    main()
