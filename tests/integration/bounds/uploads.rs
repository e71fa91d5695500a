//! Uploads that ask for much memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{HOSTILE, assert_confined, confined};
use crate::world::daemon::write_config;
use crate::world::header::HeaderWriter;
use crate::world::{Daemon, Rpm, Tree, http};

fn serve(tree: &Tree) -> Daemon {
    let (state, path) = (tree.beside("state"), tree.root());
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = {state:?}\n\
         [repository.rpm]\npath = {path:?}\nwrite = \"anyone\"\n"
    );
    confined(&write_config(tree, &text))
}

/// A small package whose metadata is large: `files` in one directory with a long name, which is written out for each.
fn swelling(name: &str, files: usize) -> Vec<u8> {
    let directory = [b"/".as_slice(), &[b'd'; 4000], b"/"].concat();
    HeaderWriter::minimal(name).files(&directory, &vec![b"f".as_slice(); files]).package(name.as_bytes())
}

/// Sends all of these at once; how many were answered with each status.
fn put_all(daemon: &Daemon, packages: &[(String, Vec<u8>)]) -> Vec<u16> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..HOSTILE)
            .map(|_| {
                scope.spawn(|| {
                    let mut statuses = Vec::new();
                    while let Some((name, bytes)) = packages.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let answer = http::send(daemon.address(), "PUT", &daemon.at(name), &[], Some(bytes));
                        if answer.status == 503 {
                            assert!(answer.header("Retry-After").is_some(), "{}", answer.text());
                        }
                        statuses.push(answer.status);
                    }
                    statuses
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn a_hundred_uploads_whose_metadata_swells_take_their_turns() {
    let tree = Tree::new();
    let daemon = serve(&tree);
    // One NEVRA under many names: each is read whole, one gets in.
    let packages: Vec<_> = (0..HOSTILE).map(|n| (format!("p{n}.rpm"), swelling("same", 2000 + n))).collect();
    let statuses = std::thread::scope(|scope| {
        let hostile = scope.spawn(|| put_all(&daemon, &packages));
        let other = daemon.put("other.rpm", &Rpm::new("other").build());
        assert_eq!(other.status, 201, "another client is served: {}", other.text());
        hostile.join().unwrap()
    });
    assert_eq!(statuses.len(), HOSTILE);
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 201 | 409 | 503)), "{statuses:?}");
    daemon.until("both of them", |metadata| metadata.hrefs().len() == 2);
    assert_confined(&daemon);
    daemon.stop();
}

/// The same dropped into the tree: none is ever rejected for what others take.
#[test]
fn dropped_packages_whose_metadata_swells_are_all_published() {
    let tree = Tree::new();
    for n in 0..10 {
        tree.write(format!("p{n}.rpm"), &swelling(&format!("p{n}"), 2000));
    }
    let daemon = serve(&tree);
    daemon.until("all of them", |metadata| metadata.hrefs().len() == 10);
    assert_confined(&daemon);
    daemon.stop();
}

#[test]
fn a_package_that_would_take_all_the_memory_is_refused() {
    let tree = Tree::new();
    let daemon = serve(&tree);
    let answer = daemon.put("p.rpm", &swelling("p", 60_000));
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("192 MiB"), "{}", answer.text());
    assert_confined(&daemon);
    daemon.stop();
}
