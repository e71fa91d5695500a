//! The decision itself. Pure: a repository's rules and who asks in, yes or no out.

use super::{Principal, Refusal};
use crate::config::{ReadAccess, RepositoryConfig, WriteAccess};
use crate::rights::{Grant, Permission};

/// What a repository's configuration asks of somebody who wants this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule<'c> {
    Anyone,
    Nobody,
    /// Only clients on this machine.
    Local,
    /// Somebody who was given the right.
    Granted,
    /// The same, or whom this authorizer lets in.
    Authorizer(&'c str),
}

/// Who asks, and what they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub principal: Principal,
    pub grants: Vec<Grant>,
}

pub fn rule(repository: &RepositoryConfig, permission: Permission) -> Rule<'_> {
    if permission == Permission::Read {
        return match &repository.read {
            ReadAccess::Anyone => Rule::Anyone,
            ReadAccess::Token => Rule::Granted,
            ReadAccess::Authorizer(name) => Rule::Authorizer(name),
        };
    }
    match &repository.write {
        WriteAccess::Off => Rule::Nobody,
        WriteAccess::Local => Rule::Local,
        // What cannot be taken back is not for passers-by.
        WriteAccess::Anyone if permission == Permission::Admin => Rule::Granted,
        WriteAccess::Anyone => Rule::Anyone,
        WriteAccess::Token => Rule::Granted,
        WriteAccess::Authorizer(name) => Rule::Authorizer(name),
    }
}

/// Whether what somebody was given is enough.
pub fn judge(identity: &Identity, repository: &str, permission: Permission) -> Result<Principal, Refusal> {
    let Identity { principal, grants } = identity;
    if grants.iter().any(|grant| grant.allows(repository, permission)) {
        return Ok(principal.clone());
    }
    let has: Vec<_> = Permission::ALL
        .into_iter()
        .filter(|other| grants.iter().any(|grant| grant.allows(repository, *other)))
        .map(Permission::name)
        .collect();
    let has = if has.is_empty() { "nothing".to_owned() } else { has.join(", ") };
    Err(Refusal::Forbidden(format!("{principal} has no right to {permission} here; granted is {has}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rights::Pattern;

    fn repository(read: &str, write: &str) -> RepositoryConfig {
        let write = if write == "local" { WriteAccess::Local } else { WriteAccess::parse(write).unwrap() };
        let read = ReadAccess::parse(read).unwrap();
        RepositoryConfig { read, write, ..RepositoryConfig::new("rpm", "/rpm") }
    }

    #[test]
    fn a_rule_says_who_is_asked_for_what() {
        use Permission::{Admin, Delete, Read, Write};
        for (read, write, permission, expected) in [
            ("anyone", "off", Read, Rule::Anyone),
            ("anyone", "off", Write, Rule::Nobody),
            ("anyone", "off", Delete, Rule::Nobody),
            ("anyone", "off", Admin, Rule::Nobody),
            ("token", "off", Read, Rule::Granted),
            ("anyone", "anyone", Write, Rule::Anyone),
            ("anyone", "anyone", Delete, Rule::Anyone),
            ("anyone", "anyone", Admin, Rule::Granted),
            ("token", "anyone", Read, Rule::Granted),
            ("token", "anyone", Write, Rule::Anyone),
            ("anyone", "token", Read, Rule::Anyone),
            ("anyone", "token", Write, Rule::Granted),
            ("anyone", "token", Delete, Rule::Granted),
            ("anyone", "token", Admin, Rule::Granted),
            ("anyone", "local", Read, Rule::Anyone),
            ("anyone", "local", Write, Rule::Local),
            ("anyone", "local", Admin, Rule::Local),
            ("ldap", "token", Read, Rule::Authorizer("ldap")),
            ("ldap", "token", Write, Rule::Granted),
            ("anyone", "ldap", Delete, Rule::Authorizer("ldap")),
            ("anyone", "ldap", Admin, Rule::Authorizer("ldap")),
        ] {
            let repository = repository(read, write);
            assert_eq!(rule(&repository, permission), expected, "read {read}, write {write}: {permission}");
        }
    }

    /// What a holder of `scopes` on `where_` may do in `rpm`, as letters.
    fn may(grants: &[(&[Permission], &str)]) -> String {
        let grants: Vec<Grant> = grants
            .iter()
            .map(|(scopes, name)| Grant {
                scopes: scopes.iter().copied().collect(),
                repositories: vec![Pattern::parse(name).unwrap()],
            })
            .collect();
        let principal = Principal::Token("ci".into());
        let may = |permission: &Permission| {
            let identity = Identity { principal: principal.clone(), grants: grants.clone() };
            judge(&identity, "rpm", *permission).is_ok()
        };
        Permission::ALL.into_iter().filter(may).map(|permission| &permission.name()[..1]).collect()
    }

    #[test]
    fn who_may_do_what() {
        use Permission::{Admin, Delete, Read, Write};
        assert_eq!(may(&[]), "");
        assert_eq!(may(&[(&[], "*")]), "");
        assert_eq!(may(&[(&[Read], "*")]), "r");
        assert_eq!(may(&[(&[Write], "rpm")]), "w");
        assert_eq!(may(&[(&[Delete], "rpm")]), "d");
        assert_eq!(may(&[(&[Read, Write], "rpm")]), "rw");
        assert_eq!(may(&[(&[Admin], "r*")]), "rwda");
        assert_eq!(may(&[(&[Admin], "other")]), "");
        assert_eq!(may(&[(&[Admin], "rpm-testing"), (&[Write], "rp?")]), "w");
        assert_eq!(may(&[(&[Read], "*"), (&[Delete], "rpm")]), "rd");
    }

    #[test]
    fn a_refusal_names_who_was_refused_and_what_they_have() {
        let grant = Grant {
            scopes: [Permission::Read].into_iter().collect(),
            repositories: vec![Pattern::parse("*").unwrap()],
        };
        let identity = Identity { principal: Principal::Token("ci".into()), grants: vec![grant] };
        let Err(Refusal::Forbidden(why)) = judge(&identity, "rpm", Permission::Write) else { panic!() };
        assert_eq!(why, "the token \"ci\" has no right to write here; granted is read");
    }
}
