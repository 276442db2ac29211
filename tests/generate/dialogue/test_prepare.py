"""From a conversation to a prompt, and the parser of its answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localllm.errors import TemplateError, UnsupportedError
from localllm.generate.dialogue.conversation import Conversation, ConversationError
from localllm.generate.dialogue.deltas import Content
from localllm.generate.dialogue.prepare import chat_ids, prepare
from localllm.text.template import ChatTemplate, PlainTurns
from tests.generate.dialogue.cases import TOOLS
from tests.generate.dialogue.fakes import TemplateModel, template
from tests.generate.dialogue.test_parser import parse
from tests.generate.dialogue.walks import vocabulary
from tests.generate.fake import BOS, FakeModel, FakeTokenizer

USER = {"role": "user", "content": "ASK"}
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PHI = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
    "{% if m.role == 'system' and m.tools %}<|tool|>{{ m.tools }}<|/tool|>{% endif %}<|end|>{% endfor %}<|assistant|>"
)


def call(call_id="call_1", name="get_time", arguments: Any = '{"city": "Rome"}'):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_a_plain_conversation():
    prepared = prepare(FakeModel(), Conversation([{"role": "user", "content": "hi"}]))
    assert prepared.prompt == "u:hi\na:"
    assert prepared.ids == [BOS, *FakeTokenizer().encode("u:hi\na:")]
    parser = prepared.new_parser()
    assert [*parser.push("hel"), *parser.push("lo"), *parser.finish()] == [Content("hel"), Content("lo")]
    assert (prepared.constraint, prepared.stop, prepared.show_special) == (None, (), False)


def test_a_model_without_vocabulary_is_refused():
    model = FakeModel()
    model.tokenizer = None
    with pytest.raises(UnsupportedError, match="has no vocabulary"):
        prepare(model, Conversation([USER]))


def test_a_template_that_refuses_is_an_error():
    model = TemplateModel(ChatTemplate("{{ raise_exception('no') }}"))
    with pytest.raises(TemplateError, match="refuses these messages: no"):
        prepare(model, Conversation([USER]))


def test_system_and_developer_messages_become_one():
    messages = [{"role": "developer", "content": "D"}, {"role": "system", "content": "S"}, USER]
    prompt = prepare(TemplateModel(ChatTemplate(CHATML)), Conversation(messages)).prompt
    assert prompt.startswith("<|im_start|>system\nD\n\nS<|im_end|>\n<|im_start|>user\nASK")
    prompt = prepare(TemplateModel(template("google-gemma-2-2b-it")), Conversation(messages)).prompt
    assert "<start_of_turn>user\nD\n\nS\n\nASK<end_of_turn>" in prompt


@pytest.mark.parametrize("name", ["microsoft-Phi-3-medium-4k-instruct", "google-gemma-2-2b-it", "Qwen-Qwen3-0.6B"])
def test_a_system_message_without_a_user_behind_it(name):
    """It is the user's where the template shows no other: some templates drop it, some refuse it."""
    made = TemplateModel(template(name))
    system, said = {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "Hello!"}
    for messages in ([system], [system, said, USER], [USER, said, system]):
        prompt = prepare(made, Conversation(messages)).prompt
        assert prompt.count("Be brief.") == 1
        assert "Be brief.\n\nHello!" not in prompt


