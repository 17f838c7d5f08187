//! The example as a program, on both runtimes, with a client in Rust and with curl.

#![allow(clippy::disallowed_methods, reason = "a test of a program, outside of the runtime")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

struct Program {
    child: Child,
    port: u16,
    /// What it says on standard error, after the line with the port.
    says: BufReader<std::process::ChildStderr>,
}

impl Program {
    fn start(options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_http"))
            .args(["--port", "0"])
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example runs");
        let mut says = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        says.read_line(&mut line).expect("it says where it listens");
        let port = line.trim().rsplit(' ').next().and_then(|word| word.parse().ok());
        Program { port: port.unwrap_or_else(|| panic!("no port: {line}")), child, says }
    }

    /// Status line and body.
    fn ask(&self, method: &str, path: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it is text");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    /// SIGTERM; what it says then.
    fn end(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().expect("there is kill").success());
        let mut text = String::new();
        self.says.read_to_string(&mut text).expect("it is text");
        assert!(self.child.wait().expect("it ends").success(), "{text}");
        text
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn has_curl() -> bool {
    Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok()
}

fn curl(program: &Program, arguments: &[&str], path: &str) -> String {
    let url = format!("http://127.0.0.1:{}{path}", program.port);
    let output = Command::new("curl").args(["-s", "-S"]).args(arguments).arg(url).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn it_serves(options: &[&str]) {
    let program = Program::start(options);
    let ok = "HTTP/1.1 200 OK".to_owned();
    assert_eq!(program.ask("GET", "/", ""), (ok.clone(), "Hello, World!".to_owned()));
    assert_eq!(program.ask("GET", "/users/7", ""), (ok.clone(), r#"{"id":7,"name":"user 7"}"#.to_owned()));
    assert_eq!(program.ask("GET", "/users/seven", "").0, "HTTP/1.1 400 Bad Request");
    assert_eq!(program.ask("GET", "/nowhere", "").0, "HTTP/1.1 404 Not Found");
    let long = "0123456789".repeat(100_000);
    assert_eq!(program.ask("POST", "/echo", &long), (ok.clone(), long));
    // A handler that panics touches nobody else.
    assert_eq!(program.ask("GET", "/crash", "").0, "");
    assert_eq!(program.ask("GET", "/visits", ""), (ok.clone(), "1".to_owned()));
    assert_eq!(program.ask("GET", "/visits", ""), (ok, "2".to_owned()));
    if has_curl() {
        assert_eq!(curl(&program, &[], "/"), "Hello, World!");
        assert_eq!(curl(&program, &["--data", "by curl"], "/echo"), "by curl");
        assert_eq!(curl(&program, &["-o", "/dev/null", "-w", "%{http_code}"], "/users/x"), "400");
        let url = format!("http://127.0.0.1:{}/users/[1-50]", program.port);
        let output = Command::new("curl").args(["-s", "-S", "-Z", &url]).output().expect("it runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout).matches("\"name\"").count(), 50);
    } else {
        eprintln!("curl is not installed: the requests by curl are left out");
    }
    assert!(program.end().contains("http: ended"));
}

#[test]
fn on_processes() {
    it_serves(&[]);
}

#[test]
fn on_processes_beside_work_that_never_ends() {
    it_serves(&["--hogs", "4"]);
}

#[test]
fn on_tokio() {
    it_serves(&["--tokio"]);
}

#[test]
fn wrong_options() {
    for options in [&["--bogus"][..], &["--port", "many"], &["--workers"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_http")).args(options).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: http"));
    }
}
