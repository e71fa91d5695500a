//! Two SHA-256 sums over the same megabyte, as each package needs them: one after the other, and side by side.

use createrepod::package::{ChecksumType, Hasher};
use divan::Bencher;
use divan::counter::BytesCount;

#[divan::bench(args = [false, true])]
fn two_sums(bencher: Bencher<'_, '_>, side_by_side: bool) {
    let data = vec![7; 1 << 20];
    bencher.counter(BytesCount::new(2 * data.len())).bench(|| {
        let (mut one, mut other) = (Hasher::new(ChecksumType::Sha256), Hasher::new(ChecksumType::Sha256));
        if side_by_side {
            Hasher::update_both((&mut one, &data), (&mut other, &data));
        } else {
            one.update(&data);
            other.update(&data);
        }
        (one.finish(), other.finish())
    });
}
