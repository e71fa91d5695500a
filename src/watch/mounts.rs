//! What is mounted where, from /proc/self/mountinfo (proc_pid_mountinfo(5)).

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// What other hosts change in file systems of these types, inotify here does not see.
const NETWORK: [&str; 24] = [
    "9p",
    "acfs",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "davfs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "moosefs",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "panfs",
    "pvfs2",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
    "wekafs",
];

/// File systems in user space that only rearrange local ones.
const LOCAL_FUSE: [&str; 6] =
    ["fuse.bindfs", "fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.ntfs-3g", "fuse.unionfs", "fuse.gocryptfs"];

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Mount {
    id: String,
    point: PathBuf,
    kind: String,
}

/// The mounts, as last read.
pub(super) struct Mounts {
    /// Polls as urgent when something was mounted or unmounted.
    file: Option<File>,
    list: Vec<Mount>,
}

impl Mounts {
    pub fn new() -> Self {
        let file = File::open(MOUNTINFO).ok();
        let list = list();
        Self { file, list }
    }

    /// As if this were in /proc/self/mountinfo.
    #[cfg(test)]
    pub fn from_text(text: &str) -> Self {
        Self { file: None, list: parse(text.as_bytes()) }
    }

    pub fn changed_fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(|file| file.as_fd())
    }

    /// Reads the list again; returns where something was mounted or unmounted since.
    pub fn update(&mut self) -> Vec<PathBuf> {
        let new = list();
        let before: HashSet<&Mount> = self.list.iter().collect();
        let after: HashSet<&Mount> = new.iter().collect();
        let changed = before.symmetric_difference(&after).map(|mount| mount.point.clone()).collect();
        self.list = new;
        changed
    }

    /// The type of the network file system that `path` (absolute) lies on, as far as its text says:
    /// nothing is asked of a server that may be down.
    pub fn network(&self, path: &Path) -> Option<&str> {
        let mount = self
            .list
            .iter()
            .filter(|mount| path.starts_with(&mount.point))
            // Of mounts at one point, the last hides the others.
            .max_by_key(|mount| mount.point.as_os_str().len())?;
        is_network(&mount.kind).then_some(&mount.kind)
    }

    /// Where network file systems are mounted below `root`.
    pub fn networks_below(&self, root: &Path) -> BTreeSet<PathBuf> {
        let below = |mount: &&Mount| mount.point != root && mount.point.starts_with(root);
        self.list
            .iter()
            .filter(|mount| is_network(&mount.kind))
            .filter(below)
            .map(|m| m.point.clone())
            .collect()
    }
}

fn is_network(kind: &str) -> bool {
    let fuse = kind == "fuse" || kind.starts_with("fuse.");
    NETWORK.contains(&kind) || fuse && !LOCAL_FUSE.contains(&kind)
}

fn list() -> Vec<Mount> {
    std::fs::read(MOUNTINFO).map(|text| parse(&text)).unwrap_or_default()
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/root rw`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = fields.next()?;
    let point = fields.nth(3)?;
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(Mount {
        id: String::from_utf8_lossy(id).into(),
        point: OsString::from_vec(unescape(point)).into(),
        kind: String::from_utf8_lossy(kind).into(),
    })
}

/// Spaces, tabs, newlines and backslashes are written as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = |d: &[u8]| d.iter().try_fold(0_u32, |n, d| Some(n * 8 + char::from(*d).to_digit(8)?));
        match after.get(..3).and_then(octal).and_then(|code| u8::try_from(code).ok()) {
            Some(byte) if *first == b'\\' => {
                out.push(byte);
                rest = &after[3..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /srv/nfs rw - nfs4 server:/x rw
31 22 0:26 / /srv/my\\040disk\\134x rw shared:9 master:2 - xfs /dev/vdb rw
32 31 0:27 / /srv/my\\040disk\\134x/far rw - fuse.sshfs host: rw
33 22 0:28 / /srv/over rw - fuse.fuse-overlayfs fuse-overlayfs rw
34 22 0:29 / /srv/ntfs rw - fuseblk /dev/vdc rw
nonsense
";

    fn mounts() -> Mounts {
        Mounts::from_text(TEXT)
    }

    #[test]
    fn a_path_is_on_the_file_system_mounted_nearest_above_it() {
        let mounts = mounts();
        assert_eq!(mounts.list.len(), 6);
        let network = |path: &str| mounts.network(Path::new(path)).map(str::to_owned);
        assert_eq!(network("/srv/nfs"), Some("nfs4".into()));
        assert_eq!(network("/srv/nfs/a/b"), Some("nfs4".into()));
        assert_eq!(network("/srv/nfs2"), None);
        assert_eq!(network("/srv/my disk\\x/a"), None);
        assert_eq!(network("/srv/my disk\\x/far/a"), Some("fuse.sshfs".into()));
        assert_eq!(network("/srv/over/a"), None);
        assert_eq!(network("/srv/ntfs/a"), None);
    }

    #[test]
    fn network_file_systems_inside_a_tree_are_known() {
        let below = mounts().networks_below(Path::new("/srv/my disk\\x"));
        assert_eq!(below, BTreeSet::from([PathBuf::from("/srv/my disk\\x/far")]));
        assert!(mounts().networks_below(Path::new("/srv/nfs")).is_empty());
    }

    #[test]
    fn this_machine_has_mounts() {
        // Not always `/` among them: a build in a chroot does not see its own.
        assert!(!Mounts::new().list.is_empty());
    }
}
