// client.mjs REVISION ENDPOINT SERVER KEY: uses all that a server offers and prints what came of it, a line of JSON for each step.
// SERVER is the server's name, which its items have before theirs; KEY is what no other client has.
import { Signals, tell } from "./lib.mjs";

const [revision, endpoint, server, key] = process.argv.slice(2);
const { connect } = await import(`./client-${revision}.mjs`);

const asked = [];
const logged = [];
const heard = new Signals();
let onToolsChanged = () => {};

const answer = (method, answerOf) => [
  method,
  ({ params }) => {
    asked.push(method);
    return answerOf(params);
  },
];

const { client, all, call, watch, close, ...connected } = await connect(endpoint, {
  capabilities: { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} },
  answers: Object.fromEntries([
    answer("elicitation/create", ({ mode, message }) => {
      if (mode === "url") return { action: "accept" };
      return message === "Who?" ? { action: "accept", content: { name: "eve" } } : { action: "decline" };
    }),
    answer("sampling/createMessage", () => ({ model: "m", role: "assistant", content: { type: "text", text: "of the model" } })),
    answer("roots/list", () => ({ roots: [{ uri: "file:///home" }] })),
  ]),
  heard({ method, params }) {
    if (method === "notifications/message") {
      logged.push(params);
      heard.set(params.data);
    }
    if (method === "notifications/resources/updated") heard.set(params.uri);
    if (method === "notifications/tools/list_changed") onToolsChanged();
  },
});

const use = (name, args = {}, options) => call({ name: `${server}_${name}`, arguments: args }, options);
const text = async (...args) => (await use(...args)).content[0].text;
const mine = (names) => names.filter((name) => name.startsWith(server));
const tools = () => all("tools", (page) => client.listTools(page));

// What the gateway does with the first call of a session may be another than what it does with those after it.
const twice = async (f) => [await f(), await f()];
const step = async (name, f) => tell({ step: name, saw: (await f()) ?? null });

await step("connect", () => connected);
const offered = new Map((await tools()).map((tool) => [tool.name, tool]));
const offers = (name) => offered.has(`${server}_${name}`);
await step("tools", () => mine([...offered.keys()]).filter((name) => !name.includes("grown")));
await step("prompts", async () => mine((await all("prompts", (page) => client.listPrompts(page))).map(({ name }) => name)));
await step("resources", async () => mine((await all("resources", (page) => client.listResources(page))).map(({ uri }) => uri)));
await step("templates", async () => mine((await all("resourceTemplates", (page) => client.listResourceTemplates(page))).map(({ uriTemplate }) => uriTemplate)));

await step("structured", () => twice(async () => (await use("sum", { a: 2, b: 40 })).structuredContent));
if (offers("words")) {
  await step("structured otherwise", () =>
    twice(async () => {
      const { content, structuredContent } = await use("words");
      return { schema: offered.get(`${server}_words`).outputSchema?.type, content, structuredContent };
    }),
  );
}
if (offers("region")) await step("argument in a header", () => twice(() => text("region", { region: "Zürich" })));
await step("error result", () =>
  twice(async () => {
    const { isError, content } = await use("fail");
    return { isError, content };
  }),
);

await step("progress and log", () =>
  twice(async () => {
    const progress = [];
    const said = await text("count", { to: 3 }, { onprogress: (p) => progress.push(p) });
    return { progress, logged: logged.splice(0), said };
  }),
);
await step("progress of three calls at once", () =>
  Promise.all(
    [1, 2, 3].map(async (to) => {
      const progress = [];
      await use("count", { to }, { onprogress: (p) => progress.push(p.progress) });
      return progress;
    }),
  ),
);

const questions = (f) => () => twice(async () => ({ said: await f(), asked: asked.splice(0) }));
await step("asked in a call", questions(() => text("survey")));
if (offers("survey_aside")) await step("asked beside a call", questions(() => text("survey_aside")));
await step("asked and declined", questions(() => text("sure")));
await step("asked to open a page", questions(() => text("page")));
await step("asked in a prompt", questions(async () => (await client.getPrompt({ name: `${server}_greet_me` })).messages));
await step("asked in a resource", questions(async () => (await client.readResource({ uri: `${server}://mine` })).contents));

await step("prompt", () => twice(async () => (await client.getPrompt({ name: `${server}_greet`, arguments: { who: "ada" } })).messages));
const complete = async (ref, name, value) => (await client.complete({ ref, argument: { name, value } })).completion.values;
await step("complete a prompt", () => complete({ type: "ref/prompt", name: `${server}_greet` }, "who", "a"));
await step("complete a template", () => complete({ type: "ref/resource", uri: `${server}://notes/{note}` }, "note", "gre"));

const uri = `${server}://notes/${key}`;
const read = async (uri) => (await client.readResource({ uri })).contents;
await step("resource", () => twice(() => read(`${server}://readme`)));
await step("no resource", () => read(uri).catch(({ code, data }) => ({ code, data })));

await step("cancel", async () => {
  const abort = new AbortController();
  const ended = await text("wait", { key }, { signal: abort.signal, onprogress: () => abort.abort() }).catch(() => "given up");
  return [ended, await text("cancelled", { key })];
});

await step("watch", () => watch(uri));
await step("resource changed", async () => {
  await use("write", { note: key, text: "new" });
  await heard.of(uri);
  return read(uri);
});
await step("tools changed", async () => {
  const there = new Promise((resolve, reject) => {
    onToolsChanged = () => tools().then((now) => now.some(({ name }) => name === `${server}_grown_${key}`) && resolve(), reject);
  });
  await use("grow", { tool: `grown_${key}` });
  await there;
  return text(`grown_${key}`);
});
if (offers("log_aside") && revision === "2025-11-25") {
  await step("log beside a call", async () => {
    logged.length = 0;
    await use("log_aside");
    await heard.of("aside");
    return logged.map(({ data }) => data);
  });
}
await step("close", () => close());
