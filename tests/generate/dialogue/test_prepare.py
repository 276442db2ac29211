"""From a conversation to a prompt, what directs its answer, and the parser."""

from __future__ import annotations

from localllm.generate.dialogue.conversation import Conversation
from localllm.generate.dialogue.deltas import Content
from localllm.generate.dialogue.prepare import prepare
from tests.generate.fake import BOS, FakeModel, FakeTokenizer


def test_a_plain_conversation():
    prepared = prepare(FakeModel(), Conversation([{"role": "user", "content": "hi"}]))
    assert prepared.prompt == "u:hi\na:"
    assert prepared.ids == [BOS, *FakeTokenizer().encode("u:hi\na:")]
    parser = prepared.new_parser()
    assert [*parser.push("hel"), *parser.push("lo"), *parser.finish()] == [Content("hel"), Content("lo")]
