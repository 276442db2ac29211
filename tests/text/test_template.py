from __future__ import annotations

import time
from typing import Any

import pytest

from localllm.errors import TemplateError
from localllm.text import limits
from localllm.text.template import MAX_SOURCE, ChatTemplate, PlainTurns, chat_template
from tests.text.build import byte_level, tokenizer_of

USER = [{"role": "user", "content": "hi"}]
CHATML = (
    "{% for message in messages %}\n"
    "    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}\n"
    "{% endfor %}\n"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def render(source: str, **extra: Any) -> str:
    return ChatTemplate(source, "<s>", "</s>").render(USER, **extra)


def refused(source: str) -> str:
    with pytest.raises(TemplateError) as error:
        render(source)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_name_in_the_place_of_a_template() -> None:
    """Older files of RWKV's hold a name of llama.cpp's."""
    template = chat_template({"tokenizer.chat_template": "rwkv-world"}, None)
    turns = [("system", "Be brief."), ("user", " hi\n"), ("assistant", "Hello!"), ("tool", "x"), ("user", "bye")]
    messages = [{"role": role, "content": content} for role, content in turns]
    said = "System: Be brief.\n\nUser: hi\n\nAssistant: Hello!\n\nUser: bye\n\n"
    assert template.render(messages) == f"{said}Assistant:"
    assert template.render(messages, add_generation_prompt=False) == said
    assert not template.is_fallback


class TestAsInTransformers:
    def test_blocks_take_their_line_with_them(self) -> None:
        assert render(CHATML) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        assert render(CHATML, add_generation_prompt=False) == "<|im_start|>user\nhi<|im_end|>\n"

    @pytest.mark.parametrize(
        ("source", "want"),
        [
            ("{{ bos_token }}{{ eos_token }}", "<s></s>"),
            ("{{ tools is none }} {{ documents is none }}", "True True"),
            ("{{ {'a': '<é>', 'b': [1, true, none]}|tojson }}", '{"a": "<é>", "b": [1, true, null]}'),
            ("{{ {'b': 1, 'a': 2}|tojson(indent=2) }}", '{\n  "b": 1,\n  "a": 2\n}'),
            ("{{ {'b': 1, 'a': 2}|tojson(sort_keys=true, separators=(',', ':')) }}", '{"a":2,"b":1}'),
            ("{{ 'é'|tojson(ensure_ascii=true) }}", '"\\u00e9"'),
            (
                "{% for i in range(4) %}{% if i == 1 %}{% continue %}{% elif i > 2 %}{% break %}{% endif %}"
                "{{ i }}{% endfor %}",
                "02",
            ),
            ("{% generation %}x{{ 1 }}{% endgeneration %}", "x1"),
            (
                "{% for m in messages %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{% endfor %}",
                "1TrueTrue1",
            ),
            ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1"),
            ("{% for x in nothing %}{% else %}none{% endfor %}", "none"),
            (
                "{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
                "3",
            ),
            ("{% macro m(x, y=[1, 2]) %}{{ x ~ y[0] }}{% endmacro %}{{ m('a') }}{{ m(1, (2,)) }}", "a112"),
            ("{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set x %}t{{ a }}{% endset %}{{ x }}", "12t1"),
            ("{{ '%s is %d' % ('x', 3) }} {{ '{} {:>3}'.format('y', 4) }} {{ '%s'|format('z') }}", "x is 3 y   4 z"),
            ("{{ 'ab' * 2 }} {{ [1] * 2 }} {{ 2 ** 8 }} {{ 7 % 4 }} {{ [1] + [2] }}", "abab [1, 1] 256 3 [1, 2]"),
            ("{{ 'a b'.split() | join('-') }} {{ messages | map(attribute='role') | join(',') }}", "a-b user"),
            ("{{ messages | join('|', attribute='content') }}{{ ['a', 'b'] | join }}", "hiab"),
            ("{{ ' x '.strip() }}{{ 'abc'[1:] }}{{ 'a,b'.replace(',', ';') }}{{ 'a\nb' | indent(2) }}", "xbca;ba\n  b"),
            (
                "{% for i in [[1, [2]]] recursive %}{{ loop(i) if i is iterable else i }}{% endfor %}",
                "12",
            ),
            ("{{ strftime_now('%Y') | length }}", "4"),
            ("{{ messages[0].content }}{{ messages[-1]['role'] }}{{ messages[0].get('x', 'y') }}", "hiusery"),
        ],
    )
    def test_renders(self, source: str, want: str) -> None:
        assert render(source) == want

    def test_more_variables(self) -> None:
        assert render("{{ enable_thinking }}{{ tools | length }}", enable_thinking=False, tools=[{}]) == "False1"

    def test_messages_are_not_changed(self) -> None:
        assert "unsafe" in refused("{{ messages.append(1) }}")
        assert "unsafe" in refused("{{ messages[0].update({'role': 'x'}) }}")


class TestErrors:
    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ("{% if %}", "chat template, line 1: TemplateSyntaxError: Expected an expression"),
            (
                "\n\n{{ raise_exception('roles\nmust alternate') }}",
                "line 3: it refuses these messages: roles must alternate",
            ),
            ("a\n{{ x.y }}", "line 2: UndefinedError: 'x' is undefined"),
            ("{{ 1 / 0 }}", "ZeroDivisionError"),
            ("{% include 'x' %}", "no loader"),
            ("{{ x() }}", "'x' is undefined"),
            ("{{ lipsum() }}", "'lipsum' is undefined"),
            ("{{ '('" + "+ (" * 3000, "chat template"),
            ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "chat template: RecursionError"),
        ],
    )
    def test_one_line_with_the_place(self, source: str, said: str) -> None:
        assert said in refused(source)

    @pytest.mark.parametrize(
        "source",
        [
            "{{ ''.__class__.__mro__ }}",
            "{{ cycler.__init__.__globals__ }}",
            "{{ messages.__class__.__base__.__subclasses__() }}",
            "{{ raise_exception.__globals__ }}",
            "{{ (messages | attr('__class__')).__base__ }}",
            "{{ self.__init__ }}{{ self._TemplateReference__context.environment }}",
            "{{ ['{0.__class__}'] | map('format', 1) | list }}",
            "{{ ('{0.__class__}' | safe).format('') }}{{ (range(3) | map('string')).gi_frame }}",
            "{{ messages | map(attribute='__class__') | list }}{{ messages | sum('__class__') }}",
            "{% set ns = namespace(__class__=1) %}{{ ns.__class__ }}",
            "{% set f = '{0.__class__.__base__}'.format %}{{ f('') }}x{{ f(1).y.z }}",
        ],
    )
    def test_no_way_to_python(self, source: str) -> None:
        try:
            text = render(source)
        except TemplateError:
            return
        assert "class" not in text
        assert "object" not in text

    def test_too_long_a_template(self) -> None:
        with pytest.raises(TemplateError, match=f"at most {MAX_SOURCE}"):
            ChatTemplate("x" * (MAX_SOURCE + 1))


