//! LOCK and UNLOCK.

use std::fmt::Write;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderName};

use super::locks::{Active, Keys, Owner, Refused, Wanted};
use super::xml::{self, Part, escape};
use super::{Context, Target, XML};
use crate::auth::Permission;
use crate::serve::error::ServeError;
use crate::serve::{Answer, blocking, empty, set, text};

const LOCK_TOKEN: HeaderName = HeaderName::from_static("lock-token");

/// Bytes of a body that says which lock is wanted.
const LONGEST: usize = 8 << 10;
/// Bytes that are kept of what it says of its owner.
const OWNER: usize = 1000;

/// Answers a LOCK: a new one, or with an empty body one that is renewed.
pub(super) async fn lock(
    context: &Context<'_>,
    target: &Target,
    keys: &Keys,
    body: &[u8],
) -> Result<Answer, ServeError> {
    let locks = &context.share.locks;
    let timeout = context.header("timeout").and_then(timeout);
    let place = target.place();
    if body.is_empty() {
        let [token] = keys.tokens.as_slice() else {
            return Err(ServeError::BadRequest(
                "a LOCK without a body renews a lock: name its token in an If header".into(),
            ));
        };
        let mine = locks.find(place, token).filter(|lock| lock.by == keys.by);
        let renewed = mine.and_then(|lock| locks.renew(&lock, timeout));
        return Ok(told(context, &renewed.ok_or(ServeError::PreconditionFailed)?, StatusCode::OK));
    }
    if body.len() > LONGEST {
        return Err(ServeError::BodyTooLarge { limit: LONGEST as u64 });
    }
    let (is_shared, owner) = lockinfo(body)?;
    let is_deep = match context.header("depth") {
        None => true,
        Some("0") => false,
        Some(depth) if depth.eq_ignore_ascii_case("infinity") => true,
        Some(_) => return Err(ServeError::BadRequest("Depth must be 0 or infinity".into())),
    };
    let is_new = !is_something(context, target).await?;
    let (by, holder) = (context.principal.clone(), context.holder());
    let wanted = Wanted { owner, is_shared, is_deep, timeout, by, holder };
    let full = || ServeError::NoRoom("there are too many locks; wait until some of them end".into());
    let taken = locks.take(place, wanted).map_err(|refused| match refused {
        Refused::Clashes(place) => ServeError::Locked { place },
        Refused::Full => full(),
    })?;
    if is_new && !context.share.hold_locked(place) {
        locks.release(&taken.lock);
        return Err(full());
    }
    let mut answer = told(context, &taken, if is_new { StatusCode::CREATED } else { StatusCode::OK });
    set(&mut answer, LOCK_TOKEN, &format!("<{}>", taken.lock.token));
    Ok(answer)
}

