//! The only way a package enters the tree: staged, checked, synced, renamed.