def test_tools_in_a_system_prompt_where_the_template_knows_none():
    messages: list[Any] = [
        {"role": "system", "content": "S"},
        USER,
        {"role": "assistant", "content": "Hm.", "tool_calls": [call(), call("call_2", "empty_args", None)]},
        {"role": "tool", "content": "12", "tool_call_id": "call_1"},
        {"role": "tool", "content": "13", "tool_call_id": "call_2"},
        {"role": "user", "content": "And?"},
    ]
    for made in (ChatTemplate(CHATML), PlainTurns()):
        prepared = prepare(TemplateModel(made), Conversation(messages, tools=TOOLS))
        assert all(tool["function"]["name"] in prepared.prompt for tool in TOOLS)
        for text in (
            "</tools>",
            'Hm.\n<tool_call>\n{"name": "get_time", "arguments": {"city": "Rome"}}\n</tool_call>\n<tool_call>',
            "<tool_response>\n12\n</tool_response>\n<tool_response>\n13\n</tool_response>\nAnd?",
        ):
            assert text in prepared.prompt
        calls = parse(prepared.new_parser(), '{"name": "special_function", "arguments": {"arg1": 1}}')[2]
        assert [(name, arguments) for _, name, arguments in calls] == [("special_function", '{"arg1": 1}')]


def test_a_template_for_tools_alone():
    model = TemplateModel(ChatTemplate(CHATML), tool_template=template("Qwen-Qwen3-0.6B"))
    assert "<tools>" not in prepare(model, Conversation([USER])).prompt
    assert "<tools>" in prepare(model, Conversation([USER], tools=TOOLS)).prompt


def test_tools_of_phi_stand_in_the_system_message():
    messages: list[Any] = [USER, {"role": "assistant", "content": "", "tool_calls": [call()]}]
    prompt = prepare(TemplateModel(ChatTemplate(PHI)), Conversation(messages, tools=TOOLS[:1])).prompt
    told = json.loads(prompt.partition("<|tool|>")[2].partition("<|/tool|>")[0])
    assert [tool["name"] for tool in told] == ["special_function"]
    assert '<|tool_call|>[{"name": "get_time", "arguments": {"city": "Rome"}}]<|/tool_call|>' in prompt


def test_ids_of_calls_fit_mistral():
    messages: list[Any] = [
        USER,
        {"role": "assistant", "tool_calls": [call("call_that_is_long"), call("abcdefghi")]},
        {"role": "tool", "content": "12", "tool_call_id": "call_that_is_long"},
        {"role": "tool", "content": "13", "tool_call_id": "abcdefghi"},
    ]
    prompt = prepare(TemplateModel(template("mistralai-Mistral-Nemo-Instruct-2407")), Conversation(messages)).prompt
    made = prompt.partition('"id": "')[2][:9]
    assert made.isalnum()
    assert prompt.count(f'"{made}"') == 2
    assert prompt.count('"abcdefghi"') == 2


def test_without_a_choice_calls_are_content():
    text = '<tool_call>\n{"name": "get_time", "arguments": {"city": "X"}}\n</tool_call>'
    model = TemplateModel(template("Qwen-Qwen2.5-7B-Instruct"))
    prepared = prepare(model, Conversation([USER], tools=TOOLS))
    assert len(parse(prepared.new_parser(), text)[2]) == 1
    prepared = prepare(model, Conversation([USER], tools=TOOLS, tool_choice="none"))
    assert parse(prepared.new_parser(), text) == (text, "", ())
    assert "get_time" in prepared.prompt


def test_variables_of_the_template():
    made = ChatTemplate("{{ enable_thinking }} {{ thinking }} {{ reasoning_effort }} {{ thinking_budget }}")
    asked = Conversation([USER], thinking=False, thinking_budget=7, template_kwargs={"reasoning_effort": "high"})
    assert prepare(TemplateModel(made), asked).prompt == "False False high 7"
    harmony = TemplateModel(template("openai-gpt-oss-120b"))
    assert "Reasoning: low" in prepare(harmony, Conversation([USER], thinking=False)).prompt
    high = Conversation([USER], thinking=False, template_kwargs={"reasoning_effort": "high"})
    assert "Reasoning: high" in prepare(harmony, high).prompt


def test_variables_of_any_name():
    made = ChatTemplate("{{ documents[0].title }} {{ builtin_tools }} {{ loop }}")
    given = {"self": 1, "loop": 2, "cls": 3, "documents": [{"title": "T"}], "builtin_tools": ["x"]}
    assert prepare(TemplateModel(made), Conversation([USER], template_kwargs=given)).prompt == "T ['x'] 2"
    assert prepare(TemplateModel(PlainTurns()), Conversation([USER], template_kwargs=given)).prompt


