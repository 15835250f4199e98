"""The file as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from batches_mcp.capability.model.consumed import Consumes
from batches_mcp.capability.model.declare import Json, Located, key
from batches_mcp.capability.model.exposed import Expose


@dataclass(frozen=True, slots=True, kw_only=True)
class Info(Located):
    label: str = key("label", "display")
    description: str = ""
    tags: tuple[str, ...] = ()
    created: str | None = None
    modified: str | None = None
    version: str | None = None
    stakeholders: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind(Located):
    """Variables taken from outside: `keys` maps each variable to its name there."""

    unsupported: ClassVar = {"location": "only the environment is read: leave `location` out"}

    namespace: str
    keys: dict[str, str]
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability(Located):
    unsupported: ClassVar = {
        "aggregates": "write the operation into `consumes` and the tool into `exposes`",
        "binds": "write the binds at the top level of the file",
    }

    consumes: tuple[Consumes, ...]
    exposes: tuple[Expose, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Located):
    unsupported: ClassVar = {"consumes": "a stand-alone consumes file serves nothing: write it under `capability`"}

    version: str = key("naftiko", "ikanos")
    info: Info
    binds: tuple[Bind, ...] = ()
    capability: Capability = key("capability")
