// Opens the dashboard in Chromium. Standard input has what to do, standard output what was seen, both as a line of JSON.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [folder, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(folder + "/")("playwright-core");
const browser = await chromium.launch({
  executablePath,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--disable-background-networking", "--no-proxy-server",
    "--host-resolver-rules=MAP rebound.example 127.0.0.1"],
});

// Runs in the page.
function look() {
  const luminance = (color) => {
    const [r, g, b] = color.match(/[\d.]+/g).slice(0, 3).map((part) => {
      const value = part / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const { backgroundColor } = getComputedStyle(at);
      if (!/rgba\(.*, 0\)/.test(backgroundColor)) return backgroundColor;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || node.closest("script, style, title, [hidden]")) continue;
    const { color, fill } = getComputedStyle(node);
    const [one, two] = [node.closest("svg") ? fill : color, background(node)].map(luminance).sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < 4.5) faint.push([text.data.trim().slice(0, 40), +ratio.toFixed(2)]);
  }
  const tables = {};
  for (const place of document.querySelectorAll(".scroll")) {
    tables[place.id] = [...place.querySelectorAll("tr")].map((row) => [...row.children].map((cell) => cell.textContent));
  }
  const text = (selector) => [...document.querySelectorAll(selector)].map((node) => node.textContent);
  const box = (node) => node.getBoundingClientRect();
  const plots = [...document.querySelectorAll("figure")].map((figure) => [
    figure.id,
    [...figure.querySelectorAll("path")].map((path) => path.getAttribute("d").length),
    Math.max(0, ...[...figure.querySelectorAll("rect:not(.step)")].map((bar) => box(bar).height)),
    box(figure.querySelector("svg") ?? figure).width,
  ]);
  // What the pointer shows on the first plot.
  const hints = [text("#requests-plot figcaption")[0], text("#requests-plot rect title").at(-1), text("#requests-plot .value")[0]];
  const beyond = [...document.querySelectorAll("section, figure, form, .tile, h2, td")].filter((node) => box(node).right > innerWidth + 1 || box(node).left < -1);
  const unnamed = [...document.querySelectorAll("input, textarea, select, button")].filter((node) => !node.labels?.length && !node.textContent.trim() && !node.ariaLabel);
  return {
    faint, tables, plots, hints, tiles: text(".tile"), visible: ["board", "login", "notice"].filter((id) => document.getElementById(id).getClientRects().length > 0),
    notice: text("#notice")[0], purged: text("#purged")[0], explained: text("#explained")[0], advice: text("#advice")[0],
    overflow: document.documentElement.scrollWidth - innerWidth, beyond: beyond.map((node) => node.id || node.textContent.slice(0, 40)),
    unnamed: unnamed.map((node) => node.outerHTML), images: document.images.length, injected: window.injected ?? null,
  };
}

async function visit({ url, width = 1024, height = 900, dark = false, token, purge, explain, range, screenshot, logout }) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light" });
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    const faults = [];
    page.on("console", (message) => { if (message.type() === "error") faults.push(message.text()); });
    page.on("pageerror", (error) => faults.push(String(error)));
    const answer = await page.goto(url);
    await page.waitForSelector("body[data-shown]");
    if (token) {
      await page.fill("#login input", token);
      await page.click("#login button");
      await page.waitForSelector("#board:not([hidden]), #notice:not(:empty)");
    }
    if (token && logout) {
      // The session outlives the page.
      await page.reload();
      await page.waitForSelector("body[data-shown]");
    }
    if (range) await page.click(`[data-range="${range}"]`);
    if (purge) {
      await page.fill("#purge textarea", purge);
      await page.click("#purge button");
      await page.waitForFunction(() => document.getElementById("purged").textContent);
    }
    if (explain) {
      await page.fill("#explain input", explain);
      await page.click("#explain button");
      await page.waitForFunction(() => document.getElementById("explained").textContent);
    }
    if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
    const cookies = await context.cookies();
    // A locator finds the new element if the page redraws meanwhile.
    const step = page.locator("#requests-plot svg .step").last();
    if (await page.locator("#board").isVisible()) await step.hover({ force: true });
    const seen = { ...await page.evaluate(look), faults, cookies, policy: answer.headers()["content-security-policy"] };
    if (logout) {
      await page.click("#logout");
      await page.waitForSelector("#login:not([hidden])");
      seen.after = [await context.cookies(), (await page.evaluate(look)).visible];
    }
    // By keyboard alone: what has the focus, one after the other.
    seen.focused = [];
    for (let step = 0; step < 6; step += 1) {
      await page.keyboard.press("Tab");
      seen.focused.push(await page.evaluate(() => document.activeElement.textContent.trim().slice(0, 20) || document.activeElement.id || document.activeElement.name));
    }
    return seen;
  } finally {
    await context.close();
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const seen = await visit(JSON.parse(line)).catch((error) => ({ error: String(error) }));
  console.log(JSON.stringify(seen));
}
await browser.close();
