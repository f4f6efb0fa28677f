"""Tables whose first column names and whose others are numbers, on the console and in Markdown."""

from collections.abc import Sequence

from rich.table import Table


def shown(title: str, lines: Sequence[Sequence[str]]) -> Table:
    """A header and rows, for the console."""
    header, *rows = lines
    table = Table(title=title)
    for index, name in enumerate(header):
        table.add_column(name, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    return table


def in_markdown(lines: Sequence[Sequence[str]]) -> list[str]:
    """A header and rows, as lines of Markdown."""
    header, *rows = ("| " + " | ".join(line) + " |" for line in lines)
    return [header, "|---|" + "---:|" * (len(lines[0]) - 1), *rows]
