//! Every operation: that it does what Linux does, and an errno that Linux would give.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use abi::Errno;
use common::{TempDir, owner, served, served_with, start, tree};
use gofer::client::{
    Client, FileType, NodKind, OpenFlags, Ownership, RenameFlags, SetAttr, SetTime, SocketKind,
    SyncKind, Timestamp, UnlinkKind, XattrFlags,
};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

const RW: OpenFlags = OpenFlags::READ.union(OpenFlags::WRITE);

#[test]
fn walking_stops_where_it_must() {
    let s = served();
    fs::create_dir_all(s.dir.0.join("a/b/c")).unwrap();
    fs::write(s.dir.0.join("a/b/file"), "x").unwrap();
    symlink("/etc", s.dir.0.join("a/out")).unwrap();
    let root = &s.root.node;

    let walk = s.client.walk(root, &[b"a", b"b", b"c"]).unwrap();
    assert_eq!((walk.entries.len(), walk.error), (3, None));
    assert_eq!(
        walk.entries[2].attr.ino,
        fs::metadata(s.dir.0.join("a/b/c")).unwrap().ino()
    );

    let walk = s.client.walk(root, &[b"a", b"nothing", b"c"]).unwrap();
    assert_eq!((walk.entries.len(), walk.error), (1, Some(Errno::ENOENT)));

    let walk = s
        .client
        .walk(root, &[b"a", b"b", b"file", b"beyond"])
        .unwrap();
    assert_eq!((walk.entries.len(), walk.error), (3, None));
    assert_eq!(walk.entries[2].attr.kind(), FileType::Regular);

    let walk = s.client.walk(root, &[b"a", b"out", b"passwd"]).unwrap();
    assert_eq!((walk.entries.len(), walk.error), (2, None));
    assert_eq!(walk.entries[1].target.as_deref(), Some(&b"/etc"[..]));
    assert_eq!(
        s.client.readlink(&walk.entries[1].node).unwrap().as_ref(),
        b"/etc"
    );
    assert_eq!(s.client.readlink(root), Err(Errno::EINVAL));

    for bad in [&b".."[..], b".", b"a/b", b"/", b""] {
        assert_eq!(
            s.client.lookup(root, bad).unwrap_err(),
            Errno::EINVAL,
            "{bad:?}"
        );
    }
    assert_eq!(
        s.client.lookup(root, &[b'n'; 300]).unwrap_err(),
        Errno::ENAMETOOLONG
    );
    let file = s
        .client
        .walk(root, &[b"a", b"b", b"file"])
        .unwrap()
        .entries
        .pop()
        .unwrap();
    assert_eq!(
        s.client.lookup(&file.node, b"x").unwrap_err(),
        Errno::ENOTDIR
    );
    assert_eq!(s.client.attach(1).unwrap_err(), Errno::ENOENT);
}

#[test]
fn walks_deeper_than_a_message_go_on() {
    let s = served();
    let names: Vec<&[u8]> = vec![b"d"; 150];
    fs::create_dir_all(s.dir.0.join(vec!["d"; 150].join("/"))).unwrap();
    let walk = s.client.walk(&s.root.node, &names).unwrap();
    assert_eq!((walk.entries.len(), walk.error), (150, None));
}

