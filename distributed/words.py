"""The words of a command line, before it is known what they mean."""

from ..envs.errors import BadInput, require


def refuse_odd(words: list[str]) -> None:
    """Refuse what a shell makes of a slip: words that are empty or no text, and options that are given twice.

    Raises:
        BadInput: naming the option.
    """
    seen: set[str] = set()
    option = "an argument"
    for word in words:
        if word == "--":
            seen, option = set(), "an argument"
            continue
        if word.startswith("--"):
            option = word.partition("=")[0].replace("_", "-")
            require(option not in seen, option, "given twice", "once")
            seen.add(option)
        if word == "" or (word.startswith("--") and word.endswith("=")):
            raise BadInput(f"{option} is ''; expected a value.")
        if not word.isprintable():  # control characters, and bytes that are not UTF-8
            raise BadInput(f"{option} is {word.partition('=')[2] or word!a}; expected printable text in UTF-8.")


def options_in(words: list[str]) -> set[str]:
    """The names of the options among words, as fields."""
    return {word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")}
