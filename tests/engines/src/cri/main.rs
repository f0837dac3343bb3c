//! A client of the CRI, as kubelet is one, for scripts.
//!
//! ```text
//! engines-cri COMMAND ARGUMENT… [--FLAG VALUE]… [-- COMMAND LINE]
//!     ready                                              waits until the runtime answers
//!     run-pod NAME --handler H --logs DIR [--hostname H] [--pid pod] [--port HOST:POD] [--cgroup PATH]      prints the pod's id
//!     create POD NAME [--image I] [--mount FROM:TO[:ro]] [--pid pod|ID] [--memory BYTES] [--attempt N] [--tty] [--stdin] -- …    prints the id
//!     start|remove|status|stats ID, stop ID SECONDS, update ID --memory BYTES
//!     exec ID -- …                                       prints what it printed and ends as it did
//!     stream ID [--tty] [--size COLUMNSxROWS] -- …       the same over the streaming server, with input
//!     attach ID [--tty] [--size COLUMNSxROWS]
//!     forward POD PORT                                   standard input to the port, what it answers to standard output
//!     pod-status|stop-pod|remove-pod POD
//! ```
//!
//! A pod's configuration, which later requests repeat, is kept in the file `POD.pod` of the working directory.

mod messages;
mod stream;

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use messages::{
    Attach, ContainerConfig, ContainerMetadata, ContainerSecurity, ContainerStatusAnswer,
    CreateContainer, Empty, Exec, ExecSync, ExecSyncAnswer, Id, Image, LinuxContainer, LinuxPod,
    Mount, NamespaceOption, PodConfig, PodMetadata, PodSecurity, PodStatusAnswer, PortForward,
    PortMapping, Resources, RunPod, StatsAnswer, StopContainer, Update,
};
use prost::Message;
use stream::Kind;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};

const SOCKET: &str = "/run/containerd/containerd.sock";
const PATIENCE: Duration = Duration::from_secs(60);

type Failure = Box<dyn std::error::Error>;

/// The command line, taken apart.
struct Line {
    words: Vec<String>,
    flags: HashMap<String, Vec<String>>,
    command: Vec<String>,
}

impl Line {
    fn read() -> Self {
        let mut line = Self {
            words: Vec::new(),
            flags: HashMap::new(),
            command: Vec::new(),
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            if arg == "--" {
                line.command = args.collect();
                break;
            }
            match arg.strip_prefix("--") {
                Some(flag @ ("tty" | "stdin")) => {
                    line.flags.insert(flag.to_owned(), Vec::new());
                }
                Some(flag) => {
                    let value = args.next().unwrap_or_default();
                    line.flags.entry(flag.to_owned()).or_default().push(value);
                }
                None => line.words.push(arg),
            }
        }
        line
    }

    fn word(&self, index: usize) -> Result<String, Failure> {
        let word = self.words.get(index).cloned();
        word.ok_or_else(|| format!("argument {index} is missing").into())
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.contains_key(flag)
    }

    fn all(&self, flag: &str) -> &[String] {
        self.flags.get(flag).map_or(&[], Vec::as_slice)
    }

    fn text(&self, flag: &str) -> String {
        self.all(flag).first().cloned().unwrap_or_default()
    }

    fn number(&self, flag: &str) -> i64 {
        self.text(flag).parse().unwrap_or(0)
    }

    fn size(&self) -> Option<(u16, u16)> {
        let text = self.text("size");
        let (columns, rows) = text.split_once('x')?;
        Some((columns.parse().ok()?, rows.parse().ok()?))
    }
}

async fn channel() -> Result<Channel, tonic::transport::Error> {
    let connect = |_: Uri| async {
        let stream = tokio::net::UnixStream::connect(SOCKET).await?;
        Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
    };
    // The name is for the protocol only.
    Endpoint::from_static("http://containerd")
        .connect_with_connector(tower::service_fn(connect))
        .await
}

