// server-2026-07-28.mjs NAME PORT: a server of the TypeScript SDK that speaks 2026-07-28 and, as it is set up here, no other revision.
import { createServer } from "node:http";
import { require, z } from "./lib.mjs";
import { offer, text } from "./offers.mjs";

const { McpServer, ProtocolError, ResourceTemplate, completable, createMcpHandler, inputRequired } = require("@modelcontextprotocol/server");
const { toNodeHandler } = require("@modelcontextprotocol/node");

const [name, port] = process.argv.slice(2);

// Without sessions a server asks by results, and what it knows by then is in the state that the client brings back.
const asking = (questions, f) => (...args) => {
  const { inputResponses, requestState } = args.at(-1).mcpReq;
  const known = { ...JSON.parse(requestState() ?? "{}"), ...inputResponses };
  const lacking = Object.entries(questions).filter(([key]) => !(key in known));
  if (lacking.length === 0) return f(known);
  const now = lacking.length === Object.keys(questions).length ? lacking.slice(0, 1) : lacking; // first one, then the others at once
  return inputRequired({ inputRequests: Object.fromEntries(now), requestState: JSON.stringify(known) });
};

// There is a server for each request, so that what it offers is what was offered before and what has been added since.
const handler = createMcpHandler(
  () => {
    const mcp = new McpServer({ name, version: "1" }, { capabilities: { logging: {}, resources: { subscribe: true } } });
    offer(mcp, {
      ResourceTemplate,
      completable,
      name,
      notify: (ctx, { method, params }) => (method === "notifications/message" ? ctx.mcpReq.log(params.level, params.data, params.logger) : ctx.mcpReq.notify({ method, params })),
      request: (ctx) => ctx.mcpReq,
      asking,
      missing: (uri) => new ProtocolError(-32602, `nothing at ${uri}`, { uri }),
      changed: (uri) => handler.notify.resourceUpdated(uri),
      grow: () => handler.notify.toolsChanged(),
    });
    // What the revisions with sessions do not have: an output that is no object, and arguments that are repeated in headers.
    mcp.registerTool("words", { outputSchema: z.array(z.string()) }, () => ({ ...text("two words"), structuredContent: ["two", "words"] }));
    mcp.registerTool("region", { inputSchema: z.object({ region: z.string().meta({ "x-mcp-header": "Region" }) }) }, ({ region }, { http }) =>
      text(`${region} is ${http.req.headers.get("mcp-param-region")}`),
    );
    return mcp;
  },
  { legacy: "reject" },
);

createServer(toNodeHandler(handler)).listen(Number(port), "127.0.0.1");
