//! Host names, namespaces, sysctls.

use serde_json::json;

use super::cases;
use crate::Bench;
use crate::bench::ID;

cases![
    hostname,
    domainname,
    inside,
    shared_with_the_host,
    wrong,
    sysctls,
    wrong_sysctls,
    by_path,
    user_namespace,
    personality_and_time
];

fn namespaces(b: &mut Bench, kinds: &[&str]) {
    let list: Vec<_> = kinds.iter().map(|kind| json!({"type": kind})).collect();
    b.change(|config| config["linux"]["namespaces"] = json!(list));
}

fn hostname(b: &mut Bench) {
    b.check_script("given", "hostname; cat /proc/sys/kernel/hostname; uname -n");
    b.change(|config| config["hostname"] = json!("a.long-name.example"));
    b.check_script("with dots", "hostname");
    b.change(|config| drop(config.as_object_mut().expect("config").remove("hostname")));
    b.check_script("none", "test \"$(hostname)\" && echo some");
    b.change(|config| config["hostname"] = json!("x".repeat(65)));
    b.check("too long", &["run", ID]);
}

fn domainname(b: &mut Bench) {
    b.check_script("default", "cat /proc/sys/kernel/domainname");
    b.change(|config| config["linux"]["sysctl"] = json!({"kernel.domainname": "example"}));
    b.check_script("sysctl", "cat /proc/sys/kernel/domainname");
}

fn inside(b: &mut Bench) {
    b.check_script("pids", "echo $$; echo /proc/[0-9]*");
    b.check_script(
        "loopback",
        "cat /proc/net/dev | grep -c lo:; ls /sys/class/net",
    );
    b.check_script("ipc", "ls /proc/sysvipc; cat /proc/sysvipc/shm | wc -l");
    b.check_script("kinds", "ls /proc/self/ns | grep -v time");
}

fn shared_with_the_host(b: &mut Bench) {
    namespaces(b, &["mount"]);
    b.change(|config| drop(config.as_object_mut().expect("config").remove("hostname")));
    let seen = b.run(&["run", ID]);
    b.note("only mount.code", seen.code);
    namespaces(b, &["pid", "mount", "uts"]);
    let seen = b.run(&["run", ID]);
    b.note("host network and ipc.code", seen.code);
}

fn wrong(b: &mut Bench) {
    namespaces(b, &["pid", "mount", "pid"]);
    b.check("twice", &["run", ID]);
    namespaces(b, &["pid", "mount", "foo"]);
    b.check("unknown", &["run", ID]);
    namespaces(b, &["pid", "network"]);
    b.check("hostname without uts", &["run", ID]);
    namespaces(b, &[]);
    let seen = b.run(&["run", ID]);
    b.note("none.code", seen.code);
    b.change(|config| {
        config["linux"]["namespaces"] =
            json!([{"type": "network", "path": "/nosuch"}, {"type": "mount"}])
    });
    b.change(|config| drop(config.as_object_mut().expect("config").remove("hostname")));
    b.check("missing path", &["run", ID]);
    b.change(|config| {
        config["linux"]["namespaces"] =
            json!([{"type": "network", "path": "/etc/passwd"}, {"type": "mount"}])
    });
    let seen = b.run(&["run", ID]);
    b.note("a file that is none.code", seen.code);
}

fn sysctls(b: &mut Bench) {
    for (name, value) in [
        ("kernel.shmmax", "1000000"),
        ("kernel.msgmax", "9000"),
        ("kernel.sem", "100 32000 100 128"),
        ("fs.mqueue.msg_max", "20"),
        ("net.ipv4.ip_forward", "1"),
        ("net.core.somaxconn", "512"),
        ("net.ipv4.ping_group_range", "0 100"),
        ("net.ipv4.ip_unprivileged_port_start", "0"),
        ("net.ipv4.ip_local_port_range", "20000 30000"),
        ("kernel.shm_rmid_forced", "1"),
    ] {
        b.change(|config| config["linux"]["sysctl"] = json!({name: value}));
        b.check_script(name, &format!("cat /proc/sys/{}", name.replace('.', "/")));
    }
    b.change(|config| config["linux"]["sysctl"] = json!({"net/ipv4/ip_forward": "1"}));
    b.check_script("with slashes", "cat /proc/sys/net/ipv4/ip_forward");
}

fn wrong_sysctls(b: &mut Bench) {
    for (key, name, value) in [
        ("not namespaced", "kernel.panic", "1"),
        ("vm", "vm.swappiness", "1"),
        ("unknown", "kernel.nosuch", "1"),
        ("unknown net", "net.ipv4.nosuch", "1"),
        ("wrong value", "net.ipv4.ip_forward", "abc"),
        ("hostname", "kernel.hostname", "x"),
    ] {
        b.change(|config| config["linux"]["sysctl"] = json!({name: value}));
        b.check(key, &["run", ID]);
    }
    namespaces(b, &["pid", "mount", "uts", "ipc"]);
    b.change(|config| config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"}));
    b.check("net without namespace", &["run", ID]);
}

fn by_path(b: &mut Bench) {
    b.sleeper();
    let path = format!("/proc/{}/ns/net", b.pid());
    let own = std::fs::read_link(&path).ok();
    b.change(|config| config["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network", "path": path}]));
    let cgroup = format!("{}/second", b.cgroup);
    b.change(|config| config["linux"]["cgroupsPath"] = json!(cgroup));
    b.script("sleep 1000");
    let seen = b.finish(
        b.command(&["run", "--detach", "second"])
            .stdin(std::process::Stdio::null()),
    );
    b.note("run.code", seen.code);
    let pid = b.state("second")["pid"].as_i64().unwrap_or(0);
    b.note(
        "same network",
        std::fs::read_link(format!("/proc/{pid}/ns/net")).ok() == own,
    );
    b.check("delete", &["delete", "--force", "second"]);
}

fn user_namespace(b: &mut Bench) {
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    namespaces(b, &["pid", "ipc", "uts", "mount", "network", "user"]);
    b.check("without mappings", &["run", ID]);
    b.change(|config| {
        config["linux"]["uidMappings"] = maps.clone();
        config["linux"]["gidMappings"] = maps;
    });
    for dir in ["", "tmp", "home", "home/user", "root"] {
        let _ = std::os::unix::fs::chown(b.in_root(dir), Some(100_000), Some(100_000));
    }
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(b.dir(), std::fs::Permissions::from_mode(0o755));
    b.check_script(
        "ids",
        "id -u; touch /tmp/file && stat -c '%u:%g' /tmp/file /etc/passwd",
    );
    use std::os::unix::fs::MetadataExt;
    b.note(
        "on the host",
        std::fs::metadata(b.in_root("tmp/file")).map_or("none".into(), |about| {
            format!("{}:{}", about.uid(), about.gid())
        }),
    );
    b.check_script("map", "awk '{print $1,$2,$3}' /proc/self/uid_map");
}

fn personality_and_time(b: &mut Bench) {
    b.change(|config| config["linux"]["personality"] = json!({"domain": "LINUX"}));
    let seen = b.run(&["run", ID]);
    b.note("personality.code", seen.code);
    b.check_script("linux", "uname -m");
    b.change(|config| config["linux"]["intelRdt"] = json!({"l3CacheSchema": "L3:0=f"}));
    b.check("intelRdt", &["run", ID]);
}
