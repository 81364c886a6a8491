"""`python -m innerloop` is the command `innerloop`."""

from .distributed.cli import main

if __name__ == "__main__":
    main()
