"""`python -m raymux`: the command line."""

from raymux.cli import main

main()
