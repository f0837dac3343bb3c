//! The overlay over a tmpfs as lower file system, through the inodes.

use abi::fs::{O_RDONLY, O_RDWR, RENAME_EXCHANGE, RENAME_NOREPLACE};

use super::*;
use crate::error::Errno;
use crate::fs::tmpfs::{Options, Tmpfs};
use crate::vfs::{
    AttrChange, DirEntry, File, KernelSink, KernelSource, NodeKind, OpenHow, SetTime,
};

struct World {
    lower: Arc<Tmpfs>,
    fs: Arc<Overlay>,
}

fn open(inode: &Arc<Inode>, flags: u32) -> Arc<File> {
    let ops = inode.ops().open(inode, OpenHow { flags }).unwrap();
    File::new(None, inode.clone(), ops, flags)
}

fn put(dir: &Arc<Inode>, name: &str, text: &str) -> Arc<Inode> {
    let dir = dir.dir().unwrap();
    let inode = dir
        .create(name.as_bytes(), NodeKind::Regular, 0o640, 5, 6)
        .unwrap();
    write(&inode, text);
    inode
}

fn write(inode: &Arc<Inode>, text: &str) {
    let file = open(inode, O_RDWR);
    let n = file
        .write(None, &mut KernelSource(text.as_bytes()))
        .unwrap();
    assert_eq!(n, text.len());
}

fn read(inode: &Arc<Inode>) -> String {
    read_file(&open(inode, O_RDONLY))
}

fn read_file(file: &File) -> String {
    let mut sink = KernelSink::new(100);
    file.pread(None, 0, &mut sink).unwrap();
    String::from_utf8(sink.into_bytes()).unwrap()
}

fn make_dir(dir: &Arc<Inode>, name: &str) -> Arc<Inode> {
    let ops = dir.dir().unwrap();
    ops.create(name.as_bytes(), NodeKind::Directory, 0o755, 0, 0)
        .unwrap()
}

fn at(dir: &Arc<Inode>, path: &str) -> Result<Arc<Inode>> {
    path.split('/')
        .try_fold(dir.clone(), |dir, name| dir.dir()?.lookup(name.as_bytes()))
}

fn names(dir: &Arc<Inode>) -> Vec<String> {
    let mut names = Vec::new();
    open(dir, O_RDONLY)
        .ops()
        .readdir(0, &mut |entry: &DirEntry| {
            names.push(String::from_utf8(entry.name.clone()).unwrap());
            true
        })
        .unwrap();
    assert_eq!(names[..2], [".", ".."]);
    names.drain(..2);
    names.sort();
    names
}

/// Lower: `/a` "low a", `/d/x` "low x", `/d/e/deep` "deep".
fn world() -> World {
    let new = || Tmpfs::new(&Options::default()).unwrap();
    let lower = new();
    put(&lower.root(), "a", "low a");
    let d = make_dir(&lower.root(), "d");
    put(&d, "x", "low x");
    put(&make_dir(&d, "e"), "deep", "deep");
    let fs = Overlay::new(lower.clone(), new()).unwrap();
    World { lower, fs }
}

#[test]
fn what_is_written_stays_above_and_the_lower_file_as_it_was() {
    let world = world();
    let root = world.fs.root();
    let before = at(&root, "d/x").unwrap().attr().unwrap();
    let reader = open(&at(&root, "d/x").unwrap(), O_RDONLY);
    assert_eq!(read_file(&reader), "low x");
    write(&at(&root, "d/x").unwrap(), "HIGH");
    assert_eq!(read(&at(&root, "d/x").unwrap()), "HIGHx");
    assert_eq!(read_file(&reader), "HIGHx", "an open reader sees the copy");
    assert_eq!(read(&at(&world.lower.root(), "d/x").unwrap()), "low x");
    let after = at(&root, "d/x").unwrap().attr().unwrap();
    assert_eq!((after.ino, after.dev), (before.ino, before.dev));
    assert_eq!((after.uid, after.gid, after.mode), (5, 6, before.mode));
}

#[test]
fn attributes_change_without_the_lower_file() {
    let world = world();
    let inode = at(&world.fs.root(), "a").unwrap();
    let mtime = abi::time::Timespec { sec: 7, nsec: 0 };
    let change = AttrChange {
        mode: Some(0o600),
        size: Some(3),
        mtime: Some(SetTime::At(mtime)),
        ..AttrChange::default()
    };
    inode.ops().set_attr(&change).unwrap();
    drop(inode);
    let inode = at(&world.fs.root(), "a").unwrap();
    assert_eq!(read(&inode), "low");
    assert_eq!(inode.attr().unwrap().mode & 0o777, 0o600);
    assert_eq!(inode.attr().unwrap().mtime, mtime);
    let lower = at(&world.lower.root(), "a").unwrap();
    assert_eq!(lower.attr().unwrap().mode & 0o777, 0o640);
    assert_eq!(read(&lower), "low a");
}

#[test]
fn removed_names_stay_removed_and_can_be_made_again() {
    let world = world();
    let root = world.fs.root();
    let d = at(&root, "d").unwrap();
    let dir = d.dir().unwrap();
    let busy = root.dir().unwrap().rmdir(b"d", &d);
    assert_eq!(busy, Err(Errno::ENOTEMPTY));
    dir.unlink(b"x", &at(&d, "x").unwrap()).unwrap();
    assert_eq!(at(&root, "d/x").err(), Some(Errno::ENOENT));
    assert_eq!(names(&d), ["e"]);
    put(&d, "x", "new");
    assert_eq!(names(&d), ["e", "x"]);
    assert_eq!(read(&at(&root, "d/x").unwrap()), "new");
    assert_eq!(read(&at(&world.lower.root(), "d/x").unwrap()), "low x");
}

