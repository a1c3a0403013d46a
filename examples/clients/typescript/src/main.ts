// A first call, a conversation, and a reply that is written token by token and watched live.
//
//     npm ci && npm run generate && npm run build && npm start
//
// CRM_URL (http://127.0.0.1:50051) is where the service is, CRM_TENANT a tenant's UUID (a new one), and
// CRM_CREDENTIAL an API key or a token (none).

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";

import { ContextFormat } from "../gen/crm/v1/context_pb.js";
import { ConversationService } from "../gen/crm/v1/conversation_service_pb.js";
import { CustomerService } from "../gen/crm/v1/customer_service_pb.js";
import { MessageRole, MessageStatus } from "../gen/crm/v1/messages_pb.js";
import { connect, reason, retried } from "./client.js";
import * as requests from "./requests.js";
import { addMessages, Watcher, writeReply } from "./streams.js";

const REPLY = ["Oat, ", "almond ", "and soy. ", "Crème ", "fraîche ", "too."];

// firstCall creates a customer, and reads what an AI agent has to know about it.
async function firstCall(transport: Transport): Promise<string> {
  const customers = createClient(CustomerService, transport);

  const request = requests.createCustomer("Café Zoë", "zoe@example.com");
  const { customer } = await retried(() => customers.createCustomer(request));
  assert.ok(customer);
  assert.equal(customer.slug, "cafe-zoe");

  // The same requestId again: the first answer again, and no second customer.
  const again = await retried(() => customers.createCustomer(request));
  assert.equal(again.customer?.id, customer.id);

  const context = await retried(() =>
    customers.getAiContext({ customerId: customer.id, maxTokens: 1500, format: ContextFormat.MARKDOWN }),
  );
  assert.match(context.markdown, /Café Zoë/);
  assert.ok(context.tokenCount > 0 && context.tokenCount <= 1500);

  await assert.rejects(
    () => retried(() => customers.getCustomer({ id: randomUUID() })),
    (error) => {
      assert.equal(ConnectError.from(error).code, Code.NotFound);
      assert.equal(reason(error), "CUSTOMER_NOT_FOUND");
      return true;
    },
  );
  return customer.id;
}

// conversation begins a conversation, and adds two messages over one stream.
async function conversation(transport: Transport, customerId: string): Promise<string> {
  const conversations = createClient(ConversationService, transport);

  const request = requests.createConversation(customerId);
  const { conversation } = await retried(() => conversations.createConversation(request));
  assert.ok(conversation);

  const acks = await addMessages(transport, [
    requests.wholeMessage(conversation.id, "1", MessageRole.USER, "Do you have oat milk?"),
    requests.wholeMessage(conversation.id, "2", MessageRole.ASSISTANT, "We do."),
    // A message that is sent again is acked again, and not added again.
    requests.wholeMessage(conversation.id, "2", MessageRole.ASSISTANT, "We do."),
  ]);
  assert.deepEqual(
    acks.map((ack) => [Number(ack.sequence), ack.deduplicated]),
    [[1, false], [2, false], [2, true]],
  );

  const { messages } = await retried(() => conversations.listMessages({ conversationId: conversation.id }));
  assert.deepEqual(messages.map((message) => message.content), ["Do you have oat milk?", "We do."]);
  return conversation.id;
}

// watchedReply writes a reply as a model does, while a watcher sees each piece.
async function watchedReply(transport: Transport, conversationId: string): Promise<void> {
  const watcher = new Watcher(transport, conversationId);
  try {
    async function* model() {
      for (const piece of REPLY) {
        yield piece;
        await watcher.sees(piece);
      }
    }
    const ack = await writeReply(transport, conversationId, "3", model());
    assert.equal(ack.status, MessageStatus.COMPLETED);
    assert.equal(Number(ack.sequence), 3);

    const finished = await watcher.seesEnd();
    assert.equal(finished.id, ack.messageId);
    assert.equal(finished.content, REPLY.join(""));
    assert.equal(watcher.text, finished.content);
  } finally {
    await watcher.close();
  }
}

const tenantId = process.env.CRM_TENANT ?? randomUUID();
const transport = connect(process.env.CRM_URL ?? "http://127.0.0.1:50051", tenantId, process.env.CRM_CREDENTIAL);
const customerId = await firstCall(transport);
const conversationId = await conversation(transport, customerId);
await watchedReply(transport, conversationId);
console.log(`tenant ${tenantId}: customer ${customerId}, conversation ${conversationId}, 3 messages`);
