//! Plots as SVG.

use std::fmt::Write;

/// A curve, named if there are several.
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A plot of curves on two axes. Both begin at zero.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) curves: Vec<Curve>,
    /// Positions and labels of the horizontal axis marks.
    pub(crate) marks: Vec<(f64, String)>,
    /// Label format of the vertical axis.
    pub(crate) label: &'a dyn Fn(f64) -> String,
    /// Minimum upper end of the vertical axis.
    pub(crate) least_top: f64,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 96.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 32.0;

/// Approximate number of marks on the vertical axis.
const MARKS: f64 = 4.0;

impl Plot<'_> {
    /// Renders a figure with its caption.
    pub(crate) fn render(&self) -> String {
        let all = || self.curves.iter().flat_map(|curve| &curve.points);
        let end = all().map(|(x, _)| *x).fold(f64::MIN_POSITIVE, f64::max);
        let highest = all().map(|(_, y)| *y).fold(self.least_top, f64::max);
        let step = step(highest / MARKS);
        let top = ((highest / step).ceil() * step).max(step);
        let x = |value: f64| LEFT + value / end * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            self.title, self.title
        );
        for (level, _) in levels(top, step) {
            let (at, label) = (y(level), (self.label)(level));
            // Writing to a String cannot fail.
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{}\"/><text class=\"level\" x=\"{}\" y=\"{:.1}\">{label}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                at + 4.0
            );
        }
        for (at, label) in self.marks.iter().filter(|(at, _)| *at <= end) {
            let place = x(*at);
            let _ = write!(
                svg,
                "<text class=\"mark\" x=\"{place:.1}\" y=\"{}\">{label}</text>",
                HEIGHT - 6.0
            );
        }
        for (number, curve) in self.curves.iter().enumerate() {
            let mut path = String::new();
            for (place, (across, up)) in curve.points.iter().enumerate() {
                let letter = if place == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{letter}{:.1} {:.1}", x(*across), y(*up));
            }
            if curve.points.len() == 1 {
                // A line of no length has round ends: a dot.
                path += "h0";
            }
            let _ = write!(
                svg,
                "<path class=\"curve c{number}\" d=\"{path}\"><title>{}</title></path>",
                curve.name
            );
        }
        svg += "</svg>";
        if self.curves.len() > 1 {
            svg += "<p class=\"legend\">";
            for (number, curve) in self.curves.iter().enumerate() {
                let _ = write!(svg, "<span class=\"c{number}\">{}</span>", curve.name);
            }
            svg += "</p>";
        }
        svg + "</figure>"
    }
}

/// The multiples of `step` from zero to `end`, and their labels with as many decimals as the step.
pub(super) fn levels(end: f64, step: f64) -> Vec<(f64, String)> {
    let decimals = if step < 1.0 { step.log10().floor().abs() } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
    let decimals = decimals as usize;
    let all = (0_u32..).map(|number| f64::from(number) * step);
    let within = all.take_while(|level| *level <= end * 1.000_001);
    within.map(|level| (level, format!("{level:.decimals$}"))).collect()
}

/// The smallest of 1, 2, 5, 10, 20, … that is at least `least`.
pub(super) fn step(least: f64) -> f64 {
    if least <= 0.0 {
        return 1.0;
    }
    let unit = 10_f64.powf(least.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    factors
        .map(|factor| factor * unit)
        .into_iter()
        .find(|step| *step >= least * 0.999)
        .unwrap_or(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_marked_at_round_numbers() {
        for (least, expected) in [
            (0.7, 1.0),
            (1.0, 1.0),
            (1.1, 2.0),
            (30.0, 50.0),
            (0.03, 0.05),
            (6000.0, 10_000.0),
            (0.0, 1.0),
        ] {
            assert!((step(least) - expected).abs() < 1e-9, "{least}: {}", step(least));
        }
    }

    #[test]
    fn levels_are_written_as_exactly_as_they_lie() {
        let written =
            |end, step| levels(end, step).into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(written(0.8, 0.2), ["0.0", "0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(written(25.0, 10.0), ["0", "10", "20"]);
        assert_eq!(written(0.0, 1.0), ["0"]);
    }

    #[test]
    fn a_plot_of_nothing_is_empty() {
        let label = |value: f64| format!("{value}");
        let curve = Curve { name: "b", points: Vec::new() };
        let marks = vec![(0.0, "0 s".into())];
        let plot = Plot { title: "a", curves: vec![curve], marks, label: &label, least_top: 0.0 };
        let svg = plot.render();
        assert!(!svg.contains("NaN") && !svg.contains("inf") && svg.contains("d=\"\""), "{svg}");
    }

    #[test]
    fn curves_lie_within_the_plot() {
        let label = |value: f64| format!("{value}");
        let points = vec![(0.0, 0.0), (1.0, 37.0), (2.0, 12.0)];
        let svg = Plot {
            title: "a",
            curves: vec![Curve { name: "b", points }],
            marks: vec![(1.0, "one".into()), (9.0, "nine".into())],
            label: &label,
            least_top: 1.0,
        }
        .render();
        assert!(svg.contains("d=\"M96.0 208.0L361.0 30.4L626.0 150.4\""), "{svg}");
        assert!(svg.contains(">one<") && !svg.contains("nine") && svg.contains(">40<"), "{svg}");
    }
}
