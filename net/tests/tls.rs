//! Encrypted streams: what goes through, how they end, who is refused.

#[path = "support/authority.rs"]
mod authority;
mod support;

use authority::Authority;
use engset_net::{
    TcpStream, UnixStream,
    tls::{
        Carrier, Identity, TlsAcceptor, TlsConnector, TlsStream, roots_from_pem,
        rustls::{self, AlertDescription, CertificateError, ProtocolVersion},
    },
};
use engset_runtime::{Builder, Reply, kill, now, sleep, spawn_monitor};
use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    sync::Arc,
    time::Duration,
};
use support::{down_of, kind, pair, process};

/// What both sides say to a handshake.
type Both<S> = (io::Result<TlsStream<S>>, io::Result<TlsStream<S>>);

/// Client, server.
fn shake_over<S: Carrier + Send + 'static>(
    acceptor: &TlsAcceptor,
    connector: &TlsConnector,
    name: &str,
    (client, server): (S, S),
) -> Both<S> {
    let acceptor = acceptor.clone();
    let serving = move |mut mailbox: engset_runtime::Mailbox<Reply<io::Result<TlsStream<S>>>>| {
        let served = acceptor.accept(server);
        mailbox.message().send(served);
    };
    let serving = Builder::new().spread().spawn(serving).expect("room");
    let client = connector.connect(name, client);
    (client, serving.call_timeout(|reply| reply, support::NET).expect("it answers"))
}

fn shake(acceptor: &TlsAcceptor, connector: &TlsConnector, name: &str) -> Both<TcpStream> {
    shake_over(acceptor, connector, name, pair())
}

/// Two ends of a connection that works.
fn tls_pair() -> (TlsStream, TlsStream) {
    let authority = Authority::new();
    let (client, server) = shake(&authority.acceptor(), &authority.connector(), "localhost");
    (client.expect("a handshake"), server.expect("a handshake"))
}

#[track_caller]
fn tls_error<T: std::fmt::Debug>(result: io::Result<T>) -> rustls::Error {
    let error = result.expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    inner.unwrap_or_else(|| panic!("no error of TLS: {error}")).clone()
}

fn alert<T: std::fmt::Debug>(result: io::Result<T>) -> AlertDescription {
    match tls_error(result) {
        rustls::Error::AlertReceived(alert) => alert,
        other => panic!("no alert: {other}"),
    }
}

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8) ^ seed).collect()
}

#[test]
fn much_data_goes_both_ways_in_order() {
    process::<()>(|mailbox| {
        const SIZE: usize = 1 << 20;
        let (mut client, mut server) = tls_pair();
        assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!((server.server_name(), client.server_name()), (Some("localhost"), None));
        assert_eq!(client.cipher_suite(), server.cipher_suite());
        let (_, reference) = spawn_monitor(move || {
            let mut got = vec![0; SIZE];
            server.read_exact(&mut got).expect("connected");
            assert!(got == pattern(SIZE, 1));
            server.write_all(&pattern(SIZE, 2)).expect("connected");
            server.close().expect("connected");
        });
        client.write_all(&pattern(SIZE, 1)).expect("connected");
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("a proper end");
        assert!(got == pattern(SIZE, 2));
        assert_eq!(client.read(&mut [0]).expect("still the end"), 0);
        assert_eq!(down_of(mailbox, reference).reason.to_string(), "exited (normal)");
    });
}

#[test]
fn an_older_version_and_unix_streams_work_too() {
    process::<()>(|_| {
        let authority = Authority::new();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let old = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .expect("there is such a version")
            .with_root_certificates(authority.roots())
            .with_no_client_auth();
        let connector = TlsConnector::from_config(old);
        let streams = UnixStream::pair().expect("descriptors");
        let (client, server) = shake_over(&authority.acceptor(), &connector, "localhost", streams);
        let (mut client, mut server) = (client.expect("a handshake"), server.expect("a handshake"));
        assert_eq!(server.protocol_version(), Some(ProtocolVersion::TLSv1_2));
        let parts = [IoSlice::new(b"one "), IoSlice::new(b"two")];
        assert_eq!(client.write_vectored(&parts).expect("connected"), 7);
        client.shutdown().expect("connected");
        let mut text = String::new();
        server.read_to_string(&mut text).expect("a proper end");
        assert_eq!(text, "one two");
        // The other way is open still.
        server.write_all(b"three").expect("half open");
        server.close().expect("half open");
        text.clear();
        client.read_to_string(&mut text).expect("a proper end");
        assert_eq!(text, "three");
    });
}

#[test]
fn servers_that_are_not_who_they_should_be_are_refused_and_told_why() {
    process::<()>(|_| {
        let (authority, other) = (Authority::new(), Authority::new());
        let connector = authority.connector();

        let (client, server) = shake(&other.acceptor(), &connector, "localhost");
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(tls_error(client), unknown);
        assert_eq!(alert(server), AlertDescription::UnknownCA);

        let (chain, key) = authority.sign("localhost", false);
        let expired = Identity::from_pem(chain.as_bytes(), key.as_bytes()).expect("made just now");
        let (client, server) = shake(&TlsAcceptor::new(expired).expect("a pair"), &connector, "localhost");
        match tls_error(client) {
            rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => {}
            other => panic!("not expired: {other:?}"),
        }
        assert_eq!(alert(server), AlertDescription::CertificateExpired);

        let (client, server) = shake(&authority.acceptor(), &connector, "elsewhere.example");
        let error = tls_error(client).to_string();
        assert!(error.contains("elsewhere.example"), "{error}");
        assert!(server.is_err());
    });
}

