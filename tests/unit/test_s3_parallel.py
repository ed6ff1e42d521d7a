"""Several streams give what one stream gives: the same objects in the same order, or an error."""

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.embedding_etl.errors import ConfigError, IntegrityError, TransientError
from include.embedding_etl.places import Places
from include.embedding_etl.settings import ListingSettings, SourceSettings
from include.embedding_etl.snapshot import iter_snapshot, write_snapshot
from include.embedding_etl.state import StateStore
from include.embedding_etl.storage import s3_parallel
from include.embedding_etl.storage.page_spool import PageSpool
from include.embedding_etl.storage.s3 import S3Source
from include.embedding_etl.storage.s3_listing import Page
from include.embedding_etl.storage.s3_parallel import list_in_parallel
from include.embedding_etl.storage.s3_requests import ATTEMPTS
from include.embedding_etl.storage.s3_stretches import CUTS_PER_PAGE, Progress, Stretch, cut, find_boundaries
from include.embedding_etl.storage.select import open_source
from include.embedding_etl.types import ListedObject
from tests.fixtures_ledger import HOSTILE_KEYS
from tests.fixtures_listing import Keys, ListingServer
from tests.fixtures_storage import REGION, FaultyProxy, S3Server, s3_error

LETTERS = st.sampled_from(list("ab0/.-~ é\U0001f600\uffff\U0010ffff"))
KEYS = st.sets(st.one_of(st.text(LETTERS, min_size=1, max_size=6), st.sampled_from(HOSTILE_KEYS)), max_size=60)


def run(store: Keys, streams: int, prefix: str = "") -> list[str]:
    return [listed.key for listed in list_in_parallel(store.ask, store.go_on, prefix, streams, "s3://b/")]


@settings(max_examples=150, deadline=None)
@given(KEYS, st.integers(1, 5), st.integers(2, 6), st.sampled_from(["", "a", "a/", "b/a"]))
def test_streams_list_what_one_stream_lists(keys: set[str], page_keys: int, streams: int, prefix: str) -> None:
    ordered = sorted(keys, key=str.encode)
    assert run(Keys(ordered, page_keys), streams, prefix) == [key for key in ordered if key.startswith(prefix)]


