//! Exec, attach and port-forward over WebSocket, as `kubectl` speaks it with the runtime's streaming server (`v4.channel.k8s.io`).
//!
//! Each message's first byte is a channel: 0 standard input, 1 output, 2 error output, 3 the end (a `Status` as JSON), 4 the terminal's size. A forwarded port
//! has channel 0 for data and 1 for errors, and each begins with the port's number.

use std::io::Write;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::Failure;

const PROTOCOL: &str = "v4.channel.k8s.io";

/// What the bytes of channel 1 are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Output of a command or container; its end is told on channel 3.
    Command,
    /// Errors of a forwarded port.
    Port,
}

/// Sends standard input by lines, prints what comes, until the other side ends it. `size` (columns, rows) is the terminal's. Answers the exit code.
///
/// # Errors
/// What the server said, or that it spoke another language.
pub(crate) async fn run(url: &str, kind: Kind, size: Option<(u16, u16)>) -> Result<u8, Failure> {
    let mut socket = connect(url).await?;
    if let Some((columns, rows)) = size {
        let text = json!({"Width": columns, "Height": rows}).to_string();
        send(&mut socket, 4, text.as_bytes()).await?;
    }
    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = Vec::new();
    let (mut input_ended, mut ports_seen) = (false, [false; 2]);
    loop {
        tokio::select! {
            read = input.read_until(b'\n', &mut line), if !input_ended => {
                if read? == 0 {
                    // The protocol has no end of input but the end of the connection.
                    input_ended = true;
                } else {
                    send(&mut socket, 0, &line).await?;
                    line.clear();
                }
            }
            message = socket.next() => {
                let data = match message {
                    None | Some(Ok(Message::Close(_))) => return Ok(0),
                    Some(message) => match message? {
                        Message::Binary(data) => data,
                        Message::Text(text) => Bytes::from(text),
                        _ => continue,
                    },
                };
                let Some((channel, mut data)) = data.split_first() else { continue };
                if kind == Kind::Port && let Some(seen) = ports_seen.get_mut(usize::from(*channel)) && !*seen {
                    *seen = true;
                    data = data.get(2..).unwrap_or_default();
                }
                match (kind, channel) {
                    (Kind::Command, 1) | (Kind::Port, 0) => {
                        std::io::stdout().write_all(data)?;
                        std::io::stdout().flush()?;
                    }
                    (_, 2) => std::io::stderr().write_all(data)?,
                    (Kind::Command, 3) => return exit_code(data),
                    (Kind::Port, 1) if data.is_empty() => {}
                    (Kind::Port, 1) => return Err(String::from_utf8_lossy(data).into_owned().into()),
                    _ => {}
                }
            }
        }
    }
}

async fn connect(url: &str) -> Result<WebSocketStream<TcpStream>, Failure> {
    let mut request = url.replacen("http://", "ws://", 1).into_client_request()?;
    let headers = request.headers_mut();
    headers.insert("Sec-WebSocket-Protocol", HeaderValue::from_static(PROTOCOL));
    let host = request.uri().authority().ok_or("a URL without a host")?;
    let stream = TcpStream::connect(host.as_str()).await?;
    Ok(tokio_tungstenite::client_async(request, stream).await?.0)
}

async fn send(
    socket: &mut WebSocketStream<TcpStream>,
    channel: u8,
    data: &[u8],
) -> Result<(), Failure> {
    let mut message = vec![channel];
    message.extend_from_slice(data);
    Ok(socket.send(Message::Binary(message.into())).await?)
}

/// The exit code in a `Status` of Kubernetes' API.
fn exit_code(status: &[u8]) -> Result<u8, Failure> {
    let status: Value = serde_json::from_slice(status)?;
    if status["status"] == "Success" {
        return Ok(0);
    }
    let causes = status["details"]["causes"].as_array();
    let code = causes
        .into_iter()
        .flatten()
        .find(|cause| cause["reason"] == "ExitCode")
        .and_then(|cause| cause["message"].as_str()?.parse().ok());
    code.ok_or_else(|| format!("the server said: {}", status["message"]).into())
}
