"""Every command that the documentation shows is run, with tiny models in the place of real ones."""

from __future__ import annotations

import re

import pytest

from tests.docs import shell
from tests.store import hub_stub

pytestmark = pytest.mark.slow
pytest.importorskip("starlette", reason="the server is not installed: pip install 'localllm[server]'")
pytest.importorskip("llguidance", reason="grammars are not installed: pip install 'localllm[structured]'")
pytest.importorskip("huggingface_hub", reason="names of a hub are not: pip install 'localllm[hub]'")


SERVER = "localllm serve model.gguf --alias qwen2.5-coder-0.5b-instruct"


@pytest.fixture
def place(tmp_path):
    with hub_stub.running() as hub:
        yield shell.Workplace(tmp_path, hub)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of a server for the blocks that start none."""
    with hub_stub.running() as hub:
        server, address = shell.Workplace(tmp_path_factory.mktemp("served"), hub).serve(SERVER)
        yield address
        stop(server)


@pytest.mark.parametrize("block", shell.blocks(), ids=str)
def test_a_block(place, block, request):
    server, address = None, shell.ADDRESS
    try:
        for shown in block.lines:
            line = shell.here(shown)
            if line.startswith("curl") and server is None:
                address = request.getfixturevalue("served")
            if line.startswith("localllm serve"):
                stop(server)
                server, address = place.serve(line)
                continue
            done = place.run(re.sub("^curl", "curl -fsS", line.replace(shell.ADDRESS, address)))
            assert done.returncode == int(shown in block.errors), f"{line}\n{done.stdout}\n{done.stderr}"
    finally:
        stop(server)


def stop(server):
    if server is not None:
        server.terminate()
        server.communicate()


def test_some_of_every_page_is_run():
    pages = {block.page for block in shell.blocks()}
    assert {"index", "chat", "run", "models", "reference", "server", "quantization", "performance"} <= pages


def test_what_is_left_out_is_there():
    lines = [line for path in shell.PAGES for line in path.read_text(encoding="utf-8").splitlines()]
    for pattern in shell.LEFT_OUT:
        assert any(re.match(pattern, line.removeprefix("$ ")) for line in lines), pattern
