"""Checks that take long: of schemas and JSONPaths, whose libraries are slow to import, and for secrets in any text.

They are made of every file but the packaged one, which the test suite has verified.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from batches_mcp.core.diagnostics import Diagnostic, Mark, Problems, quote
from batches_mcp.core.plan import is_root
from batches_mcp.core.redact import excerpt
from batches_mcp.language import model
from batches_mcp.language.nodes import Node
from batches_mcp.language.plain_schema import is_plain_schema

# Names of headers, parameters and cookies whose values are secrets.
_SECRET_PLACE = re.compile(
    r"authorization|api-?_?key|secret|password|((api|auth|access)[-_]?|^)token$|^cookie$", re.IGNORECASE
)
# What the keys of common services begin with, and private keys.
_SECRET = re.compile(
    r"\b(sk-ant-[\w-]{8,}|sk-[A-Za-z0-9]{20,}|gh[pousr]_\w{30,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16}"
    r"|xox[abprs]-[\w-]{10,}|AIza[\w-]{30,})|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)


def verify(document: model.Document, file: str) -> tuple[Diagnostic, ...]:
    """Every schema written into the file that is none, every mapping that is no JSONPath, and every secret."""
    problems = Problems(file)
    for expose in document.capability.exposes:
        callers: list[model.Tool | model.McpResource | model.RestOperation] = (
            [*expose.tools, *expose.resources]
            if isinstance(expose, model.McpExpose)
            else [operation for resource in expose.resources for operation in resource.operations]
        )
        with problems.within(expose.part):
            _callers(callers, problems)
    _written_secrets(document.node, "", problems)
    for consumes in document.capability.consumes:
        operations = [operation for resource in consumes.resources for operation in resource.operations]
        levels: tuple[model.Consumes | model.Resource | model.Operation, ...] = (
            consumes,
            *consumes.resources,
            *operations,
        )
        for consumed in (each for level in levels for each in level.inputs):
            _parameter_schema(consumed, problems)
            _written_value(consumed.name, consumed.node.entries().get("value"), problems)
        for name, value in consumes.node.entries().get("headers", consumes.node).entries().items():
            if name in consumes.headers:
                _written_value(name, value, problems)
    return tuple(problems.found)


def _callers(callers: Iterable[model.Tool | model.McpResource | model.RestOperation], problems: Problems) -> None:
    for caller in callers:
        for output in _outputs(caller.outputs):
            _jsonpath(output.mapping, output.place("mapping"), problems)
        if isinstance(caller, model.McpResource):
            continue
        for each in caller.inputs:
            _parameter_schema(each, problems)
            if isinstance(each, model.RestInput) and each.from_body:
                _jsonpath(each.from_body, each.place("value"), problems)
        _output_schema(caller, problems)


def _written_value(name: str, value: Node | None, problems: Problems) -> None:
    """Report a fixed value where secrets go, such as a header `Authorization`."""
    fixed = value is not None and isinstance(value.value, str) and value.value and "{{" not in value.value
    if value is not None and fixed and _SECRET_PLACE.search(name) and not _SECRET.search(str(value.value)):
        _secret(value.mark, f"{quote(name)} has a fixed value", problems)


def _written_secrets(node: Node, name: str, problems: Problems) -> None:
    """Report every text in the file that has the form of a secret, wherever it stands."""
    if isinstance(node.value, str) and _SECRET.search(node.value):
        _secret(node.mark, f"{quote(name)} holds what looks like a secret", problems)
    for key, entry in node.entries().items():
        _written_secrets(entry, key, problems)
    for item in node.items():
        _written_secrets(item, name, problems)


def _secret(mark: Mark, found: str, problems: Problems) -> None:
    hint = "bind a variable of the environment and write {{namespace.VARIABLE}}"
    problems.error(mark, "secret-in-file", found, hint)


def _schema(schema: Mapping[str, Any] | None, mark: Mark, problems: Problems) -> None:
    if schema is None or is_plain_schema(schema):
        return
    import jsonschema  # slow to import

    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        message = excerpt(error.message, 200)
        problems.error(mark, "schema", f"not a JSON Schema at {quote(error.json_path)}: {message}")


def _parameter_schema(parameter: model.ToolInput | model.RestInput | model.ConsumedInput, problems: Problems) -> None:
    mark = parameter.place("given_schema" if isinstance(parameter, model.RestInput) else "schema")
    _schema(parameter.schema, mark, problems)
    for reference in _references(parameter.schema):
        # It becomes a part of the tool's input schema, where the reference would lead elsewhere.
        problems.error(
            mark,
            "schema",
            f"{quote(reference)}: a parameter's schema holds no references",
            "write it out, or use an alias",
        )


def _output_schema(tool: model.Tool | model.RestOperation, problems: Problems) -> None:
    mark = tool.place("output_schema")
    _schema(tool.output_schema, mark, problems)
    exposed = isinstance(tool, model.RestOperation)
    for reference in _references(tool.output_schema):
        if exposed:
            # It becomes a part of an OpenAPI document, where the reference would lead elsewhere.
            problems.error(mark, "schema", f"{quote(reference)}: an exposed schema holds no references", "write it out")
        elif not _leads_somewhere(reference, tool.output_schema):
            problems.error(
                mark,
                "schema",
                f"{quote(reference)} is not a place in this schema",
                "nothing remote is read: write #/$defs/NAME, and NAME under `$defs`",
            )
    if tool.output_schema is not None and tool.output_schema.get("type") != "object":
        # With any other root, clients of the 2025 revisions cannot list a single tool.
        problems.error(mark, "schema", "an output schema's root is an object", "write `type: object`")


def _leads_somewhere(reference: str, schema: Any) -> bool:
    """Whether a reference is a JSON Pointer (RFC 6901) to a schema within `schema`."""
    root, *path = unquote(reference).split("/")
    for step in path:
        name = step.replace("~1", "/").replace("~0", "~")
        schema = schema.get(name) if isinstance(schema, dict) else None
    return root == "#" and isinstance(schema, dict | bool)


def _jsonpath(path: str | None, mark: Mark, problems: Problems) -> None:
    if path is None or is_root(path):
        return
    import jsonpath  # slow to import

    try:
        jsonpath.compile(path, strict=True)
    except jsonpath.JSONPathError as error:
        problems.error(
            mark,
            "jsonpath",
            f"{quote(path)} is not a JSONPath: {excerpt(str(error).partition(chr(10))[0], 200)}",
            "RFC 9535, for example $.data[0].id",
        )


def _outputs(outputs: tuple[model.Output, ...]) -> Iterator[model.Output]:
    for output in outputs:
        yield output
        yield from _outputs(tuple((output.properties or {}).values()))
        yield from _outputs((output.items,) if output.items else ())


def _references(schema: Any) -> Iterator[str]:
    match schema:
        case dict():
            for name, value in schema.items():
                if name in {"$ref", "$dynamicRef"} and isinstance(value, str):
                    yield value
                yield from _references(value)
        case list():
            for each in schema:
                yield from _references(each)
        case _:
            pass
