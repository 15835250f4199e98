"""Resources: their URIs, and what is read under each, the answer of a call or the text of a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batches_mcp.core.diagnostics import quote
from batches_mcp.core.plan import Argument
from batches_mcp.language import model
from batches_mcp.language.bindings import Caller
from batches_mcp.language.calls import LinkedCall, link_call
from batches_mcp.language.expressions import ExpressionError, path_parts
from batches_mcp.language.scope import Scope
from batches_mcp.language.targets import Target

# RFC 3986 3.1; the rest is the author's, but no white space.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s]+")


@dataclass(frozen=True, slots=True)
class LinkedResource:
    """A resource with what is read under its URI: a call, or a text.

    `uri` is split at its variables, the arguments of the call; without any the resource is a static one.
    """

    resource: model.McpResource
    uri: tuple[str | Argument, ...]
    call: LinkedCall | None
    text: str | None


def link_resources(
    expose: model.McpExpose, operations: Mapping[str, Target], scope: Scope, texts: Mapping[str, str]
) -> Iterator[LinkedResource]:
    """Every resource, with the problems of all reported; `texts` holds the files that were read."""
    scope.unique("resource", expose.resources, lambda each: each.name)
    scope.unique("resource", expose.resources, lambda each: each.uri, "uri")
    for resource in expose.resources:
        scope.described("resource", resource)
        uri = _uri(resource, scope)
        variables = list(dict.fromkeys(part.name for part in uri if isinstance(part, Argument)))
        if (resource.call is None) is (resource.location is None):
            _error(resource, "name", scope, "is read by a `call` or from a `location`", "give it one of the two")
        elif resource.location is not None:
            if variables:
                _error(resource, "location", scope, "is one file, and its URI has variables", "name an operation")
            yield LinkedResource(resource, uri, None, texts.get(resource.location, ""))
        else:
            call = _call(resource, variables, expose.namespace, operations, scope)
            if call is not None:
                yield LinkedResource(resource, uri, call, None)


def _uri(resource: model.McpResource, scope: Scope) -> tuple[str | Argument, ...]:
    try:
        parts = path_parts(resource.uri, None, ())
    except ExpressionError as problem:
        scope.problems.error(resource.place("uri"), "template", str(problem), problem.hint)
        return ()
    if resource.uri and not _URI.fullmatch(resource.uri):
        _error(resource, "uri", scope, f"has {quote(resource.uri)} for a URI", "for example items://{id}")
    return tuple(part for part in parts if isinstance(part, str | Argument))


def _call(
    resource: model.McpResource, variables: list[str], namespace: str, operations: Mapping[str, Target], scope: Scope
) -> LinkedCall | None:
    inputs = [model.ToolInput(node=resource.node, name=name, type="string") for name in variables]
    call = link_call(Caller(resource, inputs, (namespace, "tools")), operations, scope)
    if call is None:
        return None
    if call.target.operation.method != "GET":
        scope.problems.warning(
            resource.place("call"),
            "resource",
            f"resource {quote(resource.name)} would be read by a {call.target.operation.method}",
            "it is left out, since clients read resources unasked: name an operation with `method: GET`",
        )
        return None
    missing = [each.name for each in call.inputs if each.required and each.name not in variables]
    if missing:
        needs = f"needs {', '.join(map(quote, missing))}, which its URI does not give"
        _error(resource, "uri", scope, needs, "write it as a variable {x} of the URI, or give it under `with`")
    return call


def _error(resource: model.McpResource, place: str, scope: Scope, found: str, hint: str) -> None:
    if resource.name:
        scope.problems.error(resource.place(place), "resource", f"resource {quote(resource.name)} {found}", hint)
