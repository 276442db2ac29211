"""Signals at any moment: python -m tests.running.signals [--moments 300] [--seed 1] [--only run,chat]

Each moment is a process of `localllm` that gets a signal: a while after its start, or when some function is called (see
`at`); a third get a second one soon after. Then the exit status is one of those that docs/run.md tells, standard error
has no traceback and at most one complaint, no process is left, files are whole or absent with nothing beside them, and
a terminal is as it was.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.server import tiny

ROOT = Path(__file__).parents[2]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
LIMIT = 60.0
"""Seconds after which a process hangs."""
FUNCTIONS = (
    "<module>", "main", "_main", "prepare", "parse_args", "invoke", "resolve", "open_gguf", "load", "__init__",
    "__enter__", "__exit__", "written_whole", "mkstemp", "replace", "unlink", "fsync", "write", "flush", "close",
    "restore", "_shutdown", "start", "join", "acquire", "wait", "poll", "run", "forward", "sample", "get", "put",
    "connect", "execute", "commit",
)  # fmt: skip
"""Where the structured moments lie; "*" is any call."""
TRACES = ("Traceback", "Exception ignored", "Fatal Python error", "a bug in localllm", "never awaited")
HOSTILE = re.compile("|".join(TRACES))


@dataclass
class Place:
    """A folder with what the commands read, and what they write."""

    folder: Path
    hub: str
    """The address of a hub."""
    whole: dict[str, bytes] = field(default_factory=dict)
    """Files as a command that is left alone writes them."""

    def __truediv__(self, name: str) -> str:
        return str(self.folder / name)

    def prepare(self) -> None:
        tiny.write(self.folder / "m.gguf")
        body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 10}
        rows = [{"custom_id": str(i), "method": "POST", "url": "/v1/chat/completions", "body": body} for i in range(6)]
        (self.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (self.folder / "text.txt").write_text("Some words of a text, and more of them.\n" * 60)


Check = Callable[[Place, str], None]


@dataclass(frozen=True)
class Command:
    arguments: Sequence[str]
    """{} is the place's folder."""
    writes: str = ""
    check: Check = lambda place, name: None
    stdin: bytes = b""
    typed: Sequence[bytes] = ()
    """On a terminal of its own, a third of a second after one another."""
    serves: bool = False
    """It ends by a signal alone, and well."""
    environment: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 2.5
    """In which the moments lie."""


def whole_or_absent(place: Place, name: str) -> None:
    path = place.folder / name
    if path.exists() and name in place.whole:
        assert path.read_bytes() == place.whole[name], f"{name} is half-written"


def lines_of_json(place: Place, name: str) -> None:
    path = place.folder / name
    for line in path.read_text().splitlines() if path.exists() else ():
        assert isinstance(json.loads(line), dict)


COMMANDS: dict[str, Command] = {
    "list": Command(["list"], seconds=0.7),
    "help": Command(["run", "--help"], seconds=0.5),
    "run": Command(["run", "{}/m.gguf", "hi", "-n", "200"]),
    "chat": Command(["chat", "{}/m.gguf", "-n", "60"], stdin=b"hi\nand?\n"),
    "terminal": Command(["chat", "{}/m.gguf", "-n", "40"], typed=(b"hi\r", b"/help\r", b"more\r", b"/bye\r")),
    "serve": Command(["serve", "{}/m.gguf", "--port", "0", "--drain", "1s", "-np", "2", "-c", "256"], serves=True),
    "batch": Command(["batch", "{}/in.jsonl", "{}/out.jsonl", "{}/m.gguf", "-np", "2"], "out.jsonl", lines_of_json),
    "bench": Command(["bench", "{}/m.gguf", "-p", "16", "-n", "8", "-r", "2"]),
    "quantize": Command(["quantize", "{}/m.gguf", "{}/q.gguf", "Q8_0", "--force"], "q.gguf", whole_or_absent),
    "calibrate": Command(["calibrate", "{}/m.gguf", "-f", "{}/text.txt", "-o", "{}/i.gguf", "-c", "64"], "i.gguf"),
    "pull": Command(["pull", "org/repo"], environment={"HF_HOME": "{}/hf", "HF_HUB_CACHE": "{}/hf/hub"}),
    "compile": Command(["run", "{}/m.gguf", "hi", "-n", "2"], environment={"LOCALLLM_CACHE": "{}/cold"}, seconds=6.0),
}  # fmt: skip