LAYOUTS: dict[str, Callable[[], Iterator[str]]] = {
    "flat, hex": lambda: (f"{random.Random(n).getrandbits(64):016x}" for n in range(3_000)),
    "flat, numbered": lambda: (f"object-{n:012d}" for n in range(3_000)),
    "one giant folder": lambda: (f"logs/{n:06d}" if n % 300 else f"other-{n:04d}/x" for n in range(3_000)),
    "one folder in one folder": lambda: (f"a/b/c/{n % 40:02d}/{n:05d}" for n in range(3_000)),
    "around the slash": lambda: (f"a{sign}{n:03d}" for sign in ("", "-", ".", "/", "0", "//") for n in range(500)),
    "more folders than a page": lambda: (f"{n:05d}/x" for n in range(3_000)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("page_keys", [7, 100])
def test_every_layout_is_listed_completely_and_in_order(layout: str, page_keys: int) -> None:
    keys = sorted(set(LAYOUTS[layout]()))
    store = Keys(keys, page_keys)
    assert run(store, 8) == keys
    assert len(store.asked) < 3 * len(keys) / page_keys + 120  # not many requests more than one stream makes


def test_keys_that_equal_the_boundaries_are_listed_once() -> None:
    keys = sorted(
        {f"{n:02d}/" for n in range(30)} | {f"{n:02d}/x" for n in range(30)} | {f"{n:02d}0" for n in range(30)}
    )
    assert run(Keys(keys, 3), 4) == keys


def test_the_ranges_cover_every_key_there_can_be() -> None:
    stretch = Stretch(None, None, progress=Progress.LISTING, position="logs/2024/0001")
    parts = [stretch]
    while len(parts) < 40:
        for each in list(parts):
            each.position = max(each.position, "logs/2024/0001")
            taken = cut(each, "logs/")
            if taken is not None:
                parts.insert(parts.index(each) + 1, taken)
                assert (each.until, each.position < taken.position) == (taken.after, True)
    assert (parts[0].after, parts[-1].until) == (None, None)
    assert all(one.until == other.after for one, other in itertools.pairwise(parts))
    assert [part.after for part in parts[1:]] == sorted({part.after or "" for part in parts[1:]})


def test_what_comes_and_goes_while_it_is_listed_loses_nothing_else() -> None:
    """Folders that were seen are gone when their turn comes, new ones lie between them."""
    keys = [f"{n:03d}/{m:02d}" for n in range(60) for m in range(10)]
    store = Keys(keys, 5)
    lock, changed = threading.Lock(), []

    def ask(prefix: str, more: Mapping[str, str]) -> Page:
        with lock:
            if not changed and len(store.asked) > 12:
                gone = {key for key in keys if key[:3] in ("010", "030", "050")}
                store.keys = sorted((set(keys) - gone) | {"0305", "0305/new", "zzz"})
                changed.append(gone)
            return store.ask(prefix, more)

    def go_on(token: str) -> Iterator[ListedObject]:
        raise AssertionError("no reason to go on alone")

    listed = [one.key for one in list_in_parallel(ask, go_on, "", 4, "s3://b/")]
    assert listed == sorted(set(listed))
    assert set(keys) - changed[0] <= set(listed)


class Deleting(Keys):
    """What a request with StartAfter is answered first is deleted right behind its answer."""

    def __init__(self, keys: Sequence[str], page_keys: int) -> None:
        super().__init__(keys, page_keys)
        self.lock, self.begun, self.gone = threading.Lock(), set[str](), set[str]()

    def page(self, prefix: str, more: Mapping[str, str]) -> tuple[Sequence[str], Sequence[str], str | None]:
        if "delimiter" in more:
            return super().page(prefix, more)
        start = more.get("start-after", "")
        with self.lock:
            after = more.get("continuation-token", start)
            left = [key for key in self.keys if key > after and key not in self.gone]
            if start not in {"", *self.begun}:
                self.begun.add(start)
                self.gone.update(left[:1])
        found = left[: self.page_keys]
        return found, (), found[-1] if len(left) > self.page_keys else None


def test_an_object_that_is_deleted_at_a_seam_does_not_end_the_streams() -> None:
    """What a stretch began with is gone when the one before it gets there: looked at once more, the seam holds."""
    store = Deleting([f"{n:03d}/{m:02d}" for n in range(60) for m in range(10)], 5)

    def go_on(token: str) -> Iterator[ListedObject]:
        raise AssertionError("no reason to go on alone")

    listed = [one.key for one in list_in_parallel(store.ask, go_on, "", 4, "s3://b/")]
    assert len(store.gone) > 3
    assert listed == sorted(set(listed))
    assert set(store.keys) - store.gone <= set(listed)


@pytest.mark.parametrize("folder", ["{:03d}/{:02d}", "{:03d}-{:02d}"])
def test_as_many_requests_are_on_their_way_as_there_are_streams(folder: str) -> None:
    store = Keys([folder.format(n, m) for n in range(60) for m in range(10)], 10)
    lock, flying, most = threading.Lock(), [0], [0]

    def ask(prefix: str, more: Mapping[str, str]) -> Page:
        with lock:
            flying[0] += 1
            most[0] = max(most[0], flying[0])
        time.sleep(0.02)
        with lock:
            flying[0] -= 1
        return store.ask(prefix, more)

    assert len(list(list_in_parallel(ask, store.go_on, "", 4, "s3://b/"))) == 600
    assert most[0] == 4


def test_cuts_in_vain_cost_no_more_than_three_requests_a_page() -> None:
    """Streams without work look for it among keys that are the same for their first thousand characters."""
    keys = [f"{'k' * 1_000}{n:024d}" for n in range(1_000)]
    store = Keys(keys, 50)

    def ask(prefix: str, more: Mapping[str, str]) -> Page:
        time.sleep(0.005)  # without it they find none
        return store.ask(prefix, more)

    assert [one.key for one in list_in_parallel(ask, store.go_on, "", 16, "s3://b/")] == keys
    assert len(store.asked) <= 20 * (1 + CUTS_PER_PAGE) + 5


def test_nothing_is_cut_where_no_key_is_that_long() -> None:
    at_most, stretch = "k" * 1_024, Stretch(None, None, cuts_left=1)
    stretch.position = at_most
    assert cut(stretch, at_most[1:]) is None
    stretch.position = at_most[:1_000]
    assert cut(stretch, at_most[:999]) is not None


def by_folder(key: str) -> list[str]:
    return key.split("/")


def test_a_store_whose_first_page_does_not_ascend_gets_the_requests_of_one_stream() -> None:
    keys = sorted((f"{n:03d}{sign}" for n in range(100) for sign in ("", "-", "/x")), key=by_folder)
    store = Keys(keys, 20, behind=lambda key, after: by_folder(key) > by_folder(after))
    assert run(store, 4) == keys
    assert len(store.asked) == 300 / 20


class Filtering(Keys):
    """Lists folder by folder, and leaves out what is not behind StartAfter by its bytes, wherever it would come."""

    def page(self, prefix: str, more: Mapping[str, str]) -> tuple[Sequence[str], Sequence[str], str | None]:
        if "delimiter" in more:
            return super().page(prefix, more)
        number, _, after = more.get("continuation-token", f"0 {more.get('start-after', '')}").partition(" ")
        at, behind = int(number), [key for key in self.keys if key > after]
        following = at + self.page_keys
        return behind[at:following], (), f"{following} {after}" if following < len(behind) else None


def test_keys_that_do_not_ascend_end_the_streams_although_the_seams_hold() -> None:
    inner, outer = [f"a/{n:03d}" for n in range(150)], [f"b{sign}{n}" for sign in "/-" for n in range(10)]
    store = Filtering(sorted([*inner, *outer], key=by_folder), 100, behind=str.__ge__)
    assert sorted(run(store, 3)) == sorted([*inner, *outer])


@settings(max_examples=100, deadline=None)
@given(st.sets(st.text(st.sampled_from(list("ab-/.0")), min_size=1, max_size=6), max_size=60), st.integers(1, 4))
def test_a_store_of_another_order_is_listed_as_by_one_stream(keys: set[str], page_keys: int) -> None:
    ordered = sorted(keys, key=by_folder)
    store = Keys(ordered, page_keys, behind=lambda key, after: by_folder(key) > by_folder(after))
    assert sorted(run(store, 4)) == sorted(ordered)


@settings(max_examples=200, deadline=None)
@given(st.sets(st.text(st.sampled_from(list("a-/.")), min_size=1, max_size=4), max_size=60), st.integers(1, 4))
def test_a_store_whose_start_after_leaves_out_folders_is_listed_as_by_one_stream(
    keys: set[str], page_keys: int
) -> None:
    """SeaweedFS: behind "a" it goes on with "b", even if there is "a/x"."""
    ordered = sorted(keys, key=by_folder)
    store = Keys(
        ordered,
        page_keys,
        behind=lambda key, after: by_folder(key) > by_folder(after) and not key.startswith(f"{after}/"),
    )
    assert sorted(run(store, 4)) == sorted(ordered)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.text(st.sampled_from(list("ab-/.0")), min_size=1, max_size=6), max_size=60), st.integers(1, 4))
