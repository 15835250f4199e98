"""The capability language as data: what may stand in a file, where, and in which spellings.

Every accepted form ends in these classes: alpha2's lists of named entries and the later maps keyed by name, `label` and
`display`, `naftiko` and `ikanos`. `load.py` reads a file into them by their field types and `Key` marks (declare.py).
"""

from batches_mcp.language.model.authentication import ApiKey, Authentication, Basic, Bearer
from batches_mcp.language.model.consumed import (
    Body,
    ConsumedInput,
    Consumes,
    FormBody,
    JsonBody,
    Operation,
    Resource,
    TextBody,
)
from batches_mcp.language.model.declare import Json, Key, Located, key, key_of, own_fields, required
from batches_mcp.language.model.document import Bind, Capability, Document, Info
from batches_mcp.language.model.exposed import (
    Expose,
    Forward,
    Hints,
    McpExpose,
    McpResource,
    Output,
    Prompt,
    PromptArgument,
    PromptMessage,
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
    "FormBody",
    "Forward",
    "Hints",
    "Info",
    "Json",
    "JsonBody",
    "Key",
    "Located",
    "McpExpose",
    "McpResource",
    "Operation",
    "Output",
    "Prompt",
    "PromptArgument",
    "PromptMessage",
    "Resource",
    "RestExpose",
    "RestInput",
    "RestOperation",
    "RestResource",
    "TextBody",
    "Tool",
    "ToolInput",
    "key",
    "key_of",
    "own_fields",
    "required",
]
