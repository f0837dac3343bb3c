//! The operations over a tmpfs, as root and as others.

use std::sync::Arc;

use abi::fs::{
    O_CREAT, O_DIRECTORY, O_EXCL, O_NOATIME, O_NOFOLLOW, O_PATH, O_RDONLY, O_RDWR, O_TMPFILE,
    O_TRUNC, O_WRONLY, RENAME_EXCHANGE, RENAME_NOREPLACE, S_ISGID,
};

use super::lookup::{Found, LookupCx, LookupFlags, resolve};
use super::*;
use crate::error::{Errno, Result};
use crate::fs::tmpfs::{Options, Tmpfs};
use crate::task::creds::{CapSet, Creds};

struct World {
    fs: Arc<FsContext>,
    namespace: Arc<MountNamespace>,
}

fn tmpfs() -> Arc<Tmpfs> {
    let options = Options {
        mode: Some(0o755),
        ..Options::default()
    };
    Tmpfs::new(&options).unwrap()
}

fn world() -> World {
    let mount = Mount::of(tmpfs(), MountFlags::RELATIME, b"none");
    let namespace = MountNamespace::new(mount);
    let fs = FsContext::new(namespace.clone());
    World { fs, namespace }
}

fn user(uid: u32) -> Creds {
    let mut creds = Creds::root();
    (creds.fsuid, creds.fsgid) = (uid, uid);
    creds.effective = CapSet::EMPTY;
    creds
}

impl World {
    fn cx<'a>(&'a self, creds: &'a Creds) -> LookupCx<'a> {
        LookupCx {
            fs: &self.fs,
            creds,
            task: None,
        }
    }
    fn open_as(&self, creds: &Creds, path: &str, flags: u32, mode: u32) -> Result<Arc<File>> {
        let request = OpenRequest {
            flags,
            mode,
            resolve: LookupFlags::empty(),
        };
        match open_at(self.cx(creds), &self.fs.cwd(), path.as_bytes(), request)? {
            OpenOutcome::Ready(file) => Ok(file),
            OpenOutcome::Fifo(pending) => pending.finish(),
            OpenOutcome::Leased(..) => Err(Errno::EAGAIN),
        }
    }
    fn open(&self, path: &str, flags: u32) -> Result<Arc<File>> {
        self.open_as(&Creds::root(), path, flags, 0o666)
    }
    fn find(&self, path: &str) -> Result<Path> {
        self.find_with(path, LookupFlags::empty())
    }
    fn find_with(&self, path: &str, flags: LookupFlags) -> Result<Path> {
        let root = Creds::root();
        resolve(self.cx(&root), &self.fs.cwd(), path.as_bytes(), flags)?.into_path()
    }
    fn file(&self, path: &str) {
        self.open(path, O_CREAT | O_WRONLY).unwrap();
    }
    fn dir(&self, path: &str, mode: u32) {
        let root = Creds::root();
        mkdir_at(self.cx(&root), &self.fs.cwd(), path.as_bytes(), mode).unwrap();
    }
    fn symlink(&self, target: &str, path: &str) {
        let root = Creds::root();
        let (target, path) = (target.as_bytes(), path.as_bytes());
        symlink_at(self.cx(&root), target, &self.fs.cwd(), path).unwrap();
    }
    fn rename(&self, old: &str, new: &str, flags: u32) -> Result<()> {
        let (root, cwd) = (Creds::root(), self.fs.cwd());
        let (old, new) = (old.as_bytes(), new.as_bytes());
        rename_at(self.cx(&root), &cwd, old, &cwd, new, flags)
    }
    fn unlink_as(&self, creds: &Creds, path: &str) -> Result<()> {
        unlink_at(self.cx(creds), &self.fs.cwd(), path.as_bytes())
    }
    fn rmdir(&self, path: &str) -> Result<()> {
        let root = Creds::root();
        rmdir_at(self.cx(&root), &self.fs.cwd(), path.as_bytes())
    }
    fn chmod(&self, path: &str, mode: u32) {
        let found = Found::Path(self.find(path).unwrap());
        change_mode(&Creds::root(), &found, mode).unwrap();
    }
    fn chown(&self, path: &str, id: u32) {
        let found = Found::Path(self.find(path).unwrap());
        change_owner(&Creds::root(), &found, Some(id), Some(id)).unwrap();
    }
    fn mode(&self, path: &str) -> u32 {
        self.find(path).unwrap().inode().attr().unwrap().mode & 0o7777
    }
}

