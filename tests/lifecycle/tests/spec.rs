//! What the specification says and Debian's runc is too old for; ours only, on each platform of `RUNSC_PLATFORMS` (default `notify`).

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::process::ExitCode;

use lifecycle::bench::ID;
use lifecycle::{Bench, Test, check, run_ours};
use serde_json::json;

const TESTS: &[(&str, Test)] = &[
    ("id_mapped_mounts", id_mapped_mounts),
    (
        "id_mapped_mounts_of_a_user_namespace",
        id_mapped_mounts_of_a_user_namespace,
    ),
    ("wrong_id_mappings", wrong_id_mappings),
    ("personality", personality),
    ("scheduling", scheduling),
    ("devices_without_a_driver", devices_without_a_driver),
];

fn main() -> ExitCode {
    run_ours(TESTS)
}

/// Runs a script in the container, which must print `wanted`.
fn prints(bench: &mut Bench, script: &str, wanted: &str) -> Result<(), String> {
    bench.script(script);
    let seen = bench.run(&["run", ID]);
    check(
        seen.code == 0 && seen.stdout == wanted,
        format!("{script}: wanted {wanted:?}: {seen:?}"),
    )
}

/// A directory with files of root, 1000 and 5000.
fn volume(bench: &Bench) -> Result<String, String> {
    let directory = bench.path("volume");
    fs::create_dir(&directory).map_err(|error| error.to_string())?;
    for id in [0, 1000, 5000] {
        let file = directory.join(id.to_string());
        fs::write(&file, "content\n").map_err(|error| error.to_string())?;
        chown(&file, Some(id), Some(id)).map_err(|error| error.to_string())?;
    }
    Ok(directory.display().to_string())
}

const OWNERS: &str = "cd /v; stat -c '%n %u:%g' 0 1000 5000";

fn id_mapped_mounts(bench: &mut Bench) -> Result<(), String> {
    let source = volume(bench)?;
    // 0 on the file system is 7 in the container, 1000 and what follows 100 and what follows.
    let ids = json!([{"containerID": 0, "hostID": 7, "size": 1}, {"containerID": 1000, "hostID": 100, "size": 10}]);
    let mount = json!({"destination": "/v", "type": "bind", "source": source, "options": ["bind"], "uidMappings": ids, "gidMappings": ids});
    let before = bench.config["mounts"].clone();
    bench.change(|config| config["mounts"].as_array_mut().expect("mounts").push(mount));
    prints(bench, OWNERS, "0 7:7\n1000 100:100\n5000 65534:65534\n")?;
    // Who has no counterpart can own nothing there; who has one owns it on the host under the other number.
    prints(
        bench,
        "cd /v; touch new; echo $?; cp 0 copy 2>/dev/null; cat 0; touch made-by 2>/dev/null; chown 105:7 1000; stat -c %u:%g 1000; chown 5:5 1000 2>/dev/null || echo refused",
        "1\ncontent\n105:7\nrefused\n",
    )?;
    let owner = |name: &str| {
        fs::metadata(bench.path("volume").join(name)).map(|about| (about.uid(), about.gid()))
    };
    check(
        owner("1000").is_ok_and(|owner| owner == (1005, 0)),
        format!("chown on the host: {:?}", owner("1000")),
    )?;
    check(
        owner("new").is_err(),
        format!("a file without an owner: {:?}", owner("new")),
    )?;
    // crun's option says the same.
    bench.change(|config| {
        config["mounts"] = before;
        config["mounts"].as_array_mut().expect("mounts").push(json!({
            "destination": "/v", "type": "bind", "source": source, "options": ["rbind", "idmap=uids=0-7-1#5000-0-1;gids=0-7-1#5000-0-1"]
        }));
    });
    prints(bench, OWNERS, "0 7:7\n1000 65534:7\n5000 0:0\n")?;
    prints(bench, "cd /v; touch of-root; stat -c %u of-root", "0\n")?;
    let made = fs::metadata(bench.path("volume/of-root")).map(|about| about.uid());
    check(
        made.as_ref().is_ok_and(|uid| *uid == 5000),
        format!("made by 0, on the host: {made:?}"),
    )
}

