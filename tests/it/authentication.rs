//! How the compositor authenticates to nanoservices: secrets are given by reference and shown nowhere.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::HeaderMap;
use httpsig::prelude::message_component::HttpMessageComponent;
use httpsig::prelude::{AlgorithmName, HttpSignatureBase, HttpSignatureHeaders, PublicKey, SharedKey, VerifyingKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::support::process::{TestSite, client};
use crate::support::service::serve_router;

// RFC 9421, B.1.4.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n-----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n-----END PUBLIC KEY-----\n";
// RFC 9421, B.1.5.
const SHARED: &str = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";

fn site(url: &str, auth: &str) -> TestSite {
    TestSite::new().front("<fragment name=a data-q=\"a b\">refused</fragment>").file(
        "fragments/a/fragment.toml",
        &format!("name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"{url}/part\"\ncontext = [\"page\"]\n[auth]\n{auth}"),
    )
}

/// Responds with the credentials that it received.
async fn echo(headers: HeaderMap) -> ([(&'static str, &'static str); 1], String) {
    let credentials = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    ([("content-type", "text/html")], credentials.unwrap_or_default())
}

#[tokio::test]
async fn a_token_and_a_password_are_sent() {
    let address = serve_router(Router::new().route("/part", get(echo))).await;
    let url = format!("http://{address}");
    let bearer = site(&url, "kind = \"bearer\"\ntoken = \"file:secrets/token\"\n").file("secrets/token", "hush\n");
    let server = bearer.serve().await;
    assert_eq!(server.text("/").await, "Bearer hush");
    let basic = site(&url, "kind = \"basic\"\nuser = \"pasteup\"\npassword = \"env:A_PASSWORD\"\n");
    let server = basic.serve_with(&[("A_PASSWORD", "pass:word")]).await;
    assert_eq!(server.text("/").await, "Basic cGFzdGV1cDpwYXNzOndvcmQ=");
}

#[tokio::test]
async fn without_its_secret_no_request_is_sent_and_no_secret_is_shown() {
    let address = serve_router(Router::new().route("/part", get(|| async { "never requested" }))).await;
    let site = site(&format!("http://{address}"), "kind = \"bearer\"\ntoken = \"env:NO_SUCH_SECRET\"\n");
    let mut server = site.serve().await;
    assert_eq!(server.text("/").await, "refused");
    // If the request had been sent, there would be another reason.
    let line = server.process.line("fetch failed").await;
    assert!(line.contains("there is no environment variable `NO_SUCH_SECRET`"), "{line}");

    let address = serve_router(Router::new().route("/part", get(|| async { http::StatusCode::UNAUTHORIZED }))).await;
    let auth = "kind = \"signature\"\nkey_id = \"k\"\nkey = \"env:A_KEY\"\n";
    let site = self::site(&format!("http://{address}"), auth);
    let mut server = site.serve_with(&[("A_KEY", "not base64: hush"), ("PASTEUP_TELEMETRY__LOG", "trace")]).await;
    assert_eq!(server.text("/").await, "refused");
    server.process.line("cannot be signed").await;
    assert!(!server.process.output().contains("hush"));
    for command in [vec!["check"], vec!["catalog", "--format", "json"], vec!["render", "/"]] {
        let output = site.run_with(&command, "A_KEY", Some("hush")).await;
        let output = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8(output).unwrap().contains("hush"), "{command:?}");
    }
}

/// Verifies the signature of a request, over the components that the request names.
fn verify(headers: &HeaderMap, authority: &str, key: &impl VerifyingKey) -> Vec<String> {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let signed = HttpSignatureHeaders::try_parse(&text("signature"), &text("signature-input")).unwrap();
    let signed = &signed["pasteup"];
    let lines: Vec<String> = signed
        .signature_params()
        .covered_components
        .iter()
        .map(|id| {
            let value = match id.to_string().as_str() {
                "\"@method\"" => "GET".to_owned(),
                "\"@authority\"" => authority.to_owned(),
                "\"@path\"" => "/part".to_owned(),
                "\"@query\"" => "?q=a%20b".to_owned(),
                field => text(field.trim_matches('"')),
            };
            format!("{id}: {value}")
        })
        .collect();
    let components: Vec<HttpMessageComponent> =
        lines.iter().map(|line| HttpMessageComponent::try_from(line.as_str()).unwrap()).collect();
    let base = HttpSignatureBase::try_new(&components, signed.signature_params()).unwrap();
    base.verify_signature_headers(key, signed).unwrap();
    assert_eq!(signed.signature_params().keyid.as_deref(), Some("the-compositor"));
    let params = signed.signature_params();
    assert_eq!(params.expires, params.created.map(|created| created + 60));
    assert!(params.nonce.is_some());
    lines
}

