// What each call needs: an address, a tenant, a credential, a deadline, and retries.

import { setTimeout as sleep } from "node:timers/promises";

import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.js";

// A unary call ends after this time, in milliseconds. A stream stays open: pass it as the call's options.
const DEADLINE = 10_000;
export const NO_DEADLINE = { timeoutMs: 0 };

const ATTEMPTS = 15;

// connect makes the connection for one tenant.
export function connect(baseUrl: string, tenantId: string, credential?: string): Transport {
  const metadata: Interceptor = (next) => (request) => {
    request.header.set("x-tenant-id", tenantId);
    if (credential) {
      request.header.set("authorization", `Bearer ${credential}`);
    }
    return next(request);
  };
  return createGrpcTransport({
    baseUrl,
    interceptors: [metadata],
    defaultTimeoutMs: DEADLINE,
    // The server may be lost without a word. With these, the client notices it within 40 seconds.
    pingIntervalMs: 30_000,
    pingTimeoutMs: 10_000,
  });
}

// retried makes a unary call, and makes it again where that is safe and may help. A request that changes
// something needs a `requestId`: each attempt sends the same one.
export async function retried<T>(call: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await call();
    } catch (error) {
      if (attempt + 1 === ATTEMPTS || !mayRetry(error)) {
        throw error;
      }
      await sleep(delay(error, attempt));
    }
  }
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

// delay is how long to wait before the next attempt, in milliseconds.
export function delay(error: unknown, attempt: number): number {
  const backoff = Math.min(1000, 50 * 2 ** attempt) * (0.5 + 0.5 * Math.random());
  return retryDelay(error) ?? backoff;
}

function retryDelay(error: unknown): number | undefined {
  const retry = ConnectError.from(error).findDetails(RetryInfoSchema)[0]?.retryDelay;
  return retry && durationMs(retry);
}