/// The usual case: the mapping of the mount undoes the one of the user namespace, so that the volume's owners are themselves.
fn id_mapped_mounts_of_a_user_namespace(bench: &mut Bench) -> Result<(), String> {
    let source = volume(bench)?;
    let ids = json!([{"containerID": 0, "hostID": 300_000, "size": 2000}]);
    for directory in ["", "tmp", "v"] {
        let directory = bench.in_root(directory);
        let _ = fs::create_dir(&directory);
        chown(&directory, Some(300_000), Some(300_000)).map_err(|error| error.to_string())?;
    }
    bench.change(|config| {
        config["linux"]["uidMappings"] = ids.clone();
        config["linux"]["gidMappings"] = ids;
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.push(json!({"type": "user"}));
        config["mounts"].as_array_mut().expect("mounts").push(
            json!({"destination": "/v", "type": "bind", "source": source, "options": ["bind", "idmap"]}),
        );
    });
    prints(bench, OWNERS, "0 0:0\n1000 1000:1000\n5000 65534:65534\n")?;
    prints(
        bench,
        "touch /v/new /tmp/new; chown 3:4 /v/new /tmp/new",
        "",
    )?;
    for (path, wanted) in [
        ("volume/new", (3, 4)),
        ("rootfs/tmp/new", (300_003, 300_004)),
    ] {
        let owner = fs::metadata(bench.path(path)).map(|about| (about.uid(), about.gid()));
        check(
            owner.as_ref().is_ok_and(|owner| *owner == wanted),
            format!("{path}: {owner:?}"),
        )?;
    }
    Ok(())
}

fn wrong_id_mappings(bench: &mut Bench) -> Result<(), String> {
    let before = bench.config["mounts"].clone();
    let ids = json!([{"containerID": 0, "hostID": 7, "size": 1}]);
    for (mount, words) in [
        (
            json!({"destination": "/v", "type": "bind", "source": "/", "options": ["bind", "idmap"]}),
            "user namespace",
        ),
        (
            json!({"destination": "/v", "type": "bind", "source": "/", "options": ["bind"], "uidMappings": ids}),
            "both",
        ),
        (
            json!({"destination": "/v", "type": "tmpfs", "source": "x", "uidMappings": ids, "gidMappings": ids}),
            "only bind mounts",
        ),
    ] {
        bench.change(|config| {
            config["mounts"] = before.clone();
            config["mounts"].as_array_mut().expect("mounts").push(mount);
        });
        let seen = bench.run(&["run", ID]);
        check(
            seen.code == 1 && seen.stderr.contains(words) && seen.log.contains(words),
            format!("{words}: {seen:?}"),
        )?;
    }
    Ok(())
}

fn personality(bench: &mut Bench) -> Result<(), String> {
    bench.change(|config| config["linux"]["personality"] = json!({"domain": "LINUX32"}));
    prints(
        bench,
        "uname -m; cat /proc/self/personality",
        "i686\n00000008\n",
    )?;
    bench.background("sleep 1000");
    let seen = bench.run(&["exec", ID, "uname", "-m"]);
    check(seen.stdout == "i686\n", format!("exec: {seen:?}"))?;
    let _ = bench.run(&["delete", "--force", ID]);
    bench.change(|config| config["linux"]["personality"] = json!({"domain": "LINUX"}));
    prints(bench, "uname -m", "x86_64\n")
}

fn scheduling(bench: &mut Bench) -> Result<(), String> {
    bench.change(|config| {
        config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7});
        config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 3});
    });
    prints(
        bench,
        "cut -d ' ' -f 19,41 /proc/self/stat; busybox ionice",
        "7 3\nbest-effort: prio 3\n",
    )?;
    bench.change(|config| {
        config["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 7});
    });
    let seen = bench.run(&["run", ID]);
    check(
        seen.code == 1 && seen.stderr.contains("SCHED_FIFO is not supported"),
        format!("{seen:?}"),
    )
}

/// As an engine asks for one (`docker run --device`): the node and a rule that allows it.
fn devices_without_a_driver(bench: &mut Bench) -> Result<(), String> {
    let device = |bench: &mut Bench, minor: u32, name: &str| {
        bench.change(|config| {
            config["linux"]["devices"] =
                json!([{"path": name, "type": "c", "major": 1, "minor": minor, "fileMode": 0o666}]);
            config["linux"]["resources"]["devices"] = json!([
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": minor, "access": "rwm"}
            ]);
        });
    };
    device(bench, 11, "/dev/kmsg");
    let seen = bench.run(&["run", ID]);
    check(
        seen.code == 1
            && seen
                .stderr
                .contains("device /dev/kmsg (c 1:11) is not supported"),
        format!("{seen:?}"),
    )?;
    device(bench, 5, "/dev/mine");
    prints(bench, "head -c 3 /dev/mine | wc -c", "3\n")
}