#[test]
fn opening_says_what_linux_says() {
    let world = world();
    world.dir("/d", 0o755);
    world.symlink("d", "/l");
    world.symlink("nowhere", "/dangling");
    world.symlink("loop", "/loop");
    let err = |path, flags| world.open(path, flags).err();
    assert_eq!(err("/none", O_RDONLY), Some(Errno::ENOENT));
    assert_eq!(err("", O_RDONLY), Some(Errno::ENOENT));
    assert_eq!(err("/d", O_WRONLY), Some(Errno::EISDIR));
    assert_eq!(err("/d", O_RDONLY | O_CREAT), Some(Errno::EISDIR));
    assert_eq!(err("/d/.", O_RDWR | O_CREAT), Some(Errno::EISDIR));
    let exclusive = O_CREAT | O_EXCL | O_RDWR;
    assert_eq!(err("/d/.", exclusive), Some(Errno::EEXIST));
    assert_eq!(err("/dangling", exclusive), Some(Errno::EEXIST));
    assert_eq!(err("/new/", O_CREAT | O_RDWR), Some(Errno::EISDIR));
    assert_eq!(err("/l", O_NOFOLLOW), Some(Errno::ELOOP));
    assert_eq!(err("/l", O_NOFOLLOW | O_DIRECTORY), Some(Errno::ENOTDIR));
    assert_eq!(err("/loop", O_RDONLY), Some(Errno::ELOOP));
    assert_eq!(err("/loop", O_CREAT | O_RDWR), Some(Errno::ELOOP));
    assert_eq!(err("/d", O_CREAT | O_DIRECTORY), Some(Errno::EINVAL));
    assert_eq!(err("/", O_TMPFILE | O_RDONLY), Some(Errno::EINVAL));
    assert!(world.open("/l", O_NOFOLLOW | O_PATH).is_ok());
    world.file("/f");
    assert_eq!(err("/f/x", O_RDONLY), Some(Errno::ENOTDIR));
    assert_eq!(err("/f", O_DIRECTORY), Some(Errno::ENOTDIR));
    assert_eq!(err("/f", exclusive), Some(Errno::EEXIST));
    let long = format!("/{}", "n".repeat(256));
    assert_eq!(err(&long, O_RDONLY), Some(Errno::ENAMETOOLONG));
}

#[test]
fn a_dangling_link_is_created_through() {
    let world = world();
    world.dir("/d", 0o755);
    world.symlink("d/target", "/l");
    world.file("/l");
    assert!(world.find("/d/target").is_ok());
}

#[test]
fn created_files_get_umask_and_the_group_of_setgid_directories() {
    let world = world();
    world.file("/plain");
    assert_eq!(world.mode("/plain"), 0o644);
    world.dir("/g", 0o755);
    world.chown("/g", 7);
    world.chmod("/g", 0o777 | S_ISGID);
    let other = user(9);
    world
        .open_as(&other, "/g/f", O_CREAT | O_RDWR, 0o2775)
        .unwrap();
    let attr = world.find("/g/f").unwrap().inode().attr().unwrap();
    assert_eq!((attr.uid, attr.gid), (9, 7));
    assert_eq!(attr.mode & 0o7777, 0o755, "not in the group: no setgid");
    world.dir("/g/sub", 0o755);
    assert_eq!(world.mode("/g/sub"), 0o2755);
}

#[test]
fn a_file_just_made_is_open_whatever_its_mode() {
    let world = world();
    world.chmod("/", 0o777);
    let file = world.open_as(&user(5), "/f", O_CREAT | O_RDWR, 0o000);
    assert!(file.unwrap().writable());
    let again = world.open_as(&user(5), "/f", O_RDONLY, 0);
    assert_eq!(again.err(), Some(Errno::EACCES));
    assert!(world.open("/f", O_RDWR).is_ok(), "root may");
    let noatime = world.open_as(&user(6), "/", O_RDONLY | O_NOATIME, 0);
    assert_eq!(noatime.err(), Some(Errno::EPERM));
}

