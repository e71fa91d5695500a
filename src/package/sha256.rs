//! SHA-256 (FIPS 180-4) of one stream of bytes, or of two in the time of one.
//!
//! Each package is hashed twice: whole, and its payload. The processor's SHA instructions wait for one
//! another most of the time, and a second, independent sum fits into the gaps: `beside` says more.

#[cfg(target_arch = "x86_64")]
mod beside;

use sha2::block_api::compress256;

type Block = [u8; 64];

/// A sum being taken. Cloning it keeps the state so far.
#[derive(Clone)]
pub struct Sha256 {
    state: [u32; 8],
    /// Bytes taken so far.
    len: u64,
    /// The last `len % 64` of them.
    open: Block,
}

impl Sha256 {
    pub fn new() -> Self {
        let state = [
            0x6a09_e667,
            0xbb67_ae85,
            0x3c6e_f372,
            0xa54f_f53a,
            0x510e_527f,
            0x9b05_688c,
            0x1f83_d9ab,
            0x5be0_cd19,
        ];
        Self { state, len: 0, open: [0; 64] }
    }

    pub fn update(&mut self, data: &[u8]) {
        let blocks = self.begin(data);
        compress256(&mut self.state, blocks);
    }

    /// The same for two sums of two pieces of data, of which one is often a part of the other.
    pub fn update_both(one: (&mut Self, &[u8]), other: (&mut Self, &[u8])) {
        let (first, second) = (one.0.begin(one.1), other.0.begin(other.1));
        let (first, first_alone) = first.split_at(first.len().min(second.len()));
        let (second, second_alone) = second.split_at(first.len());
        compress_both((&mut one.0.state, first), (&mut other.0.state, second));
        compress256(&mut one.0.state, first_alone);
        compress256(&mut other.0.state, second_alone);
    }

    pub fn finish(mut self) -> [u8; 32] {
        let bits = self.len.wrapping_mul(8);
        let mut padding = [0; 72];
        padding[0] = 0x80;
        // As many zeros as let the length end a block.
        let zeros = (119 - self.filled()) % 64;
        padding[1 + zeros..9 + zeros].copy_from_slice(&bits.to_be_bytes());
        self.update(&padding[..9 + zeros]);
        let mut sum = [0; 32];
        for (bytes, word) in sum.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        sum
    }

    /// Takes note of `data`, and compresses what completes an open block. The whole blocks that follow are
    /// still to be compressed; what follows them is kept.
    fn begin<'d>(&mut self, data: &'d [u8]) -> &'d [Block] {
        let filled = self.filled();
        self.len = self.len.wrapping_add(data.len() as u64);
        let (completes, data) = data.split_at(if filled == 0 { 0 } else { data.len().min(64 - filled) });
        self.open[filled..filled + completes.len()].copy_from_slice(completes);
        if filled + completes.len() == 64 {
            compress256(&mut self.state, &[self.open]);
        }
        let (blocks, rest) = data.as_chunks();
        // Empty also where the open block is not complete yet.
        self.open[..rest.len()].copy_from_slice(rest);
        blocks
    }

    fn filled(&self) -> usize {
        (self.len % 64) as usize
    }
}

/// As many blocks of each.
fn compress_both(one: (&mut [u32; 8], &[Block]), other: (&mut [u32; 8], &[Block])) {
    #[cfg(target_arch = "x86_64")]
    let (one, other) = match beside::compress(one, other) {
        Ok(()) => return,
        Err(neither) => neither,
    };
    compress256(one.0, one.1);
    compress256(other.0, other.1);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::Digest as _;

    use super::*;

    #[test]
    fn known_sums() {
        let sum = |data: &[u8]| {
            let mut hasher = Sha256::new();
            hasher.update(data);
            hasher.finish()
        };
        for len in [0, 1, 54, 55, 56, 63, 64, 65, 119, 120, 128, 1000] {
            let data = vec![7; len];
            assert_eq!(sum(&data)[..], sha2::Sha256::digest(&data)[..], "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn both_sums_are_those_taken_alone(
            pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 0..300usize), 0..12)
        ) {
            let (mut one, mut other) = (Sha256::new(), Sha256::new());
            let (mut whole, mut part) = (sha2::Sha256::new(), sha2::Sha256::new());
            for (data, from) in &pieces {
                let tail = &data[data.len().min(*from)..];
                Sha256::update_both((&mut one, data), (&mut other, tail));
                whole.update(data);
                part.update(tail);
            }
            prop_assert_eq!(&one.clone().finish()[..], &whole.finalize()[..]);
            prop_assert_eq!(&other.finish()[..], &part.finalize()[..]);
        }
    }
}