#[test]
fn a_directory_made_over_a_removed_one_is_empty() {
    let world = world();
    let root = world.fs.root();
    let d = at(&root, "d").unwrap();
    let e = at(&d, "e").unwrap();
    let deep = at(&e, "deep").unwrap();
    e.dir().unwrap().unlink(b"deep", &deep).unwrap();
    d.dir().unwrap().rmdir(b"e", &e).unwrap();
    let made_in_removed = e.dir().unwrap().create(b"n", NodeKind::Regular, 0, 0, 0);
    assert_eq!(made_in_removed.err(), Some(Errno::ENOENT));
    let again = make_dir(&d, "e");
    assert!(names(&again).is_empty());
    assert_eq!(again.attr().unwrap().nlink, 2);
    assert_eq!(at(&root, "d/e/deep").err(), Some(Errno::ENOENT));
}

#[test]
fn lower_directories_are_renamed_with_all_that_is_in_them() {
    let world = world();
    let root = world.fs.root();
    let dir = root.dir().unwrap();
    put(&at(&root, "d/e").unwrap(), "own", "own");
    dir.rename(b"d", &root, b"moved", RENAME_NOREPLACE).unwrap();
    assert_eq!(names(&root), ["a", "moved"]);
    assert_eq!(read(&at(&root, "moved/e/deep").unwrap()), "deep");
    assert_eq!(read(&at(&root, "moved/e/own").unwrap()), "own");
    assert_eq!(at(&root, "d").err(), Some(Errno::ENOENT));
    let taken = dir.rename(b"a", &root, b"moved", RENAME_NOREPLACE);
    assert_eq!(taken, Err(Errno::EEXIST));
    assert_eq!(dir.rename(b"a", &root, b"moved", 0), Err(Errno::EISDIR));
    dir.rename(b"a", &root, b"moved", RENAME_EXCHANGE).unwrap();
    assert_eq!(read(&at(&root, "moved").unwrap()), "low a");
    assert_eq!(names(&at(&root, "a").unwrap()), ["e", "x"]);
}

#[test]
fn replacing_by_rename_hides_both_lower_files() {
    let world = world();
    let root = world.fs.root();
    let d = at(&root, "d").unwrap();
    let dir = root.dir().unwrap();
    dir.rename(b"a", &d, b"x", 0).unwrap();
    assert_eq!(names(&root), ["d"]);
    assert_eq!(read(&at(&root, "d/x").unwrap()), "low a");
    let x = at(&d, "x").unwrap();
    d.dir().unwrap().unlink(b"x", &x).unwrap();
    assert_eq!(at(&root, "d/x").err(), Some(Errno::ENOENT));
    assert_eq!(x.attr().unwrap().nlink, 0);
}

#[test]
fn lower_hard_links_stay_one_file() {
    let lower = Tmpfs::new(&Options::default()).unwrap();
    let file = put(&lower.root(), "one", "same");
    lower.root().dir().unwrap().link(b"two", &file).unwrap();
    let upper = Tmpfs::new(&Options::default()).unwrap();
    let fs = Overlay::new(lower, upper).unwrap();
    let root = fs.root();
    write(&at(&root, "one").unwrap(), "SA");
    let two = at(&root, "two").unwrap();
    assert_eq!(read(&two), "SAme");
    assert_eq!(two.attr().unwrap().nlink, 2);
    let dir = root.dir().unwrap();
    dir.unlink(b"one", &two).unwrap();
    assert_eq!(two.attr().unwrap().nlink, 1);
    dir.link(b"three", &two).unwrap();
    drop(two);
    assert_eq!(read(&at(&root, "three").unwrap()), "SAme");
    assert_eq!(at(&root, "three").unwrap().attr().unwrap().nlink, 2);
}

#[test]
fn unchanged_files_are_not_kept_and_removed_ones_are_let_go() {
    let world = world();
    let root = world.fs.root();
    let a = at(&root, "a").unwrap();
    assert!(world.fs.pinned.lock().is_empty());
    write(&a, "x");
    assert_eq!(world.fs.pinned.lock().len(), 1);
    root.dir().unwrap().unlink(b"a", &a).unwrap();
    let ino = a.attr().unwrap().ino;
    assert!(!world.fs.pinned.lock().contains_key(&ino));
    let weak = Arc::downgrade(&a);
    drop(a);
    assert!(weak.upgrade().is_none());
}

#[test]
fn listings_go_on_where_they_stopped_whatever_is_removed() {
    let world = world();
    let root = world.fs.root();
    for n in 0..10 {
        put(&root, &format!("f{n}"), "");
    }
    let dir = open(&root, O_RDONLY);
    let mut seen = Vec::new();
    let mut from = 0;
    loop {
        let before = seen.len();
        dir.ops()
            .readdir(from, &mut |entry| {
                if seen.len() == before + 3 {
                    return false;
                }
                seen.push(entry.name.clone());
                from = entry.next;
                true
            })
            .unwrap();
        if seen.len() == before {
            break;
        }
        for name in &seen[before..] {
            if name[0] == b'f' {
                let inode = root.dir().unwrap().lookup(name).unwrap();
                root.dir().unwrap().unlink(name, &inode).unwrap();
            }
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 14);
    assert_eq!(names(&root), ["a", "d"]);
}