async fn call<Q, A>(method: &'static str, request: Q) -> Result<A, Failure>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    let mut client = tonic::client::Grpc::new(channel().await?);
    client.ready().await?;
    let path: PathAndQuery = format!("/runtime.v1.RuntimeService/{method}").parse()?;
    let codec = tonic_prost::ProstCodec::<Q, A>::default();
    let answer = client
        .unary(tonic::Request::new(request), path, codec)
        .await;
    Ok(answer
        .map_err(|status| format!("{method}: {}", status.message()))?
        .into_inner())
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    match runtime.block_on(run(&Line::read())) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("engines-cri: {failure}");
            ExitCode::from(90)
        }
    }
}

async fn run(line: &Line) -> Result<u8, Failure> {
    let id = || line.word(1).map(|id| Id { id });
    match line.word(0)?.as_str() {
        "ready" => ready().await?,
        "run-pod" => run_pod(line).await?,
        "create" => create(line).await?,
        "start" => {
            call::<_, Empty>("StartContainer", id()?).await?;
        }
        "remove" => {
            call::<_, Empty>("RemoveContainer", id()?).await?;
        }
        "stop-pod" => {
            call::<_, Empty>("StopPodSandbox", id()?).await?;
        }
        "remove-pod" => {
            call::<_, Empty>("RemovePodSandbox", id()?).await?;
        }
        "stop" => {
            let request = StopContainer {
                id: line.word(1)?,
                timeout: line.word(2)?.parse()?,
            };
            call::<_, Empty>("StopContainer", request).await?;
        }
        "status" => {
            let answer: ContainerStatusAnswer = call("ContainerStatus", id()?).await?;
            let status = answer.status.unwrap_or_default();
            let states = ["created", "running", "exited", "unknown"];
            let state = usize::try_from(status.state)
                .ok()
                .and_then(|n| states.get(n));
            println!(
                "{} {} {}",
                state.unwrap_or(&"?"),
                status.exit_code,
                status.reason
            );
        }
        "pod-status" => {
            let answer: PodStatusAnswer = call("PodSandboxStatus", id()?).await?;
            let status = answer.status.unwrap_or_default();
            let state = if status.state == 0 {
                "ready"
            } else {
                "not-ready"
            };
            println!("{state} {}", status.network.unwrap_or_default().ip);
        }
        "stats" => {
            let answer: StatsAnswer = call("ContainerStats", id()?).await?;
            let stats = answer.stats.unwrap_or_default();
            let cpu = stats.cpu.unwrap_or_default().total.unwrap_or_default();
            let memory = stats.memory.unwrap_or_default();
            let memory = memory.working_set.unwrap_or_default();
            println!("{} {}", cpu.value, memory.value);
        }
        "update" => {
            let linux = Resources {
                memory: line.number("memory"),
                ..Resources::default()
            };
            let request = Update {
                id: line.word(1)?,
                linux: Some(linux),
            };
            call::<_, Empty>("UpdateContainerResources", request).await?;
        }
        "exec" => return exec(line).await,
        "stream" => {
            let tty = line.has("tty");
            let request = Exec {
                id: line.word(1)?,
                cmd: line.command.clone(),
                tty,
                stdin: true,
                stdout: true,
                stderr: !tty,
            };
            let url = call::<_, Id>("Exec", request).await?.id;
            return stream::run(&url, Kind::Command, line.size()).await;
        }
        "attach" => {
            let tty = line.has("tty");
            let request = Attach {
                id: line.word(1)?,
                stdin: true,
                tty,
                stdout: true,
                stderr: !tty,
            };
            let url = call::<_, Id>("Attach", request).await?.id;
            return stream::run(&url, Kind::Command, line.size()).await;
        }
        "forward" => {
            let request = PortForward {
                pod: line.word(1)?,
                ports: vec![line.word(2)?.parse()?],
            };
            let port = line.word(2)?;
            let url = call::<_, Id>("PortForward", request).await?.id;
            return stream::run(&format!("{url}?port={port}"), Kind::Port, None).await;
        }
        other => return Err(format!("unknown command {other}").into()),
    }
    Ok(0)
}

