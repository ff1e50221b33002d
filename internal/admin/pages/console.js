// Calls the public endpoint as any MCP client does. Nothing of it goes through the admin address, so that it may do what the token may, and no more.
"use strict";

const form = document.getElementById("console");
const result = document.getElementById("result");
const { endpoint, kind, name } = form.dataset;
const revision = "2025-11-25";
let running = null;

class Refused extends Error {}

function element(tag, text, className) {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (className) e.className = className;
  return e;
}

// argument is the JSON text of a field, or undefined where nothing was filled in. Numbers stay as they were typed.
function argument(field) {
  const input = field.querySelector("input, select, textarea");
  const text = input.value;
  const fail = (why) => {
    input.setAttribute("aria-invalid", "true");
    const problem = element("p", why, "problem");
    problem.id = `${input.id}-problem`;
    input.setAttribute("aria-describedby", problem.id);
    field.append(problem);
    input.focus();
    throw new Refused();
  };
  if (text.trim() === "") {
    if ("required" in field.dataset && field.dataset.type !== "string") fail("This is required.");
    return "required" in field.dataset ? JSON.stringify(text) : undefined;
  }
  switch (field.dataset.input) {
    case "checkbox":
      return text;
    case "number":
      return /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(text.trim()) ? text.trim() : fail("This must be a number.");
    case "json":
      try {
        JSON.parse(text);
        return text;
      } catch {
        return fail('This must be JSON, as in [1, 2] or {"a": true} or "text".');
      }
    default:
      return JSON.stringify(text);
  }
}

function readArguments() {
  for (const old of form.querySelectorAll(".problem")) old.remove();
  for (const old of form.querySelectorAll("[aria-invalid]")) old.removeAttribute("aria-invalid");
  const members = [];
  for (const field of form.querySelectorAll("[data-field]")) {
    const value = argument(field);
    if (value !== undefined) members.push(`${JSON.stringify(field.dataset.field)}:${value}`);
  }
  const raw = document.getElementById("raw");
  if (raw && raw.value.trim() !== "") {
    let given;
    try {
      given = JSON.parse(raw.value);
    } catch {
      given = null;
    }
    if (given === null || typeof given !== "object" || Array.isArray(given)) {
      raw.closest("details").open = true;
      raw.setAttribute("aria-invalid", "true");
      raw.after(element("p", "This must be a JSON object.", "problem"));
      raw.focus();
      throw new Refused();
    }
    const inner = raw.value.trim().slice(1, -1).trim();
    if (inner) members.push(inner);
  }
  return `{${members.join(",")}}`;
}

// request is the method and the parameters, as JSON text.
function request() {
  switch (kind) {
    case "tools":
      return ["tools/call", `{"name":${JSON.stringify(name)},"arguments":${readArguments()},"_meta":{"progressToken":"console"}}`];
    case "prompts":
      return ["prompts/get", `{"name":${JSON.stringify(name)},"arguments":${readArguments()}}`];
    case "templates":
      return ["resources/read", readArguments()];
    default:
      return ["resources/read", `{"uri":${JSON.stringify(name)}}`];
  }
}

// Session is one session with the gateway, for one call.
class Session {
  constructor(signal) {
    this.signal = signal;
    this.headers = { "Content-Type": "application/json", Accept: "application/json, text/event-stream" };
    const token = document.getElementById("token").value.trim().replace(/^bearer\s+/i, "");
    if (token) this.headers.Authorization = `Bearer ${token}`;
  }

