"""The requests that this example sends, each built in one place."""

import uuid

from crm.v1.add_message_pb2 import AddMessageRequest, MessageDelta, MessageFinish, MessageStart
from crm.v1.conversation_service_pb2 import CreateConversationRequest
from crm.v1.conversations_pb2 import ENTRY_POINT_WEBSITE_WIDGET, Conversation
from crm.v1.customer_service_pb2 import CreateCustomerRequest
from crm.v1.customers_pb2 import Customer
from crm.v1.messages_pb2 import MESSAGE_ROLE_ASSISTANT, Message


def create_customer(business_name: str, email: str) -> CreateCustomerRequest:
    return CreateCustomerRequest(
        customer=Customer(business_name=business_name, email=email),
        request_id=str(uuid.uuid4()),
    )


def create_conversation(customer_id: str) -> CreateConversationRequest:
    return CreateConversationRequest(
        conversation=Conversation(customer_id=customer_id, entry_point=ENTRY_POINT_WEBSITE_WIDGET),
        request_id=str(uuid.uuid4()),
    )


def whole_message(conversation_id: str, key: str, role, content: str) -> AddMessageRequest:
    return AddMessageRequest(
        conversation_id=conversation_id,
        message=Message(message_key=key, role=role, content=content),
    )


def start_reply(conversation_id: str, key: str) -> AddMessageRequest:
    return AddMessageRequest(
        conversation_id=conversation_id,
        start=MessageStart(message_key=key, role=MESSAGE_ROLE_ASSISTANT),
    )


def reply_delta(key: str, offset: int, text: str) -> AddMessageRequest:
    return AddMessageRequest(delta=MessageDelta(message_key=key, offset=offset, text=text))


def finish_reply(key: str, length: int) -> AddMessageRequest:
    return AddMessageRequest(finish=MessageFinish(message_key=key, length=length))
