// Calls the service through every transport of connect-es for Node: an answer, errors with their details, and a watch
// that sees each piece of a reply before the next one is written.
//
//     CRM_URL=http://127.0.0.1:50051 node dist/test/transports.js

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";

import { AddMessageRequestSchema } from "../gen/crm/v1/add_message_pb.js";
import { ConversationService } from "../gen/crm/v1/conversation_service_pb.js";
import { CustomerService } from "../gen/crm/v1/customer_service_pb.js";
import { MessageRole, MessageStatus } from "../gen/crm/v1/messages_pb.js";
import { BadRequestSchema } from "../gen/google/rpc/error_details_pb.js";
import { type Conversations, ofTenant, reason, watch } from "../src/calls.js";

const PIECES = ["Oat, ", "almond ", "and soy. ", "Crème ", "fraîche 🌱 ", "too."];

const baseUrl = process.env.CRM_URL ?? "http://127.0.0.1:50051";
const to = { baseUrl, interceptors: [ofTenant(randomUUID())], defaultTimeoutMs: 10_000 };
const one = { ...to, httpVersion: "1.1" } as const;
const two = { ...to, httpVersion: "2" } as const;

// The service has gRPC over HTTP/2 only.
const TRANSPORTS: Record<string, Transport> = {
  "Connect, HTTP/1.1": createConnectTransport(one),
  "Connect, HTTP/1.1, JSON, GET": createConnectTransport({ ...one, useBinaryFormat: false, useHttpGet: true }),
  "Connect, HTTP/2": createConnectTransport(two),
  "Connect, HTTP/2, JSON, GET": createConnectTransport({ ...two, useBinaryFormat: false, useHttpGet: true }),
  "gRPC-Web, HTTP/1.1": createGrpcWebTransport(one),
  "gRPC-Web, HTTP/2": createGrpcWebTransport(two),
  "gRPC, HTTP/2": createGrpcTransport(to),
};

async function answers(transport: Transport): Promise<string> {
  const customers = createClient(CustomerService, transport);
  const { customer } = await customers.createCustomer({ customer: { businessName: "Café Zoë" }, requestId: randomUUID() });
  assert.ok(customer);
  const read = await customers.getCustomer({ id: customer.id });
  assert.equal(read.customer?.businessName, "Café Zoë");
  assert.deepEqual(read.customer.createTime, customer.createTime);
  return customer.id;
}

async function errors(transport: Transport): Promise<void> {
  const customers = createClient(CustomerService, transport);
  await assert.rejects(customers.getCustomer({ id: randomUUID() }), (error) => {
    assert.equal(ConnectError.from(error).code, Code.NotFound);
    assert.equal(reason(error), "CUSTOMER_NOT_FOUND");
    return true;
  });
  await assert.rejects(customers.createCustomer({ customer: { businessName: "x", email: "no address" } }), (error) => {
    assert.equal(ConnectError.from(error).code, Code.InvalidArgument);
    assert.equal(reason(error), "FIELD_INVALID");
    const [details] = ConnectError.from(error).findDetails(BadRequestSchema);
    assert.deepEqual(details?.fieldViolations.map(({ field }) => field), ["customer.email"]);
    return true;
  });
  // The error of a stream, which has begun by then.
  await assert.rejects(watch(createClient(ConversationService, transport), randomUUID()).next(), (error) => {
    assert.equal(ConnectError.from(error).code, Code.NotFound);
    assert.equal(reason(error), "CONVERSATION_NOT_FOUND");
    return true;
  });
}

async function watchedReply(transport: Transport, customerId: string): Promise<void> {
  const conversations = createClient(ConversationService, transport);
  const { conversation } = await conversations.createConversation({ conversation: { customerId } });
  assert.ok(conversation);
  const reader = new Reader(conversations, conversation.id);
  try {
    await write(conversations, conversation.id, reader);
    assert.equal(await reader.end(), PIECES.join(""));
    assert.equal(reader.text, PIECES.join(""));
  } finally {
    await reader.close();
  }
}

// write writes a reply, and each piece only after the reader has seen the one before.
async function write(conversations: Conversations, conversationId: string, reader: Reader): Promise<void> {
  const messageKey = "reply";
  async function* commands() {
    const start = { messageKey, role: MessageRole.ASSISTANT };
    yield create(AddMessageRequestSchema, { conversationId, command: { case: "start", value: start } });
    let offset = 0;
    for (const text of PIECES) {
      yield create(AddMessageRequestSchema, { command: { case: "delta", value: { messageKey, offset, text } } });
      await reader.sees(text);
      offset += Buffer.byteLength(text);
    }
    yield create(AddMessageRequestSchema, { command: { case: "finish", value: { messageKey, length: offset } } });
  }
  let last = MessageStatus.UNSPECIFIED;
  for await (const { result } of conversations.addMessage(commands())) {
    assert.equal(result.case, "ack");
    last = result.case === "ack" ? result.value.status : last;
  }
  assert.equal(last, MessageStatus.COMPLETED);
}

class Reader {
  text = "";
  readonly #events;

  constructor(conversations: Conversations, conversationId: string) {
    this.#events = watch(conversations, conversationId);
  }

  async sees(piece: string): Promise<void> {
    while (!this.text.endsWith(piece)) {
      await this.#next();
    }
  }

  // end waits for the end of the message, and returns its text.
  async end(): Promise<string | undefined> {
    for (;;) {
      const event = await this.#next();
      if (event.case === "messageFinished") {
        return event.value.message?.content;
      }
    }
  }

  async close(): Promise<void> {
    await this.#events.return(undefined);
  }

  async #next() {
    const { value } = await this.#events.next();
    const { event } = value;
    if (event.case === "messageStarted") {
      // The text so far, where some was stored before the watch began.
      this.text = event.value.message?.content ?? "";
    } else if (event.case === "messageSnapshot") {
      this.text = event.value.text;
    } else if (event.case === "messageDelta") {
      this.text += event.value.text;
    }
    return event;
  }
}

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  const customerId = await answers(transport);
  await errors(transport);
  await watchedReply(transport, customerId);
  console.log(`${name}: an answer, errors with their details, a reply written and watched`);
}
