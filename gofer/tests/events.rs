//! Changes made on the host reach the client.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Served, TempDir, served, start, tree};
use gofer::client::{Client, Event, EventQueue, NameChange, Want, WatchMask};
use std::fs;

/// All that has happened: the host queues events before the call that causes them returns.
fn happened(events: &mut EventQueue) -> Vec<String> {
    let mut all = Vec::new();
    while events.read(|event| all.push(format!("{event:?}"))).unwrap() {}
    all
}

#[track_caller]
fn expect(events: &mut EventQueue, wanted: &[Event<'_>]) {
    let all = happened(events);
    let mut rest = all.iter();
    for event in wanted {
        let event = format!("{event:?}");
        assert!(rest.any(|seen| *seen == event), "no {event} in {all:?}");
    }
}

#[test]
fn names_attributes_and_ends_are_reported() {
    let Served { client, root, dir } = served();
    let mut events = client.take_events().unwrap();
    assert!(client.take_events().is_none());
    let path = |name: &str| dir.0.join(name);
    fs::create_dir(path("sub")).unwrap();
    let sub = client.lookup(&root.node, b"sub").unwrap();
    let (watch, _) = client.watch(&root.node, WatchMask::all()).unwrap().unwrap();
    let (sub_watch, _) = client.watch(&sub.node, WatchMask::NAMES).unwrap().unwrap();
    // Another node of the same directory has the same watch.
    let again = client.attach(0).unwrap();
    let (same, _) = client
        .watch(&again.node, WatchMask::NAMES)
        .unwrap()
        .unwrap();
    assert_eq!(same, watch);

    fs::write(path("new"), "x").unwrap();
    expect(
        &mut events,
        &[
            Event::Name(watch, NameChange::Created, b"new"),
            Event::Attr(watch, b"new"),
        ],
    );
    fs::rename(path("new"), path("sub/moved")).unwrap();
    expect(
        &mut events,
        &[
            Event::Name(watch, NameChange::MovedFrom, b"new"),
            Event::Name(sub_watch, NameChange::MovedTo, b"moved"),
        ],
    );
    fs::set_permissions(&dir.0, std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    expect(&mut events, &[Event::SelfAttr(watch)]);
    fs::remove_file(path("sub/moved")).unwrap();
    // While the node holds the directory its inode stays, and the directory's name is what tells.
    fs::remove_dir(path("sub")).unwrap();
    expect(
        &mut events,
        &[
            Event::Name(sub_watch, NameChange::Deleted, b"moved"),
            Event::Name(watch, NameChange::Deleted, b"sub"),
        ],
    );

    client.unwatch(watch);
    client.unwatch(watch);
    client.flush().unwrap();
    expect(&mut events, &[Event::Ended(watch)]);
}

#[test]
fn a_look_up_brings_a_watch_and_a_descriptor() {
    let Served { client, root, dir } = served();
    let mut events = client.take_events().unwrap();
    fs::write(dir.0.join("file"), "text").unwrap();
    fs::create_dir(dir.0.join("sub")).unwrap();
    let looked = client.look_up(&root.node, b"file", Want::all()).unwrap();
    assert!(looked.watch.is_none());
    assert_eq!(looked.found.unwrap().attr.size, 4);
    let text = std::io::read_to_string(fs::File::from(looked.file.unwrap())).unwrap();
    assert_eq!(text, "text");
    let looked = client.look_up(&root.node, b"sub", Want::OPEN).unwrap();
    assert!(looked.found.is_ok() && looked.file.is_none() && looked.watch.is_none());
    let looked = client.look_up(&root.node, b"none", Want::all()).unwrap();
    assert_eq!(looked.found.unwrap_err(), abi::Errno::ENOENT);
    let looked = client.look_up(&root.node, b"sub", Want::all()).unwrap();
    let watch = looked.watch.unwrap();
    fs::write(dir.0.join("sub/new"), "").unwrap();
    expect(
        &mut events,
        &[Event::Name(watch, NameChange::Created, b"new")],
    );
}

#[test]
fn the_limit_of_watches_is_said_and_freed_by_unwatch() {
    let dir = TempDir::new();
    for name in ["a", "b"] {
        fs::create_dir(dir.0.join(name)).unwrap();
    }
    let ends = start(vec![tree(&dir.0)], 1, 1);
    let client = Client::connect(ends.channels).unwrap();
    let root = client.attach(0).unwrap();
    let (a, b) = (
        client.lookup(&root.node, b"a").unwrap(),
        client.lookup(&root.node, b"b").unwrap(),
    );
    let (watch, _) = client.watch(&a.node, WatchMask::NAMES).unwrap().unwrap();
    assert_eq!(client.watch(&b.node, WatchMask::NAMES), Ok(None));
    client.unwatch(watch);
    assert!(client.watch(&b.node, WatchMask::NAMES).unwrap().is_some());
}

#[test]
fn lost_events_are_confessed() {
    let Served { client, root, dir } = served();
    let mut events = client.take_events().unwrap();
    client.watch(&root.node, WatchMask::NAMES).unwrap().unwrap();
    // Nobody reads: the host's queue fills up.
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let path = dir.0.join("name");
    for _ in 0..=limit / 2 {
        fs::write(&path, "").unwrap();
        fs::remove_file(&path).unwrap();
    }
    expect(&mut events, &[Event::Overflow]);
}
