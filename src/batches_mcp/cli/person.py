"""Who gives commands at a shell, as the ledger and the audit name them."""

from __future__ import annotations

import getpass
import os
import socket


def person() -> str:
    """`shell:USER@HOST`; a user without a name, as in a container, goes by the number."""
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # which of them depends on the version and on the system
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"shell:{user}@{socket.gethostname()}"
