//! The report as a self-contained HTML page, light or dark.

use std::{fmt::Write, time::Duration};

use super::{
    Second,
    plot::{self, Curve, Plot, step},
    report::{Report, float, grouped, in_milliseconds, latency_text, milliseconds, percent},
};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2430; --soft: #66707f; --line: #e3e7ee; --ground: #fff; --card: #f7f8fb;
  --c0: #1f6feb; --c1: #12a594; --c2: #e8890c; --c3: #d6336c; --c4: #7a5af5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #97a1b0; --line: #2b323d; --ground: #12161c; --card: #191e26;
  --c0: #5b9dff; --c1: #3cc7b4; --c2: #f5a742; --c3: #f0729b; --c4: #a48bff; } }
body { margin: 0 auto; padding: 2.5rem 1.25rem; max-width: 62rem; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; font-variant-numeric: tabular-nums; }
h1 { margin: 0; font-size: 1.5rem; letter-spacing: -.01em; overflow-wrap: anywhere; }
h1 + p { margin: .15rem 0 1.75rem; color: var(--soft); }
.key { display: flex; flex-wrap: wrap; gap: .75rem; margin: 0 0 1.5rem; padding: 0; list-style: none; }
.key li { flex: 1 1 8rem; padding: .8rem 1rem; border-radius: .6rem; background: var(--card); }
.key b { display: block; font-size: 1.35rem; letter-spacing: -.01em; }
.key span { color: var(--soft); font-size: .85rem; }
figure { margin: 0 0 1.25rem; padding: 1rem; border-radius: .6rem; background: var(--card); }
figcaption { margin-bottom: .5rem; font-weight: 600; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 11px; }
.level { text-anchor: end; } .mark { text-anchor: middle; }
.grid { stroke: var(--line); fill: none; }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.curve.c0 { stroke: var(--c0); } .curve.c1 { stroke: var(--c1); } .curve.c2 { stroke: var(--c2); } .curve.c3 { stroke: var(--c3); } .curve.c4 { stroke: var(--c4); }
.legend { display: flex; gap: 1.25rem; margin: .5rem 0 0 6rem; color: var(--soft); font-size: .85rem; }
.legend span::before { content: ''; display: inline-block; width: .8em; height: .25em; margin-right: .45em; vertical-align: middle; border-radius: 1em; background: currentColor; }
.legend .c0::before { color: var(--c0); } .legend .c1::before { color: var(--c1); } .legend .c2::before { color: var(--c2); } .legend .c3::before { color: var(--c3); } .legend .c4::before { color: var(--c4); }
pre { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .4rem .6rem .4rem 0; border-top: 1px solid var(--line); text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { width: 9rem; color: var(--soft); font-weight: 400; }
details { margin-top: 1.25rem; } details li { overflow-wrap: anywhere; }
@media (max-width: 34rem) {
  body { padding: 1.5rem .75rem; } figure { padding: .75rem .5rem; }
  svg text { font-size: 18px; } .legend { margin-left: 0; flex-wrap: wrap; }
  th, td { display: block; width: auto; } td { padding-top: 0; border-top: 0; }
}
";

impl Report {
    /// The report as an HTML page, with plots and without external files.
    #[must_use]
    pub fn page(&self) -> String {
        render(self)
    }
}

fn render(report: &Report) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let subtitle = format!("forebay load {version}, {:.1} s", report.time().as_secs_f64());
    let mut page = String::from("<ul class=\"key\">");
    for (name, value) in key_figures(report) {
        // Writing to a String cannot fail.
        let _ = write!(page, "<li><b>{value}</b><span>{name}</span></li>");
    }
    page += "</ul>\n";
    for plot in [distribution(report), throughput(report), misses(report), latency(report)] {
        page += &plot;
        page.push('\n');
    }
    page += "<table>";
    for (name, value) in report.rows() {
        let _ = write!(page, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
    }
    for (name, value) in report.latencies() {
        let _ = write!(page, "<tr><th>latency {name}</th><td>{}</td></tr>", latency_text(value));
    }
    page += "</table>\n<details><summary>URLs</summary><ol>";
    for url in report.run.targets.first_urls() {
        let _ = write!(page, "<li>{}</li>", escape(&url));
    }
    page += "</ol></details>";
    html_page(&format!("Load test of {}", report.server()), &subtitle, &page)
}

/// A page with a title, a line below it, and a body of HTML.
pub(crate) fn html_page(title: &str, subtitle: &str, body: &str) -> String {
    let (title, subtitle) = (escape(title), escape(subtitle));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n\
         <h1>{title}</h1><p>{subtitle}</p>\n{body}</body></html>\n"
    )
}

