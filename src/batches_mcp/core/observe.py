"""What an operator may watch: reported where it happens, and dropped unless metrics or traces were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Tell = Callable[[int | str], None]
"""Takes the outcome of an exchange: the status of its answer, or the type of the error."""


class Observer:
    """Is notified of what is done; each kind overrides what it wants to know. Methods may be called in any thread."""

    @contextmanager
    def exchange(self, method: str, url: str, attempt: int) -> Iterator[Tell]:  # noqa: ARG002
        """Around one exchange with the upstream, the `attempt`-th for the same request."""
        yield lambda _: None

    def submitted(self, team: str | None, requests: int, reserved_usd: float | None) -> None:
        """A batch was made, which may cost what is reserved for it."""

    def cost(self, team: str | None, actual_usd: float) -> None:
        """It became known what a batch really cost."""

    def parts_ended(self, team: str | None, state: str, parts: int, *, succeeded: int = 0, failed: int = 0) -> None:
        """Parts of a job were done or failed; so many rows of them were written, by what became of them."""
