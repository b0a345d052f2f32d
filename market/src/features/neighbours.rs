//! The nearest of many remembered points in the plane: points of [0, 100] squared go in, the newest 10,000 stay; the sum of the labels of the
//! k nearest comes out, exactly as if all distances had been sorted, ties by age.
//!
//! Points lie in the cells of a grid; a question looks at rings of cells around it until nothing outside can be nearer.

/// Newest points that are remembered.
pub const MLMI_MEMORY: usize = 10_000;
/// Cells on a side.
const SIDE: usize = 64;
/// Both coordinates are moving averages of an index from 0 to 100.
const EXTENT: f64 = 100.0;
const CELL: f64 = EXTENT / SIDE as f64;
/// So few points are looked at one by one.
const FEW: usize = 512;
/// Coordinates and distances are rounded: only what lies so much inside the edge of what was looked at is surely nearer than what lies outside.
const MARGIN: f64 = 1e-9;

/// A labelled point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// First coordinate.
    pub p1: f64,
    /// Second coordinate.
    pub p2: f64,
    /// -1, 0 or 1.
    pub label: f32,
    slot: u32,
}

/// Squared distance, age (0 = newest) and label.
type Ranked = (f64, u32, f32);

/// The memory.
#[derive(Clone, Debug)]
pub struct Neighbours {
    /// Points by cell, row by row; the order within a cell means nothing.
    cells: Vec<Vec<Point>>,
    /// The same points: a ring once full.
    ring: Vec<Point>,
    /// Where the next point goes in the ring.
    next: usize,
    /// Kept to save the allocation.
    ranked: Vec<Ranked>,
}

impl Default for Neighbours {
    fn default() -> Self {
        Self { cells: vec![Vec::new(); SIDE * SIDE], ring: Vec::new(), next: 0, ranked: Vec::new() }
    }
}

fn index(coordinate: f64) -> usize {
    // Saturating: what lies outside by a rounding belongs to the outermost cell.
    ((coordinate / CELL) as usize).min(SIDE - 1)
}

impl Point {
    fn cell(&self) -> usize {
        index(self.p1) * SIDE + index(self.p2)
    }
}

impl Neighbours {
    /// Points remembered.
    pub fn num_stored(&self) -> usize {
        self.ring.len()
    }

    /// Remembers a point, in the place of the oldest when full.
    pub fn store(&mut self, p1: f64, p2: f64, label: f32) {
        let point = Point { p1, p2, label, slot: self.next as u32 };
        match self.ring.get_mut(self.next) {
            None => self.ring.push(point),
            Some(oldest) => {
                let cell = &mut self.cells[oldest.cell()];
                if let Some(place) = cell.iter().position(|other| other.slot == point.slot) {
                    cell.swap_remove(place);
                }
                *oldest = point;
            }
        }
        self.cells[point.cell()].push(point);
        self.next = (self.next + 1) % MLMI_MEMORY;
    }

    /// Sum of the labels of the `wanted` points nearest to a place; of equally near ones the newer. Labels are whole numbers, so the order of
    /// the sum does not matter.
    pub fn sum_of_nearest(&mut self, p1: f64, p2: f64, wanted: usize) -> f64 {
        let wanted = wanted.min(self.num_stored());
        if wanted == 0 {
            return 0.0;
        }
        self.ranked.clear();
        if self.num_stored() <= FEW.max(wanted) {
            rank(&self.ring, self.next, p1, p2, f64::INFINITY, &mut self.ranked);
            self.select(wanted);
        } else {
            self.search(p1, p2, wanted);
        }
        self.ranked[..wanted].iter().map(|(_, _, label)| f64::from(*label)).sum()
    }

    /// Rings until there are enough points, then on to where the farthest of them would reach.
    fn search(&mut self, p1: f64, p2: f64, wanted: usize) {
        let (row, column) = (index(p1), index(p2));
        let mut ring = 0;
        while self.ranked.len() < wanted {
            self.rank_ring(row, column, ring, p1, p2, f64::INFINITY);
            ring += 1;
        }
        let farthest = self.select(wanted);
        let found = self.ranked.len();
        // Rings 0 .. ring have been looked at: whatever lies outside is at least so far away.
        while edge_squared(row, column, ring, p1, p2) <= farthest {
            self.rank_ring(row, column, ring, p1, p2, farthest);
            ring += 1;
        }
        if self.ranked.len() > found {
            self.select(wanted);
        }
    }

