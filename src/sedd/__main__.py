"""`python -m sedd` is the command `sedd`."""

from sedd.cli import main

if __name__ == "__main__":
    main()
