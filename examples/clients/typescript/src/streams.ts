// The two streams, each with what it takes to go on after a lost connection.

import { setTimeout as sleep } from "node:timers/promises";

import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";

import type { AddMessageRequest, AddMessageResponse, MessageAck } from "../gen/crm/v1/add_message_pb.js";
import { ConversationService } from "../gen/crm/v1/conversation_service_pb.js";
import { type Message, MessageStatus } from "../gen/crm/v1/messages_pb.js";
import type { ConversationEvent } from "../gen/crm/v1/watch_pb.js";
import { delay, mayRetry, NO_DEADLINE } from "./client.js";
import * as requests from "./requests.js";

// acked is the ack of an answer of AddMessage.
function acked({ result }: AddMessageResponse): MessageAck {
  switch (result.case) {
    case "ack":
      return result.value;
    case "error":
      throw new Error(`${result.value.messageKey}: ${result.value.status?.message}`);
    default:
      throw streamBroke();
  }
}

// streamBroke says that the stream ended before all was acked. Sending the same again is safe.
function streamBroke(): ConnectError {
  return new ConnectError("the stream ended before all was acked", Code.Unavailable);
}

// addMessages adds whole messages over one stream. Each ack means that its message is committed.
export async function addMessages(transport: Transport, messages: AddMessageRequest[]): Promise<MessageAck[]> {
  async function* commands() {
    yield* messages;
  }
  const acks = [];
  for await (const answer of createClient(ConversationService, transport).addMessage(commands(), NO_DEADLINE)) {
    acks.push(acked(answer));
  }
  if (acks.length < messages.length) {
    throw streamBroke();
  }
  return acks;
}

// writeReply writes a message piece by piece, and returns the ack of its end.
//
// After a lost connection, call it again with the same key and the same text: the server skips what it has
// already.
export async function writeReply(
  transport: Transport,
  conversationId: string,
  key: string,
  pieces: AsyncIterable<string>,
): Promise<MessageAck> {
  async function* commands() {
    yield requests.startReply(conversationId, key);
    let offset = 0; // In bytes of UTF-8.
    for await (const piece of pieces) {
      yield requests.replyDelta(key, offset, piece);
      offset += Buffer.byteLength(piece);
    }
    yield requests.finishReply(key, offset);
  }
  const stop = new AbortController();
  const options = { ...NO_DEADLINE, signal: stop.signal };
  try {
    for await (const answer of createClient(ConversationService, transport).addMessage(commands(), options)) {
      const ack = acked(answer);
      if (ack.status === MessageStatus.COMPLETED) {
        return ack;
      }
    }
    throw streamBroke();
  } finally {
    stop.abort();
  }
}

// watch yields the events of a conversation from its first message on, also across lost connections.
//
// To leave a loop over a stream does not end the stream: that takes the signal.
export async function* watch(transport: Transport, conversationId: string): AsyncGenerator<ConversationEvent> {
  const conversations = createClient(ConversationService, transport);
  const request = requests.watchFromTheFirst(conversationId);
  for (let failures = 0; ; failures++) {
    const stop = new AbortController();
    try {
      for await (const { event } of conversations.watchConversation(request, { ...NO_DEADLINE, signal: stop.signal })) {
        if (event) {
          failures = 0;
          // From now on, begin after this event.
          request.start = { case: "resumeToken", value: event.resumeToken };
          yield event;
        }
      }
    } catch (error) {
      if (!mayRetry(error)) {
        throw error;
      }
      await sleep(delay(error, failures));
    } finally {
      stop.abort();
    }
  }
}

// Watcher is what someone who looks at a conversation sees of the message in progress.
export class Watcher {
  text = "";
  readonly #events: AsyncGenerator<ConversationEvent>;

  constructor(transport: Transport, conversationId: string) {
    this.#events = watch(transport, conversationId);
  }

  async close(): Promise<void> {
    await this.#events.return(undefined);
  }

  // sees waits until the text ends with the piece.
  async sees(piece: string): Promise<void> {
    while (!this.text.endsWith(piece)) {
      this.#show(await this.#next());
    }
  }

  // seesEnd waits until the message is finished.
  async seesEnd(): Promise<Message> {
    for (;;) {
      const { event } = await this.#next();
      if (event.case === "messageFinished" && event.value.message) {
        return event.value.message;
      }
    }
  }

  async #next(): Promise<ConversationEvent> {
    const { value } = await this.#events.next();
    return value;
  }

  #show({ event }: ConversationEvent): void {
    switch (event.case) {
      case "messageStarted":
        this.text = event.value.message?.content ?? "";
        break;
      case "messageSnapshot":
        this.text = event.value.text;
        break;
      case "messageDelta":
        this.text += event.value.text;
        break;
      default: // The other events; one of a newer server has the case undefined.
    }
  }
}
