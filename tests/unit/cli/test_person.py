"""Who gives a command, by name or by number."""

from __future__ import annotations

import getpass
import os
import pwd
import socket
from collections.abc import Callable

import pytest

from batches_mcp.cli.person import person

VARIABLES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def test_a_user_goes_by_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "lead")
    assert person() == f"shell:lead@{socket.gethostname()}"


def test_a_user_of_a_container_that_has_no_name_goes_by_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    by_name: Callable[[int], pwd.struct_passwd] = pwd.getpwuid
    # No machine has a user of this number.
    monkeypatch.setattr(pwd, "getpwuid", lambda _: by_name(2**31 - 7))
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    assert person() == f"shell:{os.getuid()}@{socket.gethostname()}"
