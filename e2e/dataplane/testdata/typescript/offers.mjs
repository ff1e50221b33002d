// What the servers of both revisions offer. What the revisions say in different ways is given:
//   ResourceTemplate, completable  of the SDK
//   name                           of the server, in its URIs
//   request(ctx)                   which has the signal and the _meta of a call
//   notify(ctx, notification)      on the stream of a call
//   asking(questions, f)           a handler that asks the client in the midst of its request, and makes its result of the answers with f
//   missing(uri)                   the error of a resource that is not there
//   changed(uri), grow(tool)       tell those who watch, and give all the new tool
import { Signals, z } from "./lib.mjs";

export const text = (said) => ({ content: [{ type: "text", text: said }] });

const form = (message) => ({ mode: "form", message, requestedSchema: { type: "object", properties: { name: { type: "string" } }, required: ["name"] } });
const who = { method: "elicitation/create", params: form("Who?") };
export const survey = {
  who,
  said: { method: "sampling/createMessage", params: { maxTokens: 7, messages: [{ role: "user", content: { type: "text", text: "say it" } }] } },
  roots: { method: "roots/list" },
};
export const surveyed = ({ who, said, roots }) => text(`${who.content.name} says "${said.content.text}", roots ${roots.roots.map(({ uri }) => uri)}`);

const notes = new Map([["readme", "read me"]]);
const cancelled = new Signals();
const grown = new Set();
const starting = (words) => (value) => words.filter((word) => word.startsWith(value));

// offer gives a server all this, and returns what gives it a further tool.
export function offer(server, { ResourceTemplate, completable, name, request, notify, asking, missing, changed, grow }) {
  const contents = (uri, text) => ({ contents: [{ uri: uri.href, mimeType: "text/plain", text }] });
  const messages = (text) => ({ messages: [{ role: "user", content: { type: "text", text } }] });
  const tell = (ctx, n, total) => notify(ctx, { method: "notifications/progress", params: { progressToken: request(ctx)._meta.progressToken, progress: n, total } });
  const extra = (tool) => server.registerTool(tool, {}, () => text(`I am ${tool}`));

  server.registerTool("sum", { inputSchema: z.object({ a: z.number(), b: z.number() }), outputSchema: z.object({ sum: z.number() }) }, ({ a, b }) => ({
    ...text(String(a + b)),
    structuredContent: { sum: a + b },
  }));
  server.registerTool("count", { inputSchema: z.object({ to: z.number() }) }, async ({ to }, ctx) => {
    await notify(ctx, { method: "notifications/message", params: { level: "info", logger: name, data: "begun" } });
    for (let n = 1; n <= to; n++) await tell(ctx, n, to);
    return text("counted");
  });
  server.registerTool("fail", {}, () => {
    throw new Error("this tool fails");
  });

  server.registerTool("survey", {}, asking(survey, surveyed));
  server.registerTool("sure", {}, asking({ sure: { ...who, params: form("Sure?") } }, ({ sure }) => text(sure.action)));
  const page = { method: "elicitation/create", params: { mode: "url", message: "Open it", url: "https://example.com/page", elicitationId: "page" } };
  server.registerTool("page", {}, asking({ page }, ({ page }) => text(page.action)));

  // A call that only its cancellation ends, and one that waits until the server has seen that.
  server.registerTool("wait", { inputSchema: z.object({ key: z.string() }) }, async ({ key }, ctx) => {
    const end = new Promise((resolve) => request(ctx).signal.addEventListener("abort", resolve));
    await tell(ctx, 1, 2);
    await end;
    cancelled.set(key);
    return text("too late");
  });
  server.registerTool("cancelled", { inputSchema: z.object({ key: z.string() }) }, async ({ key }) => {
    await cancelled.of(key);
    return text("cancelled");
  });

  server.registerTool("write", { inputSchema: z.object({ note: z.string(), text: z.string() }) }, async (args) => {
    notes.set(args.note, args.text);
    await changed(`${name}://notes/${args.note}`);
    return text("written");
  });
  server.registerTool("grow", { inputSchema: z.object({ tool: z.string() }) }, async ({ tool }) => {
    grown.add(tool);
    await grow(tool);
    return text("grown");
  });
  grown.forEach(extra);

  const argsSchema = { who: completable(z.string(), starting(["ada", "alan", "grace"])) };
  server.registerPrompt("greet", { argsSchema }, (args) => messages(`Hello, ${args.who}`));
  server.registerPrompt("greet_me", {}, asking({ who }, ({ who }) => messages(`Hello, ${who.content.name}`)));

  server.registerResource("readme", `${name}://readme`, { mimeType: "text/plain" }, (uri) => contents(uri, notes.get("readme")));
  const mine = new URL(`${name}://mine`);
  server.registerResource("mine", mine.href, { mimeType: "text/plain" }, asking({ who }, ({ who }) => contents(mine, `${who.content.name}'s`)));
  const template = new ResourceTemplate(`${name}://notes/{note}`, { list: undefined, complete: { note: starting(["red", "green", "grey"]) } });
  server.registerResource("notes", template, { mimeType: "text/plain" }, (uri, { note }) => {
    if (!notes.has(note)) throw missing(uri.href);
    return contents(uri, notes.get(note));
  });

  return extra;
}
