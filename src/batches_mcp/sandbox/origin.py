"""Where the sandbox is, as its client sees it."""

import re

from starlette.requests import Request

__all__ = ["host_name", "origin"]

_HOST = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\])(?::\d+)?", re.ASCII)


def host_name(host: str) -> str | None:
    """The name or address in a Host header, in lower case and without the port; None if it is no such header."""
    found = _HOST.fullmatch(host)
    return found[1].lower().rstrip(".") if found else None


def origin(request: Request) -> str:
    """Scheme, host and port: from the Host header, else the socket's own address.

    Never a host of Anthropic's, whatever a proxy in between says: SDKs send the credential to `results_url`.
    """
    host = request.headers.get("host", "")
    name = host_name(host)
    if name is None or name.endswith("anthropic.com"):
        address, port = request.scope["server"]
        host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return f"{request.scope['scheme']}://{host}"
