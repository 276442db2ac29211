"""/openapi.json tells of every path, and of the types of what is sent and answered."""

from __future__ import annotations

import json

import pytest

from localllm.server.dialects import DIALECTS


@pytest.fixture
def document(serve):
    return serve().client.get("/openapi.json").json()


def test_every_endpoint_is_there(document):
    for dialect in DIALECTS:
        for endpoint in dialect.endpoints:
            path = endpoint.path.replace(":path}", "}")
            assert document["paths"][path][endpoint.method.lower()]["summary"] == endpoint.summary
            assert endpoint.summary, path


def test_every_reference_leads_somewhere(document):
    def references(value):
        if isinstance(value, dict):
            yield from [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            value = list(value.values())
        for part in value if isinstance(value, list) else []:
            yield from references(part)

    found = set(references(document))
    assert found
    for reference in found:
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_bodies_have_their_fields(document):
    body = document["paths"]["/completion"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert {"prompt", "n_predict", "temperature"} <= schema["properties"].keys()
    assert schema["required"] == ["prompt"]


def test_it_tells_nothing_of_the_machine(document):
    assert "/home" not in json.dumps(document)


def test_streams_have_their_type(document):
    for path, kind in (("/v1/chat/completions", "text/event-stream"), ("/api/chat", "application/x-ndjson")):
        assert document["paths"][path]["post"]["responses"]["200"]["content"].keys() == {"application/json", kind}
