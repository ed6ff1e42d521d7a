"""List one bucket by several streams at once, as one listing in order: nothing is merged, stretches are put in a row.

Whether the store lists by the bytes of its keys, and means the same by StartAfter, is not believed but checked, at
every seam: the key at which one stretch stopped must be the one with which the next began. So what is put in a row is
the store's own sequence without a gap. Where a seam does not hold, or keys do not ascend (SeaweedFS lists folder by
folder), the stretch before it goes on alone to the end: the listing is then as slow as one stream, and as complete.
"""

import bisect
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from operator import attrgetter

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.storage.page_spool import PageSpool
from include.embedding_etl.storage.s3_listing import Page
from include.embedding_etl.storage.s3_stretches import (
    CUTS_PER_PAGE,
    AskPage,
    Progress,
    Stretch,
    cut,
    find_boundaries,
)
from include.embedding_etl.types import ListedObject

MEMORY_PAGES = 64  # read ahead in memory, about 25 MB; what is beyond goes to a temporary file
_STRETCHES_PER_STREAM = 4
_SEAM_TRIES = 3  # objects come and go between two requests
_by_key = attrgetter("key")


def list_in_parallel(
    ask: AskPage, go_on: Callable[[str], Iterator[ListedObject]], prefix: str, streams: int, where: str
) -> Iterator[ListedObject]:
    """All objects below a prefix; in UTF-8 byte order of their keys if the store lists so.

    Args:
        ask: For one page, with all retries.
        go_on: Lists on by one stream, from a continuation token.
        prefix: Of all keys.
        streams: How many requests may be on their way at once.
        where: The source's URI, for messages.
    Raises:
        TransientError, IntegrityError, ConfigError: any of the streams failed; what was yielded is not complete.
    """
    first = ask(prefix, {})
    if first.next_token is None or not _ascends("", first):
        yield from first.objects
        if first.next_token is not None:
            yield from go_on(first.next_token)
        return
    boundaries = [None, *find_boundaries(ask, prefix, streams * _STRETCHES_PER_STREAM), None]
    stretches = [Stretch(after, until) for after, until in itertools.pairwise(boundaries)]
    with PageSpool(MEMORY_PAGES) as spool:
        row = _Row(ask, prefix, where, spool, stretches)
        executor = ThreadPoolExecutor(streams, thread_name_prefix="s3-listing")
        try:
            row.start(executor, streams)
            yield from row.objects(go_on)
        finally:
            row.stop()
            executor.shutdown(wait=True, cancel_futures=True)  # the spool must outlive those who write to it


