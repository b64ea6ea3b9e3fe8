"""What is wrong with a manifest or table, line by line: the first twenty are kept, all are counted."""

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from normpipe.errors import UsageError

KEPT = 20
"""How many problems are named."""


@dataclass(slots=True)
class Problems:
    """Collector of problems of one file.

    Attributes:
        name: The file's name, without its folder.
        unit: What a number counts: "line" of a text file, "row" of a Parquet file, both from 1.
        first: The first problems by number (0: the whole file), whatever the order in which they were found.
        count: How many there are in all.
    """

    name: str
    unit: str = "line"
    first: list[tuple[int, str]] = field(default_factory=list)
    count: int = 0

    def add(self, number: int | None, message: str) -> None:
        """Note a problem; `number` is None where it concerns the whole file."""
        self.count += 1
        insort(self.first, (number or 0, message))
        del self.first[KEPT:]

    def add_each(self, numbers: Sequence[int], message: Callable[[int], str]) -> None:
        """Note one problem for each of ascending `numbers`; `message` gives its text by its place among them."""
        for place, number in enumerate(numbers[:KEPT]):
            self.add(number, message(place))
        self.add_unnamed(len(numbers) - KEPT)

    def add_unnamed(self, count: int) -> None:
        """Count problems that stand behind enough others to remain unnamed."""
        self.count += max(0, count)

    def summary(self) -> str:
        """The file's name and the number of problems, then one line for each of the first twenty."""
        lines = [f"{self.name}: {self.count} problem{'s' if self.count > 1 else ''}"]
        lines += [f"  {self.unit} {number}: {message}" if number else f"  {message}" for number, message in self.first]
        if self.count > len(self.first):
            lines.append(f"  and {self.count - len(self.first)} more")
        return "\n".join(lines)

    def raise_if_any(self) -> None:
        """End with the summary.

        Raises:
            UsageError: there is at least one problem.
        """
        if self.count:
            raise UsageError(self.summary())