  async post(body, { signal = this.signal, keepalive = false } = {}) {
    let answer;
    try {
      answer = await fetch(endpoint, { method: "POST", headers: this.headers, body, signal, keepalive, credentials: "omit", cache: "no-store", redirect: "error" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error(`${endpoint} cannot be reached from this page. Is it the address that browsers know (--public-url)? May pages of ${location.origin} call it (--allowed-origins)?`);
    }
    if (!answer.ok) throw new Error(await refusal(answer));
    return answer;
  }

  async open() {
    const params = `{"protocolVersion":"${revision}","capabilities":{},"clientInfo":{"name":"mcp-gateway-console","version":"1"}}`;
    const answer = await this.post(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":${params}}`);
    const { message } = await read(answer, "0", () => {});
    if (message.error) throw new Error(message.error.message);
    const id = answer.headers.get("Mcp-Session-Id");
    if (id) this.headers["Mcp-Session-Id"] = id;
    this.headers["MCP-Protocol-Version"] = message.result.protocolVersion;
    await this.post('{"jsonrpc":"2.0","method":"notifications/initialized"}');
  }

  // call returns the answer's message and its own text.
  async call(method, params, note) {
    const answer = await this.post(`{"jsonrpc":"2.0","id":1,"method":"${method}","params":${params}}`);
    return read(answer, "1", (message) => {
      if (message.id !== undefined) {
        note(`The server asks something (${message.method}), which this console cannot answer.`);
        this.post(JSON.stringify({ jsonrpc: "2.0", id: message.id, error: { code: -32601, message: "this console answers no questions" } })).catch(() => {});
      } else note(told(message));
    });
  }

  async close(cancelled) {
    const calm = { signal: undefined, keepalive: true };
    if (cancelled) await this.post('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"the user cancelled"}}', calm).catch(() => {});
    if (this.headers["Mcp-Session-Id"]) await fetch(endpoint, { method: "DELETE", headers: this.headers, credentials: "omit", keepalive: true }).catch(() => {});
  }
}

async function refusal(answer) {
  const text = await answer.text();
  let said = text;
  try {
    said = JSON.parse(text).error.message;
  } catch {
    // It is no JSON-RPC error: show it as it is.
  }
  const advice = {
    401: "The gateway wants an access token: log in, or paste one.",
    403: "This caller may not use it. “Who may use it” above has the rules.",
    429: `Too many calls. Try again in ${answer.headers.get("Retry-After") ?? "some"} seconds.`,
  }[answer.status];
  return [`${answer.status}: ${said}`, advice].filter(Boolean).join("\n");
}

function told(message) {
  const p = message.params ?? {};
  if (message.method === "notifications/progress") return `Progress ${p.progress}${p.total ? ` of ${p.total}` : ""}${p.message ? `: ${p.message}` : ""}`;
  if (message.method === "notifications/message") return `${p.level}: ${typeof p.data === "string" ? p.data : JSON.stringify(p.data)}`;
  return message.method;
}

// read finds the response to a request in an answer that is one, or a stream with one.
async function read(answer, id, other) {
  if (!answer.headers.get("Content-Type")?.startsWith("text/event-stream")) {
    const text = await answer.text();
    return { message: JSON.parse(text), text };
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The stream ended before the answer came.");
    buffer = (buffer + value).replace(/\r\n?/g, "\n");
    const events = buffer.split("\n\n");
    buffer = events.pop();
    for (const event of events) {
      const text = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).replace(/^ /, "")).join("\n");
      if (!text) continue;
      const message = JSON.parse(text);
      if (message.method === undefined && String(message.id) === id) {
        reader.cancel().catch(() => {});
        return { message, text };
      }
      other(message);
    }
  }
}

function show({ message, text }, took) {
  const bad = message.error || message.result?.isError;
  const head = element("p", undefined, `verdict ${bad ? "bad" : "good"}`);
  head.append(element("strong", message.error ? `Error ${message.error.code}` : bad ? "The tool failed" : "Done"), ` in ${took} ms`);
  result.append(head);
  if (message.error) result.append(element("pre", message.error.message));
  const r = message.result ?? {};
  for (const part of [...(r.content ?? []), ...(r.messages ?? []).map((m) => m.content), ...(r.contents ?? [])]) result.append(block(part));
  if (r.structuredContent !== undefined) result.append(element("h3", "Structured result"), code(JSON.stringify(r.structuredContent, null, 2)));
  const details = element("details");
  details.append(element("summary", "Whole answer, as it came"), code(text));
  result.append(details);
}

function code(text) {
  const pre = element("pre", text);
  pre.tabIndex = 0;
  return pre;
}

function block(part) {
  if (part.type === "image" && /^image\/(png|jpeg|gif|webp)$/.test(part.mimeType)) {
    const image = element("img");
    image.src = `data:${part.mimeType};base64,${part.data}`;
    image.alt = "the image in the result";
    return image;
  }
  if (typeof part.text === "string") return code(part.text);
  return code(JSON.stringify(part, (key, value) => (typeof value === "string" && value.length > 500 ? `${value.slice(0, 60)}… (${value.length} characters)` : value), 2));
}

async function run(event) {
  event.preventDefault();
  if (running) return;
  let method, params;
  try {
    [method, params] = request();
  } catch (error) {
    if (error instanceof Refused) return;
    throw error;
  }
  running = new AbortController();
  const session = new Session(running.signal);
  const call = document.getElementById("call"), cancel = document.getElementById("cancel");
  call.disabled = true;
  cancel.hidden = false;
  result.replaceChildren(element("p", "Calling …", "hint"));
  const notes = element("ul");
  const began = performance.now();
  try {
    await session.open();
    const said = await session.call(method, params, (text) => {
      notes.append(element("li", text));
      result.append(notes);
    });
    result.replaceChildren(...(notes.children.length ? [notes] : []));
    show(said, Math.round(performance.now() - began));
  } catch (error) {
    const note = element("div", undefined, "note bad");
    note.append(element("p", error.name === "AbortError" ? "Cancelled." : error.message));
    result.replaceChildren(note);
  } finally {
    const cancelled = running.signal.aborted;
    running = null;
    call.disabled = false;
    cancel.hidden = true;
    session.close(cancelled);
  }
}

form.addEventListener("submit", run);
document.getElementById("cancel").addEventListener("click", () => running?.abort());

// What follows gets a token by OAuth 2.1 with PKCE: in a window of its own, so that what was filled in stays.

class NoClient extends Error {}

async function json(url, options) {
  const answer = await fetch(url, { credentials: "omit", cache: "no-store", ...options });
  if (!answer.ok) throw new Error(`${new URL(url).origin} answers ${answer.status}`);
  return answer.json();
}

const base64url = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

async function discover() {
  const at = new URL(endpoint);
  const resource = await json(`${at.origin}/.well-known/oauth-protected-resource${at.pathname}`);
  const issuer = new URL(resource.authorization_servers?.[0] ?? form.dataset.issuers.trim().split(" ")[0]);
  const path = issuer.pathname.replace(/\/$/, "");
  for (const url of [`${issuer.origin}/.well-known/oauth-authorization-server${path}`, `${issuer.origin}${path}/.well-known/openid-configuration`]) {
    const metadata = await json(url).catch(() => null);
    if (metadata?.authorization_endpoint) return { resource, metadata };
  }
  throw new Error(`${issuer.href} does not tell this page how to log in`);
}

async function register(metadata, redirect) {
  const own = document.getElementById("client").value.trim();
  if (own) return own;
  if (!metadata.registration_endpoint) throw new NoClient(`${metadata.issuer} registers no clients`);
  const body = { client_name: "MCP Gateway console", redirect_uris: [redirect], grant_types: ["authorization_code"], response_types: ["code"], token_endpoint_auth_method: "none" };
  try {
    const client = await json(metadata.registration_endpoint, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    return client.client_id;
  } catch {
    throw new NoClient(`${metadata.issuer} does not let this page register as a client`); // Keycloak answers no page there
  }
}

function answerOf(state, popup) {
  const channel = new BroadcastChannel("mcp-gateway-login");
  return new Promise((resolve) => {
    channel.onmessage = ({ data }) => {
      if (data.state !== state) return;
      channel.close();
      popup?.close();
      resolve(data);
    };
  });
}

async function login() {
  const popup = open("/login", "_blank", "popup,width=520,height=680");
  try {
    const { resource, metadata } = await discover();
    const redirect = `${location.origin}/login`;
    const client = await register(metadata, redirect);
    const verifier = random(), state = random();
    const challenge = base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier)));
    const url = new URL(metadata.authorization_endpoint);
    const query = { response_type: "code", client_id: client, redirect_uri: redirect, state, code_challenge: challenge, code_challenge_method: "S256", resource: resource.resource };
    if (resource.scopes_supported?.length) query.scope = resource.scopes_supported.join(" ");
    for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
    const coming = answerOf(state, popup);
    popup.location = url;
    const said = await coming;
    if (said.iss && said.iss !== metadata.issuer) throw new Error(`${said.iss} answers in place of ${metadata.issuer}`);
    if (!said.code) throw new Error(said.error_description || said.error || "The issuer gave no code");
    const body = new URLSearchParams({ grant_type: "authorization_code", code: said.code, redirect_uri: redirect, client_id: client, code_verifier: verifier, resource: resource.resource });
    const { access_token: token } = await json(metadata.token_endpoint, { method: "POST", body });
    document.getElementById("token").value = token;
    result.replaceChildren(element("p", "Logged in.", "fine"));
  } catch (error) {
    popup?.close();
    const note = element("div", undefined, "note bad");
    note.append(element("p", `${error.message}. ${error instanceof NoClient ? "Log in as a client of your own, or paste a token." : "You can paste a token instead."}`));
    result.replaceChildren(note);
    if (error instanceof NoClient) {
      document.getElementById("own-client").open = true;
      document.getElementById("client").focus();
    }
  }
}

const redirectText = document.getElementById("redirect");
if (redirectText) redirectText.textContent = `${location.origin}/login`;
document.getElementById("login")?.addEventListener("click", login);
