"""What a chat template makes use of, found by trying it: marked texts go in, and are looked for in what comes out.

llama.cpp watches which values a template reads (common/jinja/caps.cpp); what it writes says the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Any, Protocol
from weakref import WeakKeyDictionary, ref

from localllm.errors import TemplateError, TemplateTimeError

Message = dict[str, Any]

_SYSTEM, _ASKED, _MORE, _SAID, _RESULT = (f"zq-{what}-zq" for what in ("system", "asked", "more", "said", "result"))
_NAME, _CALLED, _OTHER, _KEY, _ID = "zq_name_zq", "zq_called_zq", "zq_other_zq", "zq_key_zq", "zq0id0zq9"
"""The id has the nine letters that Mistral's templates ask for."""

PROBE_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "Probes.",
        "parameters": {"type": "object", "properties": {"key": {"type": "string", "description": "A key."}}},
    },
}


class DialogueTemplate(Protocol):
    """What a conversation needs of a chat template (localllm.text's ChatTemplate and PlainTurns are such)."""

    @property
    def stop(self) -> tuple[str, ...]: ...
    def render(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **extra: Any
    ) -> str: ...


def as_parts(messages: Sequence[Message]) -> list[Message]:
    """Content as a list of parts, for a template that shows no other."""
    return [
        message | {"content": [{"type": "text", "text": message["content"]}]}
        if isinstance(message.get("content"), str)
        else message
        for message in messages
    ]


class Capabilities:
    """Each is tried when it is first asked for."""

    def __init__(self, template: DialogueTemplate) -> None:
        self._template = ref(template)  # what is kept of a template must not keep it
        self.source: str = getattr(template, "source", "")
        """Of the template; "" where it has none."""

    @cached_property
    def system(self) -> bool:
        """Messages of the system are shown, as such."""
        return self._shows(_SYSTEM, _message("system", _SYSTEM), _message("user", _ASKED))

    @cached_property
    def late_system(self) -> bool:
        """Messages of the system are shown in the middle, too."""
        said = (_message("user", _ASKED), _message("assistant", _SAID))
        return self._shows(_SYSTEM, *said, _message("system", _SYSTEM), _message("user", _ASKED))

    @cached_property
    def neighbours(self) -> bool:
        """Two messages of one role may follow one another."""
        return self._shows(_MORE, _message("user", _ASKED), _message("user", _MORE))

    @cached_property
    def tools(self) -> bool:
        """Tools are told to the model."""
        return _NAME in self._written([_message("user", _ASKED)], tools=[PROBE_TOOL])

    @cached_property
    def arguments(self) -> str:
        """How the arguments of calls are to be given: "object", "text", or "", where calls are not shown at all."""
        written = self._conversation(_call({_KEY: "value"}))
        if _CALLED in written and _KEY in written and f"'{_KEY}'" not in written:  # not as Python shows a dict
            return "object"
        written = self._conversation(_call(f'{{"{_KEY}": "value"}}'))
        return "text" if _CALLED in written and _KEY in written else ""

    @cached_property
    def results(self) -> bool:
        """What tools gave back is shown."""
        return _RESULT in self._conversation(*([self._shown_call()] if self.arguments else []))

    @cached_property
    def parallel_calls(self) -> bool:
        """Several calls in one message are shown."""
        other = self._shown_call()
        other = other | {"function": other["function"] | {"name": _OTHER}}
        return _OTHER in self._conversation(self._shown_call(), other)

    @cached_property
    def wants_parts(self) -> bool:
        """Content must be a list of parts: texts are not shown."""
        asked = [_message("user", _ASKED)]
        return _ASKED not in self._tried(asked) and _ASKED in self._tried(as_parts(asked))

    @cached_property
    def wants_list(self) -> bool:
        """Where there are no tools, they must be an empty list: without it the template fails."""
        asked = [_message("user", _ASKED)]
        tries = (asked, as_parts(asked))
        return not any(_ASKED in self._rendered(each) for each in tries) and any(
            _ASKED in self._rendered(each, tools=[]) for each in tries
        )

    def told(self, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The variables by which the template is told of tools. Nearly all read `tools`."""
        variables: dict[str, Any] = {"tools": list(tools)} if tools or self.wants_list else {}
        if tools and "xml_tools" in self.source:  # SmolLM3
            variables["xml_tools"] = list(tools)
        if "functools[" in self.source and "datetime" in self.source:  # FireFunction 2
            variables["functions"] = json.dumps(list(tools), indent=2, ensure_ascii=False) if tools else ""
            variables["datetime"] = date.today().strftime("%b %d %Y")
        return variables

    def _shows(self, text: str, *messages: Message) -> bool:
        return text in (self._written(messages) or self._written(messages, tools=[PROBE_TOOL]))

    def _shown_call(self) -> dict[str, Any]:
        return _call(f'{{"{_KEY}": "value"}}' if self.arguments == "text" else {_KEY: "value"})

    def _conversation(self, *calls: dict[str, Any]) -> str:
        calling = _message("assistant", "" if calls else _SAID) | ({"tool_calls": list(calls)} if calls else {})
        results = [
            {"role": "tool", "content": _RESULT, "tool_call_id": _ID, "name": _CALLED}
            for _ in range(max(1, len(calls)))
        ]
        asked = _message("user", _ASKED)
        tools = [PROBE_TOOL] if self.tools else []
        head = [asked, calling, *results]
        return self._written(head, tools) or self._written([*head, _message("assistant", _SAID), asked], tools)

    def _written(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> str:
        return self._tried(as_parts(messages) if self.wants_parts else messages, tools)

    def _tried(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = ()) -> str:
        return self._rendered(messages, **self.told(tools))

    def _rendered(self, messages: Sequence[Message], **extra: Any) -> str:
        template = self._template()
        assert template is not None
        try:
            return template.render(messages, add_generation_prompt=True, **extra)
        except TemplateTimeError:
            raise
        except TemplateError:
            return ""


_KNOWN: WeakKeyDictionary[DialogueTemplate, Capabilities] = WeakKeyDictionary()


def capabilities_of(template: DialogueTemplate) -> Capabilities:
    """Those of a template, which are kept as long as it is."""
    found = _KNOWN.get(template)
    if found is None:
        found = _KNOWN[template] = Capabilities(template)
    return found


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _call(arguments: object) -> dict[str, Any]:
    return {"id": _ID, "type": "function", "function": {"name": _CALLED, "arguments": arguments}}