#[test]
fn creating_opening_and_reading() {
    let s = served();
    let (entry, file) = s
        .client
        .create(&s.root.node, b"new\xff", RW, owner(0o640))
        .unwrap();
    assert_eq!(entry.attr.mode, libc::S_IFREG | 0o640);
    let mut file = fs::File::from(file);
    file.write_all(b"hello").unwrap();
    assert_eq!(s.client.getattr(&entry.node).unwrap().size, 5);
    assert_eq!(
        s.client
            .create(&s.root.node, b"new\xff", RW, owner(0o640))
            .unwrap_err(),
        Errno::EEXIST
    );

    let (read_only, attr) = s.client.open(&entry.node, OpenFlags::READ).unwrap();
    assert_eq!(attr.size, 5);
    let mut read_only = fs::File::from(read_only);
    let mut text = String::new();
    read_only.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    assert_eq!(
        read_only.write(b"x").unwrap_err().raw_os_error(),
        Some(libc::EBADF)
    );
    let (write_only, attr) = s
        .client
        .open(&entry.node, OpenFlags::WRITE | OpenFlags::TRUNCATE)
        .unwrap();
    assert_eq!(attr.size, 0);
    assert_eq!(
        fs::File::from(write_only)
            .read(&mut [0])
            .unwrap_err()
            .raw_os_error(),
        Some(libc::EBADF)
    );

    assert_eq!(
        s.client.open(&entry.node, OpenFlags::empty()).unwrap_err(),
        Errno::EINVAL
    );
    assert_eq!(
        s.client
            .open(&entry.node, OpenFlags::READ | OpenFlags::TRUNCATE)
            .unwrap_err(),
        Errno::EINVAL
    );
    assert_eq!(
        s.client.open(&s.root.node, OpenFlags::READ).unwrap_err(),
        Errno::EISDIR
    );
}

#[test]
fn a_new_file_belongs_to_whom_it_should() {
    let s = served();
    let stranger = Ownership {
        mode: 0o4711,
        uid: 1234,
        gid: 4321,
    };
    match s.client.create(&s.root.node, b"f", RW, stranger) {
        Ok((entry, _)) => {
            assert_eq!(
                (entry.attr.uid, entry.attr.gid, entry.attr.mode & 0o7777),
                (1234, 4321, 0o4711)
            );
            let dir = s
                .client
                .mkdir(
                    &s.root.node,
                    b"d",
                    Ownership {
                        mode: 0o1777,
                        ..stranger
                    },
                )
                .unwrap();
            assert_eq!(
                (dir.attr.uid, dir.attr.gid, dir.attr.mode),
                (1234, 4321, libc::S_IFDIR | 0o1777)
            );
            let link = s
                .client
                .symlink(&s.root.node, b"l", b"nowhere", stranger)
                .unwrap();
            assert_eq!(
                (link.attr.uid, link.attr.gid, link.target.as_deref()),
                (1234, 4321, Some(&b"nowhere"[..]))
            );
        }
        // Without the right to give files away nothing is left behind.
        Err(error) => {
            assert_eq!(error, Errno::EPERM);
            assert!(!s.dir.0.join("f").exists());
        }
    }
    // An id that cannot exist: what was created is removed again.
    let nobody = Ownership {
        mode: 0o600,
        uid: u32::MAX,
        gid: 0,
    };
    assert_eq!(
        s.client.create(&s.root.node, b"g", RW, nobody).unwrap_err(),
        Errno::EOVERFLOW
    );
    assert_eq!(
        s.client.mkdir(&s.root.node, b"g", nobody).unwrap_err(),
        Errno::EOVERFLOW
    );
    assert!(!s.dir.0.join("g").exists());
}

#[test]
fn directories_are_read_in_chunks() {
    let s = served();
    let mut expected: Vec<String> = (0..3000)
        .map(|i| format!("a-rather-long-name-of-a-file-{i:05}"))
        .collect();
    for name in &expected {
        fs::write(s.dir.0.join(name), "").unwrap();
    }
    let mut names = Vec::new();
    let (mut cursor, mut chunks) = (0, 0);
    loop {
        let entries = s.client.readdir(&s.root.node, cursor).unwrap().entries;
        let Some(last) = entries.last() else { break };
        cursor = last.cursor;
        chunks += 1;
        assert!(
            entries
                .iter()
                .all(|entry| entry.ino != 0 && entry.kind == FileType::Regular)
        );
        names.extend(
            entries
                .into_iter()
                .map(|entry| String::from_utf8(entry.name.into_vec()).unwrap()),
        );
    }
    assert!(chunks > 1);
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
    // A cursor from the middle works on its own.
    let first = s.client.readdir(&s.root.node, 0).unwrap().entries;
    let rest = s
        .client
        .readdir(&s.root.node, first[9].cursor)
        .unwrap()
        .entries;
    assert_eq!(rest[0], first[10]);

    let empty = s
        .client
        .mkdir(&s.root.node, b"empty", owner(0o755))
        .unwrap();
    assert_eq!(s.client.readdir(&empty.node, 0).unwrap().entries, vec![]);
    let file = s
        .client
        .lookup(&s.root.node, expected[0].as_bytes())
        .unwrap();
    assert_eq!(s.client.readdir(&file.node, 0), Err(Errno::ENOTDIR));
}

