"""The tests' embedding endpoint as a process of its own, with a latency: what a model far away costs, without a model.

`python -m bench.endpoint --port 8123 --latency-ms 200 --max-in-flight 8`. It prints its address as model.base_url wants
it, and serves until it is ended; a GET of any path tells what it has seen.
"""

import argparse
import signal

from tests.embedding_endpoint import DIMENSION, EmbeddingEndpoint

ENDINGS = {signal.SIGINT, signal.SIGTERM}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.endpoint", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 = any that is free")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="that every request takes")
    parser.add_argument("--max-batch", type=int, default=0, help="texts of one request; more are answered with 413")
    parser.add_argument("--max-in-flight", type=int, default=0, help="requests at once; more are answered with 429")
    arguments = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)  # in its threads too: sigwait below takes them
    endpoint = EmbeddingEndpoint(arguments.port)
    endpoint.latency_s = arguments.latency_ms / 1000
    endpoint.max_batch, endpoint.max_in_flight = arguments.max_batch, arguments.max_in_flight
    print(f"{endpoint.url} dimension {DIMENSION}", flush=True)
    signal.sigwait(ENDINGS)
    endpoint.close()


if __name__ == "__main__":
    main()
