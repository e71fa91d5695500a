//! A thousand small repositories in one daemon are cheap.

use std::fs;

use crate::world::daemon::write_config;
use crate::world::{Daemon, Metadata, PATIENCE, Rpm, Tree, eventually};

#[test]
fn a_thousand_small_repositories_live_in_one_daemon() {
    const COUNT: usize = 1_000;
    let tree = Tree::new();
    let package = Rpm::new("own").build();
    let mut text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = \"{}\"\n",
        tree.beside("state").display()
    );
    for number in 0..COUNT {
        let path = tree.beside(format!("trees/r{number:04}"));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("own.rpm"), &package).unwrap();
        text += &format!("[repository.r{number:04}]\npath = \"{}\"\nwrite = \"anyone\"\n", path.display());
    }
    let daemon = Daemon::serve_config(&write_config(&tree, &text), "/r0000/");
    let packages = |number: usize, count: usize| {
        eventually(3 * PATIENCE, format!("r{number:04} shows {count} packages"), || {
            let metadata = Metadata::fetch(daemon.address(), &format!("/r{number:04}/")).ok()?;
            (metadata.packages.len() == count).then_some(())
        });
    };
    for number in 0..COUNT {
        packages(number, 1);
    }
    // One file dropped into each of a hundred of them, one upload into each of another hundred.
    for number in (0..COUNT).step_by(10) {
        fs::write(tree.beside(format!("trees/r{number:04}/dropped.rpm")), Rpm::new("dropped").build())
            .unwrap();
        let path = format!("/r{:04}/put.rpm", number + 1);
        let answer =
            crate::world::http::send(daemon.address(), "PUT", &path, &[], Some(&Rpm::new("put").build()));
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    for number in (0..COUNT).step_by(10) {
        packages(number, 2);
        packages(number + 1, 2);
        packages(number + 2, 1);
    }
    let figures = || (daemon.resident_kib() / 1024, daemon.open_files(), daemon.threads());
    let busy = figures();
    eventually(PATIENCE, "quiet repositories cost no thread", || (daemon.threads() < 50).then_some(()));
    let rest = figures();
    eprintln!("1,000 repositories (MiB resident, open files, threads): busy {busy:?}, at rest {rest:?}");
    assert!(busy.0 < 400 && busy.2 < 200, "{} MiB and {} threads at work", busy.0, busy.2);
    assert!(rest.0 < 200, "{} MiB at rest", rest.0);
    assert!(rest.1 < COUNT + 200, "{} open files at rest", rest.1);
    // And they wake up again.
    fs::write(tree.beside("trees/r0500/late.rpm"), Rpm::new("late").build()).unwrap();
    packages(500, 3);
    daemon.stop();
}
