//! Mounts of every kind and option.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::cases;
use crate::Bench;
use crate::bench::ID;

cases![
    binds,
    bind_of_a_file,
    bind_options,
    recursive_binds,
    tmpfs,
    tmpfs_options,
    kernel_file_systems,
    order_and_covering,
    wrong_mounts,
    through_links,
    options_of_all,
    relative_source,
    copy_up,
    cgroup_mount,
    devtmpfs_and_others
];

fn add(b: &mut Bench, mount: Value) {
    b.change(|config| config["mounts"].as_array_mut().expect("mounts").push(mount));
}

fn host_dir(b: &Bench) -> String {
    let dir = b.path("host");
    fs::create_dir_all(dir.join("sub")).expect("a directory");
    fs::write(dir.join("file"), "from the host\n").expect("a file");
    dir.display().to_string()
}

fn binds(b: &mut Bench) {
    let host = host_dir(b);
    add(
        b,
        json!({"destination": "/mnt", "type": "bind", "source": host, "options": ["rbind", "rw"]}),
    );
    b.check_script(
        "read and write",
        "cat /mnt/file; echo new > /mnt/new; mkdir /mnt/made; ls /mnt",
    );
    b.note(
        "on the host",
        fs::read_to_string(b.path("host/new")).unwrap_or_default(),
    );
    b.background("while ! test -e /mnt/later; do sleep 0.01; done; cat /mnt/later > /mnt/answer");
    fs::write(b.path("host/later"), "later\n").expect("a file");
    b.wait_for("stopped");
    b.note(
        "host writes are seen",
        fs::read_to_string(b.path("host/answer")).unwrap_or_default(),
    );
}

fn bind_of_a_file(b: &mut Bench) {
    host_dir(b);
    let file = b.path("host/file").display().to_string();
    add(
        b,
        json!({"destination": "/etc/group", "type": "bind", "source": file, "options": ["bind", "ro"]}),
    );
    b.check_script(
        "over a file",
        "cat /etc/group; echo x > /etc/group; echo $?",
    );
    add(
        b,
        json!({"destination": "/new/file", "type": "bind", "source": file, "options": ["bind"]}),
    );
    b.check_script(
        "made",
        "cat /new/file; echo more >> /new/file; cat /new/file",
    );
    b.note("on the host", fs::read_to_string(&file).unwrap_or_default());
    b.note("mount point", b.in_root("new/file").is_file());
}

fn bind_options(b: &mut Bench) {
    let host = host_dir(b);
    fs::copy(b.in_root("bin/busybox"), b.path("host/echo")).expect("a program");
    fs::set_permissions(b.path("host/echo"), fs::Permissions::from_mode(0o755)).expect("its mode");
    for (key, options) in [
        ("ro", &["bind", "ro"][..]),
        ("rw", &["bind", "rw"]),
        ("noexec", &["bind", "noexec"]),
        ("nosuid", &["bind", "nosuid"]),
        ("nodev", &["bind", "nodev"]),
        ("several", &["rbind", "ro", "nosuid", "nodev", "noexec"]),
        ("no bind", &["ro"]),
        ("noatime", &["bind", "noatime"]),
        ("relatime", &["bind", "relatime"]),
        ("strictatime", &["bind", "strictatime"]),
        ("nodiratime", &["bind", "nodiratime"]),
        ("private", &["bind", "private"]),
        ("rslave", &["rbind", "rslave"]),
        ("rro", &["rbind", "rro"]),
        ("sync", &["bind", "sync"]),
        ("defaults", &["bind", "defaults"]),
    ] {
        let mounts = b.config["mounts"].clone();
        add(
            b,
            json!({"destination": "/mnt", "type": "bind", "source": host, "options": options}),
        );
        b.check_script(key, "touch /mnt/x; echo $?; /mnt/echo ran; echo $?; grep ' /mnt ' /proc/self/mountinfo | cut -d' ' -f6");
        b.change(|config| config["mounts"] = mounts);
    }
}

fn recursive_binds(b: &mut Bench) {
    let host = host_dir(b);
    let sub = b.path("host/sub");
    let made = nix::mount::mount(
        Some("tmpfs"),
        &sub,
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        None::<&str>,
    );
    b.note("mounted", made.is_ok());
    fs::write(sub.join("inner"), "inner\n").expect("a file");
    for (key, options) in [
        ("bind", &["bind"][..]),
        ("rbind", &["rbind"]),
        ("rbind ro", &["rbind", "ro"]),
        ("rbind rro", &["rbind", "rro"]),
    ] {
        let mounts = b.config["mounts"].clone();
        add(
            b,
            json!({"destination": "/mnt", "type": "bind", "source": host, "options": options}),
        );
        b.check_script(
            key,
            "ls /mnt/sub; touch /mnt/x; echo $?; touch /mnt/sub/x; echo $?; rm -f /mnt/sub/x",
        );
        b.change(|config| config["mounts"] = mounts);
    }
    let _ = nix::mount::umount2(&sub, nix::mount::MntFlags::MNT_DETACH);
}

