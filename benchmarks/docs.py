"""Tables of a benchmark in the documents that show them."""

import re
from collections.abc import Mapping
from pathlib import Path

from configs.files import write_text


def put(path: Path, tables: Mapping[str, str]) -> None:
    """Replaces what stands between `<!-- name -->` and `<!-- end of name -->`, by name."""
    text = path.read_text(encoding="utf-8")
    for name, table in tables.items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text, count = between.subn(lambda found: found[1] + table + "\n" + found[2], text)  # noqa: B023
        assert count == 1, name
    write_text(path, text)
