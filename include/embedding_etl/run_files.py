"""Where one run's files lie below the state URI. Run ids come from outside: they never become paths as they are.

A run's snapshot also says which keys the run is about.
"""

import hashlib
import re
from dataclasses import dataclass

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.snapshot import read_snapshot


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The paths of one run of one pipeline."""

    pipeline: str
    run_id: str

    @property
    def prefix(self) -> str:
        """The run's own directory: readable, and unique even where two run ids differ only in odd characters."""
        readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.run_id)[:80].strip(".")
        return f"runs/{self.pipeline}/{readable}-{hashlib.sha256(self.run_id.encode()).hexdigest()[:8]}"

    @property
    def snapshot(self) -> str:
        """The complete listing."""
        return f"{self.prefix}/snapshot.parquet"

    @property
    def replay(self) -> str:
        """Ids of the dead letters that this run was asked to try again."""
        return f"{self.prefix}/replay.parquet"

    def shard(self, reference: str) -> str:
        """What one mapped task has to do."""
        lane, number = parse_shard(reference)
        return f"{self.prefix}/{lane}/shard-{number:03d}.parquet"

    def embedded(self, reference: str) -> str:
        """What the embed stage made of that shard."""
        lane, number = parse_shard(reference)
        return f"{self.prefix}/{lane}/embedded-{number:03d}.parquet"


def listed_prefix(runtime: Runtime, run_id: str) -> str:
    """What all keys begin with that a run has listed; "" = it has listed the whole source.

    Every stage asks the snapshot, so that none can take a listing of a part for one of everything.

    Raises:
        IntegrityError: the run has no complete listing.
    """
    return read_snapshot(runtime.state, RunFiles(runtime.pipeline.name, run_id).snapshot).prefix


def shard_reference(lane: str, number: int) -> str:
    """The few characters that travel through XCom for one shard."""
    return f"{lane}/{number}"


def parse_shard(reference: str) -> tuple[str, int]:
    """Lane and number of a shard reference.

    Raises:
        IntegrityError: it is not one that route made.
    """
    match = re.fullmatch(r"([a-z][a-z0-9_]*)/(\d{1,4})", reference)
    if not match:
        raise IntegrityError(f"{reference!r} is not a shard reference such as text/0")
    return match.group(1), int(match.group(2))