def test_no_thinking_where_the_template_cannot_switch_it_off():
    model = TemplateModel(template("llama-cpp-deepseek-r1"))
    for asked in (Conversation([USER], thinking=False), Conversation([USER], thinking_budget=0)):
        prepared = prepare(model, asked)
        assert prepared.prompt.endswith("<think>\n\n</think>\n\n")
        assert parse(prepared.new_parser(), "a") == ("a", "", ())


def test_what_users_write_is_no_thinking_of_the_model():
    model = TemplateModel(template("Qwen-Qwen3-0.6B"))
    prepared = prepare(model, Conversation([{"role": "user", "content": "What is <think>?"}]))
    assert parse(prepared.new_parser(), "a tag")[:2] == ("a tag", "")


def test_control_tokens_are_shown_where_the_parser_looks_for_them():
    made = template("mistralai-Mistral-Nemo-Instruct-2407")
    control = TemplateModel(made, vocabulary(control=("[TOOL_CALLS]",)))
    assert prepare(control, Conversation([USER], tools=TOOLS)).show_special
    assert not prepare(control, Conversation([USER])).show_special
    plain = TemplateModel(made, vocabulary(user_defined=("[TOOL_CALLS]",)))
    assert not prepare(plain, Conversation([USER], tools=TOOLS)).show_special
    assert prepare(TemplateModel(template("openai-gpt-oss-120b")), Conversation([USER])).show_special


def test_a_model_may_think_by_its_vocabulary_alone():
    model = TemplateModel(ChatTemplate(CHATML), vocabulary(user_defined=("<think>", "</think>")))
    assert parse(prepare(model, Conversation([USER])).new_parser(), "<think>a</think>b")[:2] == ("b", "a")


def test_the_conversations_of_chat_go_the_same_way():
    model: Any = TemplateModel(template("google-gemma-2-2b-it"))
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "ASK"}]
    assert chat_ids(model, messages) == prepare(model, Conversation(messages)).ids
    with pytest.raises(ConversationError, match="role: is 'robot'"):
        chat_ids(model, [{"role": "robot", "content": ""}])


def test_content_in_parts_where_the_template_shows_no_other():
    part = "{% for p in m.content if p is mapping %}{{ m.role }}:{{ p.text }};{% endfor %}"
    parts = f"{{% for m in messages %}}{part}{{% endfor %}}"
    messages = [{"role": "system", "content": "S"}, USER]
    assert prepare(TemplateModel(ChatTemplate(parts)), Conversation(messages)).prompt == "system:S;user:ASK;"


def test_turns_where_the_template_wants_them():
    said = {"role": "assistant", "content": "B"}
    late = {"role": "system", "content": "LATE"}
    messages = [USER, {"role": "user", "content": "MORE"}, said, said, late, USER]
    prompt = prepare(TemplateModel(template("google-gemma-2-2b-it")), Conversation(messages)).prompt
    turns = "<start_of_turn>user\nASK\n\nMORE<end_of_turn>\n<start_of_turn>model\nB\n\nB<end_of_turn>\n"
    assert prompt == f"<s>{turns}<start_of_turn>user\nLATE\n\nASK<end_of_turn>\n<start_of_turn>model\n"
    for name in ("openai-gpt-oss-120b", "Qwen3.5-4B", "mistralai-Mistral-Nemo-Instruct-2407", "Qwen-Qwen3-0.6B"):
        prompt = prepare(TemplateModel(template(name)), Conversation(messages)).prompt
        assert all(text in prompt for text in ("LATE", "MORE"))
    assert prompt.count("<|im_start|>user") == 3
    assert "<|im_start|>system\nLATE<|im_end|>" in prompt
