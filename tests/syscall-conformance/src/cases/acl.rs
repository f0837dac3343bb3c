//! POSIX access control lists as extended attributes: what is valid, who may, inheritance, chmod.

use std::ffi::{CStr, CString};

use crate::prelude::*;

cases![
    acl_and_mode, acl_validity, acl_permission, acl_groups_and_mask, acl_inheritance, acl_chmod, acl_errors, acl_of_base_entries, acl_in_listing,
];

const ACCESS: &CStr = c"system.posix_acl_access";
const DEFAULT: &CStr = c"system.posix_acl_default";

/// Entries as `tag perm id`: `u` and `g` with and without id, `m`, `o`.
fn list(text: &str) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for entry in text.split(' ').filter(|e| !e.is_empty()) {
        let mut parts = entry.split(':');
        let (kind, id, perm) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let tag: u16 = match (kind, id.is_empty()) {
            ("u", true) => 1,
            ("u", false) => 2,
            ("g", true) => 4,
            ("g", false) => 8,
            ("m", _) => 0x10,
            ("o", _) => 0x20,
            _ => 0x40,
        };
        bytes.extend(tag.to_le_bytes());
        bytes.extend(perm.parse::<u16>().unwrap().to_le_bytes());
        bytes.extend(id.parse::<u32>().unwrap_or(u32::MAX).to_le_bytes());
    }
    bytes
}

fn text(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    for entry in bytes[4..].chunks(8) {
        let half = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        let id = u32::from_le_bytes(entry[4..8].try_into().unwrap());
        out.push(format!("{:x}:{}:{}", half(0), if id == u32::MAX { "-".to_owned() } else { id.to_string() }, half(2)));
    }
    out.join(" ")
}

fn set(path: &str, name: &CStr, entries: &str) -> Ret {
    let bytes = list(entries);
    sys!(SYS_setxattr, &*CString::new(path).unwrap(), name, &bytes[..], bytes.len(), 0)
}

fn get(path: &str, name: &CStr) -> String {
    let mut buf = [0u8; 512];
    let ret = sys!(SYS_getxattr, &*CString::new(path).unwrap(), name, &mut buf[..], 512);
    match ret.get() {
        Ok(n) => text(&buf[..n as usize]),
        Err(_) => ret.to_string(),
    }
}

fn mode(path: &str) -> String {
    let mut st: stat = zeroed();
    sys!(SYS_stat, &*CString::new(path).unwrap(), &mut st).must();
    format!("{:o}", st.st_mode)
}

/// Runs `body` in a tmpfs, which has lists everywhere.
fn in_tmpfs(body: impl FnOnce()) {
    let child = fork(|| {
        sys!(SYS_unshare, CLONE_NEWNS).must();
        sys!(SYS_mount, 0, c"/", 0, MS_REC | MS_PRIVATE, 0).must();
        sys!(SYS_mkdirat, AT_FDCWD, c"t", 0o755).must();
        sys!(SYS_mount, c"none", c"t", c"tmpfs", 0, c"mode=755").must();
        sys!(SYS_chdir, c"t").must();
        sys!(SYS_umask, 0o022).must();
        body();
        0
    });
    say!("{}", child.wait());
}

/// Whether user `uid` with groups `groups` may read, write and search or run.
fn may(uid: u32, groups: &[u32], path: &str) -> String {
    let path = CString::new(path).unwrap();
    let (r, w) = pipe();
    let child = fork(|| {
        sys!(SYS_setgroups, groups.len(), groups).must();
        sys!(SYS_setresgid, uid, uid, uid).must();
        sys!(SYS_setresuid, uid, uid, uid).must();
        let one = |bit: i32, name: &'static str| if sys!(SYS_faccessat, AT_FDCWD, &*path, bit).get().is_ok() { name } else { "-" };
        write(w, format!("{}{}{}", one(R_OK, "r"), one(W_OK, "w"), one(X_OK, "x")).as_bytes());
        0
    });
    let _ = child.wait();
    let seen = read(r, 3).to_string();
    close(r);
    close(w);
    seen
}

