"""What commands write, all files of it or a sentence."""

from pathlib import Path

from ...envs.errors import FULL, BadInput
from ...learner.files import reason, write_whole


def write_all(field: str, out: Path, files: dict[str, bytes]) -> None:
    """Write files into a directory, which is made.

    Args:
        field: the option that named it.
        out: it.
        files: name to what is in it.

    Raises:
        BadInput: it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_whole(str(out / name), data)
    except OSError as error:
        if error.errno in FULL:
            raise
        expected = f"a directory that can be written ({reason(error)})"
        raise BadInput(f"{field} is {str(out)!r}; expected {expected}.") from error
