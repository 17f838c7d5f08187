//! The echo example, driven by the programs that everybody has: `nc`, `openssl s_client`, `curl`.

#![allow(unreachable_pub, reason = "the module is the example's")]
#![allow(clippy::disallowed_methods, reason = "clients are outside of the runtime")]

#[path = "../examples/echo/server.rs"]
mod server;

use engset::{Config, Node};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use server::{Options, Server};
use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// Is the program there? `ENGSET_REQUIRE_CLIENTS` makes its absence a failure.
fn has(program: &str, help: &str, needed: &str, package: &str) -> bool {
    let output = Command::new(program).arg(help).stdin(Stdio::null()).output();
    let found = output.is_ok_and(|output| {
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).contains(needed)
    });
    assert!(found || std::env::var_os("ENGSET_REQUIRE_CLIENTS").is_none(), "{package} is missing");
    if !found {
        eprintln!("{program} is not installed (Debian: {package}): this test has done nothing");
    }
    found
}

/// Runs it with this input, at most 30 s long.
fn run(program: &str, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new("timeout")
        .arg("30")
        .arg(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("timeout is a part of coreutils");
    let mut stdin = child.stdin.take().expect("piped");
    // In a thread of its own: a program that writes before it has read all waits for us to read.
    thread::scope(|scope| {
        scope.spawn(move || {
            // A program that ends without reading all is seen by its output.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().expect("it ends")
    })
}

/// Files of an authority, a server and a client; and what runs.
struct Scene {
    folder: PathBuf,
    node: Node,
    port: u16,
}

impl Scene {
    fn start(options: impl FnOnce(&Path) -> Options) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("engset-echo-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of the test");
        let authority = params.self_signed(&key).expect("a certificate");
        fs::write(folder.join("authority.pem"), authority.pem()).expect("written");
        let issuer = Issuer::new(params, key);
        for name in ["localhost", "client"] {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new([name.to_owned()]).expect("a name");
            let certificate = params.signed_by(&key, &issuer).expect("a certificate");
            fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("written");
            fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("written");
        }
        let options = Options { port: 0, ..options(&folder) };
        let node = Node::start(Config::new().workers(2)).expect("a node");
        let (tell, told) = mpsc::channel();
        let serve = move || {
            let server = Server::new(&options).expect("files and a port");
            tell.send(server.address().expect("it listens").port()).expect("it is awaited");
            server.serve().expect("it serves for ever");
        };
        node.spawn(serve).expect("room");
        let port = told.recv_timeout(Duration::from_secs(20)).expect("it starts");
        Scene { folder, node, port }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    fn stop(self) {
        assert!(self.node.stop(), "something is left");
        assert_eq!(self.node.crashes(), 0);
        fs::remove_dir_all(&self.folder).expect("the test's own");
    }
}

fn tls(folder: &Path) -> Option<(PathBuf, PathBuf)> {
    Some((folder.join("localhost.pem"), folder.join("localhost.key")))
}

#[test]
fn nc_is_echoed() {
    if !has("nc", "-h", "-N", "netcat-openbsd") {
        return;
    }
    let scene = Scene::start(|_| Options::default());
    let input: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
    // -N: at the end of the input it closes its direction.
    let output = run("nc", &["-N", "127.0.0.1", &scene.port.to_string()], &input);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout == input, "{} bytes came back", output.stdout.len());
    scene.stop();
}

#[test]
fn curl_gets_pages_plain_and_encrypted() {
    if !has("curl", "--version", "https", "curl") {
        return;
    }
    let plain = Scene::start(|_| Options { http: true, ..Options::default() });
    let url = format!("http://127.0.0.1:{}/some/path", plain.port);
    // Twice, over one connection.
    let output = run("curl", &["-sS", &url, &url], b"");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text.matches("GET /some/path HTTP/1.1\r\n").count(), 2, "{text}");
    plain.stop();

    let scene = Scene::start(|folder| Options {
        http: true,
        tls: tls(folder),
        clients: Some(folder.join("authority.pem")),
        ..Options::default()
    });
    let url = format!("https://localhost:{}/secret", scene.port);
    let (authority, certificate, key) =
        (scene.path("authority.pem"), scene.path("client.pem"), scene.path("client.key"));
    let known = ["-sS", "--cacert", &authority, "--cert", &certificate, "--key", &key, &url];
    let output = run("curl", &known, b"");
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("GET /secret HTTP/1.1"), "{output:?}");
    // Without a certificate of its own, and without knowing the authority (60: it cannot verify the server).
    let output = run("curl", &["-sS", "--cacert", &authority, &url], b"");
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    let output = run("curl", &["-sS", &url], b"");
    assert_eq!(output.status.code(), Some(60), "{output:?}");
    scene.stop();
}

#[test]
fn openssl_is_echoed_with_both_versions() {
    if !has("openssl", "version", "OpenSSL", "openssl") {
        return;
    }
    let scene = Scene::start(|folder| Options { tls: tls(folder), ..Options::default() });
    let (at, authority) = (format!("127.0.0.1:{}", scene.port), scene.path("authority.pem"));
    for version in ["-tls1_2", "-tls1_3"] {
        let args = [
            "s_client",
            "-quiet",
            "-no_ign_eof",
            "-verify_return_error",
            "-servername",
            "localhost",
            "-verify_hostname",
            "localhost",
            "-CAfile",
            &authority,
            "-connect",
            &at,
            version,
        ];
        // It closes when its input ends, whether the echo has come or not: so that is read first.
        let mut child = Command::new("timeout")
            .args(["30", "openssl"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it is installed");
        let mut stdin = child.stdin.take().expect("piped");
        let mut stdout = child.stdout.take().expect("piped");
        stdin.write_all(b"hello from openssl\n").expect("it reads");
        let mut line = [0; 19];
        let answered = stdout.read_exact(&mut line);
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        answered.unwrap_or_else(|error| panic!("{version}: {error}: {output:?}"));
        assert_eq!(&line, b"hello from openssl\n");
    }
    // The wrong name is openssl's to refuse.
    let args = [
        "s_client",
        "-verify_return_error",
        "-verify_hostname",
        "elsewhere.example",
        "-CAfile",
        &authority,
        "-connect",
        &at,
    ];
    let output = run("openssl", &args, b"");
    assert!(!output.status.success(), "{output:?}");
    scene.stop();
}