NESTED = "{%% set ns = namespace(x=%s) %%}{%% for i in range(99) %%}{%% set ns.x = %s %%}{%% endfor %%}{{ ns.x }}"


class TestLimits:
    @pytest.mark.parametrize(
        "source",
        [
            "{{ 'x' * 10**9 }}",
            "{{ 10**9 * 'x' }}",
            "{{ [1] * 10**9 }}",
            "{{ 10 ** (10 ** 9) }}",
            NESTED % ("2", "ns.x * ns.x"),
            NESTED % ("'x'", "ns.x ~ ns.x"),
            NESTED % ("'x'", "ns.x + ns.x"),
            NESTED % ("[1]", "[ns.x, ns.x]"),
            NESTED % ("[1]", "(ns.x, ns.x)"),
            NESTED % ("[1]", "{1: ns.x, 2: ns.x}"),
            NESTED % ("[1]", "dict(a=ns.x, b=ns.x)"),
            NESTED % ("[1]", "ns.x + ns.x"),
            "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}"
            "{% set ns.x = y %}{% endfor %}",
            "{% for i in range(99999) %}{{ 'x' * 10000 }}{% endfor %}",
            "{{ 'x' | center(10**9) }}",
            "{{ 'x' | center(width=10**9) }}",
            "{{ 'x'.ljust(10**9) }}{{ 'x'.zfill(10**9) }}",
            "{{ '\\t'.expandtabs(10**9) }}",
            "{{ '%1000000000d' % 1 }}",
            "{{ '%*d' % (10**9, 1) }}",
            "{{ '%.1000000000f' | format(1.0) }}",
            "{{ '{:1000000000}'.format(1) }}",
            "{{ '{:{}}'.format(1, 10**9) }}",
            "{{ ('{0}' * 100000).format('x' * 100000) }}",
            "{{ ('a\\n' * 100000) | indent(100000) }}",
            "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
            "{{ ('a' * 100000).replace('', 'b' * 100000) }}",
            "{{ range(100000) | join('x' * 1000) }}",
            "{{ (range(100000) | list) | map('replace', '1', 'x' * 1000000) | list | length }}",
            "{{ 'a' | batch(10**9, 0) | list }}",
            "{{ 'a' | slice(10**9) | list }}",
            "{{ [1] | tojson(indent=10**9) }}",
            "{{ 1.5 | round(10**9, 'ceil') }}",
            "{{ strftime_now('%c' * 1000000) }}",
            "{% for i in range(10**9) %}{% endfor %}",
            "{{ 'x'.encode() * 10**10 }}",
            "{{ 'x'.encode().center(10**10) }}",
            "{{ (5).to_bytes(10**10, 'big') }}",
            "{{ (5).from_bytes([255] * 100000, 'big') }}",
            "{{ ('x' * 1000).translate({120: 'y' * 1000000}) }}",
            "{{ ('f' * 1000000) | int(0, 16) }}",
            "{{ ('x' * 1000000) | list | length }}",
            "{{ ('x ' * 1000000).split() | length }}",
            "{{ ('x' * 1000000) | wordwrap(1) }}",
            "{{ (('<!---->' * 1000000) | safe).striptags() }}",
            "{{ (['x' * 1000] * 8000 + ['x' * 1000] * 1000) | sum(start='') }}",
        ],
    )
    def test_explosions_are_refused_at_once(self, source: str) -> None:
        start = time.thread_time()
        refused(source)
        assert time.thread_time() - start < limits.SECONDS

    @pytest.mark.parametrize(
        "source",
        [
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
            "{% for i in [1, 2] recursive %}{% if loop.depth < 60 %}{{ loop([1, 2]) }}{% endif %}{% endfor %}",
            "{% for i in range(99999) %}{% for j in range(99999) if j > 99999 %}{% endfor %}{% endfor %}",
        ],
    )
    def test_endless_work_meets_its_deadline(self, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "SECONDS", 0.2)
        start = time.thread_time()
        assert "it takes longer than 0.2 seconds" in refused(source)
        assert time.thread_time() - start < 2

    def test_each_rendering_has_a_budget_of_its_own(self) -> None:
        template = ChatTemplate("{{ messages[0].content * 2 }}")
        for _ in range(40):
            assert len(template.render([{"content": "x" * 3_000_000}])) == 6_000_000

    def test_a_long_conversation_is_no_attack(self) -> None:
        messages = [{"role": "user", "content": "x" * 1000}] * 3000
        assert len(ChatTemplate(CHATML).render(messages)) > 3_000_000


