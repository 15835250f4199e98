"""Two examples for each command, shown at the end of its --help; a long one is continued on a second line."""

from __future__ import annotations

EXAMPLES = {
    "serve": (
        "batches-mcp serve --root ~/data --max-cost-usd 20",
        "batches-mcp serve --transport http --port 9090 --rest",
    ),
    "call": (
        "batches-mcp call TOOL limit=5 --sandbox",
        "batches-mcp call TOOL --args '{\"limit\": 5}'",
    ),
    "tools": (
        "batches-mcp tools",
        "batches-mcp tools --capability my-capability.yaml --json",
    ),
    "check": (
        "batches-mcp check my-capability.yaml",
        "batches-mcp check capabilities/ --strict",
    ),
    "run": (
        (
            'batches-mcp run tickets.csv --prompt "Summarise: {{body}}" \\\n'
            "    --model claude-haiku-5-5 --max-tokens 200 -o answers.csv"
        ),
        "batches-mcp run requests.jsonl -o results.jsonl",
    ),
    "jobs": (
        "batches-mcp jobs --watch",
        "batches-mcp jobs show ID",
    ),
    "results": (
        "batches-mcp results ID -o results.csv --wait",
        "batches-mcp results ID -o - | head -3",
    ),
    "cancel": (
        "batches-mcp cancel ID",
        "batches-mcp cancel ID --yes",
    ),
    "models": (
        "batches-mcp models",
        "batches-mcp models --json",
    ),
    "key": (
        "batches-mcp key set",
        "batches-mcp key show",
    ),
    "teams": (
        "batches-mcp teams check teams.yaml",
        "batches-mcp teams key nightly --team search",
    ),
    "teams check": (
        "batches-mcp teams check teams.yaml",
        "batches-mcp teams check teams.yaml --json",
    ),
    "teams key": (
        "batches-mcp teams key nightly --team search",
        "batches-mcp teams key dashboard --team search --scope batches:read",
    ),
    "key set": (
        "batches-mcp key set",
        "batches-mcp key set < key-file",
    ),
    "key show": (
        "batches-mcp key show",
        "ANTHROPIC_API_KEY_FILE=key-file batches-mcp key show",
    ),
    "key forget": (
        "batches-mcp key forget",
        "batches-mcp key forget && batches-mcp key set",
    ),
    "install": (
        "batches-mcp install",
        "batches-mcp install cursor vscode --root ~/data --dry-run",
    ),
    "uninstall": (
        "batches-mcp uninstall",
        "batches-mcp uninstall cursor --yes",
    ),
    "doctor": (
        "batches-mcp doctor",
        "batches-mcp doctor --bundle report.json",
    ),
    "explain": (
        "batches-mcp explain TOOL",
        "batches-mcp explain TOOL --capability my-capability.yaml --json",
    ),
    "schema": (
        "batches-mcp schema > capability.schema.json",
        "batches-mcp schema | less",
    ),
    "export": (
        "batches-mcp export openapi > openapi.json",
        "batches-mcp export openapi --capability my-capability.yaml",
    ),
    "approvals": ("batches-mcp approvals list", "batches-mcp approvals approve approval_0123456789abcdef0123"),
    "approvals list": ("batches-mcp approvals list", "batches-mcp approvals list --json"),
    "approvals approve": (
        "batches-mcp approvals approve approval_0123456789abcdef0123",
        "batches-mcp approvals approve approval_0123456789abcdef0123 --state-dir .",
    ),
    "approvals deny": (
        "batches-mcp approvals deny approval_0123456789abcdef0123",
        "batches-mcp approvals deny approval_0123456789abcdef0123 --state-dir .",
    ),
    "audit": ("batches-mcp audit --since 24h", "batches-mcp audit --since 2026-11-01 --format ocsf > audit.jsonl"),
    "job": (
        "batches-mcp job submit 's3://in/*' --template t.json --out s3://out",
        "batches-mcp job status ID",
    ),
    "job submit": (
        (
            "batches-mcp job submit 's3://in/*.parquet' --template template.json \\\n"
            "    --out s3://out/trial --limit 1000"
        ),
        (
            "batches-mcp job submit 's3://in/*.parquet' --template template.json \\\n"
            "    --out s3://out/answers --max-cost-usd 5000"
        ),
    ),
    "job status": (
        "batches-mcp job status --watch",
        "batches-mcp job status ID --json",
    ),
    "job pause": (
        "batches-mcp job pause ID",
        "batches-mcp job pause ID && batches-mcp job status ID",
    ),
    "job resume": (
        "batches-mcp job resume ID",
        "batches-mcp job resume ID && batches-mcp job status ID --watch",
    ),
    "job cancel": (
        "batches-mcp job cancel ID",
        "batches-mcp job cancel ID && batches-mcp job status ID --watch",
    ),
    "worker": (
        "batches-mcp worker",
        "batches-mcp worker --concurrency 16 --max-cost-usd 500",
    ),
    "migrate": (
        "batches-mcp migrate --database-url postgresql://db.internal/batches",
        "BATCHES_MCP_DATABASE_URL_FILE=url-file batches-mcp migrate",
    ),
    "demo": (
        "batches-mcp demo",
        "batches-mcp demo | less",
    ),
    "sandbox": (
        "batches-mcp sandbox --port 8080",
        "batches-mcp sandbox --process-seconds 60 --state batches.sqlite",
    ),
}


def epilog(name: str) -> str:
    """The examples of a command, each on lines of its own."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for example in EXAMPLES[name] for line in example.splitlines())])