#[test]
fn truncating_needs_permission_to_write() {
    let world = world();
    let file = world.open("/f", O_CREAT | O_RDWR).unwrap();
    file.write(None, &mut KernelSource(b"text")).unwrap();
    let refused = world.open_as(&user(5), "/f", O_RDONLY | O_TRUNC, 0);
    assert_eq!(refused.err(), Some(Errno::EACCES));
    assert_eq!(file.inode().attr().unwrap().size, 4);
    world.open("/f", O_RDONLY | O_TRUNC).unwrap();
    assert_eq!(file.inode().attr().unwrap().size, 0);
}

#[test]
fn read_only_mounts_refuse_changes_only() {
    let world = world();
    world.file("/f");
    let root = world.namespace.root();
    root.mount
        .set_flags(MountFlags::RELATIME | MountFlags::RDONLY);
    assert_eq!(world.open("/f", O_RDWR).err(), Some(Errno::EROFS));
    assert_eq!(
        world.open("/new", O_CREAT | O_RDWR).err(),
        Some(Errno::EROFS)
    );
    assert!(world.open("/f", O_CREAT | O_RDONLY).is_ok());
    let root_user = Creds::root();
    assert_eq!(world.unlink_as(&root_user, "/f"), Err(Errno::EROFS));
    assert_eq!(world.rename("/f", "/g", 0), Err(Errno::EROFS));
}

#[test]
fn removed_names_are_gone_and_their_files_live_on() {
    let world = world();
    let file = world.open("/f", O_CREAT | O_RDWR).unwrap();
    file.write(None, &mut KernelSource(b"kept")).unwrap();
    let root = Creds::root();
    assert_eq!(world.unlink_as(&root, "/f/"), Err(Errno::ENOTDIR));
    world.unlink_as(&root, "/f").unwrap();
    assert_eq!(world.find("/f").err(), Some(Errno::ENOENT));
    assert_eq!(file.describe(&world.fs), b"/f (deleted)");
    let mut sink = KernelSink::new(10);
    file.pread(None, 0, &mut sink).unwrap();
    assert_eq!(sink.into_bytes(), b"kept");
    world.file("/f");
    assert_eq!(file.describe(&world.fs), b"/f (deleted)");
}

#[test]
fn removing_directories_says_what_linux_says() {
    let world = world();
    world.dir("/d", 0o755);
    world.dir("/d/e", 0o755);
    assert_eq!(world.rmdir("/d"), Err(Errno::ENOTEMPTY));
    assert_eq!(world.rmdir("/d/."), Err(Errno::EINVAL));
    assert_eq!(world.rmdir("/d/e/.."), Err(Errno::ENOTEMPTY));
    assert_eq!(world.rmdir("/"), Err(Errno::EBUSY));
    let root = Creds::root();
    assert_eq!(world.unlink_as(&root, "/d"), Err(Errno::EISDIR));
    let inside = world.open("/d/e", O_RDONLY).unwrap();
    world.rmdir("/d/e").unwrap();
    world.fs.set_cwd(inside.path().unwrap().clone());
    assert_eq!(world.open("x", O_CREAT | O_RDWR).err(), Some(Errno::ENOENT));
}

#[test]
fn the_sticky_bit_protects_names_and_links() {
    let world = world();
    world.dir("/tmp", 0o777);
    world.chmod("/tmp", 0o1777);
    world
        .open_as(&user(5), "/tmp/f", O_CREAT | O_RDWR, 0o666)
        .unwrap();
    assert_eq!(world.unlink_as(&user(6), "/tmp/f"), Err(Errno::EPERM));
    // Somebody else's link in a shared directory is not followed as the last component.
    world.file("/secret");
    world.symlink("/secret", "/tmp/l");
    world.chown("/tmp/l", 6);
    let follow = LookupFlags::FOLLOW;
    assert_eq!(world.find_with("/tmp/l", follow).err(), Some(Errno::EACCES));
    world.chown("/tmp/l", 0);
    assert!(world.find_with("/tmp/l", follow).is_ok());
    // Nor may one link what one could not write.
    let other = user(6);
    let source = world.find("/secret").unwrap();
    let cwd = world.fs.cwd();
    let linked = link_at(world.cx(&other), &source, &cwd, b"/tmp/mine");
    assert_eq!(linked, Err(Errno::EPERM));
}

