# Made by client/make_sync.py from client/watchword/client/_async/pages.py: do not edit.
"""Walks a listing page by page."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from watchword.client.models import Page

T = TypeVar("T")


def walk(get_page: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """All items of all pages; a page is asked for when the one before is used up."""
    page_token = None
    while True:
        page = get_page(page_token)
        yield from page.items
        page_token = page.next_page_token
        if page_token is None:
            return
