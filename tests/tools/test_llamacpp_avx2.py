"""Building a llama.cpp of AVX2 alone, with a stand-in for pip; the real build takes minutes."""

import subprocess
from pathlib import Path

import pytest

from localllm.errors import UsageError
from localllm.tools import against, llamacpp_avx2, peers


class Pip:
    """Puts a package where it is told, or fails."""

    def __init__(self):
        self.status, self.environment, self.command = 0, {}, []

    def run(self, command, env, check):
        self.command, self.environment = command, env
        made = Path(command[command.index("--target") + 1]) / "llama_cpp_python-1.2.dist-info"
        made.mkdir(parents=True)
        (made / "METADATA").write_text("Name: llama-cpp-python\nVersion: 1.2\n")
        return subprocess.CompletedProcess(command, self.status)


@pytest.fixture
def pip(monkeypatch, tmp_path):
    monkeypatch.setattr(llamacpp_avx2, "folder", lambda: tmp_path / "peers" / "built")
    stand_in = Pip()
    monkeypatch.setattr(subprocess, "run", stand_in.run)
    return stand_in


def test_it_is_built_for_avx2_alone(pip, capsys):
    assert llamacpp_avx2.version() is None
    assert llamacpp_avx2.main() == 0
    assert pip.command[pip.command.index("--no-binary") + 1] == "llama-cpp-python"
    switches = pip.environment["CMAKE_ARGS"].split()
    assert {"-DGGML_AVX2=ON", "-DGGML_NATIVE=OFF", "-DGGML_AVX_VNNI=OFF", "-DGGML_AVX512=OFF"} <= set(switches)
    assert peers.PEERS["llamacpp-avx2"].version == "1.2"
    assert capsys.readouterr().out == f"{llamacpp_avx2.folder()}: llama-cpp-python 1.2\n"


def test_a_new_build_takes_the_place_of_the_old_one(pip):
    llamacpp_avx2.folder().mkdir(parents=True)
    (llamacpp_avx2.folder() / "old").touch()
    llamacpp_avx2.build()
    assert [path.name for path in llamacpp_avx2.folder().iterdir()] == ["llama_cpp_python-1.2.dist-info"]
    assert [path.name for path in llamacpp_avx2.folder().parent.iterdir()] == ["built"]


def test_a_build_that_fails_leaves_the_old_one(pip, capsys):
    llamacpp_avx2.build()
    pip.status = 1
    assert llamacpp_avx2.main() == 1
    assert "needs a compiler of C++" in capsys.readouterr().err
    assert llamacpp_avx2.version() == "1.2"


def test_a_folder_that_cannot_be_made_is_told(pip, tmp_path, capsys):
    (tmp_path / "peers").touch()
    assert llamacpp_avx2.main() == 1
    assert capsys.readouterr().err.startswith(f"llamacpp_avx2: {tmp_path}/peers: llama.cpp cannot be kept there")


def test_who_has_not_built_it_is_told_how(pip, tmp_path):
    job = peers.Job(str(tmp_path / "m.gguf"), 1, 20, 3, 0)
    with pytest.raises(UsageError, match=r"python -m localllm\.tools\.llamacpp_avx2 builds it"):
        against.compare(job, "llamacpp-avx2", 1, print)
