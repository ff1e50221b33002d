// What the tests of the status pages share: a browser, pictures, the judgement of axe, and what a page complains of.
//   PLAYWRIGHT_CORE, CHROMIUM_BIN and AXE_CORE lead to the tools; the one argument is JSON, which the test has made.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const { chromium } = await import(`${process.env.PLAYWRIGHT_CORE}/index.mjs`);
const axe = readFileSync(process.env.AXE_CORE, "utf8");
export const given = JSON.parse(process.argv[2]);
export { assert };

export const desktop = { viewport: { width: 1280, height: 800 } };
export const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

// run gives each scenario a page of its own. What a page complains of fails it, but for answers that the scenario wants to be refused, and for what it
// knows of. The browser and its windows may have more options.
export async function run(scenarios, { args = [], window = {} } = {}) {
  // Tests run as root and in containers, where Chromium's sandbox and its shared memory do not work.
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM_BIN, args: ["--no-sandbox", "--disable-dev-shm-usage", ...args] });
  let failed = 0;
  for (const [name, { device = desktop, colorScheme = "light", refusals = false, known = /^$/, test }] of Object.entries(scenarios)) {
    const context = await browser.newContext({ ...device, colorScheme, ...window });
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    const complaints = [];
    page.on("console", (m) => {
      const wanted = refusals && /Failed to load resource: the server responded with a status of 4\d\d/.test(m.text());
      if (["error", "warning"].includes(m.type()) && !wanted && !known.test(m.text())) complaints.push(m.text());
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    try {
      await test(page, context);
      assert.deepEqual(complaints, [], "the browser complains");
      console.log(`ok ${name}`);
    } catch (error) {
      failed++;
      await picture(page, `failed-${name.replace(/\W+/g, "-")}`).catch(() => {});
      console.log(`FAILED ${name} at ${page.url()}: ${error.stack}\n${complaints.join("\n")}`);
    }
    await context.close();
  }
  await browser.close();
  process.exitCode = failed ? 1 : 0;
}

export const picture = (page, name) => page.screenshot({ path: `${given.screenshots}/${name}.png`, animations: "disabled", fullPage: true });

// accessible has axe judge the page as it is now, by the rules of WCAG 2.2 AA and its best practices.
export async function accessible(page) {
  // The page's own policy lets no script in, so it comes by the debugger.
  const found = await page.evaluate(`${axe}; axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })`);
  const broken = found.violations.map((v) => `${v.id}: ${v.help}\n  ${v.nodes.slice(0, 3).map((n) => `${n.target}: ${n.failureSummary}`).join("\n  ")}`);
  assert.equal(broken.join("\n"), "", `axe at ${page.url()}`);
}

// fits tells that nothing makes the page wider than the screen.
export async function fits(page) {
  const [content, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(content <= screen, `the page is ${content} wide on a screen of ${screen}`);
}

// result is what the console shows once a call has ended.
export async function result(page) {
  const shown = page.locator("#result .verdict, #result .note, #result .fine").first();
  await shown.waitFor();
  return page.locator("#result").innerText();
}