fn tmpfs(b: &mut Bench) {
    add(
        b,
        json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=1m", "mode=700"]}),
    );
    b.check_script("mode and size", "stat -c %a /mnt; dd if=/dev/zero of=/mnt/f bs=1k count=2000 2>/dev/null; echo $?; stat -c %s /mnt/f; grep ' /mnt ' /proc/mounts | cut -d' ' -f1,3");
}

fn tmpfs_options(b: &mut Bench) {
    for (key, options) in [
        ("uid", &["uid=5", "gid=6"][..]),
        ("mode", &["mode=1777"]),
        ("inodes", &["nr_inodes=5"]),
        ("percent", &["size=10%"]),
        ("kilobytes", &["size=64k"]),
        ("ro", &["ro"]),
        ("unknown", &["foo=bar"]),
        ("bad size", &["size=abc"]),
        ("none", &[]),
    ] {
        let mounts = b.config["mounts"].clone();
        add(
            b,
            json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options}),
        );
        b.check_script(key, "stat -c '%a %u %g' /mnt; i=0; while test $i -lt 8 && touch /mnt/$i 2>/dev/null; do i=$((i+1)); done; echo $i");
        b.change(|config| config["mounts"] = mounts);
    }
}

fn kernel_file_systems(b: &mut Bench) {
    b.check_script(
        "types",
        "awk '{print $2,$3}' /proc/mounts | grep -v ' /sys/' | sort",
    );
    b.check_script("options of proc", "grep ' /proc ' /proc/mounts | cut -d' ' -f4 | tr , '\\n' | grep -E '^(ro|rw|nosuid|nodev|noexec)$'");
    b.check_script("options of sys", "grep ' /sys ' /proc/mounts | cut -d' ' -f4 | tr , '\\n' | grep -E '^(ro|rw|nosuid|nodev|noexec)$'");
    b.check_script(
        "proc is this container's",
        "echo /proc/[0-9]*; cat /proc/1/comm",
    );
    b.check_script(
        "sys is read-only",
        "touch /sys/x; echo $?; echo 1 > /sys/kernel/uevent_seqnum; echo $?",
    );
    b.check_script(
        "pts",
        "stat -c '%a %t %T' /dev/pts/ptmx; readlink /dev/ptmx",
    );
    b.check_script("shm", "stat -c %a /dev/shm; mountpoint /dev/shm");
    b.check_script("mqueue", "mountpoint /dev/mqueue; stat -c %a /dev/mqueue");
}

fn order_and_covering(b: &mut Bench) {
    let host = host_dir(b);
    add(
        b,
        json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"}),
    );
    add(
        b,
        json!({"destination": "/mnt/below", "type": "bind", "source": host, "options": ["rbind"]}),
    );
    add(
        b,
        json!({"destination": "/mnt/below/sub", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}),
    );
    b.check_script(
        "nested",
        "ls /mnt; ls /mnt/below; touch /mnt/below/sub/x; echo $?; grep -c ' /mnt' /proc/mounts",
    );
    add(
        b,
        json!({"destination": "/mnt", "type": "tmpfs", "source": "over"}),
    );
    b.check_script("covered", "ls /mnt; grep ' /mnt ' /proc/mounts | wc -l");
}

fn wrong_mounts(b: &mut Bench) {
    host_dir(b);
    let file = b.path("host/file").display().to_string();
    for (key, mount) in [
        (
            "no source",
            json!({"destination": "/mnt", "type": "bind", "source": "/nosuch/dir", "options": ["bind"]}),
        ),
        (
            "unknown type",
            json!({"destination": "/mnt", "type": "nosuchfs", "source": "x"}),
        ),
        (
            "relative destination",
            json!({"destination": "mnt", "type": "tmpfs", "source": "x"}),
        ),
        ("no destination", json!({"type": "tmpfs", "source": "x"})),
        (
            "onto proc",
            json!({"destination": "/proc", "type": "tmpfs", "source": "x"}),
        ),
        (
            "below proc",
            json!({"destination": "/proc/sys", "type": "tmpfs", "source": "x"}),
        ),
        (
            "file over directory",
            json!({"destination": "/etc", "type": "bind", "source": file, "options": ["bind"]}),
        ),
        (
            "directory over file",
            json!({"destination": "/etc/passwd", "type": "tmpfs", "source": "x"}),
        ),
        (
            "below a file",
            json!({"destination": "/etc/passwd/x", "type": "tmpfs", "source": "x"}),
        ),
        (
            "dots",
            json!({"destination": "/mnt/../../../outside", "type": "tmpfs", "source": "x"}),
        ),
        (
            "onto the root",
            json!({"destination": "/", "type": "tmpfs", "source": "x"}),
        ),
    ] {
        let mounts = b.config["mounts"].clone();
        add(b, mount);
        let seen = b.check_script(key, "echo ran");
        let _ = seen;
        b.change(|config| config["mounts"] = mounts);
    }
    b.note("nothing outside", !b.path("outside").exists());
}

