"""Credentials: those that requests carry upstream, and those that callers have to show."""

from __future__ import annotations

from typing import Literal

from batches_mcp.language.model.declare import Located, declared, key


@declared
class ApiKey(Located):
    type: Literal["apikey"]
    name: str = key("key", "name")
    value: str
    placement: Literal["header", "query"] = key("placement", "in", default="header")


@declared
class Bearer(Located):
    type: Literal["bearer"]
    token: str


@declared
class Basic(Located):
    type: Literal["basic"]
    username: str
    password: str = ""


Authentication = ApiKey | Bearer | Basic
