"""Renders the protos' comments as Markdown: one page for the RPCs and messages, one for the error reasons.

Invariant: the pages depend only on protos/, so the docs always match the protos.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, ServiceDescriptorProto

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = ".sessions.v1."
ERRORS: Final = "sessions/v1/errors.proto"

# The field numbers in descriptor.proto from which a comment's path is made.
_MESSAGES, _ENUMS, _SERVICES, _PARTS, _PACKAGE = 4, 5, 6, 2, 2

Comments = dict[tuple[int, ...], str]


def read_protos() -> list[FileDescriptorProto]:
    """Returns our own files, each with its comments."""
    buf = Path(sys.executable).with_name("buf")
    command: list[str | Path] = [buf, "build", ROOT / "protos", "--as-file-descriptor-set", "--output", "-"]
    built = subprocess.run(command, check=True, capture_output=True).stdout
    return [file for file in FileDescriptorSet.FromString(built).file if file.name.startswith("sessions/")]


def rpc_page(files: list[FileDescriptorProto]) -> str:
    """Returns the page of all services and messages, in the order of the files."""
    return "\n".join(["# RPCs and messages", "", *_sections(files)]) + "\n"


def errors_page(files: list[FileDescriptorProto]) -> str:
    """Returns the page of error reasons: what each means, and what to do about it."""
    (file,) = (each for each in files if each.name == ERRORS)
    comments = _comments(file)
    lines = ["# Errors", "", comments.get((_PACKAGE,), ""), ""]
    for number, enum in enumerate(file.enum_type):
        lines += [comments.get((_ENUMS, number), ""), ""]
        for place, value in enumerate(enum.value):
            if value.number:
                lines += [f"## {value.name}", "", comments.get((_ENUMS, number, _PARTS, place), ""), ""]
    return "\n".join(lines) + "\n"


def _sections(files: list[FileDescriptorProto]) -> Iterator[str]:
    services = [file for file in files if file.service]
    for file in services:
        for number, service in enumerate(file.service):
            yield from _service(service, _comments(file), (_SERVICES, number))
    for file in files:
        comments = _comments(file)
        for number, message in enumerate(file.message_type):
            yield from _message(message, comments, (_MESSAGES, number))
        for number, enum in enumerate(file.enum_type):
            if file.name != ERRORS:
                yield from _enum(enum, comments, (_ENUMS, number))


def _service(service: ServiceDescriptorProto, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield from (f"## {service.name}", "", re.sub(r"(?m)^# ", "### ", comments.get(path, "")), "")
    for number, method in enumerate(service.method):
        asked = ("stream " if method.client_streaming else "") + _linked(method.input_type)
        answered = ("stream " if method.server_streaming else "") + _linked(method.output_type)
        yield from (f"### {method.name}", "", f"{asked} → {answered}", "")
        yield from (comments.get((*path, _PARTS, number), ""), "")


def _message(message: DescriptorProto, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield from (f"## {message.name}", "", comments.get(path, ""), "")
    if message.field:
        yield from ("| Field | Type | Meaning |", "|---|---|---|")
    for number, field in enumerate(message.field):
        meaning = _in_a_cell(comments.get((*path, _PARTS, number), ""))
        yield f"| `{field.name}` | {_type(field)} | {meaning} |"
    yield ""


def _enum(enum: EnumDescriptorProto, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield from (f"## {enum.name}", "", comments.get(path, ""), "", "| Value | Meaning |", "|---|---|")
    for number, value in enumerate(enum.value):
        yield f"| `{value.name}` | {_in_a_cell(comments.get((*path, _PARTS, number), ''))} |"
    yield ""


def _type(field: FieldDescriptorProto) -> str:
    name = _linked(field.type_name) if field.type_name else f"`{_scalar(field)}`"
    return f"repeated {name}" if field.label == FieldDescriptorProto.LABEL_REPEATED else name


def _scalar(field: FieldDescriptorProto) -> str:
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _linked(type_name: str) -> str:
    if not type_name.startswith(PACKAGE):
        return f"`{type_name.removeprefix('.')}`"
    name = type_name.removeprefix(PACKAGE)
    return f"[`{name}`](#{name.lower()})" if "." not in name else f"`{name}`"


def _in_a_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _comments(file: FileDescriptorProto) -> Comments:
    return {
        tuple(location.path): re.sub(r"(?m)^ ", "", location.leading_comments).strip()
        for location in file.source_code_info.location
        if location.leading_comments
    }
