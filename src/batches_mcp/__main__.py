"""Entry point: `batches-mcp` and `python -m batches_mcp`."""

import gc
import sys


def main() -> None:
    """Run the command line; the exit code is 0 ok, 1 failed, 2 usage or settings, 130/143 signals."""
    # Imports make a hundred thousand objects that stay: collecting among them costs a tenth of the time to start.
    gc.disable()
    from batches_mcp.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
