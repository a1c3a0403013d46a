// The page: which conversation it shows is in its URL, as node/agent.ts prints it.

import * as connect from "./connect.js";
import * as eventsource from "./eventsource.js";
import { Pane } from "./pane.js";

const address = new URLSearchParams(location.search);
const service = address.get("service") ?? "http://127.0.0.1:50051";
const tenant = address.get("tenant") ?? "";
const conversation = address.get("conversation") ?? "";

const protocol = address.get("protocol") === "gRPC-Web" ? "gRPC-Web" : "Connect";

const about = document.querySelector<HTMLElement>("#about")!;
const form = document.querySelector("form")!;
const input = form.querySelector("input")!;
const button = form.querySelector("button")!;

const conversations = connect.connect(service, tenant, protocol);
document.querySelector("#connect small")!.textContent = protocol;

void connect.about(conversations, conversation).then((text) => (about.textContent = text));
void connect.show(conversations, conversation, new Pane("connect"));
eventsource.show(service, tenant, conversation, new Pane("eventsource"));

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  try {
    await connect.say(conversations, conversation, input.value);
    input.value = "";
  } catch (error) {
    about.textContent = connect.explained(error);
  } finally {
    button.disabled = false;
  }
});
