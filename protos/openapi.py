"""Writes the description of the HTTP API from protos/; with --check, verifies that it is up to date.

Paths, schemas and their texts come from the protos and their comments; only what HTTP adds to the methods (the events
of a session, and the caller) is described here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

PROTOS: Final = Path(__file__).resolve().parent
ROOT: Final = PROTOS.parent
TARGET: Final = ROOT / "server" / "sessions_server" / "http" / "openapi.json"
BUF: Final = Path(sys.executable).parent / "buf"

Json = dict[str, Any]

SCALARS: Final[dict[str, Json]] = {
    "TYPE_STRING": {"type": "string"},
    "TYPE_BOOL": {"type": "boolean"},
    "TYPE_DOUBLE": {"type": "number"},
    "TYPE_INT32": {"type": "integer", "format": "int32"},
    "TYPE_UINT32": {"type": "integer", "format": "uint32"},
    "TYPE_INT64": {"type": ["string", "integer"], "format": "int64"},
    "TYPE_UINT64": {"type": ["string", "integer"], "format": "uint64"},
    "TYPE_BYTES": {"type": "string", "contentEncoding": "base64"},
}
KNOWN: Final[dict[str, Json]] = {
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    ".google.protobuf.Duration": {"type": "string", "examples": ["3600s"]},
    ".google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    ".google.protobuf.Value": {},
}
# The field numbers in descriptor.proto of services, messages, enums, and their members.
MESSAGES, ENUMS, SERVICES = 4, 5, 6
FIELDS, NESTED, NESTED_ENUMS, METHODS, VALUES = 2, 3, 4, 2, 2


class File:
    """One proto file: its descriptor, and its comments by path."""

    def __init__(self, descriptor: Json) -> None:
        self.descriptor = descriptor
        self._comments = {
            tuple(place.get("path", ())): place.get("leadingComments", "")
            for place in descriptor.get("sourceCodeInfo", {}).get("location", ())
        }

    def text(self, *path: int) -> str:
        """A comment's paragraphs, each on one line."""
        paragraphs = self._comments.get(path, "").strip().split("\n\n")
        return "\n\n".join(" ".join(line.strip() for line in each.splitlines()) for each in paragraphs)


def files() -> list[File]:
    command = [str(BUF), "build", str(PROTOS), "--output", "-#format=json"]
    built = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return [File(each) for each in built["file"] if each["package"] == "sessions.v1"]


def described(schema: Json, text: str) -> Json:
    if not text:
        return schema
    return {"description": text, **({"allOf": [schema]} if "$ref" in schema else schema)}


def reference(type_name: str) -> Json:
    return KNOWN.get(type_name) or {"$ref": f"#/components/schemas/{type_name.removeprefix('.')}"}


def schema_of(field: Json, maps: dict[str, Json]) -> Json:
    type_name = field.get("typeName", "")
    if type_name in maps:
        return {"type": "object", "additionalProperties": schema_of(maps[type_name]["field"][1], maps)}
    schema = reference(type_name) if type_name else SCALARS[field["type"]]
    return {"type": "array", "items": schema} if field["label"] == "LABEL_REPEATED" else schema


def messages(file: File) -> Iterator[tuple[str, Json]]:
    for place, message in enumerate(file.descriptor.get("messageType", ())):
        yield from message_schemas(file, message, f"sessions.v1.{message['name']}", (MESSAGES, place))


def message_schemas(
    file: File, message: Json, name: str, path: tuple[int, ...]
) -> Iterator[tuple[str, Json]]:
    nested = list(enumerate(message.get("nestedType", ())))
    maps = {f".{name}.{each['name']}": each for _, each in nested if each.get("options", {}).get("mapEntry")}
    properties = {
        field["jsonName"]: described(schema_of(field, maps), file.text(*path, FIELDS, place))
        for place, field in enumerate(message.get("field", ()))
    }
    yield name, described({"type": "object", "properties": properties}, file.text(*path))
    for place, each in nested:
        if f".{name}.{each['name']}" not in maps:
            yield from message_schemas(file, each, f"{name}.{each['name']}", (*path, NESTED, place))
    for place, enum in enumerate(message.get("enumType", ())):
        yield f"{name}.{enum['name']}", enum_schema(file, enum, (*path, NESTED_ENUMS, place))


def enums(file: File) -> Iterator[tuple[str, Json]]:
    for place, enum in enumerate(file.descriptor.get("enumType", ())):
        yield f"sessions.v1.{enum['name']}", enum_schema(file, enum, (ENUMS, place))


def enum_schema(file: File, enum: Json, path: tuple[int, ...]) -> Json:
    values = [
        f"- `{value['name']}`: {file.text(*path, VALUES, place)}" for place, value in enumerate(enum["value"])
    ]
    text = "\n".join([file.text(*path), "", *values])
    return {"type": "string", "enum": [value["name"] for value in enum["value"]], "description": text}


