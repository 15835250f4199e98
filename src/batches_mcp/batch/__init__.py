"""What this server knows of batches beyond forwarding: behaviours that an operation opts into with `x-behavior`."""
