// The window of a login ends here and tells the page that opened it. It reads only what the issuer has put into its own address.
"use strict";

const answer = new URLSearchParams(location.search);
if (answer.has("state")) {
  const channel = new BroadcastChannel("mcp-gateway-login");
  channel.postMessage(Object.fromEntries(["state", "code", "iss", "error", "error_description"].filter((key) => answer.has(key)).map((key) => [key, answer.get(key)])));
  history.replaceState(null, "", "/login");
  document.getElementById("said").textContent = answer.has("code") ? "You are logged in and can close this window." : "The login did not succeed. You can close this window.";
  window.close();
}
