"""Text of data on a terminal, a page or a card: nothing in it moves a cursor or turns the reading direction."""

import re

INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Control characters and marks of direction as their codes, such as `\\x1b` and `\\u202e`."""
    return INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