def methods(file: File) -> Iterator[tuple[str, Json]]:
    for place, service in enumerate(file.descriptor.get("service", ())):
        for number, method in enumerate(service["method"]):
            path = f"/sessions.v1.{service['name']}/{method['name']}"
            text = file.text(SERVICES, place, METHODS, number)
            yield path, operations(service["name"], method, text)


def operations(service: str, method: Json, text: str) -> Json:
    summary = text.partition("\n")[0].partition(". ")[0].rstrip(".") + "."
    shared = {"tags": [service], "summary": summary, "description": text}
    streams = method.get("clientStreaming", False), method.get("serverStreaming", False)
    answers = responses(
        reference(method["outputType"]), "application/x-ndjson" if streams[1] else "application/json"
    )
    kind = "application/x-ndjson" if streams[0] else "application/json"
    body = {"required": True, "content": {kind: {"schema": reference(method["inputType"])}}}
    found: Json = {
        "post": {**shared, "operationId": method["name"], "requestBody": body, "responses": answers}
    }
    if method.get("options", {}).get("idempotencyLevel") == "NO_SIDE_EFFECTS" and streams == (False, False):
        asked = {"application/json": {"schema": reference(method["inputType"])}}
        parameters = [
            {"name": "encoding", "in": "query", "required": True, "schema": {"enum": ["json"]}},
            {"name": "message", "in": "query", "required": True, "content": asked},
        ]
        found["get"] = {
            **shared,
            "operationId": f"{method['name']}ByGet",
            "parameters": parameters,
            "responses": answers,
        }
    return found


def responses(schema: Json, kind: str) -> Json:
    return {
        "200": {"description": "OK.", "content": {kind: {"schema": schema}}},
        "default": {
            "description": "A refusal, by https://connectrpc.com/docs/protocol#error-end-stream.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        },
    }


def parameter(name: str, text: str, schema: Json, *, place: str = "query") -> Json:
    return {"name": name, "in": place, "description": text, "schema": schema, "required": place == "path"}


TEXT: Final[Json] = {"type": "string"}
EVENTS: Final[Json] = {
    "tags": ["Events"],
    "operationId": "Events",
    "summary": "Streams the events of a session.",
    "description": (
        "As server-sent events: `id` is the sequence, `event` the type in small letters, `data` an Event. With "
        "`offset`, the log by the read half of the Durable Streams protocol."
    ),
    "parameters": [
        parameter("session_id", "The session.", TEXT, place="path"),
        parameter("after_sequence", "The event to continue after; without it, from now on.", TEXT),
        parameter(
            "event_types", "Only these types, separated by commas, such as `message,state_change`.", TEXT
        ),
        parameter("last-event-id", "What an EventSource sends to resume.", TEXT, place="header"),
        parameter("offset", "Durable Streams: `-1`, `now`, or the last `stream-next-offset`.", TEXT),
        parameter("live", "Durable Streams: how to wait for more.", {"enum": ["long-poll", "sse"]}),
        parameter("cursor", "Durable Streams: the last `stream-cursor`.", TEXT),
        parameter(
            "timeout", "Durable Streams: the seconds that a long poll waits, 60 at most.", {"type": "integer"}
        ),
    ],
    "responses": {
        "200": {
            "description": "The events.",
            "content": {
                "text/event-stream": {"schema": TEXT},
                "application/json": {
                    "schema": {"type": "array", "items": {"$ref": "#/components/schemas/sessions.v1.Event"}}
                },
            },
        },
        **{
            code: {"description": text}
            for code, text in (("204", "Nothing came."), ("410", "No longer kept."))
        },
        "default": responses({}, "application/json")["default"],
    },
}
CALLER: Final[Json] = {
    "tags": ["Caller"],
    "operationId": "Caller",
    "summary": "Returns whose credential the request has, and what it may do.",
    "responses": responses(
        {
            "type": "object",
            "properties": {
                "tenant": TEXT,
                "name": TEXT,
                "access": {"enum": ["read", "write"]},
                "authenticated": {"type": "boolean"},
            },
        },
        "application/json",
    ),
}
ERROR: Final[Json] = {
    "type": "object",
    "properties": {
        "code": TEXT,
        "message": TEXT,
        "details": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"type": TEXT, "value": SCALARS["TYPE_BYTES"], "debug": {"type": "object"}},
            },
        },
    },
}


def document() -> str:
    found = files()
    schemas = {name: schema for file in found for name, schema in (*messages(file), *enums(file))}
    paths = {path: operation for file in found for path, operation in methods(file)}
    whole = {
        "openapi": "3.1.0",
        "info": {
            "title": "Sessions",
            "version": "v1",
            "description": "Generated from protos/ by `make gen`.",
        },
        "security": [{}, {"token": []}],
        "paths": {
            **paths,
            "/v1/sessions/{session_id}/events": {"get": EVENTS},
            "/v1/caller": {"get": CALLER},
        },
        "components": {
            "schemas": {**dict(sorted(schemas.items())), "Error": ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    wanted = document()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(wanted, encoding="utf-8")
    elif not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != wanted:
        sys.exit(f"{TARGET.relative_to(ROOT)} is not what protos/ gives.")


if __name__ == "__main__":
    main()
