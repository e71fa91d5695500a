//! What may be done to a repository, in words: permissions, where they hold, and the tokens that carry them.

mod pattern;
mod token;

use std::fmt;

pub use pattern::Pattern;
pub use token::{Token, TokenStore};

/// One thing somebody may be allowed to do in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Fetch files, list directories, see the repository's state.
    Read,
    /// Add packages and other files, and replace them where `overwrite` allows it.
    Write,
    /// Take packages away; they stay fetchable for the grace period.
    Delete,
    /// What cannot be taken back: removing at once. Includes the other three.
    Admin,
}

impl Permission {
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Delete, Self::Admin];

    /// As configuration and command line spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Admin => "admin",
        }
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|permission| permission.name() == text).ok_or_else(|| {
            format!("expected one of \"read\", \"write\", \"delete\", \"admin\", found {text:?}")
        })
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of permissions. `admin` includes the others; no other includes any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    pub fn contains(self, permission: Permission) -> bool {
        self.0 & (bit(permission) | bit(Permission::Admin)) != 0
    }

    /// Those that were named, in the order of [`Permission::ALL`].
    pub fn named(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.0 & bit(*permission) != 0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

fn bit(permission: Permission) -> u8 {
    1 << permission as u8
}

impl FromIterator<Permission> for Scopes {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |bits, permission| bits | bit(permission)))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, permission) in self.named().enumerate() {
            write!(f, "{}{permission}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Permissions, and the repositories they hold in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    pub scopes: Scopes,
    /// Names of repositories; none means nowhere.
    pub repositories: Vec<Pattern>,
}

impl Grant {
    pub fn allows(&self, repository: &str, permission: Permission) -> bool {
        self.scopes.contains(permission) && self.repositories.iter().any(|name| name.matches(repository))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_includes_the_others_and_nothing_else_includes_any() {
        for named in Permission::ALL {
            let scopes: Scopes = [named].into_iter().collect();
            for asked in Permission::ALL {
                let expected = named == asked || named == Permission::Admin;
                assert_eq!(scopes.contains(asked), expected, "{named} for {asked}");
            }
        }
        assert!(Permission::ALL.into_iter().all(|permission| !Scopes::default().contains(permission)));
    }

    #[test]
    fn permissions_are_spelled_as_they_are_read() {
        for permission in Permission::ALL {
            assert_eq!(Permission::parse(permission.name()), Ok(permission));
        }
        assert!(Permission::parse("Write").is_err());
        let scopes: Scopes = [Permission::Delete, Permission::Read].into_iter().collect();
        assert_eq!(scopes.to_string(), "read,delete");
    }

    #[test]
    fn a_grant_holds_where_it_says_and_nowhere_else() {
        let repositories = ["rpm", "el-*"].map(|name| Pattern::parse(name).unwrap()).to_vec();
        let grant = Grant { scopes: [Permission::Write].into_iter().collect(), repositories };
        assert!(grant.allows("rpm", Permission::Write) && grant.allows("el-9", Permission::Write));
        assert!(!grant.allows("rpm2", Permission::Write) && !grant.allows("rpm", Permission::Read));
        assert!(!Grant { repositories: vec![], ..grant }.allows("rpm", Permission::Write));
    }
}
