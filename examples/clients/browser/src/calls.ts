// What each caller needs, in a browser and in Node: the tenant, when to call again, and a watch that goes on.

import { create } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError, type Interceptor } from "@connectrpc/connect";

import type { ConversationService } from "../gen/crm/v1/conversation_service_pb.js";
import { type ConversationEvent, WatchConversationRequestSchema } from "../gen/crm/v1/watch_pb.js";
import { ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import { Silence } from "./silence.js";

// About ten seconds.
const ATTEMPTS = 15;

export type Conversations = Client<typeof ConversationService>;

// Where the service runs with `--auth`, `authorization` is set here as well.
export function ofTenant(tenant: string): Interceptor {
  return (next) => (request) => {
    request.header.set("x-tenant-id", tenant);
    return next(request);
  };
}

// reason is the reason of an error, e.g. CUSTOMER_NOT_FOUND, or "" if the service did not send the error.
export function reason(error: unknown): string {
  return ConnectError.from(error).findDetails(ErrorInfoSchema)[0]?.reason ?? "";
}

// mayRetry is whether the same request may be sent again unchanged.
export function mayRetry(error: unknown): boolean {
  if (!(error instanceof ConnectError)) {
    return false;
  }
  const why = reason(error);
  if (why === "") {
    return true; // The service did not send it: the connection broke, with whatever code.
  }
  switch (error.code) {
    case Code.Unavailable:
    case Code.DeadlineExceeded:
      return true;
    case Code.ResourceExhausted:
      return retryDelay(error) !== undefined;
    case Code.Aborted:
      return why === "CONFLICT";
    default:
      return false;
  }
}

// pause waits before the next attempt: as long as the service says, or longer each time.
export async function pause(attempt: number, error?: unknown): Promise<void> {
  const backoff = Math.min(1000, 50 * 2 ** attempt) * (0.5 + 0.5 * Math.random());
  await new Promise((done) => setTimeout(done, retryDelay(error) ?? backoff));
}

function retryDelay(error: unknown): number | undefined {
  const retry = ConnectError.from(error).findDetails(RetryInfoSchema)[0]?.retryDelay;
  return retry && durationMs(retry);
}

// retried makes a call, and makes it again where that may help. What changes something needs a key: each attempt sends
// the same one.
export async function retried<T>(call: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await call();
    } catch (error) {
      if (attempt + 1 === ATTEMPTS || !mayRetry(error)) {
        throw error;
      }
      await pause(attempt, error);
    }
  }
}

// watch yields the events of a conversation from its first message on, also across lost connections. It says whether
// there is one.
export async function* watch(
  conversations: Conversations,
  conversationId: string,
  connected: (whether: boolean) => void = () => {},
): AsyncGenerator<ConversationEvent> {
  const request = create(WatchConversationRequestSchema, {
    conversationId,
    start: { case: "afterSequence", value: 0 },
    includeDeltas: true,
  });
  for (let failures = 0; ; failures++) {
    const stop = new AbortController();
    const silence = new Silence(() => stop.abort());
    let failure: unknown;
    try {
      const options = { timeoutMs: 0, signal: stop.signal, onHeader: () => connected(true) };
      for await (const { event } of conversations.watchConversation(request, options)) {
        silence.broken();
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
      failure = error;
    } finally {
      // To leave a loop over a stream does not end the stream: that takes the signal.
      stop.abort();
      silence.end();
    }
    connected(false);
    await pause(failures, failure);
  }
}