#[test]
fn attributes_change_and_report() {
    let s = served();
    fs::write(s.dir.0.join("f"), "contents").unwrap();
    symlink("f", s.dir.0.join("l")).unwrap();
    let file = s.client.lookup(&s.root.node, b"f").unwrap();
    let link = s.client.lookup(&s.root.node, b"l").unwrap();
    let at = |sec| Some(SetTime::At(Timestamp { sec, nsec: 7 }));

    let changes = SetAttr {
        mode: Some(0o4750),
        size: Some(3),
        atime: at(-5),
        mtime: at(1000),
        ..SetAttr::default()
    };
    let attr = s.client.setattr(&file.node, &changes).unwrap();
    assert_eq!((attr.mode & 0o7777, attr.size), (0o4750, 3));
    assert_eq!(
        (attr.atime.sec, attr.mtime),
        (-5, Timestamp { sec: 1000, nsec: 7 })
    );
    let meta = fs::metadata(s.dir.0.join("f")).unwrap();
    assert_eq!(
        (meta.len(), meta.mtime(), meta.permissions().mode() & 0o7777),
        (3, 1000, 0o4750)
    );
    assert_eq!(
        (attr.ino, attr.dev, attr.nlink),
        (meta.ino(), meta.dev(), 1)
    );

    // A link's times are its own, and its mode cannot be set.
    let attr = s
        .client
        .setattr(
            &link.node,
            &SetAttr {
                mtime: at(2000),
                ..SetAttr::default()
            },
        )
        .unwrap();
    assert_eq!(attr.mtime.sec, 2000);
    assert_eq!(s.client.getattr(&file.node).unwrap().mtime.sec, 1000);
    let mode = SetAttr {
        mode: Some(0),
        ..SetAttr::default()
    };
    assert_eq!(s.client.setattr(&link.node, &mode), Err(Errno::EOPNOTSUPP));
    let size = |size| SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    assert_eq!(s.client.setattr(&s.root.node, &size(0)), Err(Errno::EISDIR));
    assert_eq!(s.client.setattr(&link.node, &size(0)), Err(Errno::EINVAL));
    assert_eq!(
        s.client.setattr(&file.node, &size(u64::MAX)),
        Err(Errno::EFBIG)
    );
    assert_eq!(
        s.client.setattr(
            &file.node,
            &SetAttr {
                uid: Some(u32::MAX),
                ..SetAttr::default()
            }
        ),
        Err(Errno::EINVAL)
    );
}

