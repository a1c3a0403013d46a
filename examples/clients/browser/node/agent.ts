// The other side of the conversation: begins one, and answers what the page sends, as an AI agent does.
//
//     npm run build && npm run agent
//
// CRM_URL (http://127.0.0.1:50051) is where the service is, CRM_TENANT a tenant's UUID (a new one), and PAGE
// (http://127.0.0.1:8000) where the page is.

import { randomUUID } from "node:crypto";

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { type AddMessageRequest, AddMessageRequestSchema, type MessageAck } from "../gen/crm/v1/add_message_pb.js";
import { ConversationService } from "../gen/crm/v1/conversation_service_pb.js";
import { EntryPoint } from "../gen/crm/v1/conversations_pb.js";
import { CustomerService } from "../gen/crm/v1/customer_service_pb.js";
import { MessageRole, MessageStatus } from "../gen/crm/v1/messages_pb.js";
import { type Conversations, ofTenant, retried, watch } from "../src/calls.js";
import { Reply } from "./reply.js";

// Whoever writes a message holds it. The same producer goes on at once after a lost connection.
const producerId = randomUUID();

// begin begins a conversation with a new customer.
async function begin(): Promise<string> {
  const customers = createClient(CustomerService, transport);
  const first = { customer: { businessName: "Café Zoë" }, requestId: randomUUID() };
  const { customer } = await retried(() => customers.createCustomer(first));
  const second = {
    conversation: { customerId: customer!.id, entryPoint: EntryPoint.WEBSITE_WIDGET },
    requestId: randomUUID(),
  };
  const { conversation } = await retried(() => conversations.createConversation(second));
  return conversation!.id;
}

// write writes a reply over one stream. After a lost connection, call it again: the service skips what it has already.
async function write(conversationId: string, messageKey: string, reply: Reply): Promise<MessageAck> {
  async function* commands(): AsyncGenerator<AddMessageRequest> {
    yield command(conversationId, { case: "start", value: { messageKey, role: MessageRole.ASSISTANT, producerId } });
    let offset = 0; // In bytes of UTF-8.
    for await (const text of reply.again()) {
      yield command(conversationId, { case: "delta", value: { messageKey, offset, text } });
      offset += Buffer.byteLength(text);
    }
    yield command(conversationId, { case: "finish", value: { messageKey, length: offset } });
  }
  const stop = new AbortController();
  try {
    for await (const { result } of conversations.addMessage(commands(), { timeoutMs: 0, signal: stop.signal })) {
      if (result.case === "error") {
        throw new Error(`${result.value.messageKey}: ${result.value.status?.message}`);
      }
      if (result.case === "ack" && result.value.status === MessageStatus.COMPLETED) {
        return result.value;
      }
    }
    throw new ConnectError("the stream ended before all was acked", Code.Unavailable);
  } finally {
    stop.abort();
  }
}

function command(
  conversationId: string,
  what: MessageInitShape<typeof AddMessageRequestSchema>["command"] & object,
): AddMessageRequest {
  return create(AddMessageRequestSchema, { conversationId, command: what });
}

// answer answers each message of the user.
async function answer(conversationId: string): Promise<never> {
  for await (const { event } of watch(conversations, conversationId)) {
    const message = event.case === "messageAdded" ? event.value.message : undefined;
    if (message?.role === MessageRole.USER) {
      const reply = new Reply();
      const ack = await retried(() => write(conversationId, `answer to ${message.id}`, reply));
      console.log(`answered: ${reply.pieces.length} pieces, ${ack.durableOffset} bytes`);
    }
  }
  throw new Error("a watch never ends by itself");
}

const service = process.env.CRM_URL ?? "http://127.0.0.1:50051";
const tenant = process.env.CRM_TENANT ?? randomUUID();
const transport = createGrpcTransport({
  baseUrl: service,
  interceptors: [ofTenant(tenant)],
  defaultTimeoutMs: 10_000,
  pingIntervalMs: 30_000,
  pingTimeoutMs: 10_000,
});
const conversations: Conversations = createClient(ConversationService, transport);
const conversation = await begin();
const address = new URLSearchParams({ service, tenant, conversation });
console.log(`${process.env.PAGE ?? "http://127.0.0.1:8000"}/?${address}`);
await answer(conversation);
