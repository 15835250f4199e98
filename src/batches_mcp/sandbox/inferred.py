"""The switches: what the sandbox is to answer where nobody outside Anthropic knows what the API does. Data only.

Code that works under every choice works whatever the API turns out to do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Literal, Self, get_args, get_type_hints

__all__ = ["Inferred", "Switch"]


@dataclass(frozen=True, slots=True)
class Switch:
    """One open question: its name, the choices (the first is the default), and what it is about."""

    name: str
    choices: tuple[str, ...]
    about: str


@dataclass(frozen=True, slots=True)
class Inferred:
    """A choice for every open question; numbers are statuses."""

    both_cursors: Annotated[Literal["400", "ignore-before", "ignore-after"], "list with `after_id` and `before_id`"] = (
        "400"
    )
    cancel_canceling: Annotated[Literal["200", "400"], "a second cancel"] = "200"
    cancel_ended: Annotated[Literal["400", "409", "200"], "cancel of an ended batch"] = "400"
    counts: Annotated[
        Literal["at-end", "live"],
        "`request_counts` of a running batch: all `processing` (documented), or counting (one note says it was seen)",
    ] = "at-end"
    delete_canceling: Annotated[Literal["400", "409"], "delete of a batch being canceled"] = "400"
    extra_key: Annotated[Literal["400", "ignore"], "an unknown key of the body, or of a request beside `params`"] = (
        "400"
    )
    foreign_id: Annotated[Literal["404", "403"], "another key's batch"] = "404"
    limit_range: Annotated[Literal["400", "clip"], "a list's `limit` below 1 or above 1000"] = "400"
    malformed_id: Annotated[Literal["404", "400"], "an id without the form `msgbatch_…`"] = "404"
    results_archived: Annotated[Literal["404", "400"], "results of a batch over 29 days old"] = "404"
    results_canceling: Annotated[Literal["404", "400"], "results of a batch being canceled"] = "404"
    sampling_keys: Annotated[
        Literal["row", "create"], "`temperature`, `top_p`, `top_k` under 2026-10-21: errored rows, or no batch at all"
    ] = "row"
    too_many_requests: Annotated[Literal["400", "413"], "more than 100,000 requests"] = "400"
    unknown_cursor: Annotated[Literal["400", "404", "empty"], "a cursor that is no batch of this key"] = "400"
    unknown_version: Annotated[Literal["400", "accept"], "an `anthropic-version` that does not exist"] = "400"
    wrong_method: Annotated[Literal["405", "404"], "a known path, another method"] = "405"
    wrong_workspace: Annotated[
        Literal["400", "403", "404", "ignore"], "an `anthropic-workspace-id` other than the key's"
    ] = "400"

    @classmethod
    def of(cls, choices: Mapping[str, str]) -> Self:
        """The defaults but for `choices`, by switch name; ValueError names what does not exist."""
        known = {switch.name: switch for switch in cls.switches()}
        for name, choice in choices.items():
            if name not in known:
                raise ValueError(f"no switch {name!r}; there are {', '.join(known)}")
            if choice not in known[name].choices:
                raise ValueError(f"{name} is one of {', '.join(known[name].choices)}, not {choice!r}")
        return cls(**{name.replace("-", "_"): choice for name, choice in choices.items()})  # type: ignore[arg-type]  # checked above

    @classmethod
    def switches(cls) -> Iterator[Switch]:
        hints = get_type_hints(cls, include_extras=True)
        for field in fields(cls):
            choices, about = get_args(hints[field.name])
            yield Switch(field.name.replace("_", "-"), get_args(choices), about)
