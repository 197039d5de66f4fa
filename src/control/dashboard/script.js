const PAUSE = 5000;
let range = "1h";
let shownDistributions = "";
let lastEvictions = null;
let refreshes = 0;
// Classes of errors without a response.
const WITHOUT_ANSWER = /^origin-(dns|connect|connection|tls|timeout|busy)$/;

// A share in percent; few of many are not none.
function share(part, whole) {
  return part > 0 && part < 0.0005 * whole ? "< 0.1%" : percent(part, whole);
}

function tiles({ total, seconds }, { cost, currency }) {
  const cached = total.hits + total.refresh_hits;
  const money = cost >= 0.01 || cost === 0 ? cost.toFixed(2) : cost.toPrecision(1);
  const tile = (value, name, bad) => element("div", { className: "tile" }, element("b", { textContent: value, className: bad ? "bad" : "" }), element("span", { textContent: name }));
  place("tiles",
    tile(count(total.requests), `requests in ${time(seconds)}`),
    tile(percent(cached, total.requests), "hit ratio, of requests"),
    tile(percent(total.hit_bytes, total.bytes), "hit ratio, of bytes"),
    tile(bytes(total.bytes), "sent to viewers"),
    tile(count(total.hits), "requests saved at origins"),
    tile(bytes(total.hit_bytes), "saved at origins"),
    tile(`${money} ${currency}`, "saved, at your prices (admin.prices)"),
    tile(share(total.server_errors, total.requests), "server errors", total.server_errors > 0.01 * total.requests),
    tile(share(total.client_errors, total.requests), "client errors"));
}

function showTraffic({ time_bounds_seconds: bounds, traffic, saved }) {
  tiles(traffic, saved);
  const { paddingLeft, paddingRight } = getComputedStyle(find("requests-plot"));
  WIDTH = Math.max(200, find("requests-plot").clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight));
  const rate = (name) => (step) => step[name] / step.seconds;
  curves("requests-plot", "Requests per second", traffic.steps, [
    ["hits", "c-hit", rate("hits")], ["validated", "c-refresh", rate("refresh_hits")], ["misses", "c-miss", rate("misses")]], count);
  curves("bytes-plot", "Bytes per second", traffic.steps, [
    ["sent", "c-refresh", rate("bytes")], ["of these, from the cache", "c-hit", rate("hit_bytes")]], bytes);
  curves("ratio-plot", "Hit ratio", traffic.steps, [
    ["of requests", "c-hit", (step) => (step.requests ? (step.hits + step.refresh_hits) / step.requests : NaN)],
    ["of bytes", "c-refresh", (step) => (step.bytes ? step.hit_bytes / step.bytes : NaN)]], (part) => `${Math.round(100 * part)}%`, 1);
  curves("error-plot", "Errors per second", traffic.steps, [
    ["server errors", "c-error", rate("server_errors")], ["client errors", "c-miss", rate("client_errors")], ["stale responses", "c-refresh", rate("stale")]], count);
  histogram("hit-plot", "How long hits take", bounds, traffic.total.hit_times, "c-hit");
  histogram("miss-plot", "How long misses take", bounds, traffic.total.miss_times, "c-miss");
}

const alarming = (textContent, isBad) => element("span", { textContent, className: isBad ? "bad" : "" });
const ORIGIN = ["Origin", (row) => row.origins.join(", then ") || null];
const COLUMNS = [
  ["Requests", (row) => count(row.requests), "n"], ["Hits", (row) => count(row.hits), "n"], ["Misses", (row) => count(row.misses), "n"],
  ["Bytes", (row) => bytes(row.bytes), "n"], ["4xx", (row) => count(row.client_errors), "n"], ["5xx", (row) => alarming(count(row.server_errors), row.server_errors > 0), "n"],
];

