// server-2025-11-25.mjs NAME PORT: a server of the TypeScript SDK that speaks the revisions with sessions, up to 2025-11-25, and no other.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { require } from "./lib.mjs";
import { offer, survey, surveyed, text } from "./offers.mjs";

const { McpServer, ResourceTemplate } = require("@modelcontextprotocol/sdk/server/mcp.js");
const { completable } = require("@modelcontextprotocol/sdk/server/completable.js");
const { StreamableHTTPServerTransport } = require("@modelcontextprotocol/sdk/server/streamableHttp.js");
const types = require("@modelcontextprotocol/sdk/types.js");

const [name, port] = process.argv.slice(2);
const sessions = new Map();
const each = (f) => Promise.all([...sessions.values()].map(f));

const answers = {
  "elicitation/create": types.ElicitResultSchema,
  "sampling/createMessage": types.CreateMessageResultSchema,
  "roots/list": types.ListRootsResultSchema,
};

// With sessions a server asks by requests: on the stream of the call, or, where the SDK is not told which call they are for, on the session's own.
const by = (requester) => (questions, f) => async (...args) => {
  const got = {};
  for (const [key, question] of Object.entries(questions)) got[key] = await requester(args.at(-1))(question, answers[question.method]);
  return f(got);
};
const asking = by((ctx) => ctx.sendRequest);

async function open() {
  const mcp = new McpServer({ name, version: "1" }, { capabilities: { logging: {}, resources: { subscribe: true } } });
  const session = { server: mcp.server, watched: new Set() };
  session.extra = offer(mcp, {
    ResourceTemplate,
    completable,
    name,
    notify: (ctx, notification) => ctx.sendNotification(notification),
    request: (ctx) => ctx,
    asking,
    missing: (uri) => new types.McpError(-32002, `nothing at ${uri}`, { uri }),
    changed: (uri) => each(({ server, watched }) => watched.has(uri) && server.sendResourceUpdated({ uri })),
    grow: (tool) => each(({ extra }) => extra(tool)), // the SDK tells the sessions itself
  });
  mcp.registerTool("survey_aside", {}, by(() => (...question) => mcp.server.request(...question))(survey, surveyed));
  mcp.registerTool("log_aside", {}, async ({ sessionId }) => {
    await mcp.sendLoggingMessage({ level: "debug", data: "below the level" }, sessionId);
    await mcp.sendLoggingMessage({ level: "info", data: "aside" }, sessionId);
    return text("logged");
  });
  mcp.server.setRequestHandler(types.SubscribeRequestSchema, ({ params }) => {
    session.watched.add(params.uri);
    return {};
  });

  session.transport = new StreamableHTTPServerTransport({ sessionIdGenerator: randomUUID, onsessioninitialized: (id) => sessions.set(id, session) });
  session.transport.onclose = () => sessions.delete(session.transport.sessionId);
  await mcp.connect(session.transport);
  return session;
}

createServer(async (req, res) => {
  const id = req.headers["mcp-session-id"];
  const session = id ? sessions.get(id) : await open();
  if (session) await session.transport.handleRequest(req, res);
  else res.writeHead(404).end();
}).listen(Number(port), "127.0.0.1");
