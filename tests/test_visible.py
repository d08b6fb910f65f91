"""Text of data stays where it is put: on a terminal, a card, a page."""

import re

import pytest
from markdown_it import MarkdownIt

from hf_bnvae.analysis.case_study import escaped_markdown
from hf_bnvae.visible import visible

HOSTILE = ["\x1b[31mred", "a\u202eb", "bell\x07", "\x9b2J", "\u2066x", "\x00"]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_moves_a_cursor_or_turns_the_reading_direction(text):
    shown = visible(text)
    assert shown.isprintable() and not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", shown)
    assert escaped_markdown(text).isprintable()


def test_words_of_any_script_stay_as_they_are():
    for text in ("good food", "مرحبا بالعالم", "שלום", "是的", "naïve – “quoted” 😀", "two\nlines\tand a tab"):
        assert visible(text) == text


@pytest.mark.parametrize(
    "text",
    ["see https://evil.example/x", "www.evil.example", "mail a@b.example", "mailto:a@b.c", "HTTP://EVIL.example"],
)
def test_an_address_in_a_sentence_is_no_link(text):
    html = MarkdownIt("gfm-like", {"linkify": False}).render(escaped_markdown(text))
    assert "<a " not in html
    shown = re.sub("<[^>]+>", "", html).strip()
    assert shown == text
    # What finds addresses by their signs, as the Hub's pages do, finds none in the source.
    assert not re.search(r"(?i)https?:|www\.|\w@\w|mailto:", escaped_markdown(text))