function showTop(top, several) {
  const where = several ? [["Distribution", (row) => row.distribution]] : [];
  table("objects", [...where, ["Path", (row) => row.path, "w"], ...COLUMNS], top.objects, "No requests yet.");
  table("slow", [...where, ["Path", (row) => row.path, "w"], ORIGIN, ["Slow requests", (row) => count(row.requests), "n"],
    ["Mean", (row) => time(row.microseconds / 1e6 / row.requests), "n"], ["In total", (row) => time(row.microseconds / 1e6), "n"]], top.slow_objects, "No request took so long.");
  table("referrers", [["Page", (row) => row.name, "w"], ...COLUMNS.slice(0, 4)], top.referrers, "No request had a Referer yet.");
  table("agents", [["Kind", (row) => row.name], ...COLUMNS.slice(0, 4)], top.user_agents, "No requests yet.");
  table("countries", [["Country", (row) => (row.name ? country(row.name) : "Unknown")], ...COLUMNS.slice(0, 4)], top.countries, "No countries are known: set geo.database to see them.");
}

// Errors with the same cause in one row, with the paths of the last three.
function grouped(errors) {
  const groups = new Map();
  for (const error of errors) {
    const key = JSON.stringify([error.distribution, error.origins, error.status, error.reason, error.advice]);
    const group = groups.get(key);
    const path = `${error.method} ${error.path}`;
    if (group) {
      group.times += error.times;
      group.paths.push(path);
    } else groups.set(key, { ...error, paths: [path] });
  }
  return [...groups.values()];
}

function showErrors(errors, now) {
  table("errors", [
    ["Last", (row) => ago(row.at, now), "t"], ["Times", (row) => count(row.times), "n"], ["Status", (row) => alarming(row.status, row.status >= 500), "n"],
    ["Reason", (row) => row.reason ?? (row.origins.length > 0 ? "answer of the origin" : null)], ["What to do", (row) => row.advice, "w"],
    ["Path", (row) => row.paths.slice(0, 3).join(", ") + (row.paths.length > 3 ? " and others" : ""), "w"], ["Distribution", (row) => row.distribution || null], ORIGIN,
  ], grouped(errors), "No errors.");
}

// The series of a metric that have these labels.
const series = (metrics, name, labels) => (metrics[name] ?? [])
  .filter(({ labels: own }) => Object.entries(labels).every(([key, value]) => own[key] === value));
const total = (found) => found.reduce((all, { value }) => all + value, 0);

function quantile(metrics, name, labels, part) {
  const buckets = series(metrics, `${name}_bucket`, labels).map(({ labels: { le }, value }) => [Number(le.replace("+Inf", "Infinity")), value]).sort(([a], [b]) => a - b);
  const all = buckets.at(-1)?.[1] ?? 0;
  const found = buckets.find(([, value]) => value >= part * all);
  if (all === 0 || !found) return null;
  return Number.isFinite(found[0]) ? `≤ ${time(found[0])}` : "> 30 s";
}

const both = (one, other) => one && `${one}, ${other}`;
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// Requests to an origin since the start.
function counted(metrics, key) {
  const answers = (status) => total(series(metrics, "forebay_origin_requests_total", { ...key, ...status }));
  const errors = series(metrics, "forebay_origin_errors_total", key);
  const [server_errors, unanswered] = [answers({ status: "5xx" }), total(errors.filter(({ labels }) => WITHOUT_ANSWER.test(labels.class)))];
  return { all: answers({}) + unanswered, server_errors, unanswered };
}

function state({ is_skipped, is_throttled, is_failing, denies_most, last_minute: { requests, failed } }) {
  if (is_skipped) return "failing, skipped";
  if (is_throttled) return "throttled";
  if (denies_most) return "denying most objects";
  if (failed > 0 && failed < requests) return "partly failing";
  return is_failing ? "failing" : "ok";
}

