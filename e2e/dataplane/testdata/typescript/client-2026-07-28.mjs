// A client of the TypeScript SDK that finds out which revisions the other side speaks, and takes 2026-07-28 if it can.
import { require } from "./lib.mjs";

const { Client, LOG_LEVEL_META_KEY, StreamableHTTPClientTransport } = require("@modelcontextprotocol/client");

export async function connect(endpoint, { capabilities, answers, heard }) {
  const client = new Client({ name: "typescript", version: "1" }, { capabilities, versionNegotiation: { mode: "auto" } });
  for (const [method, answer] of Object.entries(answers)) client.setRequestHandler(method, answer);
  for (const method of ["message", "resources/updated", "tools/list_changed"]) client.setNotificationHandler(`notifications/${method}`, heard);
  await client.connect(new StreamableHTTPClientTransport(new URL(endpoint)));
  let subscription;

  return {
    client,
    revision: client.getNegotiatedProtocolVersion(),
    all: async (member, list) => (await list())[member],
    call: (params, options) => client.callTool({ ...params, _meta: { [LOG_LEVEL_META_KEY]: "info" } }, options),
    async watch(uri) {
      subscription = await client.listen({ toolsListChanged: true, resourceSubscriptions: [uri] });
      return subscription.honoredFilter;
    },
    async close() {
      await subscription.close();
      await client.close();
    },
  };
}
