"""The consumed side: each `consumes` entry with its credential, and every operation by the name a call gives it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from batches_mcp.core.diagnostics import quote
from batches_mcp.core.plan import Argument, Variable
from batches_mcp.language import model
from batches_mcp.language.baseuri import UNENCRYPTED, base_uri_problem, environment_name, template_problem, variables
from batches_mcp.language.credentials import credential
from batches_mcp.language.expressions import ExpressionError
from batches_mcp.language.origins import UNKNOWN, Origin, origin_of
from batches_mcp.language.scope import Scope
from batches_mcp.language.targets import Target, UpstreamApi, check


@dataclass(frozen=True, slots=True)
class Consumed:
    """Every upstream by its namespace, and every operation by the name a `call` gives it."""

    upstreams: Mapping[str, UpstreamApi]
    operations: Mapping[str, Target]

    @property
    def base_names(self) -> frozenset[str]:
        """The variables of base URIs that are not bound."""
        found = (each for upstream in self.upstreams.values() for each in upstream.base_variables.values())
        return frozenset(each.name for each in found if isinstance(each, Argument))


def consumed(entries: Iterable[model.Consumes], scope: Scope, origins: Mapping[str, Origin]) -> Consumed:
    """The consumed side, with its problems reported."""
    reader = _Reader(scope, origins)
    upstreams = [reader.upstream(consumes) for consumes in entries]
    return Consumed({each.consumes.namespace: each for each in upstreams}, reader.operations(upstreams))


@dataclass(frozen=True, slots=True)
class _Reader:
    scope: Scope
    origins: Mapping[str, Origin]

    def upstream(self, consumes: model.Consumes) -> UpstreamApi:
        origin = self.origins.get(origin_of(consumes.base_uri), UNKNOWN)
        upstream = UpstreamApi(
            consumes, credential(consumes.authentication, self.scope), origin, self._base_variables(consumes)
        )
        declared = [
            Target(upstream, resource, operation, "").declared_headers()
            for resource in consumes.resources
            for operation in resource.operations
        ]
        for name, value in origin.headers.items():
            if not all(name in headers for headers in declared):
                self.scope.problems.warning(
                    consumes.place("base_uri"),
                    "default-header",
                    f"{origin_of(consumes.base_uri)} requires the header {quote(name)}",
                    f"{value} is sent; declare it as an input with `in: header` to choose",
                )
        return upstream

    def _base_variables(self, consumes: model.Consumes) -> Mapping[str, Variable | Argument]:
        """The variables of the base URI, and what is wrong with it."""
        uri, mark = consumes.base_uri, consumes.place("base_uri")
        problem = template_problem(uri) if uri else ""
        if problem == UNENCRYPTED and consumes.authentication is None and not self.scope.binds.names():
            self.scope.problems.warning(mark, "base-uri", f"{quote(uri)} is not encrypted", "write https where it can")
        elif problem:
            shown = quote(re.sub(r"//.*@", "//***@", uri))
            self.scope.problems.error(mark, "base-uri", f"{shown} {problem}", "for example https://api.example.com/v1")
            return {}
        if uri.endswith("/"):
            self.scope.problems.warning(
                mark,
                "base-uri",
                f"{quote(uri)} ends with a slash, and so paths would have two",
                "the slash is left out",
            )
        try:
            found = variables(uri, self.scope.binds)
        except ExpressionError as error:
            self.scope.problems.error(mark, "base-uri", str(error), error.hint)
            return {}
        for text, variable in found.items():
            if isinstance(variable, Argument):
                self.scope.problems.warning(
                    mark,
                    "base-uri",
                    f"{quote(text)} in {quote(uri)} is not bound",
                    f"set {environment_name(variable.name)} in the environment, bind it, or give --base-url",
                )
        return found

    def operations(self, upstreams: Iterable[UpstreamApi]) -> dict[str, Target]:
        """Every operation by the name a `call` gives it."""
        operations: dict[str, Target] = {}
        for upstream in upstreams:
            namespace = upstream.consumes.namespace
            # Nothing is called by the name of its resource.
            self.scope.unique("resource", upstream.consumes.resources, lambda each: each.name, same=lambda *_: True)
            self._dialect(upstream.consumes.inputs)
            own_path = _path_of(upstream.consumes.base_uri)
            for resource in upstream.consumes.resources:
                path, query = self.scope.path(resource.path, resource.place("path"))
                if query:
                    shown = "&".join(f"{name}={value}" for name, value in query)
                    message = f"path {quote(resource.path)} holds a query"
                    hint = f"{quote(shown)} is sent with every request; declare what callers give with `in: query`"
                    self.scope.problems.warning(resource.place("path"), "path", message, hint)
                if own_path and f"{path}/".startswith(f"{own_path}/"):
                    self.scope.problems.warning(
                        resource.place("path"),
                        "base-uri",
                        f"path {quote(path)} begins with {quote(own_path)}, as baseUri ends",
                        f"requests would go to {quote(own_path + path)}: leave one of the two out",
                    )
                self.scope.kebab(resource.name, resource.place("name"))
                self._dialect(resource.inputs)
                for operation in resource.operations:
                    self._dialect(operation.inputs)
                    call = f"{namespace}.{operation.name}"
                    self.scope.kebab(operation.name, operation.place("name"))
                    target = Target(upstream, resource, operation, path, query)
                    check(target, self.scope.problems)
                    if operation.name and call in operations:
                        self._twice(operations, call, target)
                    operations.setdefault(call, target)
        return operations

    def _twice(self, operations: dict[str, Target], call: str, target: Target) -> None:
        """A second operation of a name, of which a call must not be asked to choose."""
        first, mark = operations[call], target.operation.place("name")
        if not first.same_as(target):
            operations[call] = replace(first, other=mark)
        self.scope.problems.warning(
            mark,
            "duplicate-name",
            f"operation {quote(target.operation.name)} is defined twice",
            f"first in line {first.operation.place('name').line}; rename one",
        )

    def _dialect(self, inputs: Iterable[model.ConsumedInput]) -> None:
        for each in inputs:
            extra = [name for name in ("type", "description", "required") if name in each.node.entries()]
            if extra:
                self.scope.problems.warning(
                    each.node.entries()[extra[0]].where,
                    "dialect",
                    f"Naftiko's consumed inputs have no {', '.join(map(quote, extra))}",
                    "used here, ignored by other engines",
                )


def _path_of(uri: str) -> str:
    """The path of a base URI; empty when it has none, or is none."""
    return "" if base_uri_problem(uri) else urlsplit(uri).path.rstrip("/")