#[test]
fn names_are_linked_renamed_and_removed() {
    let s = served();
    let (c, root) = (&s.client, &s.root.node);
    let (a, _) = c.create(root, b"a", RW, owner(0o600)).unwrap();
    let dir = c.mkdir(root, b"dir", owner(0o755)).unwrap();
    assert_eq!(c.link(&a.node, &dir.node, b"hard").unwrap().nlink, 2);
    assert_eq!(
        c.link(&a.node, &dir.node, b"hard").unwrap_err(),
        Errno::EEXIST
    );
    assert_eq!(c.link(&dir.node, root, b"dir2").unwrap_err(), Errno::EPERM);
    let link = c.symlink(root, b"sym", b"target", owner(0)).unwrap();
    c.link(&link.node, root, b"sym2").unwrap();
    assert_eq!(
        c.lookup(root, b"sym2").unwrap().target.as_deref(),
        Some(&b"target"[..])
    );

    c.rename((root, b"a"), (&dir.node, b"b"), RenameFlags::empty())
        .unwrap();
    assert_eq!(c.lookup(root, b"a").unwrap_err(), Errno::ENOENT);
    c.unlink(&dir.node, b"hard", UnlinkKind::File).unwrap();
    let (x, _) = c.create(root, b"x", RW, owner(0o600)).unwrap();
    let no_replace = c.rename((root, b"x"), (&dir.node, b"b"), RenameFlags::NOREPLACE);
    assert_eq!(no_replace, Err(Errno::EEXIST));
    c.rename((root, b"x"), (&dir.node, b"b"), RenameFlags::EXCHANGE)
        .unwrap();
    assert_eq!(c.lookup(&dir.node, b"b").unwrap().attr.ino, x.attr.ino);
    assert_eq!(
        c.rename((root, b"gone"), (root, b"y"), RenameFlags::empty()),
        Err(Errno::ENOENT)
    );
    assert_eq!(
        c.rename((root, b"x"), (root, b".."), RenameFlags::empty()),
        Err(Errno::EINVAL)
    );

    assert_eq!(c.unlink(root, b"dir", UnlinkKind::File), Err(Errno::EISDIR));
    assert_eq!(
        c.unlink(root, b"dir", UnlinkKind::Directory),
        Err(Errno::ENOTEMPTY)
    );
    assert_eq!(
        c.unlink(root, b"x", UnlinkKind::Directory),
        Err(Errno::ENOTDIR)
    );
    c.unlink(root, b"x", UnlinkKind::File).unwrap();
    // The node outlives its names.
    assert_eq!(c.getattr(&a.node).unwrap().nlink, 0);
    assert!(c.open(&a.node, RW).is_ok());
}

#[test]
fn nodes_of_other_kinds_are_placeholders() {
    let s = served();
    let (c, root) = (&s.client, &s.root.node);
    let fifo = c.mknod(root, b"fifo", NodKind::Fifo, owner(0o622)).unwrap();
    assert_eq!(fifo.attr.mode, libc::S_IFIFO | 0o622);
    let socket = c
        .mknod(root, b"socket", NodKind::Socket, owner(0o777))
        .unwrap();
    assert_eq!(socket.attr.kind(), FileType::Socket);
    assert_eq!(
        c.mknod(root, b"file", NodKind::Regular, owner(0o600))
            .unwrap()
            .attr
            .kind(),
        FileType::Regular
    );
    assert_eq!(
        c.mknod(root, b"null", NodKind::Device, owner(0o666))
            .unwrap_err(),
        Errno::EPERM
    );
    assert_eq!(
        c.open(&fifo.node, OpenFlags::READ).unwrap_err(),
        Errno::EACCES
    );
    assert_eq!(
        c.open(&socket.node, OpenFlags::READ).unwrap_err(),
        Errno::ENXIO
    );
    assert_eq!(
        c.connect_socket(&socket.node, SocketKind::Stream)
            .unwrap_err(),
        Errno::ECONNREFUSED
    );
    assert_eq!(c.sync(&fifo.node, SyncKind::File), Err(Errno::EINVAL));
}

#[test]
fn the_hosts_pipes_and_sockets_open_where_enabled() {
    let s = served_with(|tree| (tree.host_uds, tree.host_fifo) = (true, true));
    let listener = std::os::unix::net::UnixListener::bind(s.dir.0.join("socket")).unwrap();
    let node = s.client.lookup(&s.root.node, b"socket").unwrap().node;
    let mut ours = std::os::unix::net::UnixStream::from(
        s.client.connect_socket(&node, SocketKind::Stream).unwrap(),
    );
    ours.write_all(b"!").unwrap();
    let mut byte = [0];
    listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"!");

    // Nobody at the other end: neither end waits.
    let fifo = s
        .client
        .mknod(&s.root.node, b"fifo", NodKind::Fifo, owner(0o622))
        .unwrap();
    assert_eq!(
        s.client.open(&fifo.node, OpenFlags::WRITE).unwrap_err(),
        Errno::ENXIO
    );
    assert!(s.client.open(&fifo.node, OpenFlags::READ).is_ok());
}

