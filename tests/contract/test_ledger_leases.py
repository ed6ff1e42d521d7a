"""One writer per collection, also when a writer comes back from the dead."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from include.embedding_etl.errors import IntegrityError, TransientError
from include.embedding_etl.ledger import Heartbeat, Ledger
from include.embedding_etl.ledger.records import Lease
from tests.fixtures_ledger import COLLECTION, make_collection, make_entry

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys
from include.embedding_etl.errors import TransientError
from include.embedding_etl.ledger import Ledger
from tests.fixtures_ledger import COLLECTION, make_entry

ledger = Ledger.open(sys.argv[1])
lease = ledger.leases.acquire(COLLECTION, "holder", ttl_s=float(sys.argv[2]), bound_to_process=sys.argv[3] == "bound")
print("acquired", flush=True)
sys.stdin.readline()
try:
    ledger.entries.commit(lease, COLLECTION, [make_entry("k", version="from the holder")])
except TransientError as error:
    print(error, flush=True)
"""
Start = Callable[[float, str], "subprocess.Popen[str]"]


@pytest.fixture
def start_holder(ledger: Ledger, ledger_url: str) -> Iterator[Start]:
    """Starts a process that takes the lease, waits for a line, then writes."""
    ledger.collections.add(make_collection())
    started: list[subprocess.Popen[str]] = []

    def start(ttl_s: float, bound: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, ledger_url, str(ttl_s), bound],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "acquired\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_owner_is_told_who_holds_it_and_until_when(ledger: Ledger) -> None:
    ledger.leases.acquire("c", "run-1")
    with pytest.raises(TransientError, match=r"c is held by run-1 .* until 20\d\d-"):
        ledger.leases.acquire("c", "run-2")


def test_other_collections_are_free(ledger: Ledger) -> None:
    ledger.leases.acquire("c", "run-1")
    assert ledger.leases.acquire("d", "run-2").token == 1


def test_the_same_owner_gets_a_greater_token_and_supersedes_itself(ledger: Ledger, lease: Lease) -> None:
    again = ledger.leases.acquire(COLLECTION, "run-1")
    assert again.token == lease.token + 1
    ledger.leases.check(again)
    with pytest.raises(TransientError, match="lease lost"):
        ledger.leases.check(lease)


def test_a_released_lease_is_free_at_once_and_its_token_is_never_given_again(ledger: Ledger, lease: Lease) -> None:
    ledger.leases.release(lease)
    with pytest.raises(TransientError, match="lease lost"):
        ledger.leases.check(lease)
    taken = ledger.leases.acquire(COLLECTION, "run-2")
    assert taken.token > lease.token
    ledger.leases.release(lease)  # late, of one that is no longer ours
    ledger.leases.check(taken)


def test_an_expired_lease_is_held_until_somebody_takes_it(ledger: Ledger) -> None:
    lease = ledger.leases.acquire("c", "run-1", ttl_s=0)
    ledger.leases.check(lease)
    taken = ledger.leases.acquire("c", "run-2")
    ledger.leases.check(taken)
    with pytest.raises(TransientError, match="lease lost"):
        ledger.leases.extend(lease)


def test_extending_moves_the_expiry_and_keeps_the_token(ledger: Ledger) -> None:
    lease = ledger.leases.acquire("c", "run-1", ttl_s=0)
    extended = ledger.leases.extend(replace(lease, ttl_s=60))
    assert extended.token == lease.token
    assert extended.expires_at_ms >= lease.expires_at_ms + 60_000
    with pytest.raises(TransientError, match="run-1"):
        ledger.leases.acquire("c", "run-2")


@pytest.mark.parametrize("write", ["intend", "commit", "delete", "forget_versions"])
def test_every_write_of_a_superseded_holder_is_refused_and_leaves_nothing(
    ledger: Ledger, lease: Lease, write: str
) -> None:
    ledger.entries.commit(lease, COLLECTION, [make_entry("k")])
    ledger.leases.acquire(COLLECTION, "run-1")
    writes: dict[str, Callable[[], None]] = {
        "intend": lambda: ledger.entries.intend(lease, COLLECTION, [("k", 99)]),
        "commit": lambda: ledger.entries.commit(lease, COLLECTION, [make_entry("k", "e2", rows=99)]),
        "delete": lambda: ledger.entries.delete(lease, COLLECTION, ["k"]),
        "forget_versions": lambda: ledger.entries.forget_versions(lease, COLLECTION),
    }
    with pytest.raises(TransientError, match="lease lost"):
        writes[write]()
    assert list(ledger.entries.stream(COLLECTION)) == [make_entry("k")]


