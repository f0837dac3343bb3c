//! The root file system: read-only, masked, read-only paths, devices.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use serde_json::json;

use super::cases;
use crate::Bench;
use crate::bench::ID;

cases![
    written_files_stay,
    read_only,
    masked,
    read_only_paths,
    default_devices,
    devices,
    wrong_devices,
    owners,
    mount_points_stay,
    propagation
];

fn written_files_stay(b: &mut Bench) {
    b.check_script(
        "run",
        "echo text > /new; mkdir /dir; ln -s target /link; rm /etc/group; chmod 600 /etc/passwd",
    );
    b.note(
        "file",
        fs::read_to_string(b.in_root("new")).unwrap_or_default(),
    );
    b.note("directory", b.in_root("dir").is_dir());
    b.note(
        "link",
        fs::read_link(b.in_root("link"))
            .unwrap_or_default()
            .display(),
    );
    b.note("removed", !b.in_root("etc/group").exists());
    b.note(
        "mode",
        format!(
            "{:o}",
            fs::metadata(b.in_root("etc/passwd")).map_or(0, |about| about.mode())
        ),
    );
    b.check_script("again", "cat /new; ls /etc");
}

fn read_only(b: &mut Bench) {
    b.change(|config| config["root"]["readonly"] = json!(true));
    b.check_script("root", "echo x > /new; echo $?; touch /etc/passwd; echo $?; rm /etc/group; echo $?; mkdir /dir; echo $?");
    b.check_script(
        "mounts",
        "echo x > /dev/shm/x && cat /dev/shm/x; echo x > /dev/null; echo $?",
    );
    b.check_script(
        "options",
        "grep ' / ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1",
    );
    b.change(|config| config["process"]["cwd"] = json!("/not/there"));
    b.check("missing cwd", &["run", ID]);
    b.note("nothing was made", b.in_root("not").exists());
}

fn masked(b: &mut Bench) {
    fs::create_dir(b.in_root("secret")).expect("a directory");
    fs::write(b.in_root("secret/file"), "x").expect("a file");
    b.change(|config| {
        config["linux"]["maskedPaths"] = json!([
            "/secret",
            "/etc/group",
            "/proc/kcore",
            "/proc/timer_list",
            "/nosuch",
            "/proc/scsi",
            "/sys/firmware"
        ])
    });
    b.check_script(
        "directory",
        "ls -A /secret; echo $?; touch /secret/x; echo $?",
    );
    b.check_script("file", "cat /etc/group | wc -c; ls -l /etc/group | cut -c1");
    b.check_script("write to file", "echo x > /etc/group; echo $?");
    b.check_script(
        "proc",
        "cat /proc/timer_list | wc -c; ls -A /sys/firmware | wc -l",
    );
    b.check_script("still masked in a child", "sh -c 'ls -A /secret'");
}

fn read_only_paths(b: &mut Bench) {
    b.change(|config| {
        config["linux"]["readonlyPaths"] = json!(["/etc", "/proc/sys", "/nosuch", "/root"])
    });
    b.check_script(
        "directory",
        "touch /etc/new; echo $?; cat /etc/group | wc -l; touch /root/x; echo $?",
    );
    b.check_script("proc", "echo other > /proc/sys/kernel/hostname; echo $?");
    b.check_script("elsewhere", "touch /var/x; echo $?");
}

fn default_devices(b: &mut Bench) {
    for name in [
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "console", "fd", "stdin",
        "stdout", "stderr", "core", "shm", "mqueue", "pts",
    ] {
        b.check_script(name, &format!("stat -c '%A %u %g' /dev/{name}; test -c /dev/{name} && ! test -L /dev/{name} && stat -c '%t %T' /dev/{name}; readlink /dev/{name}"));
    }
    b.check_script("all", "ls /dev");
    b.check_script("they work", "echo x > /dev/null; echo $?; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; echo x > /dev/full; echo $?");
}

fn devices(b: &mut Bench) {
    b.change(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/mynull", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 6},
            {"path": "/dev/myfifo", "type": "p", "fileMode": 0o600},
            {"path": "/dev/deep/er/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666},
            {"path": "/dev/block", "type": "b", "major": 7, "minor": 0, "fileMode": 0o660}
        ]);
    });
    for name in ["mynull", "myfifo", "deep/er/zero", "block"] {
        b.check_script(name, &format!("stat -c '%F %a %u %g %t %T' /dev/{name}"));
    }
    b.check_script(
        "works",
        "echo x > /dev/mynull; echo $?; head -c 3 /dev/deep/er/zero | wc -c",
    );
    b.change(|config| {
        config["linux"]["devices"] =
            json!([{"path": "/outside", "type": "c", "major": 1, "minor": 3}])
    });
    b.check_script(
        "outside of dev",
        "stat -c '%F %a' /outside; echo x > /outside; echo $?",
    );
    b.note(
        "on the host",
        fs::symlink_metadata(b.in_root("outside"))
            .is_ok_and(|about| about.file_type().is_char_device()),
    );
}

fn wrong_devices(b: &mut Bench) {
    for (key, device) in [
        (
            "type",
            json!({"path": "/dev/x", "type": "z", "major": 1, "minor": 3}),
        ),
        ("no path", json!({"type": "c", "major": 1, "minor": 3})),
        (
            "negative",
            json!({"path": "/dev/x", "type": "c", "major": -1, "minor": 3}),
        ),
        (
            "relative",
            json!({"path": "dev/x", "type": "c", "major": 1, "minor": 3}),
        ),
    ] {
        b.change(|config| config["linux"]["devices"] = json!([device]));
        let seen = b.run(&["run", ID]);
        b.note(&format!("{key}.code"), seen.code);
        b.note(&format!("{key}.says"), !seen.stderr.is_empty());
    }
}

fn owners(b: &mut Bench) {
    b.check_script("seen", "stat -c '%u:%g %a' /home/user /tmp /etc/passwd");
    b.check_script(
        "changed",
        "touch /f && chown 12:34 /f && chmod 4755 /f && stat -c '%u:%g %a' /f",
    );
    let about = fs::metadata(b.in_root("f"));
    b.note(
        "on the host",
        about.map_or("none".into(), |about| {
            format!("{}:{} {:o}", about.uid(), about.gid(), about.mode())
        }),
    );
}

fn mount_points_stay(b: &mut Bench) {
    b.change(|config| {
        config["mounts"]
            .as_array_mut()
            .expect("mounts")
            .push(json!({"destination": "/made/here", "type": "tmpfs", "source": "tmpfs"}))
    });
    b.check_script("run", "mountpoint /made/here");
    b.note("on the host", b.in_root("made/here").is_dir());
}

fn propagation(b: &mut Bench) {
    for kind in [
        "private",
        "slave",
        "shared",
        "unbindable",
        "rprivate",
        "rslave",
        "rshared",
        "bogus",
    ] {
        b.change(|config| config["linux"]["rootfsPropagation"] = json!(kind));
        let seen = b.check_script(kind, "grep ' / / \\| /.*rootfs / ' /proc/self/mountinfo | grep -o 'shared\\|master\\|unbindable'");
        let _ = seen;
    }
}
