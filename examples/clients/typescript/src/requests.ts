// The requests that this example sends, each built in one place.

import { randomUUID } from "node:crypto";

import { create } from "@bufbuild/protobuf";

import { type AddMessageRequest, AddMessageRequestSchema } from "../gen/crm/v1/add_message_pb.js";
import {
  type CreateConversationRequest,
  CreateConversationRequestSchema,
} from "../gen/crm/v1/conversation_service_pb.js";
import { EntryPoint } from "../gen/crm/v1/conversations_pb.js";
import { type CreateCustomerRequest, CreateCustomerRequestSchema } from "../gen/crm/v1/customer_service_pb.js";
import { MessageRole } from "../gen/crm/v1/messages_pb.js";
import { type WatchConversationRequest, WatchConversationRequestSchema } from "../gen/crm/v1/watch_pb.js";

export function createCustomer(businessName: string, email: string): CreateCustomerRequest {
  return create(CreateCustomerRequestSchema, {
    customer: { businessName, email },
    requestId: randomUUID(),
  });
}

export function createConversation(customerId: string): CreateConversationRequest {
  return create(CreateConversationRequestSchema, {
    conversation: { customerId, entryPoint: EntryPoint.WEBSITE_WIDGET },
    requestId: randomUUID(),
  });
}

export function wholeMessage(
  conversationId: string,
  messageKey: string,
  role: MessageRole,
  content: string,
): AddMessageRequest {
  return create(AddMessageRequestSchema, {
    conversationId,
    command: { case: "message", value: { messageKey, role, content } },
  });
}

export function startReply(conversationId: string, messageKey: string): AddMessageRequest {
  return create(AddMessageRequestSchema, {
    conversationId,
    command: { case: "start", value: { messageKey, role: MessageRole.ASSISTANT } },
  });
}

export function replyDelta(messageKey: string, offset: number, text: string): AddMessageRequest {
  return create(AddMessageRequestSchema, {
    command: { case: "delta", value: { messageKey, offset, text } },
  });
}

export function finishReply(messageKey: string, length: number): AddMessageRequest {
  return create(AddMessageRequestSchema, {
    command: { case: "finish", value: { messageKey, length } },
  });
}

export function watchFromTheFirst(conversationId: string): WatchConversationRequest {
  return create(WatchConversationRequestSchema, {
    conversationId,
    start: { case: "afterSequence", value: 0 },
    includeDeltas: true,
  });
}
