"""The capability language as data: what may stand in a file, where, and in which spellings.

Every accepted form ends in these classes: alpha2's lists of named entries and the later maps keyed by name, `label` and
`display`, `naftiko` and `ikanos`. `load.py` reads a file into them by their field types and `Key` marks (declare.py).
"""

from batches_mcp.capability.model.consumed import (
    ApiKey,
    Authentication,
    Basic,
    Bearer,
    Body,
    ConsumedInput,
    Consumes,
    Operation,
    Resource,
)
from batches_mcp.capability.model.declare import Json, Key, Located, key, key_of
from batches_mcp.capability.model.document import Bind, Capability, Document, Info
from batches_mcp.capability.model.exposed import (
    Expose,
    Hints,
    McpExpose,
    Output,
    RestExpose,
    RestInput,
    RestOperation,
    RestResource,
    Tool,
    ToolInput,
)

__all__ = [
    "ApiKey",
    "Authentication",
    "Basic",
    "Bearer",
    "Bind",
    "Body",
    "Capability",
    "ConsumedInput",
    "Consumes",
    "Document",
    "Expose",
    "Hints",
    "Info",
    "Json",
    "Key",
    "Located",
    "McpExpose",
    "Operation",
    "Output",
    "Resource",
    "RestExpose",
    "RestInput",
    "RestOperation",
    "RestResource",
    "Tool",
    "ToolInput",
    "key",
    "key_of",
]
