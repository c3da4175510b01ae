//! A small generator of repeatable chance, so that a failing case can be run again from its seed.

/// How many cases a campaign has: `BULKHEAD_ORACLE_CASES`, or the default of an ordinary test run.
pub fn cases(default: usize) -> usize {
    match std::env::var("BULKHEAD_ORACLE_CASES") {
        Ok(count) => count
            .parse()
            .expect("BULKHEAD_ORACLE_CASES must be a number"),
        Err(_) => default,
    }
}

/// xorshift64*: good enough to choose with, and the same everywhere.
pub struct Chance(u64);

impl Chance {
    /// Starts from `BULKHEAD_ORACLE_SEED`, or always from the same place.
    pub fn start() -> Self {
        let seed = std::env::var("BULKHEAD_ORACLE_SEED").map_or(1, |seed| {
            seed.parse().expect("BULKHEAD_ORACLE_SEED must be a number")
        });
        println!("seed {seed}");
        Self(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed | 1))
    }

    /// Starts from a seed that the caller has chosen.
    #[allow(dead_code)]
    pub fn seeded(seed: u64) -> Self {
        Self(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed | 1))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(mixed).unwrap() % end
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}
