"""A first call, a conversation, and a reply that is written token by token and watched live.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    PYTHON=venv/bin/python ./generate
    PYTHONPATH=gen venv/bin/python main.py

CRM_ADDRESS (127.0.0.1:50051) is where the service is, CRM_TENANT a tenant's UUID (a new one), and
CRM_CREDENTIAL an API key or a token (none).
"""

import asyncio
import os
import uuid
from contextlib import aclosing

import grpc
from crm.v1.context_pb2 import CONTEXT_FORMAT_MARKDOWN, GetAiContextRequest
from crm.v1.conversation_service_pb2 import ListMessagesRequest
from crm.v1.conversation_service_pb2_grpc import ConversationServiceStub
from crm.v1.customer_service_pb2 import GetCustomerRequest
from crm.v1.customer_service_pb2_grpc import CustomerServiceStub
from crm.v1.messages_pb2 import MESSAGE_ROLE_ASSISTANT, MESSAGE_ROLE_USER, MESSAGE_STATUS_COMPLETED

import crm_requests
from crm_client import CrmClient, reason
from crm_streams import Watcher, add_messages, write_reply

REPLY = ["Oat, ", "almond ", "and soy. ", "Crème ", "fraîche ", "too."]


async def first_call(client: CrmClient) -> str:
    """Creates a customer, and reads what an AI agent has to know about it."""
    customers = CustomerServiceStub(client.channel)

    request = crm_requests.create_customer("Café Zoë", "zoe@example.com")
    customer = (await client.call(customers.CreateCustomer, request)).customer
    assert customer.slug == "cafe-zoe", customer

    # The same request_id again: the first answer again, and no second customer.
    again = (await client.call(customers.CreateCustomer, request)).customer
    assert again.id == customer.id, again

    context = await client.call(
        customers.GetAiContext,
        GetAiContextRequest(customer_id=customer.id, max_tokens=1500, format=CONTEXT_FORMAT_MARKDOWN),
    )
    assert "Café Zoë" in context.markdown, context
    assert 0 < context.token_count <= 1500, context

    try:
        await client.call(customers.GetCustomer, GetCustomerRequest(id=str(uuid.uuid4())))
        raise AssertionError("a customer that does not exist was found")
    except grpc.aio.AioRpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        assert reason(error) == "CUSTOMER_NOT_FOUND", error
    return customer.id


async def conversation(client: CrmClient, customer_id: str) -> str:
    """Begins a conversation, and adds two messages over one stream."""
    conversations = ConversationServiceStub(client.channel)

    request = crm_requests.create_conversation(customer_id)
    conversation_id = (await client.call(conversations.CreateConversation, request)).conversation.id

    acks = await add_messages(
        client,
        [
            crm_requests.whole_message(conversation_id, "1", MESSAGE_ROLE_USER, "Do you have oat milk?"),
            crm_requests.whole_message(conversation_id, "2", MESSAGE_ROLE_ASSISTANT, "We do."),
            # A message that is sent again is acked again, and not added again.
            crm_requests.whole_message(conversation_id, "2", MESSAGE_ROLE_ASSISTANT, "We do."),
        ],
    )
    assert [(ack.sequence, ack.deduplicated) for ack in acks] == [(1, False), (2, False), (2, True)], acks

    listed = await client.call(conversations.ListMessages, ListMessagesRequest(conversation_id=conversation_id))
    assert [message.content for message in listed.messages] == ["Do you have oat milk?", "We do."], listed
    return conversation_id


async def watched_reply(client: CrmClient, conversation_id: str) -> None:
    """Writes a reply as a model does, while a watcher sees each piece."""
    async with aclosing(Watcher(client, conversation_id)) as watcher:

        async def model():
            for piece in REPLY:
                yield piece
                await watcher.sees(piece)

        ack = await write_reply(client, conversation_id, "3", model())
        assert ack.status == MESSAGE_STATUS_COMPLETED and ack.sequence == 3, ack

        finished = await watcher.sees_end()
        assert finished.content == watcher.text == "".join(REPLY), finished
        assert finished.id == ack.message_id, finished


async def main() -> None:
    address = os.environ.get("CRM_ADDRESS", "127.0.0.1:50051")
    tenant_id = os.environ.get("CRM_TENANT", str(uuid.uuid4()))
    async with CrmClient(address, tenant_id, os.environ.get("CRM_CREDENTIAL", "")) as client:
        customer_id = await first_call(client)
        conversation_id = await conversation(client, customer_id)
        await watched_reply(client, conversation_id)
    print(f"tenant {tenant_id}: customer {customer_id}, conversation {conversation_id}, 3 messages")


asyncio.run(main())
