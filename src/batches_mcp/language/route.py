"""A route: an operation that is exposed over REST, with everything it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batches_mcp.core.plan import Argument, Place
from batches_mcp.language import model
from batches_mcp.language.calls import LinkedCall

RestPath = tuple[str | Argument, ...]


@dataclass(frozen=True, slots=True)
class LinkedRoute:
    """An operation with everything it names; `places` says where each argument is taken from.

    `within` are the JSONPaths of those that are taken from somewhere within the body.
    """

    operation: model.RestOperation
    path: RestPath
    call: LinkedCall
    places: Mapping[str, Place]
    fixed: Mapping[str, str | int | float | bool]
    within: Mapping[str, str] = field(default_factory=dict)
