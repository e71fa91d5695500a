//! What an event means: which tree, which place, what kind of change.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use rustix::fs::inotify::ReadFlags;
use tracing::warn;

use super::debounce::Change;
use super::ground::limit_reached;
use super::inotify::Event;
use super::place::{Full, is_left_out, join, place, target};
use super::table::{Place, TreeId};
use super::worker::{LINK, Worker, watch_repodata};
use crate::config::Symlinks;
use crate::package::Location;

impl Worker {
    pub fn event(&mut self, event: &Event, now: Instant) {
        if event.flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            warn!(
                "more happened than inotify could hold (fs.inotify.max_queued_events); comparing everything"
            );
            self.trees.values_mut().for_each(|tree| tree.start_over(now));
            return;
        }
        let Ok(table) = &mut self.table else { return };
        let places = table.places(event.wd);
        if event.flags.contains(ReadFlags::IGNORED) {
            table.ignored(event.wd);
        }
        for place in places {
            match &event.name {
                Some(name) => self.entry(&place, name, event.flags, now),
                None => self.directory_itself(&place, event.flags, now),
            }
        }
    }

    /// Something happened to a watched directory itself.
    fn directory_itself(&mut self, place: &Place, flags: ReadFlags, now: Instant) {
        let left = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED;
        let Some(tree) = self.trees.get_mut(&place.tree) else { return };
        if !flags.intersects(left) {
            return;
        }
        if place.path.is_empty() || place.path.starts_with(LINK) {
            tree.start_over(now);
        } else if &*place.path == "repodata" {
            tree.metadata = true;
        } else if let Ok(location) = Location::parse(&place.path) {
            // The directory above tells of it, too, unless this is the target of a link.
            self.appeared(place.tree, location, now);
        }
    }

    /// Something happened to `name` in the directory at `place`.
    fn entry(&mut self, place: &Place, name: &[u8], flags: ReadFlags, now: Instant) {
        let Some(tree) = self.trees.get_mut(&place.tree) else { return };
        let came = flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
        let left = flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM);
        if let Some(index) = place.path.strip_prefix(LINK) {
            let link = index.parse().ok().and_then(|index: usize| tree.ground.links.get(index));
            if came && link.is_some_and(|(_, link)| link.as_encoded_bytes() == name) {
                tree.start_over(now);
            }
            return;
        }
        if &*place.path == "repodata" {
            let changed = left || flags.contains(ReadFlags::CLOSE_WRITE);
            tree.metadata |= match name {
                b"repomd.xml" | b"repomd.xml.asc" | b"repomd.xml.key" => came || changed,
                // What comes under the name of its checksum is what was meant to; what goes may be missed.
                _ => changed && name.first().is_some_and(u8::is_ascii_hexdigit),
            };
            return;
        }
        if place.path.is_empty() && name == b"repodata" {
            if (came || left)
                && let Ok(table) = &mut self.table
            {
                table.forget(place.tree, "repodata");
                if !watch_repodata(table, place.tree, &tree.ground) {
                    tree.are_placed(false, now);
                }
                tree.metadata = true;
            }
            return;
        }
        let is_directory = flags.contains(ReadFlags::ISDIR);
        let is_package = !is_directory && name.ends_with(b".rpm");
        let Ok(name) = std::str::from_utf8(name) else {
            // Cannot be named: the directory is looked at, and the look reports it.
            let is_reported = (is_directory || is_package) && (came || left) && !name.starts_with(b".");
            if is_reported {
                tree.note(Location::parse(&place.path).map_or(Change::Everything, Change::Appeared), now);
            }
            return;
        };
        if is_left_out(&place.path, name) {
            return;
        }
        let Ok(location) = Location::parse(&join(&place.path, name)) else { return };
        if is_directory && !left {
            if came || flags.contains(ReadFlags::ATTRIB) {
                self.appeared(place.tree, location, now);
            }
        } else if left {
            let is_certain = is_directory || tree.matters(&location);
            self.vanished(place.tree, location, is_certain, now);
        } else if came {
            self.came(place.tree, location, flags, now);
        } else if tree.matters(&location) {
            if flags.contains(ReadFlags::CLOSE_WRITE) {
                tree.note(Change::Complete(location), now);
            } else if flags.contains(ReadFlags::MODIFY) {
                tree.note(Change::Writing(location), now);
            } else if flags.contains(ReadFlags::ATTRIB) {
                tree.note(Change::Touched(location), now);
            }
        }
    }

    /// A directory is there, or may be.
    fn appeared(&mut self, id: TreeId, location: Location, now: Instant) {
        let (Ok(table), Some(tree)) = (&mut self.table, self.trees.get_mut(&id)) else { return };
        let ground = &tree.ground;
        let path = location.under(&ground.root);
        let leads_to_directory = |path: &Path| target(ground, path).is_some_and(|target| target.is_directory);
        let is_there = match fs::symlink_metadata(&path) {
            Ok(it) => it.is_dir() || it.is_symlink() && leads_to_directory(&path),
            Err(error) if is_gone(&error) => false,
            Err(_) => {
                tree.are_placed(false, now);
                return tree.note(Change::Appeared(location), now);
            }
        };
        if !is_there {
            table.forget(id, location.as_str());
            tree.note(Change::Vanished(location), now);
            return;
        }
        let is_far = !ground.networks.is_empty() && ground.networks.contains(&location.under(&ground.real));
        let mut is_whole = true;
        // With the directory, what links make of it.
        let mut places = vec![location.clone()];
        places.extend(tree.links.to(&location));
        for place_at in places {
            let path = place_at.under(&ground.root);
            if is_far || place_at != location && !leads_to_directory(&path) {
                continue;
            }
            match place(table, id, ground, place_at.as_str(), &mut tree.links, &mut self.backlog) {
                Ok(whole) => is_whole &= whole,
                Err(Full) => {
                    self.forget_tree(id);
                    if let Some(tree) = self.trees.get_mut(&id) {
                        tree.set_means(limit_reached(), now);
                        tree.are_placed(false, now);
                        tree.note(Change::Everything, now);
                    }
                    return;
                }
            }
        }
        if !is_whole {
            tree.are_placed(false, now);
        }
        tree.note(Change::Appeared(location), now);
    }

    fn vanished(&mut self, id: TreeId, location: Location, is_certain: bool, now: Instant) {
        let (Ok(table), Some(tree)) = (&mut self.table, self.trees.get_mut(&id)) else { return };
        let was_watched = table.has(id, location.as_str());
        if was_watched {
            table.forget(id, location.as_str());
        }
        // A name that is neither may have been a link to a directory outside.
        if is_certain || was_watched || tree.rules.symlinks == Symlinks::Anywhere {
            tree.note(Change::Vanished(location), now);
        }
    }

    /// A name that is no directory was created or moved in.
    fn came(&mut self, id: TreeId, location: Location, flags: ReadFlags, now: Instant) {
        let (Ok(table), Some(tree)) = (&mut self.table, self.trees.get_mut(&id)) else { return };
        let path = location.under(&tree.ground.root);
        let matters = tree.matters(&location);
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            // Gone again; another event tells of it, unless it replaced something.
            Err(error) if is_gone(&error) => {
                if matters {
                    tree.note(Change::Vanished(location), now);
                }
                return;
            }
            // It may be a link to a directory: that is known once it is looked at.
            Err(_) => {
                tree.are_placed(false, now);
                return tree.note(Change::Appeared(location), now);
            }
        };
        if metadata.is_symlink() && tree.rules.symlinks != Symlinks::Never {
            if let Some(target) = target(&tree.ground, &path) {
                let is_directory = target.is_directory;
                tree.links.remember(target, location.as_str());
                if is_directory {
                    return self.appeared(id, location, now);
                }
            }
            // What lies outside is only looked at, and only the look knows whether it may be.
            tree.note(Change::Complete(location), now);
            return;
        }
        // It may have taken the place of a link to a directory.
        let was_watched = table.has(id, location.as_str());
        table.forget(id, location.as_str());
        if !matters {
            if was_watched {
                tree.note(Change::Vanished(location), now);
            }
            return;
        }
        let is_written = metadata.is_file() && flags.contains(ReadFlags::CREATE) && metadata.nlink() == 1;
        tree.note(if is_written { Change::Writing(location) } else { Change::Complete(location) }, now);
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
