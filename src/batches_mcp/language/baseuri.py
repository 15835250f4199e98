"""Base URIs: what is wrong with one, and the variables in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from batches_mcp.core.plan import Argument, Variable
from batches_mcp.language.expressions import Binds, ExpressionError, form

UNENCRYPTED = "would send the key unencrypted: plain http goes to loopback only"

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_VARIABLE = re.compile(r"\{\{\s*([^{}\s]+)\s*\}\}|\{([^{}\s]+)\}")


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
        return UNENCRYPTED
    return ""


def template_problem(uri: str) -> str:
    """What is wrong with a base URI whatever its variables stand for; one that begins with a variable may be any."""
    if (begins := _VARIABLE.match(uri)) and begins.end() == len(uri):
        return ""
    return base_uri_problem(_VARIABLE.sub(_stand_in, uri))


def _stand_in(variable: re.Match[str]) -> str:
    before = variable.string[: variable.start()]
    return "1" if before.endswith(":") else "localhost"


def variables(uri: str, binds: Binds) -> Mapping[str, Variable | Argument]:
    """The variables in a base URI, by the text that stands for each.

    One that is bound, under its own name or one that differs in case and separators only, is a `Variable`; an
    `Argument` is one that is not, and is looked for in the environment.

    Raises:
        ExpressionError: a name is bound in several namespaces, or `namespace.VARIABLE` in none.
    """
    return {match[0]: _variable(match[1] or match[2], binds) for match in _VARIABLE.finditer(uri)}


def _variable(name: str, binds: Binds) -> Variable | Argument:
    if (variable := binds.resolve(name)) is not None:
        return variable
    if "." in name:
        raise ExpressionError(f"`{name}` names nothing that is bound", "bind it under `binds`")
    same = {each for keys in binds.by_namespace.values() for key, each in keys.items() if form(key) == form(name)}
    return same.pop() if len(same) == 1 else Argument(name)


def environment_name(name: str, environment: Mapping[str, str] | None = None) -> str:
    """The variable of the environment that an unbound one is taken from: `SUB_DOMAIN` for `sub-domain`, or its own."""
    if environment is not None and environment.get(name, "").strip():
        return name
    return re.sub(r"\W", "_", name).upper()
