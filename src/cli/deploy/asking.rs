//! Asks the version that is to be deployed, and the nanoservices that compose it.
//! One that does not respond is unknown, not refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::edge::upstream::probe::Probe;
use crate::page::conform::exchange::{Exchange, Purpose};
use crate::page::conform::subject::Subject;
use crate::page::conform::{Verdict, check};
use crate::page::layout::Composition;
use crate::page::manifest::Manifest;
use crate::page::request::defaults::Defaults;
use crate::page::site::deploy::{Answer, slots};
use crate::secrets::Secrets;

use super::super::conform;

/// What `conform` says of a version, and the slots in its HTML. `None`: they are not known.
pub(super) struct Conform {
    pub(super) verdict: Answer,
    pub(super) says: String,
    pub(super) slots: Option<BTreeSet<String>>,
}

/// A version that was not asked.
pub(super) fn unasked(why: &str) -> Conform {
    Conform { verdict: Answer::Unknown, says: why.to_owned(), slots: None }
}

/// Checks a version against the contract, at each of its endpoints.
pub(super) async fn conform(version: &Arc<Manifest>, secrets: &Arc<Secrets>, defaults: &Defaults) -> Conform {
    if version.endpoints.is_empty() {
        return unasked("it runs on demand: `pasteup conform` starts and checks it");
    }
    let (mut broken, mut compositions) = (Vec::new(), Vec::new());
    for endpoint in &version.endpoints {
        let subject = Subject::declared(version, endpoint, &[], defaults);
        let exchanges = match conform::exchange(&subject, secrets).await {
            Ok(exchanges) => exchanges,
            Err(why) => return unasked(&why),
        };
        match exchanges.first() {
            None => return unasked("it has no example that could be asked"),
            Some(Exchange { response: Err(why), .. }) => {
                return unasked(&format!("{} does not respond: {why}", endpoint.as_str()));
            }
            Some(_) => {}
        }
        let findings = check(&subject, &exchanges);
        let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Failed);
        broken.extend(failed.map(|finding| format!("{}: {}", finding.rule.id(), finding.message)));
        compositions.extend(compositions_in(version, &exchanges));
    }
    let slots = Some(slots(&compositions));
    match broken.is_empty() {
        true => Conform { verdict: Answer::Yes, says: "it keeps the contract".to_owned(), slots },
        false => Conform { verdict: Answer::No, says: broken.join("; "), slots },
    }
}

/// The HTML of a nanoservice's examples, as it is taken apart. `None`: it did not respond.
pub(super) async fn compositions(
    manifest: &Arc<Manifest>,
    secrets: &Arc<Secrets>,
    defaults: &Defaults,
) -> Option<Vec<Composition>> {
    let subject = Subject::declared(manifest, manifest.endpoints.first()?, &[], defaults);
    let probe = Probe::new(&subject, Arc::clone(secrets)).ok()?;
    let mut exchanges = Vec::new();
    for request in subject.examples() {
        exchanges.push(probe.ask(&request).await);
    }
    let responded = exchanges.iter().any(|exchange| exchange.response.is_ok());
    responded.then(|| compositions_in(manifest, &exchanges))
}

/// The HTML of the examples among some exchanges.
fn compositions_in(manifest: &Manifest, exchanges: &[Exchange]) -> Vec<Composition> {
    let examples = exchanges.iter().filter(|exchange| matches!(exchange.purpose, Purpose::Example(_)));
    let bodies = examples.filter_map(|exchange| exchange.response.as_ref().ok()?.body.as_ref().ok());
    bodies.filter_map(|body| Composition::of_response(body, manifest, manifest.esi)).collect()
}
