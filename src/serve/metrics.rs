//! `/-/metrics`: Prometheus' text format, <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::time::{Duration, SystemTime};

use hyper::{Method, StatusCode};
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use super::Expiry;
use super::access_log;
use super::condition::Condition;
use super::error::ServeError;
use super::site::{Mount, Mounts};

/// The media type of that text.
pub(super) const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Seconds until an answer begins: most come from memory, an upload takes as long as its client.
const BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0, 60.0];

/// What is counted of all requests since the start.
pub(crate) struct Metrics {
    requests: IntCounterVec,
    durations: HistogramVec,
    sent: IntCounter,
    in_flight: IntGauge,
}

impl Default for Metrics {
    fn default() -> Self {
        // Names and labels are written here, and a test makes each of them.
        let good = "a good name of a metric";
        let mut durations = HistogramOpts::new(
            "createrepod_http_request_duration_seconds",
            "Time until an answer began; for uploads until it was decided.",
        );
        durations.buckets = BUCKETS.to_vec();
        let requests = Opts::new("createrepod_http_requests_total", "Requests answered.");
        let sent = "createrepod_http_response_bytes_total";
        let in_flight = "createrepod_http_requests_in_flight";
        Self {
            requests: IntCounterVec::new(requests, &["method", "status"]).expect(good),
            durations: HistogramVec::new(durations, &["method"]).expect(good),
            sent: IntCounter::new(sent, "Bytes of the bodies of answers.").expect(good),
            in_flight: IntGauge::new(in_flight, "Requests being answered.").expect(good),
        }
    }
}

impl Metrics {
    pub(super) fn began(&self) {
        self.in_flight.inc();
    }

    pub(super) fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        let method = known(method);
        self.requests.with_label_values(&[method, status.as_str()]).inc();
        self.durations.with_label_values(&[method]).observe(took.as_secs_f64());
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent.inc_by(bytes as u64);
    }

    pub(super) fn ended(&self) {
        self.in_flight.dec();
    }

    /// The text of `/-/metrics`.
    pub(super) fn text(
        &self,
        mounts: &Mounts,
        condition: &Condition,
        refused: &[(&str, u64)],
        expiries: &[Expiry],
    ) -> Result<String, ServeError> {
        let registry = Registry::new();
        let gathered = self
            .collect(&registry, mounts, condition)
            .and_then(|()| log_ins(&registry, refused))
            .and_then(|()| certificates(&registry, expiries));
        let body = gathered.and_then(|()| TextEncoder::new().encode_to_string(&registry.gather()));
        body.map_err(|error| ServeError::internal("put the metrics together", error))
    }

    fn collect(&self, registry: &Registry, mounts: &Mounts, condition: &Condition) -> prometheus::Result<()> {
        let about = Opts::new("createrepod_build_info", "1, with the version as a label.");
        let build = IntGaugeVec::new(about, &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let ours: [Box<dyn Collector>; 5] = [
            Box::new(build),
            Box::new(self.requests.clone()),
            Box::new(self.durations.clone()),
            Box::new(self.sent.clone()),
            Box::new(self.in_flight.clone()),
        ];
        for collector in ours {
            registry.register(collector)?;
        }
        registry.register(Box::new(ProcessCollector::for_self()))?;
        daemon(registry, condition)?;
        repositories(registry, mounts)
    }
}

/// How the daemon itself is.
fn daemon(registry: &Registry, condition: &Condition) -> prometheus::Result<()> {
    let current = IntGauge::new(
        "createrepod_config_last_reload_successful",
        "1 while the configuration on the disk is the one that counts, else 0: createrepod status tells why.",
    )?;
    current.set(i64::from(condition.mistake().is_none()));
    registry.register(Box::new(current))?;
    let lost = Opts::new(
        "createrepod_log_lines_lost_total",
        "Lines that could not be written: of the daemon's log, and of the access log.",
    );
    let lost = IntCounterVec::new(lost, &["log"])?;
    lost.with_label_values(&["daemon"]).inc_by(condition.lost_lines());
    lost.with_label_values(&["access"]).inc_by(access_log::lost_lines());
    registry.register(Box::new(lost))
}

/// Log-ins that were refused, by reason.
fn log_ins(registry: &Registry, refused: &[(&str, u64)]) -> prometheus::Result<()> {
    let about = Opts::new(
        "createrepod_logins_refused_total",
        "Log-ins refused: a wrong password or token, an address that was wrong too often, a TLS certificate.",
    );
    let counter = IntCounterVec::new(about, &["reason"])?;
    for (reason, count) in refused {
        counter.with_label_values(&[reason]).inc_by(*count);
    }
    registry.register(Box::new(counter))
}

