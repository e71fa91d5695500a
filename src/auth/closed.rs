//! Repositories that not everybody may read: who has no right to one hears of it what is said where nothing is.

use std::net::IpAddr;

use hyper::HeaderMap;

use super::certificate::Certificate;
use super::credentials::Credentials;
use super::rule::{Rule, judge, rule};
use super::{Asking, Guard, Known, Permission, Refusal};
use crate::config::ReadAccess;

/// A refusal on a repository that not everybody may read.
pub(super) enum Hidden {
    /// Whoever asks knows the repository, and may hear it.
    No(Refusal),
    /// They may not know of it, and hear this instead.
    Yes(Refusal),
}

impl Guard {
    /// Whether the client may know that the repository is there, and else what it hears: whoever has any right to it
    /// may know.
    pub async fn knows(&self, asking: &Asking<'_>) -> Result<(), Refusal> {
        if asking.repository.read == ReadAccess::Anyone {
            return Ok(());
        }
        let asking = Asking { permission: Permission::Read, ..*asking };
        match self.judged(&asking).await {
            Ok(_) => Ok(()),
            Err(refusal) => match self.hidden(&asking, refusal).await {
                Hidden::No(_) => Ok(()),
                Hidden::Yes(refusal) => Err(refusal),
            },
        }
    }

    /// What is said where no repository is, on a server that has some which not everybody may read: whoever says who
    /// they are hears that there is nothing, all others are asked for it.
    pub async fn nowhere(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        certificate: Option<&Certificate>,
    ) -> Refusal {
        let known = self.known();
        let client = self.client(peer, headers);
        let refusal = self.identity(&known, headers, certificate, client).await.err();
        known.down_instead(refusal.unwrap_or(Refusal::Nothing), headers, certificate)
    }

    /// Whether a refusal is to be kept from whoever asks, since it would tell that a repository is there, and what
    /// they hear.
    pub(super) async fn hidden(&self, asking: &Asking<'_>, refusal: Refusal) -> Hidden {
        let Asking { repository, headers, certificate, .. } = *asking;
        let known = self.known();
        let client = self.client(asking.peer, headers);
        let is_granted = rule(repository, asking.permission) == Rule::Granted;
        let told = match refusal {
            Refusal::Failed(_) => return Hidden::No(refusal),
            // They are nobody, whatever they ask for: that is not counted again.
            Refusal::Unknown(_) | Refusal::TooMany(_) if is_granted => refusal,
            refusal => {
                let identity = self.identity(&known, headers, certificate, client).await;
                let is_granted = |permission: &Permission| {
                    identity.as_ref().is_ok_and(|who| judge(who, &repository.name, *permission).is_ok())
                };
                if Permission::ALL.iter().any(is_granted) {
                    return Hidden::No(refusal);
                }
                for permission in [Permission::Read, Permission::Write] {
                    if let Rule::Authorizer(name) = rule(repository, permission)
                        && permission != asking.permission
                        && self
                            .authorized(&known, name, &Asking { permission, ..*asking }, client)
                            .await
                            .is_ok()
                    {
                        return Hidden::No(refusal);
                    }
                }
                identity.err().unwrap_or(Refusal::Nothing)
            }
        };
        Hidden::Yes(known.down_instead(told, headers, certificate))
    }
}

impl Known {
    /// While an authorizer does not answer, nobody can say of those whom it may know that they are strangers here.
    fn down_instead(
        &self,
        refusal: Refusal,
        headers: &HeaderMap,
        certificate: Option<&Certificate>,
    ) -> Refusal {
        let may_be_known = match Credentials::of(headers) {
            Credentials::Password { .. } | Credentials::Foreign => true,
            Credentials::None => certificate.is_some(),
            Credentials::Token(_) | Credentials::Unreadable(_) => false,
        };
        let down = self.authorizers.iter().find(|authorizer| may_be_known && authorizer.gave_no_answer());
        match (refusal, down) {
            (Refusal::Unknown(_) | Refusal::Nothing, Some(down)) => {
                Refusal::Undecided(down.config().name.clone())
            }
            (refusal, _) => refusal,
        }
    }
}