async fn ready() -> Result<(), Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        match call::<_, Empty>("Status", Empty {}).await {
            Ok(_) => return Ok(()),
            Err(failure) if Instant::now() > end => return Err(failure),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn pid_mode(line: &Line, usual: i32) -> NamespaceOption {
    let (pid, target_id) = match line.text("pid").as_str() {
        "" => (usual, String::new()),
        "pod" => (0, String::new()),
        id => (3, id.to_owned()),
    };
    NamespaceOption {
        pid,
        target_id,
        ..NamespaceOption::default()
    }
}

async fn run_pod(line: &Line) -> Result<(), Failure> {
    let name = line.word(1)?;
    let ports = line.all("port").iter().filter_map(|text| {
        let (host, inside) = text.split_once(':')?;
        Some(PortMapping {
            protocol: 0,
            container_port: inside.parse().ok()?,
            host_port: host.parse().ok()?,
        })
    });
    let config = PodConfig {
        metadata: Some(PodMetadata {
            uid: format!("uid-{name}"),
            name,
            namespace: "default".into(),
            attempt: 0,
        }),
        hostname: line.text("hostname"),
        log_directory: line.text("logs"),
        ports: ports.collect(),
        linux: Some(LinuxPod {
            cgroup_parent: line.text("cgroup"),
            security: Some(PodSecurity {
                namespaces: Some(pid_mode(line, 1)),
            }),
            sysctls: HashMap::new(),
        }),
    };
    let request = RunPod {
        config: Some(config.clone()),
        handler: line.text("handler"),
    };
    let id = call::<_, Id>("RunPodSandbox", request).await?.id;
    std::fs::write(format!("{id}.pod"), config.encode_to_vec())?;
    println!("{id}");
    Ok(())
}

async fn create(line: &Line) -> Result<(), Failure> {
    let (pod, name) = (line.word(1)?, line.word(2)?);
    let pod_config = PodConfig::decode(std::fs::read(format!("{pod}.pod"))?.as_slice())?;
    let mounts = line.all("mount").iter().map(|text| {
        let parts: Vec<&str> = text.split(':').collect();
        Mount {
            host_path: parts.first().copied().unwrap_or_default().to_owned(),
            container_path: parts.get(1).copied().unwrap_or_default().to_owned(),
            readonly: parts.get(2) == Some(&"ro"),
        }
    });
    let image = match line.text("image") {
        none if none.is_empty() => "docker.io/local/base:latest".to_owned(),
        image => image,
    };
    let config = ContainerConfig {
        log_path: format!("{name}.log"),
        metadata: Some(ContainerMetadata {
            name,
            attempt: u32::try_from(line.number("attempt")).unwrap_or(0),
        }),
        image: Some(Image { image }),
        command: line.command.clone(),
        mounts: mounts.collect(),
        stdin: line.has("stdin"),
        stdin_once: line.has("stdin"),
        tty: line.has("tty"),
        linux: Some(LinuxContainer {
            resources: Some(Resources {
                memory: line.number("memory"),
                ..Resources::default()
            }),
            security: Some(ContainerSecurity {
                namespaces: Some(pid_mode(line, 1)),
            }),
        }),
    };
    let request = CreateContainer {
        pod,
        config: Some(config),
        pod_config: Some(pod_config),
    };
    println!("{}", call::<_, Id>("CreateContainer", request).await?.id);
    Ok(())
}

async fn exec(line: &Line) -> Result<u8, Failure> {
    use std::io::Write;
    let request = ExecSync {
        id: line.word(1)?,
        cmd: line.command.clone(),
        timeout: line.number("timeout"),
    };
    let answer: ExecSyncAnswer = call("ExecSync", request).await?;
    std::io::stdout().write_all(&answer.stdout)?;
    std::io::stderr().write_all(&answer.stderr)?;
    Ok(u8::try_from(answer.exit_code).unwrap_or(91))
}
