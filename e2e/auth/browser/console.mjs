// Calls a tool from the gateway's own status page with a login at a real issuer, and prints what the page then shows.
// The variables PLAYWRIGHT_CORE and CHROMIUM_BIN lead to the browser; the one argument is JSON:
//   {"page": URL of a tool's page, "user": name, "password": text, "client": id, "fill": {label: text}, "screenshots": folder and prefix}
const { chromium } = await import(`${process.env.PLAYWRIGHT_CORE}/index.mjs`);
const { page: url, user, password, client, fill, screenshots } = JSON.parse(process.argv[2]);

// Tests run as root and in containers, where Chromium's sandbox and its shared memory do not work.
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM_BIN, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
const page = await browser.newPage();
page.setDefaultTimeout(30_000);
const said = [];
page.on("console", (m) => said.push(m.text()));
try {
  await page.goto(url);
  // Keycloak lets no page register itself; the page says so, and asks for a client.
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText("does not let this page register").waitFor();
  await page.waitForFunction(() => document.activeElement.id === "client");
  await page.getByLabel("Client id").fill(client);
  const opened = page.context().waitForEvent("page");
  await page.getByRole("button", { name: "Log in" }).click();
  const login = await opened;
  await login.locator("#username").waitFor();
  await login.locator("#username").fill(user);
  await login.locator("#password").fill(password);
  await login.locator("#kc-login").click();
  await page.getByText("Logged in.").waitFor();
  for (const [label, text] of Object.entries(fill)) await page.getByLabel(label).fill(text);
  await page.getByRole("button", { name: "Call", exact: true }).click();
  await page.locator("#result .verdict, #result .note").first().waitFor();
  process.stdout.write(await page.locator("#result").innerText());
  await page.screenshot({ path: `${screenshots}-console.png`, fullPage: true });
} catch (error) {
  await page.screenshot({ path: `${screenshots}-console-failed.png`, fullPage: true });
  process.stderr.write(`at ${page.url()}: ${error}\n${said.join("\n")}\n`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
