"""The two streams, each with what it takes to go on after a lost connection."""

import asyncio

import grpc
from crm.v1.add_message_pb2 import AddMessageRequest, MessageAck
from crm.v1.conversation_service_pb2_grpc import ConversationServiceStub
from crm.v1.messages_pb2 import MESSAGE_STATUS_COMPLETED, Message
from crm.v1.watch_pb2 import ConversationEvent, WatchConversationRequest

import crm_requests
from crm_client import CrmClient, delay, may_retry


class StreamBroke(Exception):
    """The stream ended before all was acked. Sending the same again is safe."""


def acked(answer) -> MessageAck:
    """The ack of an answer of AddMessage."""
    if answer is grpc.aio.EOF or answer.WhichOneof("result") == "go_away":
        raise StreamBroke
    if answer.WhichOneof("result") == "error":
        raise RuntimeError(f"{answer.error.message_key}: {answer.error.status.message}")
    return answer.ack


async def add_messages(client: CrmClient, requests: list[AddMessageRequest]) -> list[MessageAck]:
    """Adds whole messages over one stream. Each ack means that its message is committed."""
    call = ConversationServiceStub(client.channel).AddMessage(iter(requests), metadata=client.metadata)
    return [acked(await call.read()) for _ in requests]


async def write_reply(client: CrmClient, conversation_id: str, key: str, pieces) -> MessageAck:
    """Writes a message piece by piece, and returns the ack of its end.

    After a lost connection, call it again with the same key and the same text: the server skips what it
    has already.
    """
    call = ConversationServiceStub(client.channel).AddMessage(metadata=client.metadata)
    await call.write(crm_requests.start_reply(conversation_id, key))
    ack = acked(await call.read())
    if ack.status == MESSAGE_STATUS_COMPLETED:
        return ack

    offset = 0  # In bytes of UTF-8.
    async for piece in pieces:
        await call.write(crm_requests.reply_delta(key, offset, piece))
        offset += len(piece.encode())
    await call.write(crm_requests.finish_reply(key, offset))
    await call.done_writing()

    while ack.status != MESSAGE_STATUS_COMPLETED:
        ack = acked(await call.read())
    return ack


async def watch(client: CrmClient, conversation_id: str):
    """Yields the events of a conversation from its first message on, also across lost connections."""
    conversations = ConversationServiceStub(client.channel)
    request = WatchConversationRequest(conversation_id=conversation_id, after_sequence=0, include_deltas=True)
    failures = 0
    while True:
        call = conversations.WatchConversation(request, metadata=client.metadata)
        try:
            async for response in call:
                failures = 0
                # From now on, begin after this event.
                request.resume_token = response.event.resume_token
                yield response.event
        except grpc.aio.AioRpcError as error:
            if not may_retry(error):
                raise
            await asyncio.sleep(delay(error, failures))
            failures += 1
        finally:
            call.cancel()


class Watcher:
    """What someone who looks at a conversation sees of the message in progress."""

    def __init__(self, client: CrmClient, conversation_id: str):
        self.text = ""
        self._events = watch(client, conversation_id)

    async def aclose(self) -> None:
        await self._events.aclose()

    async def sees(self, piece: str) -> None:
        """Waits until the text ends with the piece."""
        while not self.text.endswith(piece):
            self._show(await anext(self._events))

    async def sees_end(self) -> Message:
        """Waits until the message is finished."""
        while True:
            event = await anext(self._events)
            self._show(event)
            if event.WhichOneof("event") == "message_finished":
                return event.message_finished.message

    def _show(self, event: ConversationEvent) -> None:
        # Events of a newer server are None here, and are passed over.
        match event.WhichOneof("event"):
            case "message_started":
                self.text = event.message_started.message.content
            case "message_snapshot":
                self.text = event.message_snapshot.text
            case "message_delta":
                self.text += event.message_delta.text