    /// Brings the nearest to the front; the squared distance of the farthest of them.
    fn select(&mut self, wanted: usize) -> f64 {
        let order = |left: &Ranked, right: &Ranked| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1));
        let (_, last, _) = self.ranked.select_nth_unstable_by(wanted - 1, order);
        last.0
    }

    fn rank_ring(&mut self, row: usize, column: usize, ring: usize, p1: f64, p2: f64, at_most: f64) {
        let (top, bottom) = (row.checked_sub(ring), Some(row + ring).filter(|row| *row < SIDE));
        let columns = column.saturating_sub(ring)..(column + ring + 1).min(SIDE);
        for row in if ring == 0 { [top, None] } else { [top, bottom] }.into_iter().flatten() {
            for column in columns.clone() {
                rank(&self.cells[row * SIDE + column], self.next, p1, p2, at_most, &mut self.ranked);
            }
        }
        let (left, right) = (column.checked_sub(ring), Some(column + ring).filter(|column| *column < SIDE));
        for column in if ring == 0 { [None, None] } else { [left, right] }.into_iter().flatten() {
            for row in (row + 1).saturating_sub(ring)..(row + ring).min(SIDE) {
                rank(&self.cells[row * SIDE + column], self.next, p1, p2, at_most, &mut self.ranked);
            }
        }
    }
}

fn rank(points: &[Point], next: usize, p1: f64, p2: f64, at_most: f64, ranked: &mut Vec<Ranked>) {
    let newest = next + MLMI_MEMORY - 1;
    for point in points {
        let (x, y) = (p1 - point.p1, p2 - point.p2);
        let squared = x * x + y * y;
        if squared <= at_most {
            let age = newest - point.slot as usize;
            ranked.push((squared, if age >= MLMI_MEMORY { age - MLMI_MEMORY } else { age } as u32, point.label));
        }
    }
}

/// Squared distance from a place to the nearest edge of the square of cells within `ring` rings (not included) that points may lie beyond;
/// infinite where none may.
fn edge_squared(row: usize, column: usize, ring: usize, p1: f64, p2: f64) -> f64 {
    let to_edge = |place: usize, coordinate: f64| {
        let below = if place + 1 > ring { coordinate - (place + 1 - ring) as f64 * CELL } else { f64::INFINITY };
        let above = if place + ring < SIDE { (place + ring) as f64 * CELL - coordinate } else { f64::INFINITY };
        below.min(above)
    };
    let edge = (to_edge(row, p1).min(to_edge(column, p2)) - MARGIN).max(0.0);
    edge * edge
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slow(stored: &[(f64, f64, f32)], p1: f64, p2: f64, wanted: usize) -> f64 {
        let kept = &stored[stored.len().saturating_sub(MLMI_MEMORY)..];
        let mut ranked: Vec<Ranked> = kept
            .iter()
            .rev()
            .enumerate()
            .map(|(age, (x, y, label))| ((p1 - x) * (p1 - x) + (p2 - y) * (p2 - y), age as u32, *label))
            .collect();
        ranked.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
        ranked.iter().take(wanted).map(|(_, _, label)| f64::from(*label)).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_nearest_are_those_of_a_full_sort(
            points in prop::collection::vec((0.0..100.0_f64, 0.0..100.0_f64, -1_i8..=1), 1..2_500),
            spread in 0.001..1.0_f64, coarse: bool, centre in 0.0..100.0_f64, wanted in 1..300_usize, cases in prop::collection::vec((0.0..100.0_f64, 0.0..100.0_f64), 8),
        ) {
            // Squeezed towards a centre, and on a grid of their own so that many are equally far away.
            let place = |x: f64| if coarse { (x / 12.5).round() * 12.5 } else { centre + (x - centre) * spread };
            let stored: Vec<(f64, f64, f32)> = points.iter().map(|(x, y, label)| (place(*x), place(*y), f32::from(*label))).collect();
            let mut neighbours = Neighbours::default();
            stored.iter().for_each(|(x, y, label)| neighbours.store(*x, *y, *label));
            for (x, y) in cases {
                prop_assert_eq!(neighbours.sum_of_nearest(x, y, wanted), slow(&stored, x, y, wanted));
                let (x, y) = (place(x), place(y));
                prop_assert_eq!(neighbours.sum_of_nearest(x, y, wanted), slow(&stored, x, y, wanted));
            }
        }
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut neighbours = Neighbours::default();
        let mut stored = Vec::new();
        for index in 0..23_000_u32 {
            let coordinate = |factor: u32| f64::from(index.wrapping_mul(factor) % 9_973) / 99.73;
            let point = (coordinate(7_919), coordinate(104_729), (index % 3) as f32 - 1.0);
            neighbours.store(point.0, point.1, point.2);
            stored.push(point);
            if index % 1_013 == 0 {
                assert_eq!(neighbours.sum_of_nearest(50.0, 40.0, 200), slow(&stored, 50.0, 40.0, 200), "{index}");
                assert_eq!(neighbours.sum_of_nearest(0.0, 100.0, 99), slow(&stored, 0.0, 100.0, 99), "{index}");
            }
        }
        assert_eq!(neighbours.num_stored(), MLMI_MEMORY);
    }
}
