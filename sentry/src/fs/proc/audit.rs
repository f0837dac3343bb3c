//! `loginuid` and `sessionid`: who logged in, as login programs note it for the audit system (kernel/audit.c, fs/proc/base.c).
//!
//! Nothing is audited here; the two are kept since PAM's `pam_loginuid` refuses a session where the note cannot be written.

use std::num::{IntErrorKind, ParseIntError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::subject::Subject;
use crate::error::{Errno, Result};
use crate::fs::static_tree::{Node, Reader};
use crate::task::creds::Cap;

/// What an unset user or session is shown as, and what unsets it.
const UNSET: u32 = u32::MAX;

/// `sessionid`.
pub(super) fn sessionid(subject: &Subject, _reader: &Reader<'_>) -> Result<Vec<u8>> {
    let login = subject.task()?.misc.lock().login;
    let session = login.map_or(UNSET, |(_, session)| session);
    Ok(session.to_string().into_bytes())
}

/// `loginuid`: a task sets its own once; to change it needs CAP_AUDIT_CONTROL.
pub(super) fn loginuid(subject: &Subject) -> Node {
    let (read, write) = (subject.clone(), subject.clone());
    Node::writable(
        move |reader: &Reader<'_>| {
            let login = read.task()?.misc.lock().login;
            let users = reader.require()?.creds().user_ns.clone();
            let shown = login.map_or(UNSET, |(user, _)| users.shown_uid(user));
            Ok(shown.to_string())
        },
        move |reader, data| set(&write, reader, data),
    )
}

fn set(subject: &Subject, reader: &Reader<'_>, data: &[u8]) -> Result<()> {
    static SESSIONS: AtomicU32 = AtomicU32::new(0);
    let task = subject.task()?;
    let me = reader.require()?;
    if !Arc::ptr_eq(me, &task) {
        return Err(Errno::EPERM);
    }
    let id = number(data)?;
    let creds = me.creds();
    let user = match id {
        UNSET => None,
        id => Some(creds.user_ns.kuid(id).ok_or(Errno::EINVAL)?),
    };
    let mut misc = task.misc.lock();
    if misc.login.is_some() && !creds.has(Cap::AUDIT_CONTROL) {
        return Err(Errno::EPERM);
    }
    misc.login = user.map(|user| (user, SESSIONS.fetch_add(1, Ordering::Relaxed) + 1));
    Ok(())
}

/// A decimal number, with or without the end of its line (`kstrtou32`).
fn number(data: &[u8]) -> Result<u32> {
    let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
    let digits = text.strip_suffix('\n').unwrap_or(text);
    digits.parse().map_err(|e: ParseIntError| match e.kind() {
        IntErrorKind::PosOverflow => Errno::ERANGE,
        _ => Errno::EINVAL,
    })
}
