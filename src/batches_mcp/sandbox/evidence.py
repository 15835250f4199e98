"""How well each answer of the sandbox is known to be the real API's answer."""

from enum import StrEnum

__all__ = ["Evidence"]


class Evidence(StrEnum):
    """The source of a rule, from strongest to weakest."""

    DOCUMENTED = "documented"
    """Anthropic's documentation, reference schema or official SDK says so."""
    CAPTURED = "captured"
    """Seen in published captures of the live API."""
    INFERRED = "inferred"
    """Nothing public states it; the sandbox had to choose."""