#[test]
fn clients_without_a_certificate_or_with_a_foreign_one_are_refused() {
    process::<()>(|_| {
        let (authority, other) = (Authority::new(), Authority::new());
        let acceptor =
            TlsAcceptor::with_clients(authority.identity("localhost"), authority.roots()).expect("a pair");
        let refused = |connector: TlsConnector| {
            let (client, server) = shake(&acceptor, &connector, "localhost");
            // It has finished before the server has looked: the refusal comes with the first read.
            let mut client = client.expect("its part of the handshake");
            let first = alert(client.read(&mut [0]));
            // Nothing goes on after it.
            assert_eq!(alert(client.read(&mut [0])), first);
            assert_eq!(alert(client.write(b"x")), first);
            (tls_error(server), first)
        };
        let (server, client) = refused(authority.connector());
        assert_eq!(server, rustls::Error::NoCertificatesPresented);
        assert_eq!(client, AlertDescription::CertificateRequired);

        let foreign =
            TlsConnector::with_identity(authority.roots(), other.identity("client")).expect("a pair");
        let (server, client) = refused(foreign);
        assert_eq!(server, rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
        assert_eq!(client, AlertDescription::UnknownCA);

        let known =
            TlsConnector::with_identity(authority.roots(), authority.identity("client")).expect("a pair");
        let (client, server) = shake(&acceptor, &known, "localhost");
        let (client, server) = (client.expect("a handshake"), server.expect("a handshake"));
        assert_eq!(server.peer_certificates().map(<[_]>::len), Some(1));
        // Both have the same secret, and it depends on the label.
        let secret: [u8; 32] = client.export_secret(b"test").expect("connected");
        assert_eq!(server.export_secret(b"test").expect("connected"), secret);
        assert_ne!(server.export_secret(b"other").expect("connected"), secret);
    });
}

#[test]
fn an_end_without_a_word_is_an_error_also_if_the_process_was_killed() {
    process::<()>(|mailbox| {
        let (mut client, mut server) = tls_pair();
        server.write_all(b"half of it").expect("connected");
        drop(server);
        let mut got = Vec::new();
        assert_eq!(kind(client.read_to_end(&mut got)), ErrorKind::UnexpectedEof);
        assert_eq!(got, b"half of it");
        assert_eq!(kind(client.read(&mut [0])), ErrorKind::UnexpectedEof, "and again");

        let (mut client, mut server) = tls_pair();
        let (pid, reference) = spawn_monitor(move || {
            let _ = server.read(&mut [0]);
            unreachable!("nothing is sent");
        });
        sleep(Duration::from_millis(2));
        kill(pid);
        assert_eq!(kind(client.read(&mut [0])), ErrorKind::UnexpectedEof);
        assert!(down_of(mailbox, reference).reason.to_string().contains("kill"));
    });
}

#[test]
fn protocols_are_agreed_on() {
    process::<()>(|_| {
        let authority = Authority::new();
        let acceptor = authority.acceptor().alpn(["h2", "http/1.1"]);
        let (client, server) = shake(&acceptor, &authority.connector().alpn(["http/1.1"]), "localhost");
        assert_eq!(client.expect("a handshake").alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(server.expect("a handshake").alpn_protocol(), Some(&b"http/1.1"[..]));
        let (client, _server) = shake(&acceptor, &authority.connector(), "localhost");
        assert_eq!(client.expect("a handshake").alpn_protocol(), None);
        let (client, server) = shake(&acceptor, &authority.connector().alpn(["gopher"]), "localhost");
        assert_eq!(alert(client), AlertDescription::NoApplicationProtocol);
        assert_eq!(tls_error(server), rustls::Error::NoApplicationProtocol);
    });
}

#[test]
fn a_silent_peer_does_not_keep_a_handshake() {
    process::<()>(|_| {
        let limit = Duration::from_millis(50);
        let authority = Authority::new();
        let (client, server) = pair();
        let start = now();
        let acceptor = authority.acceptor().handshake_timeout(Some(limit));
        assert_eq!(kind(acceptor.accept(server)), ErrorKind::TimedOut);
        assert!(now() - start >= limit, "early");
        drop(client);

        // One that says a byte now and then has no longer: the limit is for all.
        let (mut client, server) = pair();
        let dripping = engset_runtime::spawn(move || {
            // The head of a record of 16,000 bytes.
            let _ = client.write_all(&[22, 3, 1, 62, 128]);
            while client.write_all(&[1]).is_ok() {
                sleep(Duration::from_millis(5));
            }
        });
        assert_eq!(kind(acceptor.accept(server)), ErrorKind::TimedOut);
        kill(dripping);

        // A peer that goes is known at once, and so is one that speaks something else.
        let (client, server) = pair();
        drop(client);
        assert_eq!(kind(authority.acceptor().accept(server)), ErrorKind::UnexpectedEof);
        let (mut client, server) = pair();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("connected");
        assert!(matches!(tls_error(authority.acceptor().accept(server)), rustls::Error::InvalidMessage(_)));
    });
}

#[test]
fn timeouts_are_the_carriers_and_lose_nothing() {
    process::<()>(|mailbox| {
        let limit = Duration::from_millis(20);
        let (mut client, mut server) = tls_pair();
        assert_eq!(client.get_ref().read_timeout(), None, "the handshake's limit is over");
        client.get_ref().set_read_timeout(Some(limit)).expect("not zero");
        assert_eq!(kind(client.read(&mut [0])), ErrorKind::TimedOut);
        server.write_all(b"x").expect("connected");
        client.get_ref().set_read_timeout(None).expect("none");
        assert_eq!(client.read(&mut [0; 9]).expect("it has come"), 1);

        // Nobody reads: at some time a write is refused. What was taken before it arrives, once and in order.
        client.get_ref().set_write_timeout(Some(limit)).expect("not zero");
        let chunk = pattern(10_000, 5);
        let mut taken = Vec::new();
        let error = loop {
            match client.write(&chunk) {
                Ok(count) => taken.extend_from_slice(&chunk[..count]),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(client.wants_write());
        assert_eq!(kind(client.flush()), ErrorKind::TimedOut);
        client.get_ref().set_write_timeout(None).expect("none");
        let (_, reference) = spawn_monitor(move || {
            let mut got = Vec::new();
            server.read_to_end(&mut got).expect("a proper end");
            assert!(got == taken);
        });
        client.close().expect("there is room again");
        assert_eq!(down_of(mailbox, reference).reason.to_string(), "exited (normal)");
    });
}

#[test]
fn what_is_changed_on_the_way_is_refused() {
    process::<()>(|_| {
        let (mut client, mut server) = tls_pair();
        // Past the encryption.
        client.get_mut().write_all(&[23, 3, 3, 0, 20]).expect("connected");
        client.get_mut().write_all(&[7; 20]).expect("connected");
        assert_eq!(tls_error(server.read(&mut [0; 9])), rustls::Error::DecryptError);
        assert_eq!(alert(client.read(&mut [0; 9])), AlertDescription::BadRecordMac);
        assert_eq!(tls_error(server.write(b"x")), rustls::Error::DecryptError, "it is over");
    });
}

#[test]
fn a_handshake_fits_into_a_small_stack() {
    process::<()>(|mailbox| {
        // Debug code needs more than what a program runs in the end.
        let size = if cfg!(debug_assertions) { 96 } else { 32 } * 1024;
        let authority = Authority::new();
        let (acceptor, connector) = (
            TlsAcceptor::with_clients(authority.identity("localhost"), authority.roots()).expect("a pair"),
            TlsConnector::with_identity(authority.roots(), authority.identity("client")).expect("a pair"),
        );
        let (client, server) = pair();
        let mut references = Vec::new();
        let serve = move || {
            let mut stream = acceptor.accept(server).expect("a handshake");
            stream.write_all(b"hello").expect("connected");
            stream.close().expect("connected");
        };
        let ask = move || {
            let mut text = String::new();
            let mut stream = connector.connect("localhost", client).expect("a handshake");
            stream.read_to_string(&mut text).expect("a proper end");
            assert_eq!(text, "hello");
        };
        let builder = || Builder::new().stack_size(size);
        references.push(builder().spawn_monitor(serve).expect("room").1);
        references.push(builder().spawn_monitor(ask).expect("room").1);
        for reference in references {
            assert_eq!(down_of(mailbox, reference).reason.to_string(), "exited (normal)");
        }
    });
}

#[test]
fn wrong_names_and_texts_are_named() {
    process::<()>(|_| {
        let authority = Authority::new();
        let (client, _server) = pair();
        let error = authority.connector().connect("no name", client).expect_err("a space");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("\"no name\""), "{error}");
        let (chain, key) = authority.sign("localhost", true);
        let error = Identity::from_pem(b"", key.as_bytes()).expect_err("no certificate");
        assert!(error.to_string().contains("no certificate"), "{error}");
        let error = Identity::from_pem(chain.as_bytes(), chain.as_bytes()).expect_err("no key");
        assert!(error.to_string().contains("private key"), "{error}");
        assert_eq!(kind(roots_from_pem(b"nonsense")), ErrorKind::InvalidInput);
        // The key of another certificate.
        let (_, other) = authority.sign("localhost", true);
        let wrong = Identity::from_pem(chain.as_bytes(), other.as_bytes()).expect("each is right");
        assert_eq!(kind(TlsAcceptor::new(wrong.clone())), ErrorKind::InvalidData);
        assert!(!format!("{wrong:?}").contains("PRIVATE"));
        let empty = rustls::RootCertStore::empty();
        let error = TlsAcceptor::with_clients(authority.identity("localhost"), empty).expect_err("nobody");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}