class Process:
    """A command under way."""

    def __init__(self, command: Command, place: Place, line: Sequence[str]) -> None:
        self._command, self._out = command, bytearray()
        given = {k: v.format(place.folder) for k, v in command.environment.items()}
        environment = os.environ | {"HF_ENDPOINT": place.hub, "LOCALLLM_HOME": place / "home"} | given
        self._slave: int | None = None
        self._files = [tempfile.TemporaryFile() for _ in range(3)]  # noqa: SIM115
        if command.typed:
            import pty

            self._master, self._slave = pty.openpty()
            self._before = termios.tcgetattr(self._slave)
            streams = [self._slave] * 3
            environment |= {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"}
        else:
            self._files[0].write(command.stdin)
            self._files[0].seek(0)
            streams = [file.fileno() for file in self._files]
        self._typed = list(command.typed)
        self.begun = self._next = time.monotonic()
        self.popen = subprocess.Popen(
            line, cwd=ROOT, env=environment, start_new_session=True,
            stdin=streams[0], stdout=streams[1], stderr=streams[2],
        )  # fmt: skip

    def wait(self, seconds: float) -> bool:
        """Whether it ends within this time; meanwhile it is typed on its terminal, and read."""
        end = time.monotonic() + seconds
        while self.popen.poll() is None and (left := end - time.monotonic()) > 0:
            if self._slave is None:
                try:
                    self.popen.wait(left)
                except subprocess.TimeoutExpired:
                    return False
            else:
                self._talk(min(left, 0.02))
        return self.popen.poll() is not None

    def _talk(self, seconds: float) -> None:
        import select

        if self._typed and time.monotonic() > self._next:
            self._next += 0.33
            os.write(self._master, self._typed.pop(0))
        if select.select([self._master], [], [], seconds)[0]:
            self._out += os.read(self._master, 1 << 16)

    def end(self) -> str:
        """What it wrote, all of a terminal and of standard error otherwise. AssertionError for a terminal that is left
        in another state."""
        if self._slave is None:
            self._files[2].seek(0)
            return self._files[2].read().decode(errors="replace")
        self._talk(0.05)
        after = termios.tcgetattr(self._slave)
        os.close(self._slave)
        os.close(self._master)
        text = self._out.decode(errors="replace")
        assert after == self._before, f"the terminal is another one: {after} was {self._before}"
        modes = dict(re.findall(r"\x1b\[\?(2004|25|1049|1000)([hl])", text))
        assert modes.get("2004", "l") == "l", "the terminal still brackets what is pasted"
        assert modes.get("25", "h") == "h", "the cursor is hidden"
        return text


def processes_of(session: int) -> list[int]:
    """Of a session, but for those that are gone and not yet waited for."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(sid) == session and state not in "ZX":
            found.append(int(path.parent.name))
    return found


def none_is_left(session: int) -> None:
    end = time.monotonic() + 5.0
    while left := processes_of(session):
        assert time.monotonic() < end, f"processes are left: {left}"
        time.sleep(0.05)


def moment(place: Place, name: str, choice: random.Random) -> str:
    """One process and its signals; its exit status. AssertionError where anything is wrong."""
    command, number = COMMANDS[name], choice.choice(SIGNALS)
    arguments = [argument.format(place.folder) for argument in command.arguments]
    structured = choice.random() < 0.5
    where, n, after, told = "", 0, 0.0, ""
    if structured:
        where = choice.choice(FUNCTIONS) if choice.random() < 0.7 else "*"
        n = int(10 ** choice.uniform(0, 5.5)) if where == "*" else int(10 ** choice.uniform(0, 2))
        line = [sys.executable, "-m", "tests.running.at", str(int(number)), where, str(n), *arguments]
        told = f"{name}: {number.name} at call {n} of {where}"
    else:
        after = choice.uniform(0, 0.4 if choice.random() < 0.3 else command.seconds)
        line = [sys.executable, "-m", "localllm", *arguments]
        told = f"{name}: {number.name} after {after:.3f} s"
    second = choice.choice(SIGNALS[:3]) if choice.random() < 0.33 else None
    pause = choice.uniform(0, 0.1)
    if second:
        told += f", and {second.name} {pause:.3f} s later"
    process = Process(command, place, line)
    try:
        try:
            if not structured and not process.wait(after):
                process.popen.send_signal(number)
            if structured:
                process.wait(command.seconds if second or command.serves else LIMIT)
            if (second or (structured and command.serves)) and not process.wait(pause):
                process.popen.send_signal(second or signal.SIGTERM)
            if not process.wait(LIMIT if number != signal.SIGPIPE or not command.serves else 5.0):
                assert number == signal.SIGPIPE, "it hangs"
                process.popen.send_signal(signal.SIGTERM)
                assert process.wait(LIMIT), "it hangs"
        finally:
            if process.popen.poll() is None:
                process.popen.kill()
                process.popen.wait()
        text = process.end()
        status = process.popen.returncode
        sent = {number, signal.SIGTERM, *((second,) if second else ())}
        allowed = {0} | {-s for s in sent} | {STATUS[s] for s in sent if s in STATUS}
        # Before a line of ours is run, Python says what it was doing: `site`, or what looks for the module to run.
        is_early = "init_import_site" in text or "_get_module_details" in text
        allowed |= {1} if is_early else set()
        assert status in allowed, f"status {status}"
        assert is_early or not HOSTILE.search(text), "it complains"
        assert len(re.findall("^localllm: ", text, re.MULTILINE)) <= 1, "two complaints"
        none_is_left(process.popen.pid)
        command.check(place, command.writes)
        left = [p.name for p in place.folder.iterdir() if p.name.endswith(".part") and p.name.startswith(".")]
        assert not left, f"left behind: {left}"
        return str(status)
    except AssertionError as error:
        what = process.end() if process.popen.returncode is None else locals().get("text", "")
        raise AssertionError(f"{told}: {error}\nstatus {process.popen.returncode}\n{what[-3000:]}") from None


def alone(place: Place, name: str) -> float:
    """Seconds of a command that is left alone; what it writes is kept."""
    command = COMMANDS[name]
    arguments = [argument.format(place.folder) for argument in command.arguments]
    process = Process(command, place, [sys.executable, "-m", "localllm", *arguments])
    assert process.wait(600), f"{name} hangs"
    text = process.end()
    assert process.popen.returncode == 0, f"{name}: {text}"
    if command.writes:
        place.whole[command.writes] = (place.folder / command.writes).read_bytes()
    return time.monotonic() - process.begun


def run(
    folder: Path, moments: int, seed: int, names: Sequence[str] = (), say: Callable[[str], None] = lambda text: None
) -> tuple[Counter[str], list[str]]:
    """How the processes ended, by command and status; what was wrong."""
    from tests.store.hub_stub import Repo, running

    choice, ends, wrong = random.Random(seed), Counter[str](), []
    names = names or tuple(COMMANDS)
    with running() as hub:
        hub.repos["org/repo"] = Repo({"m-Q4_K_M.gguf": b"GGUF" + random.Random(1).randbytes(3 << 20)})
        place = Place(folder, hub.url)
        place.prepare()
        for name in names:
            if COMMANDS[name].writes == "q.gguf":
                alone(place, name)
        for n in range(moments):
            name = names[n % len(names)]
            target = place.folder / COMMANDS[name].writes
            if COMMANDS[name].writes and choice.random() < 0.5:
                target.unlink(missing_ok=True)
            try:
                status = moment(place, name, choice)
                ends[f"{name} {status}"] += 1
            except AssertionError as error:
                wrong.append(str(error))
                say(f"WRONG {error}")
            if (n + 1) % 25 == 0:
                say(f"{n + 1} moments, {len(wrong)} wrong")
    return ends, wrong


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--moments", type=int, default=300)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", default="", help="commands, with commas")
    given = options.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        names = [name for name in given.only.split(",") if name]
        ends, wrong = run(Path(folder), given.moments, given.seed, names, lambda text: print(text, flush=True))
    for name, n in sorted(ends.items()):
        print(f"{n:5} {name}")
    print(f"{given.moments} moments, {len(wrong)} wrong, seed {given.seed}, {time.monotonic() - begun:.0f} s")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
