//! Users of this machine, as far as messages name them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::Access;

/// The user that the packaged unit runs the daemon as.
const DAEMON: &str = "createrepod";

/// A user, with all groups.
struct User {
    name: String,
    id: u32,
    groups: Vec<u32>,
}

/// The name of the user this process runs as; the number where it has none.
pub fn own_name() -> String {
    let id = rustix::process::geteuid().as_raw();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    named(&passwd, |fields| fields.get(2) == Some(&id.to_string().as_str())).unwrap_or_else(|| id.to_string())
}

/// Why the daemon's user could not write into `directory`, and what to do; `None` where it could, or nobody can tell.
/// Root asks for the unit's user, everybody else for themselves.
pub fn cannot_write(directory: &Path) -> Option<String> {
    let metadata = fs::metadata(directory).ok()?;
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let name = match rustix::process::geteuid().is_root() {
        true => {
            let group = fs::read_to_string("/etc/group").unwrap_or_default();
            let user = find(&passwd, &group, DAEMON)?;
            if may_write(&metadata, &user) || has_acl(directory) {
                return None;
            }
            user.name
        }
        false => {
            let wanted = Access::WRITE_OK | Access::EXEC_OK;
            match rustix::fs::access(directory, wanted) {
                Err(rustix::io::Errno::ACCESS) => own_name(),
                _ => return None,
            }
        }
    };
    let owner = metadata.uid().to_string();
    let owner = named(&passwd, |fields| fields.get(2) == Some(&owner.as_str())).unwrap_or(owner);
    Some(format!(
        "{} belongs to {owner}, and {name} may not write there: chown -R {name}: {}",
        directory.display(),
        directory.display()
    ))
}

fn named(passwd: &str, is_it: impl Fn(&[&str]) -> bool) -> Option<String> {
    let fields =
        passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| is_it(fields))?;
    fields.first().map(|name| (*name).to_owned())
}

fn find(passwd: &str, group: &str, name: &str) -> Option<User> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2).map(|field| field.parse().ok());
    let (id, own) = (fields.next()??, fields.next()??);
    let others = group.lines().filter_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let is_member = fields.get(3)?.split(',').any(|member| member == name);
        fields.get(2)?.parse().ok().filter(|_| is_member)
    });
    Some(User { name: name.to_owned(), id, groups: others.chain([own]).collect() })
}

/// By the bits of owner, group and others.
fn may_write(metadata: &fs::Metadata, user: &User) -> bool {
    const WRITE_AND_ENTER: u32 = 0o3;
    let shift = match (metadata.uid() == user.id, user.groups.contains(&metadata.gid())) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    user.id == 0 || metadata.mode() >> shift & WRITE_AND_ENTER == WRITE_AND_ENTER
}

/// An access control list may give more than the bits say.
fn has_acl(directory: &Path) -> bool {
    let mut none: [u8; 0] = [];
    rustix::fs::getxattr(directory, "system.posix_acl_access", &mut none).is_ok_and(|size| size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\ncreaterepod:x:990:991::/var/lib/createrepod:/sbin/nologin\n";

    #[test]
    fn a_user_has_a_number_and_groups() {
        let user = find(PASSWD, "www:x:33:anna,createrepod\nother:x:34:anna\n", "createrepod").unwrap();
        assert_eq!((user.id, user.groups), (990, vec![33, 991]));
        assert!(find(PASSWD, "", "nobody").is_none());
        assert_eq!(named(PASSWD, |fields| fields[2] == "0").as_deref(), Some("root"));
    }

    #[test]
    fn the_bits_say_who_may_write() {
        let place = tempfile::tempdir().unwrap();
        let metadata = |mode: u32| {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).unwrap();
            fs::metadata(place.path()).unwrap()
        };
        let (uid, gid) = (metadata(0o700).uid(), metadata(0o700).gid());
        let user = |id: u32, group: u32| User { name: "x".into(), id, groups: vec![group] };
        assert!(
            may_write(&metadata(0o700), &user(uid, gid)) && !may_write(&metadata(0o700), &user(77_777, gid))
        );
        assert!(may_write(&metadata(0o770), &user(77_777, gid)));
        assert!(
            !may_write(&metadata(0o770), &user(77_777, gid + 1))
                && may_write(&metadata(0o777), &user(77_777, gid + 1))
        );
    }
}
