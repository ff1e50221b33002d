// A gateway without policies and with ten thousand tools: {"admin": URL, "endpoint": URL, "tools": number, "screenshots": folder}
import { accessible, assert, fits, given, phone, picture, result, run } from "./lib.mjs";

const at = (path) => given.admin + path;
const paths = { overview: "/", tools: "/items/tools", found: "/items/tools?q=forecast", called: "/items/tools?order=calls", tool: "/item/tools?name=weather_forecast", server: "/servers/weather", failing: "/servers/dead", missing: "/item/tools?name=nothing" };

const looks = {};
for (const [scheme, device] of [["light", undefined], ["dark", undefined], ["light", phone], ["dark", phone]]) {
  const kind = `${scheme}${device ? "-phone" : ""}`;
  looks[`looks: ${kind}`] = {
    device, colorScheme: scheme, refusals: true,
    async test(page) {
      for (const [name, path] of Object.entries(paths)) {
        await page.goto(at(path));
        await page.locator("h1").waitFor();
        await fits(page);
        await accessible(page);
        await picture(page, `${name}-${kind}`);
      }
    },
  };
}

await run({
  ...looks,
  "the overview tells what is wrong and what to do": {
    async test(page) {
      await page.goto(at("/"));
      const text = await page.locator("main").innerText();
      for (const want of ["2 of 3 ready", "dead", "refused", "Check that the server runs", "disabled", given.endpoint, String(given.tools)]) assert.ok(text.includes(want), `${want} in ${text}`);
      await page.getByRole("link", { name: "Server dead" }).click();
      await page.getByText("What to do:").waitFor();
    },
  },
  "it stays fresh by itself": {
    async test(page) {
      await page.clock.install();
      await page.goto(at("/"));
      await page.evaluate(() => { document.querySelector("[data-live] dd").textContent = "stale"; });
      await page.mouse.move(0, 0);
      await page.clock.runFor(6000);
      await page.waitForFunction(() => !document.querySelector("[data-live]").textContent.includes("stale"));
    },
  },
  "search as one types, by keyboard alone": {
    async test(page) {
      await page.goto(at("/items/tools"));
      await page.keyboard.press("/");
      await page.keyboard.type("forecast weather");
      await page.waitForFunction(() => document.querySelector("[data-results] tbody tr th").textContent.includes("weather_forecast"));
      assert.ok(page.url().includes("q=forecast+weather"), page.url());
      await page.keyboard.press("Control+A");
      await page.keyboard.type("no such thing");
      await page.getByText("Nothing matches.").waitFor();
      await page.goto(at("/items/tools"));
      const began = Date.now();
      await page.keyboard.press("/");
      await page.keyboard.type("number 9876");
      await page.getByRole("link", { name: "many_tool_9876" }).waitFor();
      assert.ok(Date.now() - began < 3000, "a search among ten thousand tools takes too long");
      for (let i = 0; i < 5; i++) await page.keyboard.press("Tab"); // server, virtual server, order, button, the first link
      await page.keyboard.press("Enter");
      await page.waitForURL(/name=many_tool_9876/);
    },
  },
  "what is called most, by keyboard alone": {
    async test(page) {
      await page.goto(at("/items/tools"));
      await page.getByLabel("Order by").focus();
      await page.keyboard.press("ArrowDown");
      await page.waitForURL(/order=calls/);
      const first = page.locator("[data-results] tbody tr").first();
      await first.getByRole("link", { name: "weather_forecast" }).waitFor();
      assert.ok(Number(await first.locator('[data-label="Calls"]').innerText()) >= 3);
      await page.getByLabel("Order by").selectOption("calls at the broker");
      const slow = page.locator("[data-results] tbody tr").first();
      await slow.getByRole("link", { name: "weather_slow" }).waitFor();
      assert.equal(await slow.locator('[data-label="At the broker"]').innerText(), "1");
      await page.getByText("is known by server, and not by tool").waitFor();
      await page.getByRole("link", { name: "Next" }).first().click();
      await page.waitForURL(/order=open&page=2/);
    },
  },
  "calls of a server's tools stay fresh": {
    async test(page) {
      await page.clock.install();
      await page.goto(at("/servers/weather"));
      await page.mouse.move(0, 0);
      for (const part of await page.locator("[data-live]").all()) await part.evaluate((e) => { e.textContent = "stale"; });
      await page.clock.runFor(6000);
      await page.waitForFunction(() => [...document.querySelectorAll("[data-live]")].every((e) => !e.textContent.includes("stale")));
      const rows = await page.locator("[aria-labelledby=busiest] tbody tr").allInnerTexts();
      assert.ok(rows.length >= 2 && rows[0].startsWith("weather_forecast") && rows.some((r) => r.startsWith("weather_slow")), rows.join("; "));
      await page.getByRole("link", { name: "All its tools, by calls" }).click();
      await page.waitForURL(/server=weather&order=calls/);
    },
  },
  "pages of a list": {
    async test(page) {
      await page.goto(at("/items/tools?server=many"));
      await page.getByText("1–50 of 10000").first().waitFor();
      await page.getByRole("link", { name: "Next" }).first().click();
      await page.getByText("51–100 of 10000").first().waitFor();
      await page.goto(at("/items/tools?server=many&page=9999"));
      await page.getByText("Page 200 of 200").first().waitFor();
    },
  },
  "details of a tool": {
    async test(page) {
      await page.goto(at("/item/tools?name=weather_forecast"));
      const text = await page.locator("main").innerText();
      for (const want of ["The weather of some days", "city", "Where it is asked for", "one of metric, imperial", "array of string", "whoever reaches the endpoint may have it", "readOnly: yes", "<script>alert(1)</script>"]) {
        assert.ok(text.includes(want), `${want} in ${text}`);
      }
    },
  },
  "a call, with a number that no double holds": {
    async test(page) {
      await page.goto(at("/item/tools?name=weather_forecast"));
      await page.getByLabel("city").fill("Lisbon");
      await page.getByLabel("days").fill("9007199254740993");
      await page.getByLabel("units").selectOption("metric");
      await page.getByLabel("tags").fill('["a", {"b": 1}]');
      await page.keyboard.press("Tab");
      await page.getByRole("button", { name: "Call", exact: true }).click();
      const said = await result(page);
      assert.match(said, /^Done in \d+ ms/);
      assert.ok(said.includes('"days":9007199254740993'), said);
      assert.ok(said.includes('"tags":["a", {"b": 1}]') && said.includes('"units":"metric"') && !said.includes('"quick"'), said);
      await accessible(page);
      await picture(page, "called");
    },
  },
  "what is filled in wrongly is told beside it": {
    async test(page) {
      await page.goto(at("/item/tools?name=weather_forecast"));
      await page.getByLabel("days").fill("many");
      await page.getByRole("button", { name: "Call", exact: true }).click();
      await page.getByText("This must be a number.").waitFor();
      await accessible(page);
      await page.getByLabel("days").fill("1");
      await page.getByText("More arguments, as JSON").click();
      await page.getByLabel("Arguments as JSON").fill("[1]");
      await page.getByRole("button", { name: "Call", exact: true }).click();
      await page.getByText("This must be a JSON object.").waitFor();
      await page.getByLabel("Arguments as JSON").fill('{"more": 1.0}');
      await page.getByRole("button", { name: "Call", exact: true }).click();
      assert.ok((await result(page)).includes('"more": 1.0'));
    },
  },
  "a tool that fails, one that answers with an error, and one that is slow": {
    async test(page) {
      await page.goto(at("/item/tools?name=weather_fails"));
      await page.getByRole("button", { name: "Call", exact: true }).click();
      assert.match(await result(page), /^The tool failed in \d+ ms[^]*no weather today/);
      await page.goto(at("/item/tools?name=weather_error"));
      await page.getByRole("button", { name: "Call", exact: true }).click();
      assert.match(await result(page), /^Error -32602 in \d+ ms[^]*bad city/);
      await picture(page, "error");
      await page.goto(at("/item/tools?name=weather_slow"));
      await page.getByRole("button", { name: "Call", exact: true }).click();
      await page.getByText("Progress 1 of 2: half").waitFor();
      await page.getByRole("button", { name: "Cancel" }).click();
      assert.match(await result(page), /Cancelled/);
    },
  },
  "without scripts everything but the console is there": {
    async test(page, context) {
      const plain = await (await context.browser().newContext({ javaScriptEnabled: false })).newPage();
      await plain.goto(at("/items/tools"));
      await plain.getByLabel("Search").fill("forecast");
      await plain.getByRole("button", { name: "Search" }).click();
      await plain.getByRole("link", { name: "weather_forecast" }).click();
      await plain.locator("noscript p").waitFor();
      await plain.context().close();
    },
  },
});