#[test]
fn files_without_names_can_get_one() {
    let s = served();
    let (entry, file) = s.client.tmpfile(&s.root.node, RW, owner(0o600)).unwrap();
    fs::File::from(file).write_all(b"late").unwrap();
    assert_eq!(s.client.readdir(&s.root.node, 0).unwrap().entries, vec![]);
    s.client.link(&entry.node, &s.root.node, b"named").unwrap();
    assert_eq!(fs::read(s.dir.0.join("named")).unwrap(), b"late");
    assert_eq!(
        s.client
            .tmpfile(&s.root.node, OpenFlags::READ, owner(0o600))
            .unwrap_err(),
        Errno::EINVAL
    );
}

#[test]
fn extended_attributes() {
    let s = served();
    let (c, root) = (&s.client, &s.root.node);
    let (entry, _) = c.create(root, b"f", RW, owner(0o600)).unwrap();
    let node = &entry.node;
    c.setxattr(node, b"user.one", b"\0value", XattrFlags::CREATE)
        .unwrap();
    assert_eq!(
        c.setxattr(node, b"user.one", b"", XattrFlags::CREATE),
        Err(Errno::EEXIST)
    );
    assert_eq!(
        c.setxattr(node, b"user.two", b"", XattrFlags::REPLACE),
        Err(Errno::ENODATA)
    );
    assert_eq!(c.getxattr(node, b"user.one").unwrap().as_ref(), b"\0value");
    assert_eq!(c.listxattr(node).unwrap().as_ref(), b"user.one\0");
    c.removexattr(node, b"user.one").unwrap();
    assert_eq!(c.getxattr(node, b"user.one"), Err(Errno::ENODATA));
    assert_eq!(c.getxattr(node, b""), Err(Errno::ERANGE));
    assert_eq!(
        c.setxattr(node, b"user.big", &vec![0; 65537], XattrFlags::empty()),
        Err(Errno::E2BIG)
    );
    assert_eq!(
        c.setxattr(node, b"user.big", &vec![0; 1 << 20], XattrFlags::empty()),
        Err(Errno::E2BIG)
    );
    assert!(!c.is_dead());
}

#[test]
fn syncing_and_file_system_state() {
    let s = served();
    let (entry, _) = s
        .client
        .create(&s.root.node, b"f", RW, owner(0o600))
        .unwrap();
    for kind in [SyncKind::File, SyncKind::Data] {
        s.client.sync(&entry.node, kind).unwrap();
        s.client.sync(&s.root.node, kind).unwrap();
    }
    let state = s.client.statfs(&s.root.node).unwrap();
    assert!(state.blocks > 0 && state.namelen >= 255 && state.magic != 0);
}

#[test]
fn read_only_trees_refuse_every_change() {
    let s = served_with(|tree| tree.read_only = true);
    fs::write(s.dir.0.join("f"), "x").unwrap();
    let (c, root) = (&s.client, &s.root.node);
    let file = c.lookup(root, b"f").unwrap().node;
    assert!(c.open(&file, OpenFlags::READ).is_ok());
    let rofs = Errno::EROFS;
    assert_eq!(c.open(&file, OpenFlags::WRITE).unwrap_err(), rofs);
    assert_eq!(c.create(root, b"n", RW, owner(0o600)).unwrap_err(), rofs);
    assert_eq!(c.tmpfile(root, RW, owner(0o600)).unwrap_err(), rofs);
    assert_eq!(c.mkdir(root, b"n", owner(0o700)).unwrap_err(), rofs);
    assert_eq!(c.symlink(root, b"n", b"t", owner(0)).unwrap_err(), rofs);
    assert_eq!(
        c.mknod(root, b"n", NodKind::Fifo, owner(0)).unwrap_err(),
        rofs
    );
    assert_eq!(c.link(&file, root, b"n").unwrap_err(), rofs);
    assert_eq!(c.unlink(root, b"f", UnlinkKind::File).unwrap_err(), rofs);
    assert_eq!(
        c.rename((root, b"f"), (root, b"n"), RenameFlags::empty())
            .unwrap_err(),
        rofs
    );
    assert_eq!(
        c.setattr(
            &file,
            &SetAttr {
                mode: Some(0),
                ..SetAttr::default()
            }
        )
        .unwrap_err(),
        rofs
    );
    assert_eq!(
        c.setxattr(&file, b"user.x", b"", XattrFlags::empty())
            .unwrap_err(),
        rofs
    );
    assert_eq!(c.removexattr(&file, b"user.x").unwrap_err(), rofs);
    assert_eq!(fs::read_dir(&s.dir.0).unwrap().count(), 1);
}

