"""The paths of the service, and their description as an OpenAPI document, made from the requests that are validated."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from charrnn.serve.requests import ACTIONS, Request, kinds_of
from charrnn.version import __version__

#: The paths of requests, each with its action.
POSTS = {"/v1/completions" if name == "completions" else f"/{name}": name for name in ACTIONS}
#: The paths that take no request, each with what it returns.
GETS = {
    "/": "A page to try the models on.",
    "/docs": "This description as a page.",
    "/openapi.json": "This description.",
    "/health": "The status of the service, and how busy it is.",
    "/models": "The models, with their cells and sizes.",
    "/v1/models": "The models, in OpenAI's form.",
    "/v1/models/{name}": "One model, in OpenAI's form.",
}
_ERRORS = {
    "400": "The request is not a JSON object; under /v1 also: a field has the wrong type or is out of range.",
    "401": "The token is missing.",
    "403": "The request used a host other than localhost, or came from a web page of another host.",
    "404": "There is no such path or model.",
    "413": "The body is larger than a million bytes.",
    "422": "A field has the wrong type or is out of range.",
    "503": "The server is busy or stopping: retry after the seconds in Retry-After.",
    "504": "The request took too long.",
}


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    schemas = {action.__name__: _schema(action) for action in ACTIONS.values()}
    paths = {path: {"get": _get(path, returns)} for path, returns in GETS.items()}
    posts = {path: {"post": _post(path, ACTIONS[action])} for path, action in POSTS.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "charrnn", "version": __version__, "description": "Character-level language models."},
        "paths": posts | paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def _get(path: str, returns: str) -> dict[str, Any]:
    kind = "text/html" if path in ("/", "/docs") else "application/json"
    operation: dict[str, Any] = {
        "summary": returns,
        "responses": {"200": {"description": returns, "content": {kind: {}}}},
    }
    if path.endswith("{name}"):
        operation["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    return operation


def _post(path: str, request: type[Request]) -> dict[str, Any]:
    summary, _, returns = (inspect.getdoc(request) or "").partition("\n\n")
    streams = {"/v1/completions": ["text/event-stream"], "/generate": ["application/x-ndjson"]}
    kinds = ["application/json", *streams.get("/generate" if path == "/sample" else path, [])]
    schema = {"$ref": f"#/components/schemas/{request.__name__}"}
    body = {"application/json": {"schema": schema, "example": request.EXAMPLE}}
    success = {"description": " ".join(returns.split()), "content": {kind: {} for kind in kinds}}
    errors = {status: {"description": why} for status, why in _ERRORS.items()}
    return {"summary": summary, "requestBody": {"content": body}, "responses": {"200": success} | errors}


def _schema(request: type[Any]) -> dict[str, Any]:
    """Return the JSON schema of a request."""
    properties = {item.name: _property(item) for item in fields(request)}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _property(item: Field[Any]) -> dict[str, Any]:
    kinds = [dict(kind.schema) for kind in kinds_of(str(item.type))]
    for schema in kinds:
        if schema["type"] in ("integer", "number"):
            schema |= _limits(item.metadata)
        elif schema["type"] == "string" and item.metadata["choices"]:
            schema |= {"enum": list(item.metadata["choices"])}
    default = {} if item.default in (MISSING, None) else {"default": item.default}
    return (kinds[0] if len(kinds) == 1 else {"anyOf": kinds}) | {"description": item.metadata["help"]} | default


def _limits(meta: Mapping[str, Any]) -> dict[str, Any]:
    limits = {"exclusiveMinimum" if meta.get("open_low") else "minimum": meta["low"], "maximum": meta["high"]}
    return {name: limit for name, limit in limits.items() if limit is not None}
