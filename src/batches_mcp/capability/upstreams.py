"""The consumed side: each `consumes` entry with its credential, and every operation by the name a call gives it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from batches_mcp.capability import model, origins
from batches_mcp.capability.diagnostics import quote
from batches_mcp.capability.scope import Scope
from batches_mcp.capability.targets import Target, Upstream, check, header_name
from batches_mcp.plan import BasicCredential, Feed, Place, Template

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
        upstream = Upstream(consumes, self._credential(consumes.authentication), required)
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

    def _credential(self, authentication: model.Authentication | None) -> Feed | BasicCredential | None:
        match authentication:
            case None:
                return None
            case model.ApiKey():
                place = Place(authentication.placement)
                if place is Place.HEADER:
                    header_name(authentication.name, authentication.place("name"), self.scope.problems)
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
            self.scope.problems.error(
                authentication.place(name),
                "secret-in-file",
                "a secret is written into the file",
                "bind a variable of the environment and write {{namespace.VARIABLE}}",
            )
        return value

    def operations(self, upstreams: Iterable[Upstream]) -> dict[str, Target]:
        """Every operation by the name a `call` gives it."""
        operations: dict[str, Target] = {}
        for upstream in upstreams:
            namespace = upstream.consumes.namespace
            self.scope.unique("resource", upstream.consumes.resources, lambda each: each.name)
            self._dialect(upstream.consumes.inputs)
            for resource in upstream.consumes.resources:
                self.scope.path(resource.path, resource.place("path"))
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
