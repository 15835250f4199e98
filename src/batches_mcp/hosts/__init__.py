"""The programs that start our server: their configuration files, and the API key that is kept for all of them.

Nothing that serves imports this package: only commands of the shell do.
"""
