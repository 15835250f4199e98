"""Request headers of the official clients that concern a program which asks through this server. Data only."""

BETA_HEADER = "anthropic-beta"
"""Any request may have it."""

FOR_WHOM_HEADERS = frozenset({"anthropic-user-profile-id", "anthropic-workspace-id"})
"""They say for whom a request is: if they were dropped, it would be for somebody else."""
