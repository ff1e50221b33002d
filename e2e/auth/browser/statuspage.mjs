// The status page behind a login: {"page": URL, "address": where its name leads to, "operator": who may see it, "other": who may not,
// "screenshots": folder}. Passwords are the same as the names.
import { accessible, assert, fits, given, picture, result, run } from "../../pages/browser/lib.mjs";

const at = (path) => given.page + path;

// login fills in Keycloak's form.
async function login(page, user) {
  await page.locator("#username").fill(user);
  await page.locator("#password").fill(user);
  await page.locator("#kc-login").click();
}

// signedOut has somebody sign out in another window.
async function signedOut(context) {
  const other = await context.newPage();
  await other.goto(at("/oauth2/sign_out"));
  await other.locator("#username").waitFor();
  await other.close();
}

await run({
  "whoever may see it gets what was asked for, and all that belongs to it": {
    async test(page) {
      const failures = [];
      page.on("response", (r) => { if (r.status() >= 400) failures.push(`${r.status()} ${r.url()}`); });
      await page.goto(at("/items/tools?q=forecast"));
      await login(page, given.operator);
      await page.getByRole("link", { name: "weather_get_forecast" }).waitFor();
      assert.equal(page.url(), at("/items/tools?q=forecast"));

      await page.getByRole("link", { name: "Overview" }).click();
      await page.getByText("2 of 2 ready").waitFor();
      assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector("main")).borderTopStyle), "solid", "the style is there");
      await fits(page);
      await accessible(page);
      await picture(page, "status-page");
      for (const name of ["Tools", "Prompts", "Resources", "Templates", "Access"]) {
        await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name }).click();
        await page.getByRole("heading", { level: 1, name }).waitFor();
      }
      await page.goto(at("/items/tools"));
      await page.keyboard.press("/");
      await page.keyboard.type("zone");
      await page.waitForFunction(() => document.querySelectorAll("[data-results] tbody tr").length === 1);
      await page.getByRole("link", { name: "time_get_time" }).click();
      await page.getByRole("heading", { level: 1, name: "time_get_time" }).waitFor();
      for (const name of ["status", "metrics", "readiness"]) {
        const path = await page.getByRole("link", { name, exact: true }).getAttribute("href");
        assert.equal(await page.evaluate(async (p) => (await fetch(p)).status, path), 200, path);
      }
      assert.deepEqual(failures, []);
    },
  },
  "a tool is called from it": {
    async test(page) {
      await page.goto(at("/item/tools?name=weather_get_forecast"));
      await login(page, given.operator);
      await page.getByRole("button", { name: "Log in" }).click();
      await page.getByText("Logged in.").waitFor(); // Keycloak knows who it is, and asks nothing
      await page.getByLabel("city").fill("Lisbon");
      await page.getByRole("button", { name: "Call", exact: true }).click();
      assert.ok((await result(page)).includes("Lisbon"));
      await picture(page, "status-page-called");
    },
  },
  "whoever may not is told what to do, and can sign out": {
    refusals: true,
    async test(page) {
      await page.goto(at("/access"));
      await login(page, given.other);
      await page.getByRole("heading", { name: "You may not see this page" }).waitFor();
      const text = await page.locator("main").innerText();
      for (const want of [`logged in as ${given.other}`, "Ask whoever runs the gateway"]) assert.ok(text.includes(want), text);
      await fits(page);
      await accessible(page);
      await picture(page, "status-page-refused");
      await page.getByRole("link", { name: "Sign out" }).click();
      await login(page, given.operator);
      await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
      await page.getByRole("link", { name: "Sign out" }).click();
      await page.locator("#username").waitFor();
    },
  },
  "an open page notices that somebody has signed out": {
    refusals: true,
    async test(page, context) {
      await page.goto(at("/"));
      await login(page, given.operator);
      await page.getByText("2 of 2 ready").waitFor();
      await page.mouse.move(0, 0);
      await signedOut(context);
      await login(page, given.operator);
      await page.getByText("2 of 2 ready").waitFor();

      await page.goto(at("/items/tools"));
      await signedOut(context);
      await page.getByLabel("Search").fill("forecast");
      await login(page, given.operator);
      await page.getByRole("link", { name: "weather_get_forecast" }).waitFor();

      await page.goto(at("/access"));
      await signedOut(context);
      await page.getByLabel("Groups").fill("developers");
      await page.getByRole("button", { name: "Ask" }).click();
      await login(page, given.operator);
      await page.getByRole("heading", { level: 1, name: "Access" }).waitFor();
      assert.ok(page.url().includes("groups=developers"), page.url());
    },
  },
  "several windows may begin to log in at once": {
    async test(page, context) {
      await page.goto(at("/"));
      const other = await context.newPage();
      await other.goto(at("/access"));
      await other.locator("#username").waitFor();
      await login(page, given.operator);
      await page.getByText("2 of 2 ready").waitFor();
    },
  },
}, {
  args: [`--host-resolver-rules=MAP ${new URL(given.page).host} ${given.address}`],
  window: { ignoreHTTPSErrors: true }, // nobody knows who signed the route's certificate
});
