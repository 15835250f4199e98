"""What a server tells clients of itself: its icon and its website, over both eras."""

from __future__ import annotations

import re
import tomllib
from base64 import b64decode

import pytest
from mcp.client.client import Client

from tests.support.servers import ROOT, Era, server_for

_COLOUR = re.compile("#[0-9a-f]{6}")

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_the_server_shows_its_icon_and_where_it_is_at_home(era: Era) -> None:
    async with Client(server_for("http://127.0.0.1:9"), mode=era) as client:
        info = client.server_info
        assert info is not None
        tools = (await client.list_tools()).tools
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert info.website_url == described["urls"]["Homepage"]
    [icon] = info.icons or []
    head, _, data = icon.src.partition(",")
    assert (head, icon.mime_type) == ("data:image/svg+xml;base64", "image/svg+xml")
    assert len(icon.src) < 800
    drawn = (ROOT / "docs" / "icon.svg").read_text()
    assert set(_COLOUR.findall(b64decode(data).decode())) == set(_COLOUR.findall(drawn))
    assert all((tool.meta or {})["anthropic/searchHint"] for tool in tools)
