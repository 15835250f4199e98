"""What bound variables make of a request: its base URL, and the errors for those that it cannot be made with."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import SecretStr

from batches_mcp.core.errors import CallError, ErrorReport, MissingVariable
from batches_mcp.core.plan import RequestPlan
from batches_mcp.core.redact import excerpt
from batches_mcp.core.variables import API_KEY
from batches_mcp.language.baseuri import base_uri_problem

# What a variable may stand for before the path of a base URI: a host or a part of one, and a port.
_IN_HOST = re.compile(r"[A-Za-z0-9._:-]+")


def base_url(plan: RequestPlan, variables: Mapping[str, SecretStr]) -> str:
    """The base URI with its variables filled in.

    Raises:
        MissingVariable: one of them is not set.
        CallError: what they stand for makes no base URI.
    """
    url = plan.base_uri
    if not plan.base_variables:
        return url
    before_path = len(re.match(r"(?:[a-z]+://)?[^/]*", url, re.IGNORECASE)[0])  # type: ignore[index]
    for shown, name in plan.base_variables.items():
        if name not in variables:
            raise missing_variable(
                name, purpose=f" for {excerpt(plan.base_uri, 200)}", instead="it, or give --base-url,"
            )
        value = variables[name].get_secret_value()
        in_host = plan.base_uri.find(shown) < before_path and plan.base_uri != shown
        if in_host and not _IN_HOST.fullmatch(value):
            raise _bad_base(plan, "holds more than a host, or a part of one")
        url = url.replace(shown, value)
    if problem := base_uri_problem(url):
        raise _bad_base(plan, problem)
    return url.rstrip("/")


def _bad_base(plan: RequestPlan, problem: str) -> CallError:
    names = " and ".join(dict.fromkeys(plan.base_variables.values()))
    found = f"{excerpt(plan.base_uri, 200)} with the value of {names} {problem}, so nothing was sent."
    return bad_variable(found, names)


def bad_variable(found: str, names: str) -> CallError:
    """The error for variables, by their names, whose values are of no use: what was `found`."""
    next_step = f"Tell the user to correct {names} and restart the server."
    return CallError(ErrorReport("bad_variable", found, next_step, at_shell=f"Correct {names}."))


def missing_variable(
    name: str, placeholder: str | None = None, *, purpose: str = "", instead: str = "it,"
) -> MissingVariable:
    """The error for a bound variable without a value, or with a `placeholder` that was not filled in.

    `purpose` says what it is for, `instead` what may be given in its place.
    """
    found = (
        f"holds only the placeholder {placeholder}, which was not filled in,"
        if placeholder
        else "is not set (or is empty)"
    )
    stored = "to run `batches-mcp key set` in a terminal, or " if name == API_KEY else ""
    store = "Run `batches-mcp key set`, or set" if name == API_KEY else "Set"
    report = ErrorReport(
        "missing_variable",
        f"the environment variable {name}{purpose} {found} where this server runs, so nothing was sent.",
        f"Tell the user {stored}to set {name} in the server's environment (in a host's configuration: the `env` "
        f"block), or {name}_FILE to the path of a file that holds {instead} and to restart the server.",
        at_shell=f"{store} {name}, or {name}_FILE to the path of a file that holds {instead.rstrip(',')}.",
    )
    return MissingVariable(report)
