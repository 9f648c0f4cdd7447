"""Walks a listing page by page."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from watchword.client.models import Page

T = TypeVar("T")


async def walk(get_page: Callable[[str | None], Awaitable[Page[T]]]) -> AsyncIterator[T]:
    """All items of all pages; a page is asked for when the one before is used up."""
    page_token = None
    while True:
        page = await get_page(page_token)
        for item in page.items:
            yield item
        page_token = page.next_page_token
        if page_token is None:
            return
