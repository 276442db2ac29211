"""The OpenAPI document of the server, made from the tables of endpoints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from localllm import __version__
from localllm.server.endpoint import Dialect, Endpoint

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_REFERENCE = "#/components/schemas/{name}"


def document(dialects: Sequence[Dialect]) -> dict[str, Any]:
    """OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0): the paths of all dialects, with the types of their bodies."""
    endpoints = [(dialect, endpoint) for dialect in dialects for endpoint in dialect.endpoints]
    types = {repr(kind): kind for _, endpoint in endpoints for kind in _types(endpoint)}
    schemas, components = msgspec.json.schema_components(types.values(), ref_template=_REFERENCE)
    known = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for dialect, endpoint in endpoints:
        path = paths.setdefault(_PARAMETER.sub(r"{\1}", endpoint.path), {})
        path[endpoint.method.lower()] = _operation(dialect, endpoint, known)
    return {
        "openapi": "3.1.0",
        "info": {"title": "localllm", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _types(endpoint: Endpoint) -> list[Any]:
    found = (endpoint.body, *_each(endpoint.answer), *_each(endpoint.stream))
    return [kind for kind in found if kind is not None and kind is not str]


def _each(kind: Any) -> tuple[Any, ...]:
    return kind if isinstance(kind, tuple) else (kind,)


def _schema(kind: Any, known: dict[str, Any]) -> Any:
    schemas = [known[repr(one)] for one in _each(kind)]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _operation(dialect: Dialect, endpoint: Endpoint, known: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if endpoint.answer is str:
        content["text/plain"] = {"schema": {"type": "string"}}
    elif endpoint.answer is not None:
        content["application/json"] = {"schema": _schema(endpoint.answer, known)}
    if endpoint.stream is not None:
        content[dialect.stream_type] = {"schema": {"type": "string"}, "x-item": _schema(endpoint.stream, known)}
    told: dict[str, Any] = {
        "tags": [dialect.name],
        "summary": endpoint.summary,
        "responses": {
            "200": {"description": "The answer", **({"content": content} if content else {})},
            "default": {"description": "An error, in the shape of the dialect"},
        },
    }
    parameters = _PARAMETER.findall(endpoint.path)
    if parameters:
        told["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in parameters
        ]
    if endpoint.body is not None:
        schema = known[repr(endpoint.body)]
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return told