#[test]
fn renames_say_what_linux_says() {
    let world = world();
    world.file("/f");
    world.file("/g");
    world.dir("/d", 0o755);
    world.dir("/d/e", 0o755);
    assert_eq!(world.rename("/d", "/d/e/x", 0), Err(Errno::EINVAL));
    assert_eq!(world.rename("/d/e", "/d", 0), Err(Errno::ENOTEMPTY));
    assert_eq!(world.rename("/f", "/d", 0), Err(Errno::EISDIR));
    assert_eq!(world.rename("/d", "/f", 0), Err(Errno::ENOTDIR));
    assert_eq!(world.rename("/f", "/h/", 0), Err(Errno::ENOTDIR));
    assert_eq!(world.rename("/d/.", "/h", 0), Err(Errno::EBUSY));
    assert_eq!(
        world.rename("/f", "/g", RENAME_NOREPLACE),
        Err(Errno::EEXIST)
    );
    let both = RENAME_NOREPLACE | RENAME_EXCHANGE;
    assert_eq!(world.rename("/f", "/g", both), Err(Errno::EINVAL));
    assert_eq!(
        world.rename("/f", "/none", RENAME_EXCHANGE),
        Err(Errno::ENOENT)
    );
}

#[test]
fn what_is_open_follows_its_name() {
    let world = world();
    world.dir("/d", 0o755);
    world.dir("/to", 0o755);
    let file = world.open("/d/f", O_CREAT | O_RDWR).unwrap();
    world.rename("/d", "/to/d2", 0).unwrap();
    assert_eq!(file.describe(&world.fs), b"/to/d2/f");
    assert_eq!(world.find("/d").err(), Some(Errno::ENOENT));
    assert!(world.find("/to/d2/../d2/f").is_ok());
    let other = world.open("/g", O_CREAT | O_RDWR).unwrap();
    world.rename("/g", "/to/d2", RENAME_EXCHANGE).unwrap();
    assert_eq!(other.describe(&world.fs), b"/to/d2");
    assert_eq!(file.describe(&world.fs), b"/g/f");
    assert!(world.find("/g/f").is_ok());
    assert_eq!(world.find("/to/d2/f").err(), Some(Errno::ENOTDIR));
}

#[test]
fn unnamed_files_get_a_name_by_linking() {
    let world = world();
    let file = world.open("/", O_TMPFILE | O_RDWR).unwrap();
    let sealed = world.open("/", O_TMPFILE | O_RDWR | O_EXCL).unwrap();
    let (root, cwd) = (Creds::root(), world.fs.cwd());
    let link =
        |file: &Arc<File>, name: &[u8]| link_at(world.cx(&root), file.path().unwrap(), &cwd, name);
    assert_eq!(link(&sealed, b"no"), Err(Errno::ENOENT));
    link(&file, b"named").unwrap();
    let named = world.find("/named").unwrap();
    assert!(Arc::ptr_eq(named.inode(), file.inode()));
}

#[test]
fn mounts_are_crossed_and_protected() {
    let world = world();
    world.dir("/m", 0o755);
    let point = world.find("/m").unwrap();
    let mount = Mount::of(tmpfs(), MountFlags::RELATIME, b"none");
    world.namespace.attach(mount, &point).unwrap();
    world.file("/m/inside");
    assert_eq!(world.rmdir("/m"), Err(Errno::EBUSY));
    assert_eq!(world.rename("/m", "/n", 0), Err(Errno::EBUSY));
    assert_eq!(world.rename("/m/inside", "/x", 0), Err(Errno::EXDEV));
    assert!(world.find("/m/../m/inside").is_ok());
    let file = world.open("/m/inside", O_RDONLY).unwrap();
    let root = world.find("/m").unwrap();
    let busy = world.namespace.detach(root.clone(), UmountHow::Idle);
    assert_eq!(busy.err(), Some(Errno::EBUSY), "a file is open");
    drop(file);
    world.namespace.detach(root, UmountHow::Idle).unwrap();
    assert_eq!(world.find("/m/inside").err(), Some(Errno::ENOENT));
    world.rmdir("/m").unwrap();
}

