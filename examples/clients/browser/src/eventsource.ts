// The pane of EventSource: what a browser has without any library.

import type { Pane } from "./pane.js";
import { Silence } from "./silence.js";

// Longest wait before the next attempt, in milliseconds.
const PATIENCE = 10_000;

// show shows a conversation for as long as the page is open.
//
// After a lost connection the browser comes back by itself, and sends the id of the last event, which is the resume token.
// It gives up where it is answered with something else than events, such as 429. Then this begins anew from that token.
export function show(service: string, tenant: string, conversation: string, pane: Pane): void {
  let resumeToken = "";
  let failures = 0;

  function open(): void {
    const source = new EventSource(address(service, tenant, conversation, resumeToken));
    const silence = new Silence(again);

    source.onopen = () => pane.says("watching");
    source.onmessage = ({ data, lastEventId }) => {
      silence.broken();
      failures = 0;
      resumeToken = lastEventId;
      tell(pane, JSON.parse(data).event);
    };
    source.onerror = () => {
      pane.says("connecting");
      if (source.readyState === EventSource.CLOSED) {
        again();
      }
    };

    function again(): void {
      source.close();
      silence.end();
      pane.says("connecting");
      setTimeout(open, Math.min(PATIENCE, 500 * 2 ** failures++));
    }
  }
  open();
}

// An EventSource cannot send headers, so the tenant is in the URL. A credential may not be there.
function address(service: string, tenant: string, conversation: string, resumeToken: string): URL {
  const url = new URL(`/api/v1/conversations/${conversation}/events`, service);
  url.searchParams.set("x-tenant-id", tenant);
  url.searchParams.set("include_deltas", "true");
  if (resumeToken) {
    url.searchParams.set("resume_token", resumeToken);
  } else {
    url.searchParams.set("after_sequence", "0");
  }
  return url;
}

// The JSON of an event, as far as it is shown. An event has one of these.
interface Event {
  message_added?: { message: Message };
  message_started?: { message: Message };
  message_finished?: { message: Message };
  message_aborted?: { message: Message };
  message_snapshot?: Text;
  message_delta?: Text;
}

interface Message {
  sequence: number;
  role: string;
  status: string;
  content: string;
}

interface Text {
  sequence: number;
  text: string;
}

function tell(pane: Pane, event: Event): void {
  const whole = event.message_added ?? event.message_started ?? event.message_finished ?? event.message_aborted;
  if (whole) {
    pane.message(shown(whole.message));
  } else if (event.message_snapshot) {
    pane.replace(event.message_snapshot.sequence, event.message_snapshot.text);
  } else if (event.message_delta) {
    pane.append(event.message_delta.sequence, event.message_delta.text);
  }
}

function shown({ sequence, role, status, content }: Message) {
  return { sequence, role: word("MESSAGE_ROLE_", role), status: word("MESSAGE_STATUS_", status), text: content };
}

// word is a word of an enum, as MESSAGE_ROLE_USER, without its prefix: user.
function word(prefix: string, name: string): string {
  return name.replace(prefix, "").toLowerCase();
}
