"""What is known of an origin, and that it is known of no other."""

from __future__ import annotations

import pytest

from batches_mcp.language.defaults import known_origins
from batches_mcp.language.origins import origin_of


@pytest.mark.parametrize(
    ("uri", "origin"),
    [
        ("https://api.example.com/v1", "https://api.example.com"),
        ("HTTPS://API.Example.com", "https://api.example.com"),
        ("https://api.example.com:443/", "https://api.example.com"),
        ("http://localhost:80", "http://localhost"),
        ("https://api.example.com:80", "https://api.example.com:80"),
        ("http://[::1]:8080/x", "http://[::1]:8080"),
        ("https://[::1]", "https://[::1]"),
        ("https://[::1", ""),
        ("https://h:port", ""),
    ],
)
def test_an_origin_is_scheme_host_and_port(uri: str, origin: str) -> None:
    assert origin_of(uri) == origin


@pytest.mark.parametrize("uri", ["https://api.anthropic.com/v1", "https://API.ANTHROPIC.COM:443"])
def test_anthropics_own_origin_has_its_header_and_variable(uri: str) -> None:
    origin = known_origins()[origin_of(uri)]
    assert origin.headers == {"anthropic-version": "2023-06-01"}
    assert origin.base_url_variable == "ANTHROPIC_BASE_URL"


@pytest.mark.parametrize(
    "uri",
    [
        "http://api.anthropic.com/v1",
        "https://api.anthropic.com:8443",
        "https://api.anthropic.com.example.com",
        "https://anthropic.com",
        "https://api.anthropic.com@example.com",
        "https://[",
    ],
)
def test_no_other_origin_has(uri: str) -> None:
    assert origin_of(uri) not in known_origins()
