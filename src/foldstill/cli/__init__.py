"""The command line: arguments in, messages out."""

from foldstill.cli.app import app, main

__all__ = ["app", "main"]
