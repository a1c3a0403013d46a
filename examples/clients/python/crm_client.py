"""What each call needs: an address, a tenant, a credential, a deadline, and retries."""

import asyncio
import random

import grpc
from google.rpc import error_details_pb2, status_pb2

# A unary call ends after this time, in seconds.
DEADLINE = 10.0
ATTEMPTS = 15

# The server may be lost without a word. With these, the client notices it within 40 seconds.
KEEPALIVE = [("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000)]


class CrmClient:
    """A connection for one tenant. Stubs take its `channel`, streams take its `metadata`."""

    def __init__(self, address: str, tenant_id: str, credential: str = ""):
        # With TLS: grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(), options=KEEPALIVE)
        self.channel = grpc.aio.insecure_channel(address, options=KEEPALIVE)
        self.metadata = [("x-tenant-id", tenant_id)]
        if credential:
            self.metadata.append(("authorization", f"Bearer {credential}"))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.channel.close()

    async def call(self, method, request):
        """Makes a unary call, and makes it again where that is safe and may help.

        A request that changes something needs a `request_id`: each attempt sends the same one.
        """
        for attempt in range(ATTEMPTS):
            try:
                return await method(request, metadata=self.metadata, timeout=DEADLINE)
            except grpc.aio.AioRpcError as error:
                if attempt + 1 == ATTEMPTS or not may_retry(error):
                    raise
                await asyncio.sleep(delay(error, attempt))


def details(error: grpc.aio.AioRpcError) -> list:
    """The details of an error: google.rpc.ErrorInfo, BadRequest, RetryInfo and so on."""
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    return status.details


def detail(error: grpc.aio.AioRpcError, kind):
    """The detail of this kind, or None."""
    for packed in details(error):
        if packed.Is(kind.DESCRIPTOR):
            found = kind()
            packed.Unpack(found)
            return found
    return None


def reason(error: grpc.aio.AioRpcError) -> str:
    """The `reason` of an error, e.g. CUSTOMER_NOT_FOUND, or "" if the service did not send the error."""
    info = detail(error, error_details_pb2.ErrorInfo)
    return info.reason if info else ""


def may_retry(error: grpc.aio.AioRpcError) -> bool:
    """Whether the same request may be sent again unchanged."""
    why = reason(error)
    if not why:
        return True  # The service did not send it: the connection broke, with whatever code.
    match error.code():
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
            return True
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return detail(error, error_details_pb2.RetryInfo) is not None
        case grpc.StatusCode.ABORTED:
            return why == "CONFLICT"
        case _:
            return False


def delay(error: grpc.aio.AioRpcError, attempt: int) -> float:
    """How long to wait before the next attempt, in seconds."""
    retry = detail(error, error_details_pb2.RetryInfo)
    if retry:
        return retry.retry_delay.ToTimedelta().total_seconds()
    return min(1.0, 0.05 * 2**attempt) * random.uniform(0.5, 1.0)
