"""`python -m foldstill` is the command line."""

from foldstill.cli import main

main()
