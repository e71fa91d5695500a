//! Clients that read all there is, again and again, and believe no byte of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use createrepod::package::openpgp::Certificate;

use super::Figures;
use crate::world::metadata::digest;
use crate::world::{Metadata, Random, http};

/// A client with an address of its own.
pub struct Reader {
    source: Ipv4Addr,
    address: SocketAddr,
    /// The longest it waits between repomd.xml and what it names.
    delay: Duration,
    random: Random,
}

impl Reader {
    pub fn new(number: u8, address: SocketAddr, delay: Duration) -> Self {
        let source = Ipv4Addr::new(127, 7, number, 1 + number);
        Self { source, address, delay, random: Random::new(u64::from(number)) }
    }

    /// Goes on until `stop`; what is not as it must be is noted.
    pub fn read(&mut self, stop: &AtomicBool, figures: &Figures) {
        while !stop.load(Ordering::Relaxed) {
            if let Err(why) = self.once(stop, figures) {
                figures.error(format!("client {}: {why}", self.source));
            }
            figures.reads.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn get(&self, name: &str, figures: &Figures) -> Result<Vec<u8>, String> {
        let path = format!("/rpm/{}", http::encode(name));
        let answer = http::get_from(self.source, self.address, &path, &[("User-Agent", "storm/1")]);
        let answer = answer.map_err(|error| format!("GET {name}: {error}"))?;
        if answer.status != 200 {
            return Err(format!("GET {name}: {}", answer.status));
        }
        figures.bytes.fetch_add(answer.body.len() as u64, Ordering::Relaxed);
        Ok(answer.body)
    }

    fn once(&mut self, stop: &AtomicBool, figures: &Figures) -> Result<(), String> {
        let whole = self.delay.as_millis() as usize;
        let delay = Duration::from_millis(self.random.below(whole.max(1)) as u64);
        let key = self.get("repodata/repomd.xml.key", figures)?;
        let metadata = Metadata::read(|name| {
            let bytes = self.get(name, figures)?;
            if name == "repodata/repomd.xml" {
                let signature = self.get("repodata/repomd.xml.asc", figures)?;
                Certificate::read(&key)
                    .map_err(|why| format!("the key: {why}"))?
                    .check(&signature, &bytes)
                    .map_err(|why| format!("the signature is not that of repomd.xml: {why}"))?;
                nap(delay, stop);
            }
            Ok(bytes)
        })?;
        // Some of the packages; all of them would leave no time for anything else.
        for _ in 0..4.min(metadata.packages.len()) {
            let package = &metadata.packages[self.random.below(metadata.packages.len())];
            if package.href.starts_with("over/") {
                continue;
            }
            let bytes = self.get(&package.href, figures)?;
            if digest("sha256", &bytes)? != package.pkgid {
                return Err(format!("{} is not what the metadata say", package.href));
            }
        }
        Ok(())
    }
}

/// Sleeps, unless all is over meanwhile.
fn nap(time: Duration, stop: &AtomicBool) {
    let begun = std::time::Instant::now();
    while begun.elapsed() < time && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20).min(time));
    }
}