/// Answers an UNLOCK: by who has the lock, or who administers the repository.
pub(super) async fn unlock(context: &Context<'_>, target: &Target) -> Result<Answer, ServeError> {
    let token = context.header("lock-token").and_then(|token| token.strip_prefix('<')?.strip_suffix('>'));
    let token =
        token.ok_or_else(|| ServeError::BadRequest("UNLOCK needs a Lock-Token header: <TOKEN>".into()))?;
    let lock = context.share.locks.find(target.place(), token);
    let lock = lock.ok_or_else(|| ServeError::Conflict("there is no such lock here".into()))?;
    if lock.by != *context.principal {
        context.also_needs(Permission::Admin, target).await?;
    }
    context.share.locks.release(&lock);
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Whether something is there; refuses a name for which there is no folder.
async fn is_something(context: &Context<'_>, target: &Target) -> Result<bool, ServeError> {
    if context.share.placeholder(target.place()).is_some() {
        return Ok(true);
    }
    let (handle, location) = (context.handle.clone(), target.location.clone());
    let looking = |error: std::io::Error| ServeError::internal("look at the tree", error);
    let found = blocking("look at the tree", move || {
        let here = handle.stat(location.as_ref())?;
        let parent = match (&here, &location) {
            (None, Some(location)) => handle.stat(location.parent().as_ref())?,
            _ => None,
        };
        Ok((here.is_some(), parent.is_some_and(|parent| parent.is_directory)))
    });
    match found.await?.map_err(looking)? {
        (true, _) => Ok(true),
        (false, true) => Ok(false),
        (false, false) => Err(super::no_folder()),
    }
}

/// Whether it is to be shared, and by whom it is said to be wanted.
fn lockinfo(body: &[u8]) -> Result<(bool, Owner), ServeError> {
    let (mut scope, mut is_write, mut owner) = (None, false, Owner::default());
    let mut inside = "";
    xml::read(body, |depth, part| {
        match part {
            Part::Open(name, _) if depth == 0 && !name.is_dav("lockinfo") => {
                return Err("its root is not DAV:lockinfo".into());
            }
            Part::Open(name, _) if depth == 1 => {
                inside = ["lockscope", "locktype", "owner"]
                    .into_iter()
                    .find(|word| name.is_dav(word))
                    .unwrap_or_default();
            }
            Part::Open(name, _) if depth == 2 => match inside {
                "lockscope" if name.is_dav("exclusive") => scope = Some(false),
                "lockscope" if name.is_dav("shared") => scope = Some(true),
                "locktype" => is_write |= name.is_dav("write"),
                "owner" => owner.is_address |= name.is_dav("href"),
                _ => {}
            },
            Part::Text(text) if depth >= 1 && inside == "owner" && owner.text.len() < OWNER => {
                owner.text.push_str(&text);
            }
            _ => {}
        }
        Ok(())
    })?;
    owner.text = owner.text.trim().to_owned();
    while owner.text.len() > OWNER {
        owner.text.pop();
    }
    match (scope, is_write) {
        (Some(is_shared), true) => Ok((is_shared, owner)),
        _ => Err(ServeError::BadRequest(
            "the body names no lock this server has: exclusive or shared, write".into(),
        )),
    }
}

/// `Second-3600, Infinite`: the first of what a client would like.
fn timeout(text: &str) -> Option<Duration> {
    text.split(',').map(str::trim).find_map(|wish| {
        let seconds = wish.strip_prefix("Second-")?;
        let digits = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than a u32 holds are simply long.
        digits.then(|| Duration::from_secs(seconds.parse::<u32>().unwrap_or(u32::MAX).into()))
    })
}

fn told(context: &Context<'_>, active: &Active, status: StatusCode) -> Answer {
    let mut out =
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:prop xmlns:D=\"DAV:\"><D:lockdiscovery>".to_owned();
    write(&mut out, active, &context.href(&active.lock.place), true);
    out.push_str("</D:lockdiscovery></D:prop>\n");
    let mut answer = text(status, XML, out);
    set(&mut answer, CACHE_CONTROL, "no-store");
    answer
}

/// `<D:activelock>`; its token only for those who may know it.
pub(super) fn write(out: &mut String, active: &Active, root: &str, with_token: bool) {
    let lock = &active.lock;
    let scope = if lock.is_shared { "shared" } else { "exclusive" };
    let depth = if lock.is_deep { "infinity" } else { "0" };
    let _ = write!(
        out,
        "<D:activelock><D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype><D:depth>{depth}</D:depth>"
    );
    if !lock.owner.text.is_empty() {
        let (begin, end) = if lock.owner.is_address { ("<D:href>", "</D:href>") } else { ("", "") };
        out.push_str("<D:owner>");
        out.push_str(begin);
        escape(out, &lock.owner.text);
        out.push_str(end);
        out.push_str("</D:owner>");
    }
    let _ = write!(out, "<D:timeout>Second-{}</D:timeout>", active.left.as_secs());
    if with_token {
        let _ = write!(out, "<D:locktoken><D:href>{}</D:href></D:locktoken>", lock.token);
    }
    out.push_str("<D:lockroot><D:href>");
    escape(out, root);
    out.push_str("</D:href></D:lockroot></D:activelock>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_read_and_the_owner_kept_as_text() {
        let body = |scope: &str, owner: &str| {
            format!(
                "<lockinfo xmlns='DAV:' xmlns:x='urn:x'><lockscope><{scope}/></lockscope><locktype><write/></locktype>{owner}</lockinfo>"
            )
        };
        let read = |scope: &str, owner: &str| lockinfo(body(scope, owner).as_bytes());
        assert_eq!(read("exclusive", "").unwrap(), (false, Owner::default()));
        let owner = |text: &str, is_address| Owner { text: text.into(), is_address };
        assert_eq!(
            read("shared", "<owner> me &amp; <x:b>you</x:b></owner>").unwrap(),
            (true, owner("me & you", false))
        );
        let address = "<owner>\n<href>mailto:a@b</href>\n</owner>";
        assert_eq!(read("exclusive", address).unwrap(), (false, owner("mailto:a@b", true)));
        let long = read("exclusive", &format!("<owner>{}</owner>", "é".repeat(3000))).unwrap().1;
        assert_eq!(long.text.len(), OWNER);
        assert!(read("none", "").is_err() && read("x:exclusive", "").is_err());
        assert!(
            lockinfo(b"<lockinfo xmlns='DAV:'/>").is_err() && lockinfo(b"<propfind xmlns='DAV:'/>").is_err()
        );
    }

    #[test]
    fn the_first_time_that_is_one_counts() {
        for (text, seconds) in [
            ("Second-60", Some(60)),
            ("Infinite, Second-4100000000", Some(4_100_000_000)),
            ("Second-99999999999999999999", Some(u64::from(u32::MAX))),
            ("Infinite", None),
            ("Second-", None),
            ("Second--1", None),
            ("60", None),
        ] {
            assert_eq!(timeout(text).map(|time| time.as_secs()), seconds, "{text}");
        }
    }
}