fn key_figures(report: &Report) -> Vec<(&'static str, String)> {
    let percentiles = crate::load::tally::percentiles(&report.total.latencies);
    let percentile = |place: usize| latency_text(percentiles.map(|values| values[place]));
    vec![
        ("requests/s", grouped(report.requests_per_second())),
        ("hits", report.hit_ratio().map_or("–".into(), percent)),
        ("latency p50", percentile(0)),
        ("latency p99", percentile(2)),
        ("errors", grouped(float(report.total.errors()))),
    ]
}

/// Latency by percentile; each nine has the same width on the axis.
fn distribution(report: &Report) -> String {
    const STEP: f64 = 0.02;
    let histogram = &report.total.latencies;
    let nines = float(histogram.len().max(10)).log10().clamp(1.0, 5.0);
    let mut points = Vec::new();
    let mut place = 0.0;
    while !histogram.is_empty() && place <= nines + STEP / 2.0 {
        let micros = histogram.value_at_quantile(1.0 - 10_f64.powf(-place));
        points.push((place, in_milliseconds(Duration::from_micros(micros))));
        place += STEP;
    }
    let marks = [
        (std::f64::consts::LOG10_2, "p50"),
        (1.0, "p90"),
        (2.0, "p99"),
        (3.0, "p99.9"),
        (4.0, "p99.99"),
        (5.0, "p99.999"),
    ];
    Plot {
        title: "Latency by percentile",
        curves: vec![Curve { name: "latency", points }],
        marks: marks.map(|(at, label)| (at, label.to_owned())).to_vec(),
        label: &|value| milliseconds(Duration::from_secs_f64(value / 1000.0)),
        least_top: 0.0,
    }
    .render()
}

/// The middle of a second, to which its averages belong.
fn middle(second: &Second) -> f64 {
    second.at.as_secs_f64() - second.length.as_secs_f64() / 2.0
}

fn throughput(report: &Report) -> String {
    let points = report.seconds.iter().map(|second| {
        let length = second.length.as_secs_f64().max(f64::MIN_POSITIVE);
        (middle(second), float(second.answers) / length)
    });
    over_time(
        report,
        "Requests/s",
        vec![Curve { name: "requests/s", points: points.collect() }],
        &grouped,
        1.0,
    )
}

/// Everything but hits: on an axis up to 100%, one miss in a thousand would look like none.
fn misses(report: &Report) -> String {
    let seconds = report.seconds.iter();
    let points =
        seconds.filter_map(|second| Some((middle(second), (1.0 - second.hit_ratio?) * 100.0)));
    let label = |value: f64| format!("{}%", (value * 1000.0).round() / 1000.0);
    over_time(
        report,
        "Misses",
        vec![Curve { name: "misses", points: points.collect() }],
        &label,
        0.01,
    )
}

fn latency(report: &Report) -> String {
    let curve = |name, place: usize| {
        let point = |second: &Second| {
            let value = second.percentiles?[place];
            Some((middle(second), in_milliseconds(value)))
        };
        Curve { name, points: report.seconds.iter().filter_map(point).collect() }
    };
    let curves = vec![curve("p50", 0), curve("p90", 1), curve("p99", 2), curve("p99.9", 3)];
    over_time(
        report,
        "Latency over time",
        curves,
        &|value| milliseconds(Duration::from_secs_f64(value / 1000.0)),
        0.0,
    )
}

fn over_time(
    report: &Report,
    title: &str,
    curves: Vec<Curve>,
    label: &dyn Fn(f64) -> String,
    least_top: f64,
) -> String {
    let end = report.time().as_secs_f64();
    let marks = plot::levels(end, step(end / 8.0));
    let marks = marks.into_iter().map(|(at, label)| (at, format!("{label} s"))).collect();
    Plot { title, curves, marks, label, least_top }.render()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
