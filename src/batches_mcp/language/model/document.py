"""The file as a whole."""

from __future__ import annotations

from typing import ClassVar

from batches_mcp.language.model.consumed import Consumes
from batches_mcp.language.model.declare import IMPORT_KEYS, Json, Located, declared, key
from batches_mcp.language.model.exposed import Expose


@declared
class Info(Located):
    for_readers: ClassVar = True

    label: str = key("label", "display")
    description: str = ""
    tags: tuple[str, ...] = ()
    created: str | None = None
    modified: str | None = None
    version: str | None = None
    stakeholders: Json = None


@declared
class Bind(Located):
    """Variables taken from the environment or from the file at `location`: `keys` maps each to its name there."""

    unsupported: ClassVar = IMPORT_KEYS
    instead: ClassVar = dict.fromkeys(("namespace", "keys"), IMPORT_KEYS)

    namespace: str
    keys: dict[str, str]
    location: str | None = None
    description: str = ""

    def source(self, variable: str) -> str:
        """The name a variable has from here on: the environment's own, or for one from a file `namespace.VARIABLE`."""
        return self.keys[variable] if self.location is None else f"{self.namespace}.{variable}"


@declared
class Capability(Located):
    unsupported: ClassVar = {
        "aggregates": "write the operation into `consumes` and the tool into `exposes`",
        "binds": "write the binds at the top level of the file",
    }

    consumes: tuple[Consumes, ...] = ()
    exposes: tuple[Expose, ...] = key(
        "exposes",
        unsupported={
            "skill": "expose the operations as tools of an adapter with `type: mcp`",
            "control": "leave it out: `batches-mcp check` validates, `/healthz` tells whether the server is up",
            "api": "write `type: rest`, as later versions do",
            "grpc": "supported: mcp, rest",
            "webhook": "supported: mcp, rest",
        },
    )


@declared
class Document(Located):
    unsupported: ClassVar = {
        "consumes": "a stand-alone consumes file serves nothing: write it under `capability`",
        "exposes": "a stand-alone exposes file serves nothing: write it under `capability`",
        "aggregates": "write the operation into `consumes` and the tool into `exposes`",
        "externalRefs": "bind the variables of the environment, or of a file, under `binds`",
    }
    instead: ClassVar = {"capability": unsupported}

    version: str = key("naftiko", "ikanos")
    info: Info | None = None
    binds: tuple[Bind, ...] = ()
    capability: Capability = key("capability")