fn acl_and_mode() {
    in_tmpfs(|| {
        touch(c"f");
        say!("none {} {}", get("f", ACCESS), mode("f"));
        say!("{}", set("f", ACCESS, "u::6 u:1000:7 g::4 m::5 o::0"));
        say!("{} {}", get("f", ACCESS), mode("f"));
        say!("size {} small {}", sys!(SYS_getxattr, c"f", ACCESS, NULL, 0), sys!(SYS_getxattr, c"f", ACCESS, &mut [0u8; 4][..], 4));
        say!("remove {} {} {}", sys!(SYS_removexattr, c"f", ACCESS), get("f", ACCESS), mode("f"));
        say!("again {}", sys!(SYS_removexattr, c"f", ACCESS));
        say!("create flag {}", sys!(SYS_setxattr, c"f", ACCESS, &list("u::6 u:1:7 g::4 m::5 o::0")[..], 44, XATTR_REPLACE));
        say!("empty value {} {}", sys!(SYS_setxattr, c"f", ACCESS, NULL, 0, 0), get("f", ACCESS));
    });
}

fn acl_validity() {
    in_tmpfs(|| {
        touch(c"f");
        for entries in [
            "u::6 g::4 o::0", "u::6 u:1:7 g::4 o::0", "g::4 u::6 o::0", "u::9 g::4 o::0", "u::6 g::4", "u::6 u::6 g::4 o::0", "u::6 u:5:4 u:3:4 g::4 m::7 o::0",
            "u::6 g::4 g:7:4 m::7 o::0", "u::6 g::4 m::7 o::0 o::0", "x::6 g::4 o::0", "", "u::6 u:4294967295:4 g::4 m::7 o::0",
        ] {
            say!("{entries:?}: {}", set("f", ACCESS, entries));
        }
        say!("version {}", sys!(SYS_setxattr, c"f", ACCESS, &[1u8, 0, 0, 0][..], 4, 0));
        say!("short {} {}", sys!(SYS_setxattr, c"f", ACCESS, &[2u8, 0, 0][..], 3, 0), sys!(SYS_setxattr, c"f", ACCESS, &[2u8, 0, 0, 0, 1, 0][..], 6, 0));
    });
}

fn acl_permission() {
    in_tmpfs(|| {
        touch(c"f");
        set("f", ACCESS, "u::6 u:1000:7 u:1001:1 g::4 m::6 o::0").must();
        say!("named {} {} other {}", may(1000, &[], "f"), may(1001, &[], "f"), may(1002, &[], "f"));
        say!("root's group {}", may(1003, &[0], "f"));
        say!("named and in the group {}", may(1001, &[0], "f"));
        say!("open {}", {
            let child = fork(|| {
                sys!(SYS_setresuid, 1000, 1000, 1000).must();
                i32::from(open(c"f", O_RDWR).get().is_err())
            });
            child.wait()
        });
        sys!(SYS_mkdirat, AT_FDCWD, c"d", 0o700).must();
        touch(c"d/g");
        sys!(SYS_chmod, c"d/g", 0o644).must();
        set("d", ACCESS, "u::7 u:1000:1 g::0 m::1 o::0").must();
        say!("through a directory {} {}", may(1000, &[], "d/g"), may(1001, &[], "d/g"));
    });
}

fn acl_groups_and_mask() {
    in_tmpfs(|| {
        touch(c"f");
        set("f", ACCESS, "u::6 g::4 g:50:2 g:51:1 m::7 o::7").must();
        say!("one {} another {} both {}", may(1000, &[50], "f"), may(1000, &[51], "f"), may(1000, &[50, 51], "f"));
        say!("all three {} none {}", may(1000, &[0, 50, 51], "f"), may(1000, &[], "f"));
        set("f", ACCESS, "u::6 g::4 g:50:6 m::2 o::7").must();
        say!("masked {} {}", may(1000, &[50], "f"), may(1000, &[0], "f"));
        set("f", ACCESS, "u::6 u:1000:7 g::7 m::0 o::7").must();
        say!("mask of nothing {} {} {}", may(1000, &[], "f"), may(1001, &[0], "f"), may(1002, &[], "f"));
    });
}

