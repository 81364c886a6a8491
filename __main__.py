"""`python -m innerloop` is the command `innerloop`."""

from .distributed.launch.stopping import while_importing


def main() -> None:
    """Run the command line."""
    with while_importing():
        from .distributed.cli import main as command
    command()


if __name__ == "__main__":
    main()
