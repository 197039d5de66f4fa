// Opens pages in Chromium, as the lines of standard input say; for each, a line of standard output has what was seen.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// With `quic`, a host and a port, it speaks HTTP/3 there at once.
const [folder, executablePath, certificate, hosts, quic] = process.argv.slice(2);
const { chromium } = createRequire(folder + "/")("playwright-core");
const browser = await chromium.launch({
  executablePath,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    ...(quic ? ["--enable-quic", `--origin-to-force-quic-on=${quic}`] : ["--disable-quic"]),
    "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
    `--host-resolver-rules=MAP ${hosts} 127.0.0.1`,
    `--ignore-certificate-errors-spki-list=${certificate}`,
  ],
});

// Runs in the page.
async function look({ extra, fonts }) {
  for (const url of extra) document.body.append(Object.assign(new Image(), { src: url }));
  const images = [];
  for (const image of document.images) {
    await image.decode().catch(() => {});
    images.push([image.src, image.naturalWidth]);
  }
  const loaded = {};
  for (const font of fonts) {
    const faces = await document.fonts.load(font).catch(() => []);
    loaded[font] = faces.length > 0 && document.fonts.check(font);
  }
  const title = document.querySelector("h1");
  // Of each curve in a plot: its name, its box, and the box of its plot.
  const box = (element) => (({ left, top, right, bottom }) => [left, top, right, bottom])(element.getBoundingClientRect());
  const curves = [...document.querySelectorAll("svg .curve")].map((curve) => [
    curve.closest("figure").querySelector("figcaption").textContent, curve.textContent, box(curve), box(curve.closest("svg")),
  ]);
  return { curves, images, fonts: loaded, color: getComputedStyle(title).color, width: title.getBoundingClientRect().width };
}

const tell = (answer) => answer && [answer.status(), answer.headers()["x-cache"]];

// `upload`: files for the form. `extra`: pictures that the page does not have itself. `fonts`: what CSS calls them.
async function visit({ url, cookies = [], upload = [], extra = [], fonts = [], screenshot }) {
  const context = await browser.newContext();
  const limit = setTimeout(() => context.close(), 60_000);
  try {
    await context.addCookies(cookies);
    const page = await context.newPage();
    const requests = [];
    page.on("request", (request) => requests.push(request));
    await page.goto(url);
    for (const file of upload) {
      await page.setInputFiles("input[type=file]", file);
      await Promise.all([page.waitForEvent("load"), page.click("button")]);
    }
    const seen = await page.evaluate(look, { extra, fonts });
    if (screenshot) await page.screenshot({ path: screenshot });
    seen.answers = {};
    for (const request of requests) seen.answers[request.url()] = tell(await request.response());
    // What is no picture is kept from the page, and its status with it; opened by itself, it shows that.
    for (const [url, width] of seen.images) {
      if (width === 0) seen.answers[url] = tell(await page.goto(url));
    }
    return seen;
  } finally {
    clearTimeout(limit);
    await context.close();
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const seen = await visit(JSON.parse(line)).catch((error) => ({ error: String(error) }));
  console.log(JSON.stringify(seen));
}
await browser.close();
