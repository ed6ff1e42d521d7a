"""audit: compare storage, ledger, Milvus and the embedding store with each other, and say what differs.

Reads only, without holding anybody up; the one thing it writes is its own row in ledger.audits. Faults are what no run
would mend by itself; what is pending, the next run does.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from include.embedding_etl.checks.collections import check_alias, check_collection, check_ownership
from include.embedding_etl.checks.differences import Difference, Differences, Finding
from include.embedding_etl.checks.rows import check_rows
from include.embedding_etl.checks.storage import check_storage
from include.embedding_etl.checks.store_files import check_store_files
from include.embedding_etl.checks.vectors import check_vectors
from include.embedding_etl.errors import ConfigError, IntegrityError
from include.embedding_etl.lane_collection import LaneCollection, find_live
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.types import JsonValue


@dataclass(frozen=True, slots=True)
class Audit:
    """What was compared, and what differs."""

    pipeline: str
    findings: tuple[Finding, ...]
    compared: Mapping[str, int]  # what was looked at: objects, rows, vectors, files

    @property
    def faults(self) -> int:
        """What no run would mend by itself."""
        return sum(finding.count for finding in self.findings if not finding.pending)

    @property
    def pending(self) -> int:
        """What the next run does."""
        return sum(finding.count for finding in self.findings if finding.pending)

    @property
    def clean(self) -> bool:
        """Nothing differs."""
        return not self.findings

    def to_json(self) -> dict[str, JsonValue]:
        """Plain values, for `--json` and for the ledger."""
        findings: list[Any] = [
            {**asdict(each), "samples": list(each.samples), "pending": each.pending, "mending": each.mending}
            for each in self.findings
        ]
        return {
            "pipeline": self.pipeline,
            "clean": self.clean,
            "faults": self.faults,
            "pending": self.pending,
            "compared": dict(self.compared),
            "findings": findings,
        }


def audit(runtime: Runtime, run_id: str, tell: Callable[[str], None] = lambda _: None) -> Audit:
    """Compare everything, and write down in ledger.audits what was found.

    Args:
        runtime: Whose pipeline; runs of it may be at work meanwhile.
        run_id: Who asks.
        tell: Called with one short line before each step, for progress.
    Raises:
        TransientError: something did not answer: nothing can be said then.
    """
    with Differences() as differences:
        return compare(runtime, run_id, differences, tell)


def describe(audited: Mapping[str, Any]) -> list[str]:
    """An audit as lines for a log.

    Args:
        audited: From `Audit.to_json`, or from ledger.audits.
    """
    compared = ", ".join(f"{count} {what}" for what, count in audited["compared"].items())
    lines = [
        f"  {each['lane'] or 'all lanes'}: {each['count']} × {each['kind']}"
        f"{' (pending)' if each['pending'] else ''}, such as {'; '.join(each['samples'])}: {each['mending']}"
        for each in audited["findings"]
    ]
    verdict = "clean" if audited["clean"] else f"{audited['faults']} faults, {audited['pending']} pending"
    return [f"{audited['pipeline']}: {verdict}; compared {compared}", *lines]


def compare(runtime: Runtime, run_id: str, differences: Differences, tell: Callable[[str], None]) -> Audit:
    """As `audit`, leaving in `differences` each single thing that differs."""
    tell(f"storage: listing {runtime.pipeline.source.uri}")
    compared = {"objects": check_storage(runtime, differences), "rows": 0, "vectors": 0, "files": 0}
    for lane in runtime.pipeline.lanes:
        live = _open_live(runtime, lane, differences)
        if live is not None and check_collection(runtime, live, differences):
            tell(f"rows of {live.name}: comparing with the ledger")
            compared["rows"] += check_rows(runtime, live, differences)
            tell(f"vectors of {live.name}: comparing with the embedding store")
            compared["vectors"] += check_vectors(runtime, live, differences)
        check_alias(runtime, lane, differences)
    tell("collections and files that nobody needs")
    check_ownership(runtime, differences)
    compared["files"] = check_store_files(runtime, differences)
    result = Audit(runtime.pipeline.name, differences.findings(), compared)
    runtime.ledger.audits.add(result.pipeline, run_id, result.faults, result.to_json())
    return result


def _open_live(runtime: Runtime, lane: str, differences: Differences) -> LaneCollection | None:
    """One lane that cannot be looked at keeps nobody from looking at the others."""
    try:
        live = find_live(runtime, lane)
    except (ConfigError, IntegrityError) as error:
        differences.add(Difference("not compared", lane, "", str(error)))
        return None
    if live is None:
        differences.add(Difference("lane without collection", lane, "", runtime.pipeline.alias(lane)))
    return live