def test_a_lease_of_another_collection_opens_nothing(ledger: Ledger, lease: Lease) -> None:
    other = ledger.leases.acquire("other", "run-1")
    with pytest.raises(IntegrityError, match="the lease is for other"):
        ledger.entries.commit(other, COLLECTION, [make_entry("k")])


def test_of_many_that_ask_first_exactly_one_is_served(ledger: Ledger) -> None:
    def ask(number: int) -> int:
        try:
            return ledger.leases.acquire("c", f"run-{number}").token
        except TransientError:
            return 0

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(ask, range(8))) == [0] * 7 + [1]


def test_a_lease_needs_an_owner(ledger: Ledger) -> None:
    with pytest.raises(IntegrityError, match="owner"):
        ledger.leases.acquire("c", "")


def test_a_stopped_holder_that_wakes_up_after_a_takeover_cannot_write(ledger: Ledger, start_holder: Start) -> None:
    holder = start_holder(0.5, "unbound")
    os.kill(holder.pid, signal.SIGSTOP)
    time.sleep(0.6)
    taken = ledger.leases.acquire(COLLECTION, "successor")
    ledger.entries.commit(taken, COLLECTION, [make_entry("k", version="from the successor")])
    os.kill(holder.pid, signal.SIGCONT)
    output, _ = holder.communicate("go\n", timeout=60)
    assert "lease lost: holder" in output
    assert [entry.version for entry in ledger.entries.stream(COLLECTION)] == ["from the successor"]


def test_a_live_holder_may_write(ledger: Ledger, start_holder: Start) -> None:
    output, _ = start_holder(60, "bound").communicate("go\n", timeout=60)
    assert output == ""
    assert [entry.version for entry in ledger.entries.stream(COLLECTION)] == ["from the holder"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="elsewhere one waits for the expiry")
@pytest.mark.parametrize("collected", [True, False])
def test_a_bound_lease_dies_with_its_process(ledger: Ledger, start_holder: Start, collected: bool) -> None:
    holder = start_holder(300, "bound")
    with pytest.raises(TransientError, match="holder"):
        ledger.leases.acquire(COLLECTION, "successor")
    holder.kill()
    if collected:
        holder.wait()
    else:
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the process table
    assert ledger.leases.acquire(COLLECTION, "successor").token == 2


def test_an_unbound_lease_outlives_its_process(ledger: Ledger, start_holder: Start) -> None:
    holder = start_holder(300, "unbound")
    holder.kill()
    holder.wait()
    with pytest.raises(TransientError, match="holder"):
        ledger.leases.acquire(COLLECTION, "successor")


def is_well(heartbeat: Heartbeat) -> bool:
    try:
        heartbeat.check()
    except TransientError:
        return False
    return True


def test_a_heartbeat_keeps_the_lease_alive(ledger: Ledger) -> None:
    lease = ledger.leases.acquire("c", "run-1", ttl_s=1.5)
    with Heartbeat(ledger, lease) as heartbeat:
        time.sleep(1.6)
        with pytest.raises(TransientError, match="run-1"):
            ledger.leases.acquire("c", "run-2")
        heartbeat.check()
        assert heartbeat.lease.expires_at_ms > lease.expires_at_ms


def test_a_heartbeat_remembers_that_the_lease_was_lost(ledger: Ledger) -> None:
    lease = ledger.leases.acquire("c", "run-1", ttl_s=0.15)
    with Heartbeat(ledger, lease) as heartbeat:
        ledger.leases.acquire("c", "run-1")
        deadline = time.monotonic() + 30
        while is_well(heartbeat) and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(TransientError, match="lease lost"):
            heartbeat.check()


def test_a_heartbeat_stops_with_its_context(ledger: Ledger) -> None:
    lease = ledger.leases.acquire("c", "run-1", ttl_s=0.3)
    with Heartbeat(ledger, lease):
        pass
    time.sleep(0.4)
    assert ledger.leases.acquire("c", "run-2").token == lease.token + 1
