"""What this program shows of itself to clients: its icon, and where it is at home."""

from __future__ import annotations

from base64 import b64encode

WEBSITE_URL = "https://github.com/batches-mcp/batches-mcp"

# docs/icon.svg, as small as it goes.
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 512 512"><rect width="512" height="512" rx="112" '
    'fill="#1f2937"/><path d="M122 130h268M122 210h268M122 290h268" stroke="#34d399" stroke-width="52" '
    'stroke-linecap="round"/><path d="M122 370h268" stroke="#94a3b8" stroke-width="52" stroke-linecap="round"/></svg>'
)
ICON = f"data:image/svg+xml;base64,{b64encode(_SVG.encode()).decode()}"
