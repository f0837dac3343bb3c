//! The file system through its inodes.

use super::*;
use crate::error::{Errno, SysResult};
use crate::vfs::{
    AttrChange, DirEntry, DirOps, File, KernelSink, KernelSource, NodeKind, OpenHow, SeekFrom,
};

fn fs() -> Arc<Tmpfs> {
    Tmpfs::new(&Options::default()).unwrap()
}

fn create(dir: &Arc<Inode>, name: &[u8], kind: NodeKind) -> Arc<Inode> {
    dir.dir().unwrap().create(name, kind, 0o644, 1, 2).unwrap()
}

fn open(inode: &Arc<Inode>, flags: u32) -> Arc<File> {
    let ops = inode.ops().open(inode, OpenHow { flags }).unwrap();
    File::new(None, inode.clone(), ops, flags)
}

fn write(file: &File, offset: u64, bytes: &[u8]) -> SysResult<usize> {
    file.pwrite(None, offset, &mut KernelSource(bytes))
}

fn read(file: &File, offset: u64, len: usize) -> Vec<u8> {
    let mut sink = KernelSink::new(len);
    file.pread(None, offset, &mut sink).unwrap();
    sink.into_bytes()
}

fn names(dir: &Arc<Inode>, from: u64, limit: usize) -> (Vec<String>, u64) {
    let file = open(dir, 0);
    let (mut names, mut next) = (Vec::new(), from);
    let mut emit = |entry: &DirEntry| {
        if names.len() == limit {
            return false;
        }
        names.push(String::from_utf8(entry.name.clone()).unwrap());
        next = entry.next;
        true
    };
    file.ops().readdir(from, &mut emit).unwrap();
    (names, next)
}

#[test]
fn bytes_are_kept_inline_and_in_a_memory_file() {
    let fs = fs();
    let inode = create(&fs.root(), b"f", NodeKind::Regular);
    let file = open(&inode, abi::fs::O_RDWR);
    assert_eq!(write(&file, 10, b"small"), Ok(5));
    assert_eq!(read(&file, 0, 100), [&[0; 10][..], b"small"].concat());
    assert_eq!(inode.attr().unwrap().blocks, 8);
    assert_eq!(write(&file, 1 << 20, b"far"), Ok(3));
    assert_eq!(read(&file, 10, 5), b"small");
    assert_eq!(read(&file, (1 << 20) - 1, 100), b"\0far");
    let attr = inode.attr().unwrap();
    assert_eq!((attr.size, attr.blocks), ((1 << 20) + 3, 16));
    assert_eq!(file.ops().seek(SeekFrom::Data(5000)), Ok(1 << 20));
    assert_eq!(file.ops().seek(SeekFrom::Hole(0)), Ok(4096));
    assert_eq!(file.ops().seek(SeekFrom::Data(2 << 20)), Err(Errno::ENXIO));
}

#[test]
fn truncation_makes_zeros_of_what_was_there() {
    let fs = fs();
    let inode = create(&fs.root(), b"f", NodeKind::Regular);
    let file = open(&inode, abi::fs::O_RDWR);
    for base in [0, 100_000] {
        write(&file, base, b"abcdef").unwrap();
        for size in [base + 2, base + 6] {
            let change = AttrChange {
                size: Some(size),
                ..AttrChange::default()
            };
            inode.ops().set_attr(&change).unwrap();
        }
        assert_eq!(read(&file, base, 10), b"ab\0\0\0\0");
    }
}

#[test]
fn size_is_a_limit_and_removal_gives_it_back() {
    let options = Options {
        size: Some(16 * 4096),
        inodes: Some(3),
        ..Options::default()
    };
    let fs = Tmpfs::new(&options).unwrap();
    let root = fs.root();
    let inode = create(&root, b"f", NodeKind::Regular);
    let file = open(&inode, abi::fs::O_RDWR);
    assert_eq!(write(&file, 0, &vec![1; 100_000]), Ok(16 * 4096));
    assert_eq!(write(&file, 16 * 4096, b"x"), Err(Errno::ENOSPC.into()));
    assert_eq!(write(&file, 0, b"again"), Ok(5));
    assert_eq!(fs.statfs().unwrap().bfree, 0);
    create(&root, b"g", NodeKind::Fifo);
    let full = root.dir().unwrap().create(b"h", NodeKind::Fifo, 0, 0, 0);
    assert_eq!(full.err(), Some(Errno::ENOSPC));
    root.dir().unwrap().unlink(b"f", &inode).unwrap();
    drop((file, inode));
    let after = fs.statfs().unwrap();
    assert_eq!((after.bfree, after.ffree), (16, 1));
}

#[test]
fn reserved_pages_are_counted_once() {
    let options = Options {
        size: Some(64 * 4096),
        ..Options::default()
    };
    let fs = Tmpfs::new(&options).unwrap();
    let inode = create(&fs.root(), b"f", NodeKind::Regular);
    let file = open(&inode, abi::fs::O_RDWR);
    file.ops().allocate(0, 0, 60 * 4096).unwrap();
    assert_eq!(write(&file, 0, &vec![1; 60 * 4096]), Ok(60 * 4096));
    assert_eq!(fs.statfs().unwrap().bfree, 4);
    assert_eq!(
        file.ops().allocate(0, 60 * 4096, 5 * 4096),
        Err(Errno::ENOSPC)
    );
    file.ops().allocate(3, 0, 10 * 4096).unwrap();
    assert_eq!(fs.statfs().unwrap().bfree, 14);
}