/// When the certificates of TLS end.
fn certificates(registry: &Registry, expiries: &[Expiry]) -> prometheus::Result<()> {
    let about = Opts::new(
        "createrepod_tls_certificate_expiry_timestamp_seconds",
        "When the first certificate of the file ends: the server's own, or an authority of clients.",
    );
    let gauge = IntGaugeVec::new(about, &["file"])?;
    for expiry in expiries {
        gauge.with_label_values(&[expiry.role]).set(expiry.ends);
    }
    registry.register(Box::new(gauge))
}

/// What each repository shows now, and what it has counted.
fn repositories(registry: &Registry, mounts: &Mounts) -> prometheus::Result<()> {
    let gauge = |name: &str, help: &str| -> prometheus::Result<IntGaugeVec> {
        let gauge = IntGaugeVec::new(Opts::new(name, help), &["repository"])?;
        registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    };
    let up =
        gauge("createrepod_repository_up", "1 while the repository can be served and published, else 0.")?;
    let packages = gauge("createrepod_packages", "Packages in what is published.")?;
    let left_out = gauge(
        "createrepod_packages_left_out",
        "Files of the tree that are not published: rejected or refused.",
    )?;
    let unread = gauge(
        "createrepod_unread_places",
        "Files and directories of the tree that cannot be read for now; they are tried again.",
    )?;
    let pending = gauge("createrepod_pending_changes", "Changes that wait for the next publication.")?;
    let findings = gauge(
        "createrepod_verification_findings",
        "Things that the last verification found not to be as they were published.",
    )?;
    let last =
        Opts::new("createrepod_last_publication_timestamp_seconds", "When what is published was published.");
    let last = GaugeVec::new(last, &["repository"])?;
    registry.register(Box::new(last.clone()))?;
    for Mount { config, door } in mounts.all() {
        let label = &[config.name.as_str()];
        let Ok(handle) = door else {
            up.with_label_values(label).set(0);
            continue;
        };
        up.with_label_values(label).set(i64::from(handle.trouble().is_none()));
        left_out.with_label_values(label).set(handle.left_out() as i64);
        unread.with_label_values(label).set(handle.unread().len() as i64);
        pending.with_label_values(label).set(i64::try_from(handle.pending()).unwrap_or(i64::MAX));
        if let Some(found) = handle.findings() {
            findings.with_label_values(label).set(found as i64);
        }
        if let Some(published) = handle.published() {
            packages.with_label_values(label).set(i64::try_from(published.packages).unwrap_or(i64::MAX));
            let at = published.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            last.with_label_values(label).set(at.as_secs_f64());
        }
        for collector in handle.figures().collectors() {
            registry.register(collector)?;
        }
    }
    Ok(())
}

/// A method strangers invent is no label.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 15] = [
        "GET",
        "HEAD",
        "PUT",
        "DELETE",
        "POST",
        "OPTIONS",
        "PROPFIND",
        "PROPPATCH",
        "MKCOL",
        "COPY",
        "MOVE",
        "LOCK",
        "UNLOCK",
        "PATCH",
        "CONNECT",
    ];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_good_and_strangers_make_no_labels() {
        let metrics = Metrics::default();
        metrics.began();
        metrics.answered(
            &Method::from_bytes(b"EVIL\"").unwrap_or(Method::TRACE),
            StatusCode::OK,
            Duration::ZERO,
        );
        metrics.answered(&Method::TRACE, StatusCode::OK, Duration::ZERO);
        metrics.ended();
        let registry = Registry::new();
        metrics.collect(&registry, &Mounts::default(), &Condition::default()).unwrap();
        log_ins(&registry, &[("wrong", 7)]).unwrap();
        let expiry = Expiry { file: "/etc/tls.crt".into(), role: "server", ends: 17 };
        certificates(&registry, &[expiry]).unwrap();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(
            text.contains("createrepod_http_requests_total{method=\"other\",status=\"200\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("createrepod_logins_refused_total{reason=\"wrong\"} 7\n"), "{text}");
        let ends = "createrepod_tls_certificate_expiry_timestamp_seconds{file=\"server\"} 17\n";
        assert!(text.contains(ends), "{text}");
        assert!(text.contains("process_open_fds"), "{text}");
        assert!(text.contains("createrepod_config_last_reload_successful 1\n"), "{text}");
        for collector in crate::repository::figures::Figures::new("a.b").collectors() {
            Registry::new().register(collector).unwrap();
        }
    }
}
