// A client of the TypeScript SDK that speaks the revisions with sessions, up to 2025-11-25, and no other.
import { require } from "./lib.mjs";

const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const types = require("@modelcontextprotocol/sdk/types.js");

export async function connect(endpoint, { capabilities, answers, heard }) {
  const client = new Client({ name: "typescript", version: "1" }, { capabilities });
  client.setRequestHandler(types.ElicitRequestSchema, answers["elicitation/create"]);
  client.setRequestHandler(types.CreateMessageRequestSchema, answers["sampling/createMessage"]);
  client.setRequestHandler(types.ListRootsRequestSchema, answers["roots/list"]);
  client.setNotificationHandler(types.LoggingMessageNotificationSchema, heard);
  client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, heard);
  client.setNotificationHandler(types.ToolListChangedNotificationSchema, heard);
  const transport = new StreamableHTTPClientTransport(new URL(endpoint));
  await client.connect(transport);
  await client.setLoggingLevel("info");

  return {
    client,
    revision: transport.protocolVersion,
    // all follows the pages, which this SDK leaves to who uses it.
    async all(member, list) {
      const found = [];
      let cursor;
      do {
        const page = await list({ cursor });
        found.push(...page[member]);
        cursor = page.nextCursor;
      } while (cursor);
      return found;
    },
    call: (params, options) => client.callTool(params, undefined, options),
    watch: (uri) => client.subscribeResource({ uri }),
    async close() {
      await transport.terminateSession();
      await client.close();
    },
  };
}