#[test]
fn listing_goes_on_where_it_was_while_entries_change() {
    let fs = fs();
    let root = fs.root();
    let dir = root.dir().unwrap();
    for name in [b"a", b"b", b"c", b"d"] {
        create(&root, name, NodeKind::Regular);
    }
    let (first, next) = names(&root, 0, 4);
    assert_eq!(first, [".", "..", "a", "b"]);
    dir.unlink(b"a", &dir.lookup(b"a").unwrap()).unwrap();
    dir.unlink(b"c", &dir.lookup(b"c").unwrap()).unwrap();
    create(&root, b"e", NodeKind::Regular);
    assert_eq!(names(&root, next, 9).0, ["d", "e"]);
}

#[test]
fn link_counts_follow_names() {
    let fs = fs();
    let root = fs.root();
    let dir = root.dir().unwrap();
    let file = create(&root, b"f", NodeKind::Regular);
    dir.link(b"g", &file).unwrap();
    assert_eq!(file.attr().unwrap().nlink, 2);
    let sub = create(&root, b"sub", NodeKind::Directory);
    assert_eq!(root.attr().unwrap().nlink, 3);
    assert_eq!(dir.link(b"x", &sub), Err(Errno::EPERM));
    create(&sub, b"inner", NodeKind::Regular);
    assert_eq!(dir.rmdir(b"sub", &sub), Err(Errno::ENOTEMPTY));
    let inner = sub.dir().unwrap().lookup(b"inner").unwrap();
    sub.dir().unwrap().unlink(b"inner", &inner).unwrap();
    dir.rmdir(b"sub", &sub).unwrap();
    assert_eq!(root.attr().unwrap().nlink, 2);
    assert_eq!(sub.attr().unwrap().nlink, 0);
    let late = sub.dir().unwrap().create(b"x", NodeKind::Regular, 0, 0, 0);
    assert_eq!(late.err(), Some(Errno::ENOENT));
    let unnamed = dir.tmpfile(0o600, 0, 0).unwrap();
    assert_eq!(unnamed.attr().unwrap().nlink, 0);
    dir.link(b"named", &unnamed).unwrap();
    assert_eq!(unnamed.attr().unwrap().nlink, 1);
}

#[test]
fn renames_replace_exchange_and_refuse_loops() {
    const NOREPLACE: u32 = 1;
    const EXCHANGE: u32 = 2;
    const WHITEOUT: u32 = 4;
    let fs = fs();
    let root = fs.root();
    let dir = root.dir().unwrap();
    let a = create(&root, b"a", NodeKind::Directory);
    let b = create(&a, b"b", NodeKind::Directory);
    assert_eq!(dir.rename(b"a", &b, b"x", 0), Err(Errno::EINVAL));
    let file = create(&root, b"f", NodeKind::Regular);
    assert_eq!(dir.rename(b"f", &root, b"a", 0), Err(Errno::EISDIR));
    assert_eq!(dir.rename(b"a", &root, b"f", 0), Err(Errno::ENOTDIR));
    assert_eq!(dir.rename(b"f", &root, b"a", NOREPLACE), Err(Errno::EEXIST));
    dir.rename(b"f", &a, b"b", EXCHANGE).unwrap();
    assert!(Arc::ptr_eq(&a.dir().unwrap().lookup(b"b").unwrap(), &file));
    assert_eq!(root.attr().unwrap().nlink, 4);
    assert_eq!(a.attr().unwrap().nlink, 2);
    assert_eq!(names(&dir.lookup(b"f").unwrap(), 0, 9).0.len(), 2);
    a.dir()
        .unwrap()
        .rename(b"b", &root, b"w", WHITEOUT)
        .unwrap();
    let left = a.dir().unwrap().lookup(b"b").unwrap().attr().unwrap();
    assert_eq!((left.file_type(), left.rdev), (abi::fs::S_IFCHR, 0));
    dir.rename(b"f", &root, b"empty", 0).unwrap();
    let empty = create(&root, b"f2", NodeKind::Directory);
    dir.rename(b"f2", &root, b"empty", 0).unwrap();
    assert!(Arc::ptr_eq(&dir.lookup(b"empty").unwrap(), &empty));
    assert_eq!(b.attr().unwrap().nlink, 0);
    assert_eq!(root.attr().unwrap().nlink, 4);
}

#[test]
fn a_very_deep_tree_goes_without_recursion() {
    let fs = fs();
    let mut at = fs.root();
    for _ in 0..200_000 {
        at = create(&at, b"d", NodeKind::Directory);
    }
    drop(at);
    drop(fs);
}

#[test]
fn cached_names_are_checked() {
    let fs = fs();
    let root = fs.root();
    let dir: &dyn DirOps = root.dir().unwrap();
    assert!(dir.still_valid(b"f", None));
    let file = create(&root, b"f", NodeKind::Regular);
    assert!(!dir.still_valid(b"f", None));
    assert!(dir.still_valid(b"f", Some(&file)));
    dir.unlink(b"f", &file).unwrap();
    assert!(!dir.still_valid(b"f", Some(&file)));
}