class TestChoice:
    def test_the_files_own_with_its_tokens(self) -> None:
        data = byte_level(bos_token_id=0, eos_token_id=65) | {
            "tokenizer.chat_template": "{{ bos_token }}|{{ eos_token }}"
        }
        template = chat_template(data, tokenizer_of(data))
        assert not template.is_fallback
        assert template.stop == ()
        assert template.render(USER) == "Ā|A"

    def test_other_special_tokens(self) -> None:
        """By the names of transformers, where the file names them; where it does not, they are not defined."""
        data = byte_level() | {
            "tokenizer.ggml.padding_token_id": 65,
            "tokenizer.ggml.unknown_token_id": 66,
            "tokenizer.ggml.mask_token_id": 1 << 31,
            "tokenizer.chat_template": "{{ pad_token }}{{ unk_token }}{{ (sep_token or mask_token) is defined }}",
        }
        assert chat_template(data, tokenizer_of(data)).render(USER) == "ABFalse"

    def test_by_name(self) -> None:
        data = {
            "tokenizer.chat_template": "a",
            "tokenizer.chat_template.rag": "b",
            "tokenizer.chat_template.tool_use": "c",
        }
        assert chat_template(data, None).render(USER) == "a"
        assert chat_template(data, None, "rag").render(USER) == "b"
        with pytest.raises(TemplateError, match=r"called 'x'; by name it has: rag, tool_use"):
            chat_template(data, None, "x")
        with pytest.raises(TemplateError, match=r"by name it has: none"):
            chat_template({}, None, "x")
        assert chat_template({"tokenizer.chat_template.default": "d"}, None).render(USER) == "d"

    def test_wrong_type(self) -> None:
        with pytest.raises(TemplateError, match="is list, not a text"):
            chat_template({"tokenizer.chat_template": ["x"]}, None)

    def test_plain_turns_for_files_without_one(self) -> None:
        template = chat_template({}, None)
        assert isinstance(template, PlainTurns)
        assert template.is_fallback
        messages = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": " hi\n"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": "bye"},
        ]
        assert template.render(messages) == "Be brief.\n\nUser: hi\nAssistant: hello\nUser: bye\nAssistant:"
        assert template.render(messages[1:2], add_generation_prompt=False) == "User: hi\n"
        assert template.stop == ("\nUser:",)
