//! The control server against a fake kernel.

use std::collections::HashMap;
use std::thread::JoinHandle;

use super::*;
use crate::boot::client::{Client, refusal};
use crate::boot::config::{ContainerConfig, ProcessConfig};
use crate::boot::control::{ContainerStatus, Created, ExitStatus, ProcessInfo};
use crate::net::Network;

/// A kernel that keeps books only.
#[derive(Default)]
struct Fake {
    containers: Mutex<HashMap<String, Vec<Reply<ExitStatus>>>>,
    log: Mutex<Vec<String>>,
}

impl SandboxKernel for Fake {
    fn create_container(&self, config: ContainerConfig, fds: ContainerFds, reply: Reply<Created>) {
        self.log
            .lock()
            .push(format!("create {} fds {}", config.id, fds.stdio.len()));
        self.containers.lock().insert(config.id, Vec::new());
        reply.send(Ok(Created { host_pids: vec![2] }));
    }
    fn start(&self, id: &str, _: Option<Network>, reply: Reply<()>) {
        if self.containers.lock().contains_key(id) {
            reply.send(Ok(()));
        } else {
            reply.send(Err(ControlError::new(
                ErrorKind::NotFound,
                "container does not exist",
            )));
        }
    }
    fn exec(&self, target: Target, _: ProcessConfig, stdio: Vec<GuestFd>, reply: Reply<u32>) {
        self.log
            .lock()
            .push(format!("exec {} fds {}", target.container, stdio.len()));
        // Answered from another thread, as a kernel would.
        std::thread::spawn(move || reply.send(Ok(42)));
    }
    fn signal(&self, target: &Target, signal: u32, _: SignalScope) -> Result<(), ControlError> {
        self.log
            .lock()
            .push(format!("signal {} {signal}", target.container));
        if signal == SIGKILL {
            for reply in self
                .containers
                .lock()
                .get_mut(&target.container)
                .map(std::mem::take)
                .unwrap_or_default()
            {
                reply.send(Ok(ExitStatus::Signaled(9)));
            }
        }
        Ok(())
    }
    fn window_changed(&self, _: &Target) -> Result<(), ControlError> {
        Ok(())
    }
    fn wait(&self, target: &Target, reply: Reply<ExitStatus>) {
        match self.containers.lock().get_mut(&target.container) {
            Some(list) => list.push(reply),
            None => reply.send(Err(ControlError::new(
                ErrorKind::NotFound,
                "container does not exist",
            ))),
        }
    }
    fn forget(&self, _: &Target) {}
    fn status(&self, _: &str) -> Result<ContainerStatus, ControlError> {
        Ok(ContainerStatus::Created)
    }
    fn processes(&self, _: &str) -> Result<Vec<ProcessInfo>, ControlError> {
        Ok(Vec::new())
    }
    fn pause(&self, _: &str, reply: Reply<()>) {
        drop(reply);
    }
    fn resume(&self, _: &str, reply: Reply<()>) {
        reply.send(Ok(()));
    }
    fn update(&self, _: &str, _: crate::boot::config::ResourceLimits) -> Result<(), ControlError> {
        Ok(())
    }
    fn destroy(&self, id: &str, reply: Reply<()>) {
        self.log.lock().push(format!("destroy {id}"));
        self.containers.lock().remove(id);
        reply.send(Ok(()));
    }
    fn stacks(&self) -> String {
        "none".into()
    }
    fn counters(&self) -> String {
        "none".into()
    }
    fn strace(&self, calls: &[String]) -> Result<(), ControlError> {
        self.log.lock().push(format!("strace {}", calls.join(",")));
        Ok(())
    }
}

struct Rig {
    kernel: Arc<Fake>,
    path: std::path::PathBuf,
    server: JoinHandle<()>,
    launcher: Client,
}

