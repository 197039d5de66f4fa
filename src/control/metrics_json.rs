//! The metrics as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

/// A value of a metric.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Series {
    labels: BTreeMap<String, String>,
    value: f64,
}

/// Reads metrics in the OpenMetrics format, by name.
pub(super) fn parse_metrics(text: &str) -> BTreeMap<String, Vec<Series>> {
    let mut families = BTreeMap::<String, Vec<Series>>::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, series)) = line.rsplit_once(' ').and_then(|(key, value)| {
            let (name, labels) = match key.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}')?),
                None => (key, ""),
            };
            let value = value.parse().ok().filter(|value: &f64| value.is_finite())?;
            Some((name, Series { labels: labels_of(labels), value }))
        }) else {
            continue;
        };
        families.entry(name.to_owned()).or_default().push(series);
    }
    families
}

/// Reads `name="value",…`.
fn labels_of(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let (mut value, mut is_escaped, mut end) = (String::new(), false, rest.len());
        for (at, character) in rest.char_indices() {
            match character {
                _ if is_escaped => {
                    value.push(if character == 'n' { '\n' } else { character });
                    is_escaped = false;
                }
                '\\' => is_escaped = true,
                '"' => {
                    end = at;
                    break;
                }
                other => value.push(other),
            }
        }
        labels.insert(name.to_owned(), value);
        text = rest.get(end..).map_or("", |rest| rest.trim_start_matches(['"', ',']));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_with_any_text_are_read() {
        let text = "# HELP a b\na_total{x=\"1\",y=\"say \\\"hi\\\", {you} = \\\\ me\"} 2\nb 0.5\nc{} NaN\n# EOF\n";
        let families = parse_metrics(text);
        assert_eq!(families.keys().collect::<Vec<_>>(), ["a_total", "b"]);
        let series = &families["a_total"][0];
        assert!((series.value - 2.0).abs() < 1e-9);
        assert_eq!(series.labels["x"], "1");
        assert_eq!(series.labels["y"], "say \"hi\", {you} = \\ me");
        assert_eq!(families["b"], [Series { labels: BTreeMap::new(), value: 0.5 }]);
    }
}
