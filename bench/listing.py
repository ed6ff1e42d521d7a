"""(e) Listing a big bucket by several streams, at 100 ms a page; its processor time; and memory that stays flat.

The server runs in a process of its own, so that its work is not counted.
"""

import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import boto3

from bench.measure import print_figure, require
from include.embedding_etl.converge import Request, check_request
from include.embedding_etl.pipeline_files import load_pipeline
from include.embedding_etl.places import Places
from include.embedding_etl.runtime import Runtime
from include.embedding_etl.s3_credentials import S3Credentials
from include.embedding_etl.stages.scan import scan
from include.embedding_etl.storage.s3 import S3Source
from include.embedding_etl.turn import take_turn
from tests.fixtures_listing import Keys, ListingServer

LATENCY_S = 0.1
KEYS = 100_000
LAYOUTS = {
    "100 folders": lambda count: [f"logs/{n // (count // 100):03d}/object-{n:09d}.txt" for n in range(count)],
    "no folder, hex": lambda count: sorted(f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}" for n in range(count)),
    "one folder, numbered": lambda count: [f"logs/object-{n:09d}.txt" for n in range(count)],
}
SCANNED = (100_000, 1_000_000)
STREAMS = (1, 4, 8)
LIMIT_MIB = 60
PIPELINE = """
name: bench
source: {{uri: "s3://bench/", listing: {{parallel: {streams}}}}}
lanes: {{text: {{accepts: [text/*], model: {{kind: openai, id: none, weights: remote, dimension: 8}}}}}}
"""


def serve(layout: str, count: int, latency_s: float, pipe: Connection) -> None:
    server = ListingServer(Keys(LAYOUTS[layout](count)), latency_s)
    pipe.send(server.endpoint)
    pipe.recv()
    server.close()


class Bucket:
    """A server of so many keys, in another process."""

    def __init__(self, layout: str, count: int, latency_s: float) -> None:
        self._pipe, other = multiprocessing.get_context("spawn").Pipe()
        target = multiprocessing.get_context("spawn").Process
        self._process = target(target=serve, args=(layout, count, latency_s, other), daemon=True)
        self._process.start()
        self.endpoint: str = self._pipe.recv()

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()


def list_all(endpoint: str, streams: int) -> tuple[int, float, float]:
    """(objects, seconds, processor seconds)"""
    session = boto3.Session("bench", "bench", region_name="us-east-1")
    source = S3Source("s3://bench/", session, endpoint, listing_streams=streams)
    started, cpu_started, last, count = time.perf_counter(), time.process_time(), "", 0
    for listed in source.list():
        require(listed.key > last, f"{listed.key} is not in order")
        last, count = listed.key, count + 1
    return count, time.perf_counter() - started, time.process_time() - cpu_started


def scan_once(endpoint: str, streams: int) -> None:
    """The scan stage as a run does it; prints the peak memory in KiB."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "bench.yaml"
        path.write_text(PIPELINE.format(streams=streams))
        ledger_url = f"sqlite:///{directory}/ledger.db"
        places = Places(_env_file=None, state_uri=f"{directory}/state", ledger_url=ledger_url)
        pipeline = load_pipeline(path)
        check_request(pipeline, Request())
        with Runtime(pipeline, places, S3Credentials("bench", "bench", endpoint=endpoint)) as runtime:
            take_turn(runtime, "bench")
            snapshot = scan(runtime, "bench")
    print(snapshot.objects, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main() -> None:
    for layout in LAYOUTS:
        bucket, serial_s = Bucket(layout, KEYS, LATENCY_S), 0.0
        for streams in STREAMS:
            count, seconds, cpu_s = list_all(bucket.endpoint, streams)
            serial_s = serial_s or seconds
            what = f"{KEYS:,} keys, {layout}, {LATENCY_S * 1000:.0f} ms a page, streams: {streams}"
            print_figure(what, f"{seconds:.1f} s ({serial_s / seconds:.1f}×), {cpu_s:.1f} CPU s")
            require(count == KEYS, f"{what}: {count} keys came")
        require(serial_s > 1.3 * seconds, f"{layout}: {streams} streams are not faster than one")
        bucket.close()
    for streams in (1, 8):
        peaks = []
        for count in SCANNED:
            bucket = Bucket("100 folders", count, 0.0)
            command = [sys.executable, "-m", "bench.listing", bucket.endpoint, str(streams)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
            objects, peak_kib = map(int, done.stdout.splitlines()[-1].split())  # before it, the log
            require(objects == count, f"the scan listed {objects} keys, not {count}")
            peaks.append(peak_kib / 1024)
            bucket.close()
        what = f"peak memory of scan, {SCANNED[0]:,} and {SCANNED[1]:,} keys, streams: {streams}"
        print_figure(what, f"{peaks[0]:.0f} and {peaks[1]:.0f} MiB")
        require(peaks[1] - peaks[0] < LIMIT_MIB, f"memory grew by {peaks[1] - peaks[0]:.0f} MiB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        scan_once(sys.argv[1], int(sys.argv[2]))
    else:
        main()
