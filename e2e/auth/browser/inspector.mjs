// Logs in through the page of the MCP Inspector as a person would, and prints what the page then shows, as one line of JSON:
//   {"tools": [names], "result": text of the called tool}
// The variables PLAYWRIGHT_CORE and CHROMIUM_BIN lead to the browser; the one argument is JSON:
//   {"inspector": URL, "user": name, "password": text, "call": tool or "", "fill": {label: text},
//    "expect": text of the result, "screenshots": folder and prefix}
const { chromium } = await import(`${process.env.PLAYWRIGHT_CORE}/index.mjs`);
const { inspector, user, password, call, fill, expect, screenshots } = JSON.parse(process.argv[2]);

// Tests run as root and in containers, where Chromium's sandbox and its shared memory do not work.
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM_BIN,
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 600 } });
page.setDefaultTimeout(60_000);
let picture = 0;
const screenshot = (name, of = page) => of.screenshot({ path: `${screenshots}-${++picture}-${name}.png`, animations: "disabled" });

// look opens the tab of the tools, and calls one if that is asked for.
async function look() {
  await page.locator("label", { hasText: /^Tools$/ }).click();
  const count = page.getByText(/^Tools \(\d+\)$/);
  await count.waitFor();
  const expected = Number((await count.innerText()).match(/\d+/)[0]);
  const items = page.locator("button.list-item");
  if (expected > 0) await items.nth(expected - 1).waitFor();
  const tools = await items.allInnerTexts();
  await screenshot("tools");
  if (!call) return { tools };

  await items.filter({ hasText: call }).click();
  for (const [label, text] of Object.entries(fill)) await page.getByRole("textbox", { name: label }).fill(text);
  await page.getByRole("button", { name: "Execute Tool" }).click();
  await page.getByText(expect).first().waitFor();
  await screenshot("called");
  return { tools, result: (await page.locator("body").innerText()).split("\nResults\n")[1] };
}

try {
  await page.goto(inspector);
  const connect = page.getByRole("switch", { name: /^Connect or disconnect/ });
  await connect.waitFor();
  await screenshot("disconnected");

  await connect.click({ force: true }); // what people see and click is the track that covers it
  await page.locator("#username").waitFor();
  await screenshot("login", page.locator("main")); // without the picture behind the form
  await page.locator("#username").fill(user);
  await page.locator("#password").fill(password);
  await page.locator("#kc-login").click();

  await page.getByText("Connected", { exact: true }).waitFor();
  await screenshot("connected");
  process.stdout.write(`${JSON.stringify(await look())}\n`);
} catch (error) {
  await screenshot("failed");
  process.stderr.write(`at ${page.url()}: ${error}\n${await page.locator("body").innerText()}\n`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
