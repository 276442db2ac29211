"""Responses that are kept, so that another request may go on from them: in memory, within bounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from localllm.server.call import Server
from localllm.server.dialects.openai_responses_types import InputItem, Response
from localllm.server.endpoint import ApiError

MAX_RESPONSES = 10_000
MAX_BYTES = 64 << 20
"""Of all responses with what they answer, as JSON. Items that several share count for each: the last one to hold them
may be any of them."""


@dataclass(frozen=True)
class Stored:
    """`items`: all that the response was an answer to, those of earlier responses first; `said`: its output as items of
    input; n_bytes: of all three, as JSON."""

    response: Response
    items: Sequence[InputItem]
    said: Sequence[InputItem]
    n_bytes: int

    @property
    def conversation(self) -> list[InputItem]:
        """What another request goes on from."""
        return [*self.items, *self.said]


class ResponseStore:
    """The least recently used responses are forgotten first."""

    def __init__(self, max_responses: int = MAX_RESPONSES, max_bytes: int = MAX_BYTES) -> None:
        self._max_responses, self._max_bytes = max_responses, max_bytes
        self._stored: OrderedDict[str, Stored] = OrderedDict()
        self._n_bytes = 0

    def put(self, response: Response, earlier: Stored | None, own: Sequence[InputItem]) -> None:
        """Keep a response to its `own` items, after an earlier response."""
        n_bytes = len(msgspec.json.encode(own)) + len(msgspec.json.encode(response))
        before: list[InputItem] = []
        if earlier is not None:
            before, n_bytes = earlier.conversation, n_bytes + earlier.n_bytes
        self._stored[response.id] = Stored(response, [*before, *own], as_input(response), n_bytes)
        self._n_bytes += n_bytes
        while len(self._stored) > self._max_responses or self._n_bytes > self._max_bytes:
            self._n_bytes -= self._stored.popitem(last=False)[1].n_bytes

    def get(self, response_id: str, param: str = "response_id") -> Stored:
        """ApiError (404) for one that is not here, or not any more."""
        stored = self._stored.get(response_id)
        if stored is None:
            text = f"there is no response {response_id!r:.80}: it was not stored, or is forgotten"
            raise ApiError(404, text, "invalid_request_error", param, code="response_not_found")
        self._stored.move_to_end(response_id)
        return stored

    def drop(self, response_id: str) -> None:
        self.get(response_id)
        self._n_bytes -= self._stored.pop(response_id).n_bytes


def as_input(response: Response) -> list[InputItem]:
    return msgspec.convert(msgspec.to_builtins(response.output), list[InputItem])


def store_of(server: Server) -> ResponseStore:
    found = server.kept.setdefault("openai.responses", ResponseStore())
    assert isinstance(found, ResponseStore)
    return found
