"""Names -> what they name: calls, references, path variables, binds. Every problem is found in one run.

`link` takes a document of good shape or not (see `load`) and never stops at a problem; `Linked` is complete only when
no problem is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from batches_mcp.capability import model, origins
from batches_mcp.capability.bindings import Bindings, Caller, Input, Scope
from batches_mcp.capability.diagnostics import Diagnostic, Mark, Problems, did_you_mean, quote
from batches_mcp.capability.expressions import Binds, ExpressionError, path_parts
from batches_mcp.capability.targets import Target, Upstream, check, header_name
from batches_mcp.plan import Argument, BasicCredential, Feed, JsonTemplate, Place, Template

# `^[a-zA-Z0-9-]+$` in the original's schema; its engine accepts more, so this is a warning.
_KEBAB = re.compile(r"[A-Za-z0-9-]+")
# What clients accept: the API's own pattern for tool names, and SEP-986's length.
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class LinkedTool:
    """A tool with everything it names."""

    tool: model.Tool
    target: Target
    path: tuple[str | Feed, ...]
    feeds: tuple[Feed, ...]
    body: JsonTemplate | None
    inputs: tuple[Input, ...]


@dataclass(frozen=True, slots=True)
class Linked:
    """What a document means; `expose` is None when it exposes nothing over MCP."""

    document: model.Document
    expose: model.McpExpose | None
    tools: tuple[LinkedTool, ...]
    problems: tuple[Diagnostic, ...]


def link(document: model.Document, file: str) -> Linked:
    """Resolve every name in the document; `file` names it in diagnostics."""
    binds = Binds({bind.namespace: bind.keys for bind in document.binds})
    return _Linker(Scope(Problems(file), binds)).run(document)


@dataclass(slots=True)
class _Linker:
    scope: Scope

    @property
    def problems(self) -> Problems:
        return self.scope.problems

    def run(self, document: model.Document) -> Linked:
        capability = document.capability
        self._unique(
            "namespace", [*document.binds, *capability.consumes, *capability.exposes], lambda each: each.namespace
        )
        upstreams = [self._upstream(consumes) for consumes in capability.consumes]
        operations = self._operations(upstreams)
        exposes = [expose for expose in capability.exposes if isinstance(expose, model.McpExpose)]
        for extra in exposes[1:]:
            self.problems.error(
                extra.node.where,
                "several-mcp",
                "a second adapter of type `mcp`",
                "one server serves one: merge their tools",
            )
        for rest in capability.exposes:
            if isinstance(rest, model.RestExpose):
                self._rest(rest, operations)
        if not exposes:
            written = capability.node.entries().get("exposes")
            # An entry that `load` could not read, or no list at all, is an error already.
            if written and isinstance(written.value, list) and len(written.value) == len(capability.exposes):
                self._no_tools(written.mark, "add an entry with `type: mcp` and its tools")
            return Linked(document, None, (), tuple(self.problems.found))
        written = exposes[0].node.entries().get("tools")
        if written and written.value in ([], {}):
            self._no_tools(written.mark, "add a tool with its `name` and `call`")
        return Linked(document, exposes[0], tuple(self._tools(exposes[0], operations)), tuple(self.problems.found))

    def _no_tools(self, mark: Mark, hint: str) -> None:
        self.problems.error(mark, "no-tools", "nothing is exposed over MCP", hint)

    # Upstreams

    def _upstream(self, consumes: model.Consumes) -> Upstream:
        self._base_uri(consumes)
        required = origins.known(consumes.base_uri).headers
        upstream = Upstream(consumes, self._credential(consumes.authentication), required)
        declared = [
            Target(upstream, resource, operation).declared_headers()
            for resource in consumes.resources
            for operation in resource.operations
        ]
        for name, value in required.items():
            if not all(name in headers for headers in declared):
                self.problems.warning(
                    consumes.place("base_uri"),
                    "default-header",
                    f"{origins.origin_of(consumes.base_uri)} requires the header {quote(name)}",
                    f"{value} is sent; declare it as an input with `in: header` to choose",
                )
        return upstream

    def _base_uri(self, consumes: model.Consumes) -> None:
        uri, mark = consumes.base_uri, consumes.place("base_uri")
        if not uri:
            return
        problem = base_uri_problem(uri)
        if problem:
            shown = quote(re.sub(r"//.*@", "//***@", uri))
            self.problems.error(mark, "base-uri", f"{shown} {problem}", "for example https://api.example.com/v1")
        elif uri.endswith("/"):
            self.problems.warning(
                mark,
                "base-uri",
                f"{quote(uri)} ends with a slash, and so paths would have two",
                "the slash is left out",
            )

    def _credential(self, authentication: model.Authentication | None) -> Feed | BasicCredential | None:
        match authentication:
            case None:
                return None
            case model.ApiKey():
                place = Place(authentication.placement)
                if place is Place.HEADER:
                    header_name(authentication.name, authentication.place("name"), self.problems)
                return Feed(place, authentication.name, self._secret(authentication, "value", authentication.value))
            case model.Bearer():
                token = self._secret(authentication, "token", authentication.token)
                return Feed(Place.HEADER, "Authorization", Template(("Bearer ", *token.parts)))
            case model.Basic():
                return BasicCredential(
                    self._secret(authentication, "username", authentication.username),
                    self._secret(authentication, "password", authentication.password),
                )

    def _secret(self, authentication: model.Authentication, name: str, text: str) -> Template:
        value = self.scope.template(text, authentication.place(name), None)
        if text and "{{" not in text and name != "username":
            self.problems.error(
                authentication.place(name),
                "secret-in-file",
                "a secret is written into the file",
                "bind a variable of the environment and write {{namespace.VARIABLE}}",
            )
        return value

    def _operations(self, upstreams: Iterable[Upstream]) -> dict[str, Target]:
        """Every operation by the name a `call` gives it."""
        operations: dict[str, Target] = {}
        for upstream in upstreams:
            namespace = upstream.consumes.namespace
            self._unique("resource", upstream.consumes.resources, lambda each: each.name)
            self._dialect(upstream.consumes.inputs)
            for resource in upstream.consumes.resources:
                self._path(resource.path, resource.place("path"))
                self._kebab(resource.name, resource.place("name"))
                self._dialect(resource.inputs)
                for operation in resource.operations:
                    self._dialect(operation.inputs)
                    call = f"{namespace}.{operation.name}"
                    self._kebab(operation.name, operation.place("name"))
                    if operation.name and call in operations:
                        self.problems.error(
                            operation.place("name"),
                            "duplicate-name",
                            f"operation {quote(operation.name)} is defined twice",
                            "a call could not tell them apart: rename one",
                        )
                    target = Target(upstream, resource, operation)
                    check(target, self.problems)
                    operations.setdefault(call, target)
        return operations

    def _dialect(self, inputs: Iterable[model.ConsumedInput]) -> None:
        for each in inputs:
            extra = [name for name in ("type", "description", "required") if name in each.node.entries()]
            if extra:
                self.problems.warning(
                    each.node.entries()[extra[0]].where,
                    "dialect",
                    f"Naftiko's consumed inputs have no {', '.join(map(quote, extra))}",
                    "used here, ignored by other engines",
                )

    def _path(self, path: str, mark: Mark) -> None:
        if path and not path.startswith("/"):
            self.problems.error(
                mark, "path", f"path {quote(path)} does not start with a slash", f"write {quote('/' + path)}"
            )
        if "?" in path or "#" in path:
            self.problems.error(
                mark, "path", f"path {quote(path)} holds a query or a fragment", "declare query inputs with `in: query`"
            )

    # Tools and REST operations

    def _tools(self, expose: model.McpExpose, operations: Mapping[str, Target]) -> Iterator[LinkedTool]:
        self._unique("tool", expose.tools, lambda each: each.name)
        for tool in expose.tools:
            if tool.name and not _TOOL_NAME.fullmatch(tool.name):
                self.problems.error(
                    tool.place("name"),
                    "tool-name",
                    f"{quote(tool.name)} is no name a client accepts",
                    "1 to 64 of A-Z a-z 0-9 _ -",
                )
            written = tool.node.entries().get("description")
            if tool.name and (written is None or not written.value):
                self.problems.warning(
                    tool.node.where,
                    "no-description",
                    f"tool {quote(tool.name)} has no description",
                    "a model chooses a tool by what its description says",
                )
            yield from self._call(Caller(tool, tool.inputs, (expose.namespace, "tools")), operations)

    def _rest(self, rest: model.RestExpose, operations: Mapping[str, Target]) -> None:
        for resource in rest.resources:
            self._path(resource.path, resource.place("path"))
            try:
                variables = [part.name for part in path_parts(resource.path, None, ()) if isinstance(part, Argument)]
            except ExpressionError as problem:
                self.problems.error(resource.place("path"), "template", str(problem), problem.hint)
                variables = []
            for operation in resource.operations:
                declared = {each.name: each for each in (*resource.inputs, *operation.inputs)}
                implied = [
                    model.RestInput(node=resource.node, name=name, place_in="path", type="string")
                    for name in variables
                    if name not in declared
                ]
                # A REST adapter hands on the body and the query whether they are declared or not.
                list(
                    self._call(Caller(operation, [*implied, *declared.values()], (rest.namespace, "rest")), operations)
                )

    def _call(self, caller: Caller, operations: Mapping[str, Target]) -> Iterator[LinkedTool]:
        """Link one caller to its operation; yields nothing when it has none."""
        call = caller.entry.call
        if call not in operations:
            if call:
                self.problems.error(
                    caller.entry.place("call"),
                    "call-target",
                    f"{quote(call)} is no operation of this file",
                    did_you_mean(call, list(operations)),
                )
            return
        target = operations[call]
        self._unique("input", caller.inputs, lambda each: each.name)
        bindings = Bindings(self.scope, caller, {each.name: each for each in caller.inputs})
        path = bindings.path(target)
        feeds = bindings.feeds(target)
        body = bindings.body(target.operation)
        bindings.leftovers()
        if isinstance(caller.entry, model.Tool):
            yield LinkedTool(caller.entry, target, path, feeds, body, tuple(bindings.inputs.values()))

    # Shared checks

    def _unique(self, kind: str, entries: Iterable[Any], name_of: Callable[[Any], str]) -> None:
        first: dict[str, Mark] = {}
        for entry in entries:
            name, mark = name_of(entry), entry.place(kind if kind == "namespace" else "name")
            if name and name in first:
                self.problems.error(
                    mark,
                    "duplicate-name",
                    f"{kind} {quote(name)} is defined twice",
                    f"first in line {first[name].line}; rename one",
                )
            first.setdefault(name, mark)

    def _kebab(self, name: str, mark: Mark) -> None:
        if name and not _KEBAB.fullmatch(name):
            self.problems.warning(
                mark,
                "name-form",
                f"name {quote(name)} has other characters than letters, digits and `-`",
                "Naftiko's schema rejects it; it works here",
            )


def base_uri_problem(uri: str) -> str:
    """What is wrong with a base URI, as the end of a sentence; empty when nothing is."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        return f"is not a URL: {error}"
    if parts.scheme not in {"http", "https"} or not host:
        return "is not an http or https URL"
    if "@" in parts.netloc:
        return "holds a user name or password"
    if any(character in "?#{}\\" or character.isspace() or not character.isprintable() for character in uri):
        return "holds more than scheme, host and path"
    if parts.scheme == "http" and host not in _LOOPBACK:
        return "would send the key unencrypted: plain http goes to loopback only"
    return ""
