// Opens the page in Chromium and looks at what it shows:
//
// - a reply that is written while the service is killed and started again, in both panes;
// - the same by gRPC-Web, without an accident;
// - why it shows nothing, where there is no such conversation, or where its origin may not call.
//
//     node dist/test/page.js URL CHROMIUM DIRECTORY
//
// URL is what node/agent.ts printed, and screenshots go into the directory. Whoever starts this is asked on standard output
// to `kill the service` and to `start the service`, and says `done` on standard input.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";

import puppeteer, { type Page } from "puppeteer-core";

import { Reply } from "../node/reply.js";

const PANES = ["connect", "eventsource"] as const;
const QUESTION = "Do you have oat milk?";
const { text: REPLY, pieces: PIECES } = new Reply();

// Each text of a reply that stood in a pane, in the order in which it stood there.
type Seen = Record<string, string[]>;

const [url = "", executablePath = "", directory = "."] = process.argv.slice(2);
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// ask has something done by whoever started this.
async function ask(what: string): Promise<void> {
  console.log(what);
  assert.equal((await answers.next()).value, "done");
}

// record remembers from now on what the panes show of replies.
async function record(page: Page): Promise<void> {
  await page.evaluate((panes) => {
    const seen: Seen = Object.fromEntries(panes.map((pane) => [pane, []]));
    for (const pane of panes) {
      const look = () => {
        const reply = document.querySelector(`#${pane} [data-role=assistant]`);
        if (reply) {
          seen[pane]?.push(reply.textContent);
        }
      };
      const everything = { subtree: true, childList: true, characterData: true };
      new MutationObserver(look).observe(document.querySelector(`#${pane}`)!, everything);
    }
    Object.assign(window, { seen });
  }, PANES);
}

function seen(page: Page): Promise<Seen> {
  return page.evaluate(() => (window as unknown as { seen: Seen }).seen);
}

// inBoth waits until an element is in both panes.
async function inBoth(page: Page, selector: string, milliseconds = 20_000): Promise<void> {
  await Promise.all(PANES.map((pane) => page.waitForSelector(`#${pane} ${selector}`, { timeout: milliseconds })));
}

// haveWritten waits until both panes show so much of the reply.
async function haveWritten(page: Page, length: number): Promise<void> {
  const enough = (panes: readonly string[], length: number) =>
    panes.every((pane) => {
      const reply = document.querySelector(`#${pane} [data-role=assistant]`);
      return reply !== null && reply.textContent.length >= length;
    });
  await page.waitForFunction(enough, { timeout: 20_000 }, PANES, length);
}

// shows holds the messages that each pane shows against these.
async function shows(page: Page, messages: string[]): Promise<void> {
  for (const pane of PANES) {
    assert.deepEqual(await page.$$eval(`#${pane} article`, (all) => all.map((one) => one.textContent)), messages);
  }
}

async function send(page: Page, text: string): Promise<void> {
  await page.type("input", text);
  await page.click("button");
}

// checkPane holds what a pane has shown against the reply: at all times its beginning, and in the end all of it.
function checkPane(pane: string, before: string[], after: string[]): void {
  for (const text of [...before, ...after]) {
    assert.ok(REPLY.startsWith(text), `${pane}: what was shown is not how the reply begins: ${text}`);
  }
  assert.equal(after.at(-1), REPLY);
  const parts = [before, after].map((texts) => new Set(texts).size);
  for (const part of parts) {
    assert.ok(part >= PIECES.length / 8, `${pane}: the reply was not shown as it was written: ${parts} texts`);
  }
  console.log(`${pane}: ${parts[0]} texts before the service was killed, ${parts[1]} after it, the whole reply once`);
}

// eventsAreRefused waits until EventSource has come back, and nobody was there.
function eventsAreRefused(page: Page): Promise<void> {
  return new Promise((done) => {
    page.on("requestfailed", (request) => {
      if (request.url().includes("/events?") && request.failure()?.errorText === "net::ERR_CONNECTION_REFUSED") {
        done();
      }
    });
  });
}

async function killedService(page: Page): Promise<void> {
  const resumed: string[] = [];
  page.on("response", (response) => resumed.push(response.request().headers()["last-event-id"] ?? ""));
  await page.goto(url);
  await inBoth(page, "[data-state=watching]");
  await record(page);

  await send(page, QUESTION);
  await haveWritten(page, REPLY.length / 3);
  await page.screenshot({ path: `${directory}/while-written.png` });

  const refused = eventsAreRefused(page);
  await ask("kill the service");
  await inBoth(page, "[data-state=connecting]");
  await refused;
  await page.screenshot({ path: `${directory}/while-down.png` });
  const before = await seen(page);
  await ask("start the service");

  await inBoth(page, "[data-role=assistant][data-status=completed]", 40_000);
  await inBoth(page, "[data-state=watching]");
  await page.screenshot({ path: `${directory}/at-the-end.png` });
  const all = await seen(page);
  for (const pane of PANES) {
    const texts = before[pane] ?? [];
    checkPane(pane, texts, (all[pane] ?? []).slice(texts.length));
  }
  await shows(page, [QUESTION, REPLY]);
  assert.ok(resumed.some((token) => token !== ""), "the browser sent no Last-Event-ID");
}

// The conversation has two messages by now, and gets two more.
async function grpcWeb(page: Page): Promise<void> {
  await page.goto(`${url}&protocol=gRPC-Web`);
  await inBoth(page, "[data-status=completed][data-role=assistant]");
  await shows(page, [QUESTION, REPLY]);
  await send(page, "And rice milk?");
  await inBoth(page, "[data-status=in_progress]");
  await inBoth(page, "article:nth-of-type(4)[data-status=completed]");
  await shows(page, [QUESTION, REPLY, "And rice milk?", REPLY]);
  console.log("gRPC-Web: what was there, a message that is sent, and a reply as it is written");
}

async function unknownConversation(page: Page): Promise<void> {
  const unknown = new URL(url);
  unknown.searchParams.set("conversation", randomUUID());
  await page.goto(unknown.href);
  const explained = () =>
    ["#about", "#connect output"].every((place) =>
      document.querySelector(place)!.textContent.startsWith("CONVERSATION_NOT_FOUND "),
    );
  await page.waitForFunction(explained, { timeout: 20_000 });
  console.log("no such conversation: the page says why");
}

// To a browser, another name of this machine is another origin.
async function strangeOrigin(page: Page): Promise<void> {
  const strange = new URL(url);
  strange.hostname = "localhost";
  const refused = new Set<string>();
  page.on("requestfailed", (request) => refused.add(new URL(request.url()).pathname));
  await page.goto(strange.href);
  // GetConversation, WatchConversation and the events.
  while (refused.size < 3) {
    await new Promise((done) => page.once("requestfailed", done));
  }
  await shows(page, []);
  console.log("another origin: the browser lets it read nothing");
}

const browser = await puppeteer.launch({
  executablePath,
  // The sandbox needs namespaces, which containers and root often do not have.
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  defaultViewport: { width: 1200, height: 860 },
});
try {
  console.log(await browser.version());
  for (const test of [killedService, grpcWeb, unknownConversation, strangeOrigin]) {
    const page = await browser.newPage();
    await test(page);
    await page.close();
  }
} finally {
  await browser.close();
}
process.exit();
