"""The consumed side: each `consumes` entry with its credential, and every operation by the name a call gives it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from batches_mcp.capability import model, origins
from batches_mcp.capability.credentials import credential
from batches_mcp.capability.diagnostics import quote
from batches_mcp.capability.scope import Scope
from batches_mcp.capability.targets import Target, Upstream, check

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def operations(consumed: Iterable[model.Consumes], scope: Scope) -> dict[str, Target]:
    """Every operation by the name a `call` gives it, with the problems of the consumed side reported."""
    reader = _Reader(scope)
    return reader.operations([reader.upstream(consumes) for consumes in consumed])


@dataclass(frozen=True, slots=True)
class _Reader:
    scope: Scope

    def upstream(self, consumes: model.Consumes) -> Upstream:
        self._base_uri(consumes)
        required = origins.known(consumes.base_uri).headers
        upstream = Upstream(consumes, credential(consumes.authentication, self.scope), required)
        declared = [
            Target(upstream, resource, operation).declared_headers()
            for resource in consumes.resources
            for operation in resource.operations
        ]
        for name, value in required.items():
            if not all(name in headers for headers in declared):
                self.scope.problems.warning(
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
            self.scope.problems.error(mark, "base-uri", f"{shown} {problem}", "for example https://api.example.com/v1")
        elif uri.endswith("/"):
            self.scope.problems.warning(
                mark,
                "base-uri",
                f"{quote(uri)} ends with a slash, and so paths would have two",
                "the slash is left out",
            )

    def operations(self, upstreams: Iterable[Upstream]) -> dict[str, Target]:
        """Every operation by the name a `call` gives it."""
        operations: dict[str, Target] = {}
        for upstream in upstreams:
            namespace = upstream.consumes.namespace
            self.scope.unique("resource", upstream.consumes.resources, lambda each: each.name)
            self._dialect(upstream.consumes.inputs)
            own_path = _path_of(upstream.consumes.base_uri)
            for resource in upstream.consumes.resources:
                self.scope.path(resource.path, resource.place("path"))
                if own_path and f"{resource.path}/".startswith(f"{own_path}/"):
                    self.scope.problems.warning(
                        resource.place("path"),
                        "base-uri",
                        f"path {quote(resource.path)} begins with {quote(own_path)}, as baseUri ends",
                        f"requests would go to {quote(own_path + resource.path)}: leave one of the two out",
                    )
                self.scope.kebab(resource.name, resource.place("name"))
                self._dialect(resource.inputs)
                for operation in resource.operations:
                    self._dialect(operation.inputs)
                    call = f"{namespace}.{operation.name}"
                    self.scope.kebab(operation.name, operation.place("name"))
                    if operation.name and call in operations:
                        self.scope.problems.error(
                            operation.place("name"),
                            "duplicate-name",
                            f"operation {quote(operation.name)} is defined twice",
                            "a call could not tell them apart: rename one",
                        )
                    target = Target(upstream, resource, operation)
                    check(target, self.scope.problems)
                    operations.setdefault(call, target)
        return operations

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
