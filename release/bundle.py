"""`make bundle`: one file that Claude Desktop installs. Needs no network; the same sources give the same bytes."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from batches_mcp import __version__
from release.icon import PNG
from release.listings import BUNDLE, ROOT, listings, project, registry

DIST = ROOT / "dist"
_MAIN = "from batches_mcp.__main__ import main\n\nmain()\n"
# The oldest time that a zip can hold.
_TIME = (1980, 1, 1, 0, 0, 0)


def contents() -> Iterator[tuple[str, bytes]]:
    """The bundle's files: the manifest, the package as it is, and what uv needs to install what it depends on."""
    made = listings()
    yield "manifest.json", made[f"{BUNDLE}/manifest.json"].encode()
    yield "icon.png", PNG.read_bytes()
    yield "pyproject.toml", _pyproject().encode()
    yield "capability.yaml", made[f"{BUNDLE}/capability.yaml"].encode()
    yield "LICENSE", (ROOT / "LICENSE").read_bytes()
    yield "src/main.py", _MAIN.encode()
    for folder in ("src/batches_mcp", "skills"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), path.read_bytes()


def _pyproject() -> str:
    described = project()
    dependencies = "".join(f"    {json.dumps(each)},\n" for each in described["dependencies"])
    return (
        f'[project]\nname = "batches-mcp-bundle"\nversion = "{__version__}"\n'
        f'requires-python = "{described["requires-python"]}"\ndependencies = [\n{dependencies}]\n\n'
        "[tool.uv]\npackage = false\n"
    )


def build(folder: Path = DIST) -> Path:
    """Write the bundle, its checksum, and the registry's entry that names both; the bundle's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"batches-mcp-{__version__}.mcpb"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in contents():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            bundle.writestr(entry, content)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".mcpb.sha256").write_text(f"{sha256}  {path.name}\n", "utf-8")
    (folder / "server.json").write_text(json.dumps(registry(sha256), indent=2) + "\n", "utf-8")
    return path


def main() -> None:
    path = build()
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
