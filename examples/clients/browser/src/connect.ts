// The pane of connect-es: calls and a watch through @connectrpc/connect-web.

import { timestampDate } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";

import { ConversationService } from "../gen/crm/v1/conversation_service_pb.js";
import { MessageRole, MessageStatus, type Message } from "../gen/crm/v1/messages_pb.js";
import type { ConversationEvent } from "../gen/crm/v1/watch_pb.js";
import { type Conversations, ofTenant, reason, retried, watch } from "./calls.js";
import type { Pane } from "./pane.js";

// Connect is what a page speaks best: its errors can be read in the browser's tools, and what only reads is a GET.
export type Protocol = "Connect" | "gRPC-Web";

export function connect(service: string, tenant: string, protocol: Protocol): Conversations {
  const options = { baseUrl: service, interceptors: [ofTenant(tenant)], defaultTimeoutMs: 10_000 };
  const transport =
    protocol === "Connect"
      ? createConnectTransport({ ...options, useHttpGet: true })
      : createGrpcWebTransport(options);
  return createClient(ConversationService, transport);
}

// about says which conversation it is, or why it cannot be shown.
export async function about(conversations: Conversations, id: string): Promise<string> {
  try {
    const { conversation } = await retried(() => conversations.getConversation({ id }));
    const begun = conversation?.startTime && timestampDate(conversation.startTime).toLocaleString();
    return `Conversation ${id}, begun ${begun}`;
  } catch (error) {
    return explained(error);
  }
}

// show shows a conversation for as long as the page is open.
export async function show(conversations: Conversations, id: string, pane: Pane): Promise<void> {
  try {
    const connected = (whether: boolean) => pane.says(whether ? "watching" : "connecting");
    for await (const event of watch(conversations, id, connected)) {
      tell(pane, event);
    }
  } catch (error) {
    pane.says(explained(error));
  }
}

// say adds a message of the user. The same key with each attempt: the message is added once.
export async function say(conversations: Conversations, conversationId: string, content: string): Promise<void> {
  const message = { messageKey: crypto.randomUUID(), role: MessageRole.USER, content };
  await retried(() => conversations.createMessage({ conversationId, message }));
}

// explained is an error in words.
export function explained(error: unknown): string {
  return `${reason(error)} ${ConnectError.from(error).rawMessage}`.trim();
}

function tell(pane: Pane, { event }: ConversationEvent): void {
  switch (event.case) {
    case "messageAdded":
    case "messageStarted":
    case "messageFinished":
    case "messageAborted":
      if (event.value.message) {
        pane.message(shown(event.value.message));
      }
      break;
    case "messageSnapshot":
      pane.replace(event.value.sequence, event.value.text);
      break;
    case "messageDelta":
      pane.append(event.value.sequence, event.value.text);
      break;
    default: // The other events; one of a newer server has the case undefined.
  }
}

function shown({ sequence, role, status, content }: Message) {
  return { sequence, role: word(MessageRole[role]), status: word(MessageStatus[status]), text: content };
}

// An enum may have a value that only a newer server knows.
function word(name: string | undefined): string {
  return name?.toLowerCase() ?? "";
}