def test_a_store_that_does_not_know_start_after_is_listed_as_by_one_stream(keys: set[str], page_keys: int) -> None:
    ordered = sorted(keys)
    assert sorted(run(Keys(ordered, page_keys, behind=lambda key, after: True), 4)) == ordered


def test_streams_that_read_ahead_of_a_slow_reader_keep_their_pages_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_parallel, "MEMORY_PAGES", 2)
    keys = [f"{n % 16:x}/ß\n{n:05d}" for n in range(2_000)]
    assert run(Keys(sorted(keys), 10), 4) == sorted(keys)


def test_a_page_on_disk_comes_back_as_it_was(tiny_disk: None) -> None:
    page = [ListedObject("k\x01ß🦉", "e", 1 << 40, 7, "GLACIER"), ListedObject("l", "f", 0, 8)]
    with PageSpool(0) as spool:
        held = [spool.hold(page), spool.hold(page[:1]), spool.hold([])]
        assert [spool.take(each) for each in held] == [page, page[:1], []]
        assert held[0].objects is None
        large = [ListedObject(f"{random.Random(n).getrandbits(4_000):x}", "e", 1, 1) for n in range(500)]
        with pytest.raises(TransientError, match="TMPDIR"):
            spool.hold(large)


def test_room_in_memory_is_used_again(tiny_disk: None) -> None:
    page = [ListedObject("k", "e", 1, 1)]
    with PageSpool(1) as spool:
        first = spool.hold(page)
        assert spool.hold(page).objects is None
        spool.take(first)
        assert spool.hold(page).objects == page


def test_boundaries_come_from_the_first_level_that_has_several_folders() -> None:
    keys = sorted(f"only/one/{n:02d}/x" for n in range(40))
    assert find_boundaries(Keys(keys).ask, "", 100)[2:-2] == [f"only/one/{n:02d}/" for n in range(40)]
    assert len(find_boundaries(Keys(keys).ask, "", 8)) <= 8
    assert find_boundaries(Keys(["a", "b"]).ask, "", 8) == []


def fill(server: S3Server, keys: list[str]) -> str:
    bucket, client = server.make_bucket(), server.client()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=key.encode()), keys))
    return bucket


def source_of(server: S3Server, bucket: str, parallel: int) -> Any:
    wanted = SourceSettings(uri=f"s3://{bucket}/", listing=ListingSettings(parallel=parallel))
    return open_source(wanted, Places(_env_file=None), server.credentials())