#[test]
fn scoped_lookups_stay_where_they_are_told() {
    let world = world();
    world.dir("/d", 0o755);
    world.file("/d/f");
    world.file("/f");
    world.symlink("/f", "/d/absolute");
    world.symlink("../f", "/d/up");
    let d = world.find("/d").unwrap();
    let root = Creds::root();
    let walk = |path: &str, flags| {
        resolve(world.cx(&root), &d, path.as_bytes(), flags)
            .and_then(Found::into_path)
            .map(|path| path.dentry)
    };
    let beneath = LookupFlags::BENEATH | LookupFlags::FOLLOW;
    assert!(walk("f", beneath).is_ok());
    for path in ["../f", "absolute", "up", "/f"] {
        assert_eq!(walk(path, beneath).err(), Some(Errno::EXDEV), "{path}");
    }
    let in_root = LookupFlags::IN_ROOT | LookupFlags::FOLLOW;
    let inside = world.find("/d/f").unwrap().dentry;
    for path in ["../f", "absolute", "up", "/f"] {
        assert!(
            Arc::ptr_eq(&walk(path, in_root).unwrap(), &inside),
            "{path}"
        );
    }
    let plain = LookupFlags::NO_SYMLINKS | LookupFlags::FOLLOW;
    assert_eq!(walk("up", plain).err(), Some(Errno::ELOOP));
}

#[test]
fn owners_change_and_privileges_go() {
    let world = world();
    world.file("/f");
    world.chmod("/f", 0o6755);
    world.chown("/f", 5);
    assert_eq!(world.mode("/f"), 0o755);
    let found = Found::Path(world.find("/f").unwrap());
    let change = |creds: &Creds, uid, gid| change_owner(creds, &found, uid, gid);
    assert_eq!(change(&user(5), Some(6), None), Err(Errno::EPERM));
    assert_eq!(change(&user(5), None, Some(9)), Err(Errno::EPERM));
    assert_eq!(change(&user(5), Some(5), Some(5)), Ok(()));
    world.chmod("/f", 0o4777);
    strip_privileges(&user(8), found.inode()).unwrap();
    assert_eq!(world.mode("/f"), 0o777);
    let now = Some(SetTime::Now);
    assert_eq!(set_times(&user(8), &found, now, now), Ok(()));
    assert_eq!(set_times(&user(8), &found, now, None), Err(Errno::EPERM));
}

#[test]
fn attribute_namespaces_have_their_rules() {
    let world = world();
    world.file("/f");
    world.symlink("f", "/l");
    let found = Found::Path(world.find("/f").unwrap());
    let root = Creds::root();
    xattr::set(&root, &found, b"user.a", b"1", 0).unwrap();
    xattr::set(&root, &found, b"trusted.b", b"2", 0).unwrap();
    assert_eq!(xattr::list(&user(5), &found).unwrap(), b"user.a\0");
    let set = |creds: &Creds, name: &[u8]| xattr::set(creds, &found, name, b"x", 0);
    assert_eq!(set(&user(5), b"user.a"), Err(Errno::EACCES));
    assert_eq!(set(&user(5), b"trusted.b"), Err(Errno::EPERM));
    assert_eq!(set(&user(5), b"security.capability"), Err(Errno::EPERM));
    assert_eq!(set(&root, b"other.a"), Err(Errno::EOPNOTSUPP));
    assert_eq!(set(&root, b""), Err(Errno::ERANGE));
    let hidden = xattr::get(&user(5), &found, b"trusted.b");
    assert_eq!(hidden, Err(Errno::ENODATA));
    let link = Found::Path(world.find("/l").unwrap());
    let on_link = xattr::set(&root, &link, b"user.a", b"1", 0);
    assert_eq!(on_link, Err(Errno::EPERM));
}
