-- An MCP server's answer that no client must see becomes a JSON-RPC error with the request's own id: a redirect, a refusal of
-- the gateway's credential, or what is neither JSON nor an event stream. Where the router watches the answer, this does not run. What the body says is not looked at: holding one costs Envoy a fifth of a call.
local namespace = "envoy.filters.http.mcp_gateway"

local function bad(status, kind, empty, asked, stateless)
  if status:sub(1, 1) == "3" then
    return "answered with a redirect, which is not followed; its configured url should be the final one"
  elseif status == "401" or status == "403" or status == "407" then
    return "did not accept the gateway's own credential"
  elseif status == "404" and stateless and kind == "application/json" then
    return nil -- without sessions, it is a method that is unknown
  elseif status == "404" or status == "405" then
    return "has nothing at its configured url"
  elseif status == "202" or status == "204" or empty then
    return asked and "took the request without an answer" or nil
  elseif kind ~= "application/json" and kind ~= "text/event-stream" then
    return "answered with neither JSON nor an event stream"
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get("x-mcp-answered") == nil then
    return -- a reply of Envoy's own, such as a policy's
  end
  headers:remove("x-mcp-answered")
  local status, kind = headers:get(":status"), headers:get("content-type")
  local empty = headers:get("content-length") == "0"
  if status == "200" and not empty and (kind == "application/json" or kind == "text/event-stream") then
    return -- nearly all, so what follows may take its time
  end
  local facts = handle:streamInfo():dynamicMetadata():get(namespace)
  if facts == nil or facts["server"] == nil or facts["server"] == "mcpBroker" then
    return
  end
  kind = (kind or ""):lower():match("^%s*([^;%s]*)")
  local why = bad(status, kind, empty, facts["id"] ~= nil, facts["revision"] ~= nil)
  if why == nil then
    return
  end
  local id = facts["id"] and '"id":' .. facts["id"] .. "," or ""
  local message = "server '" .. facts["server"] .. "' " .. why .. " (HTTP status " .. status .. ")"
  local body = '{"jsonrpc":"2.0",' .. id .. '"error":{"code":-32603,"message":"' .. message .. '"}}'
  for _, name in ipairs({ "location", "www-authenticate", "content-encoding", "set-cookie" }) do
    headers:remove(name)
  end
  headers:replace(":status", "502")
  headers:replace("content-type", "application/json")
  handle:body(true):setBytes(body) -- which sets the content-length as well
end