#[test]
fn trees_are_separate_and_may_be_single_files() {
    let (one, two) = (TempDir::new(), TempDir::new());
    fs::write(one.0.join("f"), "single").unwrap();
    let ends = start(
        vec![tree(&one.0), tree(&two.0), tree(&one.0.join("f"))],
        2,
        0,
    );
    let client = Client::connect(ends.channels).unwrap();
    assert_eq!(client.trees(), 3);
    let (first, second, file) = (
        client.attach(0).unwrap(),
        client.attach(1).unwrap(),
        client.attach(2).unwrap(),
    );
    assert_eq!(
        client.rename(
            (&first.node, b"f"),
            (&second.node, b"f"),
            RenameFlags::empty()
        ),
        Err(Errno::EXDEV)
    );
    let f = client.lookup(&first.node, b"f").unwrap();
    assert_eq!(client.link(&f.node, &second.node, b"f"), Err(Errno::EXDEV));
    assert_eq!(file.attr.kind(), FileType::Regular);
    assert!(client.open(&file.node, OpenFlags::READ).is_ok());
    assert_eq!(client.lookup(&file.node, b"x").unwrap_err(), Errno::ENOTDIR);

    drop((first, second, file, f, client));
    assert_eq!(ends.server.join().unwrap(), Ok(()));
}

#[test]
fn dropped_nodes_are_released() {
    let s = served();
    fs::write(s.dir.0.join("f"), "x").unwrap();
    let open = || {
        fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok())
    };
    let path = s.dir.0.join("f");
    let held: Vec<_> = (0..1500)
        .map(|_| s.client.lookup(&s.root.node, b"f").unwrap())
        .collect();
    assert_eq!(open().filter(|target| *target == path).count(), 1500);
    drop(held);
    s.client.flush().unwrap();
    assert_eq!(open().filter(|target| *target == path).count(), 0);
}

#[test]
fn a_scratch_tree_only_makes_files_without_names() {
    let s = served_with(|tree| tree.scratch = true);
    std::fs::write(s.dir.0.join("secret"), "x").unwrap();
    let (c, root) = (&s.client, &s.root.node);
    let (entry, file) = c.tmpfile(root, RW, owner(0o600)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&std::fs::File::from(file), b"bytes", 0).unwrap();
    assert!(c.statfs(root).unwrap().blocks > 0);
    let no = Errno::EACCES;
    assert_eq!(c.lookup(root, b"secret").unwrap_err(), no);
    assert_eq!(c.getattr(root).unwrap_err(), no);
    assert_eq!(c.readdir(root, 0).unwrap_err(), no);
    assert_eq!(c.create(root, b"f", RW, owner(0o600)).unwrap_err(), no);
    assert_eq!(c.mkdir(root, b"d", owner(0o700)).unwrap_err(), no);
    assert_eq!(c.unlink(root, b"secret", UnlinkKind::File).unwrap_err(), no);
    assert_eq!(c.link(&entry.node, root, b"name").unwrap_err(), no);
    assert_eq!(c.open(&entry.node, RW).unwrap_err(), no);
    let names: Vec<_> = std::fs::read_dir(&s.dir.0).unwrap().flatten().collect();
    assert_eq!(names.len(), 1);
}
