"""`python -m textclf` is the same program as `textclf`."""

from textclf.cli import main

main(prog_name="textclf")