def test_hostile_keys_of_a_real_store_are_listed_in_byte_order(
    moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "5")
    hostile = {key for key in HOSTILE_KEYS if "\n" not in key}  # moto takes it for the end of the path
    keys = sorted({*hostile, *(f"{n % 7}/{n:02d}" for n in range(80))}, key=str.encode)
    bucket = fill(moto_server, keys)
    one, several = (list(source_of(moto_server, bucket, parallel).list()) for parallel in (1, 4))
    assert [listed.key for listed in several] == keys
    assert several == one


def test_a_store_that_lists_by_folders_is_listed_completely(
    seaweed_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    keys = (
        [f"a/{n:04d}" for n in range(600)] + [f"a-b/{n:04d}" for n in range(500)] + [f"a.{n:03d}" for n in range(300)]
    )
    bucket = fill(seaweed_server, keys)
    state = StateStore(str(tmp_path_factory.mktemp("state")), Places(_env_file=None))
    source = source_of(seaweed_server, bucket, 4)
    snapshot = write_snapshot(state, "s.parquet", source.uri, source.list(), lambda _: True)
    assert snapshot.objects == 1_400
    assert [one.key for one in iter_snapshot(state, snapshot)] == sorted(keys)
    assert snapshot.resorted


@pytest.fixture
def server() -> Iterator[ListingServer]:
    running = ListingServer(
        Keys([f"{n % 50:02d}/{n:05d}" for n in sorted(range(5_000), key=lambda n: (n % 50, n))], 100)
    )
    yield running
    running.close()


def source_at(endpoint: str, moto_server: S3Server, streams: int) -> S3Source:
    session = moto_server.session()
    return S3Source("s3://b/", session, endpoint, REGION, backoff_s=0.001, listing_streams=streams)


def test_throttling_is_retried_by_every_stream(
    server: ListingServer, faulty_proxy: FaultyProxy, moto_server: S3Server
) -> None:
    faulty_proxy.upstream = server.endpoint
    faulty_proxy.spoil(*[s3_error(503, "SlowDown")] * 5)
    faulty_proxy.matches = lambda path: "start-after" in path
    assert sum(1 for _ in source_at(faulty_proxy.endpoint, moto_server, 4).list()) == 5_000


@pytest.mark.parametrize(
    ("fault", "error"),
    [(s3_error(503, "SlowDown"), TransientError), (s3_error(403, "AccessDenied"), ConfigError)],
)
def test_a_stream_that_fails_fails_the_whole_listing(
    server: ListingServer, faulty_proxy: FaultyProxy, moto_server: S3Server, fault: Any, error: type[Exception],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    """One of many: only what is asked for in the middle of the bucket fails."""
    faulty_proxy.upstream = server.endpoint
    faulty_proxy.matches = lambda path: "start-after=24" in path
    faulty_proxy.always = fault
    state = StateStore(str(tmp_path_factory.mktemp("state")), Places(_env_file=None))
    source = source_at(faulty_proxy.endpoint, moto_server, 4)
    before = threading.active_count()
    with pytest.raises(error):
        write_snapshot(state, "s.parquet", source.uri, source.list(), lambda _: True)
    assert not state.exists("s.parquet")
    assert not [one for one in threading.enumerate() if one.name.startswith("s3-listing")]
    assert threading.active_count() <= before + 8  # the proxy's own
    assert sum("start-after=24" in path for path in faulty_proxy.paths) in (1, ATTEMPTS)


def test_a_continuation_token_that_comes_twice_is_an_integrity_error() -> None:
    store = Keys([f"{n:04d}" for n in range(100)], 5)

    def ask(prefix: str, more: Mapping[str, str]) -> Page:
        page = store.ask(prefix, more)
        circles = "continuation-token" in more and page.next_token is not None
        return Page((), more["continuation-token"]) if circles else page

    with pytest.raises(IntegrityError, match="goes in circles"):
        list(list_in_parallel(ask, store.go_on, "", 3, "s3://b/"))


def test_a_reader_that_stops_early_leaves_no_stream_behind(server: ListingServer, moto_server: S3Server) -> None:
    listing = source_at(server.endpoint, moto_server, 4).list()
    assert next(iter(listing)).key == "00/00000"
    listing.close()  # type: ignore[attr-defined]
    assert not [one for one in threading.enumerate() if one.name.startswith("s3-listing")]


def test_a_small_bucket_costs_one_request() -> None:
    store = Keys(["a", "b/c"], 10)
    assert (run(store, 8), len(store.asked)) == (["a", "b/c"], 1)
