//! HTTP/3 as a client sees it whose address changes.

use std::{fs, net::UdpSocket, path::Path, sync::Arc};

use bytes::Buf;
use http::Request;
use quinn::{ClientConfig, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{RootCertStore, pki_types::pem::PemObject};

use crate::{
    front::certificates,
    support::{
        bucket::Bucket,
        edge::{Edge, config_for},
    },
};

/// A client that trusts the certificate of `one.example.com`.
fn client(folder: &Path) -> Endpoint {
    let mut roots = RootCertStore::empty();
    let pem = fs::read(folder.join("one.pem")).expect("a certificate");
    roots.add(PemObject::from_pem_slice(&pem).expect("PEM")).expect("a root");
    let mut config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().expect("address")).expect("socket");
    let config = QuicClientConfig::try_from(config).expect("TLS 1.3");
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(config)));
    endpoint
}

#[tokio::test]
async fn connections_survive_a_change_of_the_address() {
    let (bucket, folder) = (Bucket::start().await, certificates());
    bucket.put("a.png", b"content".as_slice());
    let config = config_for(bucket.address, "", "");
    let path = folder.path().display();
    let listen = format!(
        "https = \"127.0.0.1:0\"\nhttp3 = true\ntls = {{ certificate = \"{path}/one.pem\", key = \"{path}/one.key\" }}"
    );
    // With many workers, a packet hardly reaches the right one by chance.
    let config = config
        .replace("http = \"127.0.0.1:0\"\n", &format!("{listen}\n"))
        .replace("workers = 2", "workers = 7");
    let edge = Edge::with(&config);
    for _ in 0..8 {
        let endpoint = client(folder.path());
        let connecting = endpoint.connect(edge.address, "one.example.com").expect("connecting");
        let quic = connecting.await.expect("connected");
        let (mut driver, mut requests) =
            h3::client::new(h3_quinn::Connection::new(quic)).await.expect("HTTP/3");
        let driving = tokio::spawn(async move { driver.wait_idle().await });
        for _ in 0..5 {
            let request = Request::get("https://one.example.com/a.png").body(()).expect("request");
            let mut stream = requests.send_request(request).await.expect("sent");
            stream.finish().await.expect("finished");
            let response = stream.recv_response().await.expect("a response");
            assert_eq!(response.status(), 200);
            let mut content = Vec::new();
            while let Some(mut part) = stream.recv_data().await.expect("content") {
                content.extend_from_slice(&part.copy_to_bytes(part.remaining()));
            }
            assert_eq!(content, b"content");
            let socket = UdpSocket::bind("127.0.0.1:0").expect("socket");
            endpoint.rebind(socket).expect("another address");
        }
        drop(requests);
        driving.abort();
    }
}
