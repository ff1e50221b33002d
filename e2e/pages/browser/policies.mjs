// A gateway with an issuer and rules: {"admin": URL, "endpoint": URL, "token": a good one of Alice's, "screenshots": folder}
import { accessible, assert, fits, given, phone, picture, result, run } from "./lib.mjs";

const tool = `${given.admin}/item/tools?name=weather_forecast`;

async function call(page) {
  await page.getByLabel("city").fill("Lisbon");
  await page.getByRole("button", { name: "Call", exact: true }).click();
  return result(page);
}

async function login(page, context, user) {
  const opened = context.waitForEvent("page");
  await page.getByRole("button", { name: "Log in" }).click();
  const window = await opened;
  await window.locator("#user").fill(user);
  await window.locator("#login").click();
  await page.getByText("Logged in.").waitFor();
  assert.equal(context.pages().length, 1, "the window of the login has closed itself");
}

await run({
  "who may use a tool": {
    async test(page) {
      await page.goto(tool);
      await page.getByText("group staff").waitFor();
      await page.getByLabel("Groups").fill("staff");
      await page.getByRole("button", { name: "Ask" }).click();
      await page.getByText('Allowed: the rule "staff-forecasts" allows it.').waitFor();
      await accessible(page);
      await picture(page, "access-of-a-tool");
      await page.getByLabel("Groups").fill("others");
      await page.getByRole("button", { name: "Ask" }).click();
      await page.getByText("Denied: no rule allows it to this caller.").waitFor();
    },
  },
  "what somebody may have": {
    async test(page) {
      for (const [device, name] of [[undefined, "access"], [phone.viewport, "access-phone"]]) {
        if (device) await page.setViewportSize(device);
        await page.goto(`${given.admin}/access`);
        await page.getByLabel("User", { exact: true }).fill("alice");
        await page.getByLabel("Groups").fill("staff");
        await page.getByRole("button", { name: "Ask" }).click();
        await page.getByText("1 of 4").waitFor();
        await accessible(page);
        await fits(page);
        await picture(page, name);
      }
    },
  },
  "a call without a token, then with one that is pasted": {
    refusals: true,
    async test(page) {
      await page.goto(tool);
      assert.match(await call(page), /401: [^]*log in, or paste one/);
      await accessible(page);
      await picture(page, "unauthorized");
      await page.getByLabel("Access token").fill(given.token);
      assert.match(await call(page), /^Done in/);
    },
  },
  "a login in a window of its own": {
    refusals: true, // of metadata in a place where this issuer has none
    async test(page, context) {
      await page.goto(tool);
      await page.getByLabel("city").fill("Porto");
      await login(page, context, "alice");
      assert.equal(await page.getByLabel("city").inputValue(), "Porto", "what was filled in stays");
      assert.match(await call(page), /^Done in/);
      const kept = await page.evaluate(() => [document.cookie, localStorage.length, sessionStorage.length]);
      assert.deepEqual(kept, ["", 0, 0], "the token is kept nowhere");
    },
  },
  "the rules hold for whoever logs in": {
    refusals: true,
    async test(page, context) {
      await page.goto(tool);
      await login(page, context, "mallory");
      assert.match(await call(page), /403: [^]*may not use it/);
    },
  },
});
