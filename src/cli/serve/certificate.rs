//! Reads the TLS certificate of the pages, and reads it again while the compositor runs.
//! An unusable file is logged once, and the previous certificate stays in use.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::edge::listen::tls::ServerCertificate;
use crate::page::source::secret::Reference;
use crate::secrets;

/// How often the certificate is read again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3);

/// Reads the certificate and its key, and starts a task that reads them again.
///
/// # Errors
/// There is no certificate or key, or the two do not belong together.
pub(super) fn watch(
    (certificate, key): (Reference, Reference),
    root: PathBuf,
) -> Result<Arc<ServerCertificate>, String> {
    let read = move || {
        let text = |reference: &Reference| {
            secrets::look_up(reference, &root)
                .map(|text| text.reveal().to_owned())
                .map_err(|error| format!("{reference}: {error}"))
        };
        Ok((text(&certificate)?, text(&key)?))
    };
    let certificate = ServerCertificate::read(Box::new(read)).map_err(|error| format!("server.tls: {error}"))?;
    tokio::spawn(refresh(Arc::clone(&certificate)));
    Ok(certificate)
}

async fn refresh(certificate: Arc<ServerCertificate>) {
    let mut logged = None;
    loop {
        tokio::time::sleep(REFRESH_INTERVAL).await;
        match certificate.refresh() {
            Ok(true) => tracing::info!("the new certificate is in use"),
            Ok(false) => {}
            Err(error) if logged.as_ref() == Some(&error) => continue,
            Err(error) => {
                tracing::error!("keeping the previous certificate: {error}");
                logged = Some(error);
                continue;
            }
        }
        logged = None;
    }
}
