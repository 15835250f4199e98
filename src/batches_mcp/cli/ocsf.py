"""A row of the audit as an event of OCSF 1.8: class API Activity (6003). Pure.

https://schema.ocsf.io/1.8.0/classes/api_activity
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batches_mcp import __version__

_VERSION = "1.8.0"
_CATEGORY, _CLASS = 6, 6003
_CREATE, _READ, _UPDATE, _DELETE, _OTHER = 1, 2, 3, 4, 99
_ACTIVITIES = {"create": _CREATE, "retry": _CREATE, "cancel": _UPDATE, "approval": _UPDATE, "delete": _DELETE}
_NAMES = {_CREATE: "Create", _UPDATE: "Update", _DELETE: "Delete", _OTHER: "Other"}
_SUCCESS, _FAILURE, _OTHER_STATUS = (1, "Success"), (2, "Failure"), (99, "Other")
_FAILED = {"refused", "denied", "expired", "rejected", "not_sent", "none_found", "failed"}
_OPEN = {"held", "asked", "begun", "sent"}
_INFORMATIONAL, _LOW = (1, "Informational"), (2, "Low")
# What has no attribute of its own in the class.
_UNMAPPED = ("team", "content", "rows", "estimate_usd", "cap_usd", "approver", "approval_id")


def event(row: Mapping[str, Any], uid: str) -> dict[str, Any]:
    """The event for a row, whose times are Unix times; `uid` is the row's own id."""
    activity = _ACTIVITIES.get(row["event"], _OTHER)
    outcome = row["outcome"]
    status = _FAILURE if outcome in _FAILED else _OTHER_STATUS if outcome in _OPEN else _SUCCESS
    severity = _LOW if status is _FAILURE else _INFORMATIONAL
    user = {"name": row["principal"] or "unknown", "type_id": 0, "type": "Unknown"}
    if row["team"]:
        user["groups"] = [{"name": row["team"]}]
    reason = f": {row['reason']}" if row["reason"] else ""
    found: dict[str, Any] = {
        "category_uid": _CATEGORY,
        "category_name": "Application Activity",
        "class_uid": _CLASS,
        "class_name": "API Activity",
        "activity_id": activity,
        "activity_name": _NAMES[activity] if activity != _OTHER else row["event"],
        "type_uid": _CLASS * 100 + activity,
        "severity_id": severity[0],
        "severity": severity[1],
        "status_id": status[0],
        "status": status[1],
        "status_detail": f"{outcome}{reason}",
        "time": round(row["time_s"] * 1000),
        "message": f"{row['event']} {outcome}{reason}",
        "actor": {"user": user, **({"app_name": row["client"]} if row["client"] else {})},
        "api": {
            "operation": row["tool"] or row["event"],
            "service": {"name": "batches-mcp"},
            **({"request": {"uid": row["request_id"]}} if row["request_id"] else {}),
        },
        "src_endpoint": {"svc_name": row["door"] or "batches-mcp"},
        "metadata": {
            "version": _VERSION,
            "uid": uid,
            "log_name": "audit",
            "product": {"name": "batches-mcp", "vendor_name": "batches-mcp", "version": __version__},
        },
        "unmapped": {name: row[name] for name in _UNMAPPED if row[name] is not None},
    }
    if row["batch_id"]:
        found["resources"] = [{"uid": row["batch_id"], "type": "message_batch"}]
    return found
