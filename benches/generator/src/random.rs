//! Numbers from a seed: the same on every machine and for ever, which no crate promises.

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// A stream of its own for everything that has a name.
    pub fn of(seed: u64, name: &str, number: u64) -> Self {
        // FNV-1a, then a few steps so that near names have far streams.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut random = Self(hash ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end`, without `end`; 0 when there is nothing to choose from.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high + 1 - low)
    }

    pub fn chance(&mut self, percent: f64) -> bool {
        self.unit() * 100.0 < percent
    }

    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From 0 to 1, the more often near 0 the higher the power. (`powi` is not the same everywhere.)
    pub fn small(&mut self, power: u32) -> f64 {
        let unit = self.unit();
        (1..power).fold(unit, |product, _| product * unit)
    }

    pub fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }

    /// Like `pick`, the first ones much more often, as words are used.
    pub fn usual<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.favour(list.len())]
    }

    /// A place in a list, the first ones much more often.
    pub fn favour(&mut self, len: usize) -> usize {
        let at = self.small(3) * len as f64;
        (at as usize).min(len.saturating_sub(1))
    }

    /// Log-normal: half of the values are below `median`, the tail is long.
    ///
    /// Only sums and products, and `exp2` of a whole number: the mathematical functions of the
    /// system differ in their last bit from machine to machine.
    pub fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        // The sum of twelve uniform numbers is nearly normal, with deviation 1.
        let normal = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        let power = normal * sigma * std::f64::consts::LOG2_E;
        let whole = power.floor();
        // 2^x for x in 0..1, to three places.
        let rest = power - whole;
        let rest = 1.0 + rest * (0.6951 + rest * (0.2276 + rest * 0.0773));
        let scale = if whole < 0.0 {
            1.0 / (1u64 << (-whole as u32).min(60)) as f64
        } else {
            (1u64 << (whole as u32).min(60)) as f64
        };
        median * scale * rest
    }

    pub fn hex(&mut self, digits: usize) -> String {
        let mut text = String::with_capacity(digits + 16);
        while text.len() < digits {
            text.push_str(&format!("{:016x}", self.next()));
        }
        text.truncate(digits);
        text
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.next().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}
