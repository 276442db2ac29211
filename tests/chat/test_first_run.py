"""The first run, as a new user sees it: a model that is not here is fetched with a bar, and then there is the chat."""

from __future__ import annotations

import re
import sys

import pytest

from tests.chat.tmux import HAS_TMUX, Tmux
from tests.generate.test_chat_states import VOCABULARY
from tests.recorded import models
from tests.store.hub_stub import Repo, running

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not HAS_TMUX, reason="needs tmux")]


def test_a_model_of_a_hub(tmp_path):
    path = models.write(tmp_path / "tiny-Q8_0.gguf", models.cases()["llama"], **VOCABULARY)
    with running() as hub:
        hub.repos["org/tiny"] = Repo({path.name: path.read_bytes()})
        hub.slowness = 0.3
        window = Tmux(tmp_path)
        try:
            variables = f"HF_ENDPOINT={hub.url} HF_HOME={tmp_path}/hf LOCALLLM_HOME={tmp_path}/home"
            chat = f"{variables} {sys.executable} -m localllm chat -c 256 -n 5 --temp 0"
            window.run("clear")
            window.run(f"{chat} hf.co/org/tiny")
            window.wait_until(lambda screen: re.search(r"fetching org/tiny:Q8_0: .* of 0.4 MB", screen), "a bar")
            screen = window.wait_until(lambda screen: screen.rstrip().endswith(">>>"), "the prompt", 300)
            lines = [line.rstrip() for line in screen.splitlines()]
            assert re.fullmatch(r"hf\.co/org/tiny: llama .*, context of 256 tokens, 0.00 GB of memory", lines[-3])
            assert lines[-2].startswith("/help lists commands and keys")
            window.run("hi")
            window.wait_until(lambda screen: "ended by -n ]" in screen and screen.rstrip().endswith(">>>"), "an answer")
            window.key("C-d")
            window.wait_for_shell()

            window.run("clear")
            hub.repos.clear()
            window.run(f"{chat} --continue")  # the model of that conversation, which is here now
            screen = window.wait_until(lambda screen: "conversation 1: 2 messages" in screen, "the conversation")
            assert ">>> hi" in screen
        finally:
            window.close()
