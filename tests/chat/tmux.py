"""A terminal for programs to be tried in: tmux, which keeps what stands on the screen."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
HAS_TMUX = shutil.which("tmux") is not None


class Tmux:
    """A window of its own server. Waits end as soon as what is waited for is there; `seconds` is only a limit."""

    def __init__(self, folder: Path, width: int = 80, height: int = 24) -> None:
        """folder: of the server's socket and of the shell's home."""
        self._folder = folder
        self._call("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), "sh")
        self._call("set-option", "-g", "history-limit", "5000")
        self.run("PS1='shell> '; cd " + shlex.quote(str(ROOT)))
        self.wait_for_shell()

    def _call(self, *arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
        environment.pop("TMUX", None)
        line = ["tmux", "-S", str(self._folder / "tmux"), *arguments]
        return subprocess.run(line, env=environment, capture_output=True, text=True, check=True).stdout

    def run(self, command: str) -> None:
        """Enter a line."""
        self.type(command)
        self.key("Enter")

    def type(self, text: str) -> None:
        self._call("send-keys", "-l", "--", text)

    def key(self, *names: str) -> None:
        """Keys as tmux calls them: C-c, Enter, Up, M-Enter."""
        self._call("send-keys", *names)

    def paste(self, text: str) -> None:
        """As a terminal does where the program asked for bracketed paste."""
        path = self._folder / "paste"
        path.write_text(text, encoding="utf-8")
        self._call("load-buffer", str(path))
        self._call("paste-buffer", "-p", "-r")

    def resize(self, width: int, height: int) -> None:
        self._call("resize-window", "-x", str(width), "-y", str(height))

    def screen(self, history: int = 0) -> str:
        """What is seen, and so many lines above it; without empty lines at the end."""
        return self._call("capture-pane", "-p", "-J", "-S", str(-history)).rstrip()

    def wait_for(self, text: str, seconds: float = 60.0, history: int = 200) -> str:
        """The screen, once the text stands on it or in the lines above it."""
        return self.wait_until(lambda screen: text in screen, repr(text), seconds, history)

    def wait_until(self, is_there, what: str = "it", seconds: float = 60.0, history: int = 200) -> str:
        end = time.monotonic() + seconds
        while not is_there(screen := self.screen(history)):
            assert time.monotonic() < end, f"{what} did not come; the screen:\n{screen}"
            time.sleep(0.02)
        return screen

    def wait_for_shell(self) -> None:
        """Until the program has ended."""
        self.wait_until(lambda screen: screen.endswith("shell>"), "the shell")

    def clear(self) -> None:
        """Forget what was shown before."""
        self._call("clear-history")

    def pid(self, name: str) -> int:
        """Of the newest process in the window whose command line has this in it."""
        shell = self._call("display-message", "-p", "#{pane_pid}").strip()
        found = subprocess.run(["pgrep", "-P", shell, "-f", name], capture_output=True, text=True).stdout.split()
        assert found, f"no process {name!r}"
        return int(found[-1])

    def close(self) -> None:
        self._call("kill-server")
