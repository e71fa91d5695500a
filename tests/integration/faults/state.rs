//! The catalog in somebody else's hands.

use crate::world::daemon::configuration;
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually};

#[test]
fn a_catalog_that_somebody_holds_locked_delays_publication_and_no_more() {
    let tree = Tree::new();
    tree.write("a.rpm", &Rpm::new("a").build());
    let daemon = Daemon::serve_config(&configuration(&tree, "", ""), "/rpm/");
    let before = daemon.until_exactly(&["a.rpm"]);
    let catalog = rusqlite::Connection::open(tree.beside("state/repositories/rpm/catalog.sqlite")).unwrap();
    catalog.busy_timeout(PATIENCE).unwrap();
    catalog.execute_batch("BEGIN IMMEDIATE").unwrap();
    tree.write("b.rpm", &Rpm::new("b").build());
    // Longer than we wait for a lock.
    eventually(PATIENCE, "it is said", || daemon.log().contains("locked").then_some(()));
    assert_eq!(daemon.metadata().repomd, before.repomd, "readers have the old state");
    assert_eq!(daemon.get("a.rpm").status, 200);
    catalog.execute_batch("ROLLBACK").unwrap();
    // While a connection lasts it keeps a lock.
    drop(catalog);
    daemon.until_exactly(&["a.rpm", "b.rpm"]);
    daemon.stop();
}