function showOrigins(configured, metrics) {
  const origins = configured.map((origin) => ({ ...origin, counts: counted(metrics, origin.key) }));
  table("origins", [
    ["Origin", (row) => `${row.distribution}, ${row.id}`, "t"], ["Address", (row) => (row.bucket ? `${row.bucket} at ${row.address}` : row.address), "w"],
    ["State", (row) => alarming(state(row), state(row) !== "ok")],
    ["Failed lately", (row) => alarming(share(row.last_minute.failed, row.last_minute.requests), row.last_minute.failed > 0), "n"],
    ["Requests", (row) => count(row.counts.all), "n"],
    ["5xx", (row) => alarming(count(row.counts.server_errors), row.counts.server_errors > 0), "n"],
    ["No answer", (row) => alarming(count(row.counts.unanswered), row.counts.unanswered > 0), "n"],
    ["Median, 99%", (row) => both(quantile(metrics, "forebay_origin_duration_seconds", row.key, 0.5), quantile(metrics, "forebay_origin_duration_seconds", row.key, 0.99)), "n"],
    ["Last error, and what to do", (row) => row.last_error && `${since(row.last_error.seconds_ago)}: ${row.last_error.error}. ${capital(row.last_error.advice)}`, "w"],
  ], origins, "No origins.");
}

