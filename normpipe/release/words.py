"""Numbers in words, as texts and messages of a release write them."""


def counted(count: int, noun: str) -> str:
    """A count with its noun: "1 row", "20 rows"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def size(count: int) -> str:
    """Bytes in the largest unit of which there is one: "917 B", "2.3 MB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"
