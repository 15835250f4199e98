"""Google Cloud Storage and Azure Blob Storage as far as objects are listed, read and written, on a real socket."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_WRITTEN = "Thu, 01 Jan 2026 00:00:00 GMT"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.objects[self._key] = content
        self._answer(201 if "x-ms-version" in self.headers else 200, b"", _tag(content))

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query or "comp" in query:
            prefix = f"{self._key}/{query.get('prefix', [''])[0]}"
            found = {key: each for key, each in sorted(self.objects.items()) if key.startswith(prefix)}
            self._answer(200, (_azure if "comp" in query else _google)(len(self._key) + 1, found).encode())
        elif self._key in self.objects:
            self._answer(200, self.objects[self._key], _tag(self.objects[self._key]))
        else:
            self._answer(404, b"")

    do_HEAD = do_GET  # noqa: N815 - what the handler's base looks for

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).strip("/")

    def _answer(self, status: int, content: bytes, tag: str = "") -> None:
        self.send_response_only(status)
        headers = {"etag": f'"{tag}"', "last-modified": _WRITTEN, "x-ms-blob-type": "BlockBlob"}
        for name, value in {**headers, "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _google(skip: int, found: dict[str, bytes]) -> str:
    each = "".join(
        f"<Contents><Key>{escape(key[skip:])}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<Size>{len(content)}</Size><ETag>&quot;{_tag(content)}&quot;</ETag></Contents>"
        for key, content in found.items()
    )
    return f"<ListBucketResult>{each}</ListBucketResult>"


def _azure(skip: int, found: dict[str, bytes]) -> str:
    each = "".join(
        f"<Blob><Name>{escape(key[skip:])}</Name><Properties><Last-Modified>{_WRITTEN}</Last-Modified><Etag>{_tag(content)}"
        f"</Etag><Content-Length>{len(content)}</Content-Length><Content-Type>x/y</Content-Type></Properties></Blob>"
        for key, content in found.items()
    )
    return f"<EnumerationResults><Blobs>{each}</Blobs><NextMarker/></EnumerationResults>"


@contextmanager
def cloud() -> Iterator[str]:
    """A running one, without objects; its URL."""
    handler = type("Handler", (_Handler,), {"objects": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
