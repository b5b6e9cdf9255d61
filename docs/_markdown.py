"""Pieces of Markdown pages."""

from textwrap import fill


def paragraph(text: str) -> str:
    """Break a paragraph into lines."""
    return fill(text, width=100, break_long_words=False, break_on_hyphens=False)


def table(heading: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table, numbers to the right."""
    rule = ["---" if number == 0 else "---:" for number in range(len(heading))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, rule, *rows))
