//! How a new version takes over from the one before: `[rollout]`.
//! A step beyond a hundred per cent, or one that is not larger than the one before, is an error.

use std::time::Duration;

use crate::page::policy::rollout::RolloutRules;
use crate::page::source::schema::{Field, Kind, schema};
use crate::page::source::table::{self, Data, TableReader, Value, ValueError};

/// The kind of a share of page views.
const SHARE: Kind = Kind::Integer(1, 100);
/// The most steps: more would be a mistake.
const MAX_STEPS: usize = 20;

schema! {
    /// How this version takes over from the one before. Without this table it does so at once. The version before must stay in
    /// the catalogue until then.
    pub(crate) mod fields {
        /// How many of a hundred page views show it, step by step; after the last step all do.
        STEPS = Field::new("steps", Kind::List(&SHARE)).default("[5, 25, 50]");
        /// The shortest duration of a step.
        INTERVAL = Field::new("interval", Kind::Duration).default("1m");
        /// The least number of its answers in a step. With fewer, the step lasts longer.
        MIN_REQUESTS = Field::new("min_requests", Kind::Integer(1, 1_000_000)).default("50");
        /// How much more often it may fail than the version before. More than that, for certain, and it goes back.
        MAX_FAULT_EXCESS = Field::new("max_fault_excess", Kind::Text).default("1%");
        /// How many times as slow its 95th percentile may be. More than that, by 10 ms or more and for certain, and it goes back.
        MAX_P95_RATIO = Field::new("max_p95_ratio", Kind::Number).default("1.5");
        /// Whether a client stays with one version, by the cookie `pasteup-rollout`.
        STICKY = Field::new("sticky", Kind::Boolean).default("false");
    }
}

/// Reads `[rollout]`.
pub(super) fn read(reader: &mut TableReader<'_>) -> RolloutRules {
    RolloutRules {
        steps: reader.read_or_default(&fields::STEPS, steps),
        interval: reader.read_or_default(&fields::INTERVAL, table::duration).max(Duration::ZERO),
        min_requests: reader.integer_or_default(&fields::MIN_REQUESTS),
        max_fault_excess: reader.read_or_default(&fields::MAX_FAULT_EXCESS, share),
        max_p95_ratio: reader.read_or_default(&fields::MAX_P95_RATIO, ratio),
        sticky: reader.read_or_default(&fields::STICKY, table::boolean),
    }
}

fn steps(value: &Value) -> Result<Vec<u8>, ValueError> {
    let steps: Vec<i64> = table::list(table::integer(&SHARE))(value)?;
    let steps: Vec<u8> = steps.into_iter().filter_map(|step| u8::try_from(step).ok()).collect();
    if steps.is_empty() || steps.len() > MAX_STEPS {
        return Err(ValueError::new(format!("must have 1 to {MAX_STEPS} steps")));
    }
    if steps.windows(2).any(|two| two[0] >= two[1]) {
        return Err(ValueError::with_help("each step must be larger than the one before", "write it like [5, 25, 50]"));
    }
    Ok(steps)
}

/// Reads a share: `1%`, `0.5%`.
fn share(value: &Value) -> Result<f64, ValueError> {
    let wrong =
        |text: &str| ValueError::with_help(format!("`{text}` is not a share"), "write it like \"1%\" or \"0.5%\"");
    let text = match &value.data {
        Data::Text(text) | Data::Bare(text) => text.trim(),
        other => {
            return Err(ValueError::with_help(
                format!("must be a share, not {}", other.kind()),
                "write it like \"1%\"",
            ));
        }
    };
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    number.filter(|number| (0.0..=100.0).contains(number)).map(|number| number / 100.0).ok_or_else(|| wrong(text))
}

fn ratio(value: &Value) -> Result<f64, ValueError> {
    let ratio = table::number(value)?;
    if ratio >= 1.0 { Ok(ratio) } else { Err(ValueError::new("must be 1 or more")) }
}
