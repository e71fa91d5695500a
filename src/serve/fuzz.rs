//! What strangers say in a URL and in a request's headers.

use std::str;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, UNIX_EPOCH};

use hyper::{HeaderMap, Method};

use super::conditional::{self, Validators};
use super::ranges::{self, Ranged};
use super::request_id;
use super::route::{self, Route, Whose};
use super::site::{Mount, Mounts};
use crate::config::RepositoryConfig;
use crate::package::Location;

static MOUNTS: LazyLock<Mounts> = LazyLock::new(|| {
    let mount = |name: &str, url: &str| Mount {
        config: Arc::new(RepositoryConfig { url: url.into(), ..RepositoryConfig::new(name, "/x") }),
        door: Err("closed".into()),
    };
    Mounts::new(vec![mount("rpm", "/rpm/"), mount("el", "/el/9/x86_64/"), mount("odd", "/a b/ü/")])
});

const METHODS: [&str; 12] = [
    "GET",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "POST",
    "BREW",
];

/// The first byte chooses the method, the rest is the path as sent.
pub fn url(data: &[u8]) {
    let Some((&method, path)) = data.split_first() else { return };
    let Ok(path) = str::from_utf8(path) else { return };
    let name = METHODS[usize::from(method) % METHODS.len()];
    let method = Method::from_bytes(name.as_bytes()).expect("a method");
    let found = route::route(&method, path, &MOUNTS);
    if let Ok(route) = &found {
        if let Route::File(_, location)
        | Route::NumberedFile(_, location)
        | Route::Directory(_, Some(location)) = route
        {
            stays_inside(location);
            assert!(!location.is_private(), "{path:?}");
        }
        if let Route::Put(mount, location) | Route::Delete(mount, location) = route {
            stays_inside(location);
            assert!(route::writable(mount, location).is_ok(), "{path:?}");
            assert!(!location.refuses_writes(), "{path:?}");
        }
    }
    place(path);
    // What is normal stays so, and means the same.
    let normal = route::normal(path);
    assert_eq!(route::normal(&normal), normal, "{path:?}");
    let whose = |path: &str| match route::whose(path, &MOUNTS) {
        Whose::Content(mount) | Whose::Control(mount) => Some(&mount.config.name),
        Whose::Nobody | Whose::Server => None,
    };
    assert_eq!(whose(path), whose(&normal), "{path:?}");
}

/// What a path names in a repository stays inside.
pub fn place(path: &str) {
    for mount in MOUNTS.all() {
        if let Ok(Some(location)) = route::place(path, &MOUNTS, mount) {
            stays_inside(&location);
        }
    }
}

/// Joined to a root it does not leave it, whatever the path was.
fn stays_inside(location: &Location) {
    let text = location.as_str();
    let odd = text.contains('\0') || text.split('/').any(|part| matches!(part, "" | "." | ".."));
    assert!(!odd, "{text:?}");
    assert!(location.under("/srv/rpm".as_ref()).starts_with("/srv/rpm"), "{text:?}");
}

/// `Range`, the conditions, `X-Request-Id`.
pub fn headers(headers: &HeaderMap) {
    let now =
        Validators { etag: "\"1-2-3\"".into(), modified: UNIX_EPOCH + Duration::from_secs(1_700_000_000) };
    for len in [0, 1, 1000, u64::MAX] {
        inside(&conditional::range(headers, &now, len), len);
        if let Some(range) = headers.get("range").and_then(|value| value.to_str().ok()) {
            inside(&ranges::parse(range, len), len);
        }
    }
    let _ = conditional::read(headers, &now);
    let _ = conditional::write(headers, Some(&now));
    let _ = conditional::write(headers, None);
    assert!(request_id::of(headers).to_str().is_ok());
}

fn inside(ranged: &Ranged, len: u64) {
    let Ranged::Parts(parts) = ranged else { return };
    assert!(
        !parts.is_empty() && parts.iter().all(|part| part.start < part.end && part.end <= len),
        "{parts:?}"
    );
    let sum: u128 = parts.iter().map(|part| u128::from(part.end - part.start)).sum();
    assert!(sum <= u128::from(len), "{parts:?} of {len}");
}
