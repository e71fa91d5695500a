//! What a repository has done since it was opened, counted for monitoring.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, Opts};

/// Seconds; a publication takes a few milliseconds, the first one of a big tree minutes.
const BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

/// Named as Prometheus' conventions ask, each with the label `repository`.
pub struct Figures {
    publications: Histogram,
    failures: IntCounter,
    uploads: IntCounter,
    upload_bytes: IntCounter,
    /// Of the last publication, in milliseconds plus one; 0: none yet.
    last: AtomicU64,
}

impl Figures {
    pub fn new(repository: &str) -> Self {
        let label = |options: Opts| options.const_label("repository", repository);
        // Names and labels are written here, and a test makes each of them.
        let counter = |name: &str, help: &str| {
            IntCounter::with_opts(label(Opts::new(name, help))).expect("a good name of a metric")
        };
        let mut options = HistogramOpts::new(
            "createrepod_publication_duration_seconds",
            "Time from taking up changes to the new repomd.xml, packages read included.",
        );
        options.common_opts = label(options.common_opts);
        options.buckets = BUCKETS.to_vec();
        Self {
            publications: Histogram::with_opts(options).expect("a good name of a metric"),
            failures: counter("createrepod_publication_failures_total", "Attempts to publish that failed."),
            uploads: counter("createrepod_uploads_total", "Files taken in over HTTP."),
            upload_bytes: counter("createrepod_upload_bytes_total", "Bytes of the files taken in over HTTP."),
            last: AtomicU64::new(0),
        }
    }

    pub(super) fn published(&self, took: Duration) {
        self.publications.observe(took.as_secs_f64());
        self.last.store(u64::try_from(took.as_millis()).unwrap_or(u64::MAX - 1) + 1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }

    pub(super) fn uploaded(&self, bytes: u64) {
        self.uploads.inc();
        self.upload_bytes.inc_by(bytes);
    }

    /// How long the last publication took; `None` before the first one of this process.
    pub fn last_publication(&self) -> Option<Duration> {
        self.last.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_millis)
    }

    /// For a registry of the moment.
    pub fn collectors(&self) -> [Box<dyn Collector>; 4] {
        [
            Box::new(self.publications.clone()),
            Box::new(self.failures.clone()),
            Box::new(self.uploads.clone()),
            Box::new(self.upload_bytes.clone()),
        ]
    }
}