class _Row:
    """The stretches that are not yet handed out, in order. All that is shared is changed under one lock."""

    def __init__(self, ask: AskPage, prefix: str, where: str, spool: PageSpool, stretches: list[Stretch]) -> None:
        self._ask, self._prefix, self._where, self._spool = ask, prefix, where, spool
        self._stretches = stretches
        self._changed = threading.Condition()
        self._stopped = False
        self._ordered = True
        self._streams: list[Future[None]] = []

    def start(self, executor: ThreadPoolExecutor, streams: int) -> None:
        """Begin to list."""
        self._streams = [executor.submit(self._work) for _ in range(streams)]
        for stream in self._streams:
            stream.add_done_callback(self._wake)

    def stop(self) -> None:
        """Let the streams end after the request that each is waiting for."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def objects(self, go_on: Callable[[str], Iterator[ListedObject]]) -> Iterator[ListedObject]:
        """Stretch after stretch.

        Raises:
            EmbeddingEtlError: what any stream raised.
        """
        while True:
            stretch = self._stretches[0]
            yield from self._of(stretch)
            if stretch.until is None:
                return
            if not self._holds(stretch, self._stretches[1]):
                self.stop()
                yield from stretch.rest
                if stretch.token is not None:
                    yield from go_on(stretch.token)
                return
            with self._changed:
                del self._stretches[0]

    def _of(self, stretch: Stretch) -> Iterator[ListedObject]:
        while True:
            with self._changed:
                self._wait_until(lambda: bool(stretch.pages) or stretch.progress is Progress.DONE)
                if not stretch.pages:
                    return
                held, count = stretch.pages.popleft()
            yield from self._spool.take(held)[:count]

    def _holds(self, stretch: Stretch, following: Stretch) -> bool:
        """Whether the stretch stopped exactly where the following one began."""
        with self._changed:
            self._wait_until(lambda: following.first is not None or following.progress is Progress.DONE)
        seen: tuple[str | None, str | None] = (stretch.successor, following.first)
        for _ in range(_SEAM_TRIES):
            if seen[0] == seen[1]:
                return True
            # Its last page once more, as it was asked for: by StartAfter both sides might be wrong in the same way.
            behind = self._ask(self._prefix, stretch.last_query).objects
            anew = self._ask(self._prefix, {"start-after": following.after or ""}).objects
            until = stretch.until or ""
            successor = next((listed.key for listed in behind if listed.key > until), None)
            seen = (successor, anew[0].key if anew else None)
        return seen[0] == seen[1]

    def _wait_until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            for stream in self._streams:
                if stream.done():
                    stream.result()  # raises what it raised
            self._changed.wait()

    def _wake(self, _: object) -> None:
        with self._changed:
            self._changed.notify_all()

    def _work(self) -> None:
        while (stretch := self._choose()) is not None:
            query: Mapping[str, str] | None = {} if stretch.after is None else {"start-after": stretch.after}
            while query is not None:
                stretch.last_query = query
                query = self._take_in(stretch, self._ask(self._prefix, query))

    def _choose(self) -> Stretch | None:
        """A stretch that nobody lists yet; else the end of one that somebody does."""
        with self._changed:
            while not self._stopped:
                busy = [each for each in self._stretches if each.progress is Progress.LISTING]
                chosen = next((each for each in self._stretches if each.progress is Progress.WAITING), None)
                chosen = chosen or self._cut_longest(busy)
                if chosen is not None:
                    chosen.progress = Progress.LISTING
                    return chosen
                if not busy:
                    return None
                self._changed.wait()
            return None

    def _cut_longest(self, busy: list[Stretch]) -> Stretch | None:
        for stretch in sorted(busy, key=lambda each: -each.cuts_left):
            if stretch.cuts_left and self._ordered and (taken := cut(stretch, self._prefix)) is not None:
                self._stretches.insert(self._stretches.index(stretch) + 1, taken)
                return taken
        return None

    def _take_in(self, stretch: Stretch, page: Page) -> Mapping[str, str] | None:
        """Add a page to a stretch.

        Returns:
            How to ask for the next one; None = the stretch is done, or nobody wants it any more.
        """
        held = self._spool.hold(page.objects)
        with self._changed:
            if self._stopped or stretch not in self._stretches:
                return None
            if not _ascends(stretch.position, page):
                self._go_on_alone(stretch)
            objects, until = page.objects, stretch.until
            count = len(objects) if until is None else bisect.bisect_right(objects, until, key=_by_key)
            stretch.pages.append((held, count))
            stretch.cuts_left = CUTS_PER_PAGE
            stretch.first = stretch.first or (objects[0].key if objects else None)
            stretch.position = objects[count - 1].key if count else stretch.position
            stretch.rest, stretch.token = objects[count:], page.next_token
            self._changed.notify_all()
            if stretch.rest or stretch.token is None:
                stretch.progress = Progress.DONE
                return None
            if stretch.token in stretch.tokens:
                raise IntegrityError(f"{self._where}: the listing goes in circles: a continuation token came twice")
            stretch.tokens.add(stretch.token)
            return {"continuation-token": stretch.token}

    def _go_on_alone(self, stretch: Stretch) -> None:
        """Not in byte order: what is listed behind this stretch is thrown away, and it becomes the last one."""
        stretch.until, self._ordered = None, False
        del self._stretches[self._stretches.index(stretch) + 1 :]


def _ascends(position: str, page: Page) -> bool:
    keys = [position, *(listed.key for listed in page.objects)]
    return all(map(str.__lt__, keys, keys[1:]))