function showState(overview, metrics) {
  const { memory, disk, now, readiness } = overview;
  const value = (name) => metrics[name]?.[0]?.value;
  pairs("cache", [
    ["Memory", `${binary(memory.bytes)} of ${binary(memory.limit)} (${percent(memory.bytes, memory.limit)})`],
    ["Responses and slices", count(memory.entries)], ["Evictions", count(memory.evictions)],
    ["Disk", disk ? `${binary(disk.bytes)} of ${binary(disk.limit)} (${percent(disk.bytes, disk.limit)})` : "none"],
    ...(disk ? [["Records on disk", count(disk.entries)], ["Evictions from disk", count(value("forebay_disk_evictions_total") ?? 0)],
      ["Read from disk", count(value("forebay_disk_reads_total") ?? 0)], ["Written to disk", binary(value("forebay_disk_written_bytes_total") ?? 0)],
      ["Not admitted", count(value("forebay_disk_not_admitted_total") ?? 0)], ["Waiting to be written", binary(disk.queue_bytes)], ["Write budget", disk.write_budget ? `${binary(disk.write_budget)} a day` : "none"],
      ["In use", disk.is_in_use ? "yes" : "no", !disk.is_in_use]] : []),
  ]);
  const evicted = lastEvictions === null ? 0 : memory.evictions - lastEvictions;
  lastEvictions = memory.evictions;
  const misses = (metrics.forebay_requests_total ?? []).filter(({ labels }) => labels.result === "Miss").reduce((all, { value: one }) => all + one, 0);
  const avoidable = memory.evicted_misses;
  find("advice").textContent = memory.evictions === 0
    ? "Nothing was evicted: more memory would not raise the hit ratio."
    : avoidable === 0
      ? "What was evicted was not requested again: more memory would not raise the hit ratio."
      : `${count(avoidable)} of ${count(misses)} misses (${share(Math.min(avoidable, misses), misses)}) were for objects that had been evicted while they were fresh. More memory (cache.memory) or a disk cache would have avoided these misses; forebay simulate predicts how much is enough.${evicted > 0 ? ` ${count(evicted)} objects were evicted in the last 5 seconds.` : ""}`;
  const expires = (at) => (at > now / 1000 ? `expires in ${time(at - now / 1000)}` : at > 0 ? "has expired" : "none yet");
  const soon = (at) => at < now / 1000 + 7 * 86400;
  pairs("process", [
    ["Version", overview.version], ["Running for", time((now - overview.started) / 1000)],
    ["Ready", readiness.ready ? "yes" : "no", !readiness.ready], ["Credentials", readiness.credentials, readiness.credentials === "missing"],
    ["AWS credentials", [overview.credentials_source && `from ${overview.credentials_source}`, overview.credentials_expiry && expires(overview.credentials_expiry / 1000)].filter(Boolean).join(", ") || null],
    ["Last reload", value("forebay_config_last_reload_successful") === 0 ? "failed" : "succeeded", value("forebay_config_last_reload_successful") === 0],
    ...(overview.staging ? [["Staging", overview.staging.has_ended ? "ended: more of its requests failed" : `${percent(overview.staging.weight, 1)} of requests`, overview.staging.has_ended]] : []),
    ["Workers", count(overview.workers)], ["Connections", count(value("forebay_connections") ?? 0)],
    ["Resident memory", binary(value("process_resident_memory_bytes") ?? 0)],
    ["Open files", `${count(value("process_open_fds") ?? 0)} of ${count(value("process_max_fds") ?? 0)}`],
    ["Lost log records", count(value("forebay_access_log_dropped_total") ?? 0), value("forebay_access_log_dropped_total") > 0],
    ...(metrics.forebay_certificate_expiry_timestamp_seconds ?? []).map(({ labels, value: at }) => [`Certificate ${labels.certificate}`, expires(at), soon(at)]),
    ...(metrics.forebay_acme_expiry_timestamp_seconds ?? []).map(({ labels, value: at }) => [`ACME certificate of ${labels.host}`, expires(at), at < now / 1000 + 86400]),
  ]);
  const { cluster } = overview;
  find("cluster-part").hidden = !cluster;
  if (cluster) {
    pairs("cluster", [
      ["Cluster", cluster.cluster], ["This node", cluster.node], ["Knows all purges", cluster.has_lease ? "yes" : cluster.reason ?? "no", !cluster.has_lease],
      ...cluster.members.map(({ node, ...more }) => [`Node ${node}`, Object.entries(more).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`).join(", ")]),
    ]);
  }
  const behaviors = overview.distributions.flatMap((distribution) => distribution.behaviors.map((behavior, at) => ({ ...behavior, distribution: at ? "" : distribution.id, aliases: at ? "" : distribution.aliases.join(", ") })));
  table("distributions", [
    ["Distribution", (row) => row.distribution], ["Aliases", (row) => row.aliases, "w"], ["Path pattern", (row) => row.pattern],
    ORIGIN, ["Viewers", (row) => row.viewer_protocol],
    ["Signed", (row) => (row.is_signed ? "yes" : "no")], ["Compressed", (row) => (row.compresses ? "yes" : "no")],
    ["TTL: min, default, max", (row) => row.ttl_seconds.map(time).join(", "), "n"], ["Enabled", (row) => (row.is_enabled ? "yes" : "no")],
  ], behaviors, "No distributions.");
}

function showInvalidations(invalidations, now) {
  table("invalidations", [
    ["ID", (row) => row.id], ["Distribution", (row) => row.distribution], ["Created", (row) => ago(row.created, now)],
    ["Status", (row) => row.status], ["Paths", (row) => row.paths.join(" ") + (row.count > row.paths.length ? ` and ${row.count - row.paths.length} more` : ""), "w"],
  ], invalidations, "No invalidations by CloudFront's API. Other purges are only in the log.");
}

const said = (error) => (error instanceof Refused ? error.message : `Forebay cannot be reached: ${error.message}`);

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function call(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  const answer = await response.json().catch(() => ({ error: `status ${response.status}` }));
  if (!response.ok) throw new Refused(response.status, answer.error);
  return answer;
}

function notice(text) {
  if (find("notice").textContent !== text) find("notice").textContent = text;
}

function logIn() {
  if (!find("board").hidden) notice("The session has ended.");
  else if (find("notice").textContent.startsWith("Forebay cannot")) notice("");
  find("login").hidden = false;
  find("board").hidden = true;
  find("logout").hidden = true;
  for (const shown of document.querySelectorAll(".scroll, #tiles, #explained, #purged")) shown.replaceChildren();
}

async function refresh() {
  refreshes += 1;
  const number = refreshes;
  let answers;
  try {
    const query = `?range=${range}`;
    answers = await Promise.all([
      call("/api/overview"), call(`/api/traffic${query}`), call(`/api/top${query}`), call("/api/errors"), call("/api/invalidations"), call("/api/metrics")]);
  } catch (error) {
    if (number !== refreshes) return;
    if (error.status === 401) logIn();
    else notice(said(error));
    return;
  }
  // A later one has begun.
  if (number !== refreshes) return;
  const [overview, traffic, top, errors, invalidations, metrics] = answers;
  notice("");
  find("login").hidden = true;
  find("board").hidden = false;
  find("logout").hidden = !overview.has_session;
  find("about").textContent = `${location.host}, version ${overview.version}`;
  const origins = overview.distributions.flatMap((distribution) => distribution.origins.map((origin) => ({
    ...origin, distribution: distribution.id, key: { distribution: distribution.id, origin: origin.id } })));
  const ids = overview.distributions.map(({ id }) => id);
  if (shownDistributions !== ids.join()) {
    shownDistributions = ids.join();
    find("purge").distribution.replaceChildren(...ids.map((id) => element("option", { textContent: id, value: id })));
  }
  showTraffic(traffic);
  showTop(top, ids.length > 1);
  showErrors(errors, overview.now);
  showOrigins(origins, metrics);
  showState(overview, metrics);
  showInvalidations(invalidations, overview.now);
}

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

function explained(answer) {
  const shown = Object.entries(answer).filter(([, value]) => value !== null && !(Array.isArray(value) && value.length === 0));
  return shown.map(([key, value]) => `${key.replaceAll("_", " ")}: ${typeof value === "string" ? value : JSON.stringify(value, null, 1)}`).join("\n");
}

function onSubmit(id, output, act) {
  find(id).addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      output(await act(event.target));
    } catch (error) {
      output(said(error));
      // The session may be over.
      await refresh();
    }
  });
}

onSubmit("login", notice, async (form) => {
  await call("/api/login", { token: form.token.value.trim() });
  form.token.value = "";
  await refresh();
  return "";
});
onSubmit("purge", (text) => { find("purged").textContent = text; }, async (form) => {
  const paths = lines(form.paths.value);
  const isAll = paths.some((path) => /^([a-z]+:\/\/[^/]+)?\/\*(\?|$)/i.test(path));
  if (isAll && !confirm("Purge everything of a distribution?")) return "";
  // Of URLs, Forebay finds the distribution, and refuses hosts that belong to none.
  const isClear = form.distribution.length === 1 || paths.every((path) => /^https?:/i.test(path));
  const answer = await call("/purge", { paths, soft: form.soft.checked, ...(isClear ? {} : { distribution: form.distribution.value }) });
  return `${new Date().toLocaleTimeString()}: purged ${paths.join(" ")} of ${answer.distribution}${form.soft.checked ? ", softly" : ""}.`;
});
onSubmit("explain", (text) => { find("explained").textContent = text; }, async (form) => explained(await call("/explain", { url: form.url.value })));

find("logout").addEventListener("click", async () => {
  // A refresh under way must not show the board again.
  refreshes += 1;
  try {
    await call("/api/logout", {});
    find("board").hidden = true;
    await refresh();
  } catch (error) {
    notice(said(error));
  }
});
for (const button of document.querySelectorAll("[data-range]")) {
  button.addEventListener("click", () => {
    range = button.dataset.range;
    for (const other of document.querySelectorAll("[data-range]")) other.setAttribute("aria-pressed", String(other === button));
    refresh();
  });
}

async function run() {
  await refresh();
  document.body.dataset.shown = "yes";
  for (;;) {
    await new Promise((done) => setTimeout(done, PAUSE));
    if (!document.hidden && find("login").hidden) await refresh();
  }
}
run();
