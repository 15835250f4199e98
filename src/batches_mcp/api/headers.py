"""Headers of the Message Batches API that decide about batches. Data only."""

VERSION_HEADER = "anthropic-version"

WORKSPACE_HEADER = "anthropic-workspace-id"
"""An answer names the key's workspace in it: https://platform.claude.com/docs/en/api/overview#response-headers"""

BETA_HEADER = "anthropic-beta"
"""Any request may have it."""

FOR_WHOM_HEADERS = frozenset({"anthropic-user-profile-id", WORKSPACE_HEADER})
"""In a request they say for whom a request is: if they were dropped, it would be for somebody else."""
