//! Greedy-Dual-Size-Frequency: evicts the object with the fewest requests for each byte, aged by a clock (Cherkasova, "Improving
//! WWW proxies performance with Greedy-Dual-Size-Frequency caching policy", HP Labs 1998).

use std::collections::BTreeSet;

use super::Policy;

/// A cache that evicts by Greedy-Dual-Size-Frequency.
pub(in crate::simulate) struct Gdsf {
    capacity: u64,
    bytes: u64,
    /// The priority of the object that was evicted last.
    clock: f64,
    /// Stored objects by priority. The bits of positive numbers are in their order.
    order: BTreeSet<(u64, u32)>,
    priorities: Vec<Option<u64>>,
    sizes: Vec<u64>,
    uses: Vec<u32>,
}

impl Gdsf {
    pub(in crate::simulate) fn new(capacity: u64, objects: usize) -> Self {
        let (priorities, sizes, uses) = (vec![None; objects], vec![0; objects], vec![0; objects]);
        Self { capacity, bytes: 0, clock: 0.0, order: BTreeSet::new(), priorities, sizes, uses }
    }

    #[expect(clippy::cast_precision_loss, reason = "a priority")]
    fn place(&mut self, object: u32, size: u64) {
        let at = object as usize;
        let priority = (self.clock + f64::from(self.uses[at]) / size.max(1) as f64).to_bits();
        self.order.insert((priority, object));
        self.priorities[at] = Some(priority);
    }
}

impl Policy for Gdsf {
    fn request(&mut self, object: u32, size: u64) -> bool {
        let at = object as usize;
        if let Some(priority) = self.priorities[at] {
            self.order.remove(&(priority, object));
            self.uses[at] = self.uses[at].saturating_add(1);
            self.place(object, size);
            return true;
        }
        if size > self.capacity {
            return false;
        }
        while self.bytes + size > self.capacity
            && let Some((priority, evicted)) = self.order.pop_first()
        {
            self.clock = f64::from_bits(priority);
            self.bytes -= self.sizes[evicted as usize];
            self.priorities[evicted as usize] = None;
        }
        (self.sizes[at], self.uses[at]) = (size, 1);
        self.bytes += size;
        self.place(object, size);
        false
    }
}
