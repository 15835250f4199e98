"""The variables that capability files bind, and what stands in them by mistake. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import SecretStr

# The variable whose value `batches-mcp key set` stores.
API_KEY = "ANTHROPIC_API_KEY"

# What hosts pass on literally when they have nothing to fill in, and what was copied from an example:
# ${user_config.api_key}, ${{ secrets.KEY }}, $KEY, %KEY%, {env:KEY}, <your key>, sk-ant-...
_PLACEHOLDER = re.compile(
    r"\$\{.*\}|\$[A-Z_][A-Z0-9_]*|%[A-Z_][A-Z0-9_]*%|\{env:.*\}|<.*>|sk-ant-[a-z0-9-]*(?:\.\.\.|…)", re.DOTALL
)


def is_placeholder(value: str) -> bool:
    """Whether a value is only what should have been replaced by one."""
    return _PLACEHOLDER.fullmatch(value.strip()) is not None


class Variables(dict[str, SecretStr]):
    """The bound variables that are set; `placeholders` is what was found in place of the values of others."""

    def __init__(self, values: Mapping[str, SecretStr], placeholders: Mapping[str, str]) -> None:
        super().__init__(values)
        self.placeholders = placeholders
