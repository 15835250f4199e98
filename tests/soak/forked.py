"""Stands for a process that `tests.soak.process` forks: hands over its standard streams, and ends as that one does.

Starting Python with all that our command line imports takes a second, a fork some milliseconds. Imports little itself.
"""

import json
import os
import socket
import sys

if __name__ == "__main__":
    asked = {"arguments": sys.argv[2:], "environment": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109 - pathlib takes time to import
    with socket.socket(socket.AF_UNIX) as forker:
        forker.connect(sys.argv[1])
        content = json.dumps(asked).encode()
        socket.send_fds(forker, [len(content).to_bytes(4, "big")], [0, 1, 2])
        forker.sendall(content)
        for stream in (0, 1):
            os.close(stream)
        code = forker.recv(1)
    os._exit(code[0] if code else 1)