fn through_links(b: &mut Bench) {
    let host = host_dir(b);
    for (name, target) in [
        ("absolute", "/etc"),
        ("climbing", "../../../../../../outside"),
        ("dangling", "/not/there"),
    ] {
        std::os::unix::fs::symlink(target, b.in_root(name)).expect("a link");
        let mounts = b.config["mounts"].clone();
        add(
            b,
            json!({"destination": format!("/{name}/point"), "type": "bind", "source": host, "options": ["bind"]}),
        );
        b.check_script(name, &format!("cat /{name}/point/file; readlink /{name}"));
        b.change(|config| config["mounts"] = mounts);
    }
    b.note("stays inside", b.in_root("etc/point").is_dir());
    b.note(
        "nothing outside",
        !std::path::Path::new("/outside").exists(),
    );
}

fn options_of_all(b: &mut Bench) {
    for (key, options) in [
        ("nosymfollow", &["nosymfollow"][..]),
        ("dirsync", &["dirsync"]),
        ("lazytime", &["lazytime"]),
        ("iversion", &["iversion"]),
        ("mand", &["nomand"]),
        ("silent", &["silent"]),
        ("async", &["async"]),
        ("exec", &["exec", "suid", "dev"]),
        ("norelatime", &["norelatime"]),
    ] {
        let mounts = b.config["mounts"].clone();
        add(
            b,
            json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options}),
        );
        let seen = b.run(&["run", ID]);
        b.note_all(key, &seen);
        b.change(|config| config["mounts"] = mounts);
    }
}

fn relative_source(b: &mut Bench) {
    host_dir(b);
    add(
        b,
        json!({"destination": "/mnt", "type": "bind", "source": "host", "options": ["bind"]}),
    );
    b.check_script("below the bundle", "cat /mnt/file");
}

fn copy_up(b: &mut Bench) {
    add(
        b,
        json!({"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}),
    );
    b.check_script("run", "cat /etc/group; touch /etc/new; echo $?");
    b.note("not on the host", !b.in_root("etc/new").exists());
    let tree = b.in_root("etc/tree/sub");
    fs::create_dir_all(&tree).expect("a directory");
    fs::write(tree.join("file"), "deep\n").expect("a file");
    std::os::unix::fs::symlink("sub/file", b.in_root("etc/tree/link")).expect("a link");
    std::os::unix::fs::chown(tree.join("file"), Some(1000), Some(50)).expect("an owner");
    b.check_script(
        "a tree",
        "chmod 700 /etc/tree/sub; cat /etc/tree/link; stat -c '%n %F %a %u %g' /etc/tree /etc/tree/sub/file; readlink /etc/tree/link; mountpoint /etc",
    );
}

fn cgroup_mount(b: &mut Bench) {
    add(
        b,
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid", "noexec", "nodev"]}),
    );
    b.check_script(
        "memory",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes | wc -l; touch /sys/fs/cgroup/x; echo $?",
    );
    b.check_script("controllers", "ls /sys/fs/cgroup | grep -E '^(memory|cpu|pids|cpuset|blkio|devices|freezer|cpuacct)$' | sort");
    b.check_script(
        "own processes",
        "cat /sys/fs/cgroup/pids/cgroup.procs | wc -l",
    );
    b.change(|config| {
        config["linux"]["resources"] =
            json!({"memory": {"limit": 104_857_600}, "pids": {"limit": 50}})
    });
    b.check_script(
        "limits",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max",
    );
}

fn devtmpfs_and_others(b: &mut Bench) {
    for kind in [
        "devtmpfs",
        "ramfs",
        "overlay",
        "ext4",
        "fuse",
        "securityfs",
        "debugfs",
        "none",
        "",
    ] {
        let mounts = b.config["mounts"].clone();
        add(
            b,
            json!({"destination": "/mnt", "type": kind, "source": "none"}),
        );
        let seen = b.run(&["run", ID]);
        b.note(&format!("{kind}.code"), seen.code);
        b.note(&format!("{kind}.says"), !seen.stderr.is_empty());
        b.change(|config| config["mounts"] = mounts);
    }
}