fn rig(name: &str) -> Rig {
    let path = std::env::temp_dir().join(format!("runsc-server-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let kernel = Arc::new(Fake::default());
    let mut server = Server::new(
        Arc::clone(&kernel) as Arc<dyn SandboxKernel>,
        listener,
        vec![theirs],
        nix::unistd::geteuid().as_raw(),
    )
    .unwrap();
    let server = std::thread::spawn(move || server.run().unwrap());
    Rig {
        kernel,
        path,
        server,
        launcher: Client::from_stream(ours).unwrap(),
    }
}

fn config(id: &str) -> Box<ContainerConfig> {
    let spec = crate::spec::starter::spec(false);
    let translated = crate::spec::container::translate(
        id,
        &spec,
        "/".as_ref(),
        "/".as_ref(),
        &crate::spec::overlay::Overlay::default(),
        None,
        0,
    )
    .unwrap();
    Box::new(translated.config)
}

fn target(id: &str) -> Target {
    Target {
        container: id.into(),
        exec: None,
    }
}

#[test]
fn a_container_lives_and_dies() {
    let rig = rig("life");
    let null = std::fs::File::open("/dev/null").unwrap();
    let roles = vec![FdRole::Guest(0), FdRole::Guest(1)];
    let created = rig
        .launcher
        .call(
            &Request::Create {
                config: config("a"),
                fds: roles,
            },
            &[null.as_fd(), null.as_fd()],
        )
        .unwrap();
    assert_eq!(
        created,
        Response::Created {
            created: Created { host_pids: vec![2] }
        }
    );
    rig.launcher.call(&Request::Commit, &[]).unwrap();
    drop(rig.launcher);

    let client = Client::from_stream(UnixStream::connect(&rig.path).unwrap()).unwrap();
    client.start("a", None).unwrap();
    assert_eq!(
        client.start("b", None).unwrap_err().to_string(),
        "container does not exist"
    );
    let process = ProcessConfig::default();
    let exec = Target {
        container: "a".into(),
        exec: Some("1".into()),
    };
    assert_eq!(client.exec(exec, process, &[(0, null.into())]).unwrap(), 42);
    let error = client.pause("a").unwrap_err();
    assert_eq!(refusal(&error).unwrap().kind, ErrorKind::Internal);

    let waiter = Client::from_stream(UnixStream::connect(&rig.path).unwrap()).unwrap();
    waiter
        .send(
            &Request::Wait {
                target: target("a"),
                owner: false,
            },
            &[],
        )
        .unwrap();
    client.stacks().unwrap();
    client.counters().unwrap();
    client.strace(&["openat".to_owned()]).unwrap();
    assert!(rig.kernel.log.lock().contains(&"strace openat".to_owned()));
    client
        .signal(target("a"), SIGKILL, SignalScope::Process)
        .unwrap();
    assert_eq!(
        waiter.receive().unwrap(),
        Response::Exit {
            target: target("a"),
            status: ExitStatus::Signaled(9)
        }
    );
    client.destroy("a").unwrap();
    rig.server.join().unwrap();
    std::fs::remove_file(&rig.path).unwrap();
    assert_eq!(
        rig.kernel.log.lock().as_slice(),
        [
            "create a fds 2",
            "exec a fds 1",
            "strace openat",
            "signal a 9",
            "destroy a"
        ]
    );
}

#[test]
fn an_uncommitted_container_goes_with_its_creator() {
    let rig = rig("uncommitted");
    rig.launcher
        .call(
            &Request::Create {
                config: config("a"),
                fds: Vec::new(),
            },
            &[],
        )
        .unwrap();
    drop(rig.launcher);
    rig.server.join().unwrap();
    std::fs::remove_file(&rig.path).unwrap();
    assert!(rig.kernel.log.lock().contains(&"destroy a".to_owned()));
}

#[test]
fn a_killed_proxy_takes_its_process_along() {
    let rig = rig("proxy");
    rig.launcher
        .call(
            &Request::Create {
                config: config("a"),
                fds: Vec::new(),
            },
            &[],
        )
        .unwrap();
    rig.launcher.call(&Request::Commit, &[]).unwrap();
    let proxy = Client::from_stream(UnixStream::connect(&rig.path).unwrap()).unwrap();
    proxy
        .send(
            &Request::Wait {
                target: target("a"),
                owner: true,
            },
            &[],
        )
        .unwrap();
    // A later answer on the same connection shows that the wait was registered.
    proxy
        .call(&Request::Status { id: "a".into() }, &[])
        .unwrap();
    let waiter = Client::from_stream(UnixStream::connect(&rig.path).unwrap()).unwrap();
    waiter
        .send(
            &Request::Wait {
                target: target("a"),
                owner: false,
            },
            &[],
        )
        .unwrap();
    waiter
        .call(&Request::Status { id: "a".into() }, &[])
        .unwrap();
    drop(proxy);
    assert!(matches!(waiter.receive().unwrap(), Response::Exit { .. }));
    rig.launcher.destroy("a").unwrap();
    rig.server.join().unwrap();
    std::fs::remove_file(&rig.path).unwrap();
}

#[test]
fn hostile_clients_are_dropped() {
    let rig = rig("hostile");
    let stranger = UnixStream::connect(&rig.path).unwrap();
    wire::send(&stranger, &Request::Stacks, &[]).unwrap();
    assert!(
        wire::receive(&stranger).unwrap_or(None).is_none(),
        "no request before the greeting"
    );
    let wrong = UnixStream::connect(&rig.path).unwrap();
    wire::send(
        &wrong,
        &Request::Hello {
            version: PROTOCOL_VERSION + 1,
        },
        &[],
    )
    .unwrap();
    assert!(wire::receive(&wrong).unwrap_or(None).is_none());
    let null = std::fs::File::open("/dev/null").unwrap();
    let confused = rig.launcher.call(
        &Request::Create {
            config: config("a"),
            fds: vec![FdRole::Guest(0)],
        },
        &[null.as_fd(), null.as_fd()],
    );
    assert_eq!(
        refusal(&confused.unwrap_err()).unwrap().kind,
        ErrorKind::Invalid
    );
    drop(rig.launcher);
    rig.server.join().unwrap();
    std::fs::remove_file(&rig.path).unwrap();
}
