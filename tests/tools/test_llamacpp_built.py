"""Building a llama.cpp for chosen instructions, with a stand-in for pip; the real build takes minutes."""

import subprocess
from pathlib import Path

import pytest

from localllm.errors import UsageError
from localllm.tools import against, llamacpp_built, peers


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
    monkeypatch.setattr(llamacpp_built, "folder", lambda build: tmp_path / "peers" / build)
    stand_in = Pip()
    monkeypatch.setattr(subprocess, "run", stand_in.run)
    return stand_in


def test_it_is_built_for_avx2_alone(pip, capsys):
    assert llamacpp_built.version("avx2") is None
    assert llamacpp_built.main(["avx2"]) == 0
    assert pip.command[pip.command.index("--no-binary") + 1] == "llama-cpp-python"
    switches = pip.environment["CMAKE_ARGS"].split()
    assert {"-DGGML_AVX2=ON", "-DGGML_NATIVE=OFF", "-DGGML_AVX_VNNI=OFF", "-DGGML_AVX512=OFF"} <= set(switches)
    assert peers.PEERS["llamacpp-avx2"].version == "1.2"
    assert capsys.readouterr().out == f"{llamacpp_built.folder('avx2')}: llama-cpp-python 1.2\n"


def test_each_build_has_its_instructions():
    avx512, native = llamacpp_built.switches("avx512"), llamacpp_built.switches("native")
    assert {"-DGGML_AVX512_VNNI=ON", "-DGGML_AMX_INT8=OFF", "-DGGML_NATIVE=OFF"} <= set(avx512)
    assert native == ["-DGGML_NATIVE=ON"]


@pytest.mark.parametrize("arguments", [[], ["sse2"], ["avx2", "native"]])
def test_a_name_that_is_not_a_build(arguments, capsys):
    assert llamacpp_built.main(arguments) == 2
    assert capsys.readouterr().err == "llamacpp_built: which? One of avx2, avx512, native\n"


def test_a_new_build_takes_the_place_of_the_old_one(pip):
    llamacpp_built.folder("avx2").mkdir(parents=True)
    (llamacpp_built.folder("avx2") / "old").touch()
    llamacpp_built.make("avx2")
    assert [path.name for path in llamacpp_built.folder("avx2").iterdir()] == ["llama_cpp_python-1.2.dist-info"]
    assert [path.name for path in llamacpp_built.folder("avx2").parent.iterdir()] == ["avx2"]


def test_a_build_that_fails_leaves_the_old_one(pip, capsys):
    llamacpp_built.make("avx2")
    pip.status = 1
    assert llamacpp_built.main(["avx2"]) == 1
    assert "needs a compiler of C++" in capsys.readouterr().err
    assert llamacpp_built.version("avx2") == "1.2"


def test_a_folder_that_cannot_be_made_is_told(pip, tmp_path, capsys):
    (tmp_path / "peers").touch()
    assert llamacpp_built.main(["avx2"]) == 1
    assert capsys.readouterr().err.startswith(f"llamacpp_built: {tmp_path}/peers: llama.cpp cannot be kept there")


def test_who_has_not_built_it_is_told_how(pip, tmp_path):
    job = peers.Job(str(tmp_path / "m.gguf"), 1, 20, 3, 0)
    with pytest.raises(UsageError, match=r"python -m localllm\.tools\.llamacpp_built avx2 builds it"):
        against.compare(job, "llamacpp-avx2", 1, print)
