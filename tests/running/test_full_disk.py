"""A disk that is full, a real one where root may mount it: one line, and what was there stays as it was."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from localllm.chat.database import Database
from localllm.cli import main as cli
from tests.server import tiny

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (hasattr(os, "geteuid") and os.geteuid() == 0), reason="mounting needs root")


@pytest.fixture
def disk(tmp_path):
    """A disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("full") / "m.gguf")


def fill(disk, n_free=0):
    """Leave so many bytes."""
    n_bytes = shutil.disk_usage(disk).free - n_free
    (disk / "filler").write_bytes(bytes(n_bytes))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def chat(model, home, *lines):
    command = [
        sys.executable,
        "-m",
        "localllm",
        "chat",
        model,
        "--keep",
        "-n",
        "8",
        "-t",
        "1",
        "--no-stats",
        "--temp",
        "0",
    ]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | {"LOCALLLM_HOME": str(home)}, input="".join(f"{line}\n" for line in lines),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def kept(home):
    database = Database(home / "conversations.db")
    (conversation,) = database.conversations()
    found = [(message.role, message.content) for message in database.messages(conversation.id)]
    database.close()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("n_free", [110_000, 150_000])
def test_conversations(model, disk, n_free):
    """The chat goes on with the same answers; what was kept before stays, word for word."""
    lines = [f"message {i}" for i in range(8)]
    whole = chat(model, disk.parent / "home", *lines)
    assert (whole.returncode, whole.stderr) == (0, "")
    fill(disk, n_free)
    done = chat(model, disk / "home", *lines)
    assert (done.returncode, done.stdout) == (0, whole.stdout)
    assert done.stderr == f"{disk}/home/conversations.db: the disk is full; from here on this chat is not kept\n"
    (disk / "filler").unlink()
    before, all_of_them = kept(disk / "home"), kept(disk.parent / "home")
    assert 0 < len(before) < len(all_of_them)
    assert before[:-1] == all_of_them[: len(before) - 1]
    role, said = all_of_them[len(before) - 1]
    assert before[-1][0] == role
    assert said.startswith(before[-1][1])


@pytest.mark.slow
def test_nothing_can_be_kept(model, disk):
    fill(disk)
    done = chat(model, disk / "home", "hi", f"/export {disk}/said.md")
    assert done.returncode == 1  # of the export
    first, second = done.stderr.splitlines()
    assert first.endswith("the disk is full; this chat is not kept")
    assert second == f"localllm: {disk}/said.md: cannot be written: No space left on device"
    assert len(done.stdout) > 1
    assert "said.md" not in names(disk)


def refused(capfd, *arguments):
    """The one line that a command ends in."""
    assert cli.main([str(argument) for argument in arguments]) == 1
    out, err = capfd.readouterr()
    complaints = re.findall("^localllm: (.*)$", err, re.MULTILINE)
    assert (out, len(complaints)) == ("", 1), err
    return complaints[0]


def test_what_commands_write(model, disk, tmp_path, capfd, monkeypatch):
    """A matrix of importance and a quantized model: the old file stays, and nothing lies beside it. The free space is
    told wrongly, as when another program fills the disk meanwhile."""
    text = tmp_path / "text"
    text.write_text("Some words of a text, and more of them.\n" * 20)
    for name in ("i.gguf", "q.gguf"):
        (disk / name).write_text("old")
    fill(disk)
    before = names(disk)
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1 << 40))
    for line in (
        ["quantize", model, disk / "q.gguf", "Q8_0", "--force"],
        ["calibrate", model, "-f", text, "-o", disk / "i.gguf", "-c", "64"],
    ):
        told = refused(capfd, *line)
        assert re.fullmatch(rf"{disk}/[qi]\.gguf: cannot be written: No space left on device", told)
        assert names(disk) == before
        assert all((disk / name).read_text() == "old" for name in ("i.gguf", "q.gguf"))
