//! When the requests of a log are due.

use std::time::Duration;

use crate::base::clock::Timestamp;

/// The times of requests after the first one, at a multiple of the speed at which they were logged. `times` are in order.
///
/// Most logs have whole seconds: requests of the same second are spread over it.
pub(super) fn schedule(times: &[Timestamp], speed: f64) -> Vec<Duration> {
    let Some(first) = times.first() else { return Vec::new() };
    let mut due = Vec::with_capacity(times.len());
    for equal in times.chunk_by(|one, other| one == other) {
        let start = Duration::from_millis(equal[0].as_millis() - first.as_millis());
        let is_whole_second = equal[0].as_millis().is_multiple_of(1000);
        for place in 0..equal.len() {
            #[expect(clippy::cast_precision_loss, reason = "no second has so many requests")]
            let part = if is_whole_second { place as f64 / equal.len() as f64 } else { 0.0 };
            due.push((start + Duration::from_secs_f64(part)).div_f64(speed));
        }
    }
    // A second that has some requests with milliseconds ends before those.
    due.sort_unstable();
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_as_they_were_logged() {
        let due = |times: &[u64], speed| {
            let times: Vec<Timestamp> = times.iter().copied().map(Timestamp::from_millis).collect();
            let due = schedule(&times, speed);
            due.into_iter().map(|due| due.as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(due(&[], 1.0), [0; 0]);
        assert_eq!(due(&[5000, 5000, 5000, 5000, 7000], 1.0), [0, 250, 500, 750, 2000]);
        assert_eq!(due(&[5000, 5000, 7000], 2.0), [0, 250, 1000]);
        assert_eq!(due(&[5123, 5123, 5323], 1.0), [0, 0, 200]);
        assert_eq!(due(&[5000, 6000], 0.5), [0, 2000]);
        assert_eq!(due(&[5000, 5000, 5100], 1.0), [0, 100, 500]);
    }
}
