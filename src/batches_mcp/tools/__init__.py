"""What this server knows of batches beyond forwarding: behaviours that an operation opts into with `x-behavior`."""

# What a behaviour adds to an upstream answer stands under this one key.
OUR_KEY = "batches_mcp"
