"""A bucket that is nothing but its listing: as a function, and as an HTTP server with pages of any size and latency."""

import bisect
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

from include.embedding_etl.key_range import first_behind
from include.embedding_etl.storage.s3_listing import Page
from include.embedding_etl.types import ListedObject

MODIFIED = "2026-01-02T03:04:05.000Z"


class Keys:
    """ListObjectsV2 over keys in the order of a store, with its semantics of prefix, start-after and delimiter."""

    def __init__(
        self, keys: Sequence[str], page_keys: int = 1_000, behind: Callable[[str, str], bool] = str.__gt__
    ) -> None:
        """Nothing is copied.

        Args:
            keys: In the order in which the store lists.
            page_keys: So many a page.
            behind: (key, start-after) -> whether a key is listed; a store of byte order bisects instead.
        """
        self.keys, self.page_keys, self.behind = keys, page_keys, behind
        self.asked: list[tuple[str, Mapping[str, str]]] = []

    def page(self, prefix: str, more: Mapping[str, str]) -> tuple[Sequence[str], Sequence[str], str | None]:
        """(keys, folders, the next token)"""
        self.asked.append((prefix, more))
        if self.behind is str.__gt__:
            start = bisect.bisect_left(self.keys, prefix)
            if "start-after" in more:
                start = max(start, bisect.bisect_right(self.keys, more["start-after"]))
        else:
            after = more.get("start-after")
            start = next((n for n, key in enumerate(self.keys) if after is None or self.behind(key, after)), 1 << 60)
        at = int(more["continuation-token"]) if "continuation-token" in more else start
        if self.behind is str.__gt__ and "delimiter" not in more:  # the fast way, for benches
            behind = first_behind(prefix)
            end = bisect.bisect_left(self.keys, behind) if behind else len(self.keys)
            following = min(end, at + self.page_keys)
            return self.keys[at:following], (), str(following) if following < end else None
        keys: list[str] = []
        folders: dict[str, None] = {}
        for number in range(at, len(self.keys)):
            key = self.keys[number]
            if not key.startswith(prefix):
                if self.behind is str.__gt__ and key > prefix:
                    break
                continue
            inner, slash, _ = key.removeprefix(prefix).partition("/")
            folder = f"{prefix}{inner}/" if slash and "delimiter" in more else ""
            if folder not in folders and len(keys) + len(folders) == self.page_keys:
                return keys, tuple(folders), str(number)
            if folder:
                folders[folder] = None
            else:
                keys.append(key)
        return keys, tuple(folders), None

    def ask(self, prefix: str, more: Mapping[str, str]) -> Page:
        """For `list_in_parallel`, without a network."""
        keys, folders, token = self.page(prefix, more)
        return Page(tuple(ListedObject(key, "e", 1, 1) for key in keys), token, tuple(folders))

    def go_on(self, token: str) -> Iterator[ListedObject]:
        """For `list_in_parallel`."""
        following: str | None = token
        while following is not None:
            page = self.ask("", {"continuation-token": following})
            yield from page.objects
            following = page.next_token


class ListingServer:
    """Answers ListObjectsV2 for any bucket over HTTP. Each page takes `latency_s`; signatures are not looked at."""

    def __init__(self, keys: Keys, latency_s: float = 0.0) -> None:
        listing = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet an answer

            def do_GET(self) -> None:
                query = {
                    name: values[0] for name, values in parse_qs(urlsplit(self.path).query, strict_parsing=True).items()
                }
                prefix = query.pop("prefix", "")
                time.sleep(listing.latency_s)
                body = _document(*keys.page(prefix, query)).encode()
                self.send_response_only(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        self.latency_s = latency_s
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _document(keys: Sequence[str], folders: Sequence[str], token: str | None) -> str:
    quoted = quote("\0".join(keys)).split("%00") if keys else []  # no key holds a zero byte
    contents = "".join(
        f"<Contents><Key>{key}</Key><LastModified>{MODIFIED}</LastModified><ETag>&quot;0123456789abcdef&quot;"
        f"</ETag><Size>1000</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key in quoted
    )
    together = "".join(f"<CommonPrefixes><Prefix>{quote(each)}</Prefix></CommonPrefixes>" for each in folders)
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token is not None else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<EncodingType>url</EncodingType><KeyCount>{len(keys) + len(folders)}</KeyCount>"
        f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}{contents}{together}</ListBucketResult>"
    )
