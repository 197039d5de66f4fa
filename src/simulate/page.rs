//! The report of a simulation as an HTML page.

use super::{
    outcome::ratio,
    policy::PolicyName,
    report::{Report, Row, money, percent, size},
};
use crate::load::{Curve, Plot, html_page};

impl Report {
    /// The report as an HTML page with plots, without external files.
    pub(crate) fn page(&self) -> String {
        let [first, ..] = self.head() else { return String::new() };
        let plots = [
            self.plot("Hit ratio", self.hit_ratios(), &|value| percent(value / 100.0), 1.0),
            self.plot("Cost of the bucket", self.costs(), &money, 0.01),
            self.plot(
                "Hit ratio by eviction policy",
                self.policies(),
                &|it| percent(it / 100.0),
                1.0,
            ),
            self.clusters_plot(),
        ];
        html_page(
            "Cache simulation",
            first,
            &(plots.concat() + &format!("<pre>{}</pre>", self.table())),
        )
    }

    /// A curve of a value by the size of the cache. All sizes are equally far apart.
    fn curve(&self, name: &'static str, value: impl Fn(&Row) -> Option<f64>) -> Curve {
        let points = self.rows().iter().zip(0_u32..);
        let points = points.filter_map(|(row, place)| Some((f64::from(place), value(row)?)));
        Curve { name, points: points.collect() }
    }

    fn plot(
        &self,
        title: &str,
        curves: Vec<Curve>,
        label: &dyn Fn(f64) -> String,
        least_top: f64,
    ) -> String {
        let marks = self.rows().iter().zip(0_u32..);
        let marks = marks.map(|(row, place)| (f64::from(place), size(row.capacity))).collect();
        Plot { title, curves, marks, label, least_top }.render()
    }

    fn hit_ratios(&self) -> Vec<Curve> {
        vec![
            self.curve("of requests", |row| Some(100.0 * row.outcome.hit_ratio())),
            self.curve("of bytes", |row| Some(100.0 * row.outcome.byte_hit_ratio())),
        ]
    }

    fn costs(&self) -> Vec<Curve> {
        vec![
            self.curve("with this cache", |row| Some(row.cost)),
            self.curve("without a cache", |_| Some(self.cost_without())),
        ]
    }

    fn policies(&self) -> Vec<Curve> {
        let of = |policy| {
            move |row: &Row| {
                let found = row.policies.iter().find(|(name, _)| *name == policy)?;
                Some(100.0 * found.1)
            }
        };
        PolicyName::ALL.map(|policy| self.curve(policy.name(), of(policy))).into()
    }

    /// The share of requests that reach the bucket from a cluster; nothing without one.
    fn clusters_plot(&self) -> String {
        let of = |has_peer_fill| {
            move |row: &Row| {
                let mut all = row.clusters.iter();
                let (_, outcome, _) = all.find(|(it, ..)| it.has_peer_fill == has_peer_fill)?;
                Some(100.0 * ratio(outcome.origin_requests, outcome.requests))
            }
        };
        if self.rows().iter().all(|row| row.clusters.is_empty()) {
            return String::new();
        }
        let curves = vec![
            self.curve("without peer fill", of(false)),
            self.curve("with peer fill", of(true)),
        ];
        let title = "Requests of the cluster that reach the bucket";
        self.plot(title, curves, &|value| percent(value / 100.0), 1.0)
    }
}
