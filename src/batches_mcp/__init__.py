"""Anthropic's Message Batches API as an MCP server compiled from a declarative capability file."""

__version__ = "0.1.0"
