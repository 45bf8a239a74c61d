//! The control socket of the daemon: one request and one answer on each connection.

use super::Wake;
use super::request::{Answer, Request};
use crate::error::{Code, Error, Result};
use crate::thread;
use crossbeam_channel::{Sender, bounded};
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Longest request in bytes.
const REQUEST_BYTES_MAX: u64 = 64 << 10;
/// Longest answer in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Time for a request to arrive, and for its answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for the daemon to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Connections that are served at a time.
const CONNECTIONS_MAX: usize = 16;

/// A socket that is listened on. Dropping it removes the socket.
pub struct Control {
    path: PathBuf,
    inode: Option<u64>,
    serving: Arc<AtomicUsize>,
}

impl Control {
    /// Listens on a socket that only this user can reach. The socket of a daemon that is gone is
    /// replaced.
    pub fn listen(path: &Path, wakes: Sender<Wake>) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::new(
                Code::State,
                format!("the control socket {} cannot be made", path.display()),
            )
            .cause(error)
            .hint("name a short path in a directory of your own: --socket PATH")
        };
        if let Ok(metadata) = std::fs::symlink_metadata(path) {
            let is_socket = metadata.file_type().is_socket();
            match UnixStream::connect(path) {
                _ if !is_socket => {
                    let message = format!("{} is there and is no socket", path.display());
                    return Err(Error::new(Code::State, message)
                        .hint("move it away, or name another path: --socket PATH"));
                }
                Ok(_) => {
                    let message = format!("another daemon answers on {}", path.display());
                    return Err(Error::new(Code::Busy, message).hint(
                        "ask it with `lifeboat daemon status`, or name another path: --socket PATH",
                    ));
                }
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        // Nobody else may connect between its making and the change of its mode.
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = bound.map_err(failed)?;
        let inode = std::fs::symlink_metadata(path)
            .ok()
            .map(|metadata| metadata.ino());
        let serving = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&serving);
        thread::start(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else {
                    // As when there are too many open files.
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                };
                if serving.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
                    serving.fetch_sub(1, Ordering::SeqCst);
                    continue;
                }
                let (wakes, served) = (wakes.clone(), Arc::clone(&serving));
                let started = thread::start(move || {
                    serve(&stream, &wakes);
                    served.fetch_sub(1, Ordering::SeqCst);
                });
                if started.is_err() {
                    serving.fetch_sub(1, Ordering::SeqCst);
                }
            }
        })?;
        Ok(Control {
            path: path.to_owned(),
            inode,
            serving: counted,
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The last answers are on their way.
        let until = Instant::now() + Duration::from_secs(1);
        while self.serving.load(Ordering::SeqCst) > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Another daemon may have made one of its own meanwhile.
        let inode = std::fs::symlink_metadata(&self.path)
            .ok()
            .map(|metadata| metadata.ino());
        if inode.is_some() && inode == self.inode {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn serve(stream: &UnixStream, wakes: &Sender<Wake>) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let mut line = Vec::new();
    let read = BufReader::new(stream.take(REQUEST_BYTES_MAX)).read_until(b'\n', &mut line);
    let answer = match read {
        Err(error) => Answer::failed(Error::io("the request could not be read", &error)),
        // A daemon that looks whether another one answers says nothing.
        Ok(0) => return,
        Ok(_) => match Request::parse(&line) {
            Err(error) => Answer::failed(error),
            Ok(request) => {
                let (back, answers) = bounded(1);
                let _ = wakes.send(Wake::Request(request, back));
                answers.recv_timeout(ANSWER_WAIT).unwrap_or_else(|_| {
                    Answer::failed(Error::new(Code::Busy, "the daemon did not answer in time"))
                })
            }
        },
    };
    let mut stream = stream;
    let _ = stream.write_all(&answer.line());
}

/// Asks the daemon that listens on a socket. Returns its answer, as JSON.
pub fn ask(path: &Path, request: &Request) -> Result<Value> {
    let absent = |error: std::io::Error| {
        let message = format!("no daemon answers on {}", path.display());
        Error::new(Code::State, message)
            .cause(error)
            .hint("start it with `lifeboat daemon`, or name its socket: --socket PATH")
    };
    let mut stream = UnixStream::connect(path).map_err(absent)?;
    let failed = |error: std::io::Error| {
        Error::new(
            Code::State,
            format!("the daemon on {} does not answer", path.display()),
        )
        .cause(error)
    };
    stream
        .set_read_timeout(Some(ANSWER_WAIT + PATIENCE))
        .map_err(failed)?;
    let mut line = serde_json::to_vec(request).unwrap_or_default();
    line.push(b'\n');
    stream.write_all(&line).map_err(failed)?;
    let mut answer = Vec::new();
    BufReader::new((&stream).take(ANSWER_BYTES_MAX))
        .read_until(b'\n', &mut answer)
        .map_err(failed)?;
    serde_json::from_slice(&answer).map_err(|error| {
        Error::new(
            Code::State,
            format!("the daemon on {} does not answer", path.display()),
        )
        .cause(error)
    })
}
