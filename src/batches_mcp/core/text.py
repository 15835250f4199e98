"""How numbers stand in texts for people. Pure."""

CAP_EXPECTED = "expected US dollars, a finite number above 0, such as 25 or 0.5"


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: `1 request`, `2,000 requests`; `many` is the plural of one that takes no `s`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
