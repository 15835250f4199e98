"""Credentials: those that requests carry upstream, and those that callers have to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from batches_mcp.capability.model.declare import Located, key


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey(Located):
    type: Literal["apikey"]
    name: str = key("key", "name")
    value: str
    placement: Literal["header", "query"] = key("placement", "in", default="header")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer(Located):
    type: Literal["bearer"]
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Basic(Located):
    type: Literal["basic"]
    username: str
    password: str


Authentication = ApiKey | Bearer | Basic