fn acl_inheritance() {
    in_tmpfs(|| {
        sys!(SYS_mkdirat, AT_FDCWD, c"d", 0o777).must();
        say!("{}", set("d", DEFAULT, "u::7 u:1000:7 g::5 m::7 o::5"));
        say!("{} {}", mode("d"), get("d", DEFAULT));
        touch(c"d/f");
        say!("file {} {} {}", mode("d/f"), get("d/f", ACCESS), get("d/f", DEFAULT));
        sys!(SYS_mkdirat, AT_FDCWD, c"d/s", 0o750).must();
        say!("directory {} {} {}", mode("d/s"), get("d/s", ACCESS), get("d/s", DEFAULT));
        close(open_mode("d/open", 0o666));
        say!("the umask has no say {} {}", mode("d/open"), get("d/open", ACCESS));
        sys!(SYS_symlinkat, c"x", AT_FDCWD, c"d/link").must();
        sys!(SYS_mknodat, AT_FDCWD, c"d/fifo", S_IFIFO | 0o622, 0).must();
        say!("fifo {} {}", mode("d/fifo"), get("d/fifo", ACCESS));
        say!("base entries only {}", set("d", DEFAULT, "u::7 g::5 o::1"));
        close(open_mode("d/plain", 0o666));
        say!("{} {}", mode("d/plain"), get("d/plain", ACCESS));
    });
}

fn open_mode(path: &str, mode: i32) -> i32 {
    sys!(SYS_openat, AT_FDCWD, &*CString::new(path).unwrap(), O_CREAT | O_WRONLY, mode).fd()
}

fn acl_chmod() {
    in_tmpfs(|| {
        touch(c"f");
        set("f", ACCESS, "u::6 u:1000:7 g::4 m::5 o::0").must();
        sys!(SYS_chmod, c"f", 0o2731).must();
        say!("{} {}", mode("f"), get("f", ACCESS));
        sys!(SYS_chown, c"f", 1000, 1000).must();
        say!("owner {} {}", mode("f"), get("f", ACCESS));
        sys!(SYS_chmod, c"f", 0o000).must();
        say!("{} {} {}", mode("f"), get("f", ACCESS), may(1001, &[1000], "f"));
    });
}

fn acl_errors() {
    in_tmpfs(|| {
        touch(c"f");
        sys!(SYS_symlinkat, c"f", AT_FDCWD, c"link").must();
        say!("default of a file {} {}", set("f", DEFAULT, "u::6 g::4 o::0"), sys!(SYS_removexattr, c"f", DEFAULT));
        let bytes = list("u::6 g::4 o::0");
        say!("of a link {} {}", sys!(SYS_lsetxattr, c"link", ACCESS, &bytes[..], bytes.len(), 0), sys!(SYS_lgetxattr, c"link", ACCESS, NULL, 0));
        say!("absent {}", set("none", ACCESS, "u::6 g::4 o::0"));
        let child = fork(|| {
            sys!(SYS_setresuid, 1000, 1000, 1000).must();
            say!("not the owner {} {}", set("f", ACCESS, "u::6 g::4 o::0"), sys!(SYS_removexattr, c"f", ACCESS));
            say!("may look {}", get("f", ACCESS));
            0
        });
        let _ = child.wait();
        sys!(SYS_mount, 0, c".", 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0).must();
        say!("read-only {}", set("f", ACCESS, "u::6 g::4 o::0"));
    });
}

fn acl_of_base_entries() {
    in_tmpfs(|| {
        touch(c"f");
        say!("{} {} {}", set("f", ACCESS, "u::7 g::5 o::1"), mode("f"), get("f", ACCESS));
        say!("{} {} {}", set("f", ACCESS, "u::7 g::5 m::4 o::1"), mode("f"), get("f", ACCESS));
    });
}

fn acl_in_listing() {
    in_tmpfs(|| {
        sys!(SYS_mkdirat, AT_FDCWD, c"d", 0o755).must();
        let names = || {
            let mut buf = [0u8; 300];
            let n = sys!(SYS_listxattr, c"d", &mut buf[..], 300).must() as usize;
            let mut names: Vec<_> = buf[..n].split(|b| *b == 0).filter(|n| !n.is_empty()).map(|n| String::from_utf8_lossy(n).into_owned()).collect();
            names.sort();
            names.join(" ")
        };
        say!("{}", names());
        set("d", ACCESS, "u::7 u:5:7 g::5 m::7 o::1").must();
        set("d", DEFAULT, "u::7 g::5 o::1").must();
        sys!(SYS_setxattr, c"d", c"user.x", b"1", 1, 0).must();
        say!("{}", names());
    });
}