#[tokio::test]
async fn a_signature_covers_the_request_and_the_declared_headers() {
    for (algorithm, key) in [("", SHARED), ("algorithm = \"ed25519\"\n", PRIVATE)] {
        let received: Arc<std::sync::Mutex<Option<HeaderMap>>> = Arc::default();
        let record = Arc::clone(&received);
        let handler = get(|headers: HeaderMap| async move {
            *record.lock().unwrap() = Some(headers);
            ([("content-type", "text/html")], "in")
        });
        let address = serve_router(Router::new().route("/part", handler)).await;
        let auth = format!("kind = \"signature\"\nkey_id = \"the-compositor\"\nkey = \"file:key\"\n{algorithm}");
        let server = site(&format!("http://{address}"), &auth).file("key", key).serve().await;
        assert_eq!(server.text("/").await, "in");
        let headers = received.lock().unwrap().take().unwrap();
        let authority = address.to_string();
        let covered = if algorithm.is_empty() {
            verify(&headers, &authority, &SharedKey::from_base64(&AlgorithmName::HmacSha256, SHARED).unwrap())
        } else {
            verify(&headers, &authority, &PublicKey::from_pem(&AlgorithmName::Ed25519, PUBLIC).unwrap())
        };
        assert!(covered.contains(&"\"fragment-page\": /".to_owned()), "{covered:?}");
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_signed_is_left_out_and_keeps_the_nanoservice_from_nobody() {
    let handler = get(|headers: HeaderMap| async move {
        let cookie = headers.get("cookie").map_or("none", |cookie| cookie.to_str().unwrap());
        ([("content-type", "text/html")], cookie.to_owned())
    });
    let address = serve_router(Router::new().route("/part", handler)).await;
    let manifest = format!(
        "name = \"a\"\nversion = \"1.0.0\"\nendpoint = \"http://{address}/part\"\ncontext = [\"cookie:units\", \"cookie:b\"]\n\
         [auth]\nkind = \"signature\"\nkey_id = \"k\"\nkey = \"file:key\"\n"
    );
    let site = TestSite::new().front("<fragment name=a>refused</fragment>").file("key", SHARED);
    let server = site.file("fragments/a/fragment.toml", &manifest).serve().await;
    let send = async |cookie: &[u8]| {
        let cookie = http::HeaderValue::from_bytes(cookie).unwrap();
        client().get(&server.pages).header("cookie", cookie).send().await.unwrap().text().await.unwrap()
    };
    for _ in 0..6 {
        assert_eq!(send("units=ü; b=1".as_bytes()).await, "b=1");
        assert_eq!(send(b"units=\xfc").await, "none");
    }
    assert_eq!(send(b"units=metric").await, "units=metric");
}

#[tokio::test]
async fn without_a_secret_no_endpoint_is_blamed() {
    let address = serve_router(Router::new().route("/part", get(|| async { "never requested" }))).await;
    let mut server =
        site(&format!("http://{address}"), "kind = \"bearer\"\ntoken = \"env:NO_SUCH_SECRET\"\n").serve().await;
    for _ in 0..7 {
        assert_eq!(server.text("/").await, "refused");
    }
    let log = server.process.output();
    assert!(!log.contains("circuit"), "{log}");
}

#[tokio::test]
async fn credentials_that_cannot_be_sent_are_an_error() {
    for (url, auth, message) in [
        ("http://a.test", "token = \"env:T\"\n", "`auth.kind` is missing"),
        ("http://a.test", "kind = \"bearer\"\n", "`auth.token` is missing"),
        ("http://a.test", "kind = \"mtls\"\ncert = \"file:c\"\nkey = \"file:k\"\n", "over https only"),
        ("http://a.test", "kind = \"signature\"\nkey = \"env:K\"\nkey_id = 'a\"b'\n", "without quotes"),
    ] {
        let output = site(url, auth).run(&["check", "--offline", "--format", "json"]).await;
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.code() == Some(1) && stdout.contains(message), "{auth}: {stdout}");
    }
}

#[tokio::test]
async fn a_public_request_for_an_asset_sends_no_credentials() {
    let handler = get(|headers: HeaderMap| async move {
        assert!(!headers.contains_key("authorization"));
        ([("content-type", "text/css")], "p {}")
    });
    let address = serve_router(Router::new().route("/a.css", handler)).await;
    let site = site(&format!("http://{address}"), "kind = \"bearer\"\ntoken = \"env:A_TOKEN\"\n");
    let server = site.serve_with(&[("A_TOKEN", "hush")]).await;
    assert_eq!(server.text("/_pasteup/assets/a/1.0.0/a.css").await, "p {}");
}

/// A nanoservice that requires a client certificate of this authority.
async fn requiring_certificate(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    authority: CertificateDer<'static>,
) -> SocketAddr {
    let mut roots = RootCertStore::empty();
    roots.add(authority).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 4096];
                let _length = stream.read(&mut request).await;
                let response =
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: close\r\n\r\nin";
                let _gone = stream.write_all(response).await;
                let _closed = stream.shutdown().await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_client_certificate_is_presented() {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        (certificate, key)
    };
    let (certificate, key) = issue("127.0.0.1");
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let address = requiring_certificate(certificate.der().clone(), key, authority.der().clone()).await;
    let (client, client_key) = issue("pasteup");
    let mtls = "kind = \"mtls\"\ncert = \"file:client.pem\"\nkey = \"file:client.key\"\nca = \"file:ca.pem\"\n";
    let with = site(&format!("https://{address}"), mtls)
        .file("client.pem", &client.pem())
        .file("client.key", &client_key.serialize_pem())
        .file("ca.pem", &authority.pem());
    assert_eq!(with.serve().await.text("/").await, "in");
    let other_key = KeyPair::generate().unwrap();
    let self_signed = CertificateParams::new(vec!["pasteup".to_owned()]).unwrap().self_signed(&other_key).unwrap();
    let without = with.copy().file("client.pem", &self_signed.pem()).file("client.key", &other_key.serialize_pem());
    assert!(refusal(&without).await.contains("received fatal alert"), "the service does not know this certificate");
    let elsewhere = {
        let (certificate, key) = issue("other.test");
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        requiring_certificate(certificate.der().clone(), key, authority.der().clone()).await
    };
    let expired = {
        let (mut params, key) =
            (CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap(), KeyPair::generate().unwrap());
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let certificate = params.signed_by(&key, &authority).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        requiring_certificate(certificate.der().clone(), key, authority.der().clone()).await
    };
    for (address, why) in [(elsewhere, "not valid for name \"127.0.0.1\""), (expired, "certificate expired")] {
        let other = with.copy();
        let manifest = std::fs::read_to_string(with.path().join("fragments/a/fragment.toml")).unwrap();
        let (before, rest) = manifest.split_once("https://").unwrap();
        let after = rest.split_once('/').map_or("\"\n", |(_, after)| after);
        other.write("fragments/a/fragment.toml", &format!("{before}https://{address}/{after}"));
        let refusal = refusal(&other).await;
        assert!(refusal.contains(why) && refusal.contains(&address.to_string()), "{refusal}");
    }
}

/// Why a service could not be asked over TLS. The reader gets the fallback, and an operator the cause.
async fn refusal(site: &TestSite) -> String {
    let server = site.serve().await;
    assert_eq!(server.text("/").await, "refused");
    let errors = client().get(format!("{}/api/errors", server.admin)).send().await.unwrap().text().await.unwrap();
    let errors: serde_json::Value = serde_json::from_str(&errors).unwrap();
    assert_eq!(errors["errors"][0]["reason"], "connect", "{errors}");
    errors["errors"][0]["detail"].as_str().unwrap().to_owned()
}
