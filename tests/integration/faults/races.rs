//! A link that leads out of the tree takes a directory's place, and gives it back, thousands of times, while
//! clients write, read and delete below it.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::world::{AtLast, Daemon, Rpm, Tree};

const ROUNDS: u32 = 60;

#[test]
fn nothing_is_written_read_or_removed_through_a_link_swapped_for_a_directory() {
    for symlinks in ["inside", "never"] {
        let tree = Tree::new();
        fs::create_dir(tree.path("d")).unwrap();
        let secret = Rpm::new("secret").build();
        tree.write_beside("outside/secret.rpm", &secret);
        tree.write_beside("outside/sub/secret.rpm", &secret);
        symlink(tree.beside("outside"), tree.path("l")).unwrap();
        let daemon =
            Daemon::configured(&tree, "", &format!("symlinks = \"{symlinks}\"\noverwrite = \"allow\""));
        let (done, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
        let (there, other) = (tree.path("d"), tree.path("l"));
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            let _over = AtLast(&done);
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    renameat_with(CWD, &there, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
                // Where it began.
                if there.is_symlink() {
                    renameat_with(CWD, &there, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                }
            });
            for round in 0..ROUNDS {
                let (name, package) = (format!("d/p{round}.rpm"), Rpm::new(format!("p{round}")).build());
                if daemon.put(&name, &package).status == 201 {
                    taken.push(name.clone());
                }
                daemon.put(&format!("d/new{round}/p.rpm"), &Rpm::new(format!("n{round}")).build());
                daemon.put("d/secret.rpm", &package);
                for place in ["d/secret.rpm", "d/sub/secret.rpm", "l/sub/secret.rpm"] {
                    let read = daemon.get(place);
                    assert!(read.status != 200 || read.body != secret, "{place} was read outside");
                }
                for method in ["DELETE", "MKCOL", "PROPFIND"] {
                    daemon.request(method, "d/sub/", &[], None);
                    daemon.request(method, "d/secret.rpm", &[], None);
                }
                for method in ["COPY", "MOVE"] {
                    let to = format!("/rpm/got{round}.rpm");
                    daemon.request(method, "d/sub/secret.rpm", &[("Destination", &to)], None);
                    let to = format!("/rpm/d/moved{round}.rpm");
                    daemon.request(method, &name, &[("Destination", &to)], None);
                }
            }
        });
        assert!(swaps.load(Ordering::Relaxed) > 100, "{swaps:?} swaps");
        let outside = |directory: &str| {
            let mut names: Vec<_> = fs::read_dir(tree.beside(directory))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(outside("outside"), ["secret.rpm", "sub"], "symlinks = {symlinks}");
        assert_eq!(outside("outside/sub"), ["secret.rpm"], "symlinks = {symlinks}");
        for place in ["outside/secret.rpm", "outside/sub/secret.rpm"] {
            assert!(fs::read(tree.beside(place)).unwrap() == secret, "{place} has other bytes");
        }
        let got = (0..ROUNDS).filter(|round| tree.path(format!("got{round}.rpm")).exists()).count();
        assert_eq!(got, 0, "copied from outside");
        assert!(!taken.is_empty(), "no upload came through at all");
        daemon.until("what lies in the tree", |metadata| metadata.matches_tree(tree.root()).is_ok());
        daemon.stop();
    }
}
