"""`localllm chat` in a process of its own, with a model that answers by a rule: python -m tests.chat.scripted OPTIONS.

"count N M" is answered by [N:0] [N:1] ... [N:M-1]; SAMPLES have their own answers; all else is repeated. A token is a
letter, and takes $SCRIPTED_SECONDS.
"""

from __future__ import annotations

import os
import re
import sys
import time
from types import SimpleNamespace

import numpy as np

from localllm.cli import chat
from localllm.cli.main import main
from tests.generate.fake import EOG, FakeContext, FakeModel, FakeTemplate, FakeTokenizer

LETTERS = "\0\n" + "".join(map(chr, range(32, 127))) + "äöüé漢字日本語🙂"
SAMPLES = {
    "code": "Here it is:\n\n```python\ndef f(x):\n    return x + 1\n```\n\nDone.",
    "table": "# Heading\n\n- one\n- two\n\n| a | b |\n| --- | --- |\n| 漢字 | 2 |\n",
    "puzzle": "<think>The puzzle is easy.</think>It is **42**.",
}


class Tokenizer(FakeTokenizer):
    n_vocab = len(LETTERS)

    def encode(self, text, add_special=False, parse_special=False):
        return [0] * add_special + [LETTERS.index(c) if c in LETTERS else LETTERS.index("?") for c in text]

    def token_bytes(self, token_id, special=False):
        return LETTERS[token_id].encode()

    def decode(self, ids, special=False):
        return "".join(LETTERS[i] for i in ids if i)

    def token_text(self, token_id):
        return LETTERS[token_id]

    def encode_inside(self, text):
        return self.encode(text)

    def stream(self, special=False, at_start=False):
        return SimpleNamespace(push=lambda token: LETTERS[token], finish=lambda: "")


class Template(FakeTemplate):
    source = "<think> </think>"

    def render(self, messages, add_generation_prompt=True, **extra):
        turns = "".join(f"\1{m['role'][0]}:{m['content']}\2" for m in messages).replace("\1", "\n{").replace("\2", "}")
        return turns + "\n{a:" * add_generation_prompt


class Context(FakeContext):
    seconds = float(os.environ.get("SCRIPTED_SECONDS", "0"))

    def forward(self, tokens, *rest, **options):
        time.sleep(self.seconds * len(tokens))
        return super().forward(tokens, *rest, **options)


class Model(FakeModel):
    path = __file__
    description = "scripted"
    default_n_ctx = 8192
    config = SimpleNamespace(n_vocab=len(LETTERS), n_ctx_train=8192, n_embd=8)

    def __init__(self):
        super().__init__()
        self.tokenizer = self.letters = Tokenizer()
        self.template = self.tool_template = Template()

    def context(self, n_ctx=None, n_seq=1, n_batch=8):
        return Context(self, n_ctx or self.default_n_ctx, 512, True, n_seq)

    def logits_after(self, cells):
        before, _, said = self.letters.decode(cells).rpartition("\n{a:")
        answer = answer_to(before.rpartition("\n{u:")[2].removesuffix("}"))
        logits = np.zeros(len(LETTERS), np.float32)
        logits[LETTERS.index(answer[len(said)]) if len(said) < len(answer) else EOG] = 10
        return logits


def answer_to(question):
    count = re.search(r"count (\d+) (\d+)", question)
    if count:
        return " ".join(f"[{count[1]}:{i}]" for i in range(int(count[2])))
    asked = question.rpartition("\n")[2]  # not the names of files before it
    return next((answer for word, answer in SAMPLES.items() if word in asked), f"You said {question[:60]}.")


if __name__ == "__main__":
    vars(chat)["load_model"] = lambda *args, **options: Model()
    sys.exit(main(["chat", "--temp", "0", "--no-cache", *sys.argv[1:]]))
