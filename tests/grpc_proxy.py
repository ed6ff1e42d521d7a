"""A gRPC server that passes every call on to a Milvus server, and spoils the replies that a test asks it to."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

Forward = Callable[[], bytes]
Fault = Callable[[grpc.ServicerContext, Forward], bytes]


def refused(status: grpc.StatusCode, details: str = "spoilt") -> Fault:
    """The call does not reach the server."""

    def fault(context: grpc.ServicerContext, forward: Forward) -> bytes:
        context.abort(status, details)
        raise AssertionError

    return fault


def reply_lost(context: grpc.ServicerContext, forward: Forward) -> bytes:
    """The server did it, and nobody hears of it."""
    forward()
    context.abort(grpc.StatusCode.UNAVAILABLE, "reply lost")
    raise AssertionError


def delayed(seconds: float) -> Fault:
    """The reply takes a while."""

    def fault(context: grpc.ServicerContext, forward: Forward) -> bytes:
        time.sleep(seconds)
        return forward()

    return fault


def rewritten(message: Any, change: Callable[[Any], None]) -> Fault:
    """The reply, a protobuf `message`, is changed on its way."""

    def fault(context: grpc.ServicerContext, forward: Forward) -> bytes:
        reply = message.FromString(forward())
        change(reply)
        return bytes(reply.SerializeToString())

    return fault


@dataclass
class GrpcProxy:
    """Faults are used up one a call of their method; `sizes` are the bytes of all requests by method."""

    address: str
    port: int = 0
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    sizes: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spoil(self, method: str, *faults: Fault) -> None:
        self.faults[method].extend(faults)

    def calls(self, method: str) -> int:
        return len(self.sizes[method])

    def pass_on(self, channel: grpc.Channel, path: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        method = path.rsplit("/", 1)[-1]
        with self.lock:
            self.sizes[method].append(len(request))
            fault = self.faults[method].popleft() if self.faults[method] else None

        def forward() -> bytes:
            # Its own headers are left to the channel; the others carry token and database.
            own = ("user-agent", "content-type", "te")
            metadata = [item for item in context.invocation_metadata() if item.key not in own]
            try:
                return bytes(channel.unary_unary(path)(request, timeout=60, metadata=metadata))
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
                raise

        return fault(context, forward) if fault else forward()


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, proxy: GrpcProxy, channel: grpc.Channel) -> None:
        self._proxy, self._channel = proxy, channel

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._proxy.pass_on(self._channel, details.method, request, context)
        )


@contextmanager
def grpc_proxy(
    address: str, max_request_bytes: int = 256 << 20, credentials: grpc.ServerCredentials | None = None
) -> Iterator[GrpcProxy]:
    """A proxy before `address` (host:port) that refuses requests of more than `max_request_bytes`, as a server does.

    With `credentials` it speaks TLS.
    """
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    limits = [("grpc.max_receive_message_length", max_request_bytes), ("grpc.max_send_message_length", -1)]
    proxy = GrpcProxy(address)
    with grpc.insecure_channel(address, options=unlimited) as channel:
        server = grpc.server(ThreadPoolExecutor(8), handlers=[_Handler(proxy, channel)], options=limits)
        where = "127.0.0.1:0"
        proxy.port = server.add_secure_port(where, credentials) if credentials else server.add_insecure_port(where)
        server.start()
        try:
            yield proxy
        finally:
            server.stop(grace=None).wait()
